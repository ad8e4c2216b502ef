//! One, two and three tiers as machines of their own: network namespaces with the packet filters of docs/tiers.md.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use larder_tests::outside::Authority;
use larder_tests::secure::write;
use larder_tests::{Larder, guests, workspace};
use serde_json::{Value, json};

/// The name by which end users come.
const NAME: &str = "demo.bank.test";
const PUBLIC: &str = "203.0.113.10";

/// Machines and their switches: `ip netns`. They are gone when this is dropped.
struct Network {
    prefix: String,
    processes: Vec<Child>,
    folder: tempfile::TempDir,
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|err| panic!("{command:?} cannot be run: {err}"))
}

fn done(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}; this trial needs root, network namespaces, ip and nft, and does not pass without them",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Network {
    /// Two switches: the public network (203.0.113.0/24), and the inner one (10.0.0.0/24).
    fn new() -> Network {
        let network = Network {
            prefix: format!("larder-{}", std::process::id()),
            processes: vec![],
            folder: tempfile::tempdir().expect("a folder"),
        };
        for switch in ["public", "inner"] {
            network.add(switch);
            done(network.within(switch, "ip").args(["link", "add", "bridge", "type", "bridge"]));
            done(network.within(switch, "ip").args(["link", "set", "bridge", "up"]));
        }
        network
    }

    fn name(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    fn add(&self, machine: &str) {
        done(Command::new("ip").args(["netns", "add", &self.name(machine)]));
        done(self.within(machine, "ip").args(["link", "set", "lo", "up"]));
    }

    /// A machine with these addresses at these switches.
    fn machine(&self, machine: &str, at: &[(&str, &str)]) {
        self.add(machine);
        for (switch, address) in at {
            let port = format!("to-{machine}");
            let pair = ["link", "add", switch, "type", "veth", "peer", "name", &port, "netns", &self.name(switch)];
            done(self.within(machine, "ip").args(pair));
            done(self.within(switch, "ip").args(["link", "set", &port, "master", "bridge", "up"]));
            done(self.within(machine, "ip").args(["addr", "add", &format!("{address}/24"), "dev", switch]));
            done(self.within(machine, "ip").args(["link", "set", switch, "up"]));
        }
    }

    fn remove(&self, machine: &str, at: &[&str]) {
        for switch in at {
            done(self.within(switch, "ip").args(["link", "del", &format!("to-{machine}")]));
        }
        done(Command::new("ip").args(["netns", "del", &self.name(machine)]));
    }

    /// A command on a machine.
    fn within(&self, machine: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(machine)]).arg(program);
        command
    }

    /// Loads packet filters.
    fn filter(&self, machine: &str, rules: &str) {
        let file = self.folder.path().join(format!("{machine}.nft"));
        std::fs::write(&file, format!("flush ruleset\n{rules}")).expect("a file");
        done(self.within(machine, "nft").arg("-f").arg(&file));
    }

    /// Starts what runs until the end.
    fn start(&mut self, mut command: Command, log: &str) {
        let file = std::fs::File::options().create(true).append(true).open(self.folder.path().join(log));
        let file = file.expect("a log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log file")).stderr(file);
        self.processes.push(command.spawn().expect("it starts"));
    }

    /// Can this machine make a connection?
    fn reaches(&self, machine: &str, address: &str, port: u16) -> bool {
        let probe = format!("timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}'");
        run(self.within(machine, "bash").args(["-c", &probe])).status.success()
    }

    /// The status and the body that `curl` gets.
    fn curl(&self, machine: &str, arguments: &[&str]) -> (u16, String) {
        let said = run(self.within(machine, "curl").args(["-s", "-m", "20", "-w", "\n%{http_code}"]).args(arguments));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or_default(), body.to_owned())
    }

    fn until(&self, what: &str, mut check: impl FnMut(&Network) -> bool) {
        let begun = Instant::now();
        while !check(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not happen\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn logs(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).expect("a folder").flatten().map(|entry| entry.path());
        let logs = files.filter(|file| file.extension().is_some_and(|end| end == "log"));
        logs.map(|file| format!("--- {}\n{}", file.display(), std::fs::read_to_string(&file).unwrap_or_default()))
            .collect()
    }

    fn stop(&mut self) {
        for mut process in self.processes.drain(..).rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.stop();
        let all = run(Command::new("ip").args(["netns", "list"]));
        for name in String::from_utf8_lossy(&all.stdout).lines().filter_map(|line| line.split(' ').next()) {
            if name.starts_with(&format!("{}-", self.prefix)) {
                run(Command::new("ip").args(["netns", "del", name]));
            }
        }
    }
}

/// The packet filter of a machine, as the page has it.
fn documented(machine: &str) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/tiers.md")).expect("a page");
    let fence = page.split(&format!("```nft {machine}\n")).nth(1).and_then(|rest| rest.split("```").next());
    fence.unwrap_or_else(|| panic!("docs/tiers.md has no filter of the {machine}")).to_owned()
}

/// A machine's folder with keys and a file of settings.
fn prepared(network: &Network, machine: &str, settings: &str) -> PathBuf {
    let folder = network.folder.path().join(machine);
    std::fs::create_dir_all(&folder).expect("a folder");
    write(&folder.join("master.key"), &"0f1e2d3c4b5a69788796a5b4c3d2e1f0".repeat(2));
    write(&folder.join("operator.key"), "an operator key of the tiers' trial, long enough");
    std::fs::write(folder.join("larder.toml"), settings).expect("a file");
    folder
}

fn serve(network: &mut Network, machine: &str, folder: &Path, roles: &[&str]) {
    let mut command = network.within(machine, Larder::binary());
    command
        .args(["serve", "--config", "larder.toml"])
        .args(roles)
        .current_dir(folder)
        .env("LARDER_DATA", folder.join("data"));
    network.start(command, &format!("{machine}.log"));
}

/// Puts the function of the demonstration there by the API, as an operator and a developer do.
fn deploy(network: &Network, machine: &str, api: &str) {
    let operator = "x-appwrite-key: an operator key of the tiers' trial, long enough";
    network.until("the API", |network| network.curl(machine, &[&format!("{api}/ping")]).0 != 0);
    let post = |headers: &[&str], path: &str, body: Value| {
        let body = body.to_string();
        let url = format!("{api}{path}");
        let mut arguments = vec!["-d", &body, "-H", "content-type: application/json", &url];
        arguments.extend(headers.iter().flat_map(|header| ["-H", header]));
        let (status, said) = network.curl(machine, &arguments);
        assert!(status == 201, "{path}: {status} {said}\n{}", network.logs());
        serde_json::from_str::<Value>(&said).expect("JSON")
    };
    post(&[operator], "/partners", json!({ "partnerId": "demo", "name": "Demo" }));
    let scopes = ["functions.read", "functions.write", "execution.read", "execution.write"];
    let key = post(&[operator], "/partners/demo/keys", json!({ "name": "trial", "scopes": scopes }));
    let key = format!("x-appwrite-key: {}", key["secret"].as_str().expect("a key"));
    let headers = [key.as_str(), "x-appwrite-project: demo"];
    let function =
        json!({ "functionId": "hello", "name": "hello", "runtime": "wasi-0.2", "execute": [], "routes": ["/hello"] });
    post(&headers, "/functions", function);
    let wasm = network.folder.path().join("hello.wasm");
    std::fs::write(&wasm, guests::guest("hello-http")).expect("a file");
    let url = format!("{api}/functions/hello/deployments");
    let code = format!("code=@{}", wasm.display());
    let (status, said) =
        network.curl(machine, &["-F", &code, "-F", "activate=true", "-H", headers[0], "-H", headers[1], &url]);
    assert_eq!(status, 202, "{said}");
}

/// The certificate of the installation's name in a folder; and its authority's file.
fn certificate(folder: &Path) -> PathBuf {
    let authority = Authority::new();
    let (chain, key) = authority.issue_until(&[NAME, "demo-api.bank.test", "bank.test"], 2099);
    write(&folder.join("server.pem"), &chain);
    write(&folder.join("server.key"), &key);
    authority.file(folder)
}

const TLS: &str = "[tls]\nlisten = \"0.0.0.0:443\"\nredirect_listen = \"0.0.0.0:80\"\ncertificate_file = \"server.pem\"\nkey_file = \"server.key\"\n";
const KEYS: &str = "[secrets]\nmaster_key_file = \"master.key\"\noperator_key_file = \"operator.key\"\n";

/// End users' door end to end, by both protocols; port 80; and no other door. Prints what it sees.
fn web_door(network: &Network, tiers: &str, authority: &Path) {
    let authority = authority.to_str().expect("text");
    let ask = |name: &str, path: &str, more: &[&str]| {
        let (resolve, url) = (format!("{name}:443:{PUBLIC}"), format!("https://{name}{path}"));
        network.curl("client", &[&["--cacert", authority, "--resolve", &resolve, &url], more].concat())
    };
    network.until("the web door", |_| ask(NAME, "/hello?name=Anna", &[]).0 == 200);
    for protocol in ["--http2", "--http1.1"] {
        assert_eq!(ask(NAME, "/hello?name=Anna", &[protocol]), (200, "Hello, Anna!\n".to_owned()), "{protocol}");
    }
    println!("{tiers}: https://{NAME}/hello?name=Anna by HTTP/2 and HTTP/1.1: 200 Hello, Anna!");
    for (name, path) in [
        ("demo-api.bank.test", "/v1/functions"),
        (NAME, "/v1/functions"),
        (NAME, "/depo"),
        ("bank.test", "/meta_depo"),
        ("bank.test", "/v1/operator/fronts"),
        (NAME, "/metrics"),
    ] {
        let (status, _) = ask(name, path, &["-H", "x-forwarded-for: 10.0.0.20"]);
        println!("{tiers}: https://{name}{path} from outside: {status}");
        assert_eq!(status, 404, "{name}{path}");
    }
    let redirect = ["--resolve", &format!("{NAME}:80:{PUBLIC}"), &format!("http://{NAME}/hello")];
    let (status, _) = network.curl("client", &redirect);
    println!("{tiers}: http://{NAME}/hello: {status}");
    assert_eq!(status, 308);
}

/// Tries connections; prints and checks who reaches what.
fn reach(network: &Network, tiers: &str, tries: &[(&str, &str, u16, bool)]) {
    for (from, to, port, expected) in tries {
        let found = network.reaches(from, to, *port);
        println!("{tiers}: {from:>6} → {to}:{port:<5} {}", if found { "connects" } else { "does not connect" });
        assert_eq!(found, *expected, "{tiers}: {from} to {to}:{port}\n{}", network.logs());
    }
}

fn data_tier(network: &mut Network) {
    let folder = network.folder.path().join("mariadb");
    std::fs::create_dir_all(&folder).expect("a folder");
    let place = format!("--datadir={}", folder.display());
    let made = ["--no-defaults", &place, "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db"];
    done(Command::new("mariadb-install-db").args(made));
    let socket = network.folder.path().join("mariadb.sock");
    let mut command = network.within("data", "mariadbd");
    command.args([
        "--no-defaults",
        &place,
        "--user=root",
        "--bind-address=0.0.0.0",
        "--port=3306",
        "--skip-name-resolve",
    ]);
    command.arg(format!("--socket={}", socket.display())).arg("--pid-file=mariadb.pid");
    network.start(command, "mariadb.log");
    let sql = "CREATE DATABASE larder CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin; \
               CREATE USER larder IDENTIFIED BY 'secret'; GRANT ALL ON larder.* TO larder";
    network.until("MariaDB", |_| {
        run(Command::new("mariadb").arg(format!("--socket={}", socket.display())).args(["-u", "root", "-e", sql]))
            .status
            .success()
    });
    let mut command = network.within("data", "redis-server");
    command.args(["--bind", "0.0.0.0", "--port", "6379", "--protected-mode", "no", "--save", ""]);
    command.arg("--dir").arg(network.folder.path());
    network.start(command, "redis.log");
}

#[test]
#[ignore = "machines of their own, as root: make tiers"]
fn who_reaches_whom_in_one_two_and_three_tiers() {
    one_tier();
    two_and_three_tiers();
}

fn one_tier() {
    let mut network = Network::new();
    network.machine("client", &[("public", "203.0.113.9")]);
    network.machine("core", &[("public", PUBLIC)]);
    let settings = format!(
        "[server]\nroot_url = \"https://bank.test\"\n[doors]\napi = [\"127.0.0.0/8\"]\nadmin = []\noperator = []\n{TLS}{KEYS}"
    );
    let folder = prepared(&network, "core", &settings);
    let authority = certificate(&folder);
    let rules = documented("front").replace("ip daddr 10.0.0.20 tcp dport 8443 accept", "");
    network.filter("core", &rules);
    serve(&mut network, "core", &folder, &[]);
    deploy(&network, "core", "http://127.0.0.1:8080/v1");
    web_door(&network, "one tier", &authority);
    let tries = [
        ("client", PUBLIC, 443, true),
        ("client", PUBLIC, 80, true),
        ("client", PUBLIC, 8080, false),
        ("client", PUBLIC, 9090, false),
    ];
    reach(&network, "one tier", &tries);
}

fn two_and_three_tiers() {
    let mut network = Network::new();
    network.machine("client", &[("public", "203.0.113.9")]);
    network.machine("front", &[("public", PUBLIC), ("inner", "10.0.0.10")]);
    network.machine("core", &[("inner", "10.0.0.20")]);
    network.machine("data", &[("inner", "10.0.0.30")]);
    network.machine("staff", &[("inner", "10.0.0.40")]);
    data_tier(&mut network);
    let core = "[server]\nroot_url = \"https://bank.test\"\nlisten = \"10.0.0.20:8080\"\ninternal = \"10.0.0.20:9090\"\n\
                [database]\nurl = \"mysql://larder:secret@10.0.0.30:3306/larder\"\n[redis]\nurl = \"redis://10.0.0.30:6379\"\n";
    let settings = format!("{core}[front]\nlisten = \"10.0.0.20:8443\"\n{KEYS}");
    let folder = prepared(&network, "core", &settings);
    serve(&mut network, "core", &folder, &[]);
    network.until("the core", |network| network.reaches("core", "10.0.0.20", 8443));
    // Without the filters everything is reached, or the rest would show nothing.
    let all = [
        ("front", "10.0.0.30", 3306, true),
        ("front", "10.0.0.30", 6379, true),
        ("front", "10.0.0.20", 8080, true),
        ("front", "10.0.0.20", 9090, true),
    ];
    reach(&network, "three tiers, no filters", &all);
    for machine in ["front", "core", "data"] {
        network.filter(machine, &documented(machine));
    }
    let tries = [
        ("core", "10.0.0.30", 3306, true),
        ("core", "10.0.0.30", 6379, true),
        ("front", "10.0.0.20", 8443, true),
        ("front", "10.0.0.20", 8080, false),
        ("front", "10.0.0.20", 9090, false),
        ("front", "10.0.0.30", 3306, false),
        ("front", "10.0.0.30", 6379, false),
        ("staff", "10.0.0.20", 8080, true),
        ("staff", "10.0.0.20", 8443, false),
        ("staff", "10.0.0.30", 3306, false),
        ("client", "10.0.0.20", 8443, false),
        ("client", "10.0.0.30", 3306, false),
    ];
    reach(&network, "three tiers", &tries);
    // Nor if the front's own filter is gone: whoever has taken it over is root there.
    done(network.within("front", "nft").args(["flush", "ruleset"]));
    let tries = tries.map(|(from, to, port, connects)| (from, to, port, connects));
    let of_front: Vec<_> = tries.iter().filter(|(from, ..)| *from == "front").copied().collect();
    reach(&network, "three tiers, the front's own filter gone", &of_front);
    network.filter("front", &documented("front"));

    deploy(&network, "staff", "http://10.0.0.20:8080/v1");
    // Enrolment as the page has it: only the public half leaves the front's machine.
    let front = network.folder.path().join("front");
    std::fs::create_dir_all(&front).expect("a folder");
    let authority = certificate(&front);
    let key =
        done(network.within("front", Larder::binary()).args(["front", "request", "--folder"]).arg(front.join("front")));
    assert!(key.contains("PUBLIC KEY") && !key.contains("PRIVATE"), "{key}");
    std::fs::write(network.folder.path().join("edge-1.pub"), key).expect("a file");
    let pem = done(
        network
            .within("staff", Larder::binary())
            .args(["front", "enrol", "edge-1", "--public-key", "edge-1.pub"])
            .current_dir(network.folder.path())
            .env("LARDER_ENDPOINT", "http://10.0.0.20:8080/v1")
            .env("LARDER_OPERATOR_KEY", "an operator key of the tiers' trial, long enough"),
    );
    std::fs::write(front.join("front/front.pem"), pem).expect("a file");
    let settings = format!(
        "[server]\nroot_url = \"https://bank.test\"\ninternal = \"10.0.0.10:9090\"\n[front]\ncores = [\"10.0.0.20:8443\"]\nfolder = \"front\"\n{TLS}"
    );
    std::fs::write(front.join("larder.toml"), settings).expect("a file");
    serve(&mut network, "front", &front, &["--roles", "front"]);
    web_door(&network, "three tiers", &authority);
    let data = std::fs::read_dir(front.join("data")).map(Iterator::count).unwrap_or_default();
    assert_eq!(data, 0, "a front keeps nothing but its key");

    // Two tiers: the core itself at the public address.
    let database = network.processes.drain(..2).collect();
    network.stop();
    network.processes = database;
    network.remove("front", &["public", "inner"]);
    network.remove("core", &["inner"]);
    network.machine("core", &[("public", PUBLIC), ("inner", "10.0.0.20")]);
    let folder = prepared(&network, "core", &format!("{core}{TLS}{KEYS}"));
    let authority = certificate(&folder);
    let rules = documented("core").replace("ip saddr 10.0.0.10 tcp dport 8443 accept", "tcp dport { 80, 443 } accept");
    network.filter("core", &rules);
    serve(&mut network, "core", &folder, &[]);
    web_door(&network, "two tiers", &authority);
    let tries = [
        ("client", PUBLIC, 443, true),
        ("client", PUBLIC, 8080, false),
        ("client", PUBLIC, 9090, false),
        ("client", "10.0.0.30", 3306, false),
        ("core", "10.0.0.30", 3306, true),
        ("staff", "10.0.0.20", 8080, true),
        ("staff", "10.0.0.30", 3306, false),
    ];
    reach(&network, "two tiers", &tries);
}
