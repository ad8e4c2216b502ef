//! Addresses and networks as settings have them.

/// An address to listen at; empty: none.
pub mod address {
    use std::net::SocketAddr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = |_| D::Error::custom(format!("{text:?} is no address with a port such as 0.0.0.0:443"));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(wrong) }
    }
}

/// Networks as `10.0.0.0/8`, or single addresses.
pub mod networks {
    use std::net::IpAddr;
    use std::path::Path;

    use ipnet::IpNet;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| network(text).map_err(D::Error::custom)).collect()
    }

    pub fn network(text: &str) -> Result<IpNet, String> {
        match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => text.parse().map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8")),
        }
    }

    /// A network or address on each line; `#` begins a comment.
    pub fn of_file(file: &Path) -> Result<Vec<IpNet>, String> {
        let text = std::fs::read_to_string(file).map_err(|err| format!("{}: {err}", file.display()))?;
        let line = |(at, line): (usize, &str)| match line.split('#').next().unwrap_or_default().trim() {
            "" => None,
            text => Some(network(text).map_err(|why| format!("{}:{}: {why}", file.display(), at + 1))),
        };
        text.lines().enumerate().filter_map(line).collect()
    }
}
