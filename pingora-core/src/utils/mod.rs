//! Spans into buffers: a name or value of a header without a copy of it.

// Certificates and keys of the TLS library compiled in.
pub mod tls;

use bytes::Bytes;

/// A span of a buffer: start and end.
///
/// ```
/// use pingora_core::utils::BufRef;
///
/// let span = BufRef::new(2, 3);
/// assert_eq!(span.get(b"a bcd e"), b"bcd");
/// assert_eq!(span.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufRef(pub usize, pub usize);

impl BufRef {
    /// Returns the span of `len` bytes from `start`.
    pub fn new(start: usize, len: usize) -> Self {
        BufRef(start, start + len)
    }

    /// Returns the bytes of `buf` in this span; panics when the span ends beyond it.
    pub fn get<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.0..self.1]
    }

    /// Returns the bytes of `buf` in this span, shared; panics when the span ends beyond it.
    pub fn get_bytes(&self, buf: &Bytes) -> Bytes {
        buf.slice(self.0..self.1)
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.1 - self.0
    }

    /// Returns whether the span has no bytes.
    pub fn is_empty(&self) -> bool {
        self.1 == self.0
    }
}

/// The spans of a name and its value.
///
/// ```
/// use pingora_core::utils::KVRef;
///
/// let pair = KVRef::new(0, 4, 6, 3);
/// assert_eq!(pair.get_name(b"Host: abc"), b"Host");
/// assert_eq!(pair.get_value(b"Host: abc"), b"abc");
/// ```
#[derive(Clone)]
pub struct KVRef {
    name: BufRef,
    value: BufRef,
}

impl KVRef {
    /// Returns the pair of spans, each given as start and length.
    pub fn new(name_s: usize, name_len: usize, value_s: usize, value_len: usize) -> Self {
        KVRef {
            name: BufRef(name_s, name_s + name_len),
            value: BufRef(value_s, value_s + value_len),
        }
    }

    /// Returns the span of the value.
    pub fn value(&self) -> &BufRef {
        &self.value
    }

    /// Returns the name; panics when the span ends beyond `buf`.
    pub fn get_name<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.name.get(buf)
    }

    /// Returns the name, shared; panics when the span ends beyond `buf`.
    pub fn get_name_bytes(&self, buf: &Bytes) -> Bytes {
        self.name.get_bytes(buf)
    }

    /// Returns the value; panics when the span ends beyond `buf`.
    pub fn get_value<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.value.get(buf)
    }

    /// Returns the value, shared; panics when the span ends beyond `buf`.
    pub fn get_value_bytes(&self, buf: &Bytes) -> Bytes {
        self.value.get_bytes(buf)
    }
}

/// A pair of empty spans at the start of a buffer.
pub const EMPTY_KV_REF: KVRef = KVRef {
    name: BufRef(0, 0),
    value: BufRef(0, 0),
};
