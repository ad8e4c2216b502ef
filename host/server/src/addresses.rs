//! The limit of connections per client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;

/// Cheap to clone.
#[derive(Clone)]
pub struct Addresses(Arc<Shared>);

struct Shared {
    max: usize,
    /// Addresses of proxies are not limited: each stands for many clients.
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A permit for one connection of an address. Dropping it releases the connection.
pub struct AddressPermit {
    addresses: Addresses,
    address: Option<IpAddr>,
}

impl Addresses {
    pub fn new(max: usize, proxies: Vec<IpNet>) -> Addresses {
        Addresses(Arc::new(Shared { max, proxies, open: Mutex::default() }))
    }

    /// Takes a permit; `None` if the address has reached its limit.
    pub fn enter(&self, peer: IpAddr) -> Option<AddressPermit> {
        let peer = peer.to_canonical();
        if self.0.proxies.iter().any(|network| network.contains(&peer)) {
            return Some(AddressPermit { addresses: self.clone(), address: None });
        }
        let address = client(peer);
        let mut open = self.open();
        let count = open.entry(address).or_default();
        if *count >= self.0.max {
            return None;
        }
        *count += 1;
        Some(AddressPermit { addresses: self.clone(), address: Some(address) })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The address that is counted. An IPv6 client usually has a whole /64 network.
fn client(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut open = self.addresses.open();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_per_address_except_for_proxies() {
        let addresses = Addresses::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let enter = |address: &str| addresses.enter(address.parse().unwrap());
        let held = [enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap()];
        assert!(enter("192.0.2.1").is_none() && enter("192.0.2.2").is_some());
        let other = [enter("2001:db8::1").unwrap(), enter("2001:db8::2:1").unwrap()];
        assert!(enter("2001:db8:0:0:1::").is_none() && enter("2001:db8:0:1::").is_some());
        assert!((0..5).map(|_| enter("10.1.1.1").unwrap()).collect::<Vec<_>>().len() == 5);
        drop((held, other));
        assert!(enter("192.0.2.1").is_some() && addresses.open().is_empty());
    }
}
