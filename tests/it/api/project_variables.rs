//! Variables of the project: every function has them, its own win, and secrets are granted and approved like its own.

use larder_tests::{Larder, both, guests};
use serde_json::json;

both!(functions_have_the_projects_variables_and_their_own_win, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for id in ["f", "g"] {
        api.deploy(id, &guests::guest("hello-http"), json!({})).await;
        api.grant(id, json!({})).await;
    }
    let greeting = async |function: &str| {
        let run = api.execute(function, json!({ "method": "GET", "path": "/hello/variable" })).await;
        run["responseBody"].as_str().expect("a body").trim().to_owned()
    };
    assert!(greeting("f").await.contains("not set"));
    let made = json!({ "variableId": "greeting", "key": "GREETING", "value": "from the project", "secret": false });
    let made = api.post("/project/variables", made).await.is(201);
    assert_eq!((&made["resourceType"], &made["resourceId"]), (&json!("project"), &json!("")));
    assert_eq!((greeting("f").await, greeting("g").await), ("from the project".into(), "from the project".into()));
    // A function's own wins, and is no other function's.
    let own = json!({ "variableId": "greeting", "key": "GREETING", "value": "its own", "secret": false });
    api.post("/functions/f/variables", own).await.is(201);
    assert_eq!((greeting("f").await, greeting("g").await), ("its own".into(), "from the project".into()));
    let vars = api.get("/functions/g").await.is(200)["vars"].clone();
    assert_eq!(vars, json!([]), "an object has its own");
    api.put("/project/variables/greeting", json!({ "value": "another" })).await.is(200);
    assert_eq!((greeting("f").await, greeting("g").await), ("its own".into(), "another".into()));
    assert_eq!(api.delete("/functions/f/variables/greeting").await.status, 204);
    assert_eq!(greeting("f").await, "another");

    // A secret reaches a function that is granted it; another value needs another yes.
    let secret = json!({ "key": "GREETING", "secret": true, "value": "s3cret" });
    let secret = api.put("/project/variables/greeting", secret).await.is(200);
    assert_eq!((&secret["secret"], &secret["value"]), (&json!(true), &json!("")));
    assert!(greeting("g").await.contains("not set"));
    api.grant("g", json!({ "secrets": ["GREETING"] })).await;
    assert_eq!(greeting("g").await, "s3cret");
    let key = json!({ "name": "k", "scopes": ["project.write", "project.read"] });
    let key = larder.operator().post("/partners/demo/keys", key).await.is(201);
    let writer = larder.api_of(Some("demo"), key["secret"].as_str());
    writer.put("/project/variables/greeting", json!({ "value": "moved" })).await.is(200);
    assert!(greeting("g").await.contains("not set"), "the grant was for another value");
    api.put("/project/variables/greeting", json!({ "secret": false }))
        .await
        .is_error(400, "variable_cannot_unset_secret");

    // Lists, scopes and refusals as those of functions.
    let second = json!({ "variableId": "unique()", "key": "OTHER", "value": "x", "secret": false });
    let second = writer.post("/project/variables", second).await.is(201);
    assert_eq!(writer.get("/project/variables").await.is(200)["total"], 2);
    let of_project = json!({ "method": "equal", "attribute": "resourceType", "values": ["project"] });
    assert_eq!(writer.list("/project/variables", &[of_project]).await.is(200)["total"], 2);
    let again = json!({ "variableId": "unique()", "key": "OTHER", "value": "x" });
    writer.post("/project/variables", again).await.is_error(409, "variable_already_exists");
    writer.put("/project/variables/greeting", json!({})).await.is_error(400, "general_argument_invalid");
    writer.get("/project/variables/none").await.is_error(404, "variable_not_found");
    writer.get("/functions/f/variables").await.is_error(401, "general_unauthorized_scope");
    api.get("/functions/f/variables/greeting").await.is_error(404, "variable_not_found");
    let path = format!("/project/variables/{}", second["$id"].as_str().expect("an id"));
    let stranger = larder.partner("stranger").await;
    stranger.get(&path).await.is_error(404, "variable_not_found");
    assert_eq!(stranger.get("/project/variables").await.is(200)["total"], 0);
    assert_eq!(writer.delete(&path).await.status, 204);
    writer.get(&path).await.is_error(404, "variable_not_found");
});
