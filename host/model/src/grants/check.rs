//! The check of grants that somebody sends.
//!
//! * [`check`]: grants that somebody sends → their canonical form, or every complaint, each with its key.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Difference, Grants, HttpGrant, TransactionGrant, UncheckedGrants, UncheckedTransactionGrant, reserved_type,
};
use crate::amount::{Amount, Currency};
use crate::net::http_rule::{self, Pattern, Rule};
use crate::{text, trigger_key, upstreams};

const HTTP_MAX: usize = 20;
const NAMES_MAX: usize = 100;
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
pub const CALLS_MAX: u32 = 1_000;
pub const BYTES_MAX: u64 = 64 << 20;
const PATH_CHARS_MAX: usize = 256;
/// The largest amount that can be granted. Sums of what is granted are far from the end of 64 bits, and every program that
/// reads JSON has the number exactly.
const MINOR_UNITS_MAX: i64 = 1_000_000_000_000_000;

/// Scopes that a run may have: all but the one that approves grants.
pub const API_SCOPES: [&str; 17] = [
    "functions.read",
    "functions.write",
    "executions.read",
    "executions.write",
    "events.read",
    "events.write",
    "enrolments.read",
    "enrolments.write",
    "feeds.read",
    "feeds.write",
    "transactions.read",
    "grants.read",
    "upstreams.read",
    "upstreams.write",
    "rules.read",
    "rules.write",
    "health.read",
];

/// Something to change, by its key: `grants.transactions.SEK.max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub key: String,
    pub why: String,
}

/// Identifies what an approver has read: the effective grants, and the grants that are asked for.
pub fn digest(in_force: &Grants, asked: &Grants) -> String {
    let json = |grants| serde_json::to_string(grants).expect("plain values serialise");
    trigger_key(&["grants", &json(in_force), &json(asked)])
}

/// The grants in sentences about the function.
pub fn in_words(grants: &Grants) -> Vec<String> {
    let all = Difference::between(&Grants::default(), grants).extensions;
    all.into_iter().map(|text| text.replacen("may now", "may", 1)).collect()
}

/// The same grants with amounts and hosts in their canonical form.
pub fn check(mut grants: UncheckedGrants) -> Result<Grants, Vec<Complaint>> {
    let mut found = Found(vec![]);
    if grants.http.len() > HTTP_MAX {
        found.complain("grants.http", format!("may have at most {HTTP_MAX} entries"));
    }
    for (at, grant) in grants.http.iter_mut().enumerate() {
        http(&mut found, &format!("grants.http[{at}]"), grant);
    }
    let (mut once, all) = (Vec::new(), std::mem::take(&mut grants.http));
    for grant in all {
        if !once.contains(&grant) {
            once.push(grant);
        }
    }
    grants.http = once;
    found.names("grants.upstreams", &grants.upstreams, |name| {
        upstreams::is_name(name).then_some(()).ok_or("must be 1 to 63 of a-z 0-9 - and neither begin nor end with -")
    });
    found.names("grants.events", &grants.events, |text| match reserved_type(text) {
        Some(why) => Err(why),
        None => check_pattern(text),
    });
    found.names("grants.secrets", &grants.secrets, check_variable);
    found.names("grants.api", &grants.api, |scope| match scope {
        scope if API_SCOPES.contains(&scope) => Ok(()),
        "grants.write" => Err("is not for functions: they do not approve grants"),
        _ => Err("is no scope of the API"),
    });
    let transactions =
        grants.transactions.iter().filter_map(|(code, sent)| transaction(&mut found, code, sent)).collect();
    if !found.0.is_empty() {
        return Err(found.0);
    }
    Ok(Grants {
        http: grants.http,
        upstreams: grants.upstreams,
        state: grants.state,
        transactions,
        events: grants.events,
        secrets: grants.secrets,
        api: grants.api,
        // Where names lead is the host's to say.
        leads: BTreeMap::new(),
        moved: BTreeSet::new(),
    })
}

/// The key of a variable, which is the name of an environment variable: what that cannot carry is refused.
pub fn check_variable(key: &str) -> Result<(), &'static str> {
    if !(1..=255).contains(&key.chars().count()) {
        return Err("must have 1 to 255 characters");
    }
    if key.contains(['=', '\0']) {
        return Err("must not have = or NUL");
    }
    text::check(key)
}

/// A pattern over the type of events: words between dots, `*` for any one.
pub fn check_pattern(text: &str) -> Result<(), &'static str> {
    if !(1..=255).contains(&text.chars().count()) {
        return Err("must have 1 to 255 characters");
    }
    if text.contains(char::is_whitespace) {
        return Err("has a space");
    }
    text::check(text)?;
    for segment in text.split('.') {
        if segment.is_empty() {
            return Err("has an empty segment");
        }
        if segment.contains('*') && segment != "*" {
            return Err("has a * that is not a whole segment");
        }
    }
    Ok(())
}

struct Found(Vec<Complaint>);

impl Found {
    fn complain(&mut self, key: &str, why: impl Into<String>) {
        self.0.push(Complaint { key: key.to_owned(), why: why.into() });
    }

    fn names(&mut self, key: &str, names: &BTreeSet<String>, check: impl Fn(&str) -> Result<(), &'static str>) {
        if names.len() > NAMES_MAX {
            self.complain(key, format!("may have at most {NAMES_MAX} values"));
        }
        for name in names {
            if let Err(why) = check(name) {
                self.complain(key, format!("{name:?} {why}"));
            }
        }
    }
}

fn http(found: &mut Found, key: &str, grant: &mut HttpGrant) {
    let before = found.0.len();
    let part = |name: &str| format!("{key}.{name}");
    let hosts = std::mem::take(&mut grant.hosts);
    grant.hosts = hosts
        .into_iter()
        .map(|host| match host.parse::<Pattern>() {
            Ok(pattern) => pattern.to_string(),
            Err(why) => {
                found.complain(&part("hosts"), why);
                host
            }
        })
        .collect();
    if grant.hosts.len() > NAMES_MAX {
        found.complain(&part("hosts"), format!("may have at most {NAMES_MAX} values"));
    }
    for (name, empty) in
        [("hosts", grant.hosts.is_empty()), ("methods", grant.methods.is_empty()), ("paths", grant.paths.is_empty())]
    {
        if empty {
            found.complain(&part(name), "must have at least one value");
        }
    }
    found.names(&part("methods"), &grant.methods, |method| {
        METHODS.contains(&method).then_some(()).ok_or("is none of GET HEAD POST PUT PATCH DELETE OPTIONS")
    });
    found.names(&part("paths"), &grant.paths, path);
    if !(1..=CALLS_MAX).contains(&grant.calls) {
        found.complain(&part("calls"), format!("must be 1 to {CALLS_MAX}, not {}", grant.calls));
    }
    if !(1..=BYTES_MAX).contains(&grant.bytes) {
        found.complain(&part("bytes"), format!("must be 1 to {BYTES_MAX}, not {}", grant.bytes));
    }
    if let Some(network) = &grant.network
        && let Err(why) = http_rule::network(network)
    {
        found.complain(&part("network"), why);
    }
    // Whoever enforces it has the last word: what it would not read must not stand there as if it were granted.
    if found.0.len() == before
        && let Err(why) = Rule::of(grant)
    {
        found.complain(key, why);
    }
}

fn path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("must begin with /");
    }
    if text.len() > PATH_CHARS_MAX {
        return Err("must have at most 256 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['?', '#', '\\']) {
        return Err("must be a plain path, without a query, and percent-encoded");
    }
    if text.contains("//") || text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("must not have an empty segment, . or ..");
    }
    Ok(())
}

/// The grant for this currency, unless there is something to complain about.
fn transaction(found: &mut Found, code: &str, sent: &UncheckedTransactionGrant) -> Option<TransactionGrant> {
    let key = format!("grants.transactions.{code}");
    let currency = Currency::current(code).map_err(|why| found.complain(&key, why)).ok()?;
    let most = Amount::from_minor_units(MINOR_UNITS_MAX, currency);
    let mut read = |name: &str, text: &str| {
        let amount = Amount::parse(text, currency).and_then(|amount| match amount <= most {
            true => Ok(amount),
            false => Err(format!("{text} is too large, at most {most} can be granted")),
        });
        amount.map_err(|why| found.complain(&format!("{key}.{name}"), why)).ok()
    };
    let (max, sum) = (read("max", &sent.max), read("sum", &sent.sum));
    let (max, sum) = (max?, sum?);
    if max > sum {
        found.complain(&format!("{key}.sum"), format!("{sum} is less than max, {max}"));
    }
    TransactionGrant::new(max, sum, sent.period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(json: &str) -> UncheckedGrants {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn amounts_and_hosts_have_one_form() {
        let checked = check(grants(
            r#"{"http":[{"hosts":["API.Example"]},{"hosts":["api.example"]}],
                "transactions":{"SEK":{"max":"500","sum":"1000.5","period":"day"},"JPY":{"max":"7","sum":"7","period":"week"}}}"#,
        ))
        .unwrap();
        assert_eq!(checked.http.len(), 1);
        let sent = serde_json::to_string(&checked).unwrap();
        let (jpy, sek) = (
            r#""JPY":{"max":"7","sum":"7","period":"week"}"#,
            r#""SEK":{"max":"500.00","sum":"1000.50","period":"day"}"#,
        );
        assert!(sent.contains(&format!(r#""transactions":{{{jpy},{sek}}}"#)), "{sent}");
        assert_eq!(check(grants(&sent)), Ok(checked));
    }

    #[test]
    fn every_complaint_names_its_key() {
        let wrong = |json: &str| -> Vec<String> {
            check(grants(json)).unwrap_err().into_iter().map(|complaint| complaint.key).collect()
        };
        let http = |rest: &str| wrong(&format!(r#"{{"http":[{{"hosts":["a.example"]{rest}}}]}}"#));
        assert_eq!(http(r#","calls":0"#), ["grants.http[0].calls"]);
        assert_eq!(http(r#","calls":1001"#), ["grants.http[0].calls"]);
        assert_eq!(http(r#","bytes":67108865"#), ["grants.http[0].bytes"]);
        assert_eq!(http(r#","methods":["get"]"#), ["grants.http[0].methods"]);
        assert_eq!(http(r#","methods":[]"#), ["grants.http[0].methods"]);
        for path in ["v1", "/a?b", "/a#b", "//", "/../b", "/a\\\\b"] {
            assert_eq!(http(&format!(r#","paths":["{path}"]"#)), ["grants.http[0].paths"], "{path}");
        }
        assert_eq!(http(r#","paths":["/%2e%2e/b"]"#), ["grants.http[0]"]);
        for network in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0", "x/8", "fc00::1/7"] {
            assert_eq!(http(&format!(r#","network":"{network}""#)), ["grants.http[0].network"], "{network}");
        }
        for host in
            ["", "*", "a..b", "a b", "a/b", "https://a", "a:0", "a:65536", "a:b", "-a.b", "*.*.b", "a@b", "a*.b"]
        {
            assert_eq!(wrong(&format!(r#"{{"http":[{{"hosts":["{host}"]}}]}}"#)), ["grants.http[0].hosts"], "{host}");
        }
        assert_eq!(wrong(r#"{"http":[{"hosts":[]}]}"#), ["grants.http[0].hosts"]);
        assert_eq!(wrong(r#"{"upstreams":["Bank"]}"#), ["grants.upstreams"]);
        assert_eq!(wrong(r#"{"events":["a..b","a.b*"]}"#), ["grants.events", "grants.events"]);
        assert_eq!(wrong(r#"{"secrets":[""]}"#), ["grants.secrets"]);
        for scope in ["grants.write", "execution.write", "*", "", "partners.write"] {
            assert_eq!(wrong(&format!(r#"{{"api":["{scope}"]}}"#)), ["grants.api"], "{scope}");
        }
        let sek = |max: &str, sum: &str| {
            wrong(&format!(r#"{{"transactions":{{"SEK":{{"max":"{max}","sum":"{sum}","period":"day"}}}}}}"#))
        };
        assert_eq!(sek("0", "1"), ["grants.transactions.SEK.max"]);
        assert_eq!(sek("1.005", "2"), ["grants.transactions.SEK.max"]);
        assert_eq!(sek("1", "-2"), ["grants.transactions.SEK.sum"]);
        assert_eq!(sek("1", "10000000000000.01"), ["grants.transactions.SEK.sum"]);
        assert_eq!(
            sek("92233720368547758.07", "92233720368547758.07"),
            ["grants.transactions.SEK.max", "grants.transactions.SEK.sum"]
        );
        assert_eq!(sek("2", "1.99"), ["grants.transactions.SEK.sum"]);
        assert_eq!(
            wrong(r#"{"transactions":{"XXX":{"max":"1","sum":"1","period":"day"}}}"#),
            ["grants.transactions.XXX"]
        );
        let texts = |max: &str, sum: &str| -> Vec<String> {
            let json = format!(r#"{{"transactions":{{"SEK":{{"max":"{max}","sum":"{sum}","period":"day"}}}}}}"#);
            check(grants(&json)).unwrap_err().into_iter().map(|complaint| complaint.why).collect()
        };
        assert_eq!(texts("2", "1.9"), ["1.90 is less than max, 2.00"]);
        assert_eq!(
            texts("0", "10000000000000.01"),
            [
                "amount \"0\" is not more than zero",
                "10000000000000.01 is too large, at most 10000000000000.00 can be granted"
            ]
        );
    }

    #[test]
    fn patterns_are_whole_segments() {
        for text in ["goal.scored", "com.bank.*.booked", "*", "a"] {
            assert_eq!(check_pattern(text), Ok(()), "{text}");
        }
        for text in ["", ".", "a..b", "a.", "a.b*", "a b", &"x".repeat(256)] {
            assert!(check_pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        let complaints = |grants: UncheckedGrants| check(grants).err().unwrap_or_default().len();
        let http = |count: usize| {
            let one = |at| HttpGrant { hosts: [format!("h{at}.example")].into(), ..HttpGrant::default() };
            UncheckedGrants { http: (0..count).map(one).collect(), ..UncheckedGrants::default() }
        };
        assert_eq!((complaints(http(HTTP_MAX)), complaints(http(HTTP_MAX + 1))), (0, 1));
        let names = |count: usize| -> BTreeSet<String> { (0..count).map(|at| format!("n{at}")).collect() };
        let hosts = |count| {
            let mut grants = http(1);
            grants.http[0].hosts = names(count);
            grants
        };
        assert_eq!((complaints(hosts(NAMES_MAX)), complaints(hosts(NAMES_MAX + 1))), (0, 1));
        let secrets = |count| UncheckedGrants { secrets: names(count), ..UncheckedGrants::default() };
        assert_eq!((complaints(secrets(NAMES_MAX)), complaints(secrets(NAMES_MAX + 1))), (0, 1));
        let path = |chars: usize| {
            let mut grants = http(1);
            grants.http[0].paths = [format!("/{}", "x".repeat(chars - 1))].into();
            grants
        };
        assert_eq!((complaints(path(PATH_CHARS_MAX)), complaints(path(PATH_CHARS_MAX + 1))), (0, 1));
        let spend = |calls, bytes| {
            let mut grants = http(1);
            (grants.http[0].calls, grants.http[0].bytes) = (calls, bytes);
            grants
        };
        assert_eq!((complaints(spend(CALLS_MAX, BYTES_MAX)), complaints(spend(CALLS_MAX + 1, BYTES_MAX + 1))), (0, 2));
        assert_eq!((complaints(spend(1, 1)), complaints(spend(0, 0))), (0, 2));
        let most = |max: i64, sum: i64| {
            let text = |units| Amount::from_minor_units(units, Currency::current("SEK").unwrap()).to_string();
            let grant = UncheckedTransactionGrant { max: text(max), sum: text(sum), period: crate::Period::Day };
            UncheckedGrants { transactions: [("SEK".to_owned(), grant)].into(), ..UncheckedGrants::default() }
        };
        assert_eq!(complaints(most(MINOR_UNITS_MAX, MINOR_UNITS_MAX)), 0);
        assert_eq!(complaints(most(MINOR_UNITS_MAX, MINOR_UNITS_MAX + 1)), 1);
    }

    #[test]
    fn keys_of_variables_are_names_of_environment_variables() {
        for key in ["A", "lower.and-dots", &"x".repeat(255), &"ä".repeat(255)] {
            assert_eq!(check_variable(key), Ok(()), "{key}");
        }
        for key in ["", "A=B", "A\0", "A\n", &"x".repeat(256)] {
            assert!(check_variable(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn reserved_events_cannot_be_granted_and_what_leads_where_is_not_the_callers_to_say() {
        let wrong = check(grants(r#"{"events":["larder.x"]}"#)).unwrap_err();
        assert_eq!((wrong[0].key.as_str(), wrong.len()), ("grants.events", 1));
        let bound = grants(r#"{"upstreams":["bank"],"leads":{"upstream bank":"https://evil.example"}}"#);
        assert!(check(bound).unwrap().leads.is_empty());
    }

    #[test]
    fn a_digest_names_what_was_read() {
        let granted = |json: &str| check(grants(json)).unwrap();
        let (none, state) = (Grants::default(), granted(r#"{"state":true}"#));
        let events = granted(r#"{"events":["a"]}"#);
        let all = [digest(&none, &state), digest(&state, &none), digest(&none, &events), digest(&state, &events)];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(all[0], digest(&none, &state));
        assert_eq!(in_words(&state), ["may keep state"]);
        assert_eq!(in_words(&none), [] as [&str; 0]);
    }
}
