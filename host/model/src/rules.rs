//! Proxy rules: domains by which functions are called.

use crate::ids::{FunctionId, PartnerId, RuleId};
use crate::time::Millis;

/// A domain of a function. It belongs to one partner of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub partner: PartnerId,
    pub id: RuleId,
    pub function: FunctionId,
    /// In lower case, one label below the functions domain.
    pub domain: String,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
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
