//! Servers in processes of their own: the bare embedding, and others that one might use instead if they are installed.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use larder_tests::services::free_port;

use crate::bare_server;

/// How long one may take until it serves: `wasmtime serve` compiles first.
const PATIENCE: Duration = Duration::from_secs(30);

/// Killed when it is dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Serves the components of a folder ([`crate::in_process::bare_files`]).
    pub fn bare(folder: &Path) -> anyhow::Result<Server> {
        let mut process = quiet(Command::new(std::env::current_exe()?).arg(bare_server::ARGUMENT).arg(folder))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("it has a stdout")?).read_line(&mut line)?;
        let mut server = Server { process, address: ([127, 0, 0, 1], 0).into() };
        server.address = line.trim().parse().with_context(|| format!("the bare server said {line:?}"))?;
        Ok(server)
    }

    /// `wasmtime serve` with the settings that the bare embedding has; `None` if it is not installed.
    pub fn wasmtime(program: &Path, component: &Path) -> anyhow::Result<Option<Server>> {
        const TUNED: &str = "pooling-allocator=y,pooling-memory-keep-resident=2097152,pooling-table-keep-resident=65536,\
             pooling-pagemap-scan=auto";
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program);
        command.args(["serve", "-S", "cli", "-O", TUNED, "--addr", &address.to_string()]).arg(component);
        Server::start(command, address)
    }

    /// A worker that greets; `None` if it is not installed.
    pub fn workerd(program: &Path, folder: &Path) -> anyhow::Result<Option<Server>> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = folder.join("hello.capnp");
        let text = format!(
            r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .hello)],
  sockets = [(name = "http", address = "{address}", http = (), service = "main")]
);
const hello :Workerd.Worker = (
  modules = [(name = "hello", esModule = "export default {{ fetch() {{ return new Response('Hello, world!\\n'); }} }};")],
  compatibilityDate = "2026-01-01"
);
"#
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config);
        Server::start(command, address)
    }

    fn start(mut command: Command, address: SocketAddr) -> anyhow::Result<Option<Server>> {
        let process = match quiet(&mut command).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(process) => process,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err).with_context(|| format!("{command:?}")),
        };
        let mut server = Server { process, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if server.process.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("it does not serve: {command:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(server))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
