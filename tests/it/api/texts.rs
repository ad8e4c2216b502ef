//! Texts that people read: no endpoint accepts characters that make a text look like another.

use larder_tests::{Api, Larder, both, guests};
use reqwest::Method;
use serde_json::{Value, json};

/// A control character, a direction override, an isolate, two direction marks, a line separator, and two of zero width.
const BAD: [&str; 8] = ["\u{7}", "\u{202e}", "\u{2066}", "\u{200f}", "\u{61c}", "\u{2028}", "\u{200b}", "\u{feff}"];
const FINE: [&str; 3] = ["Mål för AIK", "گل‌ها", "👩‍👩‍👧"];

type Endpoint = (&'static str, fn(&str, usize) -> Value);

/// Endpoints that accept a JSON body, with a body that is unique for its number.
const ENDPOINTS: [Endpoint; 6] = [
    ("/functions", |text, at| json!({ "functionId": format!("n{at}"), "name": text, "runtime": "wasi-0.2" })),
    ("/enrolments", |text, at| json!({ "functionId": "f", "endUser": text, "topic": format!("t{at}") })),
    ("/enrolments", |text, at| json!({ "functionId": "f", "endUser": format!("e{at}"), "topic": text })),
    ("/functions/f/variables", |text, at| json!({ "key": format!("K{at}{text}"), "value": "v" })),
    ("operator:/partners", |text, at| json!({ "partnerId": format!("p{at}"), "name": text })),
    ("operator:/partners/demo/keys", |text, _| json!({ "name": text, "scopes": ["health.read"] })),
];

/// Sends an event with this text in an attribute; gives the status.
async fn event(api: &Api, attribute: &str, text: &str, at: usize, binary: bool) -> u16 {
    let mut event =
        json!({ "specversion": "1.0", "id": format!("{attribute}-{at}-{binary}"), "source": "/s", "type": "t.t" });
    let text = if attribute == "source" || attribute == "type" { text.replace(' ', "") } else { text.to_owned() };
    event[attribute] = json!(format!("{text}{at}{binary}"));
    let request = api.request(Method::POST, "/events");
    let request = match binary {
        true => event.as_object().unwrap().iter().fold(request.body("{}"), |request, (name, value)| {
            let encoded: String = value.as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
            request.header(format!("ce-{name}"), encoded)
        }),
        false => request.header("content-type", "application/cloudevents+json").body(event.to_string()),
    };
    Api::send(request).await.status
}

both!(endpoints_refuse_invisible_and_reordering_characters, async |on| {
    let larder = Larder::start_on(on).await;
    let (api, operator) = (larder.api(), larder.operator());
    api.deploy("f", &guests::guest("probe"), json!({})).await;
    api.enrol("f", "clock", "clock", json!({})).await;
    let mut wrong = vec![];
    let texts = BAD.iter().map(|bad| (format!("paid{bad}back"), false)).chain(FINE.map(|fine| (fine.to_owned(), true)));
    for (at, (text, fine)) in texts.enumerate() {
        let mut note = |endpoint: &str, accepted: bool| {
            if accepted != fine {
                wrong.push(format!("{endpoint} {} {text:?}", if accepted { "accepts" } else { "refuses" }));
            }
        };
        for (path, body) in ENDPOINTS {
            let (api, path) = path.strip_prefix("operator:").map_or((&api, path), |path| (&operator, path));
            note(path, api.post(path, body(&text, at)).await.status == 201);
        }
        for attribute in ["id", "source", "type", "subject", "ext"] {
            for binary in [false, true] {
                note(&format!("event {attribute} {binary}"), event(&api, attribute, &text, at, binary).await == 202);
            }
        }
        for grants in [json!({ "secrets": [text] }), json!({ "events": [text.replace(' ', "")] })] {
            note(&grants.to_string(), api.put("/functions/n8/grants", grants).await.status == 200);
        }
        let saved = api.execute("f", json!({ "body": json!({ "amount": "1.00", "memo": text }).to_string() })).await;
        note("memo", saved["status"] == "completed");
    }
    assert_eq!(wrong, [] as [&str; 0]);
    // Texts that are stored all the same, such as a function's own error, have replacement characters.
    let failed = api.execute("f", json!({ "body": json!({ "amount": "\u{202e}1" }).to_string() })).await;
    assert!(!failed["errors"].as_str().unwrap().contains('\u{202e}'), "{failed}");
});

both!(settings_of_enrolments_keep_all_digits, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let settings = r#"{"b":12.10,"a":98765432109876543210987,"c":[90071992547409.93,1e2]}"#;
    let body = format!(r#"{{"functionId":"f","endUser":"anna","topic":"t","settings":{settings}}}"#);
    let request = api.request(Method::POST, "/enrolments").header("content-type", "application/json").body(body);
    let made = request.send().await.unwrap().text().await.unwrap();
    assert!(made.contains(settings), "{made}");
    let id = serde_json::from_str::<Value>(&made).unwrap()["$id"].as_str().unwrap().to_owned();
    let path = format!("/enrolments/{id}");
    let read = async || api.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert!(read().await.contains(settings));
    let body = r#"{"settings":{"a":0.10}}"#;
    let request = api.request(Method::PATCH, &path).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(read().await.contains(r#"{"a":0.10}"#));
    for bad in [json!([]), json!("x"), json!(7)] {
        api.patch(&path, json!({ "settings": bad })).await.is_error(400, "general_argument_invalid");
    }
});
