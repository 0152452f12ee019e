//! The load generator: keep-alive connections on one epoll loop, as fast as answers come or at a
//! fixed rate.
//!
//! At a fixed rate a latency counts from the moment the request was due, not from when a connection
//! was free to send it: a stalled server is charged for everything that queued up behind the stall
//! (no coordinated omission).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketType};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::Result;
use crate::framing::{Framer, Kind};
use crate::histogram::Histogram;
use crate::tls_client::{Client, Stream};

/// What to send, over how many connections.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddr,
    /// The whole request, as bytes.
    pub request: Arc<[u8]>,
    /// Body bytes a right answer has.
    pub expected: u64,
    /// Connections kept.
    pub connections: usize,
    /// Requests under way at once, `connections` at most.
    pub concurrency: usize,
    /// Whether each request takes a connection of its own.
    pub reconnect: bool,
    /// How to speak TLS, if it is to be spoken.
    pub tls: Option<Client>,
    /// A request for another protocol that is sent first, and answered with 101. Then `request` is
    /// any bytes, and `expected` how many come back.
    pub upgrade: Option<Arc<[u8]>>,
}

/// When to send.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next request as soon as a connection is free.
    Closed,
    /// So many requests per second, whatever the answers do.
    Rate(f64),
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// After this time.
    Time(Duration),
    /// After this many requests.
    Requests(u64),
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers that were right.
    pub answers: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From when a request was sent (at a fixed rate: was due) to the end of its answer.
    pub latency: Histogram,
    /// TLS connections that got their first answer.
    pub handshakes: u64,
    /// Of them those that resumed a session.
    pub resumed: u64,
}

/// Connections to one proxy, kept between runs.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    epoll: rustix::fd::OwnedFd,
    timer: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Connections without a request, longest idle first.
    idle: VecDeque<usize>,
    buffer: Vec<u8>,
    opened: u32,
}

#[derive(Debug)]
struct Connection {
    stream: Option<Stream>,
    framer: Framer,
    sent: usize,
    /// When the request under way was sent or due.
    since: Option<Instant>,
    answered: u64,
}

/// Answers are read in pieces of this size.
const READ_BUFFER: usize = 256 * 1024;
/// Events taken per wake-up.
const EVENTS: usize = 256;
/// A proxy that answers nothing for this long has hung.
const STALL: Duration = Duration::from_secs(20);
/// The head of an answer that switches protocols has at most so many bytes.
const MAX_SWITCH: usize = 4 * 1024;
/// The timer's place among the events.
const TIMER: u64 = u64::MAX;
/// Source addresses taken in turn, so that short connections do not run out of ports.
const SOURCES: u32 = 64;

impl Load {
    /// Opens the connections of `plan` (none yet if each request takes its own).
    pub fn open(plan: Plan) -> Result<Self> {
        let os = |error: rustix::io::Errno| error.to_string();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(os)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(os)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).map_err(os)?;
        let mut load = Self {
            connections: Vec::with_capacity(plan.connections),
            idle: (0..plan.connections).collect(),
            buffer: vec![0; READ_BUFFER],
            opened: 0,
            plan,
            epoll,
            timer,
        };
        for index in 0..load.plan.connections {
            load.connections.push(Connection {
                stream: None,
                framer: Framer::new(Kind::Response),
                sent: 0,
                since: None,
                answered: 0,
            });
            if !load.plan.reconnect {
                load.connect(index)?;
            }
        }
        Ok(load)
    }

    /// Returns how many connections were opened so far.
    pub fn opened(&self) -> u32 {
        self.opened
    }

    /// Sends requests and waits for all their answers.
    pub fn run(&mut self, pace: Pace, amount: Amount) -> Result<Outcome> {
        let start = Instant::now();
        let (deadline, mut budget) = match amount {
            Amount::Time(time) => (Some(start + time), u64::MAX),
            Amount::Requests(requests) => (None, requests),
        };
        let mut outcome = Outcome::default();
        let mut events = Vec::with_capacity(EVENTS);
        let (mut issued, mut last_answer) = (0, start);
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                budget = issued;
            }
            let next = self.issue(pace, start, now, budget, &mut issued)?;
            if issued >= budget && outcome.answers == issued {
                break;
            }
            if now.duration_since(last_answer) > STALL {
                return Err(format!("no answer for {} s", STALL.as_secs()));
            }
            // A closed loop always has answers coming; a paced one waits for its next request too.
            let wake = [next, deadline].into_iter().flatten().min();
            self.wait(wake.unwrap_or(now + STALL), now, &mut events)?;
            let before = outcome.answers;
            for event in &events {
                if event.data.u64() != TIMER {
                    self.ready(event.data.u64() as usize, &mut outcome)?;
                }
            }
            if outcome.answers > before {
                last_answer = Instant::now();
            }
        }
        outcome.elapsed = start.elapsed();
        Ok(outcome)
    }

    /// Sends what is due; returns when the next request is.
    fn issue(
        &mut self,
        pace: Pace,
        start: Instant,
        now: Instant,
        budget: u64,
        issued: &mut u64,
    ) -> Result<Option<Instant>> {
        while *issued < budget {
            let due = match pace {
                Pace::Closed => now,
                Pace::Rate(rate) => start + Duration::from_secs_f64(*issued as f64 / rate),
            };
            if due > now {
                return Ok(Some(due));
            }
            let busy = self.plan.connections - self.idle.len();
            let Some(index) = self.idle.front().filter(|_| busy < self.plan.concurrency) else {
                return Ok(None);
            };
            let index = *index;
            self.idle.pop_front();
            if self.connections[index].stream.is_none() {
                self.connect(index)?;
            }
            let connection = &mut self.connections[index];
            connection.since = Some(due);
            connection.sent = 0;
            connection.write(&self.plan.request)?;
            *issued += 1;
        }
        Ok(None)
    }

    fn wait(&mut self, wake: Instant, now: Instant, events: &mut Vec<epoll::Event>) -> Result<()> {
        // A timer descriptor, because epoll's own timeout is in milliseconds.
        let after = wake
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let after = Timespec {
            tv_sec: after.as_secs() as i64,
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: after,
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .map_err(|error| error.to_string())?;
        events.clear();
        let space = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, space, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        let source = Ipv4Addr::new(127, 0, 1, (self.opened % SOURCES) as u8 + 1);
        self.opened += 1;
        let connect = || -> io::Result<TcpStream> {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
            rustix::net::connect(&socket, &self.plan.target)?;
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true)?;
            if let Some(request) = &self.plan.upgrade {
                switch_protocols(&stream, request)?;
            }
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        let failed = |error: io::Error| format!("connecting to {}: {error}", self.plan.target);
        let stream = connect().map_err(failed)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &self.epoll,
            &stream,
            EventData::new_u64(index as u64),
            flags,
        )
        .map_err(|error| error.to_string())?;
        let stream = match &self.plan.tls {
            Some(client) => client.connect(stream)?,
            None => Stream::Plain(stream),
        };
        let connection = &mut self.connections[index];
        connection.stream = Some(stream);
        connection.framer = Framer::new(match self.plan.upgrade {
            Some(_) => Kind::Bytes(self.plan.expected),
            None => Kind::Response,
        });
        connection.answered = 0;
        Ok(())
    }

    fn ready(&mut self, index: usize, outcome: &mut Outcome) -> Result<()> {
        let connection = &mut self.connections[index];
        if connection.since.is_some() {
            connection.write(&self.plan.request)?;
        }
        if !connection.read(&mut self.buffer, &self.plan)? {
            return Ok(());
        }
        let Some(since) = connection.since.take() else {
            return Err(String::from("an answer nobody asked for"));
        };
        connection.answered += 1;
        if let (1, Some(Stream::Tls(stream))) = (connection.answered, &connection.stream) {
            outcome.handshakes += 1;
            outcome.resumed += u64::from(stream.is_resumed());
        }
        if self.plan.reconnect || connection.framer.closes() {
            connection.stream = None;
        }
        outcome.answers += 1;
        outcome.latency.record(since.elapsed());
        self.idle.push_back(index);
        Ok(())
    }
}

/// Asks for another protocol and waits until it is agreed on.
fn switch_protocols(mut stream: &TcpStream, request: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.write_all(request)?;
    let mut head = Vec::new();
    // What follows the head is not read here: nothing does before something is sent.
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_SWITCH {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(()),
        false => Err(io::Error::other("it does not switch protocols")),
    }
}

impl Connection {
    fn write(&mut self, request: &[u8]) -> Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.sent < request.len() {
            match stream.write(&request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("sending a request: {error}")),
            }
        }
        Ok(())
    }

    /// Reads what is there; returns whether the answer is complete.
    fn read(&mut self, buffer: &mut [u8], plan: &Plan) -> Result<bool> {
        let mut complete = false;
        while let Some(stream) = &mut self.stream {
            let count = match stream.read(buffer) {
                Ok(0) => {
                    complete |= self.framer.ends_with_stream();
                    self.stream = None;
                    if self.since.is_some() && !complete {
                        let answered = self.answered;
                        return Err(format!("connection closed after {answered} answers"));
                    }
                    break;
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if self.since.is_none() => {
                    self.stream = None;
                    break;
                }
                Err(error) => return Err(format!("reading an answer: {error}")),
            };
            let progress = self.framer.feed(&buffer[..count])?;
            complete |= progress.complete;
            if progress.used < count {
                return Err(String::from("bytes after the answer"));
            }
            // Less than asked for means drained; of TLS it may be the rest of a record.
            let drained = count < buffer.len() && matches!(self.stream, Some(Stream::Plain(_)));
            if complete || drained {
                break;
            }
        }
        if complete && plan.upgrade.is_none() && self.framer.second_word() != b"200" {
            let status = String::from_utf8_lossy(self.framer.second_word()).into_owned();
            return Err(format!("answered {status}"));
        }
        if complete && self.framer.body_bytes() != plan.expected {
            let found = self.framer.body_bytes();
            return Err(format!("{found} body bytes, not {}", plan.expected));
        }
        Ok(complete)
    }
}
