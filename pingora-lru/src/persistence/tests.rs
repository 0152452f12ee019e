//! Shards through real files.

use std::error::Error;
use std::path::Path;

use super::*;

const NAME: &str = "lru.data";

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state").to_string_lossy().into_owned();
    (folder, path)
}

fn payload(shard: usize) -> Vec<u8> {
    vec![shard as u8; shard * 100]
}

async fn save(folder: &str, shards: usize) {
    let saved = save_shards(folder, NAME, shards, |shard| {
        Ok::<_, io::Error>(payload(shard))
    })
    .await
    .expect("the folder is writable");
    assert_eq!((saved.saved_shards, saved.failed_shards), (shards, 0));
}

/// Loads and checks that what is accepted is right.
async fn load(folder: &str, shards: usize) -> ShardLoadReport<String> {
    load_shards(folder, NAME, shards, |shard, bytes| {
        if bytes == payload(shard) {
            Ok(())
        } else {
            Err(format!("{bytes:?}"))
        }
    })
    .await
}

fn counts<E>(report: &ShardLoadReport<E>) -> (usize, usize, usize) {
    assert_eq!(report.error_shards, report.failures.len());
    (
        report.loaded_shards,
        report.missing_shards,
        report.error_shards,
    )
}

#[tokio::test]
async fn what_was_saved_is_loaded() {
    let (_folder, path) = folder();
    assert_eq!(counts(&load(&path, 3).await), (0, 3, 0));
    save(&path, 3).await;
    assert_eq!(counts(&load(&path, 3).await), (3, 0, 0));
    assert_eq!(counts(&load(&path, 5).await), (3, 2, 0));
    save(&path, 3).await;
    let report = load(&path, 2).await;
    assert_eq!(counts(&report), (2, 0, 0));
    let cleanup = report.temp_cleanup.expect("the runtime is running");
    assert_eq!((cleanup.removed_files, cleanup.failures.len()), (0, 0));
}

#[tokio::test]
async fn bytes_may_be_awaited() {
    let (_folder, path) = folder();
    let serialize = |shard| async move {
        tokio::task::yield_now().await;
        Ok::<_, io::Error>(payload(shard))
    };
    let saved = save_shards_async(&path, NAME, 4, serialize).await;
    assert_eq!(saved.expect("the folder is writable").saved_shards, 4);
    assert_eq!(counts(&load(&path, 4).await), (4, 0, 0));
}

#[tokio::test]
async fn a_shard_that_fails_does_not_stop_the_others() {
    let (_folder, path) = folder();
    save(&path, 3).await;
    fs::write(Path::new(&path).join("lru.data.0"), b"\x89LRU").expect("writable");
    fs::write(Path::new(&path).join("lru.data.1"), b"other").expect("writable");
    let report = load(&path, 4).await;
    assert_eq!(counts(&report), (1, 1, 2));
    let [
        ShardLoadFailure::Io { shard: 0, source },
        ShardLoadFailure::Deserialize { shard: 1, .. },
    ] = &report.failures[..]
    else {
        panic!("{report:?}")
    };
    assert!(
        matches!(source, ShardFileError::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData)
    );

    let saved = save_shards(&path, NAME, 3, |shard| {
        if shard == 1 {
            Err("no bytes")
        } else {
            Ok(payload(shard))
        }
    });
    let saved = saved.await.expect("two were saved");
    assert_eq!((saved.saved_shards, saved.failed_shards), (2, 1));
    assert_eq!(
        saved.failures[0].to_string(),
        "cannot save shard 1: no bytes"
    );
    // Shard 1 is still the one of before.
    assert_eq!(counts(&load(&path, 3).await), (2, 0, 1));
}

#[tokio::test]
async fn nothing_saved_is_an_error() {
    let (_folder, path) = folder();
    let saved = save_shards(&path, NAME, 2, |shard| {
        Err::<Vec<u8>, _>(io::Error::other(format!("reason {shard}")))
    });
    let error = saved.await.expect_err("no shard had bytes");
    assert!(
        matches!(&error, ShardSaveError::AllShardsFailed { shards: 2, failures } if failures.len() == 2)
    );
    assert_eq!(
        error.to_string(),
        "cannot save any of 2 shards, the first: cannot save shard 0: reason 0"
    );
    let source = error.source().expect("there is a reason");
    assert_eq!(source.to_string(), "reason 0");

    save(&path, 0).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = tempfile::NamedTempFile::new().expect("a file");
    let path = folder.path().join("state").to_string_lossy().into_owned();
    let saved = save_shards(&path, NAME, 1, |_| Ok::<_, io::Error>(Vec::new()));
    let error = saved.await.expect_err("a file is in the way");
    assert!(matches!(
        error,
        ShardSaveError::Setup(ShardSaveSetupError::CreateDir { .. })
    ));
    assert!(error.to_string().starts_with("cannot create directory"));
    assert!(error.source().is_some());

    let path = folder.path().to_string_lossy().into_owned();
    let report = load(&path, 1).await;
    let cleanup = report.temp_cleanup.expect("the runtime is running");
    assert!(matches!(
        cleanup.failures[..],
        [ShardFileError::ReadDir { .. }]
    ));
}

#[tokio::test]
async fn leftovers_of_a_save_that_was_cut_off_are_removed() {
    let (_folder, path) = folder();
    save(&path, 1).await;
    let file = |name: &str| Path::new(&path).join(name);
    fs::write(file("lru.data.0.0123456789abcdef.tmp"), b"part").expect("writable");
    fs::write(file("lru.data.9.0123456789abcdef.tmp"), b"").expect("writable");
    fs::write(file("notes.txt"), b"keep").expect("writable");
    // Not ours although it has such a name.
    fs::create_dir(file("lru.data.1.0123456789abcdef.tmp")).expect("writable");
    let report = load(&path, 1).await;
    assert_eq!(counts(&report), (1, 0, 0));
    let cleanup = report.temp_cleanup.expect("the runtime is running");
    assert_eq!(cleanup.removed_files, 2);
    assert!(matches!(
        cleanup.failures[..],
        [ShardFileError::Remove { .. }]
    ));
    assert!(file("notes.txt").exists() && file("lru.data.0").exists());
}

/// A save that is dropped leaves whole files only.
#[tokio::test]
async fn a_save_can_be_cancelled() {
    let (_folder, path) = folder();
    let serialize = |shard| async move {
        if shard == 1 {
            std::future::pending::<()>().await;
        }
        Ok::<_, io::Error>(payload(shard))
    };
    let (begun, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let serialize = |shard| {
        let _ = begun.send(shard);
        serialize(shard)
    };
    tokio::select! {
        _ = save_shards_async(&path, NAME, 3, serialize) => panic!("it waits for shard 1"),
        () = async { while waiting.recv().await != Some(1) {} } => {}
    }
    assert_eq!(counts(&load(&path, 3).await), (1, 2, 0));
}

#[test]
fn failures_read_well() {
    let source = || io::Error::other("reason");
    let path = || PathBuf::from("dir/file");
    let cases: [(ShardFileError, &str); 9] = [
        (
            ShardFileError::Create {
                path: path(),
                source: source(),
            },
            "create",
        ),
        (
            ShardFileError::Write {
                path: path(),
                source: source(),
            },
            "write",
        ),
        (
            ShardFileError::Flush {
                path: path(),
                source: source(),
            },
            "sync",
        ),
        (
            ShardFileError::Open {
                path: path(),
                source: source(),
            },
            "open",
        ),
        (
            ShardFileError::Read {
                path: path(),
                source: source(),
            },
            "read",
        ),
        (
            ShardFileError::ReadDir {
                path: path(),
                source: source(),
            },
            "list",
        ),
        (
            ShardFileError::Remove {
                path: path(),
                source: source(),
            },
            "remove",
        ),
        (
            ShardFileError::ReadDirEntry {
                path: path(),
                source: source(),
            },
            "look at an entry of",
        ),
        (
            ShardFileError::Rename {
                from: PathBuf::new(),
                to: path(),
                source: source(),
            },
            "rename a temporary file to",
        ),
    ];
    for (error, verb) in cases {
        assert_eq!(error.to_string(), format!("cannot {verb} dir/file: reason"));
        assert_eq!(error.source().expect("each has one").to_string(), "reason");
    }
}

/// Services save from tasks that move between threads.
#[test]
fn the_futures_are_send() {
    fn is_send(_: impl Send) {}
    is_send(save_shards("", NAME, 1, |_| Ok::<_, String>(Vec::new())));
    is_send(save_shards_async("", NAME, 1, |_| async {
        Ok::<_, String>(Vec::new())
    }));
    is_send(load_shards("", NAME, 1, |_, _| Ok::<_, String>(())));
}
