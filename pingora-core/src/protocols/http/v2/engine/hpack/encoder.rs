//! Fields to header blocks (RFC 7541 6), and what is worth an entry of the table.
//!
//! The first value of a name gets an entry. Another value of that name shows that values change, so it gets one only
//! when it comes twice: that keeps identifiers and paths from pushing out what lasts, without a list of all names.
//! Names of the static table that are known to change start like that. Secrets get none, and are marked so that
//! proxies keep none either.
//!
//! Entries are found by chains, as in LZ77: for each hash of a name the newest entry, and in each entry the one
//! before. Read next: `table.rs`, `statics.rs`.

use bytes::{BufMut, BytesMut};
use std::mem;

use pingora_http::fields::KnownName;

use super::kind::Pseudo;
use super::statics::{self, STATIC, Traits, Worth};
use super::table::{Name, OVERHEAD, Table};
use super::{
    DEFAULT_TABLE_SIZE, HUFFMAN, INCREMENTAL, INDEXED, NEVER_INDEXED, SIZE_UPDATE, huffman,
};

/// The sending side of a connection. It allocates nothing before a field that may be worth an entry.
pub(crate) struct Encoder {
    pub(super) table: Table<Mark>,
    chains: Option<Box<Chains>>,
    /// The number of the newest entry; numbers count all entries that ever were, and wrap.
    pub(super) newest: u16,
    /// The smallest size since the last block, when the size was set, and the last one.
    resized: Option<(usize, usize)>,
}

impl Encoder {
    /// Returns an encoder whose table has the size that the protocol starts with.
    pub(crate) fn new() -> Self {
        Encoder {
            table: Table::new(DEFAULT_TABLE_SIZE),
            chains: None,
            newest: 0,
            resized: None,
        }
    }

    /// Takes the peer's SETTINGS_HEADER_TABLE_SIZE; the next [`Encoder::begin`] tells the peer what is used of it.
    pub(crate) fn set_max_table_size(&mut self, size: usize) {
        let size = size.min(DEFAULT_TABLE_SIZE);
        let lowest = self.resized.map_or(size, |(lowest, _)| lowest.min(size));
        self.resized = Some((lowest, size));
    }

    /// Starts a header block.
    pub(crate) fn begin(&mut self, out: &mut BytesMut) {
        let Some((lowest, last)) = self.resized.take() else {
            return;
        };
        // The smallest size evicts, so the peer must hear of it (RFC 7541 4.2).
        for size in [lowest, last] {
            if size != self.table.max_size() {
                self.table.set_max_size(size);
                write_integer(size, SIZE_UPDATE, 0x1f, out);
            }
        }
    }

    /// Writes a pseudo-header.
    pub(crate) fn pseudo(&mut self, name: Pseudo, value: &[u8], out: &mut BytesMut) {
        let (index, is_equal) = match (name, value) {
            (Pseudo::Authority, _) => (1, false),
            (Pseudo::Method, b"GET") => (2, true),
            (Pseudo::Method, b"POST") => (3, true),
            (Pseudo::Method, _) => (2, false),
            (Pseudo::Path, b"/") => (4, true),
            (Pseudo::Path, b"/index.html") => (5, true),
            (Pseudo::Path, _) => (4, false),
            (Pseudo::Protocol, _) => (0, false),
            (Pseudo::Scheme, b"http") => (6, true),
            (Pseudo::Scheme, b"https") => (7, true),
            (Pseudo::Scheme, _) => (6, false),
            (Pseudo::Status, _) => match STATUSES.iter().position(|(text, _)| *text == value) {
                Some(at) => (FIRST_STATUS + at as u8, true),
                None => (FIRST_STATUS, false),
            },
        };
        if is_equal {
            out.put_u8(INDEXED | index);
            return;
        }
        let line = Line {
            name: name.as_str().as_bytes(),
            id: PSEUDO_IDS + name as u16,
            value,
        };
        let worth = match name {
            Pseudo::Path => Worth::Changing,
            _ => Worth::Lasting,
        };
        self.put(&line, || Traits { index, worth }, out);
    }

    /// Writes the status of a response.
    #[inline]
    pub(crate) fn status(&mut self, status: u16, out: &mut BytesMut) {
        if let Some(at) = STATUSES.iter().position(|(_, number)| *number == status) {
            out.put_u8(INDEXED | (FIRST_STATUS + at as u8));
            return;
        }
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        self.pseudo(Pseudo::Status, &[digit(100), digit(10), digit(1)], out);
    }

    /// Writes a field, with its name in lower case. `known` is what [`KnownName::of`] finds for the name. A
    /// `sensitive` field is never put into a table (RFC 7541 7.1.3).
    pub(crate) fn field(
        &mut self,
        name: &[u8],
        known: Option<KnownName>,
        value: &[u8],
        sensitive: bool,
        out: &mut BytesMut,
    ) {
        let Some(known) = known else {
            let id = OTHER_IDS | digest::<true>(name);
            let line = Line { name, id, value };
            if sensitive {
                let index = statics::of_other(name).index;
                literal(NEVER_INDEXED, index.into(), &line, out);
            } else {
                self.put(&line, || statics::of_other(name), out);
            }
            return;
        };
        let id = known as u16;
        let line = Line { name, id, value };
        let traits = statics::of_known(known);
        let is_secret = match traits.worth {
            Worth::Lasting | Worth::Changing => sensitive,
            Worth::Secret => true,
            Worth::SecretIfShort => sensitive || value.len() < SHORT_SECRET,
        };
        if is_secret {
            literal(NEVER_INDEXED, traits.index.into(), &line, out);
        } else {
            self.put(&line, || traits, out);
        }
    }

    /// Writes a field that may be in the table: its index, or a literal.
    #[inline]
    fn put(&mut self, line: &Line<'_>, traits: impl FnOnce() -> Traits, out: &mut BytesMut) {
        let value = digest::<false>(line.value);
        if let Some(age) = self.find_newest(line, value) {
            write_integer(FIRST_DYNAMIC + age, INDEXED, 0x7f, out);
            return;
        }
        match self.find(line, value) {
            Found::Field(age) => write_integer(FIRST_DYNAMIC + age, INDEXED, 0x7f, out),
            Found::Name(age) => self.add(line, value, Some(age), traits(), out),
            Found::Nothing => self.add(line, value, None, traits(), out),
        }
    }

    /// Writes a literal, and gives it an entry if it is worth one. `same_name` is the age of an entry of that name.
    #[inline(never)]
    fn add(
        &mut self,
        line: &Line<'_>,
        value: u16,
        same_name: Option<usize>,
        traits: Traits,
        out: &mut BytesMut,
    ) {
        if traits.index == ACCEPT_ENCODING && line.value == b"gzip, deflate" {
            out.put_u8(INDEXED | ACCEPT_ENCODING);
            return;
        }
        let index = match (traits.index, same_name) {
            (0, None) => 0,
            (0, Some(age)) => FIRST_DYNAMIC + age,
            (index, _) => usize::from(index),
        };
        let changes = traits.worth == Worth::Changing || same_name.is_some();
        let size = line.name.len() + line.value.len() + OVERHEAD;
        let fits = size <= self.table.max_size() / MIN_ENTRIES;
        if !fits || (changes && !self.came_before(line.id, value)) {
            literal(0, index, line, out);
            return;
        }
        literal(INCREMENTAL, index, line, out);
        let chains = self.chains.get_or_insert_with(Chains::boxed);
        let head = &mut chains.heads[usize::from(line.id) % CHAINS];
        let mark = Mark {
            name: line.id,
            value,
            older: *head,
        };
        let name = same_name.map_or(Name::Bytes(line.name), Name::OfEntry);
        if self.table.insert(name, line.value, mark) {
            self.table.lower_newest_name();
            self.newest = self.newest.wrapping_add(1);
            *head = self.newest;
        }
    }

    /// Returns whether the same value of a changing field came not long ago, and remembers this one. So a date,
    /// which lasts a second, gets an entry on busy connections only: there it saves some twenty bytes for the rest
    /// of the second, and on others it pushes nothing out.
    fn came_before(&mut self, name: u16, value: u16) -> bool {
        let tag = value.wrapping_add(name.wrapping_mul(0x9e37));
        let chains = self.chains.get_or_insert_with(Chains::boxed);
        let place = &mut chains.changing[usize::from(tag) % CHANGING];
        mem::replace(place, tag) == tag
    }

    /// Returns the age of the newest entry in the chain of the name if it is this field, which it mostly is.
    #[inline]
    fn find_newest(&self, line: &Line<'_>, value: u16) -> Option<usize> {
        let chains = self.chains.as_ref()?;
        let age = self.newest.wrapping_sub(chains.head(line.id)).into();
        let entry = self.table.get(age)?;
        let is_it = (entry.mark.name, entry.mark.value) == (line.id, value)
            && entry.value == line.value
            && line.is_name(entry.name);
        is_it.then_some(age)
    }

    /// Looks for a field whose value has this hash, and for its name.
    #[inline(never)]
    fn find(&self, line: &Line<'_>, value: u16) -> Found {
        let Some(chains) = &self.chains else {
            return Found::Nothing;
        };
        let mut found = Found::Nothing;
        let mut number = chains.head(line.id);
        let mut at_least = 0;
        for _ in 0..MAX_STEPS {
            let age = self.newest.wrapping_sub(number);
            let Some(entry) = self.table.get(age.into()) else {
                break;
            };
            if entry.mark.name == line.id && line.is_name(entry.name) {
                if entry.mark.value == value && entry.value == line.value {
                    return Found::Field(age.into());
                }
                if let Found::Nothing = found {
                    found = Found::Name(age.into());
                }
            }
            // What is not older is the number of an entry that is long gone.
            if age < at_least {
                break;
            }
            at_least = age + 1;
            number = entry.mark.older;
        }
        found
    }
}

/// A field to write: its name perhaps not in lower case.
struct Line<'a> {
    name: &'a [u8],
    /// A number of its own for known names and pseudo-headers, a hash for others.
    id: u16,
    value: &'a [u8],
}

impl Line<'_> {
    /// Returns whether this is the name of an entry with the same id.
    #[inline]
    fn is_name(&self, name: &[u8]) -> bool {
        self.id < OTHER_IDS || name == self.name || name.eq_ignore_ascii_case(self.name)
    }
}

/// Beyond all known names, which are no more than 64, and with chains of their own.
const PSEUDO_IDS: u16 = 96;
const OTHER_IDS: u16 = 0x8000;

/// How entries are found.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    name: u16,
    /// The hash of the value.
    value: u16,
    /// The number of an older entry in the same chain.
    older: u16,
}

enum Found {
    Field(usize),
    Name(usize),
    Nothing,
}

struct Chains {
    /// For each hash of a name, the number of the newest entry.
    heads: [u16; CHAINS],
    /// Hashes of the last fields that change.
    changing: [u16; CHANGING],
}

impl Chains {
    fn boxed() -> Box<Self> {
        Box::new(Chains {
            heads: [0; CHAINS],
            changing: [0; CHANGING],
        })
    }

    #[inline]
    fn head(&self, name: u16) -> u16 {
        self.heads[usize::from(name) % CHAINS]
    }
}

/// Enough for each known name and pseudo-header to have its own; others share them.
const CHAINS: usize = 64;

/// A few messages have about so many.
const CHANGING: usize = 16;

/// How many entries of a chain are looked at: more than a name has values that come often.
const MAX_STEPS: usize = 16;

/// How many of the largest entries fit in the table: one alone should not push out all others.
const MIN_ENTRIES: usize = 4;

/// A cookie shorter than this could be guessed byte by byte.
const SHORT_SECRET: usize = 20;

const FIRST_DYNAMIC: usize = STATIC.len() + 1;

const FIRST_STATUS: u8 = 8;
const STATUSES: [(&[u8], u16); 7] = [
    (b"200", 200),
    (b"204", 204),
    (b"206", 206),
    (b"304", 304),
    (b"400", 400),
    (b"404", 404),
    (b"500", 500),
];

/// The only value in the static table that is not of a pseudo-header.
const ACCEPT_ENCODING: u8 = 16;

/// Returns a hash of the length and of the ends; when `LOWER`, the same for names that differ in case.
#[inline]
fn digest<const LOWER: bool>(bytes: &[u8]) -> u16 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (start, end) = ends(bytes);
    let case = if LOWER { u64::MAX / 255 * 0x20 } else { 0 };
    let mixed = (start | case).wrapping_mul(FACTOR) ^ (end | case) ^ bytes.len() as u64;
    (mixed.wrapping_mul(FACTOR) >> 48) as u16
}

/// Returns the first and last eight bytes, or fewer.
#[inline]
fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*start), u64::from_le_bytes(*end));
    }
    if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let word = |chunk: &[u8; 4]| u32::from_le_bytes(*chunk).into();
        return (word(start), word(end));
    }
    match bytes {
        [] => (0, 0),
        [first, .., last] => (
            u64::from(*first) << 8 | u64::from(bytes[1]),
            u64::from(*last),
        ),
        [only] => (u64::from(*only), 0),
    }
}

/// Writes a literal; `flags` say who may keep it.
fn literal(flags: u8, index: usize, line: &Line<'_>, out: &mut BytesMut) {
    let mask = if flags == INCREMENTAL { 0x3f } else { 0x0f };
    write_integer(index, flags, mask, out);
    if index == 0 {
        write_string::<true>(line.name, out);
    }
    write_string::<false>(line.value, out);
}

/// Writes an integer in the bits of `mask` and as many bytes as it needs (RFC 7541 5.1).
#[inline]
pub(super) fn write_integer(value: usize, flags: u8, mask: u8, out: &mut BytesMut) {
    if value < usize::from(mask) {
        out.put_u8(flags | value as u8);
        return;
    }
    out.put_u8(flags | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Writes a string in the Huffman code when that is shorter (RFC 7541 5.2), in lower case when `LOWER`.
fn write_string<const LOWER: bool>(raw: &[u8], out: &mut BytesMut) {
    const LONG: usize = 0x7f;
    if raw.len() < LONG {
        // The length takes one byte in either case.
        let at = out.len();
        out.put_u8(raw.len() as u8);
        if huffman::encode::<LOWER>(raw, out) {
            out[at] = HUFFMAN | (out.len() - at - 1) as u8;
            return;
        }
    } else {
        let len = huffman::encoded_len::<LOWER>(raw);
        if len < raw.len() {
            write_integer(len, HUFFMAN, 0x7f, out);
            huffman::encode::<LOWER>(raw, out);
            return;
        }
        write_integer(raw.len(), 0, 0x7f, out);
    }
    let at = out.len();
    out.extend_from_slice(raw);
    if LOWER {
        out[at..].make_ascii_lowercase();
    }
}
