//! Components to deploy: the examples, Rust guests of the tests' own, and components written in the text format.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::workspace;

/// Every example that is a function; naming one that does not exist fails the tests. The other one is
/// [`Aggregator`](crate::Aggregator).
pub const EXAMPLES: [&str; 5] = ["hello-http", "round-up", "save-league", "payday", "savings-app"];

/// Guests that only tests and benchmarks run.
const TEST_GUESTS: [&str; 8] = ["caller", "greedy", "hostile", "mirror", "probe", "raw-hello", "signer", "wstd-hello"];

/// All of these.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    EXAMPLES.into_iter().chain(TEST_GUESTS)
}

/// The component of an example or another guest crate of the workspace, built once per run.
pub fn guest(name: &str) -> Vec<u8> {
    let folder = built();
    [name.to_owned(), name.replace('-', "_")]
        .iter()
        .find_map(|name| std::fs::read(folder.join(format!("{name}.wasm"))).ok())
        .unwrap_or_else(|| panic!("there is no guest {name} in {}", folder.display()))
}

/// The component of `hello-http` with so many bytes: what is not code is in a section of its own.
pub fn padded(bytes: usize) -> Vec<u8> {
    let mut wasm = guest("hello-http");
    let content = bytes - wasm.len() - 6;
    wasm.push(0);
    // Five bytes of LEB128, whatever the length.
    wasm.extend((0..5).map(|at| (content >> (7 * at)) as u8 & 0x7f | if at < 4 { 0x80 } else { 0 }));
    wasm.extend([1, b'n']);
    wasm.extend((0..content - 2).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8));
    wasm
}

/// A program like [`padded`], one for each number, that has an engine beside it which is the same for all: a module of the size and
/// shape of those that toolchains put beside programs in other languages.
pub fn with_engine(number: usize) -> Vec<u8> {
    let mut wasm = padded(guest("hello-http").len() + 100 + number);
    // In front of these, in the spaces of their numbers.
    let (mut modules, mut instances, mut at) = (0, 0, 8);
    while let Some(id) = wasm.get(at) {
        let (length, content) = leb(&wasm, at + 1);
        match id {
            1 => modules += 1,
            2 => instances += leb(&wasm, content).0,
            _ => {}
        }
        at = content + length;
    }
    let memory = wat("(module (memory (export \"m\") 1))");
    let large = "x".repeat(200 << 10);
    let code = "(func (export \"f\") (param i32) (result i32) (i32.load (local.get 0)))";
    let engine = wat(&format!("(module (import \"e\" \"m\" (memory 1)) {code} (data \"{large}\"))"));
    // Both are instantiated, the engine with the memory: each number takes a byte.
    assert!(modules < 100 && instances < 100, "the example has grown");
    let (modules, instances) = (modules as u8, instances as u8);
    let made = [2, 0, modules, 0, 0, modules + 1, 1, 1, b'e', 0x12, instances];
    for (id, content) in [(1, memory.as_slice()), (1, &engine), (2, &made)] {
        wasm.push(id);
        wasm.extend((0..5).map(|at| (content.len() >> (7 * at)) as u8 & 0x7f | if at < 4 { 0x80 } else { 0 }));
        wasm.extend_from_slice(content);
    }
    wasm
}

/// A number in LEB128, and where what follows it begins.
fn leb(bytes: &[u8], at: usize) -> (usize, usize) {
    let length = bytes[at..].iter().position(|byte| byte & 0x80 == 0).expect("an end") + 1;
    let value = (0..length).map(|digit| usize::from(bytes[at + digit] & 0x7f) << (7 * digit)).sum();
    (value, at + length)
}

/// So many bytes as the hostile guests write them: each letter 4,096 times.
pub fn poured(bytes: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes + 4096);
    for letter in (b'a'..=b'z').cycle().take(bytes.div_ceil(4096)) {
        all.resize(all.len() + 4096, letter);
    }
    all.truncate(bytes);
    all
}

/// A component in the text format.
pub fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|err| panic!("{err}"))
}

/// Cargo, without what the one that runs the tests says of their package: build scripts of dependencies look at it, and
/// would have everything above them compiled again.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    for (name, _) in std::env::vars() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CFG_"].iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds all guests; gives the folder that they are in.
fn built() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut build = cargo();
        build.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"]).current_dir(workspace());
        build.args(all().flat_map(|name| ["-p", name]));
        assert!(
            build.status().expect("cargo runs").success(),
            "the guests do not build (rustup target add wasm32-wasip2)"
        );
        target_folder().join("wasm32-wasip2/release")
    })
}

/// What cargo makes of the projects that tests begin, so that what they depend on is built once. Projects that are built at the
/// same time need different names.
pub fn projects_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| target_folder().join("projects"))
}

/// What cargo makes, and what tests may keep beside it.
pub fn target_folder() -> PathBuf {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata");
    metadata["target_directory"].as_str().expect("a folder").into()
}
