//! `larder test --sandbox`: components in the real sandbox, with nothing applied and nothing that leaves.

use std::path::{Path, PathBuf};

use larder_tests::outside::Outside;
use larder_tests::{Larder, Options, guests};
use serde_json::{Value, json};

/// A project of a component that is built.
fn project(larder: &Larder, component: &[u8], manifest: &str, event: Option<Value>) -> PathBuf {
    let folder = larder.scratch().join("project");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = format!("[function]\nid = \"try\"\nname = \"try\"\n{manifest}\n[build]\ncomponent = \"app.wasm\"\n");
    std::fs::write(folder.join("larder.toml"), manifest).unwrap();
    std::fs::write(folder.join("app.wasm"), component).unwrap();
    if let Some(event) = event {
        std::fs::write(folder.join("event.json"), event.to_string()).unwrap();
    }
    folder
}

fn purchase(id: &str, amount: &str) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/cards", "type": "card.purchase", "subject": "card-1",
            "data": { "amount": amount, "currency": "SEK", "merchant": "Corner shop" } })
}

async fn tested(larder: &Larder, folder: &Path, more: &[&str]) -> (i32, Value, String) {
    let arguments = [&["test", "--sandbox", "--json"], more].concat();
    let (code, out, err) = larder.cli(folder, &arguments).await;
    (code, serde_json::from_str(&out).unwrap_or(Value::Null), err)
}

const ROUND_UP: &str = "per = \"enrolment\"\ntopics = \"subject\"\nevents = [\"card.purchase\"]\n[grants]\nstate = true\n\
                        transactions.SEK = { max = \"10.00\", sum = \"10.00\", period = \"day\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_tried_under_its_grants_and_nothing_is_applied() {
    let larder = Larder::start_with(Options::default()).await;
    let component = guests::guest("round-up");
    let folder = project(&larder, &component, ROUND_UP, Some(purchase("1", "42.50")));
    let (code, said, err) = tested(&larder, &folder, &[]).await;
    assert_eq!(code, 0, "{said}{err}");
    let run = &said[0];
    assert_eq!((run["status"].as_str(), run["transactions"][0]["amount"].as_str()), (Some("completed"), Some("7.50")));
    assert_eq!(run["transactions"][0]["endUser"], "anna");
    let used = (run["used"]["memoryBytes"].as_u64().unwrap(), run["used"]["cpuMs"].as_f64().unwrap());
    assert!(used.0 > 0 && used.0 < run["limits"]["memoryBytes"].as_u64().unwrap() && used.1 >= 0.0, "{run}");
    // For people.
    let (code, out, err) = larder.cli(&folder, &["test", "--sandbox", "--end-user", "bo"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("card.purchase 1 for bo: completed\n") && out.contains("7.50 SEK"), "{out}");
    assert!(out.contains("of 1000 ms CPU") && err.contains("nothing of this was applied"), "{out}{err}");
    // The sum of the grant holds over the runs of one test, as it would for the end user.
    let purchases = json!([purchase("1", "42.50"), purchase("2", "42.50")]);
    std::fs::write(folder.join("two.json"), purchases.to_string()).unwrap();
    let (code, said, err) = tested(&larder, &folder, &["--event", "two.json"]).await;
    assert_eq!((code, said[0]["status"].as_str(), said[1]["status"].as_str()), (1, Some("completed"), Some("failed")));
    assert!(said[1]["detail"].as_str().unwrap().contains("the grant is for 10.00"), "{said}");
    assert!(err.contains("1 of 2 runs did not end well"), "{err}");
    // What is not granted is refused where it is used.
    let less = ROUND_UP.replace("10.00", "5.00");
    project(&larder, &component, &less, None);
    let (code, said, _) = tested(&larder, &folder, &[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.to_string().contains("the grant transactions.SEK is for up to 5.00 SEK each"), "{said}");
    // An event that happened, with its data as they were sent.
    project(&larder, &component, ROUND_UP, None);
    let data = json!({ "amount": "42.50", "currency": "SEK", "merchant": "Corner shop" });
    let accepted = larder.api().event("7", "card.purchase", Some("card-1"), data).await.is(202);
    let row = accepted["events"][0]["$id"].as_str().unwrap().to_owned();
    let (code, said, err) = tested(&larder, &folder, &["--recorded", &row]).await;
    assert_eq!(
        (code, &said[0]["transactions"][0]["amount"], said.as_array().unwrap().len()),
        (0, &json!("7.50"), 1),
        "{err}"
    );
    let (code, out, err) = larder.cli(&folder, &["events", "content", "7", "--source", "/tests"]).await;
    assert_eq!(code, 0, "{out}{err}");
    std::fs::write(folder.join("recorded.json"), out).unwrap();
    let both = ["--event", "recorded.json", "--recorded", "7", "--source", "/tests"];
    let (code, said, err) = tested(&larder, &folder, &both).await;
    assert_eq!((code, said.as_array().unwrap().len(), &said[0]["status"]), (1, 2, &json!("completed")), "{said}{err}");
    let (code, _, err) = tested(&larder, &folder, &["--recorded", "nothing"]).await;
    assert!(code != 0 && err.contains("Event"), "{err}");
    // Nothing of it is anywhere.
    assert_eq!(larder.api().transactions().await, Vec::<Value>::new());
    assert!(larder.api().all("/functions", "functions").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_sandbox_and_limits_end_a_run() {
    let larder = Larder::start_with(Options::default()).await;
    let outside = Outside::start().await;
    let url = format!("http://{}/x", outside.address);
    let manifest = |limits: &str| {
        format!(
            "routes = [\"/try\"]\n[[grants.http]]\nscheme = \"http\"\nhosts = [\"{}\"]\nnetwork = \"127.0.0.0/8\"\n{limits}",
            outside.address
        )
    };
    let folder = project(&larder, &guests::guest("caller"), &manifest(""), None);
    let ask = json!([{ "authority": outside.address.to_string(), "path": "/x" }]).to_string();
    let call = ["--request", "POST /try", "--data", &ask];
    let (code, said, err) = tested(&larder, &folder, &call).await;
    assert_eq!(code, 0, "{said}{err}");
    let asked = &said[0]["requests"][0];
    assert_eq!((asked["request"].as_str(), asked["status"].as_u64()), (Some(format!("GET {url}").as_str()), None));
    assert!(asked["error"].as_str().unwrap().contains("add an answer to answers.json"), "{asked}");
    std::fs::write(folder.join("answers.json"), json!({ format!("GET {url}"): { "body": "canned" } }).to_string())
        .unwrap();
    let (code, said, err) = tested(&larder, &folder, &call).await;
    assert_eq!((code, &said[0]["requests"][0]["status"]), (0, &json!(200)), "{said}{err}");
    assert!(said[0]["detail"].as_str().unwrap().contains("canned"), "{said}");
    assert_eq!(outside.connections(), 0);
    // What is wrong with the files is said with its place.
    std::fs::write(folder.join("answers.json"), "{\n\"GET http://a/\": { \"statsu\": 1 } }").unwrap();
    let (code, _, err) = tested(&larder, &folder, &call).await;
    assert!(code == 2 && err.contains("answers.json:2: unknown field `statsu`"), "{err}");
    std::fs::remove_file(folder.join("answers.json")).unwrap();
    let (code, _, err) = tested(&larder, &folder, &[]).await;
    assert!(code == 2 && err.contains("there is no event.json; give --event FILE, or --request 'GET /try'"), "{err}");

    // What Larder would refuse is refused here, and an endless loop ends at its limit.
    let folder = project(&larder, &guests::wat("(component)"), "events = [\"a\"]", Some(purchase("1", "1")));
    let (code, _, err) = tested(&larder, &folder, &[]).await;
    assert!(code == 1 && err.contains("nothing that Larder can call"), "{err}");
    let endless = larder_tests::hostile::corpus::one("cpu-loop").wasm;
    project(&larder, &endless, "events = [\"card.purchase\"]\n[limits]\ncpu_ms = 100", None);
    let (code, said, err) = tested(&larder, &folder, &[]).await;
    assert_eq!(code, 1, "{said}{err}");
    assert!(said[0]["detail"].as_str().unwrap().contains("limit cpu_ms of 100 exceeded"), "{said}");
}
