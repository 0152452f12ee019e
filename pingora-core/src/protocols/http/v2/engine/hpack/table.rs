//! The dynamic table (RFC 7541 2.3.2 and 4): entries in one buffer, the newest first in the index.
//!
//! New entries are appended, evicted ones leave dead bytes at the start, and when the buffer is full and a quarter
//! of it is dead, the living move down. So names and values are always whole slices, an entry costs no allocation
//! once the buffer has grown, moving costs each byte a few copies at most, and nothing is allocated before the
//! first entry. A ring would cut entries in two, a box for each entry would allocate for each.

use std::collections::VecDeque;

/// What an entry counts besides its name and value (RFC 7541 4.1).
pub(super) const OVERHEAD: usize = 32;

/// What is allocated for the first entry: room for the fields of a short message, so that the first one does not
/// grow the table again and again.
const FIRST_BYTES: usize = 256;
const FIRST_ENTRIES: usize = 8;

/// A dynamic table whose entries carry a mark.
pub(super) struct Table<M> {
    bytes: Vec<u8>,
    /// The position of the first of `bytes`; positions count all bytes that ever came, and wrap.
    origin: u32,
    /// The size of all entries, as the protocol counts.
    size: usize,
    max_size: usize,
    /// The oldest first.
    entries: VecDeque<Entry<M>>,
}

struct Entry<M> {
    position: u32,
    name_len: u32,
    value_len: u32,
    mark: M,
}

/// Where the name of a new entry is.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Bytes(&'a [u8]),
    /// In the entry of this age, which may be evicted by the new one (RFC 7541 4.4).
    OfEntry(usize),
}

/// An entry.
pub(super) struct Found<'a, M> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) mark: M,
}

impl<M: Copy> Table<M> {
    pub(super) const fn new(max_size: usize) -> Self {
        Table {
            bytes: Vec::new(),
            origin: 0,
            size: 0,
            max_size,
            entries: VecDeque::new(),
        }
    }

    /// Adds an entry, evicting old ones; one that is larger than the table only empties it (RFC 7541 4.4). Returns
    /// whether the entry is in the table.
    pub(super) fn insert(&mut self, name: Name<'_>, value: &[u8], mark: M) -> bool {
        let source = match name {
            Name::Bytes(bytes) => Some(bytes.len()),
            Name::OfEntry(age) => self.entry(age).map(|entry| entry.name_len as usize),
        };
        let Some(name_len) = source else {
            return false;
        };
        let len = name_len + value.len();
        if len + OVERHEAD > self.max_size {
            self.evict_to(0);
            return false;
        }
        self.make_room(len);
        let position = self.origin.wrapping_add(self.bytes.len() as u32);
        match name {
            Name::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
            Name::OfEntry(age) => {
                let start = self.entry(age).map_or(0, |entry| self.start(entry));
                self.bytes.extend_from_within(start..start + name_len);
            }
        }
        self.bytes.extend_from_slice(value);
        self.evict_to(self.max_size - len - OVERHEAD);
        self.size += len + OVERHEAD;
        self.entries.push_back(Entry {
            position,
            name_len: name_len as u32,
            value_len: value.len() as u32,
            mark,
        });
        true
    }

    /// Makes the name of the newest entry lower case.
    pub(super) fn lower_newest_name(&mut self) {
        if let Some(newest) = self.entries.back() {
            let (start, len) = (self.start(newest), newest.name_len as usize);
            self.bytes[start..start + len].make_ascii_lowercase();
        }
    }

    /// Changes the limit, evicting what is beyond it (RFC 7541 4.3).
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict_to(max_size);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.entries = VecDeque::new();
        }
    }

    /// Returns the entry before which `age` newer ones are.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<Found<'_, M>> {
        let entry = self.entry(age)?;
        let (name, rest) = self
            .bytes
            .get(self.start(entry)..)?
            .split_at_checked(entry.name_len as usize)?;
        Some(Found {
            name,
            value: rest.get(..entry.value_len as usize)?,
            mark: entry.mark,
        })
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Evicts the oldest entries until the rest is no larger than `size`.
    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= (entry.name_len + entry.value_len) as usize + OVERHEAD;
        }
    }

    /// Makes room for `len` more bytes. No entry is lost, but starts move.
    fn make_room(&mut self, len: usize) {
        if self.bytes.capacity() - self.bytes.len() >= len {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(len.max(FIRST_BYTES));
            self.entries.reserve(FIRST_ENTRIES);
            return;
        }
        let dead = match self.entries.front() {
            Some(oldest) => self.start(oldest),
            None => self.bytes.len(),
        };
        if dead >= self.bytes.len() / 4 {
            self.bytes.drain(..dead);
            self.origin = self.origin.wrapping_add(dead as u32);
        }
        self.bytes.reserve(len);
    }

    #[inline]
    fn entry(&self, age: usize) -> Option<&Entry<M>> {
        self.entries.get(self.entries.len().checked_sub(age + 1)?)
    }

    #[inline]
    fn start(&self, entry: &Entry<M>) -> usize {
        entry.position.wrapping_sub(self.origin) as usize
    }
}
