//! One file of a shard: a header of 24 bytes, then the bytes of the caller.
//!
//! ```text
//! 0      8         12       20         24
//! | mark | version | length | checksum | payload …
//! ```
//!
//! Numbers are little-endian. The checksum is the CRC-32 of bytes 8 to 20 and of the payload. The length
//! is never trusted: it is compared with what is there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::ShardFileError;

/// What a file begins with. No text and no common binary format does.
const MARK: [u8; 8] = *b"\x89LRU\r\n\x1a\n";

const VERSION: u32 = 1;

const HEADER: usize = 24;

/// A file without this many bytes of the mark is not a damaged one of ours, but somebody else's.
const MARK_BYTES_LEFT: usize = 4;

/// A file is read into memory: more than any shard needs, and a limit to what a mistake can cost.
const MAX_FILE: u64 = 4 << 30;

/// How the name of a temporary file ends.
pub(super) const TEMP_SUFFIX: &str = ".tmp";

/// Digits of the random number in the name of a temporary file.
pub(super) const TEMP_DIGITS: usize = 16;

/// The contents of a file without the header.
#[derive(Debug)]
pub(super) struct Payload {
    file: Vec<u8>,
    start: usize,
}

impl Payload {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.file[self.start..]
    }
}

/// Writes a file that is whole or as it was before, also after a crash.
pub(super) fn write(path: &Path, payload: &[u8]) -> Result<(), ShardFileError> {
    let temp = temp_path(path);
    let written = write_temp(&temp, payload).and_then(|()| rename(&temp, path));
    if written.is_err() {
        // If this fails too, the next load removes it.
        let _ = fs::remove_file(&temp);
    }
    written
}

/// Reads a file and checks it.
pub(super) fn read(path: &Path) -> Result<Payload, ShardFileError> {
    let file = File::open(path).map_err(|source| ShardFileError::Open {
        path: path.to_owned(),
        source,
    })?;
    read_limited(file)
        .and_then(check)
        .map_err(|source| ShardFileError::Read {
            path: path.to_owned(),
            source,
        })
}

fn write_temp(temp: &Path, payload: &[u8]) -> Result<(), ShardFileError> {
    let path = || temp.to_owned();
    // Never through a link that somebody put there.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(temp)
        .map_err(|source| ShardFileError::Create {
            path: path(),
            source,
        })?;
    header(payload)
        .and_then(|header| file.write_all(&header))
        .and_then(|()| file.write_all(payload))
        .map_err(|source| ShardFileError::Write {
            path: path(),
            source,
        })?;
    file.sync_all().map_err(|source| ShardFileError::Flush {
        path: path(),
        source,
    })
}

fn rename(temp: &Path, path: &Path) -> Result<(), ShardFileError> {
    fs::rename(temp, path).map_err(|source| ShardFileError::Rename {
        from: temp.to_owned(),
        to: path.to_owned(),
        source,
    })?;
    // The name is in the directory, which is synced by itself. Systems that cannot open a directory
    // as a file sync it without being asked.
    let folder = path.parent().unwrap_or(Path::new("."));
    let Ok(directory) = File::open(folder) else {
        return Ok(());
    };
    directory
        .sync_all()
        .map_err(|source| ShardFileError::Flush {
            path: folder.to_owned(),
            source,
        })
}

/// A name beside `path` that nobody else uses, and that the clean-up recognises.
fn temp_path(path: &Path) -> PathBuf {
    let random = fastrand::u64(..);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{random:0TEMP_DIGITS$x}{TEMP_SUFFIX}"));
    PathBuf::from(name)
}

fn header(payload: &[u8]) -> io::Result<[u8; HEADER]> {
    if payload.len() as u64 > MAX_FILE - HEADER as u64 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a shard is larger than 4 GiB",
        ));
    }
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MARK);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let checksum = checksum(&header[8..20], payload);
    header[20..].copy_from_slice(&checksum.to_le_bytes());
    Ok(header)
}

fn read_limited(file: File) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    // As much as the file has, not what it claims; one byte more than allowed shows that it is too large.
    file.take(MAX_FILE + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_FILE {
        return Err(invalid("the file is larger than 4 GiB"));
    }
    Ok(contents)
}

fn check(file: Vec<u8>) -> io::Result<Payload> {
    if !is_ours(&file) {
        return Ok(Payload { file, start: 0 });
    }
    let Some((header, payload)) = file.split_first_chunk::<HEADER>() else {
        return Err(invalid("the header is cut off"));
    };
    let (mark, rest) = header.split_at(8);
    let (version, length, expected) = numbers(rest);
    if mark != MARK {
        return Err(invalid("the header is damaged"));
    }
    if length != payload.len() as u64 {
        return Err(invalid("the file does not have the length it had"));
    }
    if checksum(&rest[..12], payload) != expected {
        return Err(invalid("the checksum is wrong"));
    }
    // After the checksum: this is a version, not a flipped bit.
    if version != VERSION {
        return Err(invalid("the file was written by a newer version"));
    }
    Ok(Payload {
        file,
        start: HEADER,
    })
}

/// Returns whether a file was begun by [`write`], whatever became of it. A file that is cut off to nothing
/// counts as ours: we write none that is empty.
fn is_ours(file: &[u8]) -> bool {
    let alike = file.iter().zip(&MARK).filter(|(a, b)| a == b).count();
    alike >= MARK_BYTES_LEFT || MARK.starts_with(file)
}

/// Reads the version, the length and the checksum from the 16 bytes after the mark.
fn numbers(bytes: &[u8]) -> (u32, u64, u32) {
    let number = |range: std::ops::Range<usize>| {
        let digits = bytes[range].iter().rev();
        digits.fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    (number(0..4) as u32, number(4..12), number(12..16) as u32)
}

fn checksum(numbers: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(numbers);
    crc.update(payload);
    crc.finalize()
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
