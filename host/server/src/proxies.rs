//! The client of a request that came through a proxy.
//!
//! The rule: **forwarding headers are trusted only from our own proxies**. They are removed from the requests of anyone
//! else, so that a function cannot mistake them for genuine ones.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use larder_model::fields::{members, unquoted};
use larder_model::settings::{ProxyHeader, Server};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The peer, or if that is one of our proxies, the last address that the hops name and that is none of them. The hops stand
/// in the header that the proxies write; the other one may be the client's own and is removed.
pub fn client(settings: &Server, peer: SocketAddr, headers: &mut HeaderMap) -> SocketAddr {
    let ours = |address: IpAddr| settings.proxies.iter().any(|network| network.contains(&address));
    if !ours(peer.ip().to_canonical()) {
        let forged: Vec<HeaderName> = headers.keys().filter(|name| is_a_proxys(name.as_str())).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
        return peer;
    }
    let hops = match settings.proxy_header {
        ProxyHeader::XForwardedFor => {
            headers.remove(header::FORWARDED);
            members(headers, FORWARDED_FOR)
        }
        ProxyHeader::Forwarded => {
            headers.remove(FORWARDED_FOR);
            members(headers, header::FORWARDED).iter().map(|hop| forwarded_for(hop).unwrap_or_default()).collect()
        }
    };
    let mut nearest = peer;
    // From the nearest hop to the farthest. Nothing beyond an unreadable hop is trusted.
    for hop in hops.iter().rev() {
        let Some(address) = address(hop) else { break };
        nearest = SocketAddr::new(address, 0);
        if !ours(address) {
            break;
        }
    }
    nearest
}

/// The node of `for=` in a hop (RFC 7239, section 4), if there is exactly one.
fn forwarded_for(hop: &str) -> Option<String> {
    let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, node)| node.trim());
    let node = unquoted(nodes.next()?)?;
    nodes.next().is_none().then_some(node)
}

fn is_a_proxys(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn server(header: ProxyHeader) -> Server {
        let mut server = larder_model::settings::Settings::load(None, &[]).unwrap().server;
        server.proxies = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        server.proxy_header = header;
        server
    }

    fn of(header: ProxyHeader, peer: &str, headers: &mut HeaderMap) -> String {
        super::client(&server(header), peer.parse().unwrap(), headers).ip().to_canonical().to_string()
    }

    #[test]
    fn forwarded_for_is_trusted_only_from_our_proxies() {
        for (peer, forwarded, client) in [
            ("192.0.2.7:4000", &["198.51.100.1"][..], "192.0.2.7"),
            ("10.1.1.1:4000", &["198.51.100.1"], "198.51.100.1"),
            ("[::ffff:10.1.1.1]:4000", &["198.51.100.1"], "198.51.100.1"),
            // What the client itself sent stands on the left.
            ("10.1.1.1:4000", &["1.1.1.1, 198.51.100.1, 10.2.2.2"], "198.51.100.1"),
            ("10.1.1.1:4000", &["1.1.1.1", "198.51.100.1:77, [fd00::1]:80"], "198.51.100.1"),
            ("10.1.1.1:4000", &["1.1.1.1, nonsense, 10.2.2.2"], "10.2.2.2"),
            ("10.1.1.1:4000", &["10.3.3.3"], "10.3.3.3"),
            ("10.1.1.1:4000", &[], "10.1.1.1"),
        ] {
            let mut headers: HeaderMap = forwarded
                .iter()
                .map(|value| (HeaderName::from_static(FORWARDED_FOR), value.parse().unwrap()))
                .collect();
            headers.insert(header::FORWARDED, "for=1.1.1.1".parse().unwrap());
            let found = of(ProxyHeader::XForwardedFor, peer, &mut headers);
            assert_eq!(
                (found.as_str(), headers.contains_key(header::FORWARDED)),
                (client, false),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_where_the_proxies_write_it() {
        for (peer, forwarded, client) in [
            ("192.0.2.7:4000", "for=198.51.100.1", "192.0.2.7"),
            ("10.1.1.1:4000", "for=198.51.100.1;proto=https;by=10.1.1.1", "198.51.100.1"),
            ("10.1.1.1:4000", "For=1.1.1.1, proto=http; FOR=\"198.51.100.1:77\", for=\"[fd00::1]:80\"", "198.51.100.1"),
            ("10.1.1.1:4000", "for=\"[2001:db8::9]\"", "2001:db8::9"),
            // Whom the proxy hides or does not know, and what is no hop.
            ("10.1.1.1:4000", "for=1.1.1.1, for=_hidden", "10.1.1.1"),
            ("10.1.1.1:4000", "for=1.1.1.1, for=unknown, for=10.2.2.2", "10.2.2.2"),
            ("10.1.1.1:4000", "for=1.1.1.1;for=2.2.2.2", "10.1.1.1"),
            ("10.1.1.1:4000", "for=1.1.1.1, by=10.1.1.1", "10.1.1.1"),
            ("10.1.1.1:4000", "for=\"1.1.1.1, for=198.51.100.1", "10.1.1.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::FORWARDED, forwarded.parse().unwrap());
            headers.insert(FORWARDED_FOR, "1.1.1.1".parse().unwrap());
            let found = of(ProxyHeader::Forwarded, peer, &mut headers);
            assert_eq!((found.as_str(), headers.contains_key(FORWARDED_FOR)), (client, false), "{peer} {forwarded}");
        }
    }

    #[test]
    fn forwarding_headers_of_others_are_removed() {
        let names = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-other"];
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1.1.1.1"))).collect();
        of(ProxyHeader::XForwardedFor, "192.0.2.7:4000", &mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
    }
}
