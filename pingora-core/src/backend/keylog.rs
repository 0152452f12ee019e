//! Writes the secrets of TLS connections to a file, for Wireshark and the like.
//!
//! Whoever has the file can read the traffic, so it is only written when somebody asked for it
//! both in the configuration and with the environment variable `SSLKEYLOGFILE`.

use std::fs::File;
use std::io::Write;

use parking_lot::Mutex;

use crate::sys;

/// Names the file.
const VARIABLE: &str = "SSLKEYLOGFILE";

/// The open file.
#[derive(Debug)]
pub(super) struct KeyLog {
    file: Mutex<File>,
}

impl KeyLog {
    /// Opens the file the environment names, to append to it; `None` without one, or when it cannot
    /// be opened, which is logged.
    pub(super) fn from_env() -> Option<Self> {
        let path = std::env::var_os(VARIABLE)?;
        match sys::append_to_private(path.as_ref()) {
            Ok(file) => {
                log::warn!("writing TLS secrets to {}", path.display());
                Some(KeyLog {
                    file: Mutex::new(file),
                })
            }
            Err(e) => {
                log::error!("cannot open {VARIABLE} {}: {e}", path.display());
                None
            }
        }
    }

    /// Appends a secret in the NSS key log format.
    #[allow(dead_code)]
    pub(super) fn write_secret(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        self.write(&format!("{label} {} {}", hex(client_random), hex(secret)));
    }

    /// Appends one line of the NSS key log format.
    pub(super) fn write(&self, line: &str) {
        let mut text = String::with_capacity(line.len() + 1);
        text.push_str(line);
        text.push('\n');
        if let Err(e) = self.file.lock().write_all(text.as_bytes()) {
            log::error!("cannot write TLS secrets: {e}");
        }
    }
}
