//! The smallest client of HTTP/2: a connection that makes one request and idles.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::tls_client::{Client, Stream};

/// An answer arrives within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Opens so many connections, over TLS if there is a client of it, and makes one request for `path`
/// on each.
pub fn idle_connections(
    count: usize,
    listen: SocketAddr,
    path: &str,
    tls: Option<&Client>,
) -> Result<Vec<Stream>> {
    let open = |_| {
        let failed = |error: io::Error| format!("connection: {error}");
        let tcp = TcpStream::connect(listen).map_err(failed)?;
        tcp.set_read_timeout(Some(ANSWER_LIMIT)).map_err(failed)?;
        // What is sent is three small pieces.
        tcp.set_nodelay(true).map_err(failed)?;
        let mut stream = match tls {
            Some(client) => client.connect(tcp)?,
            None => Stream::Plain(tcp),
        };
        request(&mut stream, path, tls.is_some()).map_err(failed)?;
        Ok(stream)
    };
    (0..count).map(open).collect()
}

/// Makes the smallest request there is and reads the answer.
fn request(stream: &mut Stream, path: &str, is_tls: bool) -> io::Result<()> {
    // :method GET, :scheme, :path and :authority in full (RFC 7541, appendix A).
    let mut head = vec![0x82, if is_tls { 0x87 } else { 0x86 }];
    for (index, value) in [(4, path), (1, "bench.example")] {
        head.extend([index, value.len() as u8]);
        head.extend(value.as_bytes());
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.write_all(&frame(1, END_HEADERS | END_STREAM, 1, &head))?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
        let (kind, flags, id) = (header[3], header[4], header[8]);
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
        }
        if id == 1 && kind <= 1 && flags & END_STREAM != 0 {
            return Ok(());
        }
    }
}

fn frame(kind: u8, flags: u8, id: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, id];
    frame.extend(payload);
    frame
}
