//! Header blocks to fields (RFC 7541 3 and 6). It says what each field is, but refuses only what is no HPACK.
//! Read next: `kind.rs`, `table.rs`.

use std::ops::Range;

use super::kind::{Field, Judged, Kind};
use super::statics::STATIC;
use super::table::{Found, Name, Table};
use super::{
    DEFAULT_TABLE_SIZE, HUFFMAN, INCREMENTAL, INDEXED, NEVER_INDEXED, SIZE_UPDATE, huffman,
};

/// Why a block is no HPACK: the connection must end with COMPRESSION_ERROR (RFC 9113 4.3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A few bytes that become a list without end: entries of the table, again and again.
pub(crate) const ENDLESS: Malformed = Malformed("a list without end");

/// Bytes each field counts beside its name and value (RFC 9113 6.5.2).
pub(crate) const FIELD_OVERHEAD: usize = 32;

/// The receiving side of a connection. It allocates nothing until an entry is kept.
pub(crate) struct Decoder {
    pub(super) table: Table<Judged>,
    /// What the peer may set the size of the table to.
    max_table_size: usize,
}

impl Decoder {
    /// Returns a decoder that announces `max_table_size` as SETTINGS_HEADER_TABLE_SIZE. Until the peer knows of it
    /// and says so with a size update, the table has the protocol's size.
    pub(crate) fn new(max_table_size: usize) -> Self {
        Decoder {
            table: Table::new(DEFAULT_TABLE_SIZE),
            max_table_size,
        }
    }

    /// Decodes a whole header block; calls `field` with each field in order.
    ///
    /// # Errors
    /// When the block is no HPACK, and [`ENDLESS`] when the list is longer than `max_list` bytes, each
    /// field counted with 32 more. The connection must end: what comes next cannot be understood.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        max_list: usize,
        mut field: impl FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        let mut left = max_list;
        let mut field = |decoded: Field<'_>| {
            let size = decoded.name.len() + decoded.value.len() + FIELD_OVERHEAD;
            left = left.checked_sub(size).ok_or(ENDLESS)?;
            field(decoded);
            Ok(())
        };
        let mut input = Input { rest: block };
        let mut scratch = Scratch::new();
        self.update_size(&mut input)?;
        while let Some(first) = input.next() {
            if first & INDEXED != 0 {
                let index = input.integer(first, 0x7f)?;
                field(self.entry(index)?)?;
                continue;
            }
            let is_kept = first & INCREMENTAL != 0;
            if !is_kept && first & SIZE_UPDATE != 0 {
                return Err(Malformed("a size update after a field"));
            }
            let index = input.integer(first, if is_kept { 0x3f } else { 0x0f })?;
            let literal = Literal::read(index, &mut input, &mut scratch)?;
            let (name, kind) = self.name_of(&literal, &scratch)?;
            let value = literal.value.of(&scratch);
            let judged = Judged::new(kind, value);
            field(Field {
                name,
                value,
                kind: judged.kind(),
                is_sensitive: !is_kept && first & NEVER_INDEXED != 0,
            })?;
            if is_kept {
                self.keep(&literal, judged, &scratch);
            }
        }
        Ok(())
    }

    /// Takes the size updates at the start of a block (RFC 7541 4.2).
    #[inline]
    fn update_size(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        while let Some(&first) = input.rest.first()
            && first & !0x1f == SIZE_UPDATE
        {
            input.next();
            let size = input.integer(first, 0x1f)?;
            if size > self.max_table_size {
                return Err(Malformed("a size update above the limit"));
            }
            self.table.set_max_size(size);
        }
        Ok(())
    }

    /// Puts a literal into the table.
    fn keep(&mut self, literal: &Literal<'_>, judged: Judged, scratch: &Scratch) {
        let name = match literal.index.checked_sub(STATIC.len() + 1) {
            Some(age) => Name::OfEntry(age),
            None => Name::Bytes(match STATIC.get(literal.index.wrapping_sub(1)) {
                Some(entry) => entry.name.as_bytes(),
                None => literal.name.of(scratch),
            }),
        };
        self.table.insert(name, literal.value.of(scratch), judged);
    }

    /// Returns the entry with this index, in either table (RFC 7541 2.3.3).
    #[inline]
    fn entry(&self, index: usize) -> Result<Field<'_>, Malformed> {
        if let Some(entry) = STATIC.get(index.wrapping_sub(1)) {
            return Ok(Field {
                name: entry.name.as_bytes(),
                value: entry.value.as_bytes(),
                kind: entry.kind,
                is_sensitive: false,
            });
        }
        let entry = self.dynamic(index)?;
        Ok(Field {
            name: entry.name,
            value: entry.value,
            kind: entry.mark.kind(),
            is_sensitive: false,
        })
    }

    /// Returns the name of a literal, and the kind of such names.
    #[inline]
    fn name_of<'a>(
        &'a self,
        literal: &Literal<'a>,
        scratch: &'a Scratch,
    ) -> Result<(&'a [u8], Kind), Malformed> {
        if literal.index == 0 {
            let name = literal.name.of(scratch);
            return Ok((name, Kind::of_name(name)));
        }
        if let Some(entry) = STATIC.get(literal.index - 1) {
            return Ok((entry.name.as_bytes(), entry.kind));
        }
        let entry = self.dynamic(literal.index)?;
        Ok((entry.name, entry.mark.name))
    }

    #[inline]
    fn dynamic(&self, index: usize) -> Result<Found<'_, Judged>, Malformed> {
        index
            .checked_sub(STATIC.len() + 1)
            .and_then(|age| self.table.get(age))
            .ok_or(Malformed("an index that no table has"))
    }
}

/// A literal field: its name is in a table, or here when the index is 0.
struct Literal<'a> {
    index: usize,
    name: Text<'a>,
    value: Text<'a>,
}

impl<'a> Literal<'a> {
    #[inline]
    fn read(index: usize, input: &mut Input<'a>, scratch: &mut Scratch) -> Result<Self, Malformed> {
        scratch.used = 0;
        let name = match index {
            0 => input.string(scratch)?,
            _ => Text::Plain(&[]),
        };
        let value = input.string(scratch)?;
        Ok(Literal { index, name, value })
    }
}

/// A string of a literal.
enum Text<'a> {
    Plain(&'a [u8]),
    /// In the scratch.
    Decoded(Range<usize>),
}

impl<'a> Text<'a> {
    #[inline]
    fn of(&self, scratch: &'a Scratch) -> &'a [u8] {
        match self {
            Text::Plain(bytes) => bytes,
            Text::Decoded(range) => &scratch.bytes()[range.clone()],
        }
    }
}

/// What is left of a block.
pub(super) struct Input<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Returns the integer that starts in the bits of `mask` (RFC 7541 5.1).
    #[inline]
    pub(super) fn integer(&mut self, first: u8, mask: u8) -> Result<usize, Malformed> {
        match first & mask {
            prefix if prefix == mask => self.long_integer(prefix.into()),
            prefix => Ok(prefix.into()),
        }
    }

    #[inline(never)]
    fn long_integer(&mut self, mut value: usize) -> Result<usize, Malformed> {
        // 28 bits: more than any index, length or size, and nothing overflows.
        for shift in [0, 7, 14, 21] {
            let byte = self.next().ok_or(CUT)?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("an integer that is too large"))
    }

    #[inline]
    fn string(&mut self, scratch: &mut Scratch) -> Result<Text<'a>, Malformed> {
        let first = self.next().ok_or(CUT)?;
        let len = self.integer(first, 0x7f)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        match first & HUFFMAN {
            0 => Ok(Text::Plain(bytes)),
            _ => scratch.decode(bytes).map(Text::Decoded),
        }
    }
}

const CUT: Malformed = Malformed("a block that ends within a field");

/// Where the strings of a literal are decoded to.
struct Scratch {
    /// Enough for most, so that a block costs no allocation.
    small: [u8; 256],
    /// Used instead once a string is too long for that.
    large: Vec<u8>,
    used: usize,
}

impl Scratch {
    #[inline]
    const fn new() -> Self {
        Scratch {
            small: [0; 256],
            large: Vec::new(),
            used: 0,
        }
    }

    /// Decodes a string; returns where it is.
    fn decode(&mut self, coded: &[u8]) -> Result<Range<usize>, Malformed> {
        let start = self.used;
        let end = start + huffman::decoded_bound(coded.len());
        if self.bytes().len() < end {
            self.grow(end);
        }
        let bytes = if self.large.is_empty() {
            &mut self.small[..]
        } else {
            &mut self.large[..]
        };
        let len = huffman::decode(coded, &mut bytes[start..end])
            .ok_or(Malformed("a string that is no Huffman code"))?;
        self.used += len;
        Ok(start..self.used)
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        if self.large.is_empty() {
            self.large.extend_from_slice(&self.small[..self.used]);
        }
        self.large.resize(len, 0);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.large.is_empty() {
            &self.small
        } else {
            &self.large
        }
    }
}
