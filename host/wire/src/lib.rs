//! What Larder says over HTTP: shared by the server, the command line and the tests.

pub mod scopes;
