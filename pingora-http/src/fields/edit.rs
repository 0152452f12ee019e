//! Changes of the table. Each keeps `present` right and drops what was derived from the old state.
//! Read next: `../head.rs`, which keeps a built `HeaderMap` in step.

use std::cell::RefCell;

use http::header::{AsHeaderName, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_error::{Error, ErrorType, Result};

use super::{ADDED, Field, Fields, KnownName, LINE, MAX_ADDED_BYTES, MAX_FIELDS, Record};
use super::{SENSITIVE, SPARE_BYTES, SPARE_RECORDS};
use crate::case_header_name::push_titled;
use crate::value::is_clean;

/// Room made for added lines with the first of them: what a proxy typically puts in.
const FIRST_ADDED_BYTES: usize = 256;

/// Replaced lines are not worth collecting below this many bytes.
const COMPACT_FROM_BYTES: usize = 4096;

thread_local! {
    /// An empty map that tells the name of an `AsHeaderName`, a trait that keeps it to itself.
    static NAMES: RefCell<HeaderMap<()>> = RefCell::new(HeaderMap::default());
}

impl Fields {
    /// Returns a table of the fields of `map`, which keeps no case.
    pub(crate) fn from_map(map: &HeaderMap) -> Self {
        let mut fields = Self::new(false, map.len() + SPARE_RECORDS);
        let line_len =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let lines: usize = map.iter().map(line_len).sum();
        if lines > 0 {
            fields.added.reserve_exact(lines + SPARE_BYTES);
        }
        for (name, value) in map {
            let name = name.as_str().as_bytes();
            let known = KnownName::of(name);
            let record = fields.write_line(name, value.as_bytes(), known, sensitive(value));
            fields.push(record);
        }
        fields
    }

    /// Replaces the first field of this valid name in place and drops the others, or appends it.
    pub(crate) fn insert(&mut self, name: &[u8], value: &HeaderValue) -> Result<()> {
        self.check_room(name, value)?;
        let known = KnownName::of(name);
        let record = self.write_line(name, value.as_bytes(), known, sensitive(value));
        self.replace(name, record);
        Ok(())
    }

    /// Appends a field of this valid name and returns whether the name was there before.
    pub(crate) fn append(&mut self, name: &[u8], value: &HeaderValue) -> Result<bool> {
        self.check_room(name, value)?;
        let known = KnownName::of(name);
        let existed = match known {
            Some(known) => self.has(known),
            None => self.position(name, None).is_some(),
        };
        let record = self.write_line(name, value.as_bytes(), known, sensitive(value));
        self.push(record);
        Ok(existed)
    }

    /// Replaces or appends the field of this name, in Title-Case.
    pub(crate) fn set_known(&mut self, known: KnownName, value: &[u8]) {
        debug_assert!(is_clean(value), "the engine sets valid values");
        let name = known.titled().as_bytes();
        let record = self.write_line(name, value, Some(known), 0);
        if self.has(known) {
            self.replace(name, record);
        } else {
            self.push(record);
        }
    }

    /// Removes every field of this name and returns whether there was one.
    pub(crate) fn remove_known(&mut self, known: KnownName) -> bool {
        if !self.has(known) {
            return false;
        }
        self.present &= !known.bit();
        self.drop_named(known.as_str().as_bytes(), Some(known), 0);
        true
    }

    /// Removes every field of this name and returns the name and the first value.
    pub(crate) fn remove<'a, N>(&mut self, name: &'a N) -> Option<(HeaderName, HeaderValue)>
    where
        N: ?Sized,
        &'a N: 'a + AsHeaderName,
    {
        let name = name_of(name)?;
        let bytes = name.as_str().as_bytes();
        let known = KnownName::of(bytes);
        if known.is_some_and(|known| !self.has(known)) {
            return None;
        }
        let first = self.position(bytes, known)?;
        let value = self.header_value(&self.records[first]);
        if let Some(known) = known {
            self.present &= !known.bit();
        }
        self.drop_named(bytes, known, first);
        Some((name, value))
    }

    /// Removes the fields `keep` returns false for and returns whether there were any.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) -> bool {
        let before = self.records.len();
        let (received, added) = (&self.received, &self.added);
        let (mut present, mut dead) = (0, 0);
        self.records.retain(|record| {
            let kept = keep(record.field(received, added));
            if kept {
                present |= record.known.map_or(0, KnownName::bit);
            } else {
                dead += added_len(*record);
            }
            kept
        });
        if self.records.len() == before {
            return false;
        }
        self.present = present;
        self.dead += dead;
        self.cased.take();
        true
    }

    fn check_room(&self, name: &[u8], value: &HeaderValue) -> Result<()> {
        let bytes = self.added.len() + name.len() + value.len() + 4;
        if self.records.len() < MAX_FIELDS && bytes <= MAX_ADDED_BYTES {
            return Ok(());
        }
        Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            "too many header fields or bytes",
        )
    }

    /// Returns the index of the first record of this name.
    fn position(&self, name: &[u8], known: Option<KnownName>) -> Option<usize> {
        let (received, added) = (&self.received, &self.added);
        self.records
            .iter()
            .position(|record| record.is_named(name, known, received, added))
    }

    /// Puts `new` where the first record of this name is and drops the others, or appends it.
    fn replace(&mut self, name: &[u8], new: Record) {
        let Some(first) = self.position(name, new.known) else {
            self.push(new);
            return;
        };
        self.dead += added_len(self.records[first]);
        self.records[first] = new;
        self.cased.take();
        let (received, added) = (&self.received, &self.added);
        let mut others = self.records[first + 1..].iter();
        if others.any(|record| record.is_named(name, new.known, received, added)) {
            self.drop_named(name, new.known, first + 1);
        }
    }

    fn push(&mut self, record: Record) {
        self.present |= record.known.map_or(0, KnownName::bit);
        self.records.push(record);
        self.cased.take();
    }

    /// Drops the records of this name from index `from` on; `present` is the caller's.
    fn drop_named(&mut self, name: &[u8], known: Option<KnownName>, from: usize) {
        let (received, added) = (&self.received, &self.added);
        let mut dead = 0;
        let mut at = 0;
        self.records.retain(|record| {
            let dropped = at >= from && record.is_named(name, known, received, added);
            at += 1;
            dead += if dropped { added_len(*record) } else { 0 };
            !dropped
        });
        self.dead += dead;
        self.cased.take();
    }

    /// Appends `name: value\r\n` to `added`; the name in Title-Case when no case is kept.
    fn write_line(
        &mut self,
        name: &[u8],
        value: &[u8],
        known: Option<KnownName>,
        flags: u8,
    ) -> Record {
        if self.dead > COMPACT_FROM_BYTES && self.dead > self.added.len() / 2 {
            self.compact();
        }
        let line_len = name.len() + value.len() + 4;
        if self.added.capacity() - self.added.len() < line_len {
            self.added.reserve(line_len.max(FIRST_ADDED_BYTES));
        }
        let name_at = offset(self.added.len());
        if self.keeps_case {
            self.added.extend_from_slice(name);
        } else if let Some(known) = known {
            self.added.extend_from_slice(known.titled().as_bytes());
        } else {
            push_titled(name, &mut self.added);
        }
        self.added.extend_from_slice(b": ");
        let value_at = offset(self.added.len());
        self.added.extend_from_slice(value);
        self.added.extend_from_slice(b"\r\n");
        Record {
            name_at,
            value_at,
            value_len: offset(value.len()),
            name_len: u16::try_from(name.len()).expect("names are checked to fit"),
            known,
            flags: flags | ADDED | LINE,
        }
    }

    /// Rewrites `added` with the lines that still have a record.
    #[cold]
    fn compact(&mut self) {
        let mut live = Vec::with_capacity(self.added.len() - self.dead + FIRST_ADDED_BYTES);
        for record in self.records.iter_mut().filter(|record| record.is(ADDED)) {
            let line = record.line();
            let value_from_name = record.value_at - record.name_at;
            record.name_at = offset(live.len());
            record.value_at = record.name_at + value_from_name;
            live.extend_from_slice(&self.added[line]);
        }
        self.added = live;
        self.dead = 0;
    }
}

/// Returns the name `name` is, unless it is none.
fn name_of<'a, N>(name: &'a N) -> Option<HeaderName>
where
    N: ?Sized,
    &'a N: 'a + AsHeaderName,
{
    NAMES.with_borrow_mut(|names| match names.try_entry(name) {
        Ok(Entry::Vacant(entry)) => Some(entry.into_key()),
        Ok(Entry::Occupied(entry)) => Some(entry.key().clone()),
        Err(_) => None,
    })
}

fn sensitive(value: &HeaderValue) -> u8 {
    if value.is_sensitive() { SENSITIVE } else { 0 }
}

/// Returns how many bytes of `added` the record holds.
fn added_len(record: Record) -> usize {
    if record.is(ADDED) {
        record.line().len()
    } else {
        0
    }
}

pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("added bytes are limited to far less than 4 GiB")
}
