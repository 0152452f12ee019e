//! Where the points of a server lie on the ring.
//!
//! nginx (like `Cache::Memcached::Fast` before it) hashes `HOST \0 PORT PREVIOUS` with CRC-32 for
//! each point, where PREVIOUS is the point before as 4 bytes, least significant first, and 0 for
//! the first point. The CRC of the part that stays is computed once; each point then takes one
//! step over 4 bytes, with four table lookups that do not wait for each other. Steps do wait for each
//! other, so those of several servers are taken side by side.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::bucket::Bucket;
use crate::ring::Point;

/// The most points a ring has. Weights come from configuration and discovery: nonsense among them
/// must not take all memory. 16 million points take about 120 MB.
pub(crate) const MAX_POINTS: u64 = 1 << 24;

/// CRC-32 (IEEE 802.3), bits reversed.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[n][byte]` is what `byte` followed by `n` zero bytes adds to a CRC.
static TABLES: [[u32; 256]; 4] = tables();

/// How many servers' points are computed at once. Each point waits for the one before, so one server
/// alone leaves the processor idle.
const LANES: usize = 4;

/// The points of one server, to be written one after the other.
pub(crate) struct Lane<'a> {
    /// The CRC of `HOST \0 PORT` before its final inversion.
    base: u32,
    owner: u32,
    points: &'a mut [Point],
}

impl<'a> Lane<'a> {
    /// Returns the points of `node`, as many as `points` takes.
    pub(crate) fn new(node: &SocketAddr, owner: u32, points: &'a mut [Point]) -> Self {
        Lane {
            base: !crc32fast::hash(&name(node)),
            owner,
            points,
        }
    }

    #[inline]
    fn next(&self, previous: u32) -> u32 {
        !step(self.base ^ previous)
    }
}

/// Computes the points of servers, in no order.
pub(crate) fn fill(lanes: &mut [Lane<'_>]) {
    let mut groups = lanes.chunks_exact_mut(LANES);
    for group in &mut groups {
        let group: &mut [Lane<'_>; LANES] = group.try_into().expect("chunks have this length");
        fill_group(group);
    }
    for lane in groups.into_remainder() {
        fill_rest(lane, 0, 0);
    }
}

fn fill_group(lanes: &mut [Lane<'_>; LANES]) {
    let common = lanes.iter().map(|lane| lane.points.len()).min();
    let common = common.unwrap_or_default();
    let mut previous = [0; LANES];
    for index in 0..common {
        for (lane, previous) in lanes.iter_mut().zip(&mut previous) {
            *previous = lane.next(*previous);
            lane.points[index] = Point::new(*previous, lane.owner);
        }
    }
    for (lane, previous) in lanes.iter_mut().zip(previous) {
        fill_rest(lane, common, previous);
    }
}

/// Computes the points from number `start` on, which follows `previous`.
fn fill_rest(lane: &mut Lane<'_>, start: usize, mut previous: u32) {
    for index in start..lane.points.len() {
        previous = lane.next(previous);
        lane.points[index] = Point::new(previous, lane.owner);
    }
}

/// How many points each bucket has: `multiple` per unit of weight. If they would be more than
/// `limit`, all are scaled down alike, but no bucket with a weight gets less than one of its
/// points.
pub(crate) fn counts(buckets: &[Bucket], multiple: u32, limit: u64) -> Vec<u64> {
    // The product of two 32 bit numbers fits into 64 bits; the sum of such may not.
    let wanted = |bucket: &Bucket| u64::from(bucket.weight) * u64::from(multiple);
    let total: u128 = buckets
        .iter()
        .map(|bucket| u128::from(wanted(bucket)))
        .sum();
    buckets
        .iter()
        .map(wanted)
        .map(|wanted| match total > u128::from(limit) && wanted > 0 {
            true => scale(wanted, limit, total),
            false => wanted,
        })
        .collect()
}

fn scale(wanted: u64, limit: u64, total: u128) -> u64 {
    let scaled = u128::from(wanted) * u128::from(limit) / total;
    u64::try_from(scaled).unwrap_or(limit).max(1)
}

/// `HOST \0 PORT` as nginx cuts it out of `HOST:PORT`: an IPv6 host keeps its brackets.
fn name(node: &SocketAddr) -> Vec<u8> {
    let mut name = String::new();
    let written = match node {
        SocketAddr::V4(node) => write!(name, "{}\0{}", node.ip(), node.port()),
        SocketAddr::V6(node) => write!(name, "[{}]\0{}", node.ip(), node.port()),
    };
    written.expect("writing to a string cannot fail");
    name.into_bytes()
}

/// Advances a CRC by 4 bytes that were combined with it already.
#[inline]
fn step(crc: u32) -> u32 {
    let [first, second, third, fourth] = crc.to_le_bytes();
    TABLES[3][usize::from(first)]
        ^ TABLES[2][usize::from(second)]
        ^ TABLES[1][usize::from(third)]
        ^ TABLES[0][usize::from(fourth)]
}

const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 4 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc >> 8) ^ tables[0][(crc & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_crcs_of_name_and_previous_point() {
        let nodes = ["127.0.0.1:80", "255.255.255.255:65535", "[2001:db8::1]:443"];
        let nodes = nodes.map(|node| node.parse::<SocketAddr>().expect("an address"));
        // One group of servers and a rest, with points in common and without.
        let counts = [100, 1, 0, 7, 5, 300, 2, 160, 161, 3];
        let mut points = vec![Point::new(0, 0); counts.iter().sum()];
        let mut rest = points.as_mut_slice();
        let mut lanes = Vec::new();
        for (count, owner) in counts.into_iter().zip(0..) {
            let (own, others) = rest.split_at_mut(count);
            lanes.push(Lane::new(&nodes[owner as usize % 3], owner, own));
            rest = others;
        }
        fill(&mut lanes);
        let mut points = points.into_iter();
        for (count, owner) in counts.into_iter().zip(0..) {
            let mut previous = 0u32;
            for point in points.by_ref().take(count) {
                let mut input = name(&nodes[owner as usize % 3]);
                input.extend(previous.to_le_bytes());
                previous = crc32fast::hash(&input);
                assert_eq!((point.hash(), point.owner()), (previous, owner));
            }
        }
    }

    #[test]
    fn names_are_host_zero_port() {
        let check = |node: &str, expected: &[u8]| {
            assert_eq!(name(&node.parse().expect("an address")), expected);
        };
        check("10.0.0.1:8080", b"10.0.0.1\08080");
        check("[::1]:80", b"[::1]\080");
        check("[::ffff:1.2.3.4]:80", b"[::ffff:1.2.3.4]\080");
    }

    #[test]
    fn counts_are_exact_up_to_the_limit_and_scaled_beyond() {
        let node: SocketAddr = ([127, 0, 0, 1], 80).into();
        let check = |weights: &[u32], multiple, limit, expected: &[u64]| {
            let buckets: Vec<_> = weights.iter().map(|w| Bucket::new(node, *w)).collect();
            assert_eq!(counts(&buckets, multiple, limit), expected);
        };
        check(&[], 160, 10, &[]);
        check(&[0, 1, 2], 160, 480, &[0, 160, 320]);
        check(&[0, 1, 2], 160, 479, &[0, 159, 319]);
        check(&[0, 1, 1_000_000], 160, 1_000, &[0, 1, 999]);
        check(&[1, 1], 0, 10, &[0, 0]);
        check(&[u32::MAX; 4], u32::MAX, 8, &[2; 4]);
    }
}
