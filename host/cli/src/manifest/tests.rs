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
            "settingsSchema": {},
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
