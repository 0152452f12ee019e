//! The hash ring against an ordered map, with a CRC computed bit by bit.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use arbitrary::Arbitrary;
use pingora_ketama::{Bucket, Continuum, Version};

/// The most servers, so that one input stays cheap.
const MAX_SERVERS: usize = 8;

/// The most keys.
const MAX_KEYS: usize = 8;

/// Servers and the keys looked up.
#[derive(Arbitrary, Debug)]
pub struct Rings {
    servers: Vec<(Server, u8)>,
    multiple: u8,
    keys: Vec<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Server {
    /// Few, so that the same one comes up twice.
    Near(u8),
    V4([u8; 4], u16),
    V6([u16; 8], u16),
}

/// Checks that every key belongs to the server the naive ring says, and so do its successors.
pub fn ketama(input: &Rings) {
    let multiple = u32::from(input.multiple % 24);
    let servers: Vec<(SocketAddr, u32)> = input
        .servers
        .iter()
        .take(MAX_SERVERS)
        .map(|(server, weight)| (server.address(), u32::from(weight % 4)))
        .collect();
    let buckets: Vec<_> = servers
        .iter()
        .map(|(address, weight)| Bucket::new(*address, *weight))
        .collect();
    let ring = Continuum::new_with_version(
        &buckets,
        Version::V2 {
            point_multiple: multiple,
        },
    );
    let naive = naive_ring(&servers, multiple);
    let points: Vec<_> = naive.values().copied().collect();
    let keys = input.keys.iter().take(MAX_KEYS).map(Vec::as_slice);
    for key in keys.chain([&b""[..], b"/index.html"]) {
        let hash = crc(key);
        let first = naive.range(..hash).count() % points.len().max(1);
        assert_eq!(ring.node_idx(key), first);
        assert_eq!(ring.node(key), points.get(first).copied());
        let round = points.len() + 2;
        let expected: Vec<_> = points.iter().cycle().skip(first).take(round).collect();
        assert_eq!(
            ring.node_iter(key).take(round).collect::<Vec<_>>(),
            expected
        );
    }
    let mut behind = points.len();
    assert_eq!((ring.get_addr(&mut behind), behind), (None, points.len()));
}

/// Points by hash; of several with the same hash the first stays.
fn naive_ring(servers: &[(SocketAddr, u32)], multiple: u32) -> BTreeMap<u32, SocketAddr> {
    let mut ring = BTreeMap::new();
    for (address, weight) in servers {
        let name = match address {
            SocketAddr::V4(v4) => format!("{}\0{}", v4.ip(), v4.port()),
            SocketAddr::V6(v6) => format!("[{}]\0{}", v6.ip(), v6.port()),
        };
        let mut previous = 0u32;
        for _ in 0..weight * multiple {
            previous = crc(&[name.as_bytes(), &previous.to_le_bytes()].concat());
            ring.entry(previous).or_insert(*address);
        }
    }
    ring
}

/// CRC-32 of IEEE 802.3, one bit after the other.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

impl Server {
    fn address(&self) -> SocketAddr {
        match self {
            Server::Near(last) => ([127, 0, 0, last % 4], 80).into(),
            Server::V4(ip, port) => (*ip, *port).into(),
            Server::V6(ip, port) => (*ip, *port).into(),
        }
    }
}
