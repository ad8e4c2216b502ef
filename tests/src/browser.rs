//! A browser that a test drives: Chromium without a window, by its debugging protocol over two pipes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Tab, npm, within};

const PROGRAMS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "Chromium", "Google Chrome"];
/// Where a Mac has them.
const PLACES: [&str; 2] =
    ["/Applications/Chromium.app/Contents/MacOS", "/Applications/Google Chrome.app/Contents/MacOS"];

pub struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    session: String,
    next: u64,
    /// Every message on the console, whatever it is about: exceptions, what the policy has refused, warnings.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// A page of its own.
    pub async fn start() -> Browser {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
        folders.extend(PLACES.map(PathBuf::from));
        let mut all = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let found = all.find(|path| path.is_file()).expect(
            "these tests need Chromium: make setup-console, which is apt-get install chromium, or brew install --cask chromium",
        );
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
            .args(["-c", script])
            .arg(&found)
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
        browser
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
            Some("Runtime.consoleAPICalled") => self.complaints.push(event["params"]["args"].to_string()),
            Some("Log.entryAdded") => self.complaints.push(format!("{} {}", entry["text"], entry["url"])),
            _ => {}
        }
    }

    /// Opens a page, and waits until it is there with its script.
    pub async fn go(&mut self, url: &str) {
        let went = self.send("Page.navigate", json!({ "url": url })).await;
        assert!(went["errorText"].is_null(), "{url}: {went}");
        self.until("document.readyState === 'complete'").await;
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

    /// Takes over the cookies of a tab.
    pub async fn take_over(&mut self, tab: &Tab, host: &str) {
        for (name, value) in &tab.cookies {
            let cookie = json!({ "name": name, "value": value, "domain": host, "path": "/", "httpOnly": true,
                "sameSite": "Strict", "url": format!("http://{host}/") });
            assert_eq!(self.send("Network.setCookie", cookie).await["success"], true, "{name}");
        }
    }

    /// How wide the window is, and whether its user likes dark pages.
    pub async fn look(&mut self, width: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.send("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.send("Emulation.setEmulatedMedia", features).await;
    }

    /// Whether pages that come from now on may run scripts.
    pub async fn allow_scripts(&mut self, are_allowed: bool) {
        self.send("Emulation.setScriptExecutionDisabled", json!({ "value": !are_allowed })).await;
    }

    /// Presses and releases a key: a character, or `Tab`, `Enter`, `Escape`, `Down`, `Space`.
    pub async fn press(&mut self, key: &str) {
        let (key, code, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            "Down" => ("ArrowDown", 40, ""),
            "Space" => (" ", 32, " "),
            other => (other, 0, other),
        };
        let mut down = json!({ "type": "keyDown", "key": key, "text": text, "windowsVirtualKeyCode": code });
        if text.is_empty() {
            down["type"] = "rawKeyDown".into();
        }
        self.send("Input.dispatchKeyEvent", down).await;
        let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.send("Input.dispatchKeyEvent", up).await;
    }

    /// Types into what has the focus, instead of what is there.
    pub async fn fill(&mut self, text: &str) {
        let all = json!({ "type": "keyDown", "key": "a", "modifiers": 2, "commands": ["selectAll"] });
        self.send("Input.dispatchKeyEvent", all).await;
        self.send("Input.insertText", json!({ "text": text })).await;
    }

    /// Goes by the Tab key to what fits the selector. Every stop on the way shows that it has the focus.
    pub async fn reach(&mut self, selector: &str) {
        let look = format!(
            "(() => {{ const at = document.activeElement; if (!at || at === document.body) return 'nothing'; \
             if (at.matches({selector:?})) return 'there'; const style = getComputedStyle(at); \
             const shown = at.matches('main, dialog') || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2); \
             return shown ? 'elsewhere' : 'unseen ' + at.outerHTML; }})()"
        );
        let mut nothing = 0;
        for _ in 0..400 {
            match self.ask(&look).await.as_str().expect("text") {
                "there" => return,
                "elsewhere" => {}
                "nothing" => nothing += 1,
                other => panic!("{other} has the focus, and does not show it"),
            }
            assert!(nothing < 3, "no Tab leads to {selector}: {}", self.ask("document.body.innerText").await);
            self.press("Tab").await;
        }
        panic!("no Tab leads to {selector}");
    }

    /// What axe finds wrong on this page, and whatever is wider than the window.
    pub async fn faults(&mut self) -> Vec<String> {
        if self.ask("typeof axe").await != "object" {
            let source = std::fs::read_to_string(axe()).expect("axe-core");
            self.ask(&format!("{source}; 0")).await;
        }
        let found = self.ask(AXE).await;
        let found = found.as_array().expect("a list").iter();
        found.map(|fault| fault.as_str().expect("text").to_owned()).collect()
    }

    /// A picture of what the window shows into `file`.
    pub async fn picture(&mut self, file: &Path) {
        use base64::Engine;
        let taken = self.send("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes =
            base64::prelude::BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("a file");
    }

    pub async fn close(mut self) {
        let _ = self.send("Browser.close", json!({})).await;
        within(Duration::from_secs(20), "the browser to end", async || self.process.try_wait().expect("a child")).await;
    }
}

/// Every rule of WCAG 2.2 at levels A and AA, and what axe calls best practice.
const AXE: &str = "(async () => { \
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']; \
    const found = await axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] }); \
    const all = found.violations.flatMap((rule) => rule.nodes.map((node) => rule.id + ': ' + node.html + ': ' + node.failureSummary)); \
    if (!found.passes.length) all.push('axe has tried nothing'); \
    if (document.documentElement.scrollWidth > innerWidth) all.push('the page is wider than the window'); \
    return all; })()";

/// axe-core's script, as `tests/axe/package-lock.json` pins it.
fn axe() -> &'static Path {
    static SCRIPT: OnceLock<PathBuf> = OnceLock::new();
    SCRIPT.get_or_init(|| npm::installed("axe").join("node_modules/axe-core/axe.min.js"))
}
