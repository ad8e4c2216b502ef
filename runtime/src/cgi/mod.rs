//! A program that runs as a command answers as CGI has it (RFC 3875): the request is in its environment and on stdin, the
//! answer is what it writes to stdout, and stderr is its log.
//!
//! * [`variables`]: a request's head → the environment.
//! * [`head`]: the header block of the answer.
//! * [`Input`] and [`Output`]: stdin and stdout.
//!
//! The rules: **a request never replaces what the function was configured with**, and **an answer is complete only if its
//! header block ended and the program ended well**.

mod head;
mod input;
mod output;
mod variables;

pub(crate) use input::Input;
pub(crate) use output::Output;
pub(crate) use variables::variables;
