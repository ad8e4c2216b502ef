//! A browser that a test drives: Chromium without a window, by its debugging protocol over two pipes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::within;

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

pub struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    session: String,
    next: u64,
    /// What the page has complained about: exceptions, refused resources, errors on its console.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// A page of its own; `None` if there is no Chromium on this machine.
    pub async fn start() -> Option<Browser> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let found =
            PROGRAMS.iter().find(|name| std::env::split_paths(&paths).any(|folder| folder.join(name).is_file()))?;
        let profile = crate::folder("larder-browser-");
        let pipe = |name: &str| {
            let path = profile.path().join(name);
            let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
            assert!(made.success(), "no pipe could be made");
            path
        };
        let (commands, answers) = (pipe("commands"), pipe("answers"));
        // It reads commands from descriptor 3 and writes answers to 4.
        let script = "exec \"$0\" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                      --remote-debugging-pipe --user-data-dir=\"$1\" --window-size=1100,900 about:blank 3<\"$2\" 4>\"$3\"";
        let process = Command::new("sh")
            .args(["-c", script, found])
            .args([profile.path().join("profile").as_path(), &commands, &answers])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let open = async |path: &Path, write: bool| {
            File::options().read(!write).write(write).open(path).await.expect("a pipe")
        };
        // In the order in which the shell opens them.
        let commands = open(&commands, true).await;
        let answers = BufReader::new(open(&answers, false).await);
        let mut browser = Browser {
            process,
            commands,
            answers,
            session: String::new(),
            next: 0,
            complaints: vec![],
            _profile: profile,
        };
        let target = browser.send("Target.createTarget", json!({ "url": "about:blank" })).await["targetId"].clone();
        let attached = browser.send("Target.attachToTarget", json!({ "targetId": target, "flatten": true })).await;
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.send(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    async fn send(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut command = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let text = format!("{command}\0");
        self.commands.write_all(text.as_bytes()).await.expect("it reads");
        self.commands.flush().await.expect("it reads");
        loop {
            let mut text = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(60), self.answers.read_until(0, &mut text));
            read.await.expect("the browser answers").expect("the browser answers");
            text.pop();
            let answer: Value = serde_json::from_slice(&text).expect("JSON");
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.notice(&answer);
        }
    }

    fn notice(&mut self, event: &Value) {
        let entry = &event["params"]["entry"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(event["params"]["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if entry["level"] == "error" => {
                self.complaints.push(format!("{} {}", entry["text"], entry["url"]));
            }
            _ => {}
        }
    }

    pub async fn go(&mut self, url: &str) {
        let went = self.send("Page.navigate", json!({ "url": url })).await;
        assert!(went["errorText"].is_null(), "{url}: {went}");
    }

    /// What an expression comes to on the page.
    pub async fn ask(&mut self, expression: &str) -> Value {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.send("Runtime.evaluate", parameters).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        let begun = std::time::Instant::now();
        loop {
            if self.ask(&format!("Boolean({expression})")).await == true {
                return;
            }
            if begun.elapsed() > Duration::from_secs(30) {
                let text = self.ask("document.body ? document.body.innerText : ''").await;
                panic!("waited in vain for {expression} on\n{text}\n{:?}", self.complaints);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// A picture of the page into `file`, for people to look at.
    pub async fn picture(&mut self, file: &Path) {
        use base64::Engine;
        let taken = self.send("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let bytes =
            base64::prelude::BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("a file");
    }

    pub async fn close(mut self) {
        let _ = self.send("Browser.close", json!({})).await;
        within(Duration::from_secs(20), "the browser to end", async || self.process.try_wait().expect("a child")).await;
    }
}
