//! The integrator's way: from an empty folder to a function that saves.

use larder_tests::{Larder, both, eventually, workspace};

both!(from_an_empty_folder_to_a_savehack_that_saves, async |on| {
    let larder = Larder::start_on(on).await;
    let folder = larder.scratch();
    let run = async |folder: &std::path::Path, arguments: &[&str]| {
        let (code, out, err) = larder.cli(folder, arguments).await;
        assert_eq!(code, 0, "larder {arguments:?}\n{out}{err}");
        out
    };
    run(folder, &["new", "x", "--template", "savehack"]).await;
    let project = folder.join("x");
    run(&project, &["build"]).await;
    let out = run(&project, &["deploy"]).await;
    assert!(out.contains("x"), "{out}");
    run(&project, &["enrolments", "create", "--function", "x", "--end-user", "anna", "--topic", "card-1"]).await;
    run(&project, &["events", "send", "event.json"]).await;
    eventually("the saving", async || {
        let out = run(&project, &["transactions", "--json"]).await;
        out.contains("\"anna\"").then_some(())
    })
    .await;
    let out = run(&project, &["logs", "x"]).await;
    assert!(out.contains("completed"), "{out}");
    let out = run(&project, &["executions", "x", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["executions"][0]["status"], "completed", "{out}");

    // A second deploy updates; a wrong line is named.
    run(&project, &["deploy"]).await;
    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    std::fs::write(project.join("larder.toml"), format!("{manifest}\n[limits]\nmemory_bytes = 0\n")).unwrap();
    let (code, _, err) = larder.cli(&project, &["deploy"]).await;
    let line = manifest.lines().count() + 3;
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&format!("larder.toml:{line}:")), "line {line}: {err}");
});

both!(the_operator_makes_partners_and_keys, async |on| {
    let larder = Larder::start_on(on).await;
    let (code, out, err) = larder.cli(workspace(), &["partner", "create", "acme", "--name", "Acme"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) =
        larder.cli(workspace(), &["key", "create", "--partner", "acme", "--scopes", "functions.read"]).await;
    assert_eq!(code, 0, "{err}");
    let key = out.lines().last().unwrap().trim();
    larder.api_of(Some("acme"), Some(key)).get("/functions").await.is(200);
    let (code, out, _) =
        larder.cli(workspace(), &["key", "create", "--partner", "acme", "--scopes", "functions.read", "--json"]).await;
    assert_eq!(code, 0);
    let key: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(key["secret"].as_str().is_some_and(|secret| secret.starts_with("larder_")));
    let (code, _, err) = larder.cli(workspace(), &["partner", "create", "acme"]).await;
    assert_eq!(code, 1, "taken: {err}");
    let (code, _, err) = larder.cli(workspace(), &["--endpoint", "http://127.0.0.1:9/v1", "executions", "x"]).await;
    assert_eq!(code, 3, "{err}");
});
