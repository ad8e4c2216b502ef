//! Signing in at a provider of the operator's (OpenID Connect Core 1.0): which roles its claims give, and where it is.

use serde::Deserialize;
use serde_json::Value;

use crate::administrators::{Role, RoleIn, check_email};
use crate::identities::claim;
use crate::ids::PartnerId;
use crate::net::authority::{Authority, Host};
use crate::upstreams::Base;

const NAME_CHARS_MAX: usize = 128;
const VALUES_MAX: usize = 1_000;

/// Whoever has this value in the claim for roles has this role: `VALUE=PARTNER:ROLE`, or `VALUE=ROLE` in the installation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RoleRule {
    pub value: String,
    pub role: RoleIn,
}

impl TryFrom<String> for RoleRule {
    type Error = String;

    fn try_from(text: String) -> Result<RoleRule, String> {
        let wrong = |why: &str| format!("{text:?} {why}: write VALUE=PARTNER:ROLE, or VALUE=ROLE for the installation");
        let (value, given) = text.rsplit_once('=').ok_or_else(|| wrong("has no ="))?;
        let (partner, word) = match given.rsplit_once(':') {
            Some((partner, word)) => {
                (Some(partner.parse::<PartnerId>().map_err(|why| wrong(&format!("names no partner ({why})")))?), word)
            }
            None => (None, given),
        };
        let role = Role::from_word(word).ok_or_else(|| wrong("names no role"))?;
        let role = RoleIn { partner, role };
        if value.is_empty() {
            return Err(wrong("has no value"));
        }
        if !role.role.is_of(&role.place()) {
            return Err(wrong("names a role that cannot be had there"));
        }
        Ok(RoleRule { value: value.to_owned(), role })
    }
}

/// The roles of somebody with these values. Of several in one place the one that stands first in the rules counts.
pub fn roles(rules: &[RoleRule], values: &[&str]) -> Vec<RoleIn> {
    let mut roles: Vec<RoleIn> = Vec::new();
    for rule in rules.iter().filter(|rule| values.contains(&rule.value.as_str())) {
        if roles.iter().all(|role| role.partner != rule.role.partner) {
            roles.push(rule.role.clone());
        }
    }
    roles
}

/// The values of a claim: a list of texts, or one text.
pub fn values<'c>(claims: &'c Value, name: &str) -> Vec<&'c str> {
    match claim(claims, name) {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).take(VALUES_MAX).collect(),
        _ => vec![],
    }
}

/// The address of somebody, in its canonical form, if the provider vouches for it (section 5.7).
pub fn email(claims: &Value, is_trusted: bool) -> Option<String> {
    let is_verified = is_trusted || claims.get("email_verified") == Some(&Value::Bool(true));
    claims.get("email").and_then(Value::as_str).filter(|_| is_verified).and_then(|email| check_email(email).ok())
}

/// The name of somebody, as far as it can be shown; empty without one.
pub fn name(claims: &Value) -> String {
    let name = claims.get("name").and_then(Value::as_str).unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// An address of a provider, and its path with query. Without TLS only on this machine: whoever answers in its place can be anybody.
pub fn place(url: &str) -> Result<(Base, String), String> {
    let (before, query) = match url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (url, None),
    };
    let base = Base::parse(before)?;
    let to: Authority = base.host.parse().map_err(|err| format!("has a host that is none: {err}"))?;
    let is_here = match &to.host {
        Host::Address(address) => address.is_loopback(),
        Host::Name(name) => name == "localhost",
    };
    if !base.tls && !is_here {
        return Err("must begin with https:// (http:// only on this machine)".into());
    }
    let path = if before.ends_with('/') { format!("{}/", base.path) } else { base.path.clone() };
    let path = if path.is_empty() { "/".into() } else { path };
    let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    match target.parse::<http::uri::PathAndQuery>() {
        Ok(fine) if fine.as_str() == target => Ok((base, target)),
        _ => Err("has a path or query that is none".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(text: &str) -> Result<RoleRule, String> {
        RoleRule::try_from(text.to_owned())
    }

    #[test]
    fn roles_follow_the_order_of_the_rules() {
        let rules = ["ops=operator", "a=demo:approver", "b=demo:developer", "cn=x,dc=bank=other:viewer"];
        let rules: Vec<_> = rules.into_iter().map(|text| rule(text).unwrap()).collect();
        let of = |values: &[&str]| {
            let words =
                |role: RoleIn| format!("{}:{}", role.partner.map_or(String::new(), Into::into), role.role.word());
            roles(&rules, values).into_iter().map(words).collect::<Vec<_>>()
        };
        assert_eq!(of(&["b", "a"]), ["demo:approver"]);
        assert_eq!(of(&["cn=x,dc=bank", "ops", "b"]), [":operator", "demo:developer", "other:viewer"]);
        assert!(of(&["A", "op", ""]).is_empty());
    }

    #[test]
    fn a_rule_that_cannot_be_is_named() {
        for (text, why) in [
            ("ops", "has no ="),
            ("=operator", "has no value"),
            ("ops=king", "names no role"),
            ("ops=demo:operator", "cannot be had there"),
            ("ops=approver", "cannot be had there"),
            ("ops=De mo:viewer", "names no partner"),
        ] {
            let said = rule(text).unwrap_err();
            assert!(said.contains(why) && said.contains(text), "{text}: {said}");
        }
    }

    #[test]
    fn claims_are_read_as_they_are_meant() {
        let claims =
            json!({ "groups": ["a", 1, "b"], "one": "x", "realm": { "roles": ["y"] }, "email": " Anna@Bank.example" });
        assert_eq!(values(&claims, "groups"), ["a", "b"]);
        assert_eq!(values(&claims, "one"), ["x"]);
        assert_eq!(values(&claims, "/realm/roles"), ["y"]);
        assert!(values(&claims, "none").is_empty());
        assert_eq!(email(&claims, false), None);
        assert_eq!(email(&claims, true).as_deref(), Some("anna@bank.example"));
        for verified in [json!("true"), json!(1), json!(false)] {
            assert_eq!(email(&json!({ "email": "a@b.example", "email_verified": verified }), false), None);
        }
        assert_eq!(name(&json!({ "name": "Anna\u{0}\n " })), "Anna");
    }

    #[test]
    fn a_provider_is_asked_by_tls_or_on_this_machine() {
        for fine in ["https://login.bank.example", "http://127.0.0.1:8080/x?y=z", "http://localhost/realms/bank/"] {
            place(fine).unwrap();
        }
        assert_eq!(place("https://a.example/b/?c=d").unwrap().1, "/b/?c=d");
        for wrong in
            ["http://login.bank.example", "ftp://a.example", "https://a@b.example", "https://a.example/#x", "x"]
        {
            place(wrong).unwrap_err();
        }
    }
}
