//! From a header to bytes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

use super::{PP2_TYPE_CRC32C, ProxyHeader, ProxyProtocolVersion, SIGNATURE, crc32c};

impl ProxyHeader {
    /// Returns the header as it stands before a connection.
    ///
    /// Addresses of two families are written as IPv6, IPv4 ones mapped. Fields that do not fit into
    /// 64 KiB are left out, as are all of them in version 1.
    pub fn encode(&self, version: ProxyProtocolVersion) -> Bytes {
        let addresses = self.addresses.map(|(source, destination)| {
            if source.is_ipv4() == destination.is_ipv4() {
                (source, destination)
            } else {
                (to_ipv6(source), to_ipv6(destination))
            }
        });
        match version {
            ProxyProtocolVersion::V1 => encode_v1(addresses),
            ProxyProtocolVersion::V2 => self.encode_v2(addresses),
        }
    }

    fn encode_v2(&self, addresses: Option<(SocketAddr, SocketAddr)>) -> Bytes {
        let mut wire = BytesMut::with_capacity(64);
        wire.extend_from_slice(SIGNATURE);
        let (command, family) = match addresses {
            None => (0x20, 0x00),
            Some((source, _)) if source.is_ipv4() => (0x21, 0x11),
            Some(_) => (0x21, 0x21),
        };
        // The length follows when it is known.
        wire.extend_from_slice(&[command, family, 0, 0]);
        if let Some((source, destination)) = addresses {
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => wire.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => wire.extend_from_slice(&ip.octets()),
                }
            }
            wire.put_u16(source.port());
            wire.put_u16(destination.port());
        }
        let mut checksum = None;
        for field in &self.fields {
            let is_checksum = field.kind == PP2_TYPE_CRC32C;
            let value = if is_checksum {
                &[0; 4]
            } else {
                &field.value[..]
            };
            let Ok(length) = u16::try_from(value.len()) else {
                continue;
            };
            if wire.len() - 16 + 3 + value.len() > usize::from(u16::MAX) {
                continue;
            }
            wire.put_u8(field.kind);
            wire.put_u16(length);
            if is_checksum {
                checksum = Some(wire.len());
            }
            wire.extend_from_slice(value);
        }
        let length = (wire.len() - 16) as u16;
        wire[14..16].copy_from_slice(&length.to_be_bytes());
        if let Some(at) = checksum {
            let value = crc32c(&wire, at);
            wire[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        wire.freeze()
    }
}

fn encode_v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Bytes {
    let Some((source, destination)) = addresses else {
        return Bytes::from_static(b"PROXY UNKNOWN\r\n");
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into()
}

fn to_ipv6(address: SocketAddr) -> SocketAddr {
    let ip: Ipv6Addr = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}
