//! gzip (RFC 1952) through `flate2`, whose backend is Rust. Read next: `brotli.rs`.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};

use super::codec::{Codec, DecompressionLimits, Metered, Sink};
use super::{Algorithm, Encode};

const MAX_LEVEL: u32 = 9;

pub(super) fn compressor(level: u32, flush: bool) -> Box<dyn Encode + Send + Sync> {
    let level = Compression::new(level.min(MAX_LEVEL));
    let codec = GzEncoder::new(Sink::default(), level);
    Box::new(Metered::compressing(Algorithm::Gzip.as_str(), codec, flush))
}

pub(super) fn decompressor(limits: DecompressionLimits) -> Box<dyn Encode + Send + Sync> {
    let codec = MultiGzDecoder::new(Sink::default());
    Box::new(Metered::decompressing(
        Algorithm::Gzip.as_str(),
        codec,
        limits,
    ))
}

impl Codec for GzEncoder<Sink> {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        self.write_all(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish()
    }

    fn sink(&mut self) -> &mut Sink {
        self.get_mut()
    }
}

impl Codec for MultiGzDecoder<Sink> {
    fn push(&mut self, input: &[u8]) -> io::Result<()> {
        self.write_all(input)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(self)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish()
    }

    fn sink(&mut self) -> &mut Sink {
        self.get_mut()
    }
}
