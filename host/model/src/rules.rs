//! Proxy rules: domains of partners, by which their functions or their API are called.

use crate::ids::{FunctionId, PartnerId, RuleId};
use crate::time::Millis;

/// A domain of a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub partner: PartnerId,
    pub id: RuleId,
    pub reaches: Reaches,
    /// In lower case.
    pub domain: String,
    /// `None`: it lies below the domain of functions, and needs none.
    pub proof: Option<Proof>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// What requests at a domain reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaches {
    /// This function, whatever the path.
    Function(FunctionId),
    /// The functions of the partner by their routes, as at `P.ROOT`.
    Functions,
    /// The API of the partner, as at `P-api.ROOT`.
    Api,
}

/// Whether a domain is its partner's: DNS says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Nothing is served at the domain otherwise.
    pub holds: bool,
    /// When it is looked for next.
    pub due_at_ms: Millis,
    /// Since when a proof that holds is gone.
    pub lost_at_ms: Option<Millis>,
    /// Why it does not hold, or will not for long; else empty.
    pub why: String,
}

impl Reaches {
    /// The name that a record of the domain must lead to.
    pub fn target(&self, partner: &PartnerId, below: &str) -> String {
        let api = if *self == Reaches::Api { "-api" } else { "" };
        format!("{partner}{api}.{below}")
    }
}

/// When the proof of a domain is looked for that has none yet: soon at first, then at growing intervals up to a day.
pub fn look_again_at_ms(now: Millis, created_at_ms: Millis) -> Millis {
    now + ((now - created_at_ms) / 4).clamp(30_000, 24 * 3_600_000)
}

/// Domains that partners cannot have of their own, with everything below them: those of the installation, and what is no part of
/// the public DNS.
const NOBODYS: [&str; 9] = ["localhost", "local", "internal", "invalid", "onion", "alt", "arpa", "lan", "home"];
/// Second labels below which countries register domains.
const REGISTRIES: [&str; 10] = ["ac", "co", "com", "edu", "gov", "mil", "ne", "net", "or", "org"];

/// A domain of a partner's own, in the form in which rules have it; `ours` are the domains of the installation. Otherwise says what
/// is wrong.
pub fn check_own_domain(domain: &str, ours: &[&str]) -> Result<String, String> {
    let domain = domain.to_ascii_lowercase();
    let labels: Vec<&str> = domain.split('.').collect();
    if !domain.is_ascii() {
        return Err("has characters that DNS does not know: write it as DNS does (xn--…)".into());
    }
    if let Some(label) = labels.iter().find(|label| !is_label(label)) {
        return Err(format!(
            "is no name of a host: {label:?} is no DNS label (at most 63 of a-z, 0-9 and - between them)"
        ));
    }
    let last = labels.last().copied().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is an IP address: certificates and doors are for names".into());
    }
    let is_registry = labels.len() == 2 && last.len() == 2 && REGISTRIES.contains(&labels[0]);
    if labels.len() < 2 || is_registry || domain.len() > 230 {
        return Err("is no domain that one owner has: write a name below it, such as shop.bank.example".into());
    }
    if NOBODYS.contains(&last) {
        return Err(format!(".{last} is not part of the public DNS: nobody can prove a domain there"));
    }
    for own in ours.iter().filter(|own| !own.is_empty()) {
        if domain == **own || label_below(&domain, own).is_some() {
            return Err(format!("belongs to this installation, like everything at and below {own}"));
        }
        if label_below(own, &domain).is_some() {
            return Err(format!("is above {own}, a domain of this installation"));
        }
    }
    Ok(domain)
}

/// The domain in the form in which rules have it, if it is one DNS label below `parent`. Otherwise says what is wrong.
pub fn check_domain(domain: &str, parent: &str) -> Result<String, String> {
    if parent.is_empty() {
        return Err("this installation has no domain for functions (server.functions_domain)".into());
    }
    let domain = domain.to_ascii_lowercase();
    if domain == parent {
        return Err(format!("{parent} is the domain below which functions have theirs: write NAME.{parent}"));
    }
    let Some(label) = label_below(&domain, parent) else {
        return Err(format!("must be one label below {parent}, such as my-function.{parent}"));
    };
    if label.contains('.') {
        return Err(format!("has more than one label before {parent}: write {}.{parent}", label.replace('.', "-")));
    }
    if is_label(label) {
        return Ok(domain);
    }
    Err(format!("{label:?} is no DNS label: at most 63 of a-z, 0-9 and - between them"))
}

/// What stands before `.PARENT` in a host.
pub fn label_below<'h>(host: &'h str, parent: &str) -> Option<&'h str> {
    host.strip_suffix(parent)?.strip_suffix('.').filter(|label| !label.is_empty())
}

/// A DNS label in lower case.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_of_ones_own_is_a_public_name_outside_of_the_installation() {
        let ours = ["larder.bank.example", "fn.example", ""];
        for (domain, expected) in [
            ("shop.acme.example", Ok("shop.acme.example")),
            ("ACME.Example", Ok("acme.example")),
            ("xn--caf-dma.example", Ok("xn--caf-dma.example")),
            ("co.example", Ok("co.example")),
            ("other.bank.example", Ok("other.bank.example")),
            ("café.example", Err("xn--")),
            ("acme.example.", Err("no DNS label")),
            ("a..example", Err("no DNS label")),
            ("*.acme.example", Err("no DNS label")),
            ("acme.example:443", Err("no DNS label")),
            ("a_b.example", Err("no DNS label")),
            ("", Err("no DNS label")),
            ("192.0.2.1", Err("IP address")),
            ("1.2.3", Err("IP address")),
            ("[2001:db8::1]", Err("no DNS label")),
            ("example", Err("no domain that one owner has")),
            ("co.uk", Err("no domain that one owner has")),
            ("com.au", Err("no domain that one owner has")),
            ("shop.localhost", Err("public DNS")),
            ("printer.local", Err("public DNS")),
            ("1.0.0.127.in-addr.arpa", Err("public DNS")),
            ("larder.bank.example", Err("belongs to this installation")),
            ("acme.larder.bank.example", Err("belongs to this installation")),
            ("a.fn.example", Err("belongs to this installation")),
            ("bank.example", Err("is above larder.bank.example")),
        ] {
            match (check_own_domain(domain, &ours), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{domain}: {why}"),
                (found, _) => panic!("{domain}: {found:?}"),
            }
        }
        assert!(check_own_domain(&format!("{}.example", ["a"; 120].join(".")), &ours).is_err());
        let acme: PartnerId = "acme".parse().unwrap();
        assert_eq!(Reaches::Functions.target(&acme, "larder.example"), "acme.larder.example");
        assert_eq!(Reaches::Api.target(&acme, "larder.example"), "acme-api.larder.example");
    }

    #[test]
    fn a_domain_is_one_label_below_the_parent() {
        let parent = "functions.localhost";
        for (domain, expected) in [
            ("a.functions.localhost", Ok("a.functions.localhost")),
            ("My-App-1.Functions.LocalHost", Ok("my-app-1.functions.localhost")),
            ("functions.localhost", Err("is the domain below")),
            ("a.b.functions.localhost", Err("write a-b.functions.localhost")),
            ("functions.localhost.", Err("one label below")),
            ("a.functions.localhost.", Err("one label below")),
            ("afunctions.localhost", Err("one label below")),
            (".functions.localhost", Err("one label below")),
            ("shop.example", Err("one label below")),
            ("", Err("one label below")),
            ("-a.functions.localhost", Err("no DNS label")),
            ("a_b.functions.localhost", Err("no DNS label")),
            ("ä.functions.localhost", Err("no DNS label")),
            ("a:80.functions.localhost", Err("no DNS label")),
        ] {
            match (check_domain(domain, parent), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{domain}: {why}"),
                (found, _) => panic!("{domain}: {found:?}"),
            }
        }
        let long = format!("{}.{parent}", "a".repeat(64));
        assert!(check_domain(&long, parent).is_err());
        assert!(check_domain("a.functions.localhost", "").unwrap_err().contains("server.functions_domain"));
    }
}
