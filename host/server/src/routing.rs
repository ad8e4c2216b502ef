//! A request → the endpoint that answers it: its Host header, its path and its client against the table of doors
//! ([`larder_model::doors`]). On a bare address the partner comes from a header.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, Uri, header};
use larder_model::doors::{self, Host, Names, To};
use larder_model::fronts::Front;
use larder_model::ids::PartnerId;
use larder_model::settings::Settings;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Web(Option<PartnerId>),
    Api(Option<PartnerId>),
    /// The domain of functions, or something below it.
    Function(String),
    /// The console of a partner's administrators.
    Console(PartnerId),
    /// The console of the operator.
    MetaConsole,
}

/// Headers that name the partner on a bare address.
pub const PARTNER_HEADERS: [&str; 2] = ["x-appwrite-project", "x-larder-partner"];

/// How a request has come in.
#[derive(Clone, Copy, Debug)]
pub enum Entrance<'a> {
    /// By a client, or by the operator's own proxies for it.
    Client(IpAddr),
    /// By a front, to a core: it reaches what the front serves.
    Front(&'a Front),
    /// At a front.
    AtFront,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The request does not have exactly one valid host (RFC 9112, section 3.2).
    NotOneHost,
    /// The host is not served here.
    NotOurs,
    /// Nothing is served there, or not to this client. The door that decided.
    Closed(u8),
}

/// `domains` says what a name stands for that is not the installation's.
pub fn endpoint(
    settings: &Settings,
    root: &str,
    domains: impl FnOnce(&str) -> Host,
    entrance: Entrance<'_>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Endpoint, NoEndpoint> {
    let name = host(uri, headers).ok_or(NoEndpoint::NotOneHost)?;
    let host = match (Names { root, functions: &settings.server.functions_domain }).host(&name) {
        Host::Unknown => domains(&name),
        known => known,
    };
    let client = match entrance {
        Entrance::Client(client) => Some(client),
        Entrance::Front(_) | Entrance::AtFront => None,
    };
    let (row, is_open) = doors::find(&host, uri.path(), client, settings);
    if !is_open {
        return Err(if host == Host::Unknown { NoEndpoint::NotOurs } else { NoEndpoint::Closed(row.door) });
    }
    if let Entrance::Front(front) = entrance
        && !front.serves(&host, &name)
    {
        return Err(NoEndpoint::NotOurs);
    }
    let partner = match host {
        Host::Function(domain) => return Ok(Endpoint::Function(domain)),
        Host::Api(partner) | Host::Partner(partner) | Host::Domain(partner) => Some(partner),
        Host::Root | Host::Address | Host::Unknown => {
            PARTNER_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok()?.parse().ok())
        }
    };
    match (row.to, partner) {
        (To::Api, partner) => Ok(Endpoint::Api(partner)),
        (To::Web, partner) => Ok(Endpoint::Web(partner)),
        (To::Console, Some(partner)) => Ok(Endpoint::Console(partner)),
        (To::MetaConsole, _) => Ok(Endpoint::MetaConsole),
        (To::Console | To::Function | To::Nothing, _) => Err(NoEndpoint::Closed(row.door)),
    }
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

    fn endpoint(uri: &str, hosts: &[&str]) -> Result<Endpoint, NoEndpoint> {
        let settings = Settings::load(None, &[]).unwrap();
        let hosts = hosts.iter().map(|host| (header::HOST, host.parse().unwrap()));
        let (client, hosts) = (Entrance::Client([10, 0, 0, 1].into()), hosts.collect());
        super::endpoint(&settings, "larder.test", domains, client, &uri.parse().unwrap(), &hosts)
    }

    /// Of acme.
    fn domains(name: &str) -> Host {
        match name {
            "acme.example" => Host::Domain(id("acme").unwrap()),
            "api.acme.example" => Host::Api(id("acme").unwrap()),
            _ => Host::Unknown,
        }
    }

    fn id(text: &str) -> Option<PartnerId> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_header_names_the_partner_of_a_bare_address_only() {
        let settings = Settings::load(None, &[]).unwrap();
        let at = |host: &str, path: &str| {
            let headers = [(header::HOST, host), (http::HeaderName::from_static("x-appwrite-project"), "other")];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect();
            let client = Entrance::Client([10, 0, 0, 1].into());
            super::endpoint(&settings, "larder.test", domains, client, &path.parse().unwrap(), &headers)
        };
        assert_eq!(at("acme.larder.test", "/"), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(at("ACME-api.larder.test:8080", "/v1"), Ok(Endpoint::Api(id("acme"))));
        assert_eq!(at("larder.test", "/v1/functions"), Ok(Endpoint::Api(id("other"))));
        assert_eq!(at("127.0.0.1:8080", "/hello"), Ok(Endpoint::Web(id("other"))));
        assert_eq!(endpoint("/v1", &["[::1]:8080"]), Ok(Endpoint::Api(None)));
        assert_eq!(at("ACME.example:443", "/"), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(at("acme.example", "/v1"), Err(NoEndpoint::Closed(6)));
        assert_eq!(at("acme.example", "/depo"), Err(NoEndpoint::Closed(6)));
        assert_eq!(at("api.acme.example", "/v1"), Ok(Endpoint::Api(id("acme"))));
        assert_eq!(at("api.acme.example", "/"), Err(NoEndpoint::Closed(6)));
        assert_eq!(at("other.example", "/"), Err(NoEndpoint::NotOurs));
        assert_eq!(at("acme.larder.test", "/depo/x"), Ok(Endpoint::Console("acme".parse().unwrap())));
        assert_eq!(at("larder.test", "/meta_depo"), Ok(Endpoint::MetaConsole));
        assert_eq!(at("127.0.0.1:8080", "/depo"), Err(NoEndpoint::Closed(6)));
    }

    #[test]
    fn requests_without_exactly_one_host_are_refused() {
        assert_eq!(endpoint("http://Acme.larder.test/", &["acme.larder.test"]), Ok(Endpoint::Web(id("acme"))));
        assert_eq!(endpoint("/", &[]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("/", &["acme.larder.test", "acme.larder.test"]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("http://acme.larder.test/", &["other.larder.test"]), Err(NoEndpoint::NotOneHost));
        assert_eq!(endpoint("http://acme.larder.test/", &[]), Err(NoEndpoint::NotOneHost));
        for none in ["acme.larder.test@evil.test", "", "a b", "acme.larder.test/", "acme.larder.test,other.larder.test"]
        {
            assert_eq!(endpoint("/", &[none]), Err(NoEndpoint::NotOneHost), "{none}");
        }
    }
}
