//! Zstd frames with a prepared dictionary, and one pair of contexts for each thread.
//!
//! Frames lose their first four bytes, the magic number, and name no dictionary: the record around
//! them says both. Read next: `dict.rs`.

use std::cell::RefCell;
use std::fmt;

use pingora_error::{Error, ErrorType, Result};
use zstd_safe::{CCtx, CDict, DCtx, DDict};

use crate::{MAX_HEAD_BYTES, invalid};

/// How hard zstd tries. On the samples of `dict/`, levels 1 to 4 differ by a fiftieth in size and a tenth in time;
/// from 5 on the time doubles.
const LEVEL: i32 = 3;

/// The first bytes of every zstd frame (RFC 8878 section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The first bytes of every trained dictionary (RFC 8878 section 5); its number follows in as many.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// The most bytes a frame may decompress to: lengths make the wire form of a few long fields a little
/// longer than their text.
const MAX_CONTENT: usize = 2 * MAX_HEAD_BYTES;

/// Working memory that stays with a thread; what is larger is given back.
const KEPT_BYTES: usize = 64 << 10;

/// A dictionary prepared for both directions.
pub(crate) struct Dictionary {
    compressing: CDict<'static>,
    decompressing: DDict<'static>,
    fingerprint: u32,
}

/// The contexts of a thread, which cost more to make than to use.
struct Contexts {
    compressing: CCtx<'static>,
    decompressing: DCtx<'static>,
    /// Where frames are put together, and what they hold.
    frame: Vec<u8>,
    content: Vec<u8>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::new(Contexts {
        compressing: CCtx::create(),
        decompressing: DCtx::create(),
        frame: Vec::new(),
        content: Vec::new(),
    });
}

// === impl Dictionary ===

impl Dictionary {
    pub(crate) fn new(mut bytes: Vec<u8>) -> Self {
        let fingerprint = crc32fast::hash(&bytes);
        let decompressing = DDict::try_create(&bytes);
        // Without a number it is not named in frames, which are then checked against no number.
        if bytes.starts_with(&DICTIONARY_MAGIC) && bytes.len() >= 8 {
            bytes[4..8].fill(0);
        }
        let compressing = CDict::try_create(&bytes, LEVEL);
        Self {
            compressing: compressing.expect("the dictionary is a valid one of zstd"),
            decompressing: decompressing.expect("the dictionary is a valid one of zstd"),
            fingerprint,
        }
    }

    /// Returns what tells this dictionary from others.
    pub(crate) fn fingerprint(&self) -> u32 {
        self.fingerprint
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dictionary({:08x})", self.fingerprint)
    }
}

/// Calls `then` with the compressed form of `plain`, if that is shorter.
pub(crate) fn with_compressed<T>(
    plain: &[u8],
    dictionary: &Dictionary,
    then: impl FnOnce(Option<&[u8]>) -> T,
) -> T {
    CONTEXTS.with_borrow_mut(|contexts| {
        let frame = &mut contexts.frame;
        frame.clear();
        frame.reserve(zstd_safe::compress_bound(plain.len()));
        let written =
            contexts
                .compressing
                .compress_using_cdict(frame, plain, &dictionary.compressing);
        let shorter = match written {
            Ok(length) => frame[..length].strip_prefix(&MAGIC),
            Err(_) => None,
        };
        let result = then(shorter.filter(|shorter| shorter.len() < plain.len()));
        contexts.trim();
        result
    })
}

/// Calls `then` with what [`with_compressed`] made `compressed` of.
pub(crate) fn with_decompressed<T>(
    compressed: &[u8],
    dictionary: &Dictionary,
    then: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    CONTEXTS.with_borrow_mut(|contexts| {
        contexts.frame.clear();
        contexts.frame.extend_from_slice(&MAGIC);
        contexts.frame.extend_from_slice(compressed);
        let content = &mut contexts.content;
        decompress(
            &mut contexts.decompressing,
            &contexts.frame,
            Some(dictionary),
            content,
        )?;
        let result = then(content);
        contexts.trim();
        result
    })
}

/// Returns the content of a whole frame, made with `dictionary` or with none.
pub(crate) fn decompress_frame(frame: &[u8], dictionary: Option<&Dictionary>) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    CONTEXTS.with_borrow_mut(|contexts| {
        decompress(&mut contexts.decompressing, frame, dictionary, &mut content)
    })?;
    Ok(content)
}

fn decompress(
    context: &mut DCtx<'static>,
    frame: &[u8],
    dictionary: Option<&Dictionary>,
    content: &mut Vec<u8>,
) -> Result<()> {
    content.clear();
    content.reserve(content_size(frame)?);
    let written = match dictionary {
        Some(dictionary) => {
            context.decompress_using_ddict(content, frame, &dictionary.decompressing)
        }
        None => context.decompress(content, frame),
    };
    match written {
        Ok(_) => Ok(()),
        Err(code) => Error::e_explain(
            ErrorType::InvalidHTTPHeader,
            format!(
                "a stored head does not decompress: {}",
                zstd_safe::get_error_name(code)
            ),
        ),
    }
}

/// Returns the length a frame says its content has.
fn content_size(frame: &[u8]) -> Result<usize> {
    match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size <= MAX_CONTENT as u64 => Ok(size as usize),
        Ok(Some(_)) => invalid("a stored head is too large"),
        _ => invalid("a stored head is no frame of zstd"),
    }
}

impl Contexts {
    fn trim(&mut self) {
        for buffer in [&mut self.frame, &mut self.content] {
            if buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
    }
}
