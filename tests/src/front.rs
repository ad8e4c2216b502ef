//! A front of a Larder, and what somebody could do who has taken it over.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use larder_platform::fronts::authority::{CORE, Identity};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::secure::read_out;
use crate::{Larder, eventually};

/// A process with the role `front` and nothing but its folder.
pub struct Front {
    process: Option<Child>,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
    /// `127.0.0.1:PORT` of its plain listener, and of probes and metrics.
    pub address: String,
    pub internal: String,
}

/// Where a Larder listens for fronts.
pub async fn cores_of(larder: &Larder) -> String {
    eventually("front.listen", async || {
        let log = larder.log();
        let line = log.lines().rfind(|line| line.contains("fronts are listened to"))?;
        line.split(' ').find_map(|word| word.strip_prefix("fronts=")).map(str::to_owned)
    })
    .await
}

impl Front {
    /// Makes the key, enrols it with the core, and starts the front.
    pub async fn start(name: &str, core: &Larder, settings: &[(&'static str, String)]) -> Front {
        let mut front = Front::prepared(settings);
        front.enrol(name, core, &[]).await;
        front.launch();
        front.serves().await;
        front
    }

    /// One that has not been enrolled.
    pub fn prepared(settings: &[(&'static str, String)]) -> Front {
        let (folder, settings) = (crate::folder("larder-front-"), settings.to_vec());
        Front { process: None, settings, folder, address: String::new(), internal: String::new() }
    }

    pub async fn enrol(&self, name: &str, core: &Larder, more: &[&str]) {
        let folder = self.folder().to_str().expect("a path in UTF-8").to_owned();
        let arguments = [&["front", "enrol", name, "--folder", &folder], more].concat();
        let (code, out, err) = core.cli(self.folder.path(), &arguments).await;
        assert_eq!(code, 0, "{out}{err}");
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("front")
    }

    pub fn launch(&mut self) {
        let mut command = Command::new(Larder::binary());
        command
            .args(["serve", "--roles", "front"])
            .env("LARDER_SERVER__LISTEN", "127.0.0.1:0")
            .env("LARDER_SERVER__INTERNAL", "127.0.0.1:0")
            .env("LARDER_FRONT__FOLDER", self.folder())
            .envs(self.settings.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(self.log_file()).expect("a log file"));
        self.process = Some(command.spawn().expect("larder starts"));
    }

    pub async fn serves(&mut self) {
        let before = self.log().len();
        let [address, internal] = eventually("the front to serve", async || {
            let ended = self.process.as_mut().expect("it runs").try_wait().expect("a child of ours");
            let log = self.log();
            assert!(ended.is_none(), "the front ended at its start:\n{log}");
            let line = log.lines().rfind(|line| line.contains(" serves ") && line.contains("root_url="))?;
            let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
            Some([value("listen=")?, value("internal=")?])
        })
        .await;
        let _ = before;
        (self.address, self.internal) = (address, internal);
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().expect("it runs").id();
        kill_process(Pid::from_raw(pid as i32).expect("a process id"), signal).expect("a child of ours");
    }

    /// Waits for the process to end by itself; gives its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let code = eventually("the front to end", async || {
            self.process.as_mut().expect("it was running").try_wait().expect("a child of ours")
        });
        let code = code.await.code();
        self.process = None;
        code
    }

    /// A page of its internal listener.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = crate::api::http().get(format!("http://{}{path}", self.internal)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// A request to any host.
    pub fn at(&self, host: &str, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        crate::api::http().request(method, format!("http://{}{path}", self.address)).header("host", host)
    }

    /// What it shows to cores: the way in for whoever has taken it over.
    pub fn stolen(&self) -> Stolen {
        Stolen::of(&self.folder())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- what the front logged ---\n{}", self.log());
        }
    }
}

/// The key of a front in the hands of somebody else.
pub struct Stolen(pub Identity);

impl Stolen {
    pub fn of(folder: &Path) -> Stolen {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
        Stolen(Identity::from_pem(&read("front.pem"), &read("front.key")).expect("a key and its certificate"))
    }

    /// A connection for requests.
    pub async fn connect(&self, core: &str) -> io::Result<TlsStream<TcpStream>> {
        connect(core, self.0.requests.clone()).await
    }

    /// Sends bytes as they are, where requests are passed on, and reads to the end of the connection.
    pub async fn raw(&self, core: &str, bytes: &str) -> String {
        read_out(self.connect(core).await.expect("a connection"), bytes).await
    }

    /// Asks as a front does for itself; gives the whole answer.
    pub async fn ask(&self, core: &str, method: &str, path: &str) -> String {
        let stream = connect(core, self.0.control.clone()).await.expect("a connection");
        read_out(stream, &format!("{method} {path} HTTP/1.1\r\nhost: core\r\nconnection: close\r\n\r\n")).await
    }
}

pub async fn connect(core: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(CORE).expect("a name");
    TlsConnector::from(config).connect(name, TcpStream::connect(core).await?).await
}
