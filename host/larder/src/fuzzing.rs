//! The targets that `fuzz/` runs with arbitrary bytes, and the properties that must hold for any of them. Earlier findings are
//! in `fuzz/cases`, and the tests run them again.

use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder_cli::manifest::Manifest;
use larder_model::cloudevents::{self, BATCH_MAX};
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::net::authority::Authority;
use larder_model::net::http_rule::Rule;
use larder_model::settings::Settings;
use larder_model::time::instant;
use larder_model::{HttpGrant, Scheme};
use larder_platform::archives::{self, Bounds};
use larder_server::api::queries;
use larder_store::listing::Listing;
use larder_store::{Store, filters};
use serde_json::json;

/// A manifest is parsed, or each error names one of its lines.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(text, Path::new("larder.toml")) {
        Ok(manifest) => {
            let settings = manifest.settings();
            assert!(settings["name"].is_string() && settings["events"].is_array(), "{settings}");
        }
        Err(complaints) => {
            let lines = text.lines().count().max(1) + 1;
            let numbers = complaints.lines().filter_map(|line| line.strip_prefix("larder.toml:")?.split_once(':'));
            let mut numbers = numbers.filter_map(|(number, _)| number.parse::<usize>().ok()).peekable();
            assert!(numbers.peek().is_some(), "{complaints}");
            assert!(numbers.all(|number| (1..=lines).contains(&number)), "{lines} lines: {complaints}");
        }
    }
}

/// Input: headers, an empty line, a body. An accepted event is valid, and is the same after it is written and parsed again.
pub fn events(data: &[u8]) {
    let at = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let (head, body) = (&data[..at], data.get(at + 2..).unwrap_or_default());
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let now = instant(1_795_262_400_500);
    let Ok(read) = cloudevents::parse(&headers, body, now) else { return };
    assert!(read.len() <= BATCH_MAX);
    for event in read {
        for (text, most) in
            [(&event.id, 255), (&event.source, 1_024), (&event.kind, 255), (&event.data_content_type, 255)]
        {
            assert!((1..=most).contains(&text.chars().count()) && larder_model::text::check(text).is_ok(), "{event:?}");
        }
        let mut written = json!({
            "specversion": "1.0", "id": event.id, "source": event.source, "type": event.kind, "subject": event.subject,
            "time": event.time, "datacontenttype": event.data_content_type, "data_base64": BASE64_STANDARD.encode(&event.data),
        });
        for (name, value) in &event.attributes {
            written[name] = value.as_str().into();
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/cloudevents+json"));
        let again = cloudevents::parse(&headers, written.to_string().as_bytes(), instant(0));
        assert_eq!(again.as_deref(), Ok(&[event][..]));
    }
}

/// Input: a tar, which is compressed first, or gzip as it is. A component that is found has a path below the archive's root and
/// keeps the bounds; a refusal is short enough for a build log.
pub fn archive(data: &[u8]) {
    let compressed = || {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
        gzip.write_all(data).and_then(|()| gzip.finish()).expect("memory takes everything")
    };
    let archive = if archives::is_gzip(data) { data.to_vec() } else { compressed() };
    let bounds = Bounds { unpacked_bytes: 1 << 20, component_bytes: 64 << 10 };
    for entrypoint in ["", "app.wasm", "./a/b.wasm", "../app.wasm"] {
        match archives::unpack(&archive, entrypoint, &bounds) {
            Ok(found) => {
                assert!(found.wasm.len() as u64 <= bounds.component_bytes && found.bytes < bounds.unpacked_bytes);
                let parts: Vec<&str> = found.path.split('/').collect();
                assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{:?}", found.path);
            }
            Err(why) => assert!((1..=16 << 10).contains(&why.len()), "{why}"),
        }
    }
}

/// An authority: other parsers read the same host and port, and so do we after it is written.
pub fn authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(read) = text.parse::<Authority>() else { return };
    assert_eq!(read.to_string().parse(), Ok(read.clone()), "{text:?} reads differently again");
    // As browsers read it.
    let url = reqwest::Url::parse(&format!("http://{text}/x")).unwrap_or_else(|err| panic!("{text:?}: {err}"));
    assert_eq!(url.host_str(), Some(read.host.to_string().as_str()), "{text:?}");
    assert_eq!(url.port_or_known_default(), Some(read.port.unwrap_or(80)), "{text:?}");
    assert_eq!((url.path(), url.username(), url.password()), ("/x", "", None), "{text:?}");
    // As HTTP libraries do, which know ASCII only.
    if text.is_ascii() {
        let uri: http::Uri = format!("http://{text}/x").parse().unwrap_or_else(|err| panic!("{text:?}: {err}"));
        assert_eq!(uri.host().map(str::to_ascii_lowercase), Some(read.host.to_string()), "{text:?}");
        assert_eq!(uri.port_u16(), read.port, "{text:?}");
    }
}

/// Input: four lines, a granted host and path, and a requested authority and path. A covered request is below both, however a
/// server reads the path.
pub fn allow(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let [granted, below, asked, path] = text.splitn(4, '\n').collect::<Vec<_>>()[..] else { return };
    let grant = HttpGrant {
        scheme: Scheme::Https,
        hosts: [granted.to_owned()].into(),
        methods: ["GET".to_owned()].into(),
        paths: [below.to_owned()].into(),
        calls: 1,
        bytes: 1,
        network: None,
    };
    let (Ok(rule), Ok(authority)) = (Rule::of(&grant), asked.parse::<Authority>()) else { return };
    let is_path = path.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.path() == path);
    let port = authority.port.unwrap_or(443);
    if !is_path || !rule.covers(Scheme::Https, &authority.host, port, &http::Method::GET, path) {
        return;
    }
    let (any, end) = match granted.strip_prefix("*.") {
        Some(end) => (true, end),
        None => (false, granted),
    };
    let (end, host): (Authority, _) = (end.parse().expect("the rule has read it"), authority.host.to_string());
    assert_eq!(port, end.port.unwrap_or(443), "{text:?}");
    let end = end.host.to_string();
    assert!(if any { host.ends_with(&format!(".{end}")) } else { host == end }, "{text:?}");
    if below.trim_end_matches('/').is_empty() {
        return;
    }
    // Dots resolved, escapes resolved, and what was escaped resolved again.
    let resolved = |path: &str| reqwest::Url::parse(&format!("https://a{path}")).map(|url| url.path().to_owned());
    let (mut path, mut below) = (path.to_owned(), below.trim_end_matches('/').to_owned());
    for _ in 0..3 {
        path = resolved(&path).unwrap_or_else(|err| panic!("{text:?}: {err}"));
        let rest = path.strip_prefix(&below).unwrap_or_else(|| panic!("{text:?}: {path} is not below {below}"));
        assert!(rest.is_empty() || rest.starts_with('/'), "{text:?}: {path}");
        (path, below) = (decoded(&path), decoded(&below));
    }
}

/// Decodes percent escapes, except those of characters that end a path: servers split the target before they decode it.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let escaped = escaped.filter(|byte| *first == b'%' && !b"?#".contains(byte));
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The query string of a list call is refused with a message, or the database accepts the resulting statement.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = |columns, searched: &[&'static str]| match queries::parse(Some(text), columns, searched) {
        Ok(query) => {
            assert!(query.listing.limit <= Listing::LIMIT_MAX);
            Some(query.listing)
        }
        Err(problem) => {
            assert!(problem.status().is_client_error() && !problem.message.is_empty(), "{problem}");
            None
        }
    };
    let fine = |done: Result<(), larder_store::Error>| match done {
        Ok(()) | Err(larder_store::Error::NotFound { what: "cursor" }) => {}
        Err(err) => panic!("{err}"),
    };
    let (runtime, store, partner, function) = &*EMPTY;
    runtime.block_on(async {
        if let Some(listing) = checked(filters::FUNCTIONS, &["id", "name"]) {
            fine(store.list_functions(partner, &listing).await.map(drop));
        }
        if let Some(listing) = checked(filters::EXECUTIONS, &["id"]) {
            fine(store.list_executions(partner, function, &listing).await.map(drop));
        }
        if let Some(listing) = checked(filters::TRANSACTIONS, &[]) {
            fine(store.list_transactions(partner, &listing).await.map(drop));
        }
    });
}

/// A database without rows, in a folder that is removed at once: on Unix its files live as long as they are open.
static EMPTY: LazyLock<(tokio::runtime::Runtime, Store, PartnerId, FunctionId)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::load(None, &[]).expect("the defaults");
    let store = runtime.block_on(Store::open(&settings.database, folder.path())).expect("a database");
    (runtime, store, "acme".parse().expect("an id"), "f".parse().expect("an id"))
});

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn earlier_findings_hold() {
        let targets: [(&str, Target); 6] = [
            ("archive", archive),
            ("manifest", manifest),
            ("events", events),
            ("authority", authority),
            ("allow", allow),
            ("queries", queries),
        ];
        for (target, run) in targets {
            let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/cases").join(target);
            for case in std::fs::read_dir(cases).expect("a folder of cases") {
                run(&std::fs::read(case.expect("a case").path()).expect("a file"));
            }
        }
    }
}
