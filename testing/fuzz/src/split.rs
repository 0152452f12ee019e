//! How an input is cut into pieces: as the network might.
//!
//! The cuts follow from the bytes, so that an input is what a peer sends and nothing else.

/// Longer inputs are not fed byte by byte: the parsers would be all the fuzzer measures.
const MAX_BYTEWISE: usize = 2048;

/// Inputs up to this length are cut in two at every place.
const MAX_ALL_HALVES: usize = 48;

/// Cuttings at random places.
const RANDOM_CUTTINGS: u64 = 3;

/// Returns several ways to cut `data`, each as the pieces in order.
pub fn cuttings(data: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all = Vec::new();
    if data.len() <= MAX_BYTEWISE {
        all.push(data.chunks(1).collect());
    }
    if data.len() <= MAX_ALL_HALVES {
        all.extend((1..data.len()).map(|at| vec![&data[..at], &data[at..]]));
    }
    let mut random = Random::of(data);
    all.extend((0..RANDOM_CUTTINGS).map(|_| random.pieces(data)));
    all
}

/// A generator whose numbers follow from the bytes it was made of.
pub struct Random(u64);

impl Random {
    /// Returns a generator seeded with `data` (FNV-1a).
    pub fn of(data: &[u8]) -> Self {
        let hash = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(hash | 1)
    }

    /// Returns a number below `end` (xorshift).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// Cuts `data` at random places.
    pub fn pieces<'a>(&mut self, data: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + self.below(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
