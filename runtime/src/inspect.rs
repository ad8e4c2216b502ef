//! A cheap look at an upload before anything is compiled: is it a component of ours, or a core module that can become one,
//! and of a shape that compiling can cope with?
//!
//! Every refusal says what the upload is and, where there is one, the way out. It parses and does not validate; what
//! passes here is validated by compiling it.

use std::collections::HashSet;

use larder_model::Exports;
use wasmparser::{ComponentExternalKind, ElementItems, Encoding, ExternalKind, Operator, Parser, Payload, TypeRef};

use crate::adapt;
use crate::toolchain::{self, Toolchain};

/// One function's code. Compile time and memory grow faster than it: one function of 1.2 MB took the compiler past
/// 10 GB. The largest seen in JavaScript and Python engines is a fifth of this.
const FUNCTION_BYTES_MAX: usize = 512 << 10;
const FUNCTION_LOCALS_MAX: u64 = 20_000;
const FUNCTIONS_MAX: u64 = 200_000;
const TYPES_MAX: u64 = 50_000;
const SEGMENTS_MAX: u64 = 100_000;
const NAMED_MAX: u64 = 100_000;
const GLOBALS_MAX: u64 = 100_000;
const MODULES_MAX: u64 = 200;
pub const NESTING_MAX: usize = 16;

/// What the cheap look found.
pub struct Found {
    /// A core module, which becomes a component before it is compiled.
    pub is_module: bool,
    /// A module with an allocator that takes all of the memory for its own, and does not give the adapter any.
    pub shares_no_memory: bool,
    /// Of a module: without WASI preview 1.
    pub imports: Vec<String>,
    pub exports: Exports,
    pub toolchain: Toolchain,
    /// Names of interfaces of ours that are imported and of which no code calls anything.
    pub uncalled: Vec<&'static str>,
}

/// What a guest may import, each at any 0.2.x, or 0.1.x for ours. `wasi:sockets` and the file system are imported out
/// of habit by several toolchains; they are linked and permit nothing.
const WASI: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("io", &["error", "poll", "streams"]),
    ("clocks", &["monotonic-clock", "wall-clock"]),
    ("random", &["random", "insecure", "insecure-seed"]),
    ("filesystem", &["types", "preopens"]),
    (
        "sockets",
        &["network", "instance-network", "ip-name-lookup", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
    ("http", &["types", "outgoing-handler"]),
];
const LARDER: &[&str] = &["event-types", "savings", "state", "attributes", "events", "enrolment", "signing"];
/// Those of ours through which a run can change something.
const EFFECTFUL: &[&str] = &["savings", "state", "events"];

/// Refuses what is no component of a world that is served here; the text is for the uploader.
pub fn inspect(wasm: &[u8]) -> Result<Found, String> {
    if !wasm.starts_with(b"\0asm") {
        return Err(not_wasm(wasm));
    }
    let mut shape = Shape::default();
    let mut found = Found {
        is_module: false,
        shares_no_memory: false,
        imports: Vec::new(),
        exports: Exports::default(),
        toolchain: Toolchain::of(wasm),
        uncalled: Vec::new(),
    };
    let mut calls = Calls::default();
    let (mut exported, mut unnamed, mut runs) = (Vec::new(), None, false);
    // Of a core module.
    let (mut calls_wasi, mut has_memory, mut has_allocator) = (false, false, false);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|err| malformed(wasm.len(), &err))?;
        match &payload {
            Payload::Version { encoding: Encoding::Module, .. } if shape.depth == 0 => found.is_module = true,
            Payload::ImportSection(section) if shape.depth == 0 => {
                for import in section.clone().into_imports() {
                    let import = import.map_err(|err| malformed(wasm.len(), &err))?;
                    // Resources of what a world exports.
                    let name = import.module.strip_prefix("[export]").unwrap_or(import.module);
                    calls_wasi |= name == adapt::PREVIEW1;
                    if name != adapt::PREVIEW1 && !found.imports.iter().any(|known| known == name) {
                        if !is_known(name) {
                            unnamed.get_or_insert_with(|| format!("{}.{}", import.module, import.name));
                        }
                        found.imports.push(name.into());
                    }
                }
            }
            Payload::ExportSection(section) if shape.depth == 0 => {
                for export in section.clone() {
                    let export = export.map_err(|err| malformed(wasm.len(), &err))?;
                    if export.kind == ExternalKind::Func {
                        let interface = export.name.strip_suffix("#handle").unwrap_or_default();
                        found.exports.http |= is(interface, "wasi:http/incoming-handler", "0.2");
                        found.exports.handler |= is(interface, "larder:function/handler", "0.1");
                        runs |= export.name == adapt::START;
                        // Go's is not there yet when the adapter first asks, while the runtime starts.
                        has_allocator |= export.name == "cabi_realloc_adapter"
                            || export.name == "cabi_realloc" && found.toolchain != Toolchain::Go;
                    }
                    has_memory |= export.kind == ExternalKind::Memory && export.name == "memory";
                }
            }
            Payload::ComponentImportSection(section) if shape.depth == 0 => {
                for import in section.clone() {
                    found.imports.push(import.map_err(|err| malformed(wasm.len(), &err))?.name.name.into());
                }
            }
            Payload::ComponentExportSection(section) if shape.depth == 0 => {
                for export in section.clone() {
                    let export = export.map_err(|err| malformed(wasm.len(), &err))?;
                    exported.push(export.name.name.to_owned());
                    if export.kind == ComponentExternalKind::Instance {
                        found.exports.http |= is(export.name.name, "wasi:http/incoming-handler", "0.2");
                        found.exports.handler |= is(export.name.name, "larder:function/handler", "0.1");
                        runs |= is(export.name.name, "wasi:cli/run", "0.2");
                    }
                }
            }
            _ => {}
        }
        shape.count(&payload).map_err(|err| malformed(wasm.len(), &err))??;
        calls.look(&payload).map_err(|err| malformed(wasm.len(), &err))?;
    }
    if let Some(unknown) = unnamed {
        return Err(toolchain::unknown_import(wasm, &unknown));
    }
    if let Some(newer) = found.imports.iter().chain(&exported).find(|name| is_wasi_0_3(name)) {
        return Err(format!(
            "it is made for WASI 0.3 ({newer}), and Larder serves WASI 0.2; build it for 0.2: in Rust with larder-sdk, wstd or wasip2 \
             instead of wasip3, in Python for a world of wasi:http@0.2, in JavaScript with `larder build`"
        ));
    }
    if let Some(unknown) = found.imports.iter().find(|import| !is_known(import)) {
        return Err(format!(
            "it imports {unknown}, which Larder does not have; it has WASI 0.2 with wasi:http, and \
             larder:function/{{{}}}@0.1.0",
            LARDER.join(",")
        ));
    }
    let imports = |name: &str| found.imports.iter().any(|import| is(import, &format!("larder:function/{name}"), "0.1"));
    found.uncalled = LARDER
        .iter()
        .copied()
        .filter(|name| *name != "event-types" && imports(name) && !calls.called.contains(name))
        .collect();
    if found.is_module && (runs || found.exports.handler || found.exports.http) {
        if !has_memory {
            return Err("this core WebAssembly module exports no memory under the name `memory`".into());
        }
        found.shares_no_memory = calls_wasi && !has_allocator && found.toolchain.owns_memory();
    }
    // The last of the kinds: components for wasi:http may export a `run` that does nothing.
    if runs && !found.exports.http && !found.exports.handler {
        found.exports = Exports { http: true, handler: false, command: true };
    }
    if !found.exports.http && !found.exports.handler {
        if found.is_module {
            return Err(toolchain::core_module(wasm));
        }
        return Err(format!(
            "it exports {}, and nothing that Larder can call: export wasi:http/incoming-handler@0.2.x to answer HTTP \
             requests, larder:function/handler@0.1.0 to handle events, or wasi:cli/run@0.2.x to do both as a CGI program",
            if exported.is_empty() { "nothing".into() } else { exported.join(", ") }
        ));
    }
    Ok(found)
}

/// Which interfaces of ours the code of a component calls. Modules within it import functions under the names of their
/// interfaces; one that is imported may still be called by nobody.
#[derive(Default)]
struct Calls {
    called: HashSet<&'static str>,
    /// Of the module that is being read: for each function that it imports, of which interface of ours it is.
    imported: Vec<Option<&'static str>>,
}

impl Calls {
    fn look(&mut self, payload: &Payload<'_>) -> Result<(), wasmparser::Error> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => self.imported.clear(),
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    let import = import?;
                    if matches!(import.ty, TypeRef::Func(_)) {
                        let ours = |name: &&&str| is(import.module, &format!("larder:function/{name}"), "0.1");
                        self.imported.push(LARDER.iter().find(ours).copied());
                    }
                }
            }
            // In tables and as exports of the module they may be called by anybody.
            Payload::ElementSection(_) | Payload::ExportSection(_) if self.is_done() => {}
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    match element?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                self.call(function?);
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                for operator in expression?.get_operators_reader() {
                                    if let Operator::RefFunc { function_index } = operator? {
                                        self.call(function_index);
                                    }
                                }
                            }
                        }
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        self.call(export.index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) if !self.is_done() => {
                for operator in body.get_operators_reader()? {
                    match operator? {
                        Operator::Call { function_index }
                        | Operator::ReturnCall { function_index }
                        | Operator::RefFunc { function_index } => self.call(function_index),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self, function: u32) {
        if let Some(Some(name)) = self.imported.get(function as usize) {
            self.called.insert(name);
        }
    }

    /// There is nothing of ours in this module that was not called yet.
    fn is_done(&self) -> bool {
        self.imported.iter().flatten().all(|name| self.called.contains(name))
    }
}

/// Does it import something that can change things?
pub fn may_have_effects(imports: &[String]) -> bool {
    imports.iter().any(|import| EFFECTFUL.iter().any(|name| is(import, &format!("larder:function/{name}"), "0.1")))
}

fn is_known(import: &str) -> bool {
    let Some((name, _)) = import.split_once('@') else { return false };
    if let Some(interface) = name.strip_prefix("larder:function/") {
        return LARDER.contains(&interface) && is(import, name, "0.1");
    }
    let Some((package, interface)) = name.strip_prefix("wasi:").and_then(|name| name.split_once('/')) else {
        return false;
    };
    WASI.iter().any(|(known, interfaces)| *known == package && interfaces.contains(&interface))
        && is(import, name, "0.2")
}

/// Security faults of wasmtime's implementation of 0.3 get no patch releases (docs/adr/0043).
fn is_wasi_0_3(name: &str) -> bool {
    name.starts_with("wasi:") && name.split_once('@').is_some_and(|(_, version)| version.starts_with("0.3."))
}

/// `wasi:http/types@0.2.6` is `wasi:http/types` of 0.2.
fn is(versioned: &str, name: &str, minor: &str) -> bool {
    let patch = versioned
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('@'))
        .and_then(|version| version.strip_prefix(minor))
        .and_then(|rest| rest.strip_prefix('.'));
    patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

fn not_wasm(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the upload is empty".into();
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return "this is machine code that wasmtime compiled before; upload the WebAssembly component that it was made \
                from"
            .into();
    }
    if bytes.starts_with(b"\0") && b"\0asm".starts_with(bytes) {
        return "the upload is cut off: it ends within the first 4 bytes".into();
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    if ["(module", "(component", "(;", ";;"].iter().any(|begin| text.trim_start().starts_with(begin)) {
        return "this is WebAssembly text; turn it into a binary with `wasm-tools parse`".into();
    }
    "this is not WebAssembly: it does not begin with \\0asm".into()
}

fn malformed(length: usize, err: &wasmparser::Error) -> String {
    if err.offset() >= length || err.message().contains("unexpected end") {
        return format!("the upload is cut off or damaged: it ends after {length} bytes in the middle of a section");
    }
    format!("the upload is damaged: {} at byte {}", err.message(), err.offset())
}

/// Counts what makes compiling expensive, over all nested modules and components.
#[derive(Default)]
struct Shape {
    depth: usize,
    modules: u64,
    functions: u64,
    types: u64,
    segments: u64,
    named: u64,
    globals: u64,
}

impl Shape {
    fn count(&mut self, payload: &Payload<'_>) -> Result<Result<(), String>, wasmparser::Error> {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                self.modules += 1;
                if self.depth > NESTING_MAX {
                    return Ok(Err(format!("its components are nested more than {NESTING_MAX} deep")));
                }
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::TypeSection(section) => self.types += u64::from(section.count()),
            Payload::CoreTypeSection(section) => self.types += u64::from(section.count()),
            Payload::ComponentTypeSection(section) => self.types += u64::from(section.count()),
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::ImportSection(section) => self.named += u64::from(section.count()),
            Payload::ExportSection(section) => self.named += u64::from(section.count()),
            Payload::ComponentImportSection(section) => self.named += u64::from(section.count()),
            Payload::ComponentExportSection(section) => self.named += u64::from(section.count()),
            Payload::ComponentAliasSection(section) => self.named += u64::from(section.count()),
            Payload::GlobalSection(section) => self.globals += u64::from(section.count()),
            Payload::DataSection(section) => self.segments += u64::from(section.count()),
            Payload::ElementSection(section) => self.segments += u64::from(section.count()),
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                if bytes > FUNCTION_BYTES_MAX {
                    return Ok(Err(format!(
                        "one of its functions has {bytes} bytes of code, up to {FUNCTION_BYTES_MAX} are compiled"
                    )));
                }
                let mut locals = 0;
                for group in body.get_locals_reader()? {
                    locals += u64::from(group?.0);
                }
                if locals > FUNCTION_LOCALS_MAX {
                    return Ok(Err(format!(
                        "one of its functions has {locals} locals, up to {FUNCTION_LOCALS_MAX} are compiled"
                    )));
                }
            }
            _ => {}
        }
        for (count, max, what) in [
            (self.modules, MODULES_MAX, "modules and components"),
            (self.functions, FUNCTIONS_MAX, "functions"),
            (self.types, TYPES_MAX, "types"),
            (self.segments, SEGMENTS_MAX, "data and element segments"),
            (self.named, NAMED_MAX, "imports and exports"),
            (self.globals, GLOBALS_MAX, "globals"),
        ] {
            if count > max {
                return Ok(Err(format!("it has {count} {what}, up to {max} are compiled")));
            }
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_minor() {
        assert!(is("wasi:http/types@0.2.6", "wasi:http/types", "0.2"));
        assert!(is("wasi:http/types@0.2.12", "wasi:http/types", "0.2"));
        for other in ["wasi:http/types@0.3.0", "wasi:http/types@0.2", "wasi:http/types", "wasi:http/types2@0.2.0"] {
            assert!(!is(other, "wasi:http/types", "0.2"), "{other}");
        }
        assert!(!is("wasi:http/types@0.2.0-rc-2023-11-10", "wasi:http/types", "0.2"));
        assert!(!is("wasi:http/types@0.20.0", "wasi:http/types", "0.2"));
    }

    #[test]
    fn known_imports() {
        for known in ["wasi:cli/exit@0.2.4", "wasi:sockets/tcp@0.2.10", "larder:function/state@0.1.0"] {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["wasi:keyvalue/store@0.2.0", "wasi:cli/run@0.2.0", "larder:function/handler@0.1.0", "env", ""] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }
}
