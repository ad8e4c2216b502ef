//! Which toolchain made an upload, and what that means for whoever uploads it.
//!
//! Toolchains say so in the custom section `producers` of a module or component; those that do not have other signs.

use wasmparser::{KnownCustom, Parser, Payload};

/// The toolchain of an upload, as far as it says.
///
/// ```
/// use larder_runtime::toolchain::Toolchain;
///
/// // A module without a custom section.
/// assert_eq!(Toolchain::of(b"\0asm\x01\0\0\0"), Toolchain::Unknown);
/// assert_eq!(Toolchain::Go.name(), "Go");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    AssemblyScript,
    C,
    Go,
    JavaScript,
    Python,
    Rust,
    TinyGo,
    Zig,
    Unknown,
}

/// From the particular to the general: an interpreter that was written in C says so as well.
const SIGNS: [(&str, Toolchain); 12] = [
    ("componentize-py", Toolchain::Python),
    ("componentizejs", Toolchain::JavaScript),
    ("componentize-js", Toolchain::JavaScript),
    ("starlingmonkey", Toolchain::JavaScript),
    ("javascript", Toolchain::JavaScript),
    ("tinygo", Toolchain::TinyGo),
    ("assemblyscript", Toolchain::AssemblyScript),
    ("zig", Toolchain::Zig),
    ("rust", Toolchain::Rust),
    ("go", Toolchain::Go),
    ("clang", Toolchain::C),
    ("c", Toolchain::C),
];

impl Toolchain {
    /// Looks at nothing that does not parse.
    pub fn of(wasm: &[u8]) -> Toolchain {
        let mut words = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload {
                Ok(Payload::CustomSection(section)) => match section.as_known() {
                    KnownCustom::Producers(fields) => {
                        let values = fields.into_iter().flatten().flat_map(|field| field.values.into_iter().flatten());
                        words.extend(values.map(|value| value.name.to_ascii_lowercase()));
                    }
                    _ if section.name() == "go:buildid" => words.push("go".into()),
                    _ => {}
                },
                Ok(Payload::ImportSection(imports)) => {
                    // Its run-time asks for this and nobody else's does.
                    let mut imports = imports.into_imports().flatten();
                    if imports.any(|import| (import.module, import.name) == ("env", "abort")) {
                        words.push("assemblyscript".into());
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let says = |sign: &str, word: &String| match sign.len() {
            ..=2 => word == sign,
            _ => word.contains(sign),
        };
        let found = SIGNS.iter().find(|(sign, _)| words.iter().any(|word| says(sign, word)));
        found.map_or(Toolchain::Unknown, |(_, toolchain)| *toolchain)
    }

    pub fn name(self) -> &'static str {
        match self {
            Toolchain::AssemblyScript => "AssemblyScript",
            Toolchain::C => "C or C++",
            Toolchain::Go => "Go",
            Toolchain::JavaScript => "jco (JavaScript)",
            Toolchain::Python => "componentize-py (Python)",
            Toolchain::Rust => "Rust",
            Toolchain::TinyGo => "TinyGo",
            Toolchain::Zig => "Zig",
            Toolchain::Unknown => "an unknown toolchain",
        }
    }

    /// Does it import all of the world that it binds, whatever the code calls?
    pub fn imports_all(self) -> bool {
        matches!(self, Toolchain::JavaScript | Toolchain::Python)
    }

    /// Does its allocator take it that nobody else makes the memory of a module grow? The adapter for WASI preview 1 does,
    /// unless the module allocates for it: then both would write to the same pages.
    pub fn owns_memory(self) -> bool {
        matches!(self, Toolchain::Go | Toolchain::TinyGo | Toolchain::AssemblyScript)
    }

    /// The way from here to a component that is served.
    fn way(self) -> &'static str {
        match self {
            Toolchain::Rust => {
                "build it with `cargo build --release --target wasm32-wasip2`, with wstd for HTTP or larder-sdk for events"
            }
            Toolchain::Go => {
                "build a package main with `GOOS=wasip1 GOARCH=wasm go build -o app.wasm .`: its main() answers as a CGI program"
            }
            Toolchain::TinyGo => {
                "build it with `tinygo build -target=wasip2 --wit-package wit --wit-world WORLD`, for a world that exports \
                 wasi:http/incoming-handler or larder:function/handler"
            }
            Toolchain::Zig | Toolchain::C => {
                "build it for wasm32-wasi with a main(), which answers as a CGI program, or bind the world with \
                 `wit-bindgen c` and build with -mexec-model=reactor and without a main()"
            }
            Toolchain::AssemblyScript => {
                "export `larder:function/handler@0.1.0#handle` or `_start`, and build with `--use abort=` and a function of \
                 your own"
            }
            Toolchain::JavaScript => "build it with `jco componentize`",
            Toolchain::Python => "build it with `componentize-py componentize`",
            Toolchain::Unknown => {
                "build it with a component toolchain (Rust: --target wasm32-wasip2; JavaScript: jco; Python: \
                 componentize-py; C: wit-bindgen), for a world that exports wasi:http/incoming-handler or \
                 larder:function/handler"
            }
        }
    }
}

/// Why a core module without anything to call is not taken, and what its maker can do.
pub fn core_module(wasm: &[u8]) -> String {
    let (toolchain, made) = made(wasm);
    format!(
        "this is a core WebAssembly module{made}, and it exports nothing that Larder can call: neither _start nor \
         larder:function/handler@0.1.0#handle; {}",
        toolchain.way()
    )
}

/// The same of one that imports something else than WASI and our interfaces.
pub fn unknown_import(wasm: &[u8], import: &str) -> String {
    let (toolchain, made) = made(wasm);
    format!(
        "this is a core WebAssembly module{made}, and it imports {import}, which Larder does not have: such a module may \
         import wasi_snapshot_preview1, and larder:function/savings@0.1.0 and its like; {}",
        toolchain.way()
    )
}

/// Why a core module whose allocator would write to the adapter's memory is not taken.
pub fn no_allocator(toolchain: Toolchain) -> String {
    let way = match toolchain {
        Toolchain::Go => "build it as it is made by `GOOS=wasip1 GOARCH=wasm go build` of Go 1.24 or later",
        _ => "export `cabi_realloc`, from which the adapter for WASI preview 1 takes its own",
    };
    format!(
        "this is a core WebAssembly module, made by {}, which keeps all of its memory for itself, and it is not known where \
         another page fits: {way}",
        toolchain.name()
    )
}

fn made(wasm: &[u8]) -> (Toolchain, String) {
    let toolchain = Toolchain::of(wasm);
    match toolchain {
        Toolchain::Unknown => (toolchain, String::new()),
        known => (toolchain, format!(", made by {}", known.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A custom section.
    fn custom(name: &str, content: &[u8]) -> Vec<u8> {
        let body = [&[name.len() as u8], name.as_bytes(), content].concat();
        [&[0, body.len() as u8], body.as_slice()].concat()
    }

    fn module(sections: &[Vec<u8>]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
    }

    fn producers(field: &str, name: &str) -> Vec<u8> {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        custom("producers", &[vec![1], text(field), vec![1], text(name), text("1.0")].concat())
    }

    #[test]
    fn toolchains_are_recognised() {
        for (section, expected) in [
            (producers("processed-by", "rustc"), Toolchain::Rust),
            (producers("language", "Rust"), Toolchain::Rust),
            (producers("processed-by", "TinyGo"), Toolchain::TinyGo),
            (producers("language", "Go"), Toolchain::Go),
            (custom("go:buildid", b"\xff Go build ID: \"x\""), Toolchain::Go),
            (producers("processed-by", "clang"), Toolchain::C),
            (producers("language", "C11"), Toolchain::Unknown),
            (producers("language", "C"), Toolchain::C),
            (producers("processed-by", "zig"), Toolchain::Zig),
            (producers("processed-by", "ComponentizeJS"), Toolchain::JavaScript),
            (producers("processed-by", "componentize-py"), Toolchain::Python),
            (producers("processed-by", "cargo-component"), Toolchain::Unknown),
            (custom("name", b""), Toolchain::Unknown),
            (custom("producers", b"\xff\xff"), Toolchain::Unknown),
        ] {
            assert_eq!(Toolchain::of(&module(&[section])), expected);
        }
        // An interpreter written in C, with the code of a script in it.
        let both = [producers("processed-by", "clang"), producers("processed-by", "componentize-py")];
        assert_eq!(Toolchain::of(&module(&both)), Toolchain::Python);
        assert_eq!(Toolchain::of(b"\0asm"), Toolchain::Unknown);
        // (import "env" "abort" (func))
        let abort = vec![1, 4, 1, 0x60, 0, 0, 2, 13, 1, 3, b'e', b'n', b'v', 5, b'a', b'b', b'o', b'r', b't', 0, 0];
        assert_eq!(Toolchain::of(&module(&[abort])), Toolchain::AssemblyScript);
    }

    #[test]
    fn advice_fits_the_language() {
        let advice = |section| core_module(&module(&[section]));
        assert!(advice(custom("go:buildid", b"x")).contains("GOOS=wasip1 GOARCH=wasm go build"));
        assert!(advice(producers("processed-by", "zig")).contains("wit-bindgen c"));
        assert!(advice(producers("processed-by", "rustc")).contains("--target wasm32-wasip2"));
        for section in
            [custom("go:buildid", b"x"), producers("processed-by", "zig"), producers("processed-by", "clang")]
        {
            assert!(!advice(section).contains("wasm32-wasip2"));
        }
    }
}
