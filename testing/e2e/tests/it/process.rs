//! A server as a process of its own: what it prints without a logger, and how it ends.
//!
//! The process is this program again, which runs one of its tests.

use std::process::{ExitStatus, Stdio};

use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Forward};
use pingora_test_support::client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

/// Tells the process that it is one, where to listen and where to pass requests on.
const ADDRESSES: &str = "PINGORA_E2E_ADDRESSES";

/// The server; nothing when it is run as a test.
#[test]
fn server() {
    let Ok(addresses) = std::env::var(ADDRESSES) else {
        return;
    };
    let (listen, upstream) = addresses.split_once(' ').expect("two addresses");
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let forward = Forward(upstream.parse().expect("an address"));
    let mut service = http_proxy_service(&server.configuration, forward);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(listen: &str, upstream: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["--exact", "process::server", "--nocapture"])
            .env(ADDRESSES, format!("{listen} {upstream}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let lines = BufReader::new(stderr).lines();
        Process { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = within("a line", self.lines.next_line()).await;
        line.expect("text").expect("there is one more")
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.expect("every system has kill").success());
    }

    /// Returns how it has ended, and what else it said.
    async fn ended(mut self) -> (ExitStatus, String) {
        let status = within("the end of the process", self.child.wait()).await;
        let mut rest = String::new();
        let mut stderr = self.lines.into_inner();
        let read = within("the rest", stderr.read_to_string(&mut rest)).await;
        read.expect("text");
        (status.expect("it has ended"), rest)
    }
}

/// Two lines say that it runs and where; either signal ends it well.
#[test]
fn it_says_where_it_listens() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        for signal in ["TERM", "INT"] {
            let mut process = Process::start("127.0.0.1:0", &origin.addr().to_string());
            let pid = process.child.id().expect("it runs");
            let first = process.line().await;
            assert!(first.ends_with(&format!(" pid {pid}")), "{first}");
            let second = process.line().await;
            let told = second.strip_prefix("listening on ").expect("an address");
            let (addr, more) = told.split_once(' ').expect("what is spoken");
            assert!(more.starts_with("tcp (service "), "{second}");
            let addr = addr.parse().expect("an address");
            assert_eq!(client::get(addr, "/").await.text(), "hello");
            process.signal(signal).await;
            let (status, rest) = process.ended().await;
            assert_eq!((status.code(), &*rest), (Some(0), ""), "{signal}");
        }
    });
}

/// Without its listener it is no server: one line says why, and the status is 1.
#[test]
fn it_ends_when_it_cannot_listen() {
    harness::run(async {
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let held = held.local_addr().unwrap().to_string();
        for (listen, reason) in [
            (&*held, "address already in use"),
            ("127.0.0.1:80x", ""),
            ("192.0.2.1:80", "cannot assign requested address"),
            ("/no/such/folder", ""),
        ] {
            let mut process = Process::start(listen, "127.0.0.1:1");
            let first = process.line().await;
            assert!(first.contains(" pid "), "{first}");
            let (status, rest) = process.ended().await;
            assert_eq!(status.code(), Some(1), "{listen}: {rest}");
            assert_eq!(rest.lines().count(), 1, "{listen}: {rest}");
            assert!(rest.contains(listen) && rest.contains(reason), "{rest}");
        }
    });
}
