//! Header blocks (RFC 7541) as far as framing goes: how fields are represented, and the status. The
//! dynamic table is not kept, strings are not decoded.

/// Returns a field as a literal that is not indexed (RFC 7541 section 6.2.2).
pub fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name.as_ref(), value.as_ref()] {
        match text.len() {
            short @ ..127 => field.push(short as u8),
            long => {
                // RFC 7541 section 5.1: seven bits that are all ones, then the rest in groups of seven.
                let rest = long - 127;
                let groups = [rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14 & 127];
                field.push(127);
                field.extend(groups.map(|group| group as u8));
            }
        }
        field.extend_from_slice(text);
    }
    field
}

/// One representation of a header block (RFC 7541 section 6).
#[derive(Debug, PartialEq)]
pub enum Field {
    /// A new size of the dynamic table.
    Size(usize),
    /// A field of a table.
    Indexed(usize),
    /// A field whose name is at this index, or follows; and its value as it came.
    Literal(usize, Vec<u8>),
}

/// Returns what a header block consists of. Strings stay as they are, Huffman's code included.
pub fn fields(mut block: &[u8]) -> Vec<Field> {
    let block = &mut block;
    let mut fields = Vec::new();
    while let Some(&first) = block.first() {
        fields.push(match first {
            0x80.. => Field::Indexed(integer(block, 7)),
            0x20..0x40 => Field::Size(integer(block, 5)),
            _ => {
                let name = integer(block, if first < 0x40 { 4 } else { 6 });
                if name == 0 {
                    string(block);
                }
                Field::Literal(name, string(block))
            }
        });
    }
    fields
}

/// The dynamic table of an encoder, as far as its size goes (RFC 7541 section 4.2).
pub struct Table {
    size: usize,
    limit: usize,
}

impl Table {
    /// Returns the one of a new connection.
    pub fn new() -> Self {
        Table {
            size: 4096,
            limit: 4096,
        }
    }

    /// Checks the next block; `limits` are those acknowledged since the last one.
    pub fn check(&mut self, limits: &[usize], block: &[u8]) {
        let fields = fields(block);
        let least = limits.iter().copied().min().unwrap_or(self.limit);
        self.limit = limits.last().copied().unwrap_or(self.limit);
        if least < self.size {
            let told = matches!(fields.first(), Some(Field::Size(size)) if *size <= least);
            assert!(told, "a table of {least} was not told: {fields:?}");
        }
        let mut empty = self.size == 0;
        for field in &fields {
            match field {
                Field::Size(size) => {
                    self.size = *size;
                    empty |= self.size == 0;
                }
                Field::Indexed(62..) | Field::Literal(62.., _) => {
                    assert!(!empty, "a field of an empty table: {fields:?}");
                }
                _ => {}
            }
        }
        assert!(self.size <= self.limit, "a table too large: {fields:?}");
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the status a header block begins with.
pub fn status(block: &[u8]) -> u16 {
    let fields = fields(block);
    let first = fields.iter().find(|f| !matches!(f, Field::Size(_)));
    match first.expect("a field") {
        Field::Indexed(at @ 8..=14) => [200, 204, 206, 304, 400, 404, 500][at - 8],
        Field::Literal(8..=14, value) => digits(value),
        _ => panic!("no status comes first: {fields:?}"),
    }
}

/// Returns a number written as text, or in Huffman's code: five bits for 0 to 2, six for 3 to 9.
fn digits(value: &[u8]) -> u16 {
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(number) = text.parse()
    {
        return number;
    }
    let bits = value
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = value.len() * 8;
    let mut number = 0;
    while left >= 8 || left >= 5 && bits & ((1 << left) - 1) != (1 << left) - 1 {
        let five = bits >> (left - 5) & 31;
        let (digit, length) = match five {
            0..3 => (five, 5),
            _ => ((bits >> (left - 6) & 63) - 22, 6),
        };
        (number, left) = (number * 10 + digit as u16, left - length);
    }
    number
}

/// RFC 7541 section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> usize {
    let mask = (1 << prefix) - 1;
    let mut value = (next_byte(block) & mask) as usize;
    if value == mask as usize {
        for shift in (0..28).step_by(7) {
            let byte = next_byte(block);
            value += ((byte & 127) as usize) << shift;
            if byte < 128 {
                break;
            }
        }
    }
    value
}

/// RFC 7541 section 5.2.
fn string(block: &mut &[u8]) -> Vec<u8> {
    let length = integer(block, 7);
    let (text, rest) = block.split_at(length);
    *block = rest;
    text.to_vec()
}

fn next_byte(block: &mut &[u8]) -> u8 {
    let (first, rest) = block.split_first().expect("the block goes on");
    *block = rest;
    *first
}
