//! Where a project's component lies, and whether the file can be one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::javascript;
use crate::manifest::{Language, Manifest};

pub const TARGET: &str = "wasm32-wasip2";

/// The file that the project's build makes, from its folder; `None` if cargo knows it.
pub fn of(manifest: &Manifest) -> Option<PathBuf> {
    let own = manifest.build.component.clone();
    own.or_else(|| (manifest.build.language != Language::Rust).then(|| PathBuf::from(javascript::COMPONENT)))
}

/// `[build].component`, else what the build of its language makes in `folder`.
pub async fn locate(folder: &Path, manifest: &Manifest) -> Result<PathBuf> {
    match of(manifest) {
        Some(component) => Ok(folder.join(component)),
        None => from_cargo(folder).await,
    }
}

/// The bytes, if they begin as a component or a core module does. The platform checks the rest.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!("{} is not there; run `larder build`", file.display())),
        _ => Failure::usage(format!("cannot read {}: {err}", file.display())),
    })?;
    let wrong = |what: &str| Failure::usage(format!("{} is {what}", file.display()));
    match bytes.first_chunk() {
        Some(b"\0asm\x0d\0\x01\0" | b"\0asm\x01\0\0\0") => Ok(bytes),
        _ => Err(wrong("not WebAssembly")),
    }
}

async fn from_cargo(folder: &Path) -> Result<PathBuf> {
    let output = tokio::process::Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|err| unstartable("cargo", &err))?;
    if !output.status.success() {
        return Err(Failure::usage(format!(
            "cannot find the component: set [build].component, or make this a cargo package\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|err| Failure::failed(format!("`cargo metadata` answered something else: {err}")))?;
    let own = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()).join("Cargo.toml");
    let component = component_name(&metadata, &own).map_err(Failure::Usage)?;
    let target = metadata["target_directory"].as_str().unwrap_or("target");
    Ok([target, TARGET, "release", &component].iter().collect())
}

/// The file that the package at `manifest` builds: its cdylib, else its only binary.
fn component_name(metadata: &Value, manifest: &Path) -> std::result::Result<String, String> {
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = items(&metadata["packages"]);
    let is_own = |package: &&Value| package["manifest_path"].as_str().map(Path::new) == Some(manifest);
    let Some(package) = packages.iter().find(is_own) else {
        return Err(format!("{} is no package; set [build].component", manifest.display()));
    };
    let targets = items(&package["targets"]);
    let of_kind = |kind: &str| -> Vec<&str> {
        let has = |target: &&Value| items(&target["kind"]).iter().any(|k| k == kind);
        targets.iter().filter(has).filter_map(|target| target["name"].as_str()).collect()
    };
    match (&of_kind("cdylib")[..], &of_kind("bin")[..]) {
        ([library, ..], _) => Ok(format!("{}.wasm", library.replace('-', "_"))),
        ([], [binary]) => Ok(format!("{binary}.wasm")),
        ([], []) => Err("the package has neither a cdylib nor a binary; set `crate-type = [\"cdylib\"]`".into()),
        ([], binaries) => {
            Err(format!("the package has several binaries ({}); set [build].component", binaries.join(", ")))
        }
    }
}

pub fn unstartable(program: &str, err: &std::io::Error) -> Failure {
    match err.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!("{program} is not installed or not on the PATH")),
        _ => Failure::failed(format!("cannot start {program}: {err}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_packages_own_cdylib_or_only_binary_is_the_component() {
        let named = |targets: Value| {
            let packages = json!({ "packages": [
                { "manifest_path": "/elsewhere/Cargo.toml", "targets": [{ "kind": ["bin"], "name": "other" }] },
                { "manifest_path": "/p/Cargo.toml", "targets": targets },
            ] });
            component_name(&packages, Path::new("/p/Cargo.toml"))
        };
        let bin = |name: &str| json!({ "kind": ["bin"], "name": name });
        assert_eq!(named(json!([{ "kind": ["cdylib", "rlib"], "name": "round-up" }])), Ok("round_up.wasm".into()));
        assert_eq!(named(json!([bin("hello-http")])), Ok("hello-http.wasm".into()));
        assert!(named(json!([bin("a"), bin("b")])).unwrap_err().contains("several binaries (a, b)"));
        assert!(named(json!([{ "kind": ["lib"], "name": "a" }])).unwrap_err().contains("cdylib"));
    }

    #[test]
    fn only_what_begins_as_webassembly_is_uploaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        let reason = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            read(&file).map_err(|failure| failure.text().unwrap())
        };
        assert_eq!(reason(b"\0asm\x0d\0\x01\0").unwrap().len(), 8);
        assert_eq!(reason(b"\0asm\x01\0\0\0").unwrap().len(), 8);
        assert!(reason(b"\0asm").unwrap_err().contains("not WebAssembly"));
        std::fs::remove_file(&file).unwrap();
        assert!(read(&file).unwrap_err().text().unwrap().contains("run `larder build`"));
    }
}
