//! The processes of the demonstration, `larder dev` and the aggregator, and the API of the first.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the API takes as one page.
const PAGE: usize = 1000;
const AGGREGATOR_KEY: &str = "aggregator-key-of-the-demo";

/// The top of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A program that was built together with this one.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.is_file(), "{} is missing: `make run` and `make demo` build it", program.display());
    Ok(program)
}

pub struct Larder {
    process: Child,
    data: PathBuf,
    endpoint: String,
    pub internal: String,
    /// Links that sign in to the partner's console and to the operator's, on this machine.
    pub consoles: [String; 2],
    pub api: Api,
    _temporary: Option<TempDir>,
}

impl Larder {
    /// Starts `larder dev` and waits until it serves. Without a folder its data goes with it.
    pub async fn start(listen: &str, internal: &str, data: Option<PathBuf>) -> anyhow::Result<Larder> {
        let temporary =
            if data.is_none() { Some(tempfile::Builder::new().prefix("larder-demo-").tempdir()?) } else { None };
        let data = data.or(temporary.as_ref().map(|folder| folder.path().join("data"))).context("a folder")?;
        std::fs::create_dir_all(&data)?;
        let (env_file, log) = (data.join("dev.env"), data.join("stderr.log"));
        let written =
            |file: &Path| std::fs::metadata(file).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let before = written(&env_file);
        let said = data.join("stdout.log");
        let mut process = Command::new(program("larder")?)
            .args(["dev", "--listen", listen, "--internal", internal, "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()?;
        let begun = Instant::now();
        // It writes the keys last, when it serves.
        let (internal, consoles) = loop {
            let said = std::fs::read_to_string(&said)?;
            let told = |name: &str| {
                let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.split_whitespace().next());
                line.map(str::to_owned)
            };
            let internal = told("internal   http://").and_then(|told| told.split('/').next().map(str::to_owned));
            match (internal, told("console "), told("operator ")) {
                (Some(internal), Some(partner), Some(operator)) if written(&env_file) > before => {
                    break (internal, [partner, operator]);
                }
                _ if process.try_wait()?.is_some() => bail!("larder dev ended:\n{}", std::fs::read_to_string(&log)?),
                _ => ensure!(
                    begun.elapsed() < Duration::from_secs(60),
                    "larder dev does not serve; see {}",
                    log.display()
                ),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let text = std::fs::read_to_string(&env_file)?;
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.map(str::to_owned).with_context(|| format!("there is no {name} in {}", env_file.display()))
        };
        let endpoint = value("LARDER_ENDPOINT")?;
        let api = Api { http: reqwest::Client::new(), endpoint: endpoint.clone(), key: value("LARDER_KEY")? };
        Ok(Larder { process, data, endpoint, internal, consoles, api, _temporary: temporary })
    }

    /// The page of the example savings app, at the partner's own host.
    pub fn app(&self) -> String {
        format!("http://demo.localhost:{}/app/", self.address().rsplit(':').next().unwrap_or_default())
    }

    /// `127.0.0.1:PORT` of the web endpoint and the API.
    pub fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://").trim_end_matches("/v1")
    }

    pub fn env_file(&self) -> PathBuf {
        self.data.join("dev.env")
    }

    /// The command line against this process.
    pub async fn cli(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(program("larder")?);
        command
            .args(arguments)
            .current_dir(folder)
            .env("LARDER_DEV_ENV", self.env_file().canonicalize()?)
            .stdin(Stdio::null());
        let output = command.output().await?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "larder {} failed:\n{out}{err}", arguments.join(" "));
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        while self.process.try_wait()?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

/// The management API with the key of partner `demo`.
pub struct Api {
    http: reqwest::Client,
    endpoint: String,
    key: String,
}

impl Api {
    /// Status and JSON body, `Null` if there is none.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.endpoint));
        request = request.header("x-appwrite-project", "demo").header("x-appwrite-key", &self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
    }

    /// Every row of a list, by pages.
    pub async fn all(&self, path: &str, rows: &str) -> anyhow::Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut queries = vec![("queries[0]", json!({ "method": "limit", "values": [PAGE] }).to_string())];
            if let Some(last) = all.last() {
                queries.push(("queries[1]", json!({ "method": "cursorAfter", "values": [last["$id"]] }).to_string()));
            }
            let url = reqwest::Url::parse_with_params(&format!("http://list{path}"), &queries)?;
            let path = format!("{path}?{}", url.query().unwrap_or_default());
            let (status, mut page) = self.send(Method::GET, &path, None).await?;
            ensure!(status == 200, "{path}: {page}");
            let Value::Array(page) = page[rows].take() else { bail!("{path}: there are no {rows}") };
            let full = page.len() == PAGE;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

/// The API aggregator of `examples/aggregator`.
pub struct Aggregator {
    process: Child,
    pub url: String,
    http: reqwest::Client,
}

impl Aggregator {
    /// With the matchday of `examples/events/goals.json`.
    pub fn start() -> anyhow::Result<Aggregator> {
        let mut process = Command::new(program("aggregator")?)
            .args(["--listen", "127.0.0.1:0", "--key", AGGREGATOR_KEY])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let url = line.trim().rsplit(' ').next().filter(|url| url.starts_with("http://"));
        let url = url.with_context(|| format!("the aggregator says {line:?}"))?.to_owned();
        Ok(Aggregator { process, url, http: reqwest::Client::new() })
    }

    /// How often it was asked for the standings.
    pub async fn standings_asked(&self) -> anyhow::Result<u64> {
        let answer = self.http.get(format!("{}/behaviour", self.url)).bearer_auth(AGGREGATOR_KEY).send().await?;
        let said: Value = serde_json::from_slice(&answer.bytes().await?)?;
        said["asked"]["standings"].as_u64().context("a number")
    }

    /// Names it `aggregator` to the partner.
    pub async fn name_to(&self, api: &Api) -> anyhow::Result<()> {
        let body = json!({
            "name": "aggregator", "url": self.url, "networks": ["127.0.0.0/8"], "secret": AGGREGATOR_KEY,
            "credential": { "kind": "header", "name": "authorization" },
        });
        let (mut status, mut said) = api.send(Method::POST, "/upstreams", Some(body.clone())).await?;
        if status == 409 {
            // By an earlier run on the same folder, when it had another port.
            (status, said) = api.send(Method::PATCH, "/upstreams/aggregator", Some(body)).await?;
        }
        ensure!(matches!(status, 200 | 201), "the upstream was refused: {said}");
        Ok(())
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}
