//! The names of the installation that an authority can give a certificate for.

use std::collections::BTreeSet;

use crate::common::Common;

/// `ROOT`, `P.ROOT` and `P-api.ROOT` of each partner, and the domains of functions.
pub fn wanted(common: &Common) -> BTreeSet<String> {
    let root = common.settings.root_host().unwrap_or_default();
    let mut names = BTreeSet::from([root.clone()]);
    for (partner, tenant) in common.directory.tenants().iter() {
        if partner.is_label() {
            names.insert(format!("{partner}.{root}"));
            names.insert(format!("{partner}-api.{root}"));
        }
        names.extend(tenant.rules.keys().cloned());
    }
    names.retain(|name| is_public(name));
    names
}

/// No authority gives a certificate for anything else. Names have the form of domains already.
fn is_public(name: &str) -> bool {
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(|label| (1..=63).contains(&label.len()))
        && !name.ends_with(".localhost")
        && name.parse::<std::net::IpAddr>().is_err()
        && !name.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_for_public_names() {
        for (name, public) in [
            ("bank.example", true),
            ("acme-api.bank.example", true),
            ("localhost", false),
            ("demo.localhost", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("", false),
            ("bank.", false),
        ] {
            assert_eq!(is_public(name), public, "{name}");
        }
    }
}
