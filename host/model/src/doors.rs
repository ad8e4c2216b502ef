//! The doors: who reaches what of an installation, by host, path and network. [`TABLE`] is the whole rule; its first row that
//! fits decides, and no other place lets a request in.
//!
//! * [`Names::host`]: the name in a request → what it stands for. [`find`]: host, path and client → a [`Row`], open or not.
//! * [`first_segment`]: the reading of a path by which rows are found.
//!
//! The rule for paths: **a path is reserved if any reader could take it for a reserved one**. So it is decoded once,
//! backslashes, parameters, dots and empty segments are resolved, and case does not count. What a row leads to still looks at
//! the path as it was sent, so a strange spelling of `/v1` finds neither the API nor a function.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::ids::PartnerId;
use crate::rules::label_below;
use crate::settings::Settings;

/// What the host of a request stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `P-api.ROOT`, or a domain of a partner's own for its API.
    Api(PartnerId),
    /// `P.ROOT`
    Partner(PartnerId),
    /// A domain of a partner's own, for its functions.
    Domain(PartnerId),
    /// `ROOT`
    Root,
    /// An IP address, or `localhost`.
    Address,
    /// The domain of functions, something below it, or a domain of a partner's own for one of its functions.
    Function(String),
    /// No name of this installation.
    Unknown,
}

/// Hosts that a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    Any,
    Api,
    Partner,
    /// `P.ROOT`, or a domain of the partner's own.
    Web,
    Root,
    /// `ROOT`, an IP address, or `localhost`: they name no partner.
    Bare,
    Function,
}

/// Networks that a row lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Nobody,
    Everybody,
    /// Those of this setting.
    In(Setting),
}

/// A list of networks in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Api,
    Admin,
    Operator,
    Bare,
}

/// What a row leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Nothing,
    Api,
    /// Where the administrators of a partner work.
    Console,
    /// Where the operator works.
    MetaConsole,
    /// The functions of a partner, by their routes.
    Web,
    /// The function that has the domain.
    Function,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number of the door. A door has several rows where it has several kinds of hosts.
    pub door: u8,
    pub hosts: Hosts,
    /// First segments of the paths that it is for; none: every path.
    pub paths: &'static [&'static str],
    pub who: Who,
    pub to: To,
}

/// The doors, in the order in which they are tried. The last row fits every request.
pub const TABLE: [Row; 10] = [
    row(1, Hosts::Any, &["field_test", "flipper", "internal"], Who::Nobody, To::Nothing),
    row(2, Hosts::Api, &["v1"], Who::In(Setting::Api), To::Api),
    row(2, Hosts::Bare, &["v1"], Who::In(Setting::Api), To::Api),
    row(3, Hosts::Partner, &["depo"], Who::In(Setting::Admin), To::Console),
    row(4, Hosts::Root, &["meta_depo"], Who::In(Setting::Operator), To::MetaConsole),
    row(5, Hosts::Function, &[], Who::Everybody, To::Function),
    row(6, Hosts::Any, &["v1", "depo", "meta_depo"], Who::Nobody, To::Nothing),
    row(5, Hosts::Web, &[], Who::Everybody, To::Web),
    row(5, Hosts::Bare, &[], Who::In(Setting::Bare), To::Web),
    row(6, Hosts::Any, &[], Who::Nobody, To::Nothing),
];

const fn row(door: u8, hosts: Hosts, paths: &'static [&'static str], who: Who, to: To) -> Row {
    Row { door, hosts, paths, who, to }
}

/// The row that decides about a request, and whether it lets the client in. Through a front there is no client (`None`): it is
/// in no network, whatever the front says of it, so only what is for everybody is open.
pub fn find(host: &Host, path: &str, client: Option<IpAddr>, settings: &Settings) -> (&'static Row, bool) {
    let first = first_segment(path);
    let fits = |row: &&Row| {
        let here = match row.hosts {
            Hosts::Any => true,
            Hosts::Api => matches!(host, Host::Api(_)),
            Hosts::Partner => matches!(host, Host::Partner(_)),
            Hosts::Web => matches!(host, Host::Partner(_) | Host::Domain(_)),
            Hosts::Root => matches!(host, Host::Root),
            Hosts::Bare => matches!(host, Host::Root | Host::Address),
            Hosts::Function => matches!(host, Host::Function(_)),
        };
        here && (row.paths.is_empty() || row.paths.contains(&&*first))
    };
    let row = TABLE.iter().find(fits).expect("the last row fits every request");
    let client = client.map(|client| client.to_canonical());
    let open = match row.who {
        Who::Nobody => false,
        Who::Everybody => true,
        Who::In(setting) => {
            client.is_some_and(|client| setting.networks(settings).iter().any(|network| network.contains(&client)))
        }
    };
    (row, open)
}

/// May no function have a route there? Such a path leads elsewhere, or nowhere, at the host of a partner.
pub fn is_reserved(path: &str) -> bool {
    let first = first_segment(path);
    TABLE.iter().any(|row| row.to != To::Web && row.to != To::Function && row.paths.contains(&&*first))
}

/// The first segment of a path as the most lenient reader sees it: decoded once, `\` as `/`, without parameters (`;x`), without
/// empty segments, `.` and `..` resolved, without control characters, blanks and dots at its end, in lower case.
pub fn first_segment(path: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'/');
    if let Some(rest) = path.strip_prefix('/')
        && !rest.starts_with('/')
        && rest.bytes().all(is_plain)
    {
        return rest.split('/').next().unwrap_or_default().into();
    }
    let decoded = decode_once(path.as_bytes());
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        let visible: String = segment.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
        match visible.as_str() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name.trim_end_matches('.').to_lowercase()),
        }
    }
    segments.into_iter().next().unwrap_or_default().into()
}

/// `%41` → `A`. What is no UTF-8 then becomes U+FFFD, which no door is named by.
fn decode_once(path: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let coded = after.get(..2).filter(|_| *first == b'%').and_then(|two| {
            let digit = |byte: u8| (byte as char).to_digit(16);
            Some((digit(two[0])? * 16 + digit(two[1])?) as u8)
        });
        match coded {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The names of an installation.
pub struct Names<'s> {
    /// The host of `server.root_url`.
    pub root: &'s str,
    /// `server.functions_domain`; may be empty.
    pub functions: &'s str,
}

impl Names<'_> {
    /// What a host stands for, given in lower case and without a port.
    pub fn host(&self, host: &str) -> Host {
        if !self.functions.is_empty() && (host == self.functions || label_below(host, self.functions).is_some()) {
            return Host::Function(host.to_owned());
        }
        if let Some(label) = host.strip_suffix(self.root).and_then(|rest| rest.strip_suffix('.')) {
            let (label, api) = label.strip_suffix("-api").map_or((label, false), |label| (label, true));
            return match label.parse::<PartnerId>() {
                Ok(partner) if partner.is_label() && api => Host::Api(partner),
                Ok(partner) if partner.is_label() => Host::Partner(partner),
                _ => Host::Unknown,
            };
        }
        if host == self.root {
            return Host::Root;
        }
        let is_address = host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
        if is_address { Host::Address } else { Host::Unknown }
    }
}

impl Setting {
    pub const ALL: [Setting; 4] = [Setting::Api, Setting::Admin, Setting::Operator, Setting::Bare];

    pub fn name(self) -> &'static str {
        match self {
            Setting::Api => "doors.api",
            Setting::Admin => "doors.admin",
            Setting::Operator => "doors.operator",
            Setting::Bare => "doors.bare",
        }
    }

    pub fn networks(self, settings: &Settings) -> &[IpNet] {
        match self {
            Setting::Api => &settings.doors.api,
            Setting::Admin => &settings.doors.admin,
            Setting::Operator => &settings.doors.operator,
            Setting::Bare => &settings.doors.bare,
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Hosts::Any => "any",
            Hosts::Api => "P-api.ROOT, API domains of P",
            Hosts::Partner => "P.ROOT",
            Hosts::Web => "P.ROOT, domains of P",
            Hosts::Root => "ROOT",
            Hosts::Bare => "ROOT, an IP address, localhost",
            Hosts::Function => "*.FUNCTIONS, functions' domains",
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Who::Nobody => "nobody",
            Who::Everybody => "everybody",
            Who::In(setting) => setting.name(),
        })
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            To::Nothing => "404",
            To::Api => "the API",
            To::Console => "the partner's console",
            To::MetaConsole => "the operator's console",
            To::Web => "the partner's functions, by route",
            To::Function => "the function of the domain",
        })
    }
}

impl Row {
    /// Its paths as the table has them: `/v1*`.
    pub fn paths_text(&self) -> String {
        if self.paths.is_empty() {
            return "/*".into();
        }
        self.paths.iter().map(|path| format!("/{path}*")).collect::<Vec<_>>().join(" ")
    }
}

/// The table as text, with a line for each row.
pub fn table_text() -> String {
    let mut text = format!("{:<5} {:<31} {:<33} {:<15} leads to\n", "door", "host", "path", "who");
    for row in &TABLE {
        let (hosts, paths, who, to) = (row.hosts, row.paths_text(), row.who, row.to);
        let _ = writeln!(text, "{:<5} {hosts:<31} {paths:<33} {who:<15} {to}", row.door);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { root: "larder.test", functions: "f.larder.test" };

    fn id(text: &str) -> PartnerId {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_stands_for_one_thing() {
        for (host, expected) in [
            ("acme.larder.test", Host::Partner(id("acme"))),
            ("acme-api.larder.test", Host::Api(id("acme"))),
            ("larder.test", Host::Root),
            ("127.0.0.1", Host::Address),
            ("[::1]", Host::Address),
            ("localhost", Host::Address),
            ("shop.f.larder.test", Host::Function("shop.f.larder.test".into())),
            ("a.b.f.larder.test", Host::Function("a.b.f.larder.test".into())),
            ("f.larder.test", Host::Function("f.larder.test".into())),
            ("xf.larder.test", Host::Partner(id("xf"))),
            ("shop.f.larder.test.", Host::Unknown),
            ("larder.test.", Host::Unknown),
            ("acme.larder.test.", Host::Unknown),
            ("a.acme.larder.test", Host::Unknown),
            ("-api.larder.test", Host::Unknown),
            ("evil.test", Host::Unknown),
            ("evillarder.test", Host::Unknown),
            ("xn--acme-epa.larder.test", Host::Partner(id("xn--acme-epa"))),
        ] {
            assert_eq!(NAMES.host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_path_is_read_as_the_most_lenient_reader_does() {
        for (path, first) in [
            ("/depo", "depo"),
            ("/depo/x", "depo"),
            ("//depo", "depo"),
            ("/./depo", "depo"),
            ("/%2e/depo", "depo"),
            ("/x/../depo", "depo"),
            ("/x/%2e%2E/depo", "depo"),
            ("/%2e%2e/depo", "depo"),
            ("/x%2f..%2fdepo", "depo"),
            ("/%64epo", "depo"),
            ("/DEPO", "depo"),
            ("/depo;x", "depo"),
            ("/;a/depo", "depo"),
            ("/depo%3bx", "depo"),
            ("/depo%00", "depo"),
            ("/depo%20", "depo"),
            ("/depo.", "depo"),
            ("/depo%09/", "depo"),
            ("\\depo", "depo"),
            ("/%5cdepo", "depo"),
            ("/depo%2fx", "depo"),
            ("/depo/../x", "x"),
            ("/deposit", "deposit"),
            // Decoded once, as every reader does.
            ("/%2564epo", "%64epo"),
            ("/%252e%252e/depo", "%2e%2e"),
            ("/depo%zz", "depo%zz"),
            ("/depo%f", "depo%f"),
            ("/", ""),
            ("", ""),
            ("/..", ""),
            ("/%ff", "\u{fffd}"),
        ] {
            assert_eq!(first_segment(path), first, "{path}");
        }
    }

    #[test]
    fn routes_may_not_begin_where_a_door_leads_elsewhere() {
        for path in ["/v1", "/v1/x", "/V1/", "/depo", "/meta_depo/x", "/internal", "/flipper/a", "/field_test"] {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/v2", "/deposit", "/internals", "/a/v1", "/v10"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
