//! Host header → partner and endpoint. `ROOT` is the host of `root_url`.
//!
//! | host | endpoint |
//! |---|---|
//! | `NAME.FUNCTIONS` | the function that has this domain (`FUNCTIONS` is `server.functions_domain`) |
//! | `P-api.ROOT` | the API of partner P |
//! | `P.ROOT` | the web endpoint of partner P |
//! | `ROOT`, an IP address, `localhost` | bare: the API below `/v1`, else the web endpoint; the partner comes from a header |
//!
//! Any other host is refused. On a bare address without a header, the web endpoint is that of `server.bare_partner`, if set.

use http::uri::Authority;
use http::{HeaderMap, Uri, header};
use larder_model::ids::PartnerId;
use larder_model::rules::label_below;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Web(Option<PartnerId>),
    Api(Option<PartnerId>),
    /// The domain of functions, or something below it.
    Function(String),
}

/// Headers that name the partner on a bare address.
pub const PARTNER_HEADERS: [&str; 2] = ["x-appwrite-project", "x-larder-partner"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The request does not have exactly one valid host (RFC 9112, section 3.2).
    NotOneHost,
    /// The host is not served here.
    NotOurs,
}

pub fn endpoint(root: &str, functions: &str, uri: &Uri, headers: &HeaderMap) -> Result<Endpoint, NoEndpoint> {
    let host = host(uri, headers).ok_or(NoEndpoint::NotOneHost)?;
    if !functions.is_empty() && (host == functions || label_below(&host, functions).is_some()) {
        return Ok(Endpoint::Function(host));
    }
    if let Some(label) = host.strip_suffix(root).and_then(|rest| rest.strip_suffix('.')) {
        let (label, api) = label.strip_suffix("-api").map_or((label, false), |label| (label, true));
        let partner = Some(label.parse().ok().filter(PartnerId::is_label).ok_or(NoEndpoint::NotOurs)?);
        return Ok(if api { Endpoint::Api(partner) } else { Endpoint::Web(partner) });
    }
    let bare =
        host == root || host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[');
    if !bare {
        return Err(NoEndpoint::NotOurs);
    }
    let partner = PARTNER_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.parse().ok());
    let api = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    Ok(if api { Endpoint::Api(partner) } else { Endpoint::Web(partner) })
}

/// The host without port, in lower case. There must be exactly one Host header, and an authority in the request line must
/// equal it: a proxy in front may have routed by the other one.
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

    fn at(host: &str, path: &str, partner: Option<&str>) -> Result<Endpoint, NoEndpoint> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(partner) = partner {
            headers.insert("x-appwrite-project", partner.parse().unwrap());
        }
        endpoint("larder.test", "f.larder.test", &path.parse().unwrap(), &headers)
    }

    fn id(text: &str) -> Option<PartnerId> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn host_selects_endpoint_and_partner() {
        assert_eq!(at("acme.larder.test", "/v1/x", None), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(at("ACME-api.larder.test:8080", "/v1", None), Ok(Endpoint::Api(id("acme"))));
        assert_eq!(
            at("acme.larder.test", "/", Some("other")),
            Ok(Endpoint::Web(id("acme"))),
            "a header never beats the host"
        );
        assert_eq!(at("larder.test", "/v1/functions", Some("acme")), Ok(Endpoint::Api(id("acme"))));
        assert_eq!(at("127.0.0.1:8080", "/hello", Some("acme")), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(at("[::1]:8080", "/v1", None), Ok(Endpoint::Api(None)));
        assert_eq!(at("evil.test", "/v1", Some("acme")), Err(NoEndpoint::NotOurs));
        assert_eq!(at("evillarder.test", "/v1", Some("acme")), Err(NoEndpoint::NotOurs));
        let function = |host: &str| Ok(Endpoint::Function(host.into()));
        assert_eq!(at("Shop.F.larder.test:8080", "/v1", Some("acme")), function("shop.f.larder.test"));
        assert_eq!(at("a.b.f.larder.test", "/", None), function("a.b.f.larder.test"));
        assert_eq!(at("f.larder.test", "/v1", Some("acme")), function("f.larder.test"));
        assert_eq!(at("shop.f.larder.test.", "/", None), Err(NoEndpoint::NotOurs));
        assert_eq!(at("xf.larder.test", "/", None), Ok(Endpoint::Web(id("xf"))));
        for nobodys in ["larder.test.", "acme.larder.test.", "a.acme.larder.test", "-api.larder.test"] {
            assert_eq!(at(nobodys, "/", Some("acme")), Err(NoEndpoint::NotOurs), "{nobodys}");
        }
        for none in ["acme.larder.test@evil.test", "", "a b", "acme.larder.test/", "acme.larder.test,other.larder.test"]
        {
            assert_eq!(at(none, "/", Some("acme")), Err(NoEndpoint::NotOneHost), "{none}");
        }
    }

    #[test]
    fn requests_without_exactly_one_host_are_refused() {
        let endpoint = |uri: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (header::HOST, host.parse().unwrap()));
            super::endpoint("larder.test", "", &uri.parse().unwrap(), &hosts.collect())
        };
        assert_eq!(endpoint("http://Acme.larder.test/", &["acme.larder.test"]), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(endpoint("/", &[]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("/", &["acme.larder.test", "acme.larder.test"]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("http://acme.larder.test/", &["other.larder.test"]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("http://acme.larder.test/", &[]), Err(NoEndpoint::NotOneHost));
    }
}
