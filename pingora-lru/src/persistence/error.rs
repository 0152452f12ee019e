//! What can fail while shards are saved and loaded.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use tokio::task::JoinError;

/// What failed on one file or directory.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "fields: `path` is where it failed, `source` what the system said"
)]
pub enum ShardFileError {
    /// A temporary file could not be created.
    Create { path: PathBuf, source: io::Error },
    /// A temporary file could not be written.
    Write { path: PathBuf, source: io::Error },
    /// A file, or the directory it is in, could not be synced to the disk.
    Flush { path: PathBuf, source: io::Error },
    /// A temporary file could not take its final name.
    Rename {
        from: PathBuf,
        to: PathBuf,
        source: io::Error,
    },
    /// A file could not be opened.
    Open { path: PathBuf, source: io::Error },
    /// A file could not be read, is larger than 4 GiB, or is damaged (`InvalidData`).
    Read { path: PathBuf, source: io::Error },
    /// A directory could not be listed.
    ReadDir { path: PathBuf, source: io::Error },
    /// An entry of a directory could not be looked at.
    ReadDirEntry { path: PathBuf, source: io::Error },
    /// A temporary file could not be removed.
    Remove { path: PathBuf, source: io::Error },
}

impl ShardFileError {
    fn parts(&self) -> (&str, &PathBuf, &io::Error) {
        match self {
            ShardFileError::Create { path, source } => ("create", path, source),
            ShardFileError::Write { path, source } => ("write", path, source),
            ShardFileError::Flush { path, source } => ("sync", path, source),
            ShardFileError::Rename { to, source, .. } => ("rename a temporary file to", to, source),
            ShardFileError::Open { path, source } => ("open", path, source),
            ShardFileError::Read { path, source } => ("read", path, source),
            ShardFileError::ReadDir { path, source } => ("list", path, source),
            ShardFileError::ReadDirEntry { path, source } => ("look at an entry of", path, source),
            ShardFileError::Remove { path, source } => ("remove", path, source),
        }
    }
}

impl fmt::Display for ShardFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, path, source) = self.parts();
        write!(f, "cannot {verb} {}: {source}", path.display())
    }
}

impl Error for ShardFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.parts().2)
    }
}

/// Why a shard was not loaded.
#[derive(Debug)]
#[expect(missing_docs, reason = "fields: `shard` is its number")]
pub enum ShardLoadFailure<E> {
    /// Its file could not be read.
    Io {
        shard: usize,
        source: ShardFileError,
    },
    /// Its bytes were not accepted by the closure.
    Deserialize { shard: usize, source: E },
    /// Reading it was cut off, by a runtime that shut down.
    Join { shard: usize, source: JoinError },
}

impl<E: fmt::Display> fmt::Display for ShardLoadFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, source): (_, &dyn fmt::Display) = match self {
            ShardLoadFailure::Io { shard, source } => (shard, source),
            ShardLoadFailure::Deserialize { shard, source } => (shard, source),
            ShardLoadFailure::Join { shard, source } => (shard, source),
        };
        write!(f, "cannot load shard {shard}: {source}")
    }
}

/// Why a shard was not saved.
#[derive(Debug)]
#[expect(missing_docs, reason = "fields: `shard` is its number")]
pub enum ShardSaveFailure<E> {
    /// Its file could not be written.
    Io {
        shard: usize,
        source: ShardFileError,
    },
    /// The closure had no bytes for it.
    Serialize { shard: usize, source: E },
    /// Writing it was cut off, by a runtime that shut down.
    Join { shard: usize, source: JoinError },
}

impl<E: fmt::Display> fmt::Display for ShardSaveFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, source): (_, &dyn fmt::Display) = match self {
            ShardSaveFailure::Io { shard, source } => (shard, source),
            ShardSaveFailure::Serialize { shard, source } => (shard, source),
            ShardSaveFailure::Join { shard, source } => (shard, source),
        };
        write!(f, "cannot save shard {shard}: {source}")
    }
}

/// Why nothing could be saved before the first shard.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "fields: `path` is the directory, `source` what the system said"
)]
pub enum ShardSaveSetupError {
    /// The directory could not be made.
    CreateDir { path: PathBuf, source: io::Error },
    /// Making it was cut off, by a runtime that shut down.
    Join { source: JoinError },
}

impl fmt::Display for ShardSaveSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardSaveSetupError::CreateDir { path, source } => {
                write!(f, "cannot create directory {}: {source}", path.display())
            }
            ShardSaveSetupError::Join { source } => write!(f, "cannot create directory: {source}"),
        }
    }
}

impl Error for ShardSaveSetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ShardSaveSetupError::CreateDir { source, .. } => Some(source),
            ShardSaveSetupError::Join { source } => Some(source),
        }
    }
}

/// Why nothing was saved.
#[derive(Debug)]
#[expect(missing_docs, reason = "fields: `shards` is how many there are")]
pub enum ShardSaveError<E> {
    /// It failed before the first shard.
    Setup(ShardSaveSetupError),
    /// It failed for every shard.
    AllShardsFailed {
        shards: usize,
        failures: Vec<ShardSaveFailure<E>>,
    },
}

impl<E: fmt::Display> fmt::Display for ShardSaveError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardSaveError::Setup(source) => source.fmt(f),
            ShardSaveError::AllShardsFailed { shards, failures } => {
                write!(f, "cannot save any of {shards} shards")?;
                match failures.first() {
                    Some(first) => write!(f, ", the first: {first}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl<E> Error for ShardSaveError<E>
where
    E: fmt::Debug + fmt::Display + Error + Send + Sync + 'static,
{
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ShardSaveError::Setup(source) => Some(source),
            ShardSaveError::AllShardsFailed { failures, .. } => match failures.first()? {
                ShardSaveFailure::Io { source, .. } => Some(source),
                ShardSaveFailure::Serialize { source, .. } => Some(source),
                ShardSaveFailure::Join { source, .. } => Some(source),
            },
        }
    }
}
