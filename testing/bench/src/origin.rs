//! The origin all proxies share: canned responses, one epoll loop, two system calls per request.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::Result;
use crate::framing::{Framer, Kind};

/// Body bytes of `/small`.
pub const SMALL: usize = 600;
/// Body bytes of `/64k` and `/64k-chunked`, and of an upload.
pub const MEDIUM: usize = 64 * 1024;
/// Body bytes of `/1m`.
pub const LARGE: usize = 1024 * 1024;

/// Here everything is a WebSocket, whose frames come back as they are: no proxy looks into them.
const ECHO: &[u8] = b"/echo";
/// The answer to the handshake of RFC 6455, section 1.3.
const ACCEPT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// `/64k-chunked` comes in chunks of this size.
const CHUNK: usize = 8 * 1024;
/// Uploads are read in pieces of this size.
const READ_BUFFER: usize = 256 * 1024;
/// Events taken per wake-up.
const EVENTS: usize = 256;
/// The listener's place among the events; connections count from zero.
const LISTENER: u64 = u64::MAX;

/// Reads the address and calls [`serve`].
pub fn serve_at(listen: &str) -> Result<()> {
    serve(
        listen
            .parse()
            .map_err(|_| format!("{listen} is no address"))?,
    )
}

/// Binds `listen`, prints the bound address on a line of its own and serves until killed.
pub fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).map_err(|error| format!("{listen}: {error}"))?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    println!("{bound}");
    let run = || -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, token, EventFlags::IN)?;
        let mut server = Server {
            epoll,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            pages: Pages::new(),
            buffer: vec![0; READ_BUFFER],
        };
        server.run()
    };
    run().map_err(|error| error.to_string())
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    pages: Pages,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    framer: Framer,
    /// Responses to send, and how much of the first is sent.
    out: VecDeque<Arc<[u8]>>,
    sent: usize,
    closes: bool,
    /// Whether it switched to a protocol in which everything comes back.
    echoes: bool,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    index => self.ready(index as usize),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET | EventFlags::RDHUP;
            let token = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &stream, token, flags)?;
            self.connections[index] = Some(Connection {
                stream,
                framer: Framer::new(Kind::Request),
                out: VecDeque::new(),
                sent: 0,
                closes: false,
                echoes: false,
            });
        }
        Ok(())
    }

    fn ready(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        let open = connection.read(&mut self.buffer, &self.pages) && connection.write();
        if !open {
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

impl Connection {
    /// Reads what is there; returns whether the connection lives on.
    fn read(&mut self, buffer: &mut [u8], pages: &Pages) -> bool {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            };
            let mut input = &buffer[..count];
            while !input.is_empty() {
                if self.echoes {
                    self.out.push_back(Arc::from(input));
                    break;
                }
                let Ok(progress) = self.framer.feed(input) else {
                    return false;
                };
                input = &input[progress.used..];
                if progress.complete {
                    let target = self.framer.second_word();
                    self.out.push_back(pages.find(target));
                    self.echoes = target == ECHO;
                    self.closes |= self.framer.closes();
                }
            }
            // Less than asked for means drained: no read that is known to fail.
            if count < buffer.len() {
                return true;
            }
        }
    }

    /// Writes what is due; returns whether the connection lives on.
    fn write(&mut self) -> bool {
        while let Some(page) = self.out.front() {
            match self.stream.write(&page[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            if self.sent == page.len() {
                self.out.pop_front();
                self.sent = 0;
            }
        }
        !self.closes
    }
}

/// The responses, made once.
struct Pages {
    small: Arc<[u8]>,
    medium: Arc<[u8]>,
    chunked: Arc<[u8]>,
    large: Arc<[u8]>,
    upload: Arc<[u8]>,
    echo: Arc<[u8]>,
    missing: Arc<[u8]>,
}

impl Pages {
    fn new() -> Self {
        let mut chunked = head("200 OK", "Transfer-Encoding: chunked");
        for _ in 0..MEDIUM / CHUNK {
            chunked.extend_from_slice(format!("{CHUNK:x}\r\n").as_bytes());
            chunked.resize(chunked.len() + CHUNK, b'x');
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        Self {
            small: page("200 OK", SMALL),
            medium: page("200 OK", MEDIUM),
            chunked: chunked.into(),
            large: page("200 OK", LARGE),
            upload: page("200 OK", 2),
            echo: Arc::from(ACCEPT),
            missing: page("404 Not Found", 0),
        }
    }

    fn find(&self, target: &[u8]) -> Arc<[u8]> {
        Arc::clone(match target {
            b"/small" => &self.small,
            b"/64k" => &self.medium,
            b"/64k-chunked" => &self.chunked,
            b"/1m" => &self.large,
            b"/upload" => &self.upload,
            ECHO => &self.echo,
            _ => &self.missing,
        })
    }
}

fn page(status: &str, length: usize) -> Arc<[u8]> {
    let mut page = head(status, &format!("Content-Length: {length}"));
    page.resize(page.len() + length, b'x');
    page.into()
}

fn head(status: &str, framing: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/html; charset=utf-8\r\nCache-Control: max-age=60\r\n\
         ETag: \"0123456789abcdef\"\r\nLast-Modified: Wed, 31 Dec 2025 00:00:00 GMT\r\n\
         Vary: Accept-Encoding\r\n{framing}\r\n\r\n"
    )
    .into_bytes()
}
