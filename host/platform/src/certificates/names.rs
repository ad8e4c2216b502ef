//! The names of the installation that an authority can give a certificate for.

use std::collections::BTreeMap;

use larder_model::ids::PartnerId;

use crate::common::Common;

/// `ROOT`, and of each partner `P.ROOT`, `P-api.ROOT` and its domains; whose each of them is.
pub fn wanted(common: &Common) -> BTreeMap<String, Option<PartnerId>> {
    let root = common.settings.root_host().unwrap_or_default();
    let mut names = BTreeMap::from([(root.clone(), None)]);
    for (partner, tenant) in common.directory.tenants().iter() {
        if partner.is_label() {
            names.insert(format!("{partner}.{root}"), Some(partner.clone()));
            names.insert(format!("{partner}-api.{root}"), Some(partner.clone()));
        }
        names.extend(tenant.domains.keys().map(|domain| (domain.clone(), Some(partner.clone()))));
    }
    names.retain(|name, _| is_public(name));
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
