//! Tests over real sockets, on runtimes of ours: elsewhere nothing is queued.

use std::os::fd::AsRawFd;

use pingora_runtime::Runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::Stream;
use super::*;

/// Runs `test` on a thread of a runtime of ours with so many threads.
fn run<T: Send + 'static>(threads: usize, test: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = Runtime::new_steal(threads, "test");
    let handle = runtime.get_handle();
    let result = handle.block_on(handle.spawn(test)).unwrap();
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, other) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (one.unwrap(), other.unwrap().0)
}

impl Departing {
    /// Returns what has become of the bytes handed over last.
    fn fate(&self) -> &'static str {
        let Some((departures, number)) = &self.0 else {
            return "none";
        };
        match departures.lock().state(*number) {
            State::Waiting(_) => "waiting",
            State::Gone => "gone",
            State::Stuck => "stuck",
        }
    }
}

/// Has this thread queue the next send even if the last ones were alone.
fn expect_company() {
    OF_THREAD.with(|departures| {
        if let Some(departures) = departures.0.get() {
            departures.lock().lone_turns = 0;
        }
    });
}

#[test]
fn small_sends_wait_for_the_end_of_the_turn_and_larger_ones_do_not() {
    run(1, async {
        let (socket, mut other) = pair().await;
        let fd = socket.as_raw_fd();
        let mut departing = Departing::default();
        assert!(departing.hand_over(fd, b"one "));
        assert_eq!(departing.fate(), "waiting");
        assert!(departing.hand_over(fd, b"two "));
        assert!(!departing.hand_over(fd, &[b'x'; MAX_PARCEL + 1]));
        assert!(!departing.hand_over(fd, b""));
        let mut received = [0; 8];
        other.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"one two ");
        assert_eq!(departing.fate(), "gone");
    });
}

#[test]
fn what_waits_can_be_sent_at_once() {
    run(1, async {
        let (socket, other) = pair().await;
        let fd = socket.as_raw_fd();
        for way in ["settle", "poll_rest", "drop"] {
            let mut departing = Departing::default();
            assert!(departing.hand_over(fd, way.as_bytes()));
            match way {
                "settle" => assert!(departing.settle()),
                "poll_rest" => {
                    let rest = departing.poll_rest(|_| panic!("there is room"));
                    assert!(matches!(rest, Poll::Ready(Ok(()))));
                }
                _ => drop(departing),
            }
            // No await lies between the send and this.
            let mut received = [0; 16];
            let other = sys::borrow(other.as_raw_fd()).unwrap();
            let count = io::Read::read(&mut &*other, &mut received).unwrap();
            assert_eq!(&received[..count], way.as_bytes());
        }
    });
}

#[test]
fn many_sends_do_not_wait_for_the_end_of_the_turn() {
    run(1, async {
        let mut pairs = Vec::new();
        for _ in 0..=MAX_WAITING {
            let (socket, other) = pair().await;
            pairs.push((socket, other, Departing::default()));
        }
        for (socket, _, departing) in &mut pairs {
            assert!(departing.hand_over(socket.as_raw_fd(), b"x"));
        }
        let fates: Vec<_> = pairs
            .iter()
            .map(|(.., departing)| departing.fate())
            .collect();
        assert_eq!(fates[..MAX_WAITING], ["gone"; MAX_WAITING]);
        assert_eq!(fates[MAX_WAITING], "waiting");
    });
}

#[test]
fn threads_of_others_send_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (socket, _other) = pair().await;
        assert!(!Departing::default().hand_over(socket.as_raw_fd(), b"x"));
    });
}

#[test]
fn streams_keep_their_order_whatever_the_sizes_and_threads() {
    run(4, async {
        let streams = (0..24).map(|seed| tokio::spawn(one_stream(fastrand::Rng::with_seed(seed))));
        for stream in streams.collect::<Vec<_>>() {
            stream.await.unwrap();
        }
    });
}

/// Writes pieces of random sizes, changing tasks now and then, and drops the stream right after
/// the last: all must arrive.
async fn one_stream(mut random: fastrand::Rng) {
    let (socket, mut other) = pair().await;
    let mut stream = Some(Stream::from(socket));
    let sent: Vec<u8> = (0..300_000).map(|_| random.u8(..)).collect();
    let expected = sent.clone();
    let reader = tokio::spawn(async move {
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
    });
    let mut rest = &sent[..];
    while !rest.is_empty() {
        let size = random
            .usize(1..=MAX_PARCEL + MAX_PARCEL / 2)
            .min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        let (piece, mut taken) = (piece.to_vec(), stream.take().unwrap());
        let work = async move {
            taken.write_all(&piece).await.unwrap();
            taken.flush().await.unwrap();
            taken
        };
        stream = Some(match random.u8(..4) {
            0 => tokio::spawn(work).await.unwrap(),
            _ => work.await,
        });
        if random.u8(..4) == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(stream);
    reader.await.unwrap();
}

#[test]
fn a_socket_without_room_is_tried_again() {
    run(1, async {
        let (socket, mut other) = pair().await;
        let mut departing = Departing::default();
        let mut sent = 0;
        while departing.fate() != "stuck" {
            expect_company();
            assert!(departing.hand_over(socket.as_raw_fd(), &[b'x'; MAX_PARCEL]));
            sent += MAX_PARCEL;
            while departing.fate() == "waiting" {
                tokio::task::yield_now().await;
            }
        }
        assert!(
            !departing.hand_over(socket.as_raw_fd(), b"x"),
            "it would overtake"
        );
        let mut received = vec![0; sent];
        other.read_exact(&mut received).await.unwrap();
        assert_eq!(departing.fate(), "gone");
        expect_company();
        assert!(departing.hand_over(socket.as_raw_fd(), b"y"));
        assert_eq!(other.read_u8().await.unwrap(), b'y');
    });
}

#[test]
fn sockets_without_room_take_turns() {
    let mut queue = Queue::default();
    let sockets: Vec<_> = (0..3 * RETRIED_AT_ONCE as u64).collect();
    for number in &sockets {
        // A closed descriptor: sending fails, and so tells who was tried.
        let bytes = vec![b'x'];
        queue.blocked.insert(*number, Parcel { socket: -1, bytes });
    }
    for round in 1..=3 {
        queue.send_blocked();
        assert_eq!(queue.failed.len(), round * RETRIED_AT_ONCE);
    }
    assert!(queue.blocked.is_empty());
    queue.send_blocked();
    assert_eq!(queue.retry_from, 0);
}

#[test]
fn a_writer_waits_for_a_reader() {
    run(1, async {
        let (socket, mut other) = pair().await;
        let mut stream = Stream::from(socket);
        const PIECES: usize = 20_000;
        let writer = tokio::spawn(async move {
            for _ in 0..PIECES {
                stream.write_all(&[b'x'; 1500]).await.unwrap();
                stream.flush().await.unwrap();
            }
            stream.shutdown().await.unwrap();
            stream
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), PIECES * 1500);
        drop(writer.await.unwrap());
    });
}

#[test]
fn an_error_is_told_by_a_later_send() {
    run(1, async {
        let (socket, other) = pair().await;
        let mut stream = Stream::from(socket);
        other.set_zero_linger().unwrap();
        drop(other);
        let error = loop {
            let sent = stream.write_all(&[b'x'; 1500]).await;
            if let Err(e) = sent.and(stream.flush().await) {
                break e;
            }
            tokio::task::yield_now().await;
        };
        let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}

#[test]
fn what_waits_is_sent_when_the_runtime_ends() {
    let (socket, other) = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let one = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    };
    let fd = socket.as_raw_fd();
    let departing = {
        let runtime = Runtime::new_steal(1, "test");
        let handle = runtime.get_handle();
        let task = handle.spawn(async move {
            let mut departing = Departing::default();
            assert!(departing.hand_over(fd, b"last words"));
            departing
        });
        let departing = handle.block_on(task).unwrap();
        runtime.shutdown_timeout(Duration::from_secs(5));
        departing
    };
    assert_eq!(departing.fate(), "gone");
    let mut received = [0; 10];
    io::Read::read_exact(&mut &other, &mut received).unwrap();
    assert_eq!(&received, b"last words");
    drop(socket);
}

#[test]
fn lone_sends_are_not_queued_for_long() {
    run(1, async {
        let (socket, mut other) = pair().await;
        let mut departing = Departing::default();
        let mut queued = Vec::new();
        for _ in 0..2 * (usize::from(LONE_TURNS) + usize::from(NOT_QUEUED)) {
            let taken = departing.hand_over(socket.as_raw_fd(), b"x");
            if taken {
                other.read_u8().await.unwrap();
            }
            queued.push(taken);
        }
        let lone = usize::from(LONE_TURNS);
        assert!(queued[..lone].iter().all(|taken| *taken));
        let later = queued[lone..].iter().filter(|taken| **taken).count();
        assert!((1..=4).contains(&later), "{later}");
    });
}
