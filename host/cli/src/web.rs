//! Gives the interfaces of `wit/web.wit`, in a finished component, the names of `wasi:io` and `wasi:http` that they stand for.

use wasmparser::{Parser, Payload};

use crate::failure::{Failure, Result};

/// Interfaces of `wit/web.wit`.
pub const TYPES: &str = "larder:web/types@0.2.6";
pub const OUTGOING: &str = "larder:web/outgoing-handler@0.2.6";
pub const INCOMING: &str = "larder:web/incoming-handler@0.2.6";

const NAMES: [(&str, &str); 6] = [
    ("larder:web/error@0.2.6", "wasi:io/error@0.2.6"),
    ("larder:web/poll@0.2.6", "wasi:io/poll@0.2.6"),
    ("larder:web/streams@0.2.6", "wasi:io/streams@0.2.6"),
    (TYPES, "wasi:http/types@0.2.6"),
    (OUTGOING, "wasi:http/outgoing-handler@0.2.6"),
    (INCOMING, "wasi:http/incoming-handler@0.2.6"),
];

/// Imports and exports of the component itself; what is nested in it refers to them by number.
pub fn rename(wasm: &[u8]) -> Result<Vec<u8>> {
    renamed(wasm)
        .map_err(|err| Failure::failed(format!("componentize-qjs made something else than a component: {err}")))
}

fn renamed(wasm: &[u8]) -> std::result::Result<Vec<u8>, wasmparser::Error> {
    let mut depth = 0;
    let mut out = Vec::with_capacity(wasm.len() + 64);
    let mut copied = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        // Where names stand in a section, and the section's id and place.
        let (id, range, names) = match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth += 1;
                continue;
            }
            Payload::End(_) => {
                depth -= 1;
                continue;
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                let imports = section.clone().into_iter().map(|import| Ok(import?.name.name));
                (10, section.range(), imports.collect::<std::result::Result<Vec<_>, wasmparser::Error>>()?)
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let exports = section.clone().into_iter().map(|export| Ok(export?.name.name));
                (11, section.range(), exports.collect::<std::result::Result<Vec<_>, wasmparser::Error>>()?)
            }
            _ => continue,
        };
        let mut content = Vec::with_capacity(range.len() + 64);
        let mut at = range.start;
        for name in names {
            let Some((_, real)) = NAMES.iter().find(|(own, _)| *own == name) else { continue };
            // A name is a part of the bytes that were read, behind its length.
            let begin = name.as_ptr() as usize - wasm.as_ptr() as usize;
            content.extend_from_slice(&wasm[at..begin - leb128(name.len()).len()]);
            content.extend(leb128(real.len()));
            content.extend_from_slice(real.as_bytes());
            at = begin + name.len();
        }
        content.extend_from_slice(&wasm[at..range.end]);
        // The section's own id and length stand before it.
        out.extend_from_slice(&wasm[copied..range.start - 1 - leb128(range.len()).len()]);
        out.push(id);
        out.extend(leb128(content.len()));
        out.extend(content);
        copied = range.end;
    }
    out.extend_from_slice(&wasm[copied..]);
    Ok(out)
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_have_their_real_names_and_the_rest_is_as_it_was() {
        let import = |name: &str| format!("(import \"{name}\" (instance))");
        let text = |imports: &[&str], inner: &str| {
            let imports: String = imports.iter().map(|name| import(name)).collect();
            format!(
                "(component {imports} (component (import \"{inner}\" (instance))) (export \"{inner}\" (instance 0)))"
            )
        };
        let long = format!("larder:function/{}", "a".repeat(200));
        let made = wat::parse_str(text(&[TYPES, &long, OUTGOING], "a:b/c@1.0.0")).unwrap();
        let real = text(&["wasi:http/types@0.2.6", &long, "wasi:http/outgoing-handler@0.2.6"], "a:b/c@1.0.0");
        assert_eq!(rename(&made).unwrap(), wat::parse_str(real).unwrap());
        // Names within nested components are their own.
        let nested = format!("(component (component {}))", import(TYPES));
        let nested = wat::parse_str(nested).unwrap();
        assert_eq!(rename(&nested).unwrap(), nested);
        assert!(rename(b"\0asm\x0d\0\x01\0\x0a").is_err());
    }
}
