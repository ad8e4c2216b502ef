//! How a function says that it could not.

use std::fmt;

/// Why a run came to nothing. It does not implement [`std::error::Error`], so that every type that does can become a
/// `reject` through `?`: what failed without saying that it is passing would fail the same way again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something passing: Larder runs it again later.
    Retry(String),
    /// This event will never do: final, and kept with its reason.
    Reject(String),
}

impl Error {
    pub fn retry(why: impl Into<String>) -> Error {
        Error::Retry(why.into())
    }

    pub fn reject(why: impl Into<String>) -> Error {
        Error::Reject(why.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Retry(why) => write!(f, "retry: {why}"),
            Error::Reject(why) => write!(f, "reject: {why}"),
        }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(err: E) -> Error {
        let mut why = err.to_string();
        let mut source = err.source();
        while let Some(cause) = source {
            why = format!("{why}: {cause}");
            source = cause.source();
        }
        Error::Reject(why)
    }
}
