//! [`FixedBuffer`]: the start of a body, kept so that it can be sent again; and the `RetryBuffer` of a
//! session, which is one once it is asked for.

use bytes::{Bytes, BytesMut};

/// A buffer that keeps what is written to it until its capacity is exceeded, then nothing.
///
/// Without the whole body a request cannot be sent again, so a truncated buffer is empty.
///
/// ```
/// use pingora_core::protocols::http::body_buffer::FixedBuffer;
///
/// let mut buffer = FixedBuffer::new(8);
/// buffer.write_to_buffer(&"hello".into());
/// assert_eq!(buffer.get_buffer().as_deref(), Some(&b"hello"[..]));
/// buffer.write_to_buffer(&" world".into());
/// assert!(buffer.is_truncated() && buffer.get_buffer().is_none());
/// ```
pub struct FixedBuffer {
    /// The pieces as they came, shared with the buffer they were received in.
    pieces: Vec<Bytes>,
    len: usize,
    capacity: usize,
    truncated: bool,
}

impl FixedBuffer {
    /// Returns an empty buffer for at most `capacity` bytes; allocates nothing yet.
    pub fn new(capacity: usize) -> Self {
        FixedBuffer {
            pieces: Vec::new(),
            len: 0,
            capacity,
            truncated: false,
        }
    }

    /// Appends `data` without copying it, or gives everything up when it does not fit any more.
    pub fn write_to_buffer(&mut self, data: &Bytes) {
        if self.truncated || data.is_empty() {
            return;
        }
        if self.len + data.len() > self.capacity {
            self.clear();
            self.truncated = true;
            return;
        }
        self.len += data.len();
        // A piece that is small beside the buffer it lies in would keep all of that alive.
        if data.len() < SHARE_FROM {
            self.pieces.push(Bytes::copy_from_slice(data));
        } else {
            self.pieces.push(data.clone());
        }
    }

    /// Empties the buffer and forgets that it was truncated.
    pub fn clear(&mut self) {
        self.truncated = false;
        self.pieces = Vec::new();
        self.len = 0;
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns whether more was written than the capacity allows.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns what was written; `None` when that is nothing or more than the capacity.
    pub fn get_buffer(&self) -> Option<Bytes> {
        match &self.pieces[..] {
            [] => None,
            [piece] => Some(piece.clone()),
            pieces => {
                let mut whole = BytesMut::with_capacity(self.len);
                for piece in pieces {
                    whole.extend_from_slice(piece);
                }
                Some(whole.freeze())
            }
        }
    }
}

/// Pieces from this size on are shared instead of copied.
const SHARE_FROM: usize = 4 * 1024;

/// What a session keeps of a request body for another try at an upstream: nothing until told to.
#[derive(Default)]
pub(crate) struct RetryBuffer(Option<FixedBuffer>);

impl RetryBuffer {
    /// The most bytes that are kept: a longer body can be sent once only.
    const CAPACITY: usize = 64 * 1024;

    /// Keeps what comes from now on; does nothing the second time.
    pub(crate) fn enable(&mut self) {
        self.0
            .get_or_insert_with(|| FixedBuffer::new(Self::CAPACITY));
    }

    /// Takes note of a piece of the body.
    #[inline]
    pub(crate) fn keep(&mut self, data: &Bytes) {
        if let Some(buffer) = &mut self.0 {
            buffer.write_to_buffer(data);
        }
    }

    /// Returns whether the body outgrew the buffer.
    pub(crate) fn is_truncated(&self) -> bool {
        self.0.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    /// Returns the body so far; `None` when it is empty, or outgrew the buffer.
    pub(crate) fn get(&self) -> Option<Bytes> {
        self.0.as_ref()?.get_buffer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_pieces_in_order_until_they_are_too_many() {
        let mut buffer = FixedBuffer::new(10_000);
        let (small, large) = (Bytes::from_static(b"abc"), Bytes::from(vec![b'x'; 5000]));
        for piece in [&small, &large, &Bytes::new(), &small] {
            buffer.write_to_buffer(piece);
        }
        let whole = [&small[..], &large[..], &small[..]].concat();
        assert_eq!(buffer.get_buffer().unwrap(), whole);
        buffer.write_to_buffer(&large);
        assert!(buffer.is_truncated() && buffer.is_empty() && buffer.get_buffer().is_none());
        buffer.write_to_buffer(&small);
        assert!(buffer.is_empty(), "a hole cannot be filled");
        buffer.clear();
        buffer.write_to_buffer(&small);
        assert_eq!(buffer.get_buffer().unwrap(), small);
    }
}
