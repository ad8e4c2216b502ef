//! How a command ends when it does not end well. The exit codes are public: [`crate::EXIT_CODES`].

use std::fmt::Display;

use larder_wire::problem::Kind;

pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// Something to change in what was typed or in a file that was read.
    Usage(String),
    /// It was tried and did not succeed.
    Failed(String),
    /// No answer from Larder.
    Unreachable(String),
    /// Larder answered with an error.
    Refused(Refusal),
    /// Whoever read stdout has gone; there is nobody to tell.
    StdoutClosed,
}

/// What of the wire's error object matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// `function_not_found` and the like; empty if the answer was not Larder's.
    pub kind: String,
    pub message: String,
}

impl Failure {
    pub fn usage(text: impl Display) -> Failure {
        Failure::Usage(text.to_string())
    }

    pub fn failed(text: impl Display) -> Failure {
        Failure::Failed(text.to_string())
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::StdoutClosed => 0,
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::Refused(refusal) => match refusal.status {
                401 | 403 => 3,
                _ => 1,
            },
        }
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Failure::StdoutClosed => None,
            Failure::Usage(text) | Failure::Failed(text) | Failure::Unreachable(text) => Some(format!("error: {text}")),
            Failure::Refused(Refusal { status, kind, message }) if kind.is_empty() => {
                Some(format!("error: {message} ({status})"))
            }
            Failure::Refused(Refusal { status, kind, message }) => Some(format!("error: {message} ({status} {kind})")),
        }
    }

    /// Whether Larder refused for this reason.
    pub fn is(&self, kind: Kind) -> bool {
        matches!(self, Failure::Refused(refusal) if refusal.kind == kind.word())
    }

    /// Whether it may not be looked at with this key, or is not offered by this Larder.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Failure::Refused(Refusal { status: 401 | 403 | 404 | 405, .. }))
    }

    /// Whether Larder said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Refused(Refusal { status: 404, .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let refused =
            |status| Failure::Refused(Refusal { status, kind: "some_kind".into(), message: "no".into() }).exit_code();
        assert_eq!([400, 404, 409, 429, 500].map(refused), [1; 5]);
        assert_eq!([401, 403].map(refused), [3; 2]);
        assert_eq!(Failure::failed("the function failed").exit_code(), 1);
        assert_eq!(Failure::usage("larder.toml:1: no").exit_code(), 2);
        assert_eq!(Failure::Unreachable("nobody there".into()).exit_code(), 3);
        assert_eq!(Failure::StdoutClosed.exit_code(), 0);
    }
}
