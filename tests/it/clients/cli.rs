//! `appwrite-cli` 12.0.1, unmodified: from login to logout, by key, and what it is refused.
//!
//! It is installed by its lock file (`tests/clients/cli`) below the target folder, once.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use larder_tests::{Backend, Larder, Options, PASSWORD, both, guests, npm, workspace};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The script of the command line.
fn script() -> &'static Path {
    static SCRIPT: OnceLock<PathBuf> = OnceLock::new();
    SCRIPT.get_or_init(|| npm::installed("clients/cli").join("node_modules/appwrite-cli/index.js"))
}

/// Somebody at a terminal: a home, and a folder with a project.
struct Desk {
    home: PathBuf,
    folder: PathBuf,
}

/// What a command printed, both streams together, and whether it succeeded.
struct Said {
    code: Option<i32>,
    text: String,
}

impl Said {
    #[track_caller]
    fn says(self, part: &str) -> String {
        assert!(self.text.contains(part), "{part:?} is not in:\n{}", self.text);
        self.text
    }

    #[track_caller]
    fn fails(self, part: &str) -> String {
        assert_ne!(self.code, Some(0), "{}", self.text);
        self.says(part)
    }

    #[track_caller]
    fn succeeds(self, part: &str) -> String {
        assert_eq!(self.code, Some(0), "{}", self.text);
        self.says(part)
    }

    /// What `--json` printed.
    #[track_caller]
    fn json(self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|err| panic!("{err}: {}", self.text))
    }
}

impl Desk {
    fn new(larder: &Larder, name: &str) -> Desk {
        let desk = Desk { home: larder.scratch().join(format!("{name}-home")), folder: larder.scratch().join(name) };
        for folder in [&desk.home, &desk.folder] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        desk
    }

    /// The same person in another folder.
    fn elsewhere(&self, name: &str) -> Desk {
        let desk = Desk { home: self.home.clone(), folder: self.folder.with_file_name(name) };
        std::fs::create_dir_all(&desk.folder).expect("a folder");
        desk
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        self.answering(arguments, &[]).await
    }

    /// Runs a command and answers its questions: as soon as a text stands there, these keys.
    async fn answering(&self, arguments: &[&str], answers: &[(&str, &str)]) -> Said {
        let mut child = Command::new("node")
            .arg(script())
            .args(arguments)
            .current_dir(&self.folder)
            .env("HOME", &self.home)
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: these tests need node and npm");
        let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut errors = child.stderr.take().expect("piped");
        let errors = tokio::spawn(async move {
            let mut all = Vec::new();
            errors.read_to_end(&mut all).await.map(|_| all)
        });
        let mut text = String::new();
        let mut buffer = [0; 4_096];
        let (mut answers, mut seen) = (answers.iter().peekable(), 0);
        let ended = tokio::time::timeout(Duration::from_secs(180), async {
            loop {
                while let Some((question, keys)) = answers.peek()
                    && let Some(at) = text[seen..].find(question)
                {
                    seen += at + question.len();
                    // The library listens a moment after it has asked.
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    for key in keys.split_inclusive('\u{1f}') {
                        input.write_all(key.trim_end_matches('\u{1f}').as_bytes()).await.expect("it listens");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    answers.next();
                }
                match output.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(bytes) => text.push_str(&String::from_utf8_lossy(&buffer[..bytes])),
                }
            }
        })
        .await;
        assert!(ended.is_ok(), "{arguments:?} does not end:\n{text}");
        let status = child.wait().await.expect("it ended");
        text.push_str(&String::from_utf8_lossy(&errors.await.expect("no panic").unwrap_or_default()));
        if let Some((question, _)) = answers.next() {
            panic!("{arguments:?} did not ask {question:?}:\n{text}");
        }
        Said { code: status.code(), text }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.folder.join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, content).expect("a file");
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
    }

    /// Adds a function to the project's file, with its component and variables.
    fn add_function(&self, id: &str, component: &[u8]) {
        let mut config: Value = serde_json::from_slice(&self.read("appwrite.config.json")).expect("JSON");
        let function = json!({
            "$id": id, "name": id, "runtime": "wasi-0.2", "specification": "s-1vcpu-512mb", "execute": ["any"], "events": [],
            "scopes": [], "schedule": "", "timeout": 15, "enabled": true, "logging": true, "entrypoint": "main.wasm",
            "commands": "", "path": format!("functions/{id}"),
        });
        config["functions"] = json!([function]);
        self.write("appwrite.config.json", config.to_string());
        self.write(&format!("functions/{id}/main.wasm"), component);
        self.write(&format!("functions/{id}/.env"), "GREETING=hello\nOTHER=1\n");
    }
}

const DOWN: &str = "\u{1b}[B\u{1f}";

both!(from_login_to_logout_the_command_line_works_unmodified, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    larder.administrator("anna@bank.example", json!([{ "partnerId": "demo", "role": "administrator" }])).await;
    let desk = Desk::new(&larder, "project");
    let endpoint = format!("http://{}/v1", larder.address());
    let login = |password| ["login", "--endpoint", &endpoint, "--email", "anna@bank.example", "--password", password];
    desk.run(&login("not the password")).await.fails("Invalid credentials");
    desk.run(&["whoami"]).await.says("No user is signed in");
    desk.run(&login(PASSWORD)).await.succeeds("Successfully signed in as anna@bank.example");
    desk.run(&["whoami"]).await.succeeds("anna@bank.example");

    // The questions of `init project`: link an existing one, of the one team, the first; pull nothing now.
    let existing = format!("{DOWN}\r");
    let answers = [
        ("How would you like to start?", existing.as_str()),
        ("Choose your organization", "\r"),
        ("Choose your Appwrite project.", "\r"),
        ("pull all resources", "n\r"),
    ];
    desk.answering(&["init", "project"], &answers).await.succeeds("Project successfully linked");
    let config: Value = serde_json::from_slice(&desk.read("appwrite.config.json")).unwrap();
    assert_eq!(config["projectId"], "demo");

    // A new function in one go, with its variables: it is there, deployed, and has a domain that serves it.
    let component = guests::guest("mirror");
    desk.add_function("hello", &component);
    let push = ["push", "function", "--function-id", "hello", "--with-variables", "--force"];
    desk.run(&push).await.succeeds("Successfully pushed 1 functions.");
    let project = larder.api();
    let function = project.get("/functions/hello").await.is(200);
    assert_eq!((&function["runtime"], &function["latestDeploymentStatus"]), (&json!("wasi-0.2"), &json!("ready")));
    let rules = project.get("/proxy/rules").await.is(200);
    let domain = rules["rules"][0]["domain"].as_str().unwrap().to_owned();
    assert!(domain.ends_with(".functions.localhost"), "{domain}");
    let seen: Value = larder.at(&domain, Method::GET, "/x").send().await.unwrap().json().await.unwrap();
    assert_eq!((&seen["target"], &seen["environment"]["GREETING"]), (&json!("/x?"), &json!("hello")));
    assert_eq!(seen["environment"]["APPWRITE_DEPLOYMENT_TYPE"], "cli");
    // Again: nothing has changed but the deployment.
    desk.run(&push).await.succeeds("Successfully pushed 1 functions.");
    assert_eq!(project.get("/functions/hello/deployments").await.is(200)["total"], 2);
    assert_eq!(project.get("/functions/hello/variables").await.is(200)["total"], 2);

    // Pulled into another folder it is what was pushed.
    let other = desk.elsewhere("other");
    other.write("appwrite.config.json", json!({ "projectId": "demo", "endpoint": endpoint }).to_string());
    other
        .run(&["pull", "function", "--all", "--force", "--with-variables"])
        .await
        .succeeds("Successfully pulled 1 functions.");
    assert!(other.read("functions/hello/main.wasm") == component, "another component was pulled");
    let variables = String::from_utf8(other.read("functions/hello/.env")).unwrap();
    assert!(variables.contains("GREETING=hello\n") && variables.contains("OTHER=1\n"), "{variables}");

    // A build that fails is said to have failed.
    desk.add_function("hello", b"\0asm\x0d\0\x01\0nonsense");
    desk.run(&push).await.says("has failed");

    desk.run(&["logout"]).await.succeeds("Logging out");
    desk.run(&["whoami"]).await.says("No user is signed in");
    desk.run(&push).await.fails("Error");
});

both!(commands_of_functions_and_health_work_by_session_and_by_key, async |on| {
    let larder = Larder::start_with(Options::on(on)).await;
    larder.administrator("anna@bank.example", json!([{ "partnerId": "demo", "role": "administrator" }])).await;
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "execute": ["any"] })).await;
    let endpoint = format!("http://{}/v1", larder.address());
    let person = Desk::new(&larder, "person");
    person.write("appwrite.config.json", json!({ "projectId": "demo", "endpoint": endpoint }).to_string());
    let login = ["login", "--endpoint", &endpoint, "--email", "anna@bank.example", "--password", PASSWORD];
    person.run(&login).await.succeeds("Successfully signed in");
    let script = Desk::new(&larder, "script");
    let client = ["client", "--endpoint", &endpoint, "--project-id", "demo", "--key", larder.key()];
    script.run(&client).await.succeeds("Setting client");
    for desk in [&person, &script] {
        let by = if std::ptr::eq(desk, &person) { "p" } else { "s" };
        let id = format!("f-{by}");
        let of = ["--function-id", id.as_str()];
        let with = |command: &[&'static str], rest: &[&'static str]| {
            let parts: Vec<&str> = command.iter().copied().chain(rest.iter().copied()).collect();
            parts.into_iter().map(str::to_owned).collect::<Vec<String>>()
        };
        let run = async |command: &[&'static str], of_function: bool, rest: &[&'static str]| {
            let mut arguments = with(command, rest);
            if of_function {
                arguments.extend(of.iter().map(|part| part.to_string()));
            }
            arguments.push("--json".into());
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            desk.run(&arguments).await
        };
        let made = run(&["functions", "create"], true, &["--name", "made", "--runtime", "wasi-0.2"]).await.json();
        assert_eq!(made["name"], "made");
        assert_eq!(run(&["functions", "get"], true, &[]).await.json()["$id"], id);
        run(&["functions", "update"], true, &["--name", "changed"]).await.json();
        assert!(run(&["functions", "list"], false, &[]).await.json()["total"].as_u64() >= Some(2));
        run(&["functions", "list-runtimes"], false, &[]).await.json();
        run(&["functions", "list-specifications"], false, &[]).await.json();
        let variable = run(&["functions", "create-variable"], true, &["--key", "K", "--value", "v"]).await.json();
        assert_eq!(variable["key"], "K");
        assert_eq!(run(&["functions", "list-variables"], true, &[]).await.json()["total"], 1);
        assert_eq!(run(&["functions", "list-deployments"], true, &[]).await.json()["total"], 0);
        let rule = format!("{by}-cli.functions.localhost");
        let create = ["proxy", "create-function-rule", "--domain", &rule, "--function-id", &id, "--json"];
        assert_eq!(desk.run(&create).await.json()["domain"], rule);
        desk.run(&create).await.fails("belongs to a rule already");
        assert!(run(&["proxy", "list-rules"], false, &[]).await.json()["total"].as_u64() >= Some(1));
        let execute =
            ["functions", "create-execution", "--function-id", "mirror", "--xpath", "/x", "--method", "GET", "--json"];
        let execution = desk.run(&execute).await.json();
        assert_eq!((&execution["status"], &execution["responseStatusCode"]), (&json!("completed"), &json!(200)));
        let listed = desk.run(&["functions", "list-executions", "--function-id", "mirror", "--json"]).await.json();
        assert!(listed["total"].as_u64() >= Some(1));
        assert_eq!(run(&["health", "get"], false, &[]).await.json()["status"], "pass");
        // What is refused is told with the server's words, and the command fails.
        desk.run(&["functions", "get", "--function-id", "nobody"]).await.fails("could not be found");
        desk.run(&["functions", "create", "--function-id", &id, "--name", "x", "--runtime", "wasi-0.2"])
            .await
            .fails("exists already");
        desk.run(&["functions", "create", "--function-id", "x", "--name", "x", "--runtime", "node-1"])
            .await
            .fails("untime");
        desk.run(&["functions", "delete", "--function-id", &id]).await.succeeds("");
        desk.run(&["functions", "get", "--function-id", &id]).await.fails("could not be found");
    }
    // Another project's, and a key that may not.
    person.write("appwrite.config.json", json!({ "projectId": "other", "endpoint": endpoint }).to_string());
    larder.partner("other").await;
    person.run(&["functions", "list"]).await.fails("have no role in this project");
    let wrong = Desk::new(&larder, "wrong");
    let (most, last) = larder.key().split_at(larder.key().len() - 1);
    let key = format!("{most}{}", if last == "0" { "1" } else { "0" });
    let client = ["client", "--endpoint", &endpoint, "--project-id", "demo", "--key", &key];
    wrong.run(&client).await.succeeds("Setting client");
    wrong.run(&["functions", "list"]).await.fails("not one of this project");
});

/// The transcript in the docs is what its commands print.
#[tokio::test(flavor = "multi_thread")]
async fn transcript_of_the_guide_is_true() {
    let guide = std::fs::read_to_string(workspace().join("docs/coming-from-appwrite.md")).expect("the guide");
    let transcript = guide.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a transcript");
    let larder = Larder::start_on(Backend::Embedded).await;
    let operator = larder.operator();
    operator.post("/partners", json!({ "partnerId": "acme", "name": "Acme Bank" })).await.is(201);
    larder.administrator("anna@bank.example", json!([{ "partnerId": "acme", "role": "administrator" }])).await;
    let desk = Desk::new(&larder, "guide");
    let endpoint = format!("http://{}/v1", larder.address());
    let mut tried = 0;
    for part in transcript.split("$ appwrite ").skip(1) {
        let (command, printed) = part.split_once('\n').expect("a line");
        let command = command.replace("$(cat password.txt)", "PASSWORD");
        let word = |word: &str| match word {
            "\"PASSWORD\"" => PASSWORD.to_owned(),
            word => word.replace("http://localhost:8080/v1", &endpoint),
        };
        let arguments: Vec<String> = command.split(' ').map(word).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if arguments[0] == "push" {
            desk.add_function("hello", &guests::guest("mirror"));
        }
        // Of a question the part before the answer, which is chosen by keys.
        let answers: Vec<(&str, String)> = printed
            .lines()
            .filter_map(|line| line.strip_prefix("? "))
            .map(|line| {
                let at = line.find(['?', '.']).or(line.find(" Larder")).expect("the end of a question") + 1;
                let (question, answer) = line.split_at(at);
                (
                    question.trim(),
                    match answer.trim() {
                        "Link directory to an existing project" => format!("{DOWN}\r"),
                        "No" => "n\r".to_owned(),
                        _ => "\r".to_owned(),
                    },
                )
            })
            .collect();
        let answers: Vec<(&str, &str)> = answers.iter().map(|(question, keys)| (*question, keys.as_str())).collect();
        let said = desk.answering(&arguments, &answers).await;
        assert_eq!(said.code, Some(0), "{command}: {}", said.text);
        let said = without_ids(&said.text);
        for line in printed.lines().filter(|line| !line.starts_with("? ")) {
            assert!(said.contains(&without_ids(line)), "{command}: {line:?} is not in\n{said}");
        }
        tried += 1;
    }
    assert!(tried >= 6, "{tried} commands");
}

/// Generated ids differ in each run.
fn without_ids(text: &str) -> String {
    let is_id = |word: &str| word.len() == 20 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('.')
        .map(|word| if is_id(word.rsplit(' ').next().unwrap_or_default()) { "ID" } else { word })
        .collect::<Vec<_>>()
        .join(".")
}
