//! The SDK for browsers, as its package has it, on a page of an origin that the partner lists, and on one that it does not.

use larder_tests::{Browser, Issuer, Larder, both, guests};
use reqwest::Method;
use serde_json::{Value, json};

use super::sdks;

both!(pages_call_functions_from_the_partners_origins_only, async |on| {
    let Some(installed) = sdks::node() else { return };
    let mut browser = Browser::start().await;
    let sdk = std::fs::read_to_string(installed.join("node_modules/appwrite/dist/iife/sdk.js")).expect("the SDK");
    let (larder, issuer) = (Larder::start_on(on).await, Issuer::start().await);
    let port = larder.address().rsplit(':').next().expect("a port").to_owned();
    let api = larder.api();
    let mut identity = issuer.settings();
    identity["origins"] = json!([format!("http://demo.localhost:{port}")]);
    api.put("/identity", identity).await.is(200);
    let hello = guests::guest("hello-http");
    api.deploy("hello", &hello, json!({ "routes": ["/hello"], "execute": ["any"] })).await;
    api.deploy("members", &hello, json!({ "execute": ["users"] })).await;

    for endpoint in [format!("http://demo-api.localhost:{port}/v1"), format!("http://localhost:{port}/v1")] {
        let open = async |browser: &mut Browser, page: &str| {
            browser.go(&format!("http://{page}")).await;
            browser.until("document.readyState === 'complete'").await;
            browser.ask(&format!("{sdk}; window.Appwrite = Appwrite; 0")).await;
            browser
                .ask(&format!(
                    "window.client = new Appwrite.Client().setEndpoint('{endpoint}').setProject('demo'); \
                     window.functions = new Appwrite.Functions(client); 0"
                ))
                .await;
        };
        open(&mut browser, &format!("demo.localhost:{port}/hello")).await;
        let call = async |browser: &mut Browser, call: &str| -> Value {
            browser
                .ask(&format!("{call}.then(x => x, e => ({{ code: e.code ?? 0, type: e.type, message: e.message }}))"))
                .await
        };
        let run = |id: &str| {
            format!("functions.createExecution({{ functionId: '{id}', method: 'GET', xpath: '/hello', async: false }})")
        };
        let execution = call(&mut browser, &run("hello")).await;
        assert_eq!(
            (&execution["status"], &execution["responseStatusCode"]),
            (&json!("completed"), &json!(200)),
            "{execution}"
        );
        // An error can be read, and tells what is missing.
        let refused = call(&mut browser, &run("members")).await;
        assert_eq!(refused["code"], 401, "{refused}");
        browser.ask(&format!("client.setJWT('{}'); 0", issuer.token("anna"))).await;
        let execution = call(&mut browser, &run("members")).await;
        assert_eq!(execution["status"], "completed", "{execution}");
        let id = execution["$id"].as_str().expect("an id");
        let read = format!("functions.getExecution({{ functionId: 'members', executionId: '{id}' }})");
        let read = call(&mut browser, &read).await;
        assert!(read["$id"] == id || read["code"] == 401, "{read}");
        // Queued, and a ping.
        let queued = call(&mut browser, "functions.createExecution({ functionId: 'members', async: true })").await;
        assert_eq!(queued["status"], "waiting", "{queued}");
        assert!(call(&mut browser, "client.ping()").await.to_string().contains("Pong"));

        // The same page at an address that nobody lists.
        open(&mut browser, &format!("127.0.0.1:{port}/")).await;
        let before = api.all("/functions/hello/executions", "executions").await.len();
        let refused = call(&mut browser, &run("hello")).await;
        assert_eq!(refused["message"], "Failed to fetch", "{refused}");
        assert_eq!(api.all("/functions/hello/executions", "executions").await.len(), before);
    }
    browser.close().await;
});

both!(preflights_answer_for_listed_origins_and_paths_of_pages, async |on| {
    let (larder, issuer) = (Larder::start_on(on).await, Issuer::start().await);
    let mut identity = issuer.settings();
    identity["origins"] = json!(["https://app.example"]);
    larder.api().put("/identity", identity).await.is(200);
    let other = larder.partner("other").await;
    let base = format!("http://{}", larder.address());
    let ask = async |method: Method, host: &str, path: &str, origin: &str| {
        let request = reqwest::Client::new().request(method, format!("{base}{path}")).header("host", host);
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "x-appwrite-mode,x-appwrite-project").send().await.unwrap()
    };
    let (own, bare) = ("demo-api.localhost", "localhost");
    let executions = "/v1/functions/f/executions";
    for host in [own, bare] {
        let answer = ask(Method::OPTIONS, host, executions, "https://app.example").await;
        assert_eq!(answer.status(), 204, "{host}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_ascii_lowercase();
        assert_eq!(header("access-control-allow-origin"), "https://app.example");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(header("vary"), "origin");
        let allowed = header("access-control-allow-headers");
        for sent in
            ["x-appwrite-project", "x-appwrite-jwt", "x-appwrite-response-format", "x-sdk-version", "content-type"]
        {
            assert!(allowed.split(", ").any(|name| name == sent), "{sent}");
        }
        // The header with which the cookie of an administrator counts, and keys, cannot come from another site.
        for never in ["x-appwrite-mode", "x-appwrite-key", "*"] {
            assert!(!allowed.split(", ").any(|name| name == never), "{never}");
        }
    }
    // No other origin, no other partner's address, no path of administrators, operators and servers.
    for (host, path, origin) in [
        (own, executions, "https://evil.example"),
        (own, executions, "null"),
        (own, executions, "https://app.example.evil.example"),
        (bare, executions, "http://app.example"),
        ("other-api.localhost", executions, "https://app.example"),
        (bare, "/v1/functions/f/executions?project=other", "https://app.example"),
        (own, "/v1/functions", "https://app.example"),
        (own, "/v1/functions/f", "https://app.example"),
        (own, "/v1/functions/f/variables", "https://app.example"),
        (bare, "/v1/account", "https://app.example"),
        (bare, "/v1/account/sessions/email", "https://app.example"),
        (bare, "/v1/projects", "https://app.example"),
        (bare, "/v1/teams", "https://app.example"),
        (bare, "/v1/console/variables", "https://app.example"),
        (bare, "/v1/operator/partners", "https://app.example"),
        (own, "/v1/identity", "https://app.example"),
    ] {
        let answer = ask(Method::OPTIONS, host, path, origin).await;
        assert_eq!(answer.status(), 403, "{host}{path} {origin}");
        for method in [Method::OPTIONS, Method::GET] {
            let answer = ask(method, host, path, origin).await;
            let told = answer.headers().keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(told, None, "{host}{path} {origin}");
        }
    }
    // Whether a partner is there is not told by what its pages may do.
    assert_eq!(ask(Method::OPTIONS, "nobody-api.localhost", executions, "https://app.example").await.status(), 403);
    // What is taken off the list is off at once, on the bare address, too; what another lists stays.
    let mut others = issuer.settings();
    others["origins"] = json!(["https://app.example"]);
    other.put("/identity", others).await.is(200);
    larder.api().put("/identity", issuer.settings()).await.is(200);
    assert_eq!(ask(Method::OPTIONS, own, executions, "https://app.example").await.status(), 403);
    assert_eq!(ask(Method::OPTIONS, bare, executions, "https://app.example").await.status(), 204);
    other.delete("/identity").await.is(204);
    assert_eq!(ask(Method::OPTIONS, bare, executions, "https://app.example").await.status(), 403);
});
