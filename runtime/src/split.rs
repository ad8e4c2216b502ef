//! A component → the component without its large modules, which are imported by their digests, and those modules.
//!
//! Toolchains that link several modules into one component (`componentize-qjs`, `componentize-py`) put the same engine, byte
//! for byte, beside each program. What is cut out here is compiled once for all components that have it.
//!
//! The rules: **the rest with its modules is the component**, and **what it needs when it is instantiated is bounded as before**:
//! only modules without a memory and a table of their own are cut out, each is instantiated once, and what a store keeps for them
//! is bounded by [`ITEMS_MAX`]. Wasmtime counts the needs of imported modules no further. A component of another shape stays whole.

use bytes::Bytes;
use larder_model::Digest;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    Alias, ComponentAliasSection, ComponentImportSection, ComponentOuterAliasKind, ComponentSection, ComponentTypeRef,
    CoreTypeSection, EntityType, ModuleType,
};
use wasmparser::{
    Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance, CompositeInnerType, Encoding, ExternalKind,
    Instance, Parser, Payload, TypeRef,
};

use crate::inspect::NESTING_MAX;

/// Smaller ones are compiled sooner than their artifact is found.
const MODULE_BYTES_MIN: usize = 128 << 10;
const MODULES_MAX: usize = 4;
/// Functions, globals and imports of all modules that are cut out. A store keeps up to 32 bytes for each of them.
const ITEMS_MAX: u64 = 24_000;
/// Of one component. Those that toolchains make have hundreds.
const SECTIONS_MAX: usize = 10_000;
const HEADER_BYTES: usize = 8;

/// A component in pieces.
pub struct Split {
    /// It imports the modules under the names that [`import_name`] gives them.
    pub rest: Vec<u8>,
    pub modules: Vec<Module>,
}

/// A core module.
pub struct Module {
    pub digest: Digest,
    pub bytes: Bytes,
    ty: ModuleType,
}

/// What the rest imports a module under. No upload can import it: it is not among the known imports.
pub fn import_name(digest: &Digest) -> String {
    format!("module-x{digest}")
}

/// `None`: it stays whole. It is not validated; what is cut out of something invalid is refused when it is compiled.
pub fn split(component: &Bytes) -> Option<Split> {
    let mut cutter = Cutter { whole: component, modules: Vec::new(), items: 0 };
    let rest = cutter.cut(component, 0, true)?;
    (!cutter.modules.is_empty()).then_some(Split { rest, modules: cutter.modules })
}

struct Cutter<'a> {
    whole: &'a Bytes,
    modules: Vec<Module>,
    items: u64,
}

impl<'a> Cutter<'a> {
    /// Looks at all of it, and cuts if it may.
    fn cut(&mut self, component: &'a [u8], depth: u32, may_cut: bool) -> Option<Vec<u8>> {
        if depth as usize > NESTING_MAX {
            return None;
        }
        let sections = sections(component)?;
        let uses = Uses::of(&sections)?;
        // Modules of nested components are imported by the outermost one, where they must not move others.
        let may_cut_nested = may_cut && (depth > 0 || uses.modules.is_empty());
        let (mut modules, mut components) = (uses.modules.into_iter(), uses.components.into_iter());
        let mut out = component.get(..HEADER_BYTES)?.to_vec();
        for Section { bytes, content, payload } in sections {
            let before = self.modules.len();
            match payload {
                Payload::ModuleSection { .. } => {
                    let cut = modules.next()? == 1 && may_cut && self.take(content).is_some();
                    match (cut, depth) {
                        (true, 0) => import(&mut out, &self.modules[before..], before),
                        (true, count) => alias(&mut out, count, before),
                        (false, _) => out.extend_from_slice(bytes),
                    }
                }
                Payload::ComponentSection { .. } => {
                    let nested = self.cut(content, depth + 1, components.next()? == 1 && may_cut_nested)?;
                    if self.modules.len() == before {
                        out.extend_from_slice(bytes);
                        continue;
                    }
                    if depth == 0 {
                        import(&mut out, &self.modules[before..], before);
                    }
                    out.push(wasm_encoder::ComponentSectionId::Component.into());
                    wasm_encoder::Encode::encode(nested.as_slice(), &mut out);
                }
                _ => out.extend_from_slice(bytes),
            }
        }
        Some(out)
    }

    fn take(&mut self, bytes: &'a [u8]) -> Option<()> {
        if bytes.len() < MODULE_BYTES_MIN || self.modules.len() == MODULES_MAX {
            return None;
        }
        let (ty, items) = module_type(bytes)?;
        let digest = Digest::of(bytes);
        if self.items + items > ITEMS_MAX || self.modules.iter().any(|module| module.digest == digest) {
            return None;
        }
        self.items += items;
        self.modules.push(Module { digest, bytes: self.whole.slice_ref(bytes), ty });
        Some(())
    }
}

/// Imports modules, and defines their types before. `from`: how many were imported earlier.
fn import(out: &mut Vec<u8>, modules: &[Module], from: usize) {
    if modules.is_empty() {
        return;
    }
    let (mut types, mut imports) = (CoreTypeSection::new(), ComponentImportSection::new());
    for (index, module) in (from as u32..).zip(modules) {
        types.ty().module(&module.ty);
        imports.import(import_name(&module.digest).as_str(), ComponentTypeRef::Module(index));
    }
    types.append_to_component(out);
    imports.append_to_component(out);
}

/// A module of the outermost component, so many levels out.
fn alias(out: &mut Vec<u8>, count: u32, index: usize) {
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index: index as u32 });
    aliases.append_to_component(out);
}

/// How often each module and each component that a component defines is instantiated in it.
struct Uses {
    modules: Vec<u32>,
    components: Vec<u32>,
}

impl Uses {
    /// `None` if they have other ways in or out, or if their numbers depend on more than their order.
    fn of(sections: &[Section<'_>]) -> Option<Uses> {
        use ComponentExternalKind::{Component, Module};

        let mut uses = Uses { modules: Vec::new(), components: Vec::new() };
        for Section { payload, .. } in sections {
            match payload {
                Payload::ModuleSection { .. } => uses.modules.push(0),
                Payload::ComponentSection { .. } => uses.components.push(0),
                Payload::CoreTypeSection(_) => return None,
                Payload::ComponentImportSection(imports) => {
                    for import in imports.clone() {
                        let ty = import.ok()?.ty;
                        if matches!(
                            ty,
                            wasmparser::ComponentTypeRef::Module(_) | wasmparser::ComponentTypeRef::Component(_)
                        ) {
                            return None;
                        }
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    for export in exports.clone() {
                        if matches!(export.ok()?.kind, Module | Component) {
                            return None;
                        }
                    }
                }
                Payload::ComponentAliasSection(aliases) => {
                    for alias in aliases.clone() {
                        match alias.ok()? {
                            ComponentAlias::InstanceExport { kind: Module | Component, .. } => return None,
                            ComponentAlias::Outer { kind, .. } if kind != wasmparser::ComponentOuterAliasKind::Type => {
                                return None;
                            }
                            _ => {}
                        }
                    }
                }
                Payload::InstanceSection(instances) => {
                    for instance in instances.clone() {
                        if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                            *uses.modules.get_mut(module_index as usize)? += 1;
                        }
                    }
                }
                Payload::ComponentInstanceSection(instances) => {
                    for instance in instances.clone() {
                        if let ComponentInstance::Instantiate { component_index, .. } = instance.ok()? {
                            *uses.components.get_mut(component_index as usize)? += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        Some(uses)
    }
}

struct Section<'a> {
    /// With its id and length.
    bytes: &'a [u8],
    /// Of a module or a component.
    content: &'a [u8],
    payload: Payload<'a>,
}

/// The sections of a component, without a look into what is nested in it.
fn sections(component: &[u8]) -> Option<Vec<Section<'_>>> {
    let (mut parser, mut left, mut sections) = (Parser::new(0), component, Vec::new());
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(left, true).ok()? else { return None };
        let nested = match &payload {
            Payload::Version { encoding: Encoding::Module, .. } => return None,
            // The parser takes it that somebody else reads them.
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                unchecked_range.len()
            }
            _ => 0,
        };
        let (bytes, after) = left.split_at_checked(consumed.checked_add(nested)?)?;
        left = after;
        match payload {
            Payload::Version { .. } => {}
            Payload::End(_) => return Some(sections),
            _ if sections.len() == SECTIONS_MAX => return None,
            payload => sections.push(Section { bytes, content: &bytes[consumed..], payload }),
        }
    }
}

/// The type of a module without a memory and a table of its own, and how many items it has.
fn module_type(module: &[u8]) -> Option<(ModuleType, u64)> {
    let (mut ty, mut items) = (ModuleType::new(), 0);
    let (mut functions, mut globals, mut memories, mut tables) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut parser, mut left) = (Parser::new(0), module);
    let encode = &mut RoundtripReencoder;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(left, true).ok()? else { return None };
        left = &left[consumed..];
        match payload {
            Payload::TypeSection(types) => {
                for group in types {
                    let group = group.ok()?;
                    let mut types = group.types();
                    let (Some(only), None, false) = (types.next(), types.next(), group.is_explicit_rec_group()) else {
                        return None;
                    };
                    let CompositeInnerType::Func(function) = &only.composite_type.inner else { return None };
                    ty.ty().func_type(&encode.func_type(function.clone()).ok()?);
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.ok()?;
                    let entity = encode.entity_type(import.ty).ok()?;
                    match import.ty {
                        TypeRef::Func(_) => functions.push(entity),
                        TypeRef::Global(_) => globals.push(entity),
                        TypeRef::Memory(_) => memories.push(entity),
                        TypeRef::Table(_) => tables.push(entity),
                        TypeRef::Tag(_) | TypeRef::FuncExact(_) => return None,
                    }
                    ty.import(import.module, import.name, entity);
                    items += 1;
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    functions.push(EntityType::Function(index.ok()?));
                    items += 1;
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    globals.push(EntityType::Global(encode.global_type(global.ok()?.ty).ok()?));
                    items += 1;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    let all = match export.kind {
                        ExternalKind::Func => &functions,
                        ExternalKind::Global => &globals,
                        ExternalKind::Memory => &memories,
                        ExternalKind::Table => &tables,
                        ExternalKind::Tag | ExternalKind::FuncExact => return None,
                    };
                    ty.export(export.name, *all.get(export.index as usize)?);
                }
            }
            Payload::MemorySection(section) if section.count() > 0 => return None,
            Payload::TableSection(section) if section.count() > 0 => return None,
            // What follows is no part of the type.
            Payload::CodeSectionStart { .. } | Payload::End(_) => return Some((ty, items)),
            _ => {}
        }
        if items > ITEMS_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Store;
    use wasmtime::component::{Component, Linker};

    use super::*;
    use crate::engine;

    /// A module that multiplies what stands in a memory; `more` in it makes it another.
    fn engine_module(more: &str) -> String {
        let large = "x".repeat(MODULE_BYTES_MIN);
        format!(
            "(core module $engine
               (import \"libc\" \"memory\" (memory 1))
               (import \"libc\" \"base\" (global $base i32))
               (func $times (param i32) (result i32)
                 (i32.mul (local.get 0) (i32.load (global.get $base))))
               (export \"times\" (func $times)) (export \"memory\" (memory 0))
               (data \"{large}\") {more})"
        )
    }

    const LIBC: &str = "(core module $libc
        (memory (export \"memory\") 1) (global (export \"base\") i32 (i32.const 8)) (data (i32.const 8) \"\\07\"))
        (core instance $libc (instantiate $libc))";
    const INSTANCE: &str = "(core instance $i (instantiate $engine (with \"libc\" (instance $libc))))";
    const MAIN: &str = "(core module $main (import \"e\" \"times\" (func $times (param i32) (result i32)))
          (func (export \"run\") (result i32) (call $times (i32.const 6))))
        (core instance $m (instantiate $main (with \"e\" (instance $i))))
        (func $run (result u32) (canon lift (core func $m \"run\")))
        (export \"run\" (func $run))";

    fn flat() -> String {
        format!("{LIBC} {} {INSTANCE} {MAIN}", engine_module(""))
    }

    fn nested(inner: &str) -> String {
        format!(
            "(component $inner {inner}) (instance $one (instantiate $inner)) (alias export $one \"run\" (func $of))
             (export \"run\" (func $of))"
        )
    }

    fn binary(inside: &str) -> Bytes {
        wat::parse_str(format!("(component {inside})")).unwrap().into()
    }

    /// What `run` gives, with the modules linked as [`crate::world`] links them.
    fn run(component: &[u8], modules: &[Module]) -> u32 {
        let engine = engine::for_compiling().unwrap();
        let component = Component::new(&engine, component).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        for module in modules {
            let compiled = wasmtime::Module::new(&engine, &module.bytes).unwrap();
            linker.root().module(&import_name(&module.digest), &compiled).unwrap();
        }
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &component).unwrap();
        instance.get_typed_func::<(), (u32,)>(&mut store, "run").unwrap().call(&mut store, ()).unwrap().0
    }

    #[test]
    fn the_rest_with_its_modules_is_the_component() {
        for text in [flat(), nested(&flat()), nested(&nested(&flat()))] {
            let whole = binary(&text);
            let split = split(&whole).expect("it is cut");
            assert_eq!((run(&whole, &[]), run(&split.rest, &split.modules)), (42, 42));
            assert_eq!(split.modules.len(), 1);
            assert!(split.rest.len() < 8_000, "{}", split.rest.len());
            assert_eq!(split.modules[0].digest, Digest::of(&split.modules[0].bytes));
        }
    }

    #[test]
    fn the_same_module_is_cut_out_of_different_components() {
        let digest = |text: &str| split(&binary(text)).expect("it is cut").modules[0].digest;
        let other = flat().replace("i32.const 6", "i32.const 5");
        assert_eq!(digest(&flat()), digest(&nested(&other)));
        assert_ne!(digest(&flat()), digest(&flat().replace("i32.mul", "i32.add")));
    }

    #[test]
    fn other_shapes_stay_whole() {
        let twice = format!("{INSTANCE} (core instance (instantiate $engine (with \"libc\" (instance $libc)))) {MAIN}");
        let large = engine_module("");
        let globals = "(global i32 (i32.const 0))".repeat(ITEMS_MAX as usize);
        for (why, text) in [
            ("small", flat().replace(&"x".repeat(MODULE_BYTES_MIN), "")),
            (
                "a memory",
                format!("{LIBC} (core module $engine (memory 1) (data \"{}\"))", "x".repeat(MODULE_BYTES_MIN)),
            ),
            ("a table", format!("{LIBC} {} {INSTANCE} {MAIN}", engine_module("(table 1 funcref)"))),
            ("instantiated twice", format!("{LIBC} {large} {twice}")),
            ("never instantiated", format!("{LIBC} {large}")),
            ("its component is instantiated twice", format!("{} (instance (instantiate $inner))", nested(&flat()))),
            ("exported", format!("{} (export \"engine\" (core module $engine))", flat())),
            ("other modules would move", format!("(core module) {}", nested(&flat()))),
            ("reached from within", format!("{} (component (alias outer 1 $engine (core module)))", flat())),
            ("aliased", format!("{} (alias outer 0 $engine (core module))", flat())),
            ("core types", format!("(core type (module)) {}", flat())),
            ("many globals", format!("{LIBC} {} {INSTANCE} {MAIN}", engine_module(&globals))),
        ] {
            assert!(split(&binary(&text)).is_none(), "{why}");
        }
        let module = wat::parse_str(format!("(module (data \"{}\"))", "x".repeat(MODULE_BYTES_MIN))).unwrap();
        assert!(split(&module.into()).is_none());
    }

    /// One is imported, the other stays: an import's name can be there once.
    #[test]
    fn a_module_that_is_there_twice_is_cut_once() {
        let second = engine_module("").replace("$engine", "$again (@name \"engine\")");
        let more = "(core instance (instantiate $again (with \"libc\" (instance $libc))))";
        let whole = binary(&format!("{} {second} {more}", flat()));
        let split = split(&whole).expect("it is cut");
        assert_eq!((split.modules.len(), run(&split.rest, &split.modules)), (1, 42));
    }

    /// None of it may cost the process more than the bytes do, or end it.
    #[test]
    fn what_is_cut_off_deep_or_in_pieces_stays_whole() {
        let whole = binary(&nested(&flat()));
        for length in (0..whole.len()).step_by(97).chain([8, 9, whole.len() - 1]) {
            assert!(split(&whole.slice(..length)).is_none(), "{length}");
        }
        let header = &whole[..HEADER_BYTES];
        let mut deep = header.to_vec();
        for _ in 0..2_000 {
            let mut out = [header, &[wasm_encoder::ComponentSectionId::Component.into()]].concat();
            wasm_encoder::Encode::encode(deep.as_slice(), &mut out);
            deep = out;
        }
        assert!(split(&deep.into()).is_none());
        // Empty sections of types.
        let many: Bytes = [header, &[7, 1, 0].repeat(SECTIONS_MAX + 1)].concat().into();
        assert!(sections(&many).is_none() && sections(&many[..many.len() - 3]).is_some());
        assert!(split(&many).is_none());
    }
}
