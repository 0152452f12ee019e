//! Client and origin of HTTP/2: the programs of nghttp2.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::machine::Cores;
use crate::process::{Process, free_address, output};

/// Connections of a client, with so many requests at a time on each.
pub const CONNECTIONS: u64 = 10;
/// Requests at a time on a connection.
pub const STREAMS: u64 = 10;

/// A program listens within this time.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Makes so many requests for `path`; fails unless each was answered with success.
pub fn load(listen: SocketAddr, path: &str, count: u64, options: &[&str]) -> Result<()> {
    load_url(&format!("http://{listen}{path}"), STREAMS, count, options)
}

/// As [`load`], over TLS 1.3 with AES-128-GCM, and with `streams` requests at a time.
pub fn load_by_tls(listen: SocketAddr, path: &str, streams: u64, count: u64) -> Result<()> {
    let options = ["--tls13-ciphers=TLS_AES_128_GCM_SHA256"];
    load_url(&format!("https://{listen}{path}"), streams, count, &options)
}

fn load_url(url: &str, streams: u64, count: u64, options: &[&str]) -> Result<()> {
    let numbers = [count, CONNECTIONS, streams].map(|number| number.to_string());
    let [count, connections, streams] = &numbers;
    let mut args = vec!["-n", count, "-c", connections, "-m", streams];
    args.extend(options);
    args.push(url);
    let text = output("h2load", &args)
        .ok_or("h2load is not installed (apt-get install nghttp2-client)")?;
    let answered = format!("status codes: {count} 2xx");
    match text.contains(&answered) {
        true => Ok(()),
        false => Err(text
            .lines()
            .find(|line| line.starts_with("requests:"))
            .unwrap_or("h2load made no requests")
            .to_string()),
    }
}

/// Starts an origin whose only answer is `body`, at `path`.
pub fn origin(
    cores: &Cores,
    scratch: &Path,
    path: &str,
    body: &[u8],
    options: &[&str],
) -> Result<(Process, SocketAddr)> {
    let folder = scratch.join("origin");
    let file = folder.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap_or(&folder))
        .and_then(|()| fs::write(&file, body))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let listen = free_address()?;
    let mut command = Command::new("nghttpd");
    command
        .args(["--no-tls", "-a", "127.0.0.1", "-d"])
        .arg(&folder)
        .args(options)
        .arg(listen.port().to_string());
    let missing = |error| format!("{error} (apt-get install nghttp2-server)");
    let mut process = Process::start("nghttpd", &command, cores.origin).map_err(missing)?;
    process.wait_for(listen, START_LIMIT).map_err(missing)?;
    Ok((process, listen))
}
