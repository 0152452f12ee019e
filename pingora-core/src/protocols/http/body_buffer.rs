//! [`FixedBuffer`]: the start of a body, kept so that it can be sent again.

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
    buffer: BytesMut,
    capacity: usize,
    truncated: bool,
}

impl FixedBuffer {
    /// Returns an empty buffer for at most `capacity` bytes; allocates nothing yet.
    pub fn new(capacity: usize) -> Self {
        FixedBuffer {
            buffer: BytesMut::new(),
            capacity,
            truncated: false,
        }
    }

    /// Appends `data`, or gives everything up when it does not fit any more.
    pub fn write_to_buffer(&mut self, data: &Bytes) {
        if self.truncated {
            return;
        }
        if self.buffer.len() + data.len() > self.capacity {
            self.truncated = true;
            self.buffer = BytesMut::new();
            return;
        }
        self.buffer.extend_from_slice(data);
    }

    /// Empties the buffer and forgets that it was truncated.
    pub fn clear(&mut self) {
        self.truncated = false;
        self.buffer.clear();
    }

    /// Returns whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Returns whether more was written than the capacity allows.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns what was written; `None` when that is nothing or more than the capacity.
    pub fn get_buffer(&self) -> Option<Bytes> {
        (!self.buffer.is_empty()).then(|| Bytes::copy_from_slice(&self.buffer))
    }
}
