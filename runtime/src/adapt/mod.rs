//! A core module → the component that is compiled in its place.
//!
//! What a module imports of WASI preview 1 becomes WASI 0.2 by wasmtime's adapter; its `main` becomes `wasi:cli/run`. It may
//! also import our interfaces, and export our handler, under their names in the canonical ABI: their types are known here, so
//! a toolchain without a Component Model needs none. Toolchains that have one describe their world in a section of the module
//! (`component-type…`), and that is used instead.

mod reserve;

use std::sync::OnceLock;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::inspect::Found;
use crate::toolchain;

/// What a module imports WASI preview 1 by.
pub const PREVIEW1: &str = WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
/// Where a program begins.
pub const START: &str = "_start";

/// The component of a module that was looked at. A refusal is for the uploader.
pub fn component(module: &[u8], found: &Found) -> Result<Vec<u8>, String> {
    let mut module = match found.shares_no_memory {
        true => reserve::reserve(module).ok_or_else(|| toolchain::no_allocator(found.toolchain))?,
        false => module.to_vec(),
    };
    if !describes_itself(&module) {
        let (resolve, package) = contract();
        let world = if found.exports.handler { "event-function" } else { "imports" };
        let world = resolve.select_world(&[*package], Some(world)).map_err(refusal)?;
        embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).map_err(refusal)?;
    }
    let adapter = match found.exports.command {
        true => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        false => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    };
    let encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.adapter(PREVIEW1, adapter));
    encoder.and_then(|mut encoder| encoder.encode()).map_err(refusal)
}

fn refusal(err: impl std::fmt::Display) -> String {
    let why = format!("{err:#}");
    let line: Vec<&str> = why.split_whitespace().collect();
    format!("no component can be made of this core module: {}", line.join(" ").chars().take(500).collect::<String>())
}

fn describes_itself(module: &[u8]) -> bool {
    let is_type =
        |payload| matches!(payload, Ok(Payload::CustomSection(it)) if it.name().starts_with("component-type"));
    Parser::new(0).parse_all(module).any(is_type)
}

/// Our interfaces.
fn contract() -> &'static (Resolve, PackageId) {
    static CONTRACT: OnceLock<(Resolve, PackageId)> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("larder.wit", include_str!("../../../sdk/wit/larder.wit"));
        (resolve, package.expect("our interfaces parse, as the bindings show"))
    })
}
