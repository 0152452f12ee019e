//! The comparison of what is neither plain HTTP/1 nor plain HTTP/2: gRPC, WebSocket, and TCP
//! connections passed on as they are.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::args::Options;
use crate::contest::{self, Contest};
use crate::load::{Load, Plan};
use crate::measure::throughput::{self, Sample};
use crate::process::Process;
use crate::proxies::{Entry, Protocol, Protocols, Running};
use crate::scenario::{self, CONNECTIONS};
use crate::{Result, nghttp2};

/// What is done with each connection.
#[derive(Clone, Copy)]
enum Traffic {
    /// Unary calls.
    Grpc,
    /// Messages that come back.
    WebSocket,
    /// The HTTP/1 scenario of this name.
    Scenario(&'static str),
}

const GRPC: Protocols = Protocols::new(Protocol::Grpc, Protocol::Grpc);
const UPGRADE: Protocols = Protocols::new(Protocol::H1, Protocol::H1);
const TCP: Protocols = Protocols::new(Protocol::Tcp, Protocol::Tcp);

const ROWS: [(&str, Protocols, Traffic); 5] = [
    ("gRPC, unary call of 100 bytes", GRPC, Traffic::Grpc),
    ("WebSocket, echo of 100 bytes", UPGRADE, Traffic::WebSocket),
    ("TCP, small GET through it", TCP, Traffic::Scenario("small")),
    (
        "TCP, 1 MiB response through it",
        TCP,
        Traffic::Scenario("1m"),
    ),
    (
        "TCP, a connection per request",
        TCP,
        Traffic::Scenario("connect"),
    ),
];

/// Calls of a round of gRPC.
const CALLS: u64 = 20_000;
/// Bytes of a message.
const MESSAGE: usize = 100;
/// The method that is called.
const METHOD: &str = "/bench.Echo/Call";
/// The options of the client that make requests calls.
const CALL: [&str; 4] = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
/// A client and its handshake (RFC 6455, section 1.3).
const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Runs `bench protocols`.
pub fn run(options: &Options) -> Result<()> {
    contest::run("protocols", options, |scratch| measure(options, scratch))
}

fn measure(options: &Options, scratch: &Path) -> Result<String> {
    let entries = options.proxies.iter().map(|proxy| Entry::plain(*proxy));
    let mut contest = Contest::prepare(options, scratch, entries)?;
    let message = [&[0, 0, 0, 0, MESSAGE as u8][..], &[b'x'; MESSAGE]].concat();
    let body = scratch.join("call");
    fs::write(&body, &message).map_err(|error| format!("{}: {error}", body.display()))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_http, http) = Process::origin(&contest.cores, any)?;
    let trailer = ["--trailer", "grpc-status: 0"];
    let (_grpc, grpc) = nghttp2::origin(&contest.cores, scratch, METHOD, &message, &trailer)?;
    let mut running = Vec::new();
    for (title, protocols, _) in ROWS {
        let origin = if protocols == GRPC { grpc } else { http };
        running.push(contest.each(title, |contest, column| {
            contest.start(column, protocols, origin, &[])
        }));
    }
    let time = options.time;
    let body = body.display().to_string();
    let titles = ROWS.map(|(title, ..)| title);
    let samples = contest.rounds(&titles, |row, column| {
        let proxy = running[row][column].as_ref()?;
        Some(match ROWS[row].2 {
            Traffic::Grpc => calls(proxy, &body),
            Traffic::WebSocket => load(proxy, web_socket(proxy.listen), time),
            Traffic::Scenario(name) => {
                scenario::named(name).and_then(|scenario| throughput::round(proxy, scenario, time))
            }
        })
    });
    let how = format!(
        "{:.1} s over {CONNECTIONS} connections, or of {CALLS} calls over {}, {} at a time on each",
        time.as_secs_f64(),
        nghttp2::CONNECTIONS,
        nghttp2::STREAMS,
    );
    let tables = throughput::tables(&contest, &titles, &samples);
    Ok(contest.report(&how, &tables))
}

/// Makes calls whose message is the file `body`.
fn calls(proxy: &Running, body: &str) -> Result<Sample> {
    let options = [&CALL[..], &["-d", body]].concat();
    throughput::round_of(proxy, CALLS, |count| {
        nghttp2::load(proxy.listen, METHOD, count, &options)
    })
}

fn load(proxy: &Running, plan: Plan, time: Duration) -> Result<Sample> {
    Ok(throughput::load_for(proxy, &mut Load::open(plan)?, time)?.0)
}

/// Returns the load of connections that send a message as soon as the one before came back.
fn web_socket(target: SocketAddr) -> Plan {
    // The last frame of a text, masked with zeros (RFC 6455, section 5.2).
    let head = [0x81, 0x80 | MESSAGE as u8, 0, 0, 0, 0];
    let frame = [&head[..], &[b'x'; MESSAGE]].concat();
    Plan {
        target,
        expected: frame.len() as u64,
        request: Arc::from(frame),
        connections: CONNECTIONS,
        concurrency: CONNECTIONS,
        reconnect: false,
        tls: None,
        upgrade: Some(Arc::from(HANDSHAKE)),
    }
}
