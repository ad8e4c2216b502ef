//! `host:port` as it stands in requests and grants, read strictly: what can mean two things is refused.
//!
//! The rule: **two programs that read a text which passes here read the same host**. So no userinfo, no escapes, no zone
//! ids, no final dot, and an address only in its one canonical form: `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1` are
//! addresses to some and names to others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Whom to speak to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// In ASCII and lower case.
    Name(String),
    Address(IpAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub host: Host,
    pub port: Option<u16>,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host that has one meaning: {why}")]
pub struct BadAuthority {
    text: String,
    why: &'static str,
}

impl FromStr for Authority {
    type Err = BadAuthority;

    fn from_str(text: &str) -> Result<Authority, BadAuthority> {
        let bad = |why| BadAuthority { text: text.chars().take(100).collect(), why };
        if text.contains('@') {
            return Err(bad("user information"));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or(bad("an open bracket"))?;
            let port = match rest {
                "" => None,
                rest => Some(port(rest.strip_prefix(':').ok_or(bad("text behind the bracket"))?).map_err(bad)?),
            };
            return Ok(Authority { host: v6(address).map_err(bad)?, port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, digits)) => (host, Some(port(digits).map_err(bad)?)),
            None => (text, None),
        };
        Ok(Authority { host: name_or_v4(host).map_err(bad)?, port })
    }
}

impl FromStr for Host {
    type Err = BadAuthority;

    fn from_str(text: &str) -> Result<Host, BadAuthority> {
        match text.parse()? {
            Authority { host, port: None } => Ok(host),
            _ => Err(BadAuthority { text: text.chars().take(100).collect(), why: "a port" }),
        }
    }
}

fn port(digits: &str) -> Result<u16, &'static str> {
    let canonical =
        (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| canonical).ok_or("a port that is not 1 to 65535")
}

fn v6(text: &str) -> Result<Host, &'static str> {
    let address: Ipv6Addr = text.parse().map_err(|_| "no IPv6 address")?;
    if IpAddr::V6(address).to_canonical().is_ipv4() {
        return Err("an IPv4 address written as IPv6");
    }
    if address.to_string() != text {
        return Err("an IPv6 address that is not in its canonical form (RFC 5952)");
    }
    Ok(Host::Address(address.into()))
}

fn name_or_v4(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err("nothing");
    }
    if text.ends_with('.') {
        return Err("a final dot");
    }
    // Some characters become dots, digits and slashes on the way to ASCII, so what came out is looked at.
    let name = Uts46::new()
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| "no internet name")?
        .into_owned();
    let last = name.rsplit('.').next().unwrap_or_default();
    // Whatever ends like this is read as an address by somebody.
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        let address: Ipv4Addr = text.parse().map_err(|_| "an address that is not in its canonical form")?;
        if address.to_string() != text {
            return Err("an address that is not in its canonical form");
        }
        return Ok(Host::Address(address.into()));
    }
    Ok(Host::Name(name))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_meaning_is_read() {
        for (text, host, port) in [
            ("api.sports.example", "api.sports.example", None),
            ("API.Sports.Example:8443", "api.sports.example", Some(8443)),
            ("localhost:1", "localhost", Some(1)),
            ("a", "a", None),
            ("r3---sn-x.example", "r3---sn-x.example", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("bücher.example", "xn--bcher-kva.example", None),
            ("BÜCHER.example", "xn--bcher-kva.example", None),
            ("10.1.2.3", "10.1.2.3", None),
            ("8.8.8.8:53", "8.8.8.8", Some(53)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("[::1]:65535", "[::1]", Some(65535)),
            ("3com.example", "3com.example", None),
            ("127.0.0.1.example", "127.0.0.1.example", None),
        ] {
            let read: Authority = text.parse().unwrap_or_else(|err| panic!("{err}"));
            assert_eq!((read.host.to_string().as_str(), read.port), (host, port), "{text}");
            assert_eq!(read.to_string().parse::<Authority>().as_ref(), Ok(&read), "{text} reads differently again");
        }
    }

    #[test]
    fn what_has_two_meanings_is_refused() {
        for text in REFUSED {
            assert!(text.parse::<Authority>().is_err(), "{text:?} was read");
        }
        assert!("host:80".parse::<Host>().is_err());
        let long = [["a"; 60].concat(), ["b"; 60].concat(), ["c"; 60].concat(), ["d"; 60].concat(), ["e"; 60].concat()];
        assert!(long.join(".").parse::<Authority>().is_err());
        assert!(format!("{}.example", "a".repeat(64)).parse::<Authority>().is_err());
    }

    const REFUSED: &[&str] = &[
        "",
        ".",
        "..",
        ":",
        ":80",
        "a:",
        "a:0",
        "a:00080",
        "a:+80",
        "a:80 ",
        "a:65536",
        "a:8a",
        "a:80:80",
        "a..b",
        ".a",
        "a.",
        "a.example.",
        "user@a",
        "user:pass@a",
        "a@b@c",
        "@a",
        "a b",
        " a",
        "a ",
        "a\t",
        "a\nb",
        "a\0b",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "a%2eb",
        "%61",
        "a_b.example",
        "_a.example",
        "-a.example",
        "a-.example",
        "*.a.example",
        "a,b",
        "a;b",
        "a'b",
        "a\"b",
        "a<b",
        "a|b",
        "{a}",
        "a=b",
        "a&b",
        "a!b",
        "a$b",
        "(a)",
        "a~b",
        "a`b",
        "a^b",
        // Addresses that are not canonical.
        "127.1",
        "127.0.1",
        "1",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.01",
        "127.0.0.0x1",
        "127.0.0.256",
        "127.0.0.1.",
        "127.0.0.1.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "00.0.0.0",
        "a.1",
        "a.0x1",
        "example.0x",
        "127。0。0。1",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "127．0．0．1",
        "1２7.1",
        // IPv6.
        "::1",
        "2001:db8::1",
        "[",
        "[]",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]80",
        "[::1]:",
        "[::1]:0",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[2001:DB8::1]",
        "[2001:db8:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
        "[v1.x]",
        "[::1]]",
        "[[::1]]",
        "[::7f00:1",
        "[::1]@a",
        // Ways to ASCII that lead elsewhere.
        "a／b.example",
        "a＠b.example",
        "a．．b",
        "exa\u{ad}\u{200b}mple..x",
        "xn--.example",
        "xn--a\u{0}",
        "℀.example",
        "a\u{202e}b.example",
    ];
}
