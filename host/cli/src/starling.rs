//! `engine = "starling"`: TypeScript and JavaScript on StarlingMonkey, by jco from npm. A function may wait there, and has the
//! engine's own web APIs. One that listens for `fetch` is a standard guest of wasi:http, without the SDK.

use std::path::Path;

use larder_model::Grants;

use crate::failure::{Failure, Result};
use crate::javascript::Handles;
use crate::npm;
use crate::world;

/// The version of WASI that the engine speaks. jco refuses another one for what is exported.
const VERSION: &str = "0.2.10";
const INCOMING: &str = "wasi:http/incoming-handler@0.2.10";
/// The packages of WASI that jco carries, whole. Those of another version are not.
const PACKAGES: &str = "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12";
const PACKAGES_VERSION: &str = "0.2.12";

/// Says what to install before anything else fails.
pub fn find(folder: &Path) -> Result<()> {
    npm::installed(folder, "jco").map(drop)
}

/// What is loaded in node, to see what the function handles. One that listens by itself exports nothing.
pub fn check(source: &str) -> String {
    format!(
        "import \"@larder/sdk/building-starling\";\nimport * as all from \"../../{source}\";\n\
         const [name] = [\"default\"];\nexport default all[name];\n"
    )
}

/// Names in the guide, and interfaces. The engine has stdout, stderr and randomness of its own.
fn imports(grants: &Grants) -> Vec<(&'static str, String)> {
    let own = world::imports(grants).into_iter().filter(|import| !["stdout", "stderr"].contains(&import.name));
    own.map(|import| (import.name, import.interface.replace("@0.2.6", &format!("@{VERSION}")))).collect()
}

/// Writes the world, and what it names.
pub fn write_world(folder: &Path, wit: &Path, grants: &Grants, handles: &Handles) -> Result<()> {
    let imports = if handles.listens { vec![] } else { imports(grants) };
    let imports: Vec<&str> = imports.iter().map(|(_, interface)| interface.as_str()).collect();
    let exports = [(handles.event, world::HANDLER), (handles.request, INCOMING)];
    let exports: Vec<&str> = exports.into_iter().filter_map(|(handled, export)| handled.then_some(export)).collect();
    world::write_own(&folder.join(wit), &imports, &exports)?;
    let packages = folder.join(PACKAGES);
    let failed = |err: std::io::Error| {
        let line = npm::install_line("jco");
        Failure::usage(format!("{}: {err}; this version of jco is tried: {line}", packages.display()))
    };
    for package in std::fs::read_dir(&packages).map_err(failed)?.flatten() {
        let text = std::fs::read_to_string(package.path().join("package.wit")).map_err(failed)?;
        let path = wit.join("deps").join(package.file_name()).join("package.wit");
        world::write_file(&folder.join(path), &of_the_engine(&text))?;
    }
    Ok(())
}

/// A package of WASI as the engine has it.
fn of_the_engine(wit: &str) -> String {
    let lines = wit.lines().filter(|line| !line.contains("@unstable(feature = network-error-code)"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.replace(PACKAGES_VERSION, VERSION).replace("version = 0.2.11", &format!("version = {VERSION}"))
}

/// What the component runs.
pub fn entry_point(grants: &Grants, handles: &Handles, source: &str) -> String {
    if handles.listens {
        return format!("import \"../../{source}\";\n");
    }
    let imports = imports(grants);
    let lines: String =
        imports.iter().map(|(name, interface)| format!("import * as {name} from {interface:?};\n")).collect();
    let names: Vec<&str> = imports.iter().map(|(name, _)| *name).chain(["http"]).collect();
    let mut exports = String::new();
    if handles.event {
        exports += "export const handler = { handle: definition.handle };\n";
    }
    if handles.request {
        exports += "listen(definition.serve);\n";
    }
    format!(
        "import \"@larder/sdk/globals\";\nimport {{ bind }} from \"@larder/sdk/host\";\n\
         import {{ http, listen }} from \"@larder/sdk/starling\";\n{lines}\
         import definition from \"../../{source}\";\n\nbind({{ {} }});\n{exports}",
        names.join(", ")
    )
}

/// Makes the component. Without a grant for it, nothing of outgoing requests is imported.
pub async fn componentize(folder: &Path, wit: &Path, bundle: &Path, to: &Path, fetches: bool) -> Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (wit, bundle, to) = (text(wit), text(bundle), text(to));
    let mut options = vec!["componentize", &bundle, "-w", &wit, "-n", "app", "-o", &to];
    if !fetches {
        options.extend(["--disable", "http"]);
    }
    npm::run(folder, "jco", &options).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_engine() {
        let theirs = "package wasi:sockets@0.2.12;\n@since(version = 0.2.11)\ninterface network {\n    \
                      @unstable(feature = network-error-code)\n    use wasi:io/error@0.2.12.{error};\n}";
        let ours = "package wasi:sockets@0.2.10;\n@since(version = 0.2.10)\ninterface network {\n    \
                    use wasi:io/error@0.2.10.{error};\n}\n";
        assert_eq!(of_the_engine(theirs), ours);
    }

    #[test]
    fn a_world_has_what_is_granted_and_handled() {
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join(PACKAGES).join("wasi-cli");
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("package.wit"), "package wasi:cli@0.2.12;\n").unwrap();
        let world = |grants: &Grants, event, request, listens| {
            let handles = Handles { event, request, listens };
            write_world(folder.path(), Path::new("wit"), grants, &handles).unwrap();
            std::fs::read_to_string(folder.path().join("wit/world.wit")).unwrap()
        };
        let saves = Grants { state: true, ..Grants::default() };
        let text = world(&saves, true, true, false);
        for line in ["import larder:function/state@0.1.0;", "export wasi:http/incoming-handler@0.2.10;", HANDLES] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("wasi:random/random@0.2.10") && !text.contains("stdout") && !text.contains("savings"));
        // A standard guest imports nothing of ours.
        let text = world(&saves, false, true, true);
        assert!(!text.contains("import") && !text.contains(HANDLES), "{text}");
        let deps = std::fs::read_to_string(folder.path().join("wit/deps/wasi-cli/package.wit")).unwrap();
        assert_eq!(deps, "package wasi:cli@0.2.10;\n");
        // What is not there is named with the line that installs it.
        let missing = find(folder.path()).unwrap_err().text().unwrap();
        assert!(missing.contains("jco is not installed here; add it: npm install --save-dev"), "{missing}");
        assert!(missing.contains("@bytecodealliance/jco@") && missing.contains("preview2-shim@0.26.0"), "{missing}");
    }

    const HANDLES: &str = "export larder:function/handler@0.1.0;";

    #[test]
    fn an_entry_binds_what_the_world_imports() {
        let handles = Handles { event: true, request: false, listens: false };
        let code = entry_point(&Grants::default(), &handles, "src/index.ts");
        assert!(code.contains("import * as environment from \"wasi:cli/environment@0.2.10\";"), "{code}");
        assert!(code.contains("bind({ enrolment, attributes, environment, random, http });"), "{code}");
        assert!(code.contains("export const handler") && !code.contains("listen(definition"), "{code}");
        let standard = Handles { event: false, request: true, listens: true };
        assert_eq!(entry_point(&Grants::default(), &standard, "src/index.js"), "import \"../../src/index.js\";\n");
    }
}
