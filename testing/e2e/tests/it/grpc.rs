//! gRPC with the client and the server of its project, through a proxy of HTTP/2 on both sides.
//!
//! Without Python and its grpcio the test says so and does nothing.

use std::net::SocketAddr;
use std::process::Stdio;

use async_trait::async_trait;
use pingora::prelude::*;
use pingora_e2e::harness;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

struct Calls(SocketAddr);

#[async_trait]
impl ProxyHttp for Calls {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = harness::peer(self.0);
        peer.options.set_http_version(2, 2);
        peer.options.max_h2_streams = 100;
        Ok(peer)
    }
}

#[test]
fn every_kind_of_call() {
    harness::run(async {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/grpc/calls.py");
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_string());
        let mut command = Command::new(python);
        command
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = match command.kill_on_drop(true).spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("not tested, python3 does not start: {error}");
                return;
            }
        };
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut port = String::new();
        output.read_line(&mut port).await.expect("text");
        if port.is_empty() {
            let status = child.wait().await.expect("it has ended");
            assert_eq!(status.code(), Some(77), "the script failed");
            eprintln!("not tested, grpcio is not installed");
            return;
        }
        let port = port.trim().parse().expect("a port");
        let proxy = harness::proxy_with(Calls(([127, 0, 0, 1], port).into()), |_, options| {
            options.h2c = true;
        })
        .await;
        let mut input = child.stdin.take().expect("it is piped");
        let addr = format!("{}\n", proxy.addr());
        input.write_all(addr.as_bytes()).await.expect("it reads");
        let mut worked = String::new();
        output.read_to_string(&mut worked).await.expect("text");
        assert!(
            worked.ends_with("many at once\n"),
            "only these worked: {worked}"
        );
        assert!(child.wait().await.expect("it has ended").success());
    });
}
