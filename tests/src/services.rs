//! MariaDB and Redis for tests.
//!
//! * [`MariaDb`], [`Redis`], [`Pebble`]: a private server in a folder, killed and restarted at will on the same port and data.
//! * [`Database`]: a database of one test's own, dropped at its end, on a MariaDB that all tests of this process share.
//! * [`redis_url`]: the Redis that they share; each takes a prefix of its own.
//!
//! The shared ones are those of `LARDER_TEST_MARIADB_URL` and `LARDER_TEST_REDIS_URL`, or are started at their first use.
//! A server ends with the process that started it, however that ends: see [`Keeper`].

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

use crate::Random;

const INSTALL: &str = "MariaDB, Redis and pebble are needed and this was not found: ";
const HOW: &str = "\n  Debian, Ubuntu: apt-get install --no-install-recommends mariadb-server redis-server pebble\n  macOS: brew install mariadb redis; \
     make setup-authority\n  \
     or set LARDER_TEST_MARIADB_URL (mysql://root@127.0.0.1:3306) and LARDER_TEST_REDIS_URL (redis://127.0.0.1:6379)";
/// Besides those of PATH.
const FOLDERS: [&str; 8] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/opt/homebrew/opt/redis/bin",
    "/usr/local/opt/mariadb/bin",
    "/usr/local/bin",
];
const START: Duration = Duration::from_secs(60);
/// Databases that an interrupted run left behind are dropped after this time.
const LEFT_SECONDS: u64 = 6 * 3600;

/// A shell that holds a server. It waits for a word from us, and at the end of the pipe, which comes also with our own
/// SIGKILL, it kills the server and removes its folder. In a process group of its own, so that Ctrl-C does not end it early.
struct Keeper {
    shell: Child,
    word: ChildStdin,
}

impl Keeper {
    const SCRIPT: &str = r#"
        "$@" >>"$0/log" 2>&1 &
        read -r word
        case $word in
            stop) kill -TERM $! ;;
            *) kill -KILL $! ;;
        esac
        wait
        [ -n "$word" ] || rm -rf "$0""#;

    fn start(folder: &Path, server: &mut Command) -> Keeper {
        let mut shell = Command::new("sh")
            .args(["-c", Keeper::SCRIPT])
            .arg(folder)
            .arg(server.get_program())
            .args(server.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let word = shell.stdin.take().expect("a pipe");
        Keeper { shell, word }
    }

    /// Ends the server in this way and waits for it; the folder stays.
    fn end(mut self, word: &str) {
        self.word.write_all(format!("{word}\n").as_bytes()).expect("the keeper listens");
        self.shell.wait().expect("a child of ours");
    }
}

/// What one says to a server that serves, and whether that is what it answers.
type Hello = (&'static [u8], fn(&[u8]) -> bool);

/// What MariaDB and Redis have in common.
struct Server {
    folder: PathBuf,
    port: u16,
    keeper: Option<Keeper>,
    command: fn(&Path, u16) -> Command,
    /// Besides those that all have.
    arguments: Vec<String>,
    /// Sent after connecting, and what a server that is ready answers to it.
    hello: Hello,
}

impl Server {
    fn restart(&mut self) {
        assert!(self.keeper.is_none(), "it is running");
        let mut command = (self.command)(&self.folder, self.port);
        command.args(&self.arguments);
        self.keeper = Some(Keeper::start(&self.folder, &mut command));
        let begun = Instant::now();
        while !self.answers() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < START, "{:?} does not start:\n{}", command.get_program(), log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let talk = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(self.hello.0)?;
            let mut said = [0; 64];
            let length = stream.read(&mut said)?;
            Ok((self.hello.1)(&said[..length]))
        };
        talk().unwrap_or(false)
    }

    fn end(&mut self, word: &str) {
        self.keeper.take().expect("it is running").end(word);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Keeper { mut shell, word }) = self.keeper.take() {
            drop(word);
            let _ = shell.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A MariaDB that writes every commit to the disk before it answers, as in production.
pub struct MariaDb(Server);

impl MariaDb {
    /// Makes its data in the folder, which must be empty or absent, and starts. The folder goes when this is dropped.
    pub fn start(folder: &Path) -> MariaDb {
        MariaDb::start_with(folder, vec![])
    }

    pub fn start_with(folder: &Path, arguments: Vec<String>) -> MariaDb {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut install = Command::new(program(&["mariadb-install-db", "mysql_install_db"]));
        install.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]).args(as_root());
        install.args(["--innodb-log-file-size=16M", "--innodb-buffer-pool-size=32M"]);
        let log = File::create(folder.join("log")).expect("a log file");
        install.stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
        let made = install.status().expect("mariadb-install-db runs").success();
        assert!(made, "{}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        // Its first packet: four bytes of header, then the version of the protocol.
        let ready = |said: &[u8]| said.get(4) == Some(&10);
        let mut server = Server {
            folder: folder.into(),
            port: free_port(),
            keeper: None,
            command: MariaDb::command,
            arguments,
            hello: (&[], ready),
        };
        server.restart();
        MariaDb(server)
    }

    fn command(folder: &Path, port: u16) -> Command {
        let mut command = Command::new(program(&["mariadbd", "mysqld"]));
        command.arg("--no-defaults").args(as_root());
        for (name, file) in [("datadir", "data"), ("socket", "socket"), ("pid-file", "pid")] {
            command.arg(format!("--{name}={}", folder.join(file).display()));
        }
        command.arg(format!("--port={port}")).args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=128M",
            "--max-connections=500",
        ]);
        command
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Without a database at its end.
    pub fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.0.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.0.end("kill");
    }

    /// SIGTERM, and waits until it has shut down.
    pub fn stop(&mut self) {
        self.0.end("stop");
    }

    /// Starts it again on its port and data.
    pub fn restart(&mut self) {
        self.0.restart();
    }
}

/// A Redis that keeps nothing on disk.
pub struct Redis(Server);

impl Redis {
    /// The folder goes when this is dropped.
    pub fn start(folder: &Path) -> Redis {
        Redis::start_with(folder, vec![])
    }

    pub fn start_with(folder: &Path, arguments: Vec<String>) -> Redis {
        std::fs::create_dir_all(folder).expect("a folder");
        let ready = |said: &[u8]| said.starts_with(b"+PONG");
        let mut server = Server {
            folder: folder.into(),
            port: free_port(),
            keeper: None,
            command: Redis::command,
            arguments,
            hello: (b"PING\r\n", ready),
        };
        server.restart();
        Redis(server)
    }

    fn command(folder: &Path, port: u16) -> Command {
        let mut command = Command::new(program(&["redis-server"]));
        command.arg("--dir").arg(folder).arg("--port").arg(port.to_string());
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }

    /// SIGKILL: everything in it is gone.
    pub fn kill(&mut self) {
        self.0.end("kill");
    }

    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Sends commands as one would type them, a line each, and gives what it answers up to the first pause.
    pub fn send(&self, commands: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.0.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{commands}\r\n").as_bytes())?;
        let mut said = [0; 65_536];
        let length = stream.read(&mut said)?;
        Ok(String::from_utf8_lossy(&said[..length]).into_owned())
    }
}

/// An authority that gives certificates by ACME (Let's Encrypt's pebble), and the names that it knows: all lead to 127.0.0.1.
/// It refuses half of all nonces, as a test of its clients.
pub struct Pebble {
    authority: Server,
    names: Server,
    /// Port of DNS.
    dns: u16,
    management: u16,
}

impl Pebble {
    /// It checks names at these ports, and its certificates are valid for so many seconds. `certificate` is its own, with its key.
    pub fn start(folder: &Path, (http, tls): (u16, u16), seconds: u32, certificate: &(PathBuf, PathBuf)) -> Pebble {
        let (dns, management) = (free_port(), free_port());
        let mut names = Server {
            folder: folder.join("names"),
            port: free_port(),
            keeper: None,
            command: Pebble::names_command,
            arguments: vec!["-dns01".into(), format!("127.0.0.1:{dns}")],
            hello: (b"GET / HTTP/1.0\r\n\r\n", |said| said.starts_with(b"HTTP/")),
        };
        let mut authority = Server {
            folder: folder.join("authority"),
            port: free_port(),
            keeper: None,
            command: Pebble::command,
            arguments: vec!["-dnsserver".into(), format!("127.0.0.1:{dns}")],
            // To plain HTTP.
            hello: (b"GET / HTTP/1.0\r\n\r\n", |said| said.starts_with(b"HTTP/1.0 400")),
        };
        for folder in [&names.folder, &authority.folder] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", authority.port),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate.0, "privateKey": certificate.1,
            "httpPort": http, "tlsPort": tls, "ocspResponderURL": "", "externalAccountBindingRequired": false,
            "certificateValidityPeriod": seconds,
        }});
        std::fs::write(authority.folder.join("pebble.json"), config.to_string()).expect("a file");
        names.restart();
        authority.restart();
        Pebble { authority, names, dns, management }
    }

    fn names_command(_: &Path, port: u16) -> Command {
        let mut command = Command::new(program(&["pebble-challtestsrv"]));
        command.args(["-management", &format!("127.0.0.1:{port}"), "-defaultIPv6", ""]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command
    }

    fn command(folder: &Path, _: u16) -> Command {
        let mut command = Command::new("env");
        command.args(["PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=50"]).arg(program(&["pebble"]));
        command.arg("-config").arg(folder.join("pebble.json"));
        command
    }

    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.authority.port)
    }

    /// Gives a name a text, which its servers tell from now on.
    pub async fn text(&self, name: &str, text: &str) {
        self.tell("set-txt", serde_json::json!({ "host": format!("{name}."), "value": text })).await;
    }

    /// Gives a name an address.
    pub async fn address(&self, name: &str, address: &str) {
        self.tell("add-a", serde_json::json!({ "host": format!("{name}."), "addresses": [address] })).await;
    }

    async fn tell(&self, what: &str, body: serde_json::Value) {
        let url = format!("http://127.0.0.1:{}/{what}", self.names.port);
        let told = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
        assert_eq!(told.status(), 200);
    }

    pub fn dns_server(&self) -> String {
        format!("127.0.0.1:{}", self.dns)
    }

    /// Where its root certificate is.
    pub fn root(&self) -> String {
        format!("https://127.0.0.1:{}/roots/0", self.management)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.authority.folder.join("log")).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        self.authority.end("kill");
        self.names.end("kill");
    }
}

/// A database of a test's own.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// On the MariaDB that this process shares.
    pub async fn create() -> Database {
        Database::create_on(mariadb_url()).await
    }

    pub async fn create_on(server: &str) -> Database {
        let seconds = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let name = format!("larder_test_{seconds:010}_{:08x}", Random::new().below(1 << 32));
        let database = Database { server: server.trim_end_matches('/').into(), name };
        let create = format!("CREATE DATABASE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", database.name);
        let mut connection = connect(&database.server).await;
        connection.query_drop(create).await.expect("a database");
        connection.disconnect().await.expect("a clean end");
        database
    }

    /// With the database at its end: what `database.url` takes.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn connect(&self) -> Conn {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {}", self.name));
        // A runtime of its own: the test's may be ending, and is not to be waited in.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                if let Ok(mut connection) = Conn::new(Opts::from_url(&server).expect("a URL")).await {
                    let _ = connection.query_drop(drop).await;
                    let _ = connection.disconnect().await;
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn connect(url: &str) -> Conn {
    Conn::new(Opts::from_url(url).expect("a URL of MariaDB")).await.unwrap_or_else(|err| panic!("{url}: {err}"))
}

/// The MariaDB that all tests of this process share.
pub fn mariadb_url() -> &'static str {
    static SHARED: OnceLock<(String, Option<MariaDb>)> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("LARDER_TEST_MARIADB_URL") {
        Ok(url) => {
            sweep(&url);
            (url, None)
        }
        Err(_) => {
            let server = MariaDb::start(&folder_for("mariadb"));
            (server.url(), Some(server))
        }
    });
    &shared.0
}

/// The Redis that all tests of this process share.
pub fn redis_url() -> &'static str {
    static SHARED: OnceLock<(String, Option<Redis>)> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match std::env::var("LARDER_TEST_REDIS_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let server = Redis::start(&folder_for("redis"));
            (server.url(), Some(server))
        }
    });
    &shared.0
}

/// Drops what interrupted runs left in a MariaDB that stays.
fn sweep(server: &str) {
    let server = server.to_owned();
    let sweeping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = connect(&server).await;
            let names: Vec<String> =
                connection.query("SHOW DATABASES LIKE 'larder\\_test\\_%'").await.expect("the databases");
            let oldest = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() - LEFT_SECONDS;
            for name in names {
                let made = name.split('_').nth(2).and_then(|seconds| seconds.parse::<u64>().ok());
                if made.is_some_and(|made| made < oldest) {
                    let _ = connection.query_drop(format!("DROP DATABASE {name}")).await;
                }
            }
        });
    });
    sweeping.join().expect("MariaDB can be reached");
}

/// A folder for a server, which its keeper removes.
fn folder_for(name: &str) -> PathBuf {
    crate::folder(&format!("larder-{name}-")).keep()
}

/// A port that can be bound, below those that systems give to outgoing connections: it stays free over a restart.
pub fn free_port() -> u16 {
    let mut random = Random::new();
    std::iter::from_fn(|| Some(20_000 + random.below(12_000) as u16))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("an endless iterator")
}

fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).collect();
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = found.into_iter().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{INSTALL}{}{HOW}", names.join(" or ")))
}

/// MariaDB does not run as root unless it is told to.
fn as_root() -> Option<&'static str> {
    rustix::process::getuid().is_root().then_some("--user=root")
}
