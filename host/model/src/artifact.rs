//! What is known of an uploaded component.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// SHA-256 of an uploaded component. Shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// That of an upload whose chunks were not put together yet.
    pub const UNKNOWN: Digest = Digest([0; 32]);

    pub fn of(wasm: &[u8]) -> Digest {
        Digest(Sha256::digest(wasm).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Digest, hex::FromHexError> {
        hex::FromHex::from_hex(text).map(Digest)
    }
}

/// What triggers a component can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exports {
    pub http: bool,
    pub handler: bool,
    /// It answers HTTP as a CGI program: it exports `wasi:cli/run` and nothing else that can be called.
    #[serde(default)]
    pub command: bool,
}
