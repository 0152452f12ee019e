//! Every way the wait with an idle connection can end, and the races between them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::{JoinHandle, yield_now};

use super::*;

type Shared = Arc<AsyncMutex<DuplexStream>>;

struct Idle {
    pool: Arc<ConnectionPool<Shared>>,
    peer: DuplexStream,
    watcher: JoinHandle<bool>,
}

/// A pool of one with a watched connection of key 1, id 1.
async fn idle(timeout: Option<Duration>) -> Idle {
    let (near, peer) = duplex(64);
    let near = Arc::new(AsyncMutex::new(near));
    let pool = Arc::new(ConnectionPool::new(1));
    let watcher = watch(&pool, &near, timeout);
    yield_now().await;
    Idle {
        pool,
        peer,
        watcher,
    }
}

fn watch(
    pool: &Arc<ConnectionPool<Shared>>,
    near: &Shared,
    timeout: Option<Duration>,
) -> JoinHandle<bool> {
    let meta = ConnectionMeta::new(1, 1);
    let locked = Arc::clone(near)
        .try_lock_owned()
        .expect("nobody else has it");
    let (evicted, watch_use) = pool.put(&meta, Arc::clone(near));
    let pool = Arc::clone(pool);
    tokio::spawn(async move {
        pool.idle_poll(locked, &meta, timeout, evicted, watch_use)
            .await
    })
}

#[tokio::test]
async fn a_taken_connection_is_whole_and_unlocked() {
    let Idle {
        pool,
        mut peer,
        watcher,
    } = idle(None).await;
    let taken = pool.get(&1).expect("it idles");
    // Data that comes after taking belongs to the taker, even if the watcher runs first.
    peer.write_all(b"xyz").await.expect("it is open");
    assert!(!watcher.await.expect("the watcher ends"));
    let mut read = [0; 3];
    taken
        .lock()
        .await
        .read_exact(&mut read)
        .await
        .expect("all is there");
    assert_eq!(&read, b"xyz");
}

#[tokio::test]
async fn a_closed_connection_is_removed() {
    let Idle {
        pool,
        peer,
        watcher,
    } = idle(None).await;
    drop(peer);
    assert!(watcher.await.expect("the watcher ends"));
    assert!(pool.get(&1).is_none());
    assert_eq!(pool.held(), (0, 0));
}

#[tokio::test]
async fn unexpected_data_removes_the_connection() {
    let Idle {
        pool,
        mut peer,
        watcher,
    } = idle(None).await;
    peer.write_all(b"HTTP/1.1 408").await.expect("it is open");
    assert!(watcher.await.expect("the watcher ends"));
    assert!(pool.get(&1).is_none());
    // Dropped: the peer sees the end.
    assert_eq!(peer.read(&mut [0]).await.expect("an end is no error"), 0);
}

#[tokio::test]
async fn an_evicted_connection_is_dropped() {
    let Idle {
        pool,
        mut peer,
        watcher,
    } = idle(None).await;
    let (other, _other_peer) = duplex(64);
    pool.put(&ConnectionMeta::new(2, 2), Arc::new(AsyncMutex::new(other)));
    assert!(watcher.await.expect("the watcher ends"));
    assert_eq!(peer.read(&mut [0]).await.expect("an end is no error"), 0);
    assert_eq!(pool.held(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_connection_is_removed() {
    let Idle {
        pool,
        peer: _peer,
        watcher,
    } = idle(Some(Duration::from_secs(5))).await;
    tokio::time::advance(Duration::from_millis(4_900)).await;
    assert_eq!(pool.held(), (1, 1));
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(watcher.await.expect("the watcher ends"));
    assert_eq!(pool.held(), (0, 0));
}

#[tokio::test]
async fn a_watcher_that_comes_late_leaves_the_next_stay_alone() {
    let (near, _peer) = duplex(64);
    let near = Arc::new(AsyncMutex::new(near));
    let pool = Arc::new(ConnectionPool::new(1));
    let meta = ConnectionMeta::new(1, 1);
    let (evicted, watch_use) = pool.put(&meta, Arc::clone(&near));
    let taken = pool.get(&1).expect("it idles");
    pool.put(&meta, taken);
    let locked = near.lock_owned().await;
    let unused = pool.idle_poll(locked, &meta, None, evicted, watch_use);
    assert!(!unused.await);
    assert_eq!(pool.held(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_ends_in_every_way() {
    let second = Duration::from_secs(1);
    let meta = ConnectionMeta::new(1, 1);
    let pool = ConnectionPool::new(1);

    let (evicted, watch_use) = pool.put(&meta, ());
    let (_open, closed) = watch::channel(false);
    let unused = pool.idle_timeout(&meta, Some(second), evicted, closed, watch_use);
    assert!(unused.await, "timed out");
    assert_eq!(pool.held(), (0, 0));

    let (evicted, watch_use) = pool.put(&meta, ());
    let (_open, closed) = watch::channel(true);
    let unused = pool.idle_timeout(&meta, None, evicted, closed, watch_use);
    assert!(unused.await, "closed before");
    assert_eq!(pool.held(), (0, 0));

    let (evicted, watch_use) = pool.put(&meta, ());
    let (owner, closed) = watch::channel(false);
    let unused = pool.idle_timeout(&meta, None, evicted, closed, watch_use);
    drop(owner);
    assert!(unused.await, "owner gone");
    assert_eq!(pool.held(), (0, 0));

    let (evicted, watch_use) = pool.put(&meta, ());
    let (_open, closed) = watch::channel(false);
    pool.put(&ConnectionMeta::new(2, 2), ());
    let unused = pool.idle_timeout(&meta, None, evicted, closed, watch_use);
    assert!(unused.await, "evicted");
    assert_eq!(pool.held(), (1, 1));

    let (evicted, watch_use) = pool.put(&meta, ());
    let (_open, closed) = watch::channel(true);
    assert_eq!(pool.get(&1), Some(()));
    let unused = pool.idle_timeout(&meta, None, evicted, closed, watch_use);
    assert!(!unused.await, "taken, though closed since");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_byte_is_lost_between_watcher_and_taker() {
    let pool = Arc::new(ConnectionPool::new(4));
    let whole = AtomicUsize::new(0);
    for round in 0..2_000u32 {
        let (near, mut peer) = duplex(64);
        let near = Arc::new(AsyncMutex::new(near));
        let watcher = watch(&pool, &near, None);
        drop(near);
        let writer = tokio::spawn(async move {
            // Fails if the watcher found the first byte and dropped the connection.
            let _ = peer.write_all(&round.to_be_bytes()).await;
        });
        let taken = pool.get(&1);
        let unused = watcher.await.expect("the watcher ends");
        assert_eq!(unused, taken.is_none());
        if let Some(taken) = taken {
            let mut read = [0; 4];
            let mut stream = taken.lock().await;
            stream.read_exact(&mut read).await.expect("all is there");
            assert_eq!(u32::from_be_bytes(read), round);
            whole.fetch_add(1, Ordering::Relaxed);
        }
        writer.await.expect("the writer ends");
        assert_eq!(pool.held(), (0, 0));
    }
    assert!(whole.into_inner() > 0);
}
