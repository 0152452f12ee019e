//! What the codecs share: where their output goes, the count of bytes and time, and the limits that make a
//! decompression bomb an error. Read next: `gzip.rs`, the plainest of them.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_error::{OrErr, Result};

use super::{COMPRESSION_ERROR, Encode};

/// How far a body may grow when it is decompressed; past it the response fails.
///
/// ```
/// use pingora_core::protocols::http::compression::{DecompressionLimits, ResponseCompressionCtx};
///
/// let mut limits = DecompressionLimits::default();
/// limits.max_bytes = 10 << 20;
/// let mut ctx = ResponseCompressionCtx::new(0, true, false);
/// ctx.set_decompression_limits(limits);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DecompressionLimits {
    /// The most bytes that may come out of each byte that went in, beyond the first
    /// [`FREE_BYTES`](Self::FREE_BYTES). Default 256; logs full of repetition reach a hundred.
    pub max_ratio: u64,
    /// The most bytes that may come out in all. Default 4 GiB.
    pub max_bytes: u64,
}

impl DecompressionLimits {
    /// What may come out whatever went in, so that small bodies of one repeated byte pass.
    pub const FREE_BYTES: u64 = 1 << 20;

    fn allowed(&self, bytes_in: u64) -> u64 {
        let by_ratio = bytes_in.saturating_mul(self.max_ratio);
        by_ratio
            .saturating_add(Self::FREE_BYTES)
            .min(self.max_bytes)
    }
}

impl Default for DecompressionLimits {
    fn default() -> Self {
        Self {
            max_ratio: 256,
            max_bytes: 4 << 30,
        }
    }
}

/// Where the output of a codec goes until it is taken.
#[derive(Default)]
pub(super) struct Sink {
    pub(super) bytes: Vec<u8>,
    /// How much more may come, if that is limited.
    room: Option<u64>,
}

impl Sink {
    /// Counts `bytes` more that come out.
    pub(super) fn spend(&mut self, bytes: usize) -> io::Result<()> {
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        match room.checked_sub(bytes as u64) {
            Some(rest) => {
                *room = rest;
                Ok(())
            }
            None => Err(io::Error::other(
                "the body grows past the limits of decompression",
            )),
        }
    }
}

impl io::Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.spend(buf.len())?;
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One library's way to code or decode a body.
pub(super) trait Codec {
    /// Takes input, writing to the sink what comes out.
    fn push(&mut self, input: &[u8]) -> io::Result<()>;

    /// Writes all that can be told of the input so far.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes the end; fails if the input cannot end here. Called once.
    fn finish(&mut self) -> io::Result<()>;

    fn sink(&mut self) -> &mut Sink;
}

/// A codec with its counts.
pub(super) struct Metered<C> {
    codec: C,
    name: &'static str,
    /// Flush after each piece.
    flush: bool,
    limits: Option<DecompressionLimits>,
    finished: bool,
    bytes_in: usize,
    bytes_out: usize,
    time: Duration,
}

impl<C: Codec> Metered<C> {
    pub(super) fn compressing(name: &'static str, codec: C, flush: bool) -> Self {
        Self::new(name, codec, flush, None)
    }

    pub(super) fn decompressing(name: &'static str, codec: C, limits: DecompressionLimits) -> Self {
        // What can be decoded is: the pieces are as the sender flushed them.
        Self::new(name, codec, true, Some(limits))
    }

    fn new(name: &'static str, codec: C, flush: bool, limits: Option<DecompressionLimits>) -> Self {
        Self {
            codec,
            name,
            flush,
            limits,
            finished: false,
            bytes_in: 0,
            bytes_out: 0,
            time: Duration::ZERO,
        }
    }

    fn step(&mut self, input: &[u8], end: bool) -> io::Result<()> {
        if let Some(limits) = self.limits {
            let allowed = limits.allowed(self.bytes_in as u64);
            self.codec.sink().room = Some(allowed.saturating_sub(self.bytes_out as u64));
        }
        if !input.is_empty() {
            self.codec.push(input)?;
        }
        if end {
            self.finished = true;
            // No bytes at all are a body of no bytes in every coding.
            let nothing = self.limits.is_some() && self.bytes_in == 0;
            if nothing { Ok(()) } else { self.codec.finish() }
        } else if self.flush && !input.is_empty() {
            self.codec.flush()
        } else {
            Ok(())
        }
    }
}

impl<C: Codec> Encode for Metered<C> {
    fn encode(&mut self, input: &[u8], end: bool) -> Result<Bytes> {
        if self.finished {
            return Ok(Bytes::new());
        }
        let start = Instant::now();
        self.bytes_in += input.len();
        let step = self.step(input, end);
        let output = std::mem::take(&mut self.codec.sink().bytes);
        self.bytes_out += output.len();
        self.time += start.elapsed();
        self.finished |= step.is_err();
        step.or_err_with(COMPRESSION_ERROR, || format!("code a body: {}", self.name))?;
        Ok(Bytes::from(output))
    }

    fn stat(&self) -> (&'static str, usize, usize, Duration) {
        (self.name, self.bytes_in, self.bytes_out, self.time)
    }
}
