//! The points of all servers in order, and the search for the first at or after a hash.
//!
//! CRCs are spread evenly, so the ring is cut into cells of equal width with a few points each, and
//! a table says where each cell starts: a search looks into one cell. Building fills the cells
//! first (one pass, like a bucket sort) and sorts each on its own. Hashes and servers lie in arrays
//! of their own, so that a search touches only hashes; servers take 2 bytes up to 65536 of them.
//!
//! Rejected: a binary search over all points (17 steps for 1000 servers, most of them cache misses)
//! and a radix sort (as fast, but the table would still have to be made).

/// Points per cell, about: one cache line of hashes.
const POINTS_PER_CELL: usize = 8;

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

/// A point as a number that sorts by hash, then by server.
#[derive(Clone, Copy)]
struct Point(u64);

impl Point {
    fn new(hash: u32, owner: u32) -> Self {
        Point(u64::from(hash) << 32 | u64::from(owner))
    }

    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn owner(self) -> u32 {
        self.0 as u32
    }
}

impl Ring {
    /// Returns the ring of `count` points, given as hash and owner. If hashes are equal the point
    /// of the smallest owner stays. There are at most `u32::MAX` points.
    pub(crate) fn new(count: usize, points: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut unsorted = Vec::with_capacity(count);
        unsorted.extend(points.map(|(hash, owner)| Point::new(hash, owner)));
        let bits = (unsorted.len() / POINTS_PER_CELL).max(1).ilog2();
        let shift = u32::BITS - bits;
        let (mut points, mut cells) = into_cells(&unsorted, shift);
        drop(unsorted);
        sort_cells(&mut points, &mut cells);
        Ring {
            hashes: points.iter().map(|point| point.hash()).collect(),
            owners: Owners::new(&points),
            cells: cells.into(),
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

/// Returns the points grouped by cell, and where each cell starts, and the end.
fn into_cells(unsorted: &[Point], shift: u32) -> (Vec<Point>, Vec<u32>) {
    // Starts as sizes, shifted by one so that their running sum is where each cell starts.
    let mut cells = vec![0u32; (1 << (u32::BITS - shift)) + 1];
    for point in unsorted {
        cells[cell(point.hash(), shift) + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut cells {
        sum += *start;
        *start = sum;
    }
    let mut next = cells.clone();
    let mut points = vec![Point(0); unsorted.len()];
    for point in unsorted {
        let place = &mut next[cell(point.hash(), shift)];
        points[*place as usize] = *point;
        *place += 1;
    }
    (points, cells)
}

/// Sorts each cell, drops points of equal hash but the first, and moves the cells together.
fn sort_cells(points: &mut Vec<Point>, cells: &mut [u32]) {
    let mut kept = 0;
    for number in 0..cells.len() - 1 {
        let (start, end) = (cells[number] as usize, cells[number + 1] as usize);
        points[start..end].sort_unstable_by_key(|point| point.0);
        cells[number] = kept as u32;
        let cell_start = kept;
        for place in start..end {
            // Equal hashes are of the same cell.
            if kept == cell_start || points[kept - 1].hash() != points[place].hash() {
                points[kept] = points[place];
                kept += 1;
            }
        }
    }
    points.truncate(kept);
    if let Some(end) = cells.last_mut() {
        *end = kept as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The naive twin: an ordered map in which the first point of a hash stays.
    fn check(points: &[(u32, u32)], hashes: &[u32]) {
        let mut twin = BTreeMap::new();
        for (hash, owner) in points {
            let smallest = twin.entry(*hash).or_insert(*owner);
            *smallest = (*owner).min(*smallest);
        }
        let ring = Ring::new(points.len(), points.iter().copied());
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
        let ring = Ring::new(0, std::iter::empty());
        assert_eq!((ring.find(0), ring.find(u32::MAX), ring.len()), (0, 0, 0));
        assert_eq!(ring.owner(0), None);
    }

    #[test]
    fn takes_about_seven_bytes_per_point() {
        let points = (0..160_000u32).map(|n| (n.wrapping_mul(0x9E37_79B1), n % 1_000));
        let ring = Ring::new(160_000, points);
        let Owners::Few(owners) = &ring.owners else {
            panic!("1000 owners are few");
        };
        let bytes = size_of_val(&*ring.hashes) + size_of_val(&**owners) + size_of_val(&*ring.cells);
        assert!(bytes <= 7 * ring.len(), "{bytes}");
    }
}
