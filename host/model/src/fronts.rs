//! Fronts: processes without a database that stand before the core and pass requests on to it.

use crate::doors::Host;
use crate::rules::is_label;
use crate::time::Millis;

/// Fronts of an installation.
pub const FRONTS_MAX: usize = 64;
/// Names that a front may be limited to.
pub const NAMES_MAX: usize = 100;

/// A front that was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    pub name: String,
    /// SHA-256 of its public key (the DER of its SubjectPublicKeyInfo), in hex.
    pub key_hash: String,
    /// Hosts that it serves, each exact or `*.` and a domain; none: all that end users reach.
    pub names: Vec<String>,
    /// When its newest certificate ends.
    pub not_after_ms: Millis,
    pub created_at_ms: Millis,
}

impl Front {
    /// May this host be reached through it? Only those that end users call: P.ROOT, and the domains of functions.
    pub fn serves(&self, host: &Host, name: &str) -> bool {
        let is_web = match host {
            Host::Partner(_) | Host::Domain(_) | Host::Function(_) => true,
            Host::Api(_) | Host::Root | Host::Address | Host::Unknown => false,
        };
        let fits = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(domain) => name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => name == pattern,
        };
        is_web && (self.names.is_empty() || self.names.iter().any(fits))
    }
}

/// Is it a name for a front?
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if is_label(name) { Ok(()) } else { Err("must have 1 to 63 of a-z, 0-9 and -, and begin and end with none of -") }
}

/// May a front be limited to this?
pub fn check_served(pattern: &str) -> Result<(), &'static str> {
    let domain = pattern.strip_prefix("*.").unwrap_or(pattern);
    let fine = domain.len() <= 253 && domain.split('.').all(is_label);
    if fine { Ok(()) } else { Err("must be a host in lower case, or *. and a domain") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_serves_what_end_users_call_and_no_more_than_its_names() {
        let id = || "acme".parse().unwrap();
        let front = |names: &[&str]| Front {
            name: "edge".into(),
            key_hash: String::new(),
            names: names.iter().map(|name| name.to_string()).collect(),
            not_after_ms: 0,
            created_at_ms: 0,
        };
        let all = front(&[]);
        assert!(all.serves(&Host::Partner(id()), "acme.bank.test"));
        assert!(all.serves(&Host::Domain(id()), "shop.test") && all.serves(&Host::Function("f".into()), "f"));
        for host in [Host::Api(id()), Host::Root, Host::Address, Host::Unknown] {
            assert!(!all.serves(&host, "acme.bank.test"), "{host:?}");
        }
        let some = front(&["acme.bank.test", "*.f.bank.test"]);
        for (name, serves) in [
            ("acme.bank.test", true),
            ("beta.bank.test", false),
            ("x.f.bank.test", true),
            ("a.x.f.bank.test", true),
            ("f.bank.test", false),
            (".f.bank.test", false),
            ("xf.bank.test", false),
        ] {
            assert_eq!(some.serves(&Host::Partner(id()), name), serves, "{name}");
        }
        for (pattern, fine) in [
            ("*.bank.test", true),
            ("bank.test", true),
            ("*", false),
            ("*.*.test", false),
            ("A.test", false),
            ("", false),
        ] {
            assert_eq!(check_served(pattern).is_ok(), fine, "{pattern}");
        }
    }
}
