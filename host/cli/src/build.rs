//! `larder build`: the project's source → its component.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::component::{self, TARGET};
use crate::console::size;
use crate::failure::{Failure, Result};
use crate::manifest::{FILE_NAME, Language, Manifest};
use crate::{Session, assemblyscript, event_types, go, javascript, python, zig};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds the project as [build].language of larder.toml says: Rust by `cargo build --release --target \
wasm32-wasip2`, TypeScript and JavaScript by tsc, esbuild and componentize-qjs from npm (`engine = \"starling\"`: by jco), Python by mypy and \
componentize-py, C and Zig by zig (`ziglang` from PyPI), Go by its stock compiler, AssemblyScript by asc from npm. [build].command is run instead if it \
is set. Prints where the component is.

Examples:
  larder build
  larder build --dir round-up")]
pub struct Args {
    #[command(flatten)]
    project: Project,
}

/// Which project a command is about.
#[derive(Debug, clap::Args)]
pub struct Project {
    /// The project's folder
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    dir: PathBuf,
    /// The project's manifest [default: larder.toml in its folder]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

impl Project {
    /// The folder that the manifest's paths start from, and the manifest.
    pub fn open(&self) -> Result<(PathBuf, Manifest)> {
        match &self.manifest {
            None if self.dir == Path::new(".") => Ok((self.dir.clone(), Manifest::read(Path::new(FILE_NAME))?)),
            None => Ok((self.dir.clone(), Manifest::read(&self.dir.join(FILE_NAME))?)),
            Some(file) if self.dir == Path::new(".") => {
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(&self.dir);
                Ok((folder.to_owned(), Manifest::read(file)?))
            }
            Some(file) => Ok((self.dir.clone(), Manifest::read(file)?)),
        }
    }
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (folder, manifest) = args.project.open()?;
    event_types::write(&folder, &manifest)?;
    if manifest.build.command.is_none() && manifest.build.language != Language::Rust {
        match manifest.build.language {
            Language::C | Language::Zig => zig::build(&folder, &manifest).await?,
            Language::Python => python::build(&folder, &manifest, &session.console).await?,
            Language::AssemblyScript => assemblyscript::build(&folder, &manifest, &session.console).await?,
            Language::Go => go::build(&folder, &manifest).await?,
            language => javascript::build(&folder, &manifest, language, &session.console).await?,
        }
        return built(&folder, &manifest, session).await;
    }
    let mut command = match &manifest.build.command {
        Some(line) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
        None => {
            check_target(&folder).await?;
            let mut cargo = Command::new("cargo");
            cargo.args(["build", "--release", "--target", TARGET]);
            cargo
        }
    };
    let name = manifest.build.command.as_deref().unwrap_or("cargo build");
    // What the build prints is progress, not our data.
    let status = command
        .current_dir(&folder)
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .await
        .map_err(|err| component::unstartable(name, &err))?;
    if !status.success() {
        return Err(Failure::failed(format!("`{name}` failed ({status})")));
    }
    built(&folder, &manifest, session).await
}

/// Says where the component is.
async fn built(folder: &Path, manifest: &Manifest, session: &Session) -> Result<()> {
    let file = component::locate(folder, manifest).await?;
    let bytes = component::read(&file)?.len() as u64;
    if session.console.json {
        return session.console.value(&json!({ "component": file, "sizeBytes": bytes }));
    }
    session.console.note(&format!("built {}", size(bytes)));
    session.console.line(&file.display().to_string())
}

/// Says what to install before cargo fails with something longer. Without a rustc to ask, cargo may know better.
async fn check_target(folder: &Path) -> Result<()> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .await;
    match asked {
        Ok(output) if output.status.success() => {
            let folder = String::from_utf8_lossy(&output.stdout);
            if Path::new(folder.trim()).is_dir() {
                return Ok(());
            }
            Err(Failure::usage(format!(
                "the Rust target {TARGET} is not installed; run:\n  rustup target add {TARGET}"
            )))
        }
        _ => Ok(()),
    }
}
