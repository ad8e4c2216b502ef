//! What `fuzz/` feeds with arbitrary bytes, and what must hold whatever they are. What it once found lies in `fuzz/cases`
//! and is tried again by the tests.

use wasmtime::component::Component;

use crate::compile::Report;
use crate::compiler::{self, compile_alone};
use crate::split::split;

/// A refusal goes into the build's logs.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// An upload becomes an artifact that something can call, or is refused in words; it never is the host that fails. What is whole
/// when it is compiled is whole in parts.
pub fn upload(wasm: &[u8]) {
    let split = split(&bytes::Bytes::copy_from_slice(wasm));
    match compiler::compile(wasm) {
        Ok(Ok((found, artifact))) => {
            assert!(found.exports.http || found.exports.handler, "nothing can call it");
            assert!(!artifact.is_empty() && artifact != wasm);
            if let Some(split) = split {
                let rest = compile_alone(|engine| Component::from_binary(engine, &split.rest)?.serialize());
                assert!(matches!(rest, Ok(Ok(_))), "the rest does not compile");
            }
        }
        Ok(Err(Report::Rejected(why))) => assert!((1..=REFUSAL_BYTES_MAX).contains(&why.len()), "{why}"),
        Ok(Err(Report::OutOfMemory)) => {}
        Ok(Err(Report::Compiled(_) | Report::Host(_))) => unreachable!("it says so otherwise"),
        Err(why) => panic!("the host failed: {why}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn uploads_found_by_fuzzing() {
        let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/cases/upload");
        for case in std::fs::read_dir(cases).expect("a folder of cases") {
            super::upload(&std::fs::read(case.expect("a case").path()).expect("a file"));
        }
    }
}
