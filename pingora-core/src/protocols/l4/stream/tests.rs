//! Tests of the stream over a scripted socket that counts its calls, and over real ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use crate::upstreams::peer::Tracing;

/// What a scripted socket gives and got.
#[derive(Debug, Default)]
struct Script {
    /// One read each; pending when there are none left.
    incoming: VecDeque<Vec<u8>>,
    /// The room each read had.
    reads: Vec<usize>,
    /// One write each.
    writes: Vec<Vec<u8>>,
    options: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn with(incoming: &[&[u8]]) -> (Self, Stream) {
        let scripted = Scripted::default();
        scripted.0.lock().incoming = incoming.iter().map(|part| part.to_vec()).collect();
        let stream = VirtualSocketStream::new(Box::new(scripted.clone())).into();
        (scripted, stream)
    }
}

impl VirtualSocket for Scripted {
    fn set_socket_option(&self, opt: VirtualSockOpt) -> io::Result<()> {
        self.0.lock().options.push(format!("{opt:?}"));
        Ok(())
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut script = self.0.lock();
        script.reads.push(buf.remaining());
        let Some(mut part) = script.incoming.pop_front() else {
            return Poll::Pending;
        };
        let rest = part.split_off(part.len().min(buf.remaining()));
        buf.put_slice(&part);
        if !rest.is_empty() {
            script.incoming.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().writes.push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = bufs.iter().flat_map(|part| part.iter().copied()).collect();
        let count = all.len();
        self.0.lock().writes.push(all);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().writes.push(b"<end>".to_vec());
        Poll::Ready(Ok(()))
    }
}

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (server, peer) = accepted.unwrap();
    (client.unwrap().into(), Stream::accepted(server, peer))
}

#[test]
fn the_structure_is_small() {
    // Of these the socket takes 48, the public fields another 48 and the remote address 32.
    assert!(size_of::<Stream>() <= 232, "{}", size_of::<Stream>());
}

#[tokio::test]
async fn small_reads_share_a_system_call_and_free_the_buffer() {
    let (script, mut stream) = Scripted::with(&[b"abcdef"]);
    let mut byte = [0; 2];
    for expected in [b"ab", b"cd"] {
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, expected);
    }
    assert_eq!(script.0.lock().reads, [DEFAULT_L4_READ_BUFFER_SIZE]);
    assert!(stream.read_buffer.is_some());
    stream.read_exact(&mut byte).await.unwrap();
    assert!(stream.read_buffer.is_none());
}

#[tokio::test]
async fn large_and_unbuffered_reads_go_to_the_socket() {
    let (script, mut stream) = Scripted::with(&[b"abc", b"def"]);
    let mut large = [0; SMALL_READ];
    assert_eq!(stream.read(&mut large).await.unwrap(), 3);
    stream.set_buffers(&L4BufferSettings::unbuffered());
    assert_eq!(stream.read(&mut large[..2]).await.unwrap(), 2);
    assert_eq!(script.0.lock().reads, [SMALL_READ, 2]);
    assert!(stream.read_buffer.is_none());
}

#[tokio::test]
async fn a_pending_read_keeps_no_buffer_and_an_empty_one_asks_nothing() {
    let (script, mut stream) = Scripted::with(&[]);
    let mut byte = [0; 1];
    assert!(futures_pending(stream.read(&mut byte)).await);
    assert!(stream.read_buffer.is_none());
    assert_ne!(stream.read_wait.total(), Duration::MAX);
    assert_eq!(stream.read(&mut []).await.unwrap(), 0);
    assert_eq!(script.0.lock().reads.len(), 1);
}

/// Polls once.
async fn futures_pending<F: Future>(future: F) -> bool {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn small_writes_are_gathered_until_flushed() {
    let (script, mut stream) = Scripted::with(&[]);
    stream.set_buffers(&L4BufferSettings::new(0, 8));
    stream.write_all(b"ab").await.unwrap();
    stream.write_all(b"cd").await.unwrap();
    assert!(script.0.lock().writes.is_empty());
    stream.flush().await.unwrap();
    assert!(stream.write_buffer.is_none());
    // Too much for the buffer: what is in it goes first, in order.
    stream.write_all(b"efgh").await.unwrap();
    stream.write_all(b"ijklm").await.unwrap();
    stream.write_all(b"12345678").await.unwrap();
    let written = std::mem::take(&mut script.0.lock().writes);
    assert_eq!(written, [&b"abcd"[..], b"efgh", b"ijklm", b"12345678"]);
}

#[tokio::test]
async fn vectored_writes_pass_after_what_was_gathered() {
    let (script, mut stream) = Scripted::with(&[]);
    stream.write_all(b"head").await.unwrap();
    let parts = [IoSlice::new(b"a"), IoSlice::new(b"b")];
    assert!(stream.is_write_vectored());
    assert_eq!(stream.write_vectored(&parts).await.unwrap(), 2);
    assert_eq!(script.0.lock().writes, [&b"head"[..], b"ab"]);
}

#[tokio::test]
async fn shutdown_sends_what_was_gathered() {
    let (script, mut stream) = Scripted::with(&[]);
    stream.write_all(b"last").await.unwrap();
    Shutdown::shutdown(&mut stream).await;
    assert_eq!(script.0.lock().writes, [&b"last"[..], b"<end>"]);
}

#[tokio::test]
async fn rewound_bytes_come_first() {
    let (_, mut stream) = Scripted::with(&[b"3"]);
    stream.rewind(b"2");
    stream.rewind(b"");
    stream.rewind(b"1");
    let mut all = [0; 3];
    stream.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"123");
}

#[tokio::test]
async fn peeking_leaves_the_bytes_and_survives_cancellation() {
    let (script, mut stream) = Scripted::with(&[b"PR"]);
    let mut preface = [0; 4];
    assert!(futures_pending(stream.try_peek(&mut preface)).await);
    script.0.lock().incoming.push_back(b"I * HTTP".to_vec());
    assert!(stream.try_peek(&mut preface).await.unwrap());
    assert_eq!(&preface, b"PRI ");
    assert!(stream.try_peek(&mut []).await.unwrap());
    let mut all = [0; 10];
    stream.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"PRI * HTTP");
}

#[tokio::test]
async fn peeking_past_the_end_is_refused_without_loss() {
    let (_, mut stream) = Scripted::with(&[b"ab", b""]);
    assert!(!stream.try_peek(&mut [0; 3]).await.unwrap());
    let mut rest = [0; 2];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"ab");
}

/// Random reads, peeks and rewinds against a plain queue of bytes.
#[tokio::test]
async fn reading_agrees_with_a_naive_queue() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let parts: Vec<Vec<u8>> = (0..20)
            .map(|_| {
                std::iter::repeat_with(|| random.u8(..))
                    .take(random_len(seed))
                    .collect()
            })
            .collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (_, mut stream) = Scripted::with(&slices);
        let capacity = random.usize(..64);
        stream.set_buffers(&L4BufferSettings::new(capacity, 0));
        let mut naive: VecDeque<u8> = parts.concat().into();
        for _ in 0..60 {
            let mut buf = vec![0; random.usize(1..40).min(naive.len())];
            if buf.is_empty() {
                break;
            }
            match random.u8(..3) {
                0 => {
                    stream.read_exact(&mut buf).await.unwrap();
                    assert!(
                        buf.iter()
                            .eq(naive.drain(..buf.len()).collect::<Vec<_>>().iter())
                    );
                }
                1 => {
                    assert!(stream.try_peek(&mut buf).await.unwrap());
                    assert!(buf.iter().eq(naive.iter().take(buf.len())), "seed {seed}");
                }
                _ => {
                    stream.rewind(&buf);
                    buf.iter().rev().for_each(|byte| naive.push_front(*byte));
                }
            }
        }
    }
}

fn random_len(seed: u64) -> usize {
    1 + usize::try_from(seed).unwrap() % 30
}

#[tokio::test]
async fn waiting_for_the_other_side_is_counted() {
    let (mut client, mut server) = tcp_pair().await;
    let mut byte = [0; 2000];
    assert!(futures_pending(server.read(&mut byte)).await);
    client.write_all(b"x").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(server.read(&mut byte).await.unwrap(), 1);
    assert!(!server.get_read_pending_time().is_zero());
    assert!(server.get_write_pending_time().is_zero());
    let timing = server.get_timing_digest();
    assert_eq!(
        timing[0].as_ref().unwrap().established_ts,
        server.established_ts
    );
}

#[tokio::test]
async fn real_sockets_have_options_ids_and_digests() {
    let (mut client, server) = tcp_pair().await;
    client.set_nodelay().unwrap();
    assert_eq!(client.id(), client.as_raw_fd());
    let RawStream::Tcp(socket) = &client.raw else {
        panic!("not TCP");
    };
    assert!(socket.nodelay().unwrap());
    let local = client
        .get_socket_digest()
        .unwrap()
        .local_addr()
        .unwrap()
        .clone();
    let peer_gone = server.get_socket_digest().unwrap();
    assert_eq!(peer_gone.peer_addr().unwrap(), &local);
    assert!(Arc::ptr_eq(
        &peer_gone,
        &server.get_socket_digest().unwrap()
    ));

    let (unix, _other) = UnixStream::pair().unwrap();
    let mut unix = Stream::from(unix);
    unix.set_nodelay().unwrap();
    assert!(unix.get_socket_digest().is_some());
}

#[tokio::test]
async fn virtual_sockets_have_negative_ids_and_get_options() {
    let (script, mut one) = Scripted::with(&[]);
    let (_, two) = Scripted::with(&[]);
    assert!(one.id() < -1 && two.id() < -1 && one.id() != two.id());
    assert_eq!(one.as_raw_fd(), -1);
    assert!(one.get_socket_digest().is_none());
    one.set_nodelay().unwrap();
    assert_eq!(script.0.lock().options, ["NoDelay"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn receive_timestamps() {
    let (mut client, mut server) = tcp_pair().await;
    server.set_rx_timestamp().unwrap();
    let before = SystemTime::now() - Duration::from_secs(60);
    client.write_all(b"hello").await.unwrap();
    client.flush().await.unwrap();
    let mut small = [0; 2];
    server.read_exact(&mut small).await.unwrap();
    let mut rest = vec![0; 4096];
    assert_eq!(server.read(&mut rest).await.unwrap(), 3);
    assert_eq!((&small, &rest[..3]), (b"he", &b"llo"[..]));
    // Some sandboxes accept the option and never tell the time.
    if let Some(received) = server.rx_ts {
        assert!(received > before);
    }
    drop(client);
    assert_eq!(server.read(&mut rest).await.unwrap(), 0);
}

#[derive(Debug)]
struct Count(Arc<AtomicUsize>);

impl Tracing for Count {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(Count(self.0.clone()))
    }
}

#[test]
fn dropping_tells_the_tracer_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let (_, mut stream) = Scripted::with(&[]);
    stream.tracer = Some(Tracer(Box::new(Count(count.clone()))));
    assert_eq!(count.load(Ordering::Relaxed), 0);
    drop(stream);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}
