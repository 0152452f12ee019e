//! Shards saved to files and loaded again.
//!
//! Shard `i` is the file `NAME.i` of a directory. It is written to a temporary file beside it, synced
//! and renamed, so a crash leaves the old file or the new one, never a part. A short header with a
//! version, the length and a checksum finds what a disk did to it later.
//!
//! What is in a shard is up to the caller, who turns it into bytes and back:
//!
//! ```
//! use pingora_lru::{Lru, persistence};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().to_str().ok_or("a path is text here")?;
//! let lru = Lru::<u8, 4>::with_capacity(100, 0);
//! (0..20).for_each(|key| { lru.admit(key.into(), key, 1); });
//!
//! let saved = persistence::save_shards(folder, "lru.data", lru.shards(), |shard| {
//!     let mut keys = Vec::new();
//!     lru.iter_for_each(shard, |(key, _weight)| keys.push(*key));
//!     Ok::<_, std::io::Error>(keys)
//! })
//! .await?;
//! assert_eq!(saved.saved_shards, 4);
//!
//! let restored = Lru::<u8, 4>::with_capacity(100, 0);
//! let loaded = persistence::load_shards(folder, "lru.data", 4, |_shard, keys| {
//!     keys.iter().for_each(|key| { restored.insert_tail((*key).into(), *key, 1); });
//!     Ok::<_, std::io::Error>(())
//! })
//! .await;
//! assert_eq!((loaded.loaded_shards, restored.len()), (4, 20));
//! # Ok(())
//! # }
//! ```
//!
//! Files are read and written on threads for blocking work, one shard at a time; the closures run in
//! the task of the caller. All functions need a tokio runtime.
//!
//! Read next: `file.rs` (one file), `error.rs` (what can fail).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::task::{self, JoinError};

mod cleanup;
mod error;
mod file;

pub use cleanup::TempFileCleanupReport;
pub use error::{
    ShardFileError, ShardLoadFailure, ShardSaveError, ShardSaveFailure, ShardSaveSetupError,
};

/// What [`save_shards`] did.
#[derive(Debug)]
pub struct ShardSaveReport<E> {
    /// How many shards are on disk now.
    pub saved_shards: usize,
    /// How many shards are not: the file of an earlier save, if there is one, is still there.
    pub failed_shards: usize,
    /// Why, for each of these.
    pub failures: Vec<ShardSaveFailure<E>>,
}

/// What [`load_shards`] did.
#[derive(Debug)]
pub struct ShardLoadReport<E> {
    /// How many shards were read and accepted.
    pub loaded_shards: usize,
    /// How many shards have no file.
    pub missing_shards: usize,
    /// How many shards have a file that could not be read or was not accepted.
    pub error_shards: usize,
    /// Why, for each of these.
    pub failures: Vec<ShardLoadFailure<E>>,
    /// What was done about files that a save left behind when it was cut off.
    pub temp_cleanup: Result<TempFileCleanupReport, JoinError>,
}

/// Saves `shards` shards to `file_name.0`, `file_name.1` … in `dir_path`, which is made if needed.
///
/// `serialize_shard` gets the number of a shard and returns its bytes. A shard that fails does not stop
/// the others.
///
/// # Errors
///
/// If the directory cannot be made or every shard failed.
pub async fn save_shards<E, F>(
    dir_path: &str,
    file_name: &str,
    shards: usize,
    mut serialize_shard: F,
) -> Result<ShardSaveReport<E>, ShardSaveError<E>>
where
    E: fmt::Display,
    F: FnMut(usize) -> Result<Vec<u8>, E>,
{
    let serialize = |shard| std::future::ready(serialize_shard(shard));
    save_shards_async(dir_path, file_name, shards, serialize).await
}

/// Saves shards as [`save_shards`] does, with bytes that are awaited.
///
/// If the returned future is dropped, the file at work is finished and no other is begun.
///
/// # Errors
///
/// If the directory cannot be made or every shard failed.
pub async fn save_shards_async<E, F, Fut>(
    dir_path: &str,
    file_name: &str,
    shards: usize,
    mut serialize_shard: F,
) -> Result<ShardSaveReport<E>, ShardSaveError<E>>
where
    E: fmt::Display,
    F: FnMut(usize) -> Fut,
    Fut: Future<Output = Result<Vec<u8>, E>>,
{
    let folder = PathBuf::from(dir_path);
    create_folder(folder.clone())
        .await
        .map_err(ShardSaveError::Setup)?;
    let mut failures = Vec::new();
    for shard in 0..shards {
        let saved = match serialize_shard(shard).await {
            Ok(payload) => save_shard(&folder, file_name, shard, payload).await,
            Err(source) => Err(ShardSaveFailure::Serialize { shard, source }),
        };
        if let Err(failure) = saved {
            log::error!("{failure}");
            failures.push(failure);
        }
    }
    if shards > 0 && failures.len() == shards {
        return Err(ShardSaveError::AllShardsFailed { shards, failures });
    }
    Ok(ShardSaveReport {
        saved_shards: shards - failures.len(),
        failed_shards: failures.len(),
        failures,
    })
}

/// Loads `shards` shards from `file_name.0`, `file_name.1` … in `dir_path`, and removes the temporary
/// files of saves that were cut off. Do not call it while another save to the same files is at work.
///
/// `deserialize_shard` gets the number of a shard and its bytes. It is not called for a file that is
/// missing, damaged, or larger than 4 GiB. A file without the header of this crate is given to it as it
/// is: it may be from another writer.
pub async fn load_shards<E, F>(
    dir_path: &str,
    file_name: &str,
    shards: usize,
    mut deserialize_shard: F,
) -> ShardLoadReport<E>
where
    E: fmt::Display,
    F: FnMut(usize, &[u8]) -> Result<(), E>,
{
    let folder = PathBuf::from(dir_path);
    let mut report = ShardLoadReport {
        loaded_shards: 0,
        missing_shards: 0,
        error_shards: 0,
        failures: Vec::new(),
        temp_cleanup: cleanup::remove_temp_files(folder.clone(), file_name.to_owned()).await,
    };
    for shard in 0..shards {
        let loaded = match load_shard(&folder, file_name, shard).await {
            Ok(None) => {
                report.missing_shards += 1;
                continue;
            }
            Ok(Some(payload)) => deserialize_shard(shard, payload.bytes())
                .map_err(|source| ShardLoadFailure::Deserialize { shard, source }),
            Err(failure) => Err(failure),
        };
        match loaded {
            Ok(()) => report.loaded_shards += 1,
            Err(failure) => {
                log::error!("{failure}");
                report.error_shards += 1;
                report.failures.push(failure);
            }
        }
    }
    report
}

async fn create_folder(folder: PathBuf) -> Result<(), ShardSaveSetupError> {
    let created = task::spawn_blocking(move || match fs::create_dir_all(&folder) {
        Ok(()) => Ok(()),
        Err(source) => Err(ShardSaveSetupError::CreateDir {
            path: folder,
            source,
        }),
    });
    match created.await {
        Ok(created) => created,
        Err(source) => Err(ShardSaveSetupError::Join { source }),
    }
}

async fn save_shard<E>(
    folder: &Path,
    file_name: &str,
    shard: usize,
    payload: Vec<u8>,
) -> Result<(), ShardSaveFailure<E>> {
    let path = shard_path(folder, file_name, shard);
    match task::spawn_blocking(move || file::write(&path, &payload)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(ShardSaveFailure::Io { shard, source }),
        Err(source) => Err(ShardSaveFailure::Join { shard, source }),
    }
}

/// Returns the contents of a shard's file, `None` if there is no file.
async fn load_shard<E>(
    folder: &Path,
    file_name: &str,
    shard: usize,
) -> Result<Option<file::Payload>, ShardLoadFailure<E>> {
    let path = shard_path(folder, file_name, shard);
    match task::spawn_blocking(move || file::read(&path)).await {
        Ok(Ok(payload)) => Ok(Some(payload)),
        Ok(Err(ShardFileError::Open { source, .. }))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Ok(Err(source)) => Err(ShardLoadFailure::Io { shard, source }),
        Err(source) => Err(ShardLoadFailure::Join { shard, source }),
    }
}

fn shard_path(folder: &Path, file_name: &str, shard: usize) -> PathBuf {
    folder.join(format!("{file_name}.{shard}"))
}

#[cfg(test)]
mod tests;
