//! Does a grant cover a request?
//!
//! A [`Rule`] is an [`HttpGrant`] that has been read; reading one is also how it is checked when it is taken in. It covers
//! a request by scheme, host, port, method and path. **What cannot be decided for sure is not covered**: a path that servers
//! read in different ways (`//`, `/../`, `%2e`, a backslash) only is where a grant has all paths.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Method;
use ipnet::IpNet;

use crate::net::authority::{Authority, Host};
use crate::{HttpGrant, Scheme};

/// What a function may ask for at all.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

#[derive(Clone, Debug)]
pub struct Rule {
    scheme: Scheme,
    hosts: Vec<Pattern>,
    methods: Vec<Method>,
    paths: Vec<String>,
    /// In which the hosts may lie.
    pub network: Option<IpNet>,
    pub calls: u32,
    pub bytes: u64,
}

/// `api.sports.example`, `*.sports.example`, either with a port. Shown in the canonical form, which is stored.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Any name below it, and not itself.
    below: bool,
    host: Host,
    port: Option<u16>,
}

impl Rule {
    /// Reads a grant; gives what is wrong with it.
    pub fn of(grant: &HttpGrant) -> Result<Rule, String> {
        let some = |what: &str, empty: bool| if empty { Err(format!("{what} is empty")) } else { Ok(()) };
        some("hosts", grant.hosts.is_empty())?;
        some("methods", grant.methods.is_empty())?;
        some("paths", grant.paths.is_empty())?;
        if grant.calls == 0 || grant.bytes == 0 {
            return Err("calls and bytes must be at least 1".into());
        }
        let network = grant.network.as_deref().map(network).transpose()?;
        let methods = grant.methods.iter().map(|name| {
            let known = METHODS.iter().find(|method| method.as_str() == name).cloned();
            known.ok_or_else(|| format!("{name:?} is none of the methods {METHODS:?}"))
        });
        let paths = grant.paths.iter().map(|path| match path.starts_with('/') && is_plain(path) {
            true => Ok(path.trim_end_matches('/').to_owned()),
            false => Err(format!(
                "{path:?} is no path: it begins with / and has no empty, . or .. segment, \\ or escape of these"
            )),
        });
        Ok(Rule {
            scheme: grant.scheme,
            hosts: grant.hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?,
            methods: methods.collect::<Result<_, _>>()?,
            paths: paths.collect::<Result<_, _>>()?,
            network,
            calls: grant.calls,
            bytes: grant.bytes,
        })
    }

    /// `port` is the request's or that of its scheme.
    pub fn covers(&self, scheme: Scheme, host: &Host, port: u16, method: &Method, path: &str) -> bool {
        self.scheme == scheme
            && self.methods.contains(method)
            && self.hosts.iter().any(|pattern| pattern.covers(host, port, default_port(scheme)))
            && self.paths.iter().any(|prefix| prefix.is_empty() || (is_plain(path) && is_below(prefix, path)))
    }
}

pub fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// A private network by its first address and length.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text.parse().map_err(|_| format!("{text:?} is no network such as 10.1.0.0/16"))?;
    if network.trunc() != network {
        return Err(format!("{text:?} is an address within {}, not a network", network.trunc()));
    }
    match network.addr() {
        IpAddr::V6(address) if IpAddr::V6(address).to_canonical().is_ipv4() => {
            Err(format!("{text:?} is an IPv4 network written as IPv6"))
        }
        _ => Ok(network),
    }
}

impl Pattern {
    fn covers(&self, host: &Host, port: u16, default_port: u16) -> bool {
        self.port.unwrap_or(default_port) == port
            && match (self.below, &self.host, host) {
                (false, granted, host) => granted == host,
                (true, Host::Name(end), Host::Name(name)) => {
                    name.strip_suffix(end.as_str()).is_some_and(|rest| rest.ends_with('.'))
                }
                (true, _, _) => false,
            }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let wrong = |why| format!("{text:?} is no host such as api.example, *.example or api.example:8443: {why}");
        let Authority { host, port } = rest.parse().map_err(|err| wrong(format!("{err}")))?;
        match host {
            Host::Address(_) if below => Err(wrong("there is nothing below an address".into())),
            host => Ok(Pattern { below, host, port }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = Authority { host: self.host.clone(), port: self.port };
        write!(f, "{}{authority}", if self.below { "*." } else { "" })
    }
}

/// By whole segments.
fn is_below(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Does every server read the same segments in it?
pub fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    // An escaped percent sign is an escape to whoever decodes twice.
    let escapes = ["%2e", "%2f", "%5c", "%25", "%00", "\\"];
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    !escapes.iter().any(|escape| lower.contains(escape))
        && std::iter::from_fn(|| segments.next().map(|segment| (segment, segments.peek().is_none()))).all(
            // Some servers cut off what follows a semicolon before they look at the segment.
            |(segment, last)| match segment.split(';').next().unwrap_or_default() {
                "." | ".." => false,
                "" => last && segment.is_empty(),
                _ => true,
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(hosts: &[&str], paths: &[&str]) -> HttpGrant {
        HttpGrant {
            scheme: Scheme::Https,
            hosts: hosts.iter().map(|host| host.to_string()).collect(),
            methods: ["GET".into(), "POST".into()].into(),
            paths: paths.iter().map(|path| path.to_string()).collect(),
            calls: 1,
            bytes: 1,
            network: None,
        }
    }

    fn covers(rule: &Rule, authority: &str, path: &str) -> bool {
        let Authority { host, port } = authority.parse().unwrap();
        rule.covers(Scheme::Https, &host, port.unwrap_or(443), &Method::GET, path)
    }

    #[test]
    fn hosts_and_ports() {
        let rule =
            Rule::of(&grant(&["api.sports.example", "*.feeds.example", "b.example:8443", "10.1.2.3"], &["/"])).unwrap();
        for (authority, expected) in [
            ("api.sports.example", true),
            ("API.SPORTS.EXAMPLE", true),
            ("api.sports.example:443", true),
            ("api.sports.example:80", false),
            ("api.sports.example:8443", false),
            ("x.api.sports.example", false),
            ("sports.example", false),
            ("api.sports.example.evil.example", false),
            ("xapi.sports.example", false),
            ("a.feeds.example", true),
            ("a.b.feeds.example", true),
            ("feeds.example", false),
            ("evilfeeds.example", false),
            ("b.example:8443", true),
            ("b.example", false),
            ("10.1.2.3", true),
            ("10.1.2.4", false),
            ("[::1]", false),
        ] {
            assert_eq!(covers(&rule, authority, "/"), expected, "{authority}");
        }
    }

    #[test]
    fn schemes_and_methods() {
        let rule = Rule::of(&grant(&["a.example"], &["/"])).unwrap();
        let host = "a.example".parse().unwrap();
        assert!(rule.covers(Scheme::Https, &host, 443, &Method::POST, "/"));
        assert!(!rule.covers(Scheme::Http, &host, 443, &Method::POST, "/"));
        assert!(!rule.covers(Scheme::Http, &host, 80, &Method::POST, "/"));
        assert!(!rule.covers(Scheme::Https, &host, 443, &Method::PUT, "/"));
    }

    #[test]
    fn paths_by_whole_segments() {
        let rule = Rule::of(&grant(&["a.example"], &["/v1/odds/", "/v2"])).unwrap();
        for (path, expected) in [
            ("/v1/odds", true),
            ("/v1/odds/", true),
            ("/v1/odds/7", true),
            ("/v1/odds/7/", true),
            ("/v1/odds/a.b", true),
            ("/v1/odds/...", true),
            ("/v1/odds/%41", true),
            ("/v1/odds/a;b=c", true),
            ("/v2", true),
            ("/v1", false),
            ("/v1/oddsx", false),
            ("/v1/Odds", false),
            ("/v1/odds%2f7", false),
            ("/v1/odds/../users", false),
            ("/v1/odds/..", false),
            ("/v1/odds/./7", false),
            ("/v1/odds/%2e%2e/users", false),
            ("/v1/odds/%2E%2E/users", false),
            ("/v1/odds/.%2e/users", false),
            ("/v1/odds/%252e%252e/users", false),
            ("/v1/odds/..%2fusers", false),
            ("/v1/odds/..\\users", false),
            ("/v1/odds/..%5cusers", false),
            ("/v1/odds/..;/users", false),
            ("/v1/odds/..;x=y/users", false),
            ("/v1/odds/;/users", false),
            ("/v1/odds//users", false),
            ("//v1/odds", false),
            ("/v1//odds", false),
            ("/v1/odds/%00", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(covers(&rule, "a.example", path), expected, "{path}");
        }
        let all = Rule::of(&grant(&["a.example"], &["/"])).unwrap();
        assert!(covers(&all, "a.example", "/groups%2fproject/../x"), "a grant of all paths has them all");
    }

    #[test]
    fn a_grant_that_cannot_be_read_is_refused_with_what_is_wrong() {
        let refused = |change: fn(&mut HttpGrant)| {
            let mut grant = grant(&["a.example"], &["/"]);
            change(&mut grant);
            Rule::of(&grant).unwrap_err()
        };
        assert!(refused(|grant| grant.hosts = ["*".into()].into()).contains('*'));
        assert!(refused(|grant| grant.hosts = ["*.127.0.0.1".into()].into()).contains("below an address"));
        assert!(refused(|grant| grant.hosts = ["a.*.example".into()].into()).contains("a.*.example"));
        assert!(refused(|grant| grant.hosts = ["https://a.example".into()].into()).contains("a.example"));
        assert!(refused(|grant| grant.hosts = [].into()).contains("hosts"));
        assert!(refused(|grant| grant.methods = ["TRACE".into()].into()).contains("TRACE"));
        assert!(refused(|grant| grant.methods = ["get".into()].into()).contains("get"));
        assert!(refused(|grant| grant.paths = ["v1".into()].into()).contains("v1"));
        assert!(refused(|grant| grant.paths = ["/v1/../x".into()].into()).contains(".."));
        assert!(refused(|grant| grant.calls = 0).contains("calls"));
        assert!(refused(|grant| grant.network = Some("10.1.2.3/16".into())).contains("10.1.0.0/16"));
        assert!(refused(|grant| grant.network = Some("10.1".into())).contains("10.1"));
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for text in ["10.1.0.0/16", "10.1.2.3/32", "fd00:1::/32", "::1/128"] {
            assert_eq!(network(text).map(|network| network.to_string()), Ok(text.to_owned()));
        }
        for (text, why) in [
            ("fd00::1/32", "is an address within fd00::/32"),
            ("::ffff:10.0.0.0/104", "an IPv4 network written as IPv6"),
            ("10.1.0.0/33", "is no network"),
            ("10.1.0.0", "is no network"),
        ] {
            assert!(network(text).unwrap_err().contains(why), "{text}");
        }
    }
}
