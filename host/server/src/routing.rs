//! Host header → partner and door. `ROOT` is the host of `root_url`.
//!
//! | host | door |
//! |---|---|
//! | `P-api.ROOT` | the API of partner P |
//! | `P.ROOT` | the web door of partner P |
//! | `ROOT`, an IP address, `localhost` | bare: the API below `/v1`, else the web door; the partner comes from a header |
//!
//! Any other host is nobody's. Of a bare address without a header, the web door is that of `server.bare_partner`, if there is one.

use http::uri::Authority;
use http::{HeaderMap, Uri, header};
use larder_model::ids::PartnerId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    Web(Option<PartnerId>),
    Api(Option<PartnerId>),
}

/// Headers that name the partner on a bare address.
pub const PARTNER_HEADERS: [&str; 2] = ["x-appwrite-project", "x-larder-partner"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDoor {
    /// There is not exactly one host, or it is none (RFC 9112, section 3.2).
    NotOneHost,
    /// It is not one of Larder's.
    NotOurs,
}

pub fn door(root: &str, uri: &Uri, headers: &HeaderMap) -> Result<Door, NoDoor> {
    let host = host(uri, headers).ok_or(NoDoor::NotOneHost)?;
    if let Some(label) = host.strip_suffix(root).and_then(|rest| rest.strip_suffix('.')) {
        let (label, api) = label.strip_suffix("-api").map_or((label, false), |label| (label, true));
        let partner = Some(label.parse().ok().filter(PartnerId::is_label).ok_or(NoDoor::NotOurs)?);
        return Ok(if api { Door::Api(partner) } else { Door::Web(partner) });
    }
    let bare =
        host == root || host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    if !bare {
        return Err(NoDoor::NotOurs);
    }
    let partner = PARTNER_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.parse().ok());
    let api = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    Ok(if api { Door::Api(partner) } else { Door::Web(partner) })
}

/// The host without port, in lower case. It stands in exactly one Host header, and what a request line names beside it
/// must be the same: whoever is in front of us may have looked at the other one.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::HOST).iter();
    let only = all.next()?.to_str().ok()?;
    let is_one = only.parse::<Authority>().is_ok_and(|only| !only.as_str().contains(['@', ',']));
    if !is_one
        || all.next().is_some()
        || uri.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(only))
    {
        return None;
    }
    let host = match only.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => only,
    };
    Some(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, path: &str, partner: Option<&str>) -> Result<Door, NoDoor> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(partner) = partner {
            headers.insert("x-appwrite-project", partner.parse().unwrap());
        }
        door("larder.test", &path.parse().unwrap(), &headers)
    }

    fn id(text: &str) -> Option<PartnerId> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn the_host_decides() {
        assert_eq!(at("acme.larder.test", "/v1/x", None), Ok(Door::Web(id("acme"))));
        assert_eq!(at("ACME-api.larder.test:8080", "/v1", None), Ok(Door::Api(id("acme"))));
        assert_eq!(
            at("acme.larder.test", "/", Some("other")),
            Ok(Door::Web(id("acme"))),
            "a header never beats the host"
        );
        assert_eq!(at("larder.test", "/v1/functions", Some("acme")), Ok(Door::Api(id("acme"))));
        assert_eq!(at("127.0.0.1:8080", "/hello", Some("acme")), Ok(Door::Web(id("acme"))));
        assert_eq!(at("[::1]:8080", "/v1", None), Ok(Door::Api(None)));
        assert_eq!(at("evil.test", "/v1", Some("acme")), Err(NoDoor::NotOurs));
        assert_eq!(at("evillarder.test", "/v1", Some("acme")), Err(NoDoor::NotOurs));
        for nobodys in ["larder.test.", "acme.larder.test.", "a.acme.larder.test", "-api.larder.test"] {
            assert_eq!(at(nobodys, "/", Some("acme")), Err(NoDoor::NotOurs), "{nobodys}");
        }
        for none in ["acme.larder.test@evil.test", "", "a b", "acme.larder.test/", "acme.larder.test,other.larder.test"]
        {
            assert_eq!(at(none, "/", Some("acme")), Err(NoDoor::NotOneHost), "{none}");
        }
    }

    #[test]
    fn there_is_exactly_one_host() {
        let door = |uri: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (header::HOST, host.parse().unwrap()));
            super::door("larder.test", &uri.parse().unwrap(), &hosts.collect())
        };
        assert_eq!(door("http://Acme.larder.test/", &["acme.larder.test"]), Ok(Door::Web(id("acme"))));
        assert_eq!(door("/", &[]), Err(NoDoor::NotOneHost));
        assert_eq!(door("/", &["acme.larder.test", "acme.larder.test"]), Err(NoDoor::NotOneHost));
        assert_eq!(door("http://acme.larder.test/", &["other.larder.test"]), Err(NoDoor::NotOneHost));
        assert_eq!(door("http://acme.larder.test/", &[]), Err(NoDoor::NotOneHost));
    }
}
