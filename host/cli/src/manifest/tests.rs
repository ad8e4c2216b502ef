use crate::manifest::*;

const WHOLE: &str = r#"
[function]
id = "round-up"
name = "Round up"
per = "enrolment"
topics = "all"
events = [
    "card.purchase",
    "card.*",
]
schedule = "0 6 23-25 * *"
timezone = "Europe/Stockholm"
routes = ["/hello"]
timeout = 20
enabled = false
logging = false
execute = ["users"]
enrol = "self"
enrol_topics = ["team:*"]

[settings_schema]
type = "object"
properties.stake = { type = "number", minimum = 0.5, maximum = 500 }

[limits]
memory_bytes = 33_554_432
effects = 0x10
attempts = 5

[variables]
CURRENCY = "SEK"
TOKEN = { value = "s3cret", secret = true }

[build]
command = "make"
component = "out/x.wasm"
"#;

fn parse(text: &str) -> std::result::Result<Manifest, String> {
    Manifest::parse(text, Path::new("larder.toml"))
}

fn complaints(text: &str) -> String {
    parse(text).expect_err(text)
}

#[test]
fn a_whole_manifest_becomes_the_wires_body() {
    let manifest = parse(WHOLE).unwrap();
    assert_eq!(
        manifest.settings(),
        json!({
            "name": "Round up", "per": "enrolment", "topics": "all",
            "events": ["card.purchase", "card.*"], "schedule": "0 6 23-25 * *", "timezone": "Europe/Stockholm",
            "routes": ["/hello"], "timeout": 20, "enabled": false, "logging": false,
            "limits": { "memoryBytes": 33_554_432, "effects": 16, "attempts": 5 },
            "execute": ["users"], "enrol": "self", "enrolTopics": ["team:*"],
            "settingsSchema": { "type": "object", "properties": { "stake": { "type": "number", "minimum": 0.5, "maximum": 500 } } },
            "eventSchemas": {},
        })
    );
    assert_eq!(manifest.variables["CURRENCY"], Variable { value: "SEK".into(), secret: false });
    assert_eq!(manifest.variables["TOKEN"], Variable { value: "s3cret".into(), secret: true });
    assert_eq!(manifest.build.command.as_deref(), Some("make"));
    assert_eq!(manifest.build.component.as_deref(), Some(Path::new("out/x.wasm")));
}

#[test]
fn an_id_is_enough() {
    let manifest = parse("function = { id = \"a\" }").unwrap();
    assert_eq!(
        manifest.settings(),
        json!({
            "name": "a", "per": "event", "topics": "subject", "events": [], "schedule": "", "timezone": "UTC",
            "routes": [], "timeout": 15, "logging": true, "limits": {}, "enrol": "partner", "enrolTopics": [],
            "settingsSchema": {}, "eventSchemas": {},
        })
    );
}

#[test]
fn complaints_name_the_line_to_change() {
    for (text, complaint) in [
        (
            "[function]\nid = \"a\"\nper = \"enrolmnt\"",
            "larder.toml:3: function.per must be \"event\" or \"enrolment\", not \"enrolmnt\"",
        ),
        ("[function]\nid = \"a\"\ntopcs = \"all\"", "larder.toml:3: unknown key function.topcs; did you mean topics?"),
        (
            "[function]\nid = \"a\"\n\n[limits]\nmemory = 1",
            "larder.toml:5: unknown key limits.memory; known are memory_bytes, cpu_ms, log_bytes, response_bytes, effects, stream_s, attempts",
        ),
        ("[function]\nid = \"a\"\n[limit]\ncpu_ms = 5", "larder.toml:3: unknown key limit; did you mean limits?"),
        (
            "[functions]\nid = \"a\"",
            "larder.toml:1: [function] is missing\nlarder.toml:1: unknown key functions; did you mean function?",
        ),
        ("\n[function]\nname = \"a\"", "larder.toml:2: function.id is missing"),
        (
            "[function]\nid = \"-a\"",
            "larder.toml:2: function.id must have 1 to 36 letters, digits, `.`, `_` or `-`, and begin with a letter or \
             digit, not \"-a\"",
        ),
        (
            "[function]\nid = \"a\"\ntimeout = 0",
            "larder.toml:3: function.timeout must be a number from 1 to 900, not 0",
        ),
        (
            "[function]\nid = \"a\"\ntimeout = \"15\"",
            "larder.toml:3: function.timeout must be a number from 1 to 900, not \"15\"",
        ),
        ("[function]\nid = \"a\"\nenabled = 1", "larder.toml:3: function.enabled must be true or false, not 1"),
        (
            "[function]\nid = \"a\"\nevents = [\n  \"card.*\",\n  7,\n]",
            "larder.toml:5: function.events must be a list of texts, not 7",
        ),
        (
            "[function]\nid = \"a\"\nschedule = \"0 0 30 2 *\"",
            "larder.toml:3: function.schedule is no schedule: never fires: no month that it names has such a day",
        ),
        (
            "[function]\nid = \"a\"\nschedule = \"0 25 * * *\"",
            "larder.toml:3: function.schedule is no schedule: hour: 25 is not between 0 and 23",
        ),
        (
            "[function]\nid = \"a\"\ntimezone = \"Stockholm\"",
            "larder.toml:3: function.timezone must be an IANA time zone such as \"Europe/Stockholm\", not \"Stockholm\"",
        ),
        (
            "[function]\nid = \"a\"\nroutes = [\"hello\"]",
            "larder.toml:3: function.routes must begin with \"/\", not \"hello\"",
        ),
        ("[function]\nid = \"a\"\n[variables]\nA = 1", "larder.toml:4: variables.A must be a text in quotes, not 1"),
        ("[function]\nid = \"a\"\n[variables.A]\nsecret = true", "larder.toml:3: variables.A.value is missing"),
        (
            "[function]\nid = \"a\"\n[limits]\ncpu_ms = -1",
            "larder.toml:4: limits.cpu_ms must be a whole number, not below zero, not -1",
        ),
        (
            "[function]\nid = \"a\"\nbuild = 3",
            "larder.toml:3: unknown key function.build; known are id, schedule, timezone, routes, enrol_topics, name, per, topics, events, timeout, enabled, logging, enrol",
        ),
    ] {
        assert_eq!(complaints(text), complaint);
    }
    assert!(complaints("[function]\nid = \"a\"\nid = \"b\"").starts_with("larder.toml:3: "), "a key given twice");
    assert!(complaints("[function]\nid = a").starts_with("larder.toml:2: "), "not TOML");
}

const GRANTS: &str = r#"
[function]
id = "a"
[grants]
state = true
events = ["card.*"]
secrets = ["API_TOKEN"]
upstreams = ["aggregator"]
transactions.SEK = { max = "500", sum = "1000.00", period = "week" }
[[grants.http]]
hosts = ["api.sports.example"]
[[grants.http]]
scheme = "http"
hosts = ["intra.example:8080"]
methods = ["POST"]
paths = ["/v1"]
calls = 2
bytes = 4096
network = "10.1.0.0/16"
"#;

#[test]
fn grants_are_asked_for_in_the_wires_form() {
    assert_eq!(
        serde_json::to_value(parse(GRANTS).unwrap().grants).unwrap(),
        json!({
            "http": [
                { "scheme": "https", "hosts": ["api.sports.example"], "methods": ["GET", "HEAD"], "paths": ["/"],
                  "calls": 10, "bytes": 1_048_576 },
                { "scheme": "http", "hosts": ["intra.example:8080"], "methods": ["POST"], "paths": ["/v1"],
                  "calls": 2, "bytes": 4096, "network": "10.1.0.0/16" },
            ],
            "upstreams": ["aggregator"], "state": true, "events": ["card.*"], "secrets": ["API_TOKEN"],
            "transactions": { "SEK": { "max": "500.00", "sum": "1000.00", "period": "week" } },
        })
    );
    assert_eq!(parse("function = { id = \"a\" }").unwrap().grants, Grants::default());
}

#[test]
fn a_wrong_grant_names_its_line() {
    for (from, to, complaint) in [
        ("state = true", "stat = true", "larder.toml:5: unknown key grants.stat; did you mean state?"),
        ("max = \"500\"", "max = 500", "larder.toml:9: grants.transactions.SEK.max must be a text in quotes, not 500"),
        (
            "max = \"500\"",
            "max = \"0\"",
            "larder.toml:9: grants.transactions.SEK.max amount \"0\" is not more than zero",
        ),
        ("max = \"500\", ", "", "larder.toml:9: grants.transactions.SEK.max is missing"),
        ("1000.00", "100.00", "larder.toml:9: grants.transactions.SEK.sum 100.00 is less than max, 500.00"),
        (
            "period = \"week\"",
            "period = \"year\"",
            "larder.toml:9: grants.transactions.SEK.period must be \"day\" or \"week\" or \"month\", not \"year\"",
        ),
        (", period = \"week\"", "", "larder.toml:9: grants.transactions.SEK.period is missing"),
        (
            "transactions.SEK",
            "transactions.SKE",
            "larder.toml:9: grants.transactions.SKE \"SKE\" is not a currency (ISO 4217, three capital letters)",
        ),
        (
            "methods = [\"POST\"]",
            "methods = [\"post\"]",
            "larder.toml:15: grants.http[1].methods \"post\" is none of GET HEAD POST PUT PATCH DELETE OPTIONS",
        ),
        ("calls = 2", "calls = 0", "larder.toml:17: grants.http[1].calls must be a number from 1 to 1000, not 0"),
        (
            "hosts = [\"api.sports.example\"]",
            "paths = [\"/\"]",
            "larder.toml:10: grants.http[0].hosts must have at least one value",
        ),
    ] {
        assert_eq!(complaints(&GRANTS.replacen(from, to, 1)), complaint);
    }
}

#[test]
fn all_complaints_come_at_once_in_the_files_order() {
    let found = complaints("[function]\nid = \"a\"\ntimeout = 901\nper = \"x\"\nfoo = 1\n[build]\nkomponent = \"y\"");
    let lines: Vec<&str> = found.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["larder.toml:3", "larder.toml:4", "larder.toml:5", "larder.toml:7"]);
}

#[test]
fn a_refused_argument_gets_its_line() {
    let manifest = parse(WHOLE).unwrap();
    let explained = |status: u16, message: &str| {
        let refusal = Refusal { status, kind: "general_argument_invalid".into(), message: message.into() };
        manifest.explain(Failure::Refused(refusal)).text().unwrap()
    };
    assert_eq!(
        explained(400, "the name of `events`: at most 100"),
        "error: larder.toml:7: function.events: the name of `events`: at most 100"
    );
    assert_eq!(explained(400, "timeout: too long"), "error: larder.toml:14: function.timeout: timeout: too long");
    assert_eq!(
        explained(400, "`limits.memoryBytes` is above the ceiling"),
        "error: larder.toml:26: limits.memory_bytes: `limits.memoryBytes` is above the ceiling"
    );
    assert_eq!(explained(400, "cpuMs too low"), "error: larder.toml: limits.cpu_ms: cpuMs too low");
    assert_eq!(explained(400, "no idea"), "error: no idea (400 general_argument_invalid)");
    assert_eq!(explained(409, "routes taken"), "error: routes taken (409 general_argument_invalid)");
}

fn with_schema(schema: &str, rest: &str) -> String {
    format!(
        "[function]\nid = \"a\"\nevents = [\"card.*\"]\n[grants]\nevents = [\"savings.goal\"]\n{rest}[events.\"card.purchase\"]\nschema = {schema}\n"
    )
}

#[test]
fn schemas_of_events_go_with_the_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{ "type": "object", "properties": { "amount": { "type": "string", "format": "decimal" } } }"#;
    std::fs::write(folder.path().join("purchase.json"), schema).unwrap();
    let goal =
        "[events.\"savings.goal\"]\nschema = { type = \"object\", properties = { who = { type = \"string\" } } }\n";
    let text = with_schema("\"purchase.json\"\nvalidate = true", goal);
    let manifest = Manifest::parse(&text, &folder.path().join("larder.toml")).unwrap();
    let settings = manifest.settings();
    let sent = &settings["eventSchemas"];
    assert_eq!(sent["card.purchase"]["validate"], true);
    assert_eq!(sent["card.purchase"]["schema"], serde_json::from_str::<Value>(schema).unwrap());
    assert_eq!(sent["savings.goal"]["validate"], false);
    assert_eq!(manifest.events["card.purchase"].shape.name, "CardPurchase");
}

#[test]
fn a_wrong_schema_is_refused_with_file_line_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let complaint = |text: &str, file: &str| {
        std::fs::write(folder.path().join("s.json"), file).unwrap();
        Manifest::parse(text, &folder.path().join("larder.toml")).expect_err(file)
    };
    let of_file = |file: &str| complaint(&with_schema("\"s.json\"", ""), file);
    for (file, said) in [
        ("{\n  \"type\": \"object\",\n}", "larder.toml:7: events.card.purchase.schema s.json:3: trailing comma"),
        (
            "{\n \"type\": \"object\",\n \"properties\": {\n  \"a\": {\n   \"oneOf\": []\n  }\n }\n}",
            "s.json:5: oneOf is not supported, so it would not be checked: describe one shape",
        ),
        (
            "{ \"$ref\": \"https://example.com/x.json\" }",
            "s.json:1: $ref is not supported, so it would not be checked: write",
        ),
        ("{\n \"properties\": {\n  \"a\": {\n   \"pattern\": \"(a+)+$\" } } }", "s.json:4: pattern is not supported"),
        ("{\n \"type\": \"array\",\n \"items\": {}}", "s.json:2: the data of an event must be an object"),
        (
            "{ \"type\": \"object\", \"properties\": {\n \"a\": {} } }",
            "s.json:2: a has no type, so no language could read it: say \"type\"",
        ),
        (
            "{ \"type\": \"object\", \"properties\": {\n \"a\": { \"type\": [\"string\", \"integer\"] } } }",
            "s.json:2: a has several types, and may have one, or one and null",
        ),
        (
            "{ \"type\": \"object\", \"properties\": {\n \"a\": { \"type\": \"object\" } } }",
            "s.json:2: a has no properties: name them, or say what all its members are (additionalProperties)",
        ),
        (
            "{ \"type\": \"object\", \"properties\": {\n \"a\": { \"type\": \"array\" } } }",
            "s.json:2: a does not say what it is a list of: add items",
        ),
        (
            "{ \"type\": \"object\", \"properties\": { \"a\": { \"type\": \"string\" } },\n \"required\": [\"b\"] }",
            "s.json:2: required names \"b\", which properties does not have",
        ),
        (
            "{ \"type\": \"object\", \"properties\": { \"a-b\": { \"type\": \"string\" },\n \"a_b\": { \"type\": \"string\" } } }",
            "a-b and a_b would have the same name in code",
        ),
    ] {
        let found = of_file(file);
        assert!(found.contains(said), "{file}: {found}");
        assert!(found.starts_with(&folder.path().join("larder.toml:7: ").display().to_string()), "{found}");
    }
    let inline = "{ type = \"object\", properties = { a = { type = \"text\" } } }";
    for (text, said) in [
        (
            with_schema("\"none.json\"", ""),
            "larder.toml:7: events.card.purchase.schema cannot be read: none.json: No such",
        ),
        (
            with_schema("7", ""),
            "larder.toml:7: events.card.purchase.schema must be the path of a file or a table, not 7",
        ),
        (
            with_schema(inline, ""),
            "larder.toml:7: events.card.purchase.schema at /properties/a/type: type must be one or more",
        ),
        (
            with_schema("\"s.json\"", "").replace("card.purchase", "card.*"),
            "larder.toml:6: events.card.* is a pattern: a schema is for one type",
        ),
        (
            with_schema("\"s.json\"", "").replace("card.purchase", "fuel.purchase"),
            "larder.toml:6: events.fuel.purchase is neither taken (function.events) nor emitted (grants.events)",
        ),
        (
            with_schema("\"s.json\"\nvalidate = true", "").replace("card.purchase", "savings.goal"),
            "larder.toml:8: events.savings.goal.validate is for events that come to the function: add \"savings.goal\" to function.events",
        ),
        (
            with_schema("\"s.json\"\nvalidat = true", ""),
            "unknown key events.card.purchase.validat; did you mean validate?",
        ),
        (
            with_schema("\"s.json\"", "").replace("schema =", "scheme ="),
            "larder.toml:6: events.card.purchase.schema is missing",
        ),
    ] {
        let found = complaint(&text, "{ \"type\": \"object\", \"properties\": { \"a\": { \"type\": \"string\" } } }");
        assert!(found.contains(said), "{text}: {found}");
    }
}
