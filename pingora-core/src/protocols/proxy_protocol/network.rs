//! [`Network`]: a range of IP addresses, as `10.0.0.0/8`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of IP addresses that share a prefix.
///
/// ```
/// use pingora_core::protocols::proxy_protocol::Network;
///
/// let inside: Network = "10.0.0.0/8".parse().unwrap();
/// assert!(inside.contains("10.1.2.3".parse().unwrap()));
/// assert!(inside.contains("::ffff:10.1.2.3".parse().unwrap()), "the same address");
/// assert!(!inside.contains("11.0.0.1".parse().unwrap()));
/// let one: Network = "::1".parse().unwrap();
/// assert!(one.contains("::1".parse().unwrap()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    prefix: IpAddr,
    bits: u8,
}

impl Network {
    /// Returns whether `address` is one of the network. An IPv4 address mapped into IPv6 is the
    /// IPv4 one.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.prefix, address.to_canonical()) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => {
                let differ = prefix.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(prefix), IpAddr::V6(address)) => {
                let differ = prefix.to_bits() ^ address.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    /// Returns the network of this one address.
    fn from(address: IpAddr) -> Self {
        let prefix = address.to_canonical();
        let bits = if prefix.is_ipv4() { 32 } else { 128 };
        Network { prefix, bits }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `ADDRESS` or `ADDRESS/BITS`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let invalid = || NetworkError(text.to_string());
        let Some((address, bits)) = text.split_once('/') else {
            return text
                .parse::<IpAddr>()
                .map(Network::from)
                .map_err(|_| invalid());
        };
        let prefix: IpAddr = address.parse().map_err(|_| invalid())?;
        let most = if prefix.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most);
        let bits = bits.ok_or_else(invalid)?;
        Ok(Network { prefix, bits })
    }
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError(String);

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            f,
            "{text:?} is no network: expected one like 10.0.0.0/8 or ::1"
        )
    }
}

impl std::error::Error for NetworkError {}
