//! How a function says that it could not.

use std::fmt;

/// Why a run failed. It does not implement [`std::error::Error`], so that every type that does can become a
/// `reject` through `?`: a failure that is not known to be temporary would occur again.
///
/// ```
/// use larder_sdk::prelude::*;
///
/// fn price(text: &str) -> Result<Decimal, Error> {
///     let price: Decimal = text.parse()?;
///     if price.is_zero() {
///         return Err(Error::retry("the price is not known yet"));
///     }
///     Ok(price)
/// }
///
/// assert!(matches!(price("0"), Err(Error::Retry(_))));
/// assert!(matches!(price("much"), Err(Error::Reject(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A temporary failure: Larder runs the function again later.
    Retry(String),
    /// The event cannot be handled. This is final; the reason is kept.
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
