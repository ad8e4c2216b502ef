//! What `make run` and `make demo` show: the example savehacks deployed, savers enrolled, real events sent through them,
//! goals among them that come from an API aggregator through a feed.

mod larder;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use larder::{Aggregator, Api, Larder, workspace};
use reqwest::Method;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// Go on serving until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Folder that stays; without it, a temporary one
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    #[arg(long, default_value = "127.0.0.1:9090")]
    internal: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Saver {
    end_user: String,
    card: String,
    team: String,
    stake: String,
    #[serde(default)]
    double_when_top: bool,
    monthly_cap: String,
    salary: String,
    percent: String,
}

/// Currency and amount.
type Sum = (&'static str, &'static str);
/// A function, how many transactions it creates, and what they come to.
type Expected = (&'static str, usize, &'static [Sum]);

/// What the batch comes to, if every event took effect once; see `examples/events/README.md`.
const EXPECTED: [Expected; 3] =
    [("payday", 300, &[("SEK", "707212.75")]), ("round-up", 53, ROUNDED), ("save-league", 450, &[("SEK", "11280.00")])];
const ROUNDED: &[Sum] = &[("DKK", "2.00"), ("EUR", "5.65"), ("SEK", "180.79")];
/// Every example that is a function in Rust.
const EXAMPLES: [&str; 5] = ["hello-http", "round-up", "save-league", "payday", "savings-app"];
/// The one that node builds.
const TYPESCRIPT: &str = "round-up-ts";
/// What the aggregator tells of its matchday.
const ITEMS: u64 = 18;
const WARM_CALLS: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The clients of this process and of what it starts make no TLS connection, but want one that could.
    let _ = rustls::crypto::ring::default_provider().install_default();
    step("starting larder dev");
    let mut larder = Larder::start(&arguments.listen, &arguments.internal, arguments.data).await?;
    let aggregator = Aggregator::start()?;

    let (mut examples, mut expected) = (EXAMPLES.to_vec(), EXPECTED.to_vec());
    if build_typescript(&larder).await? {
        examples.push(TYPESCRIPT);
        expected.insert(2, (TYPESCRIPT, 53, ROUNDED));
    }
    for example in &examples {
        step(&format!("larder deploy   in examples/{example}"));
        // A folder of an earlier version does not tell whose the functions are.
        larder.cli(&workspace().join("examples").join(example), &["deploy", "--force"]).await?;
    }

    let savers: Vec<Saver> = serde_json::from_str(&read("examples/events/savers.json")?)?;
    step(&format!("enrolling {} savers in {} savehacks each", savers.len(), expected.len()));
    enrol(&larder.api, &savers, examples.contains(&TYPESCRIPT)).await?;

    step(&format!("an identity provider at {}/identity, whose tokens name the savers", aggregator.url));
    identity(&larder.api, &aggregator.url).await?;

    step(&format!("an API aggregator at {} as upstream and feed: its goals are events from now on", aggregator.url));
    feed(&larder, &aggregator).await?;
    for file in ["events/purchases.json", "payday/event.json"] {
        step(&format!("larder events send examples/{file}"));
        larder.cli(workspace(), &["events", "send", &format!("examples/{file}"), "--wait", "0"]).await?;
    }
    let begun = Instant::now();
    let items = all_items(&larder.api).await?;
    let runs = settle(&larder.api, &examples).await?;
    step(&format!(
        "{runs} runs, each in a sandbox of its own, came to rest {:.1} s after the last event was sent",
        begun.elapsed().as_secs_f64()
    ));

    step(&format!(
        "{items} items of the feed became events; save-league asked the aggregator for the standings {} times",
        aggregator.standings_asked().await?
    ));

    let fine = print_savings(&larder.api, &expected).await?;
    print_times(&larder, &expected).await?;
    println!();
    println!("  web         http://{}/hello?name=you", larder.address());
    println!("  savings app {}   (sign in as saver-001)", larder.app());
    println!("  console     {}   (signs in, on this machine only)", larder.consoles[0]);
    println!("  operator    {}", larder.consoles[1]);
    println!(
        "  API         http://{}/v1   (OpenAPI: /v1/openapi.json; keys: {})",
        larder.address(),
        larder.env_file().display()
    );
    println!("  metrics     http://{}/metrics", larder.internal);
    ensure!(fine, "the savings are not what the events come to");
    if arguments.keep {
        println!("\nServing. Try: target/debug/larder transactions --limit 5    (Ctrl-C ends it)");
        tokio::signal::ctrl_c().await?;
        // The process has had the same signal from the terminal and drains.
        larder.ended().await?;
    }
    Ok(())
}

fn step(text: &str) {
    println!("• {text}");
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(workspace().join(path)).with_context(|| path.to_owned())
}

fn port(larder: &Larder) -> String {
    larder.address().rsplit(':').next().unwrap_or_default().to_owned()
}

/// Builds the example in TypeScript, and says why where it is left out.
async fn build_typescript(larder: &Larder) -> anyhow::Result<bool> {
    let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !works("node") || !works("npm") {
        step("node or npm is not installed: examples/round-up-ts, which is in TypeScript, is left out");
        return Ok(false);
    }
    let known =
        async |id: &str| anyhow::Ok(larder.api.send(Method::GET, &format!("/functions/{id}"), None).await?.0 == 200);
    if known("round-up").await? && !known(TYPESCRIPT).await? {
        step("this folder's events were sent before examples/round-up-ts was there: it is left out");
        return Ok(false);
    }
    step("larder build    in examples/round-up-ts, which is in TypeScript");
    match larder.cli(&workspace().join("examples").join(TYPESCRIPT), &["build"]).await {
        Ok(()) => Ok(true),
        Err(err) => {
            step(&format!("examples/round-up-ts is left out: {err:#}"));
            Ok(false)
        }
    }
}

async fn enrol(api: &Api, savers: &[Saver], in_typescript: bool) -> anyhow::Result<()> {
    let wanted = savers.iter().flat_map(|saver| {
        let round_up = || json!({ "monthlyCap": saver.monthly_cap });
        let typescript = in_typescript.then(|| (TYPESCRIPT, &saver.card, round_up()));
        [
            ("round-up", &saver.card, round_up()),
            ("save-league", &saver.team, json!({ "stake": saver.stake, "doubleWhenTop": saver.double_when_top })),
            ("payday", &saver.end_user, json!({ "salary": saver.salary, "percent": saver.percent })),
        ]
        .into_iter()
        .chain(typescript)
        .map(|(function, topic, settings)| json!({ "functionId": function, "endUser": saver.end_user, "topic": topic, "settings": settings }))
    });
    stream::iter(wanted)
        .map(|body| async move {
            let (status, said) = api.send(Method::POST, "/enrolments", Some(body)).await?;
            // 409: enrolled by an earlier run on the same folder.
            ensure!(matches!(status, 201 | 409), "an enrolment was refused: {said}");
            Ok(())
        })
        .buffer_unordered(8)
        .try_collect()
        .await
}

/// Says whose tokens name the savers, and tells the example page where they sign in.
async fn identity(api: &Api, url: &str) -> anyhow::Result<()> {
    let settings = json!({
        "issuer": format!("{url}/identity"), "audiences": ["savings"], "algorithms": ["ES256"], "networks": ["127.0.0.0/8"],
        "jwksUrl": format!("{url}/identity/jwks.json"),
    });
    let (status, said) = api.send(Method::PUT, "/identity", Some(settings)).await?;
    ensure!(status == 200 && said["keys"]["error"] == "", "the identity provider was refused: {said}");
    let path = "/functions/savings-app/variables";
    let mut variable = json!({
        "variableId": "sign-in", "key": "SIGN_IN_URL", "value": format!("{url}/identity/sign-in"), "secret": false,
    });
    let (mut status, mut said) = api.send(Method::POST, path, Some(variable.clone())).await?;
    if status == 409 {
        // By an earlier run on the same folder, when it had another port.
        variable.as_object_mut().context("an object")?.remove("variableId");
        (status, said) = api.send(Method::PUT, &format!("{path}/sign-in"), Some(variable)).await?;
    }
    ensure!(matches!(status, 200 | 201), "the variable was refused: {said}");
    Ok(())
}

/// Names the aggregator to Larder and makes a feed of its goals, unless an earlier run on the same folder did.
async fn feed(larder: &Larder, aggregator: &Aggregator) -> anyhow::Result<()> {
    aggregator.name_to(&larder.api).await?;
    if larder.api.send(Method::GET, "/feeds/goals", None).await?.0 == 200 {
        return Ok(());
    }
    let words = "feed create goals --upstream aggregator --path /goals?limit=5 --period 1s --items /items --cursor /next \
                 --id {/goal}-{/revision} --source /matches --type match.goal --subject {/team} --time {/published}";
    larder.cli(workspace(), &words.split_whitespace().collect::<Vec<_>>()).await
}

/// Waits until everything that the aggregator tells has come in.
async fn all_items(api: &Api) -> anyhow::Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, feed) = api.send(Method::GET, "/feeds/goals", None).await?;
        match feed["items"].as_u64() {
            Some(items) if items >= ITEMS => return Ok(items),
            _ => ensure!(Instant::now() < deadline, "the feed does not bring its items: {feed}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn executions(api: &Api, function: &str) -> anyhow::Result<Vec<Value>> {
    api.all(&format!("/functions/{function}/executions"), "executions").await
}

/// Waits until nothing waits or runs; gives how many executions there are.
async fn settle(api: &Api, examples: &[&str]) -> anyhow::Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (mut all, mut open) = (0, 0);
        for function in examples {
            let executions = executions(api, function).await?;
            all += executions.len();
            open +=
                executions.iter().filter(|e| matches!(e["status"].as_str(), Some("waiting" | "processing"))).count();
        }
        if open == 0 && all > 0 && all == before {
            return Ok(all);
        }
        before = all;
        ensure!(Instant::now() < deadline, "{open} executions have not ended");
    }
}

/// The table of savings; gives whether it is what the events come to.
async fn print_savings(api: &Api, expected: &[Expected]) -> anyhow::Result<bool> {
    let transactions = api.all("/transactions", "transactions").await?;
    let mut by_function: BTreeMap<String, (usize, BTreeMap<String, Decimal>)> = BTreeMap::new();
    let mut by_saver: BTreeMap<String, (usize, Decimal)> = BTreeMap::new();
    for transaction in &transactions {
        let text = |name: &str| transaction[name].as_str().unwrap_or_default().to_owned();
        let amount: Decimal = text("amount").parse().unwrap_or_default();
        let function = by_function.entry(text("functionId")).or_default();
        function.0 += 1;
        *function.1.entry(text("currency")).or_default() += amount;
        if text("currency") == "SEK" {
            let saver = by_saver.entry(text("endUser")).or_default();
            saver.0 += 1;
            saver.1 += amount;
        }
    }
    println!("\n  {:<14}{:>14}   total", "savehack", "transactions");
    let mut fine = true;
    for &(function, transactions, totals) in expected {
        let (count, sums) = by_function.remove(function).unwrap_or_default();
        let sums: Vec<(String, String)> =
            sums.into_iter().map(|(currency, sum)| (currency, format!("{sum:.2}"))).collect();
        let text: Vec<String> = sums.iter().map(|(currency, sum)| format!("{sum} {currency}")).collect();
        println!("  {function:<14}{count:>14}   {}", text.join(", "));
        fine &= count == transactions && sums.iter().map(|(c, s)| (c.as_str(), s.as_str())).eq(totals.iter().copied());
    }
    let mut top: Vec<(String, (usize, Decimal))> = by_saver.into_iter().collect();
    top.sort_by(|a, b| b.1.1.cmp(&a.1.1).then_with(|| a.0.cmp(&b.0)));
    println!("\n  {:<14}{:>14}   saved", "saver", "transactions");
    for (saver, (count, sum)) in top.iter().take(5) {
        println!("  {saver:<14}{count:>14}   {sum:.2} SEK");
    }
    println!("  … and {} more", top.len().saturating_sub(5));
    Ok(fine)
}

async fn print_times(larder: &Larder, expected: &[Expected]) -> anyhow::Result<()> {
    println!("\n  {:<34}{:>10}{:>10}", "how long calls took (ms)", "median", "p99");
    let mut door = Vec::with_capacity(WARM_CALLS);
    let client = reqwest::Client::new();
    for _ in 0..=WARM_CALLS {
        let request = client
            .request(Method::GET, format!("http://{}/hello?name=you", larder.address()))
            .header("host", format!("demo.localhost:{}", port(larder)));
        let begun = Instant::now();
        let answer = request.send().await?.error_for_status()?;
        answer.bytes().await?;
        door.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    let cold = door.remove(0);
    println!("  {:<34}{cold:>10.2}{:>10}", "hello-http, first call (cold)", "");
    row("hello-http, warm, over HTTP", door);
    for &(function, ..) in expected {
        let took = executions(&larder.api, function)
            .await?
            .iter()
            .filter_map(|e| Some(Value::as_f64(&e["duration"])? * 1_000.0))
            .collect();
        row(&format!("{function}, in the sandbox"), took);
    }
    Ok(())
}

fn row(name: &str, mut took: Vec<f64>) {
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    println!("  {name:<34}{:>10.2}{:>10.2}", at(0.5), at(0.99));
}
