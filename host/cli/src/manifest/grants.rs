//! `[grants]`: what the project asks for.

use std::collections::BTreeSet;

use larder_model::Grants;
use larder_model::grants::{HttpGrant, Period, Scheme, UncheckedGrants, UncheckedTransactionGrant, check};

use crate::manifest::reader::{Reader, Section};

/// A manifest without the section asks for nothing.
pub fn read<'a>(reader: &mut Reader<'a>, root: &mut Section<'a>) -> Grants {
    let Some(mut of) = root.section(reader, "grants") else { return Grants::default() };
    let set = |texts: Vec<String>| texts.into_iter().collect::<BTreeSet<String>>();
    let grants = UncheckedGrants {
        state: of.flag(reader, "state").unwrap_or(false),
        events: set(of.texts(reader, "events")),
        secrets: set(of.texts(reader, "secrets")),
        upstreams: set(of.texts(reader, "upstreams")),
        api: set(of.texts(reader, "api")),
        transactions: match of.section(reader, "transactions") {
            Some(mut of) => {
                of.keys().into_iter().filter_map(|currency| transaction(reader, &mut of, currency)).collect()
            }
            None => Default::default(),
        },
        http: of.sections(reader, "http").into_iter().map(|of| http(reader, of)).collect(),
        ..UncheckedGrants::default()
    };
    of.finish(reader);
    match check::check(grants) {
        Ok(grants) => grants,
        Err(complaints) => {
            for complaint in complaints {
                reader.complain_at(&complaint.key, complaint.why);
            }
            Grants::default()
        }
    }
}

/// `SEK = { max = "500.00", sum = "1000.00", period = "day" }`
fn transaction<'a>(
    reader: &mut Reader<'a>,
    transactions: &mut Section<'a>,
    currency: String,
) -> Option<(String, UncheckedTransactionGrant)> {
    let mut of = transactions.section(reader, &currency)?;
    let (max, sum) = (needed(reader, &mut of, "max"), needed(reader, &mut of, "sum"));
    if !of.has("period") {
        reader.complain(of.line, format!("grants.transactions.{currency}.period is missing"));
    }
    let period = match of.choice(reader, "period", ["day", "week", "month"]).as_str() {
        "week" => Period::Week,
        "month" => Period::Month,
        _ => Period::Day,
    };
    of.finish(reader);
    Some((currency, UncheckedTransactionGrant { max: max?, sum: sum?, period }))
}

fn needed<'a>(reader: &mut Reader<'a>, of: &mut Section<'a>, key: &str) -> Option<String> {
    if !of.has(key) {
        let path = of.path_of(key);
        reader.complain(of.line, format!("{path} is missing"));
    }
    of.text(reader, key)
}

fn http<'a>(reader: &mut Reader<'a>, mut of: Section<'a>) -> HttpGrant {
    let default = HttpGrant::default();
    let mut set = |reader: &mut Reader<'a>, key: &str, default: BTreeSet<String>| match of.has(key) {
        true => of.texts(reader, key).into_iter().collect(),
        false => {
            of.texts(reader, key);
            default
        }
    };
    let (hosts, methods, paths) = (
        set(reader, "hosts", default.hosts),
        set(reader, "methods", default.methods),
        set(reader, "paths", default.paths),
    );
    let grant = HttpGrant {
        scheme: if of.choice(reader, "scheme", ["https", "http"]) == "http" { Scheme::Http } else { Scheme::Https },
        hosts,
        methods,
        paths,
        calls: of.number(reader, "calls", 1, u64::from(check::CALLS_MAX)).map_or(default.calls, |calls| calls as u32),
        bytes: of.number(reader, "bytes", 1, check::BYTES_MAX).unwrap_or(default.bytes),
        network: of.text(reader, "network"),
    };
    of.finish(reader);
    grant
}
