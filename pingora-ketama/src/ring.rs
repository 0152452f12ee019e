//! The points of all servers in order, and the search for the first at or after a hash.
//!
//! CRCs are spread evenly, so the ring is cut into cells of equal width with a few points each, and
//! a table says where each cell starts: a search looks into one cell. Building sorts the points by
//! the digits of their hash, the second first, which keeps points of equal hash in the order given and
//! never compares. The last digit is left to an insertion sort, since hardly two points share all the
//! others. Hashes and servers lie in arrays of their own, so that a search touches only
//! hashes; servers take 2 bytes up to 65536 of them.
//!
//! Rejected: a binary search over all points (17 steps for 1000 servers, most of them cache misses);
//! sorting by comparison, or within each cell (slower: each comparison is a guess).

use std::mem;

/// Points per cell, about: one cache line of hashes.
const POINTS_PER_CELL: usize = 8;

/// Bits of a hash one pass of the sort looks at, with counters that fit a 32 KB cache.
const DIGIT: u32 = 11;

/// Passes of the sort, for the highest digits. Of the most points a ring has, four on average share
/// these.
const PASSES: u32 = 2;

/// Points in order of hash, none twice.
pub(crate) struct Ring {
    hashes: Box<[u32]>,
    owners: Owners,
    /// Where each cell starts in `hashes`, and the end.
    cells: Box<[u32]>,
    /// The cell of a hash is its high bits: `hash >> shift`.
    shift: u32,
}

/// The number of each point's server.
enum Owners {
    Few(Box<[u16]>),
    Many(Box<[u32]>),
}

/// The hash of a point in the high half, its server in the low half.
#[derive(Clone, Copy, Default)]
pub(crate) struct Point(u64);

impl Point {
    #[inline]
    pub(crate) fn new(hash: u32, owner: u32) -> Self {
        Point(u64::from(hash) << 32 | u64::from(owner))
    }

    #[inline]
    pub(crate) fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn owner(self) -> u32 {
        self.0 as u32
    }
}

impl Ring {
    /// Returns the ring of these points. Of points of equal hash the first stays. There are at most
    /// `u32::MAX` points.
    pub(crate) fn new(points: Vec<Point>) -> Self {
        let mut points = sort(points);
        points.dedup_by_key(|point| point.hash());
        let bits = (points.len() / POINTS_PER_CELL).max(1).ilog2();
        let shift = u32::BITS - bits;
        Ring {
            hashes: points.iter().map(|point| point.hash()).collect(),
            owners: Owners::new(&points),
            cells: cells(&points, shift),
            shift,
        }
    }

    /// The number of the first point at or after `hash`, 0 after the last.
    #[inline]
    pub(crate) fn find(&self, hash: u32) -> usize {
        let cell = cell(hash, self.shift);
        let (start, end) = (self.cells[cell] as usize, self.cells[cell + 1] as usize);
        let within = self.hashes[start..end].partition_point(|point| *point < hash);
        match start + within {
            past if past == self.hashes.len() => 0,
            found => found,
        }
    }

    /// The owner of a point, `None` if there is no such point.
    #[inline]
    pub(crate) fn owner(&self, point: usize) -> Option<usize> {
        match &self.owners {
            Owners::Few(owners) => owners.get(point).map(|owner| usize::from(*owner)),
            Owners::Many(owners) => owners.get(point).map(|owner| *owner as usize),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }
}

impl Owners {
    fn new(points: &[Point]) -> Self {
        let narrow: Option<Box<[u16]>> = points
            .iter()
            .map(|point| u16::try_from(point.owner()).ok())
            .collect();
        match narrow {
            Some(owners) => Owners::Few(owners),
            None => Owners::Many(points.iter().map(|point| point.owner()).collect()),
        }
    }
}

/// The cell of a hash. A shift by all 32 bits leaves one cell.
#[inline]
fn cell(hash: u32, shift: u32) -> usize {
    (u64::from(hash) >> shift) as usize
}

/// Where each cell starts among sorted points, and the end.
fn cells(points: &[Point], shift: u32) -> Box<[u32]> {
    let count = 1 << (u32::BITS - shift);
    let mut cells = Vec::with_capacity(count + 1);
    for (place, point) in (0u32..).zip(points) {
        // All cells up to this one that have not started yet start here.
        let started = cell(point.hash(), shift) + 1;
        cells.resize(cells.len().max(started), place);
    }
    cells.resize(count + 1, points.len() as u32);
    cells.into()
}

/// Sorts by hash; points of equal hash keep their order.
fn sort(mut points: Vec<Point>) -> Vec<Point> {
    let mut starts = [[0u32; 1 << DIGIT]; PASSES as usize];
    for point in &points {
        for (starts, pass) in starts.iter_mut().zip(0..) {
            starts[digit(*point, pass)] += 1;
        }
    }
    let mut sorted = vec![Point::default(); points.len()];
    for (starts, pass) in starts.iter_mut().zip(0..) {
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += mem::replace(start, sum);
        }
        for point in &points {
            let place = &mut starts[digit(*point, pass)];
            sorted[*place as usize] = *point;
            *place += 1;
        }
        mem::swap(&mut points, &mut sorted);
    }
    finish_sort(&mut points);
    points
}

/// Sorts what is in order but for the bits that no pass looked at.
fn finish_sort(points: &mut [Point]) {
    for index in 1..points.len() {
        let point = points[index];
        let mut place = index;
        while place > 0 && points[place - 1].hash() > point.hash() {
            points[place] = points[place - 1];
            place -= 1;
        }
        if place < index {
            points[place] = point;
        }
    }
}

/// The digit that a pass looks at: the highest one in the last pass.
#[inline]
fn digit(point: Point, pass: u32) -> usize {
    let shift = u32::BITS - DIGIT * (PASSES - pass);
    (point.hash() >> shift) as usize & ((1 << DIGIT) - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The naive twin is an ordered map in which the first point of a hash stays.
    fn check(points: &[(u32, u32)], hashes: &[u32]) {
        let mut twin = BTreeMap::new();
        for (hash, owner) in points {
            twin.entry(*hash).or_insert(*owner);
        }
        let points = points.iter().map(|(hash, owner)| Point::new(*hash, *owner));
        let ring = Ring::new(points.collect());
        assert_eq!(ring.len(), twin.len());
        let all: Vec<_> = (0..ring.len())
            .map(|point| {
                (
                    ring.hashes[point],
                    ring.owner(point).map(|owner| owner as u32),
                )
            })
            .collect();
        let expected: Vec<_> = twin
            .iter()
            .map(|(hash, owner)| (*hash, Some(*owner)))
            .collect();
        assert_eq!(all, expected);
        let near = twin
            .keys()
            .flat_map(|hash| [hash.wrapping_sub(1), *hash, hash.wrapping_add(1)]);
        for hash in hashes.iter().copied().chain(near).chain([0, u32::MAX]) {
            let expected = twin
                .range(hash..)
                .chain(&twin)
                .next()
                .map(|(_, owner)| *owner as usize);
            assert_eq!(ring.owner(ring.find(hash)), expected);
        }
    }

    proptest! {
        #[test]
        fn finds_what_the_naive_twin_finds(
            spread in prop::collection::vec((any::<u32>(), 0..9u32), 0..300),
            crowded in prop::collection::vec((0..50u32, any::<u32>()), 0..100),
            hashes in prop::collection::vec(any::<u32>(), 10),
        ) {
            check(&spread, &hashes);
            check(&crowded, &hashes);
            check(&[spread, crowded].concat(), &hashes);
        }
    }

    #[test]
    fn an_empty_ring_finds_nothing() {
        let ring = Ring::new(Vec::new());
        assert_eq!((ring.find(0), ring.find(u32::MAX), ring.len()), (0, 0, 0));
        assert_eq!(ring.owner(0), None);
    }

    #[test]
    fn takes_about_seven_bytes_per_point() {
        let points = (0..160_000u32).map(|n| Point::new(n.wrapping_mul(0x9E37_79B1), n % 1_000));
        let ring = Ring::new(points.collect());
        let Owners::Few(owners) = &ring.owners else {
            panic!("1000 owners are few");
        };
        let bytes = size_of_val(&*ring.hashes) + size_of_val(&**owners) + size_of_val(&*ring.cells);
        assert!(bytes <= 7 * ring.len(), "{bytes}");
    }
}
