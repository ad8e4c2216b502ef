//! `larder test`: the project's own tests without Larder, or its component in Larder's sandbox.

use std::process::Stdio;

use tokio::process::Command;

use crate::build::Project;
use crate::failure::{Failure, Result};
use crate::manifest::Language;
use crate::{Session, assemblyscript, component, event_types, go, javascript, python, sandbox, zig};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs `cargo test` for Rust, and test/*.test.ts or test/*.test.js in node for TypeScript and JavaScript,
tests/test_*.py for Python (by pytest where that is installed, else by unittest), test/*.c or test/app_test.zig on this
machine for C and Zig, `go test ./...` for Go, and test/*.test.js in node for AssemblyScript.

With --sandbox the component that `larder build` made runs in the real sandbox, under the limits and grants of larder.toml. It \
is shown what each event would save, emit, store and ask outside; nothing of it is applied and nothing leaves this machine. State goes \
on from one event to the next. Exit code 1 if a run does not end well.

Examples:
  larder test
  larder test --dir round-up
  larder build && larder test --sandbox
  larder test --sandbox --event purchases.json --end-user anna --settings '{\"percent\":\"5\"}'
  larder test --sandbox --recorded 01KB9M6QX5T4Z1R0A3C7D8E9FG
  larder test --sandbox --request 'GET /hello?name=Anna' --json")]
pub struct Args {
    #[command(flatten)]
    project: Project,
    #[command(flatten)]
    sandbox: sandbox::SandboxArgs,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (folder, manifest) = args.project.open()?;
    if args.sandbox.sandbox {
        return sandbox::run(&args.sandbox, &folder, &manifest, session).await;
    }
    event_types::write(&folder, &manifest)?;
    match manifest.build.language {
        Language::C | Language::Zig => zig::test(&folder, &manifest).await,
        Language::AssemblyScript => assemblyscript::test(&folder, &session.console).await,
        Language::Go => go::test(&folder).await,
        Language::Ts | Language::Js => javascript::test(&folder, &manifest, &session.console).await,
        Language::Python => python::test(&folder, &session.console).await,
        Language::Rust => {
            let mut cargo = Command::new("cargo");
            cargo.arg("test").current_dir(&folder).stdout(Stdio::from(std::io::stderr()));
            let status = cargo.status().await.map_err(|err| component::unstartable("cargo", &err))?;
            if status.success() { Ok(()) } else { Err(Failure::failed(format!("`cargo test` failed ({status})"))) }
        }
    }
}
