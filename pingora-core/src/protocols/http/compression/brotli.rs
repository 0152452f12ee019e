//! Brotli (RFC 7932), with a dictionary too (RFC 9842), through the `brotli` crate.
//! Read next: `zstd.rs`.

use std::io;

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderOperation as Operation, BrotliEncoderParameter as Parameter,
    BrotliEncoderStateStruct,
};
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::codec::{Codec, DecompressionLimits, Metered, Sink};
use super::{Algorithm, DictionaryData, Encode};

/// The name of the coding in statistics.
const NAME: &str = "brotli";

const MAX_LEVEL: u32 = 11;

/// Levels below take no dictionary.
const MIN_DICTIONARY_LEVEL: u32 = 2;

/// A window of 1 MiB: larger ones cost memory for each response and gain little on what is sent as it is made.
const WINDOW_BITS: u32 = 20;

/// The largest window there is, of 16 MiB.
const MAX_WINDOW_BITS: u32 = 24;

/// The first bytes of a dictionary-compressed Brotli body (RFC 9842 section 4); the hash follows.
const DCB_MAGIC: [u8; 4] = [0xff, 0x44, 0x43, 0x42];

/// The room made for each call of the library.
const STEP: usize = 8 << 10;

pub(super) fn compressor(level: u32, flush: bool) -> Box<dyn Encode + Send + Sync> {
    let codec = Compressor::new(level, WINDOW_BITS);
    Box::new(Metered::compressing(NAME, codec, flush))
}

/// Returns what codes a body as `dcb`, `None` if the dictionary cannot serve.
pub(super) fn compressor_with(
    level: u32,
    flush: bool,
    dictionary: &DictionaryData,
) -> Option<Box<dyn Encode + Send + Sync>> {
    let bytes = &dictionary.bytes;
    // The window has to reach over the dictionary and as much of the body again.
    let bits = (2 * bytes.len()).max(2).ilog2() + 1;
    let bits = bits.max(WINDOW_BITS);
    if bytes.len() < 2 || bits > MAX_WINDOW_BITS {
        return None;
    }
    let mut codec = Compressor::new(level.max(MIN_DICTIONARY_LEVEL), bits);
    codec.state.set_custom_dictionary(bytes.len(), bytes);
    codec.sink.bytes.extend_from_slice(&DCB_MAGIC);
    codec.sink.bytes.extend_from_slice(&dictionary.hash);
    Some(Box::new(Metered::compressing(
        Algorithm::Dcb.as_str(),
        codec,
        flush,
    )))
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Box<dyn Encode + Send + Sync> {
    let alloc = StandardAlloc::default;
    let codec = Decompressor {
        // Strict: without the windows of up to 1 GiB that HTTP does not know.
        state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())),
        sink: Sink::default(),
        ended: false,
    };
    Box::new(Metered::decompressing(NAME, codec, limits))
}

struct Compressor {
    state: Box<BrotliEncoderStateStruct<StandardAlloc>>,
    sink: Sink,
}

impl Compressor {
    fn new(level: u32, window_bits: u32) -> Self {
        let mut state = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
        state.set_parameter(Parameter::BROTLI_PARAM_QUALITY, level.min(MAX_LEVEL));
        state.set_parameter(Parameter::BROTLI_PARAM_LGWIN, window_bits);
        let sink = Sink::default();
        Self { state, sink }
    }

    /// Calls the library until it has taken the input and written what the operation asks for.
    fn run(&mut self, input: &[u8], operation: Operation) -> io::Result<()> {
        let (mut left, mut taken) = (input.len(), 0);
        loop {
            let at = self.sink.bytes.len();
            self.sink.bytes.resize(at + STEP, 0);
            let (mut room, mut written) = (STEP, at);
            let ok = self.state.compress_stream(
                operation,
                &mut left,
                input,
                &mut taken,
                &mut room,
                &mut self.sink.bytes,
                &mut written,
                &mut None,
                &mut |_, _, _, _| (),
            );
            self.sink.bytes.truncate(written);
            if !ok {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let done = match operation {
                Operation::BROTLI_OPERATION_FINISH => self.state.is_finished(),
                _ => !self.state.has_more_output(),
            };
            if left == 0 && done {
                return Ok(());
            }
        }
    }
}

impl Codec for Compressor {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        self.run(input, Operation::BROTLI_OPERATION_PROCESS)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(b"", Operation::BROTLI_OPERATION_FLUSH)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.run(b"", Operation::BROTLI_OPERATION_FINISH)
    }

    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }
}

struct Decompressor {
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    sink: Sink,
    ended: bool,
}

impl Codec for Decompressor {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        let (mut left, mut taken) = (input.len(), 0);
        loop {
            if self.ended {
                return match left {
                    0 => Ok(()),
                    _ => Err(io::Error::other("bytes after the end")),
                };
            }
            let at = self.sink.bytes.len();
            self.sink.bytes.resize(at + STEP, 0);
            let (mut room, mut written) = (STEP, at);
            let result = BrotliDecompressStream(
                &mut left,
                &mut taken,
                input,
                &mut room,
                &mut written,
                &mut self.sink.bytes,
                &mut 0,
                &mut self.state,
            );
            self.sink.bytes.truncate(written);
            self.sink.spend(written - at)?;
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.ended {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }
}
