//! A Larder process of a test's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::services::Database;
use crate::{Api, Backend, backend, compiled};

/// How the process is started.
#[derive(Clone)]
pub struct Options {
    pub backend: Backend,
    /// Settings by the environment: `("LARDER_WORKER__LEASE", "5s")`.
    pub settings: Vec<(&'static str, String)>,
    /// `larder serve` with this file of settings; `None`: `larder dev`.
    pub serve: Option<PathBuf>,
    pub listen: String,
    pub internal: String,
    /// Under which it is started; `None`: that of the tests.
    pub umask: Option<&'static str>,
    /// A folder that stays; `None`: one of its own, removed at the end.
    pub data: Option<PathBuf>,
    /// See [`Options::fresh`].
    pub fresh: bool,
}

impl Default for Options {
    fn default() -> Options {
        let any = || "127.0.0.1:0".to_owned();
        Options {
            backend: Backend::Embedded,
            settings: vec![],
            serve: None,
            listen: any(),
            internal: any(),
            umask: None,
            data: None,
            fresh: false,
        }
    }
}

impl Options {
    pub fn on(backend: Backend) -> Options {
        Options { backend, ..Options::default() }
    }

    pub fn set(mut self, variable: &'static str, value: impl Into<String>) -> Options {
        self.settings.push((variable, value.into()));
        self
    }

    /// Begins with nothing: it makes its own master key, and compiles whatever is deployed.
    pub fn fresh(mut self) -> Options {
        self.fresh = true;
        self
    }

    /// It gets what the installations of the tests share.
    fn shares(&self) -> bool {
        !self.fresh && self.serve.is_none() && self.data.is_none()
    }
}

/// Of everybody whom tests make.
pub const PASSWORD: &str = "correct horse battery";

pub struct Larder {
    process: Option<Child>,
    options: Options,
    /// What the process was told at its last start.
    env: Env,
    /// Of MariaDB. Dropped after the process has ended.
    database: Option<Arc<Database>>,
    folder: TempDir,
}

/// What `DATA/dev.env` says, and the internal address.
#[derive(Clone, Default)]
struct Env {
    endpoint: String,
    key: String,
    operator_key: String,
    internal: String,
}

/// How things stood before a start.
struct Before {
    env: Option<std::time::SystemTime>,
    log_bytes: usize,
}

impl Larder {
    pub async fn start_on(backend: Backend) -> Larder {
        Larder::start_with(Options::on(backend)).await
    }

    pub async fn start_with(options: Options) -> Larder {
        let database = options.backend.database().await.map(Arc::new);
        Larder::start_in(options, database, None).await
    }

    /// Another process over the same database, with the same master key and a data folder of its own.
    pub async fn start_beside(&self, options: Options) -> Larder {
        let options = if self.options.shares() { options } else { options.fresh() };
        Larder::start_in(options, self.database.clone(), Some(&self.data().join("master.key"))).await
    }

    async fn start_in(options: Options, database: Option<Arc<Database>>, master_key: Option<&Path>) -> Larder {
        let folder = crate::folder("larder-test-");
        let mut larder = Larder { process: None, options, env: Env::default(), database, folder };
        let data = larder.data();
        std::fs::create_dir_all(&data).expect("a data folder");
        if larder.options.shares() {
            compiled::give(&data);
        }
        if let Some(master_key) = master_key {
            std::fs::copy(master_key, data.join("master.key")).expect("a key");
        }
        larder.restart().await;
        larder
    }

    /// Of MariaDB, to look or meddle where the API does not reach.
    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("it runs on the services")
    }

    pub fn backend(&self) -> Backend {
        self.options.backend
    }

    /// The binary, built once per run from the present sources.
    pub fn binary() -> PathBuf {
        static BINARY: OnceLock<PathBuf> = OnceLock::new();
        BINARY
            .get_or_init(|| {
                // Another one than that of the present sources, to compare with: an earlier release, say.
                if let Some(binary) = std::env::var_os("LARDER_TEST_BINARY") {
                    return binary.into();
                }
                let mut build = crate::guests::cargo();
                // Of the whole workspace, so that dependencies have the features that the tests were built with.
                build.args(["build", "--quiet", "--workspace", "--bins"]);
                let profile = profile();
                if profile.ends_with("release") {
                    build.arg("--release");
                }
                assert!(
                    build.current_dir(workspace()).status().expect("cargo runs").success(),
                    "larder does not build"
                );
                profile.join("larder")
            })
            .clone()
    }

    /// What a `larder dev` says that does not start with these settings.
    pub fn refusal(settings: &[(&'static str, String)]) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut larder = Command::new(Larder::binary());
        larder.args(["dev", "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--data"]).arg(folder.path());
        let output = larder.envs(settings.iter().map(|(name, value)| (*name, value))).output().expect("it runs");
        assert!(!output.status.success(), "it starts");
        String::from_utf8(output.stderr).expect("text")
    }

    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// A folder for the test's own files, removed with everything else.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the process and waits until it serves. The ports are new ones.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "it is running");
        std::fs::create_dir_all(self.data()).expect("a data folder");
        let before = Before { env: modified(&self.env_file()), log_bytes: self.log().len() };
        let stdout = File::create(self.data().join("stdout.log")).expect("a log file");
        let stderr = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = match self.options.umask {
            Some(umask) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "umask $0; exec \"$@\"", umask]).arg(Larder::binary());
                shell
            }
            None => Command::new(Larder::binary()),
        };
        match &self.options.serve {
            Some(config) => command.args(["serve", "--config"]).arg(config).envs([
                ("LARDER_SERVER__LISTEN", self.options.listen.as_str()),
                ("LARDER_SERVER__INTERNAL", &self.options.internal),
                ("LARDER_DATA", self.data().to_str().expect("a path in UTF-8")),
            ]),
            None => command
                .args(["dev", "--listen", &self.options.listen, "--internal", &self.options.internal, "--data"])
                .arg(self.data()),
        };
        command
            .envs(self.database.iter().flat_map(backend::settings))
            .envs(self.options.settings.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        self.process = Some(command.spawn().expect("larder starts"));
        let begun = Instant::now();
        loop {
            let said = if self.options.serve.is_some() { self.served(&before) } else { self.developed(&before) };
            if let Some(env) = said {
                self.env = env;
                break;
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("a child of ours"));
            assert!(ended.is_none(), "larder ended at its start ({ended:?}):\n{}", self.log());
            assert!(begun.elapsed() < Duration::from_secs(30), "larder does not start:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What `larder dev` wrote, once it serves.
    fn developed(&self, before: &Before) -> Option<Env> {
        let said = std::fs::read_to_string(self.data().join("stdout.log")).unwrap_or_default();
        // The key survives a restart only if the file does, so it is read by its time stamp.
        if modified(&self.env_file()) == before.env {
            return None;
        }
        let internal = said.lines().find_map(|line| line.trim().strip_prefix("internal   http://"))?;
        let text = std::fs::read_to_string(self.env_file()).expect("dev.env");
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in dev.env")).to_owned()
        };
        Some(Env {
            endpoint: value("LARDER_ENDPOINT="),
            key: value("LARDER_KEY="),
            operator_key: value("LARDER_OPERATOR_KEY="),
            internal: internal.split('/').next().unwrap_or_default().to_owned(),
        })
    }

    /// What `larder serve` logged, once it serves.
    fn served(&self, before: &Before) -> Option<Env> {
        let log = self.log();
        let line =
            log[before.log_bytes..].lines().find(|line| line.contains(" serves ") && line.contains("root_url="))?;
        let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        Some(Env {
            endpoint: format!("http://{}/v1", value("listen=")?),
            internal: value("internal=")?,
            ..self.env.clone()
        })
    }

    fn env_file(&self) -> PathBuf {
        self.data().join("dev.env")
    }

    fn log_file(&self) -> PathBuf {
        self.data().join("stderr.log")
    }

    /// Everything that the process has logged, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// `127.0.0.1:PORT` of the web endpoint and the API.
    pub fn address(&self) -> String {
        self.env.endpoint.trim_start_matches("http://").trim_end_matches("/v1").to_owned()
    }

    /// `127.0.0.1:PORT` of health and metrics.
    pub fn internal_address(&self) -> &str {
        &self.env.internal
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it is running").id()
    }

    /// SIGKILL: nothing is finished.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it is running");
        process.kill().expect("a child of ours");
        process.wait().expect("a child of ours");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id");
        kill_process(pid, signal).expect("a child of ours");
    }

    /// Waits for the process to end by itself; gives its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let code = crate::eventually("larder to end", async || {
            self.process.as_mut().expect("it was running").try_wait().expect("a child of ours")
        })
        .await
        .code();
        self.process = None;
        code
    }

    /// The API with the key of partner `demo`, which may do everything.
    pub fn api(&self) -> Api {
        Api::new(&self.env.endpoint, Some("demo"), Some(&self.env.key))
    }

    /// That key's text.
    pub fn key(&self) -> &str {
        &self.env.key
    }

    /// Makes another partner; gives the API with a key of it that may do everything.
    pub async fn partner(&self, id: &str) -> Api {
        self.api_of(Some(id), Some(&self.operator().make_partner(id).await))
    }

    pub fn operator_key(&self) -> &str {
        &self.env.operator_key
    }

    /// The address of the API, which ends in `/v1`.
    pub fn endpoint(&self) -> &str {
        &self.env.endpoint
    }

    pub fn operator(&self) -> Api {
        Api::new(&self.env.endpoint, None, Some(&self.env.operator_key))
    }

    /// The API without a key, or with another.
    pub fn api_of(&self, partner: Option<&str>, key: Option<&str>) -> Api {
        Api::new(&self.env.endpoint, partner, key)
    }

    /// Makes somebody with these roles who can sign in by [`PASSWORD`].
    pub async fn administrator(&self, email: &str, roles: Value) -> Value {
        let body = json!({ "email": email, "name": email, "password": PASSWORD, "roles": roles });
        self.operator().post("/operator/administrators", body).await.is(201)
    }

    /// Signs in; gives the cookie as it is sent back.
    pub async fn sign_in(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let request = self.api_of(Some("console"), None).request(reqwest::Method::POST, "/account/sessions/email");
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 201);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    /// The routes for people, with this cookie.
    pub fn person(&self, cookie: &str) -> Api {
        self.api_of(Some("console"), None).with("cookie", cookie)
    }

    /// The API of a project as somebody who has signed in uses it.
    pub fn as_person(&self, partner: &str, cookie: &str) -> Api {
        self.api_of(Some(partner), None).with("cookie", cookie).with("x-appwrite-mode", "admin")
    }

    /// A request to the web endpoint of a partner, by its host.
    pub fn web(&self, partner: &str, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.at(&format!("{partner}.localhost"), method, path)
    }

    /// A request to any host.
    pub fn at(&self, host: &str, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address());
        crate::api::http().request(method, url).header("host", host)
    }

    /// A page of the internal listener.
    pub async fn internal(&self, path: &str) -> (u16, String) {
        let answer =
            crate::api::http().get(format!("http://{}{path}", self.env.internal)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// The command line against this process; `(exit code, stdout, stderr)`. A `larder dev` is found by its file.
    pub async fn cli(&self, folder: &Path, arguments: &[&str]) -> (i32, String, String) {
        let file = self.env_file();
        match &self.options.serve {
            None => {
                self.cli_in(folder, &[("LARDER_DEV_ENV", file.to_str().expect("a path in UTF-8"))], arguments).await
            }
            Some(_) => self.cli_as(folder, &self.env.key, arguments).await,
        }
    }

    /// The same as somebody who was given the endpoint and a key.
    pub async fn cli_as(&self, folder: &Path, key: &str, arguments: &[&str]) -> (i32, String, String) {
        self.cli_in(folder, &[("LARDER_ENDPOINT", &self.env.endpoint), ("LARDER_KEY", key)], arguments).await
    }

    async fn cli_in(&self, folder: &Path, env: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
        let output = tokio::process::Command::new(Larder::binary())
            .args(arguments)
            .current_dir(folder)
            .env("LARDER_PARTNER", "demo")
            .env("LARDER_KEY", &self.env.key)
            .env("LARDER_OPERATOR_KEY", &self.env.operator_key)
            .env("CARGO_TARGET_DIR", crate::guests::projects_folder())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the command runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if self.options.shares() {
            compiled::take(&self.data());
        }
        if std::thread::panicking() {
            eprintln!("--- what larder logged ---\n{}", self.log());
        }
    }
}

fn modified(file: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(file).and_then(|data| data.modified()).ok()
}

/// `target/PROFILE`, which this test or trial was built into.
pub(crate) fn profile() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/it-HASH, or target/PROFILE/chaos
    own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a target folder").into()
}

/// The top of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}
