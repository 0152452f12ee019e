//! What others want to see of the table: HTTP/1 lines, a `HeaderMap`, names with their case.
//! Read next: `../head.rs`.

use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_error::Result;

use super::{ADDED, Fields, LINE, Record, SENSITIVE};
use crate::case_header_name::{CaseHeaderName, HeaderNameVariant};
use crate::value::{header_value_from_raw, header_value_from_slice};

impl Fields {
    /// Writes the field lines, without the empty line that ends a head.
    ///
    /// Lines that lie next to each other in a buffer are written with one `put_slice`.
    pub(crate) fn write_lines(&self, buf: &mut impl BufMut) {
        let mut run = 0..0;
        let mut run_in = 0;
        for record in &self.records {
            let is_line = record.is(LINE);
            if is_line && record.flags & ADDED == run_in && record.name_at as usize == run.end {
                run.end = record.line().end;
                continue;
            }
            if !run.is_empty() {
                buf.put_slice(&self.source(run_in)[run]);
            }
            if is_line {
                run = record.line();
                run_in = record.flags & ADDED;
            } else {
                run = 0..0;
                self.write_apart(record, buf);
            }
        }
        if !run.is_empty() {
            buf.put_slice(&self.source(run_in)[run]);
        }
    }

    /// Returns the fields as a map.
    ///
    /// Bytes a value must not hold become spaces, a name that is no token has no place in a map,
    /// nor has a field over the map's limit of 24,576 names: parsers refuse all three.
    pub(crate) fn to_map(&self) -> HeaderMap {
        self.map_of(|record| self.header_value(record))
    }

    /// Returns the fields as [`to_map`](Self::to_map) does, with values that keep nothing but
    /// themselves in memory: what was received may lie in a large buffer.
    pub(crate) fn to_detached_map(&self) -> HeaderMap {
        let received = Bytes::copy_from_slice(&self.received);
        let added = match self
            .records
            .iter()
            .filter(|record| record.is(ADDED))
            .count()
        {
            // As many copies as it would take to share one.
            0..=2 => Bytes::new(),
            _ => Bytes::copy_from_slice(&self.added),
        };
        self.map_of(|record| {
            let lies_in = match record.is(ADDED) {
                true if added.is_empty() => return self.header_value(record),
                true => &added,
                false => &received,
            };
            sensitive_if(record, value_in(lies_in, record))
        })
    }

    fn map_of(&self, value: impl Fn(&Record) -> HeaderValue) -> HeaderMap {
        let mut map = HeaderMap::try_with_capacity(self.records.len()).unwrap_or_default();
        for record in &self.records {
            let Some(name) = self.header_name(record) else {
                continue;
            };
            if map.try_append(name, value(record)).is_err() {
                break;
            }
        }
        map
    }

    /// Returns names in the spelling they are written in, with their values.
    pub(crate) fn cased(&self) -> &[(CaseHeaderName, HeaderValue)] {
        self.cased.get_or_init(|| {
            let added = Bytes::copy_from_slice(&self.added);
            let cased = |record: &Record| {
                let name = match record.is(ADDED) {
                    true => added.slice(record.name()),
                    false => self.received.slice(record.name()),
                };
                (CaseHeaderName::new(name), self.header_value(record))
            };
            self.records.iter().map(cased).collect()
        })
    }

    /// Calls `f` with each name and value until it fails.
    pub(crate) fn map<F>(&self, mut f: F) -> Result<()>
    where
        F: FnMut(HeaderNameVariant<'_>, &HeaderValue) -> Result<()>,
    {
        if self.keeps_case {
            return self
                .cased()
                .iter()
                .try_for_each(|(name, value)| f(HeaderNameVariant::Case(name), value));
        }
        for record in &self.records {
            let Ok(name) = std::str::from_utf8(self.name_bytes(record)) else {
                continue;
            };
            f(HeaderNameVariant::Titled(name), &self.header_value(record))?;
        }
        Ok(())
    }

    pub(super) fn header_value(&self, record: &Record) -> HeaderValue {
        let value = match record.is(ADDED) {
            true => header_value_from_slice(self.value_bytes(record)),
            false => value_in(&self.received, record),
        };
        sensitive_if(record, value)
    }

    fn header_name(&self, record: &Record) -> Option<HeaderName> {
        match record.known {
            Some(known) => Some(known.header_name()),
            None => HeaderName::from_bytes(self.name_bytes(record)).ok(),
        }
    }

    fn source(&self, flag: u8) -> &[u8] {
        if flag == ADDED {
            &self.added
        } else {
            &self.received
        }
    }

    /// Writes a field whose bytes are not a clean line, such as `Host:a` or one ended by LF only.
    fn write_apart(&self, record: &Record, buf: &mut impl BufMut) {
        buf.put_slice(self.name_bytes(record));
        buf.put_slice(b": ");
        buf.put_slice(self.value_bytes(record));
        buf.put_slice(b"\r\n");
    }
}

/// Returns the value of a record as a part of the buffer it lies in.
fn value_in(buffer: &Bytes, record: &Record) -> HeaderValue {
    let raw = || buffer.slice(record.value());
    // What a parser let pass is valid, mostly.
    HeaderValue::from_maybe_shared(raw()).unwrap_or_else(|_| header_value_from_raw(raw()))
}

fn sensitive_if(record: &Record, mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(record.is(SENSITIVE));
    value
}
