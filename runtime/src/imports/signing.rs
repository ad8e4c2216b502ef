//! `larder:function/signing`: signatures under keys that the guest never sees.

use super::Host;
use crate::bindings::larder::function::signing;

/// Bytes that one run may have signed, which is the host's work.
const BYTES_MAX: usize = 16 << 20;
/// Signatures of one run.
const COUNT_MAX: u32 = 1_000;

/// What a run has had signed.
#[derive(Default)]
pub(crate) struct Signed {
    count: u32,
    bytes: usize,
}

impl signing::Host for Host {
    async fn sign(&mut self, upstream: String, data: Vec<u8>) -> wasmtime::Result<Result<Vec<u8>, String>> {
        Ok(self.signature(&upstream, &data))
    }
}

impl Host {
    fn signature(&mut self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        self.grants.allow_upstream(upstream)?;
        self.signed.count += 1;
        self.signed.bytes = self.signed.bytes.saturating_add(data.len());
        if self.signed.count > COUNT_MAX || self.signed.bytes > BYTES_MAX {
            return Err(format!("a run may have {COUNT_MAX} signatures over {BYTES_MAX} bytes together"));
        }
        match &self.signing {
            Some(backend) => backend.sign(upstream, data),
            None => Err("nothing can be signed here".into()),
        }
    }
}
