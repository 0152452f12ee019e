//! Chromium without a window, in a profile of its own. The project's test command installs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::super::file;

/// What it is called, by who packages it.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

const ARGUMENTS: &[&str] = &[
    "--headless=new",
    // It is root, or in a container, where tests run; and it sees our pages only.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--host-resolver-rules=MAP a.example 127.0.0.1",
];

/// A browser that runs.
pub(super) struct Chromium {
    process: Child,
    profile: PathBuf,
}

impl Chromium {
    /// Opens `https://a.example/` of the server at `addr`.
    pub(super) async fn open(name: &str, addr: SocketAddr) -> Self {
        let name = format!("chromium-{name}-{}", std::process::id());
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let arguments = [
            format!("--user-data-dir={}", profile.display()),
            format!("--ignore-certificate-errors-spki-list={}", pin().await),
            format!("https://a.example:{}/", addr.port()),
        ];
        let start = |program: &&str| {
            Command::new(program)
                .args(ARGUMENTS)
                .args(&arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .ok()
        };
        let process = NAMES.iter().find_map(start);
        let process = process.unwrap_or_else(|| panic!("one of {NAMES:?} is needed for this test"));
        Chromium { process, profile }
    }

    /// Ends it.
    pub(super) async fn close(mut self) {
        self.process.kill().await.expect("it is ours");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // An error: it has ended. What is left over only takes room.
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Returns the hash of the key of the certificate `a`, which the browser is to trust.
async fn pin() -> String {
    let certificate = file("a.pem");
    let line = format!(
        "openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform der \
         | openssl dgst -sha256 -binary | openssl enc -base64"
    );
    let output = Command::new("sh").args(["-c", &line]).output().await;
    let text = String::from_utf8(output.expect("a shell").stdout).expect("base64");
    let pin = text.trim().to_string();
    assert_eq!(pin.len(), 44, "openssl is needed for this test");
    pin
}
