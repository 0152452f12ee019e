//! `--test`: would the server start? The configuration has been read by then, and certificates
//! too, by the program that adds listeners; what is left are the addresses.
//!
//! An address in use is not an error: the usual reason is the running server, which the check is
//! made beside. It is noted. So is an address that cannot be looked up before it is there.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use pingora_error::{Error, ErrorType, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Server, report};
use crate::listeners::udp::UDP_PREFIX;

/// What trying an address showed.
#[derive(Debug, PartialEq)]
enum Outcome {
    Free,
    InUse,
}

impl Server {
    /// Tries the addresses of all services and says the result in one line, `Err` if the server
    /// could not start.
    #[allow(clippy::print_stdout)]
    pub(super) fn check_listeners(&self) -> Result<()> {
        // Two services may share an address; the first is as good as the other.
        let mut addresses: BTreeMap<String, String> = BTreeMap::new();
        let mut listeners = 0;
        for entry in &self.services {
            for address in entry.service.listen_addresses().unwrap_or_default() {
                listeners += 1;
                let name = entry.service.name().to_string();
                addresses.entry(address).or_insert(name);
            }
        }
        let mut in_use = Vec::new();
        for (address, service) in &addresses {
            match try_address(address) {
                Ok(Outcome::Free) => {}
                Ok(Outcome::InUse) => in_use.push(address.as_str()),
                Err(e) => {
                    let reason = report::io_reason(&e);
                    let context = format!(
                        "cannot listen on {address}: {reason} (set by service \"{service}\")"
                    );
                    return Error::e_explain(ErrorType::BindError, context);
                }
            }
        }
        let conf = self.options.as_ref().and_then(|opt| opt.conf.as_deref());
        let conf = conf.unwrap_or("the default configuration");
        let note = match in_use.as_slice() {
            [] => String::new(),
            some => format!("; in use now: {}", some.join(", ")),
        };
        println!("{conf}: ok, listeners: {listeners}{note}");
        Ok(())
    }
}

/// Ends the program because `--test` found the configuration wrong.
#[allow(clippy::print_stderr)]
pub(super) fn refuse_configuration(error: &Error) -> ! {
    eprintln!("{error}");
    std::process::exit(1);
}

fn try_address(address: &str) -> io::Result<Outcome> {
    let (protocol, address) = match address.strip_prefix(UDP_PREFIX) {
        Some(address) => (Protocol::UDP, address),
        None => (Protocol::TCP, address),
    };
    match address.to_socket_addrs() {
        Ok(resolved) => {
            let mut outcome = Outcome::Free;
            for addr in resolved {
                if try_bind(addr, protocol)? == Outcome::InUse {
                    outcome = Outcome::InUse;
                }
            }
            Ok(outcome)
        }
        // Paths of Unix sockets do not look like `host:port`.
        Err(e) if !address.contains('/') => Err(e),
        Err(_) => try_path(Path::new(address.strip_prefix("unix:").unwrap_or(address))),
    }
}

/// Binds and lets go. Without `listen`, so that no client sees it.
fn try_bind(addr: SocketAddr, protocol: Protocol) -> io::Result<Outcome> {
    let is_udp = protocol == Protocol::UDP;
    let kind = if is_udp { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    // As listeners do: connections of the server before may still linger. With UDP it would let
    // two servers share an address.
    #[cfg(unix)]
    socket.set_reuse_address(!is_udp)?;
    match socket.bind(&addr.into()) {
        Ok(()) => Ok(Outcome::Free),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(Outcome::InUse),
        Err(e) => Err(e),
    }
}

/// Looks whether a Unix socket could be made here, or is there already.
fn try_path(path: &Path) -> io::Result<Outcome> {
    #[cfg(unix)]
    if let Ok(metadata) = path.symlink_metadata() {
        use std::os::unix::fs::FileTypeExt;
        return match metadata.file_type().is_socket() {
            true => Ok(Outcome::InUse),
            false => Err(io::Error::other("the file exists and is not a socket")),
        };
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    match parent.unwrap_or(Path::new(".")).metadata()?.is_dir() {
        true => Ok(Outcome::Free),
        false => Err(io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().to_string();
        assert_eq!(try_address("127.0.0.1:0").unwrap(), Outcome::Free);
        assert_eq!(try_address(&taken).unwrap(), Outcome::InUse);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = format!("udp:{}", socket.local_addr().unwrap());
        assert_eq!(try_address("udp:127.0.0.1:0").unwrap(), Outcome::Free);
        assert_eq!(try_address(&taken).unwrap(), Outcome::InUse);
        // 192.0.2.0/24 is for documentation: no machine has it.
        for wrong in ["192.0.2.1:80", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(try_address(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock").to_str().unwrap().to_string();
        assert_eq!(try_address(&path).unwrap(), Outcome::Free);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(try_address(&path).unwrap(), Outcome::InUse);
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(try_address(&path).is_err());
        assert!(try_address(&format!("{path}/x")).is_err());
        assert!(try_address("/no/such/directory/x.sock").is_err());
    }
}
