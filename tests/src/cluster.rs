//! Several `larder serve` processes over one MariaDB and one Redis, each with some of the roles.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use larder_secrets::write_private;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::services::free_port;
use crate::{Api, Larder, Random, eventually};

/// Leads the group of all processes. At the end of the pipe, which comes also with our own SIGKILL, it ends them.
const KEEPER: &str = "read -r _; rm -rf \"$0\"; kill -KILL 0";

/// Figures of `/metrics` by their name, labels left out and added up.
pub type Metrics = BTreeMap<String, f64>;

pub struct Cluster {
    members: Vec<Member>,
    /// Settings that all have.
    settings: Vec<(&'static str, String)>,
    operator_key: String,
    key: String,
    /// Figures of processes that are gone.
    gone: Metrics,
    keeper: Child,
    folder: TempDir,
}

struct Member {
    roles: &'static str,
    process: Option<Child>,
    outer: u16,
    internal: u16,
    /// What it last said of itself.
    seen: Metrics,
}

impl Cluster {
    /// `settings` name at least the database. Nothing runs yet.
    pub fn new(settings: Vec<(&'static str, String)>) -> Cluster {
        let folder = crate::folder("larder-cluster-");
        let (master, operator) = (folder.path().join("master.key"), folder.path().join("operator.key"));
        let mut random = Random::new();
        let mut digits = || (0..4).map(|_| format!("{:016x}", random.below(u64::MAX))).collect::<String>();
        let operator_key = digits();
        write_private(&master, &digits()).expect("a key");
        write_private(&operator, &operator_key).expect("a key");
        let path = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        let mut all = vec![
            ("LARDER_OBJECTS__URL", format!("file://{}", path(folder.path().join("objects")))),
            ("LARDER_SECRETS__MASTER_KEY_FILE", path(master)),
            ("LARDER_SECRETS__OPERATOR_KEY_FILE", path(operator)),
            ("LARDER_SERVER__ROOT_URL", "http://localhost".into()),
        ];
        all.extend(settings);
        let keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Cluster {
            members: vec![],
            settings: all,
            operator_key,
            key: String::new(),
            gone: Metrics::new(),
            keeper,
            folder,
        }
    }

    /// Starts one more process with these roles and waits until it lives; gives its number.
    pub async fn start(&mut self, roles: &'static str) -> usize {
        let member = Member { roles, process: None, outer: free_port(), internal: free_port(), seen: Metrics::new() };
        self.members.push(member);
        let at = self.members.len() - 1;
        self.launch(at, None);
        self.wait_for(at).await;
        at
    }

    /// Makes a partner `demo` with a key that may do everything.
    pub async fn make_partner(&mut self) {
        self.key = self.make_another("demo").await;
    }

    /// Makes one more partner; gives a key of it that may do everything.
    pub async fn make_another(&self, id: &str) -> String {
        let web = self.members.iter().position(|member| member.roles.contains("web")).expect("a web process");
        Api::new(&self.endpoint(web), None, Some(&self.operator_key)).make_partner(id).await
    }

    /// `127.0.0.1:PORT` of a web process.
    pub fn address(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.members[at].outer)
    }

    /// The API of this web process with a key of this partner.
    pub fn api_of(&self, at: usize, partner: &str, key: &str) -> Api {
        Api::new(&self.endpoint(at), Some(partner), Some(key))
    }

    /// Starts a process that does not run, with this crash point (`word:count`), and does not wait for it.
    pub fn launch(&mut self, at: usize, crash: Option<&str>) {
        let data = self.folder.path().join(format!("data-{at}"));
        std::fs::create_dir_all(&data).expect("a folder");
        let log = File::options().create(true).append(true).open(self.log_file(at)).expect("a log file");
        let member = &mut self.members[at];
        assert!(member.process.is_none(), "it is running");
        let mut command = Command::new(Larder::binary());
        command
            .args(["serve", "--roles", member.roles])
            .process_group(self.keeper.id() as i32)
            .env("LARDER_DATA", data)
            .env("LARDER_SERVER__LISTEN", format!("127.0.0.1:{}", member.outer))
            .env("LARDER_SERVER__INTERNAL", format!("127.0.0.1:{}", member.internal))
            .envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())))
            .envs(crash.map(|crash| ("LARDER_CRASH", crash)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        member.process = Some(command.spawn().expect("larder starts"));
    }

    /// Waits until a process lives; starts it again if it ends meanwhile, because the database was away, say.
    pub async fn wait_for(&mut self, at: usize) {
        let begun = Instant::now();
        while self.page(at, "/health/live").await.is_none() {
            if self.ended(at).is_some() {
                self.launch(at, None);
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "process {at} does not start:\n{}", self.log(at));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The signal that ended it, or 0, if it has ended by itself; then it does not run any more.
    pub fn ended(&mut self, at: usize) -> Option<i32> {
        let status = self.members[at].process.as_mut()?.try_wait().expect("a child of ours")?;
        self.forget(at);
        Some(status.signal().unwrap_or(0))
    }

    /// SIGKILL, after its figures were read.
    pub async fn kill(&mut self, at: usize) {
        self.scrape(at).await;
        if let Some(process) = &mut self.members[at].process {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.forget(at);
    }

    fn forget(&mut self, at: usize) {
        self.members[at].process = None;
        for (name, value) in std::mem::take(&mut self.members[at].seen) {
            *self.gone.entry(name).or_default() += value;
        }
    }

    pub async fn restart(&mut self, at: usize) {
        self.launch(at, None);
        self.wait_for(at).await;
    }

    pub fn pause(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    pub fn resume(&self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    fn signal(&self, at: usize, signal: Signal) {
        let pid = self.members[at].process.as_ref().expect("it is running").id();
        kill_process(Pid::from_raw(pid as i32).expect("a process id"), signal).expect("a child of ours");
    }

    /// The processes with this role.
    pub fn with(&self, role: &str) -> Vec<usize> {
        (0..self.members.len()).filter(|at| self.members[*at].roles.split(',').any(|has| has == role)).collect()
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn is_running(&self, at: usize) -> bool {
        self.members[at].process.is_some()
    }

    pub fn endpoint(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}/v1", self.members[at].outer)
    }

    /// Begins to take a new master key into use, or goes on with one, through this web process. What it says is in the end
    /// its output.
    pub fn rotate(&self, at: usize, wait: Duration) -> Child {
        let mut command = Command::new(Larder::binary());
        command.args(["keys", "rotate", "--json", "--wait", &format!("{}s", wait.as_secs()), "--file"]);
        command.arg(self.folder.path().join("master.key")).process_group(self.keeper.id() as i32);
        command.env("LARDER_ENDPOINT", self.endpoint(at)).env("LARDER_OPERATOR_KEY", &self.operator_key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("larder starts")
    }

    /// The API of this web process with the key of partner `demo`.
    pub fn api(&self, at: usize) -> Api {
        Api::new(&self.endpoint(at), Some("demo"), Some(&self.key))
    }

    fn log_file(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("{at}.log"))
    }

    /// Everything that this process has logged, over all its lives.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.log_file(at)).unwrap_or_default()
    }

    /// What this process calls itself in the database, since it was started last and has got that far.
    pub fn process_id(&self, at: usize) -> Option<String> {
        let log = self.log(at);
        let (_, id) = log.rsplit_once("process.id")?;
        let id: String =
            id.chars().skip_while(|c| !c.is_ascii_alphanumeric()).take_while(char::is_ascii_alphanumeric).collect();
        Some(id)
    }

    async fn page(&self, at: usize, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.members[at].internal);
        let answer = crate::api::http().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        if answer.status().is_success() { answer.text().await.ok() } else { None }
    }

    async fn scrape(&mut self, at: usize) {
        let Some(text) = self.page(at, "/metrics").await else { return };
        let mut seen = Metrics::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            *seen.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        self.members[at].seen = seen;
    }

    /// Figures over all processes, also those that are gone: as far as they were read.
    pub async fn metrics(&mut self) -> Metrics {
        let mut sum = self.gone.clone();
        for at in 0..self.members.len() {
            self.scrape(at).await;
            for (name, value) in &self.members[at].seen {
                *sum.entry(name.clone()).or_default() += value;
            }
        }
        sum
    }

    /// What this process said of itself when it was last read.
    pub fn seen(&self, at: usize) -> &Metrics {
        &self.members[at].seen
    }

    /// Waits until this process is ready.
    pub async fn ready(&self, at: usize) {
        eventually("a process to be ready", async || self.page(at, "/health/ready").await.map(drop)).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..self.members.len() {
                let log = self.log(at);
                let from = log.len().saturating_sub(4_000);
                eprintln!(
                    "--- what process {at} ({}) logged last ---\n{}",
                    self.members[at].roles,
                    &log[log.ceil_char_boundary(from)..]
                );
            }
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            let _ = process.wait();
        }
    }
}
