//! Uploads that are too much in one respect, made rather than written down.

use std::fmt::Write;

use super::corpus::{Ends, Entry, World};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A good component with one more core module in it.
pub fn beside(good: &[u8], module: &[u8]) -> Vec<u8> {
    let mut component = good.to_vec();
    section(&mut component, 1, module);
    component
}

/// A good component with one more module: functions in which every local lives through every loop. What it takes to
/// compile them grows with the square of their size.
pub fn slow_to_compile(good: &[u8], locals: u32, loops: u32, functions: u32) -> Vec<u8> {
    let mut code = Vec::new();
    for at in 0..loops {
        let (one, other) = (at % locals, (at * 7 + 1) % locals);
        code.extend([0x03, 0x40, 0x20]); // loop, local.get
        leb(&mut code, one);
        code.push(0x20); // local.get
        leb(&mut code, other);
        code.extend([0x6a, 0x21]); // i32.add, local.set
        leb(&mut code, one);
        code.push(0x20); // local.get
        leb(&mut code, other);
        code.extend([0x0d, 0x00, 0x0b]); // br_if 0, end
    }
    let mut group = vec![1]; // one group of locals
    leb(&mut group, locals);
    group.push(0x7f); // i32
    let mut module = MODULE.to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]); // the type of a function of nothing
    section(&mut module, 3, &repeated(functions, &[0]));
    section(&mut module, 10, &bodies(&vec![code; functions as usize], &group));
    beside(good, &module)
}

pub fn all(good: &[u8]) -> Vec<Entry> {
    let entry = |name: &str, tries: &str, words: &str, wasm: Vec<u8>| Entry {
        name: format!("upload-{name}"),
        tries: tries.into(),
        ends: Ends::Refused(words.into()),
        world: World::Upload,
        wasm,
    };
    let module = |name: &str, tries: &str, words: &str, sections: &[(u8, Vec<u8>)]| {
        let mut module = MODULE.to_vec();
        for (id, content) in sections {
            section(&mut module, *id, content);
        }
        entry(name, tries, words, beside(good, &module))
    };
    // One type, that of a function of nothing.
    let nothing = || (1, vec![1, 0x60, 0, 0]);
    let text = |text: &str| wat::parse_str(text).expect("text");
    let within = |component: &[u8]| {
        let mut outer = good.to_vec();
        section(&mut outer, 4, component);
        outer
    };
    let mut nested = text("(component)");
    for _ in 0..20 {
        let mut outer = text("(component)");
        section(&mut outer, 4, &nested);
        nested = outer;
    }
    let mut deep = String::from("(component (type $t0 (list u8))");
    let mut tree = deep.clone();
    for at in 0..5_000 {
        let _ = write!(deep, "(type $t{} (list $t{at}))", at + 1);
    }
    for at in 0..40 {
        let _ = write!(tree, "(type $t{} (tuple $t{at} $t{at}))", at + 1);
    }
    vec![
        entry("junk", "what is no WebAssembly at all", "this is not WebAssembly", b"GIF89a, honestly".to_vec()),
        entry("text", "WebAssembly text", "this is WebAssembly text", b"(component)".to_vec()),
        entry("core-module", "a core module", "this is a core WebAssembly module", text("(module)")),
        entry("truncated", "half a component", "the upload is cut off", good[..good.len() / 2].to_vec()),
        entry("damaged", "a component with a byte changed in its middle", "", {
            let mut damaged = good.to_vec();
            damaged[10] ^= 0xff;
            damaged
        }),
        entry(
            "unknown-import",
            "a component that imports a vault",
            "it imports acme:bank/vault@1.0.0, which Larder does not have",
            text(r#"(component (import "acme:bank/vault@1.0.0" (instance)))"#),
        ),
        entry("useless", "a component that exports nothing", "it exports nothing", text("(component)")),
        entry("nesting", "components in components in components", "nested more than 16 deep", within(&nested)),
        entry(
            "deep-type",
            "a list of lists of lists, five thousand deep",
            "does not compile",
            within(&text(&(deep + ")"))),
        ),
        entry("type-tree", "a type that doubles forty times", "does not compile", within(&text(&(tree + ")")))),
        entry("modules", "too many modules", "modules and components, up to 200", {
            let mut many = good.to_vec();
            (0..201).for_each(|_| section(&mut many, 1, MODULE));
            many
        }),
        module(
            "functions",
            "too many functions",
            "functions, up to 200000",
            &[nothing(), (3, repeated(200_001, &[0])), (10, repeated(200_001, &[2, 0, 0x0b]))],
        ),
        module(
            "function-size",
            "a function that is too long",
            "bytes of code, up to 524288",
            &[nothing(), (3, vec![1, 0]), (10, bodies(&[vec![0x01; 600_000]], &[0]))],
        ),
        module(
            "locals",
            "a function with too many locals",
            "20001 locals, up to 20000",
            &[
                nothing(),
                (3, vec![1, 0]),
                (10, {
                    let mut group = vec![1];
                    leb(&mut group, 20_001);
                    group.push(0x7f);
                    bodies(&[vec![]], &group)
                }),
            ],
        ),
        module("types", "too many types", "types, up to 50000", &[(1, repeated(50_001, &[0x60, 0, 0]))]),
        module(
            "segments",
            "too many data segments",
            "data and element segments, up to 100000",
            &[(11, repeated(100_001, &[1, 0]))],
        ),
        module(
            "exports",
            "too many exports",
            "imports and exports, up to 100000",
            &[
                nothing(),
                (3, vec![1, 0]),
                (
                    7,
                    numbered(100_001, |at, to| {
                        let name = format!("{at:x}");
                        to.push(name.len() as u8);
                        to.extend(name.as_bytes());
                        to.extend([0, 0]);
                    }),
                ),
                (10, bodies(&[vec![]], &[0])),
            ],
        ),
        module(
            "name",
            "a name of half a megabyte",
            "does not compile",
            &[
                nothing(),
                (3, vec![1, 0]),
                (7, {
                    let mut export = vec![1];
                    leb(&mut export, 500_000);
                    export.resize(export.len() + 500_000, b'x');
                    export.extend([0, 0]);
                    export
                }),
                (10, bodies(&[vec![]], &[0])),
            ],
        ),
        module(
            "globals",
            "too many globals",
            "globals, up to 100000",
            &[(6, repeated(100_001, &[0x7f, 0, 0x41, 0, 0x0b]))],
        ),
    ]
}

fn repeated(count: u32, item: &[u8]) -> Vec<u8> {
    numbered(count, |_, to| to.extend(item))
}

fn numbered(count: u32, item: impl Fn(u32, &mut Vec<u8>)) -> Vec<u8> {
    let mut content = Vec::new();
    leb(&mut content, count);
    (0..count).for_each(|at| item(at, &mut content));
    content
}

/// Functions of this code, each with these locals.
fn bodies(codes: &[Vec<u8>], locals: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    leb(&mut content, codes.len() as u32);
    for code in codes {
        leb(&mut content, (locals.len() + code.len() + 1) as u32);
        content.extend(locals);
        content.extend(code);
        content.push(0x0b);
    }
    content
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    leb(to, content.len() as u32);
    to.extend(content);
}

/// LEB128, the variable-length numbers of WebAssembly.
fn leb(to: &mut Vec<u8>, mut number: u32) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
