//! Typed ids. An id that a caller may choose has the form `^[A-Za-z0-9][A-Za-z0-9._-]{0,35}$`; those that the host makes are ULIDs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Clock;

/// The text is not an id.
#[derive(Debug, thiserror::Error)]
#[error("must be 1 to 36 of the characters A-Z a-z 0-9 . _ - and begin with a letter or digit")]
pub struct BadId;

fn is_id(text: &str) -> bool {
    text.len() <= 36
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn generate(clock: &Clock) -> Self {
                Self(clock.ulid())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                if is_id(&text) { Ok(Self(text)) } else { Err(BadId) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

id! {
    /// A tenant. Also a DNS label: see [`PartnerId::is_label`].
    PartnerId
    KeyId
    FunctionId
    DeploymentId
    VariableId
    EnrolmentId
    /// The row of an event, not the id that its sender gave it.
    EventId
    ExecutionId
    FanoutId
    BulkActionId
    /// A range of a fan-out.
    RangeId
    /// The records of many runs in one value.
    PackId
    /// A proxy rule.
    RuleId
    /// Somebody who signs in.
    AdministratorId
    SessionId
    MailId
    WebhookId
}

impl PartnerId {
    /// Partners are subdomains, so their ids are lower-case DNS labels, and `-api` at the end is the API listener's.
    pub fn is_label(&self) -> bool {
        self.0.len() <= 30
            && self.0.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !self.0.ends_with('-')
            && !self.0.ends_with("-api")
    }
}
