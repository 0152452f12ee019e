//! Zstandard (RFC 8878), with a dictionary too (RFC 9842), through `zstd-safe`, whose library is C.
//! Read next: `ctx.rs`, which uses all codecs.

use std::io;

use zstd_safe::zstd_sys::ZSTD_EndDirective as Directive;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, SafeResult};

use super::codec::{Codec, DecompressionLimits, Metered, Sink};
use super::{Algorithm, DCZ_MAGIC, DictionaryData, Encode};

/// Levels above take memory by the hundred megabytes.
const MAX_LEVEL: u32 = 19;

/// The largest window there may be in HTTP: 8 MiB (RFC 9659 section 3).
const WINDOW_BITS: u32 = 23;

/// A dictionary in zstd's own format begins so; as a dictionary of HTTP it counts as bytes (RFC 9842 section
/// 2.1.4), which the library does not offer.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

pub(super) fn compressor(level: u32, flush: bool) -> Box<dyn Encode + Send + Sync> {
    let codec = Compressor::new(level);
    Box::new(Metered::compressing(Algorithm::Zstd.as_str(), codec, flush))
}

/// Returns what codes a body as `dcz`, `None` if the dictionary cannot serve.
pub(super) fn compressor_with(
    level: u32,
    flush: bool,
    dictionary: &DictionaryData,
) -> Option<Box<dyn Encode + Send + Sync>> {
    if dictionary.bytes.is_empty() || dictionary.bytes.starts_with(&DICTIONARY_MAGIC) {
        return None;
    }
    let mut codec = Compressor::new(level);
    codec.context.load_dictionary(&dictionary.bytes).ok()?;
    codec.sink.bytes.extend_from_slice(&DCZ_MAGIC);
    codec.sink.bytes.extend_from_slice(&dictionary.hash);
    Some(Box::new(Metered::compressing(
        Algorithm::Dcz.as_str(),
        codec,
        flush,
    )))
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Box<dyn Encode + Send + Sync> {
    let mut context = DCtx::create();
    context
        .set_parameter(DParameter::WindowLogMax(WINDOW_BITS))
        .expect("the library knows windows of 8 MiB");
    let codec = Decompressor {
        context,
        sink: Sink::default(),
        between_frames: true,
    };
    Box::new(Metered::decompressing(
        Algorithm::Zstd.as_str(),
        codec,
        limits,
    ))
}

struct Compressor {
    context: CCtx<'static>,
    sink: Sink,
}

impl Compressor {
    fn new(level: u32) -> Self {
        let mut context = CCtx::create();
        let level = level.min(MAX_LEVEL) as i32;
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .expect("the library knows levels up to 19");
        let sink = Sink::default();
        Self { context, sink }
    }

    /// Calls the library until it has taken the input and written what the directive asks for.
    fn run(&mut self, input: &[u8], directive: Directive) -> io::Result<()> {
        let mut input = InBuffer::around(input);
        loop {
            let bytes = &mut self.sink.bytes;
            bytes.reserve(STEP);
            let at = bytes.len();
            let mut output = OutBuffer::around_pos(bytes, at);
            let left = checked(
                self.context
                    .compress_stream2(&mut output, &mut input, directive),
            )?;
            let taken = input.pos() == input.src.len();
            if taken && (left == 0 || matches!(directive, Directive::ZSTD_e_continue)) {
                return Ok(());
            }
        }
    }
}

impl Codec for Compressor {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        self.run(input, Directive::ZSTD_e_continue)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(b"", Directive::ZSTD_e_flush)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.run(b"", Directive::ZSTD_e_end)
    }

    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }
}

struct Decompressor {
    context: DCtx<'static>,
    sink: Sink,
    /// The input may end here.
    between_frames: bool,
}

impl Codec for Decompressor {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(input);
        loop {
            let bytes = &mut self.sink.bytes;
            bytes.reserve(STEP);
            let at = bytes.len();
            let full = bytes.capacity();
            let mut output = OutBuffer::around_pos(bytes, at);
            let wanted = checked(self.context.decompress_stream(&mut output, &mut input))?;
            let now = bytes.len();
            self.sink.spend(now - at)?;
            self.between_frames = wanted == 0;
            // At the end of a frame, or with room left, the library has nothing more to say.
            if input.pos() == input.src.len() && (wanted == 0 || now < full) {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.between_frames {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }
}

/// The room made for each call of the library.
const STEP: usize = 16 << 10;

fn checked(result: SafeResult) -> io::Result<usize> {
    result.map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))
}
