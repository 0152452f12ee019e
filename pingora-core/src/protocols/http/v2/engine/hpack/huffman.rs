//! The Huffman code of strings (RFC 7541 5.2 and appendix B).
//!
//! The code is canonical: codes of one length are consecutive and in the order of their symbols, and those of the
//! next length go on from there. So the lengths are all there is to write down. The decoder looks at 12 bits a
//! time, which often are two symbols; what is longer is rare, and found by comparing with the last code of each
//! length.
use bytes::BytesMut;

/// Returns the most bytes that `len` bytes can decode to, with the slack [`decode`] wants.
pub(super) const fn decoded_bound(len: usize) -> usize {
    len * 8 / SHORTEST as usize + size_of::<u64>()
}

/// Decodes into `output`, which has [`decoded_bound`] bytes, and returns how many there are. `None` when the input
/// is no string: it has the end symbol, or its padding is too long or not of ones (RFC 7541 5.2).
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Option<usize> {
    let mut window = Window::new(input);
    let mut at = 0;
    loop {
        window.fill();
        if window.count < ROUND * STEP {
            return decode_end(window, output, at);
        }
        // A round of steps, whose symbols are written at once.
        let (mut word, mut done) = (0, Lengths(0));
        for _ in 0..ROUND {
            let step = window.step();
            if step.is_long() {
                break;
            }
            word |= step.bytes() << (done.written() % u64::BITS);
            done.0 += step.lengths().0;
            window.bits <<= step.lengths().read();
        }
        if done.0 == 0 {
            let (symbol, bits) = window.long_symbol()?;
            word = symbol.into();
            done = Lengths::new(1, bits);
            window.bits <<= bits;
        }
        window.count -= done.read();
        *output.get_mut(at..)?.first_chunk_mut()? = word.to_le_bytes();
        at += done.written() as usize / 8;
    }
}

/// Decodes the last bits: fewer than a round.
fn decode_end(mut window: Window<'_>, output: &mut [u8], mut at: usize) -> Option<usize> {
    // Ones after the end: a code that needs them is cut, unless it is all ones, which is padding.
    window.bits |= u64::MAX >> window.count;
    loop {
        let step = window.step();
        let (bytes, lengths) = if step.is_long() {
            if window.count < 8 && window.bits == u64::MAX {
                return Some(at);
            }
            let (symbol, bits) = window.long_symbol()?;
            (symbol.into(), Lengths::new(1, bits))
        } else if step.lengths().read() <= window.count {
            (step.bytes(), step.lengths())
        } else {
            // The second symbol is padding.
            let first = step.bytes() & 0xff;
            let bits = LENGTHS[first as usize];
            (first, Lengths::new(1, bits.into()))
        };
        let bits = lengths.read();
        window.count = window.count.checked_sub(bits)?;
        window.bits = (window.bits << bits) | ((1 << bits) - 1);
        *output.get_mut(at..)?.first_chunk_mut()? = (bytes as u16).to_le_bytes();
        at += lengths.written() as usize / 8;
    }
}

/// The next bits of the input, from the top.
struct Window<'a> {
    bits: u64,
    count: u32,
    /// The input from its first byte that is not in the bits.
    rest: &'a [u8],
    /// The last eight bytes of the input, or all.
    tail: u64,
}

impl<'a> Window<'a> {
    fn new(input: &'a [u8]) -> Self {
        let tail = match input.last_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => input
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        Window {
            bits: 0,
            count: 0,
            rest: input,
            tail,
        }
    }

    /// Fills up to at least 56 bits, if there are so many. Bits beyond those counted are the next ones, or zeros.
    #[inline]
    fn fill(&mut self) {
        let wanted = ((u64::BITS - 1 - self.count) / 8) as usize;
        let (word, taken) = match self.rest.first_chunk() {
            Some(word) => (u64::from_be_bytes(*word), wanted),
            None if self.rest.is_empty() => return,
            None => {
                let missing = u64::BITS - self.rest.len() as u32 * 8;
                (self.tail << missing, wanted.min(self.rest.len()))
            }
        };
        self.bits |= word >> self.count;
        self.count += taken as u32 * 8;
        self.rest = &self.rest[taken..];
    }

    #[inline]
    fn step(&self) -> Step {
        STEPS[(self.bits >> (u64::BITS - STEP)) as usize]
    }

    /// Returns the symbol of a code longer than a step, and the bits of the code. `None` for the end symbol.
    #[cold]
    fn long_symbol(&self) -> Option<(u8, u32)> {
        let top = (self.bits >> (u64::BITS - LONGEST)) as u32;
        let bits = (STEP + 1..=LONGEST).find(|&bits| top < BOUNDS[bits as usize])?;
        let rank = (BOUNDS[bits as usize] - 1 - top) >> (LONGEST - bits);
        SYMBOLS
            .get(usize::from(ENDS[bits as usize]) - 1 - rank as usize)
            .map(|&symbol| (symbol, bits))
    }
}

/// Appends the code of `raw`, in lower case when `LOWER`. Gives up, leaving `out` as it was, and returns false when
/// that is not shorter than `raw`.
pub(super) fn encode<const LOWER: bool>(raw: &[u8], out: &mut BytesMut) -> bool {
    let start = out.len();
    let (mut bits, mut count) = (0_u64, 0);
    for &byte in raw {
        let code = CODES[symbol::<LOWER>(byte)];
        bits = (bits << code.bits) | u64::from(code.code);
        count += u32::from(code.bits);
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
            if out.len() - start >= raw.len() {
                out.truncate(start);
                return false;
            }
        }
    }
    // The rest, padded with ones.
    let last = ((bits << 32 | u64::from(u32::MAX)) >> count) as u32;
    let bytes = count.div_ceil(8) as usize;
    if out.len() - start + bytes >= raw.len() {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(&last.to_be_bytes()[..bytes]);
    true
}

/// Returns how many bytes the code of `raw` has, in lower case when `LOWER`.
pub(super) fn encoded_len<const LOWER: bool>(raw: &[u8]) -> usize {
    let bits = |&byte: &u8| usize::from(LENGTHS[symbol::<LOWER>(byte)]);
    raw.iter().map(bits).sum::<usize>().div_ceil(8)
}

#[inline]
fn symbol<const LOWER: bool>(byte: u8) -> usize {
    match LOWER {
        true => byte.to_ascii_lowercase().into(),
        false => byte.into(),
    }
}

/// The bits of a step of the decoder: two of the most frequent symbols, in a table of 16 KiB.
const STEP: u32 = 12;

/// How many steps the decoder makes without looking at how many bits are left. Their symbols fit in a word, and
/// the longest code in their bits.
const ROUND: u32 = 4;

/// The bits of the shortest and the longest code.
const SHORTEST: u32 = 5;
const LONGEST: u32 = 30;

/// The end symbol, which no string has.
const END: usize = 256;

/// The length of the code of each byte, then of the end symbol (RFC 7541 appendix B).
static LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// A code, in its lowest bits.
#[derive(Clone, Copy)]
pub(super) struct Code {
    pub(super) code: u32,
    pub(super) bits: u8,
}

pub(super) static CODES: [Code; 257] = {
    let mut codes = [Code { code: 0, bits: 0 }; 257];
    let (mut code, mut bits) = (0, SHORTEST);
    while bits <= LONGEST {
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as u32 == bits {
                let bits = bits as u8;
                codes[symbol] = Code { code, bits };
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        bits += 1;
    }
    assert!(
        code == 1 << (LONGEST + 1),
        "every sequence of bits is a code"
    );
    codes
};

/// What the next bits stand for: up to two symbols in the lowest bytes, then the [`Lengths`]. 0 when the first code
/// is longer than a step.
#[derive(Clone, Copy)]
struct Step(u32);

impl Step {
    const fn new(bytes: [u8; 2], lengths: Lengths) -> Self {
        Step(u16::from_le_bytes(bytes) as u32 | lengths.0 << 16)
    }

    const fn is_long(self) -> bool {
        self.0 == 0
    }

    const fn bytes(self) -> u64 {
        self.0 as u16 as u64
    }

    const fn lengths(self) -> Lengths {
        Lengths(self.0 >> 16)
    }
}

/// The bits of symbols and of their codes, in a byte each: those of a round can be added.
#[derive(Clone, Copy)]
struct Lengths(u32);

impl Lengths {
    const fn new(symbols: u32, code: u32) -> Self {
        Lengths((symbols * 8) | (code << 8))
    }

    const fn written(self) -> u32 {
        self.0 & 0xff
    }

    const fn read(self) -> u32 {
        self.0 >> 8
    }
}

static STEPS: [Step; 1 << STEP] = {
    let mut first = [Step(0); 1 << STEP];
    let mut symbol = 0;
    while symbol < END {
        let Code { code, bits } = CODES[symbol];
        if bits as u32 <= STEP {
            let spare = STEP - bits as u32;
            let mut at = 0;
            while at < 1 << spare {
                first[((code << spare) + at) as usize] =
                    Step::new([symbol as u8, 0], Lengths::new(1, bits as u32));
                at += 1;
            }
        }
        symbol += 1;
    }
    let mut steps = first;
    let mut at = 0;
    while at < steps.len() {
        let one = first[at];
        let two = first[(at << one.lengths().read()) % steps.len()];
        let lengths = Lengths(one.lengths().0 + two.lengths().0);
        if !one.is_long() && !two.is_long() && lengths.read() <= STEP {
            steps[at] = Step::new([one.bytes() as u8, two.bytes() as u8], lengths);
        }
        at += 1;
    }
    steps
};

/// The bytes in the order of their codes.
static SYMBOLS: [u8; END] = ranked().0;

/// For each length, how many codes are as long or shorter.
static ENDS: [u16; LONGEST as usize + 1] = ranked().1;

/// For each length, what comes after its last code, as many bits as the longest code has.
static BOUNDS: [u32; LONGEST as usize + 1] = {
    let mut bounds = [0; LONGEST as usize + 1];
    let (mut bits, mut bound) = (1, 0);
    while bits < bounds.len() {
        bound += ((ENDS[bits] - ENDS[bits - 1]) as u32) << (LONGEST as usize - bits);
        bounds[bits] = bound;
        bits += 1;
    }
    bounds
};

const fn ranked() -> ([u8; END], [u16; LONGEST as usize + 1]) {
    let mut symbols = [0; END];
    let mut ends = [0; LONGEST as usize + 1];
    let (mut bits, mut count) = (0, 0);
    while bits < ends.len() {
        let mut symbol = 0;
        while symbol < END {
            if LENGTHS[symbol] as usize == bits {
                symbols[count] = symbol as u8;
                count += 1;
            }
            symbol += 1;
        }
        ends[bits] = count as u16;
        bits += 1;
    }
    (symbols, ends)
}
