//! The clients of a soak: those that behave and those that do not.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::framing::{Framer, Kind};

/// What a client does all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Up to 200 requests of all kinds per connection.
    KeepAlive,
    /// A connection per request.
    Reconnect,
    /// Leaves in the middle: of a head, an upload or an answer.
    Abort,
    /// Sends and reads a few bytes at a time.
    Slow,
    /// Asks once and then holds the connection.
    Idle,
}

/// What the clients that behave have got.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Whole answers with status 200.
    pub right: u64,
    /// Whole answers with another status: an origin died.
    pub wrong_status: u64,
    /// Answers that broke off or never came.
    pub broken: u64,
}

/// Shared by all clients of a run.
#[derive(Debug, Default)]
pub struct Counters {
    right: AtomicU64,
    wrong_status: AtomicU64,
    broken: AtomicU64,
    misbehaved: AtomicU64,
    stopped: AtomicBool,
}

/// An answer that takes longer than this is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests per connection of [`Role::KeepAlive`] at most.
const PER_CONNECTION: u64 = 200;
/// Connections an idle client holds.
const HELD: usize = 50;
/// Between two requests: this is a test of endurance, the proxy need not sweat all the time.
const BREATH: Duration = Duration::from_millis(1);
/// An upload's length.
const UPLOAD: usize = 64 * 1024;

/// Plays `role` until the counters say stop.
pub fn play(role: Role, proxy: SocketAddr, seed: u64, counters: &Counters) {
    let mut client = Client {
        proxy,
        random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        counters,
    };
    while !counters.is_stopped() {
        let done = match role {
            Role::KeepAlive => {
                let requests = client.below(PER_CONNECTION) + 1;
                client.ask(requests)
            }
            Role::Reconnect => client.ask(1),
            Role::Abort => client.abort(),
            Role::Slow => client.slow(),
            Role::Idle => client.hold(),
        };
        if done.is_err() && matches!(role, Role::KeepAlive | Role::Reconnect) {
            counters.broken.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(role, Role::KeepAlive) {
            counters.misbehaved.fetch_add(1, Ordering::Relaxed);
        }
        client.rest(BREATH);
    }
}

struct Client<'a> {
    proxy: SocketAddr,
    random: u64,
    counters: &'a Counters,
}

impl Client<'_> {
    fn ask(&mut self, requests: u64) -> io::Result<()> {
        let mut stream = self.connect()?;
        let mut framer = Framer::new(Kind::Response);
        for request in 1..=requests {
            let last = request == requests || self.counters.is_stopped();
            let message = self.request(last);
            stream.write_all(&message)?;
            read_answer(&mut stream, &mut framer, 64 * 1024, Duration::ZERO)?;
            let right = framer.second_word() == b"200";
            let counter = match right {
                true => &self.counters.right,
                false => &self.counters.wrong_status,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if last || framer.closes() || framer.ends_with_stream() {
                break;
            }
            self.rest(BREATH);
        }
        Ok(())
    }

    fn abort(&mut self) -> io::Result<()> {
        let mut stream = self.connect()?;
        match self.below(4) {
            // In the middle of a head.
            0 => stream.write_all(b"GET /small HTTP/1.1\r\nHost: soak.exa")?,
            // In the middle of an upload.
            1 => {
                let message = self.upload();
                stream.write_all(&message[..message.len() / 2])?;
            }
            // Before the answer.
            2 => stream.write_all(&self.get("/1m", false))?,
            // In the middle of the answer: what is left unread makes it a reset.
            _ => {
                stream.write_all(&self.get("/1m", false))?;
                let mut some = [0; 10_000];
                stream.read_exact(&mut some)?;
            }
        }
        let pause = Duration::from_millis(self.below(30));
        self.rest(pause);
        Ok(())
    }

    fn slow(&mut self) -> io::Result<()> {
        let mut stream = self.connect()?;
        let target = match self.below(3) {
            0 => "/1m",
            1 => "/64k-chunked",
            _ => "/small",
        };
        let message = self.get(target, true);
        for piece in message.chunks(7) {
            stream.write_all(piece)?;
            self.rest(Duration::from_millis(20));
            if self.counters.is_stopped() {
                return Ok(());
            }
        }
        let mut framer = Framer::new(Kind::Response);
        read_answer(
            &mut stream,
            &mut framer,
            16 * 1024,
            Duration::from_millis(20),
        )
    }

    fn hold(&mut self) -> io::Result<()> {
        let mut held = Vec::new();
        for _ in 0..HELD {
            let mut stream = self.connect()?;
            stream.write_all(&self.get("/small", false))?;
            let mut framer = Framer::new(Kind::Response);
            read_answer(&mut stream, &mut framer, 64 * 1024, Duration::ZERO)?;
            held.push(stream);
        }
        let until = 50 + self.below(50);
        for _ in 0..until {
            self.rest(Duration::from_millis(100));
            if self.counters.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.proxy)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn request(&mut self, last: bool) -> Vec<u8> {
        match self.below(20) {
            0 => self.get("/1m", last),
            1 | 2 => self.get("/64k", last),
            3 | 4 => self.get("/64k-chunked", last),
            5 | 6 => self.upload(),
            7 | 8 => self.upload_in_chunks(),
            _ => self.get("/small", last),
        }
    }

    fn get(&self, target: &str, last: bool) -> Vec<u8> {
        let connection = if last { "Connection: close\r\n" } else { "" };
        format!("GET {target} HTTP/1.1\r\nHost: soak.example\r\n{connection}\r\n").into_bytes()
    }

    fn upload(&self) -> Vec<u8> {
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: soak.example\r\nContent-Length: {UPLOAD}\r\n\r\n"
        );
        let mut message = head.into_bytes();
        message.resize(message.len() + UPLOAD, b'x');
        message
    }

    fn upload_in_chunks(&mut self) -> Vec<u8> {
        let head =
            "POST /upload HTTP/1.1\r\nHost: soak.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut message = Vec::from(head);
        for _ in 0..self.below(20) {
            let size = self.below(4_000) as usize + 1;
            message.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            message.resize(message.len() + size, b'x');
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"0\r\n\r\n");
        message
    }

    fn rest(&self, time: Duration) {
        thread::sleep(time);
    }

    /// Returns a number below `limit` (xorshift).
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }
}

/// Reads one answer, `piece` bytes at a time with `pause` between them.
fn read_answer(
    stream: &mut TcpStream,
    framer: &mut Framer,
    piece: usize,
    pause: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; piece];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return match framer.ends_with_stream() {
                true => Ok(()),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let progress = framer.feed(&buffer[..count]).map_err(io::Error::other)?;
        if progress.complete {
            return Ok(());
        }
        thread::sleep(pause);
    }
}

impl Counters {
    /// Tells the clients to come to an end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Returns what was counted so far.
    pub fn totals(&self) -> Totals {
        Totals {
            right: self.right.load(Ordering::Relaxed),
            wrong_status: self.wrong_status.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Totals {
    /// Returns the number of requests.
    pub fn all(&self) -> u64 {
        self.right + self.wrong_status + self.broken
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            wrong_status,
            broken,
        } = self;
        write!(f, "{right} right, {wrong_status} errors, {broken} broken")
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misbehaved = self.misbehaved.load(Ordering::Relaxed);
        write!(f, "{}, {misbehaved} other connections", self.totals())
    }
}
