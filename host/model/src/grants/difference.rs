//! The difference of two grants: what is extended and what is reduced, in words for the person who approves or rejects it.
//!
//! Coverage is decided item by item and never by adding items up, so it is transitive, and exact but for requests that
//! two grants together would have covered: those count as extensions.

use std::collections::BTreeSet;

use crate::amount::Currency;
use crate::grants::{Grants, HttpGrant, Period, Scheme, TransactionGrant, covers_type, leads};

/// Sentences about the function: `may now keep state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub extensions: Vec<String>,
    pub reductions: Vec<String>,
}

/// Can nothing be done under `new` that could not be done under `old`?
pub fn covers(old: &Grants, new: &Grants) -> bool {
    Difference::between(old, new).extensions.is_empty()
}

impl Difference {
    pub fn between(old: &Grants, new: &Grants) -> Difference {
        let mut found = Difference::default();
        let all = old.transactions.iter().chain(new.transactions.iter());
        let currencies: BTreeSet<Currency> = all.map(TransactionGrant::currency).collect();
        for currency in currencies {
            found.transactions(currency, old.transactions.get(currency), new.transactions.get(currency));
        }
        found.http(&old.http, &new.http);
        found.names("call the upstream", (old, &old.upstreams), (new, &new.upstreams), leads::upstream_key);
        match (old.state, new.state) {
            (false, true) => found.extensions.push("may now keep state".into()),
            (true, false) => found.reductions.push("may no longer keep state".into()),
            _ => {}
        }
        found.events(&old.events, &new.events);
        found.names("read the secret", (old, &old.secrets), (new, &new.secrets), leads::secret_key);
        let api = |how: &str, scope: &String| format!("{how} use the API by the scope {scope}");
        found.extensions.extend(new.api.difference(&old.api).map(|scope| api("may now", scope)));
        found.reductions.extend(old.api.difference(&new.api).map(|scope| api("may no longer", scope)));
        found
    }

    /// A name that leads elsewhere is another name.
    fn names(
        &mut self,
        what: &str,
        (old, old_names): (&Grants, &BTreeSet<String>),
        (new, new_names): (&Grants, &BTreeSet<String>),
        key: fn(&str) -> String,
    ) {
        for name in new_names {
            let (before, now) = (old.leads.get(&key(name)), new.leads.get(&key(name)));
            match (old_names.contains(name), before, now) {
                (true, Some(before), Some(now)) if before != now => {
                    self.extensions.push(format!("may now {what} {name}, which leads to {now} instead of {before}"));
                }
                (true, ..) => {}
                (false, _, Some(now)) if now != leads::NOWHERE => {
                    self.extensions.push(format!("may now {what} {name}, which leads to {now}"));
                }
                (false, ..) => self.extensions.push(format!("may now {what} {name}")),
            }
        }
        self.reductions.extend(old_names.difference(new_names).map(|name| format!("may no longer {what} {name}")));
    }

    fn events(&mut self, old: &BTreeSet<String>, new: &BTreeSet<String>) {
        let covered = |by: &BTreeSet<String>, kind: &str| by.iter().any(|pattern| covers_type(pattern, kind));
        self.extensions
            .extend(new.iter().filter(|kind| !covered(old, kind)).map(|kind| format!("may now emit events {kind}")));
        for kind in old.iter().filter(|kind| !covered(new, kind)) {
            let left: Vec<&str> = new.iter().filter(|new| covers_type(kind, new)).map(String::as_str).collect();
            self.reductions.push(if left.is_empty() {
                format!("may no longer emit events {kind}")
            } else {
                format!("may only emit events {} instead of {kind}", left.join(", "))
            });
        }
    }

    fn transactions(&mut self, currency: Currency, old: Option<&TransactionGrant>, new: Option<&TransactionGrant>) {
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(new)) => {
                return self.extensions.push(format!(
                    "may now create transactions up to {} {currency} each and {} {currency} {} for one end user",
                    new.max(),
                    new.sum(),
                    each(new.period())
                ));
            }
            (Some(_), None) => return self.reductions.push(format!("may no longer create transactions in {currency}")),
            (None, None) => return,
        };
        if old.max() != new.max() {
            let how = format!("create transactions up to {} {currency} each instead of {}", new.max(), old.max());
            self.either(new.max() > old.max(), how);
        }
        if (old.sum(), old.period()) != (new.sum(), new.period()) {
            // So many of the new periods lie in one of the old.
            let periods = old.period().days().div_ceil(new.period().days());
            let extends = new.sum().checked_mul(periods).is_none_or(|sum| sum > old.sum());
            let before = match old.period() == new.period() {
                true => old.sum().to_string(),
                false => format!("{} {currency} {}", old.sum(), each(old.period())),
            };
            let now = format!("{} {currency} {}", new.sum(), each(new.period()));
            self.either(extends, format!("save up to {now} for one end user instead of {before}"));
        }
    }

    fn either(&mut self, extends: bool, how: String) {
        if extends {
            self.extensions.push(format!("may now {how}"));
        } else {
            self.reductions.push(format!("may only {how}"));
        }
    }

    /// Each new grant must lie within an old one of its own, for each has bounds that count for it alone.
    fn http(&mut self, old: &[HttpGrant], new: &[HttpGrant]) {
        let within = pair(old, new);
        let mut left: BTreeSet<usize> = (0..old.len()).filter(|at| !within.contains(&Some(*at))).collect();
        for (grant, within) in new.iter().zip(&within) {
            match within.map(|at| &old[at]) {
                Some(same) if same == grant => {}
                Some(wider) => {
                    self.reductions.push(format!("may only call {} instead of {}", calls(grant), calls(wider)))
                }
                None => {
                    let alike = |at: &&usize| old[**at].scheme == grant.scheme && old[**at].hosts == grant.hosts;
                    let replaced = left.iter().find(alike).copied();
                    self.extensions.push(match replaced {
                        Some(at) => format!("may now call {} instead of {}", calls(grant), calls(&old[at])),
                        None => format!("may now call {}", calls(grant)),
                    });
                    left.retain(|at| Some(*at) != replaced);
                }
            }
        }
        self.reductions.extend(left.into_iter().map(|at| format!("may no longer call {}", calls(&old[at]))));
    }
}

/// For each of `new` the place of one of `old` that covers it, none twice, for as many as can be (augmenting paths).
fn pair(old: &[HttpGrant], new: &[HttpGrant]) -> Vec<Option<usize>> {
    fn place(at: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
        for &into in &fits[at] {
            if !std::mem::replace(&mut seen[into], true)
                && taken[into].is_none_or(|other| place(other, fits, taken, seen))
            {
                taken[into] = Some(at);
                return true;
            }
        }
        false
    }
    let fits: Vec<Vec<usize>> = new
        .iter()
        .map(|new| {
            let mut fits: Vec<usize> = (0..old.len()).filter(|at| http_covers(&old[*at], new)).collect();
            fits.sort_by_key(|at| old[*at] != *new);
            fits
        })
        .collect();
    let mut taken = vec![None; old.len()];
    for at in 0..new.len() {
        place(at, &fits, &mut taken, &mut vec![false; old.len()]);
    }
    (0..new.len()).map(|at| taken.iter().position(|by| *by == Some(at))).collect()
}

fn http_covers(old: &HttpGrant, new: &HttpGrant) -> bool {
    let all = |new: &BTreeSet<String>, old: &BTreeSet<String>, covers: fn(&str, &str) -> bool| {
        new.iter().all(|new| old.iter().any(|old| covers(old, new)))
    };
    old.scheme == new.scheme
        && old.network == new.network
        && new.calls <= old.calls
        && new.bytes <= old.bytes
        && new.methods.is_subset(&old.methods)
        && all(&new.hosts, &old.hosts, host_covers)
        && all(&new.paths, &old.paths, path_covers)
}

/// `*.example` covers `a.example` and `*.a.example`, each with the same port.
fn host_covers(old: &str, new: &str) -> bool {
    let below = |suffix: &str| {
        let new = new.strip_prefix('*').unwrap_or(new);
        new.len() > suffix.len() && new.ends_with(suffix)
    };
    old == new || old.strip_prefix('*').is_some_and(below)
}

fn path_covers(old: &str, new: &str) -> bool {
    let old = old.trim_end_matches('/');
    new.strip_prefix(old).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `https://api.example below /v1 (GET, HEAD; at most 10 calls and 1 MiB per execution)`
fn calls(grant: &HttpGrant) -> String {
    let scheme = match grant.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let join = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let hosts: Vec<String> = grant.hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
    let below = if grant.paths.contains("/") { String::new() } else { format!(" below {}", join(&grant.paths)) };
    let network =
        grant.network.as_ref().map(|network| format!(" in the private network {network}")).unwrap_or_default();
    let calls = if grant.calls == 1 { "1 call".to_owned() } else { format!("{} calls", grant.calls) };
    format!(
        "{}{below}{network} ({}; at most {calls} and {} per execution)",
        hosts.join(", "),
        join(&grant.methods),
        size(grant.bytes)
    )
}

fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

fn each(period: Period) -> &'static str {
    match period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn grants(json: Value) -> Grants {
        crate::grants::check::check(serde_json::from_value(json).unwrap()).unwrap()
    }

    fn between(old: Value, new: Value) -> (Vec<String>, Vec<String>) {
        let Difference { extensions, reductions } = Difference::between(&grants(old), &grants(new));
        (extensions, reductions)
    }

    fn sek(max: &str, sum: &str, period: &str) -> Value {
        json!({ "transactions": { "SEK": { "max": max, "sum": sum, "period": period } } })
    }

    #[test]
    fn it_is_told_in_words() {
        let all = json!({
            "http": [{ "hosts": ["api.sports.example"] }], "upstreams": ["bank"], "state": true, "events": ["goal.*"],
            "secrets": ["API_TOKEN"], "api": ["functions.read"], "transactions": { "SEK": { "max": "500", "sum": "1000", "period": "day" } },
        });
        let (extensions, reductions) = between(json!({}), all.clone());
        assert_eq!(
            extensions,
            [
                "may now create transactions up to 500.00 SEK each and 1000.00 SEK a day for one end user",
                "may now call https://api.sports.example (GET, HEAD; at most 10 calls and 1 MiB per execution)",
                "may now call the upstream bank",
                "may now keep state",
                "may now emit events goal.*",
                "may now read the secret API_TOKEN",
                "may now use the API by the scope functions.read",
            ]
        );
        assert_eq!(reductions, [] as [&str; 0]);
        let (extensions, reductions) = between(all, json!({}));
        assert_eq!(extensions, [] as [&str; 0]);
        assert_eq!(
            reductions,
            [
                "may no longer create transactions in SEK",
                "may no longer call https://api.sports.example (GET, HEAD; at most 10 calls and 1 MiB per execution)",
                "may no longer call the upstream bank",
                "may no longer keep state",
                "may no longer emit events goal.*",
                "may no longer read the secret API_TOKEN",
                "may no longer use the API by the scope functions.read",
            ]
        );
        assert_eq!(
            between(sek("500", "500", "day"), sek("600", "1000", "day")).0,
            [
                "may now create transactions up to 600.00 SEK each instead of 500.00",
                "may now save up to 1000.00 SEK a day for one end user instead of 500.00",
            ]
        );
        assert_eq!(
            between(sek("500", "1000", "day"), sek("400", "500", "week")).1,
            [
                "may only create transactions up to 400.00 SEK each instead of 500.00",
                "may only save up to 500.00 SEK a week for one end user instead of 1000.00 SEK a day",
            ]
        );
        let call = |calls: u32| json!({ "http": [{ "hosts": ["a.example"], "paths": ["/v1"], "calls": calls, "bytes": 1024 }] });
        let words =
            |calls: &str| format!("https://a.example below /v1 (GET, HEAD; at most {calls} and 1 KiB per execution)");
        assert_eq!(
            between(call(1), call(2)),
            (vec![format!("may now call {} instead of {}", words("2 calls"), words("1 call"))], vec![])
        );
        assert_eq!(
            between(call(2), call(1)).1,
            [format!("may only call {} instead of {}", words("1 call"), words("2 calls"))]
        );
        assert_eq!(
            between(json!({ "events": ["card.*"] }), json!({ "events": ["card.purchase"] })).1,
            ["may only emit events card.purchase instead of card.*"]
        );
    }

    #[test]
    fn whatever_is_not_covered_is_an_extension() {
        let http = |of: Value| json!({ "http": [of] });
        for (old, new, covered) in [
            (sek("1", "7", "week"), sek("1", "1", "day"), true),
            (sek("1", "6.99", "week"), sek("1", "1", "day"), false),
            (sek("1", "30", "month"), sek("1", "1", "day"), true),
            // A month of 30 days reaches into five weeks.
            (sek("1", "5", "month"), sek("1", "1", "week"), true),
            (sek("1", "4.99", "month"), sek("1", "1", "week"), false),
            (sek("1", "5", "day"), sek("1", "5", "month"), true),
            (sek("1", "5", "day"), sek("1", "5.01", "month"), false),
            (
                sek("1", "5", "day"),
                json!({ "transactions": { "EUR": { "max": "1", "sum": "1", "period": "day" } } }),
                false,
            ),
            (http(json!({ "hosts": ["*.b"] })), http(json!({ "hosts": ["a.b", "x.a.b", "*.a.b"] })), true),
            (http(json!({ "hosts": ["*.b"] })), http(json!({ "hosts": ["b"] })), false),
            (http(json!({ "hosts": ["*.b"] })), http(json!({ "hosts": ["ab"] })), false),
            (http(json!({ "hosts": ["*.b"] })), http(json!({ "hosts": ["a.b:8443"] })), false),
            (http(json!({ "hosts": ["*.b:8443"] })), http(json!({ "hosts": ["a.b:8443"] })), true),
            (http(json!({ "hosts": ["a.b"] })), http(json!({ "hosts": ["*.b"] })), false),
            (
                http(json!({ "hosts": ["a"], "paths": ["/v1"] })),
                http(json!({ "hosts": ["a"], "paths": ["/v1/x", "/v1/"] })),
                true,
            ),
            (
                http(json!({ "hosts": ["a"], "paths": ["/v1"] })),
                http(json!({ "hosts": ["a"], "paths": ["/v10"] })),
                false,
            ),
            (http(json!({ "hosts": ["a"] })), http(json!({ "hosts": ["a"], "scheme": "http" })), false),
            (http(json!({ "hosts": ["a"] })), http(json!({ "hosts": ["a"], "methods": ["POST"] })), false),
            (http(json!({ "hosts": ["a"] })), http(json!({ "hosts": ["a"], "network": "10.0.0.0/8" })), false),
            (http(json!({ "hosts": ["a"], "network": "10.0.0.0/8" })), http(json!({ "hosts": ["a"] })), false),
            (http(json!({ "hosts": ["a"] })), http(json!({ "hosts": ["a"], "bytes": 1048577 })), false),
            // Two that each lie within the same one could together spend twice its bounds.
            (http(json!({ "hosts": ["*.b"] })), json!({ "http": [{ "hosts": ["x.b"] }, { "hosts": ["y.b"] }] }), false),
            (
                json!({ "http": [{ "hosts": ["*.b"] }, { "hosts": ["x.b"] }] }),
                json!({ "http": [{ "hosts": ["x.b"] }, { "hosts": ["y.b"] }] }),
                true,
            ),
            (json!({ "events": ["*.*"] }), json!({ "events": ["a.b", "a.*"] }), true),
            (json!({ "events": ["a.b"] }), json!({ "events": ["a.*"] }), false),
            (json!({ "upstreams": ["a"] }), json!({ "upstreams": ["a", "b"] }), false),
            (json!({ "api": ["functions.read", "rules.read"] }), json!({ "api": ["rules.read"] }), true),
            // Each scope by its own name: who may write has not read before.
            (json!({ "api": ["functions.write"] }), json!({ "api": ["functions.read"] }), false),
        ] {
            assert_eq!(covers(&grants(old.clone()), &grants(new.clone())), covered, "{old} {new}");
        }
    }

    /// A grant that follows from a number, out of few choices so that many cover each other.
    fn any(mut seed: u64) -> Grants {
        let mut pick = |of: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % of
        };
        let mut some = |all: &[&str]| -> Vec<String> {
            all.iter().filter(|_| pick(2) == 0).map(|one| (*one).to_owned()).collect()
        };
        let (upstreams, secrets) = (some(&["a", "b"]), some(&["S"]));
        let events = some(&["a.b", "a.*", "*.*"]);
        let mut http = Vec::new();
        for _ in 0..pick(4) {
            let hosts = [["a.b"], ["*.b"], ["*.a.b"]][pick(3) as usize];
            let paths = [["/"], ["/v1"], ["/v1/x"]][pick(3) as usize];
            http.push(json!({ "hosts": hosts, "paths": paths, "calls": 1 + pick(2), "bytes": 1 + pick(2) }));
        }
        let period = ["day", "week", "month"][pick(3) as usize];
        let sum = 1 + pick(40);
        let mut transactions = json!({});
        if pick(2) == 0 {
            transactions["SEK"] = json!({ "max": "1", "sum": sum.to_string(), "period": period });
        }
        grants(json!({
            "http": http, "upstreams": upstreams, "secrets": secrets, "events": events, "state": pick(2) == 0,
            "transactions": transactions, "api": if pick(2) == 0 { vec!["functions.read"] } else { vec![] },
        }))
    }

    #[test]
    fn coverage_is_an_order() {
        let all: Vec<Grants> = (0..160).map(any).collect();
        let covered: Vec<Vec<bool>> = all.iter().map(|a| all.iter().map(|b| covers(a, b)).collect()).collect();
        let mut chains = 0;
        for a in 0..all.len() {
            assert!(covered[a][a], "{:?}", all[a]);
            assert_eq!(Difference::between(&all[a], &all[a]), Difference::default());
            assert!(covers(&all[a], &Grants::default()));
            for b in (0..all.len()).filter(|b| covered[a][*b]) {
                assert!(
                    !covered[b][a] || all[a] == all[b] || reach(&all[a]) == reach(&all[b]),
                    "{:?} {:?}",
                    all[a],
                    all[b]
                );
                for c in (0..all.len()).filter(|c| covered[b][*c]) {
                    chains += usize::from(a != b && b != c);
                    assert!(covered[a][c], "{:?} {:?} {:?}", all[a], all[b], all[c]);
                }
            }
        }
        assert!(chains > 100, "{chains} chains were tried");
    }

    /// What two grants that cover each other must have in common, however they are written.
    fn reach(grants: &Grants) -> (bool, usize, [BTreeSet<String>; 3]) {
        let names = [&grants.upstreams, &grants.secrets, &grants.api].map(Clone::clone);
        (grants.state, grants.transactions.iter().count(), names)
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_an_extension() {
        let bound = |names: &[&str], to: &[(&str, &str)]| Grants {
            upstreams: names.iter().map(|name| (*name).to_owned()).collect(),
            leads: to.iter().map(|(name, to)| (leads::upstream_key(name), (*to).to_owned())).collect(),
            ..Grants::default()
        };
        for (old, new, extensions) in [
            (bound(&["bank"], &[("bank", "A")]), bound(&["bank"], &[("bank", "A")]), None),
            // Granted before it was stored where names lead.
            (bound(&["bank"], &[]), bound(&["bank"], &[("bank", "B")]), None),
            (
                bound(&["bank"], &[("bank", "A")]),
                bound(&["bank"], &[("bank", "B")]),
                Some("may now call the upstream bank, which leads to B instead of A"),
            ),
            (
                bound(&[], &[]),
                bound(&["bank"], &[("bank", "B")]),
                Some("may now call the upstream bank, which leads to B"),
            ),
            (bound(&[], &[]), bound(&["bank"], &[("bank", leads::NOWHERE)]), Some("may now call the upstream bank")),
        ] {
            let found = Difference::between(&old, &new);
            assert_eq!(found.extensions.first().map(String::as_str), extensions);
            assert_eq!((found.extensions.len(), found.reductions.len()), (usize::from(extensions.is_some()), 0));
            assert_eq!(covers(&old, &new), extensions.is_none());
        }
    }

    #[test]
    fn the_same_amount_in_another_notation_is_no_extension() {
        assert!(covers(&grants(sek("1.00", "2.00", "day")), &grants(sek("1", "2", "day"))));
        // What could be saved within the old period is more than can be counted.
        let most =
            |period: &str| -> Grants { serde_json::from_value(sek("1", "92233720368547758.07", period)).unwrap() };
        assert!(!covers(&most("week"), &most("day")));
    }

    #[test]
    fn a_call_is_told_beside_the_one_that_it_takes_the_place_of() {
        let http = |all: &[(&str, &str, u64)]| {
            let one = |(scheme, host, bytes): &(&str, &str, u64)| json!({ "scheme": scheme, "hosts": [host], "bytes": bytes, "methods": ["GET"], "calls": 1 });
            json!({ "http": all.iter().map(one).collect::<Vec<_>>() })
        };
        let words = |url: &str, size: &str| format!("{url} (GET; at most 1 call and {size} per execution)");
        // Another scheme, and another host, are another call.
        for (new, url) in [(("http", "a.b", 1), "http://a.b"), (("https", "c.d", 1), "https://c.d")] {
            let (extensions, reductions) = between(http(&[("https", "a.b", 1)]), http(&[new]));
            assert_eq!(extensions, [format!("may now call {}", words(url, "1 bytes"))]);
            assert_eq!(reductions, [format!("may no longer call {}", words("https://a.b", "1 bytes"))]);
        }
        // Of two that cover it the same one stays, and the other one goes.
        let (extensions, reductions) =
            between(http(&[("https", "*.b", 1), ("https", "a.b", 1)]), http(&[("https", "a.b", 1)]));
        assert_eq!(
            (extensions.len(), reductions),
            (0, vec![format!("may no longer call {}", words("https://*.b", "1 bytes"))])
        );
        // Two of a kind, each in the place of one.
        let (extensions, reductions) = between(
            http(&[("https", "a.b", 1_000), ("https", "a.b", 2_048)]),
            http(&[("https", "a.b", 3 << 20), ("https", "a.b", 4_000)]),
        );
        let told = |new: &str, old: &str| {
            format!("may now call {} instead of {}", words("https://a.b", new), words("https://a.b", old))
        };
        assert_eq!(extensions, [told("3 MiB", "1000 bytes"), told("4000 bytes", "2 KiB")]);
        assert_eq!(reductions, [] as [&str; 0]);
    }
}
