//! The requests everything is measured with.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::Result;
use crate::load::Plan;
use crate::origin::{LARGE, MEDIUM, SMALL};

/// One kind of request.
#[derive(Debug)]
pub struct Scenario {
    /// What `--scenario` takes.
    pub name: &'static str,
    /// What the report calls it.
    pub title: &'static str,
    target: &'static str,
    fields: &'static str,
    upload: usize,
    answer: usize,
    reconnect: bool,
    /// Requests counted under instrumentation, where each takes fifty times as long.
    pub counted: u64,
}

/// Connections held open, as in a busy second of a small site.
pub const CONNECTIONS: usize = 50;

/// What a simple client sends.
const PLAIN: &str = "Host: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n";

/// What a browser sends.
const BROWSER: &str = "Host: www.bench.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.8,de;q=0.5,fr;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.bench.example/articles/2026/a-page-that-links-here.html\r\n\
    Cookie: session=b1946ac92492d2347c6235b4d2611184; theme=dark; consent=1; _ga=GA1.2.1234567890.1700000000\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-User: ?1\r\n\
    Priority: u=0, i\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n";

/// All of them; the first is what instructions and latencies are compared on.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "small",
        title: "small GET (0.6 KB), keep-alive",
        target: "/small",
        fields: PLAIN,
        upload: 0,
        answer: SMALL,
        reconnect: false,
        counted: 4_000,
    },
    Scenario {
        name: "browser",
        title: "small GET, browser-like head",
        target: "/small",
        fields: BROWSER,
        upload: 0,
        answer: SMALL,
        reconnect: false,
        counted: 4_000,
    },
    Scenario {
        name: "64k",
        title: "64 KiB response, content-length",
        target: "/64k",
        fields: PLAIN,
        upload: 0,
        answer: MEDIUM,
        reconnect: false,
        counted: 2_000,
    },
    Scenario {
        name: "64k-chunked",
        title: "64 KiB response, chunked",
        target: "/64k-chunked",
        fields: PLAIN,
        upload: 0,
        answer: MEDIUM,
        reconnect: false,
        counted: 2_000,
    },
    Scenario {
        name: "1m",
        title: "1 MiB response",
        target: "/1m",
        fields: PLAIN,
        upload: 0,
        answer: LARGE,
        reconnect: false,
        counted: 300,
    },
    Scenario {
        name: "upload",
        title: "64 KiB upload",
        target: "/upload",
        fields: PLAIN,
        upload: MEDIUM,
        answer: 2,
        reconnect: false,
        counted: 2_000,
    },
    Scenario {
        name: "connect",
        title: "a connection per request",
        target: "/small",
        fields: "Host: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: close\r\n",
        upload: 0,
        answer: SMALL,
        reconnect: true,
        counted: 2_000,
    },
];

/// Returns the scenario that `--scenario` takes under this name.
pub fn named(name: &str) -> Result<&'static Scenario> {
    let found = ALL.iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("no scenario is called {name} (see --help)"))
}

impl Scenario {
    /// Returns the load of this kind on `target`.
    pub fn plan(&self, target: SocketAddr) -> Plan {
        let Self {
            target: path,
            fields,
            ..
        } = self;
        let mut request = match self.upload {
            0 => format!("GET {path} HTTP/1.1\r\n{fields}\r\n"),
            length => format!("POST {path} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n"),
        }
        .into_bytes();
        request.resize(request.len() + self.upload, b'x');
        Plan {
            target,
            request: Arc::from(request),
            expected: self.answer as u64,
            connections: CONNECTIONS,
            concurrency: CONNECTIONS,
            reconnect: self.reconnect,
            tls: None,
            upgrade: None,
        }
    }
}
