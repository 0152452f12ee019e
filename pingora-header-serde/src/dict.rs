//! Dictionaries: the built-in one, and training your own.
//!
//! A dictionary holds what heads have in common beyond the names and values every head may have: the
//! policies, cookies and host names of your sites. A few hundred heads of your own traffic make a good one.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use crate::zstd::Dictionary;
use crate::{text, wire};

/// The most bytes of a trained dictionary. More fill the caches of the processor for little gain.
const MAX_DICTIONARY: usize = 32 << 10;

/// The most bytes of samples; zstd takes no more than 4 GiB.
const MAX_SAMPLES: usize = 1 << 30;

/// Returns a dictionary made from the files of a folder, each holding one response head.
///
/// A head is HTTP/1 text: status line, fields, empty line. A file that is none counts as bytes
/// to find matches in. Give some hundreds of heads; fewer than about ten are too few.
///
/// # Panics
/// If the folder or a file in it cannot be read, or if there are too few samples to train on.
///
/// ```
/// use pingora_header_serde::{HeaderSerde, dict};
///
/// let folder = tempfile::tempdir()?;
/// for i in 0..64 {
///     let head = format!("HTTP/1.1 200 OK\r\nX-Site: shop-{i}.internal.example.com\r\n\r\n");
///     std::fs::write(folder.path().join(i.to_string()), head)?;
/// }
/// let serde = HeaderSerde::new(Some(dict::train(folder.path())));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn train<P: AsRef<Path>>(dir_path: P) -> Vec<u8> {
    let folder = dir_path.as_ref();
    let mut samples = Vec::new();
    let mut sizes = Vec::new();
    for file in files(folder) {
        let bytes = read(fs::read(&file), &file);
        let mut sample = Vec::new();
        let head = text::parse(bytes.clone().into());
        if !head.is_ok_and(|head| wire::encode(&head, &mut sample).is_ok()) {
            sample = bytes;
        }
        if samples.len() + sample.len() > MAX_SAMPLES {
            break;
        }
        sizes.push(sample.len());
        samples.extend_from_slice(&sample);
    }
    let mut dictionary = Vec::with_capacity(MAX_DICTIONARY);
    if let Err(code) = zstd_safe::train_from_buffer(&mut dictionary, &samples, &sizes) {
        let reason = zstd_safe::get_error_name(code);
        panic!(
            "cannot train on {} samples of {}: {reason}",
            sizes.len(),
            folder.display()
        );
    }
    dictionary
}

/// Returns the dictionary used when none is given; `examples/samples.rs` says how it was made.
pub(crate) fn built_in() -> &'static Dictionary {
    static BUILT_IN: LazyLock<Dictionary> =
        LazyLock::new(|| Dictionary::new(include_bytes!("../dict/v1.dict").to_vec()));
    &BUILT_IN
}

/// Returns the files of a folder in the order of their names, so that training can be repeated.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = read(fs::read_dir(folder), folder);
    let mut files: Vec<_> = entries
        .map(|entry| read(entry, folder).path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn read<T>(result: std::io::Result<T>, path: &Path) -> T {
    result.unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
