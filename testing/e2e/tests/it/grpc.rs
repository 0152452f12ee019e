//! gRPC with the client and the server of its project, through a proxy of HTTP/2 on both sides.
//!
//! Without Python and its grpcio the test says so and does nothing.

use std::process::Stdio;

use pingora_e2e::harness;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

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
        let origin = ([127, 0, 0, 1], port).into();
        let proxy = harness::proxy_h2c(harness::ForwardH2(origin)).await;
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
