//! Temporary files that a save left behind when its process ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::task::{self, JoinError};

use super::error::ShardFileError;
use super::file::{TEMP_DIGITS, TEMP_SUFFIX};

/// What was done about temporary files that were left behind.
#[derive(Debug, Default)]
pub struct TempFileCleanupReport {
    /// How many were removed.
    pub removed_files: usize,
    /// What could not be listed, looked at or removed.
    pub failures: Vec<ShardFileError>,
}

/// Removes what writing the shards of `file_name` left in `folder`, and nothing else.
pub(super) async fn remove_temp_files(
    folder: PathBuf,
    file_name: String,
) -> Result<TempFileCleanupReport, JoinError> {
    let report = task::spawn_blocking(move || remove(&folder, &file_name)).await?;
    for failure in &report.failures {
        log::warn!("{failure}");
    }
    Ok(report)
}

fn remove(folder: &Path, file_name: &str) -> TempFileCleanupReport {
    let mut report = TempFileCleanupReport::default();
    let path = || folder.to_owned();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Nothing was ever saved.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return report,
        Err(source) => {
            let failure = ShardFileError::ReadDir {
                path: path(),
                source,
            };
            report.failures.push(failure);
            return report;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| is_temp(name, file_name)) {
                    remove_file(entry.path(), &mut report);
                }
            }
            Err(source) => report.failures.push(ShardFileError::ReadDirEntry {
                path: path(),
                source,
            }),
        }
    }
    report
}

fn remove_file(path: PathBuf, report: &mut TempFileCleanupReport) {
    match fs::remove_file(&path) {
        Ok(()) => report.removed_files += 1,
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => report
            .failures
            .push(ShardFileError::Remove { path, source }),
    }
}

/// Returns whether `name` is `FILE_NAME.SHARD.RANDOM.tmp`.
fn is_temp(name: &str, file_name: &str) -> bool {
    let parts = || {
        let rest = name.strip_prefix(file_name)?.strip_prefix('.')?;
        rest.strip_suffix(TEMP_SUFFIX)?.split_once('.')
    };
    let all = |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(is);
    parts().is_some_and(|(shard, random)| {
        all(shard, u8::is_ascii_digit)
            && random.len() == TEMP_DIGITS
            && all(random, u8::is_ascii_hexdigit)
    })
}

#[cfg(test)]
mod tests {
    use super::is_temp;

    #[test]
    fn only_our_temporary_files_are_recognised() {
        let cases = [
            ("lru.data.0.0123456789abcdef.tmp", true),
            ("lru.data.17.ffffffffffffffff.tmp", true),
            ("lru.data.0", false),
            ("lru.data.0.tmp", false),
            ("lru.data.x.0123456789abcdef.tmp", false),
            ("lru.data..0123456789abcdef.tmp", false),
            ("lru.data.0.0123456789abcde.tmp", false),
            ("lru.data.0.0123456789abcdeg.tmp", false),
            ("lru.data.0.0123456789abcdef.tmp.old", false),
            ("lru.data2.0.0123456789abcdef.tmp", false),
            ("other.data.0.0123456789abcdef.tmp", false),
            ("lru.data", false),
            ("", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_temp(name, "lru.data"), expected, "{name}");
        }
    }
}
