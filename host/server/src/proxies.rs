//! The client of a request that came through a proxy.
//!
//! The rule: **forwarding headers are trusted only from our own proxies**. They are removed from the requests of anyone
//! else, so that a function cannot mistake them for genuine ones.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The peer, or if that is one of our proxies, the last address in `X-Forwarded-For` that is none of them.
pub fn client(proxies: &[IpNet], peer: SocketAddr, headers: &mut HeaderMap) -> SocketAddr {
    let ours = |address: IpAddr| proxies.iter().any(|network| network.contains(&address));
    if !ours(peer.ip().to_canonical()) {
        let forged: Vec<HeaderName> = headers.keys().filter(|name| is_a_proxys(name.as_str())).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
        return peer;
    }
    let hops: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .flat_map(|value: &HeaderValue| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    let mut nearest = peer;
    // From the nearest hop to the farthest. Nothing beyond an unreadable hop is trusted.
    for hop in hops.into_iter().rev() {
        let Some(address) = address(hop) else { break };
        nearest = SocketAddr::new(address, 0);
        if !ours(address) {
            break;
        }
    }
    nearest
}

fn is_a_proxys(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_for_is_trusted_only_from_our_proxies() {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
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
            let found = super::client(&proxies, peer.parse().unwrap(), &mut headers).ip().to_canonical();
            assert_eq!(found.to_string(), client, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn forwarding_headers_of_others_are_removed() {
        let names = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-other"];
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1.1.1.1"))).collect();
        client(&[], "192.0.2.7:4000".parse().unwrap(), &mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
    }
}
