//! The table of listening sockets: which file descriptor listens on which address.
//!
//! Listeners enter the sockets they make, and look here first for one that the process before
//! this one has handed over. The table does not own the descriptors, apart from those that nobody
//! claims.
//!
//! Next: `bootstrap.rs`, which fills it, and `listeners/` for its users.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::NixPath;
use nix::errno::Errno;

use super::bootstrap::DEFAULT_ATTEMPTS;

pub(super) mod sock;

/// The listening sockets of a process, by address.
///
/// An address may have several sockets, as `127.0.0.1:0` in two services has.
///
/// ```
/// use pingora_core::server::Fds;
///
/// let mut fds = Fds::new();
/// assert!(fds.is_empty());
/// fds.add("127.0.0.1:80".to_string(), 7);
/// assert_eq!(fds.get("127.0.0.1:80"), Some(&7));
/// assert_eq!(fds.serialize(), (vec!["127.0.0.1:80".to_string()], vec![7]));
/// ```
pub struct Fds {
    map: HashMap<String, Vec<Socket>>,
    /// Another process listens on these sockets as well.
    handed_over: AtomicBool,
}

struct Socket {
    fd: RawFd,
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq)]
enum Origin {
    // A listener of this process uses it.
    Used,
    // The process before this one handed it over and no listener has taken it yet.
    Inherited,
}

impl Fds {
    /// Returns an empty table.
    pub fn new() -> Self {
        Fds {
            map: HashMap::new(),
            handed_over: AtomicBool::new(false),
        }
    }

    /// Enters a socket that listens on `bind`, beside those already there. Entering one again
    /// has no effect.
    pub fn add(&mut self, bind: String, fd: RawFd) {
        self.insert(bind, fd, Origin::Used);
    }

    /// Enters sockets handed over by another process: `fds[i]` listens on `binds[i]`. The longer
    /// list is cut to the length of the shorter.
    pub fn deserialize(&mut self, binds: Vec<String>, fds: Vec<RawFd>) {
        for (bind, fd) in binds.into_iter().zip(fds) {
            self.insert(bind, fd, Origin::Inherited);
        }
    }

    /// Receives the sockets another process sends to the Unix socket at `path`, and enters them.
    ///
    /// Blocks, up to five seconds until the other process comes and as long for each of its steps.
    /// A server does this by itself; the sockets are then in its
    /// [`ListenFds`](super::ListenFds).
    ///
    /// # Errors
    /// That of the system call that failed; `EPROTO` if the other process sends something else. No
    /// socket is entered then.
    pub fn get_from_sock<P>(&mut self, path: &P) -> Result<(), nix::Error>
    where
        P: ?Sized + NixPath + Display,
    {
        let received = sock::receive(&path.to_string(), DEFAULT_ATTEMPTS, None);
        let (binds, fds) = received.map_err(errno)?;
        self.deserialize(binds, fds);
        Ok(())
    }

    /// Closes the sockets of all addresses that are not in `keep`, forgets them, and returns
    /// these addresses in order.
    pub fn close_unclaimed(&mut self, keep: &HashSet<String>) -> Vec<String> {
        let unclaimed = self.map.keys().filter(|bind| !keep.contains(*bind));
        let mut unclaimed: Vec<String> = unclaimed.cloned().collect();
        unclaimed.sort_unstable();
        for bind in &unclaimed {
            for socket in self.map.remove(bind).unwrap_or_default() {
                close(socket.fd);
            }
        }
        unclaimed
    }

    /// Sends all sockets to the process that listens on the Unix socket at `path`, with
    /// [`get_from_sock`](Fds::get_from_sock), and returns their number.
    ///
    /// Blocks, up to five seconds until the other process listens and as long for each of its
    /// steps. The sockets stay open and in use here.
    ///
    /// # Errors
    /// That of the system call that failed; `EINVAL` if an address is longer than 65,535 bytes.
    pub fn send_to_sock<P>(&self, path: &P) -> Result<usize, nix::Error>
    where
        P: ?Sized + NixPath + Display,
    {
        let sent = sock::send(self, &path.to_string(), DEFAULT_ATTEMPTS).map_err(errno)?;
        self.mark_handed_over();
        Ok(sent)
    }

    /// Notes that another process listens on these sockets from now on.
    pub(crate) fn mark_handed_over(&self) {
        // Relaxed: read under the lock of the table, or much later.
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Returns whether another process listens on these sockets as well.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Takes an inherited socket that listens on `bind` and that no other listener has taken.
    pub(crate) fn claim(&mut self, bind: &str) -> Option<RawFd> {
        let sockets = self.map.get_mut(bind)?.iter_mut();
        let socket = sockets
            .into_iter()
            .find(|s| s.origin == Origin::Inherited)?;
        socket.origin = Origin::Used;
        Some(socket.fd)
    }

    /// Returns the first socket that listens on `bind`.
    pub fn get(&self, bind: &str) -> Option<&RawFd> {
        self.map.get(bind)?.first().map(|s| &s.fd)
    }

    /// Returns whether there is no socket.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Returns addresses and sockets as two lists of the same length, ordered by address. An
    /// address with several sockets is listed once for each.
    pub fn serialize(&self) -> (Vec<String>, Vec<RawFd>) {
        let mut pairs: Vec<(&String, RawFd)> = self
            .map
            .iter()
            .flat_map(|(bind, sockets)| sockets.iter().map(move |s| (bind, s.fd)))
            .collect();
        // Sockets of one address keep their order.
        pairs.sort_by_key(|pair| pair.0);
        pairs.into_iter().map(|(b, fd)| (b.clone(), fd)).unzip()
    }

    fn insert(&mut self, bind: String, fd: RawFd, origin: Origin) {
        let sockets = self.map.entry(bind).or_default();
        if sockets.iter().all(|s| s.fd != fd) {
            sockets.push(Socket { fd, origin });
        }
    }
}

impl Default for Fds {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the error number of `e`, or the nearest there is.
fn errno(e: io::Error) -> Errno {
    if let Some(number) = e.raw_os_error() {
        return Errno::from_raw(number);
    }
    match e.kind() {
        io::ErrorKind::TimedOut => Errno::ETIMEDOUT,
        io::ErrorKind::InvalidInput => Errno::EINVAL,
        io::ErrorKind::InvalidData => Errno::EPROTO,
        io::ErrorKind::UnexpectedEof => Errno::ECONNRESET,
        _ => Errno::EIO,
    }
}

fn close(fd: RawFd) {
    // SAFETY: the table was given this descriptor to pass on to a listener. None took it, so
    // nothing else in the process uses it. A number that is not open only makes this fail.
    let closed = unsafe { libc::close(fd) };
    if closed != 0 {
        log::debug!("cannot close inherited socket fd={fd}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn holds_sockets_by_address() {
        let mut fds = Fds::new();
        assert_eq!(fds.serialize(), (vec![], vec![]));
        fds.add("b".to_string(), 2);
        fds.add("a".to_string(), 1);
        fds.add("a".to_string(), 3);
        fds.add("a".to_string(), 3);
        assert_eq!(fds.get("a"), Some(&1));
        assert_eq!(fds.get("c"), None);
        let (binds, numbers) = fds.serialize();
        assert_eq!(binds, ["a", "a", "b"]);
        assert_eq!(numbers, [1, 3, 2]);
        assert_eq!(fds.claim("a"), None, "own sockets are in use");

        let mut inherited = Fds::new();
        inherited.deserialize(binds, numbers);
        assert_eq!(inherited.get("a"), Some(&1));
        assert_eq!(inherited.claim("a"), Some(1));
        assert_eq!(inherited.claim("a"), Some(3));
        assert_eq!(inherited.claim("a"), None);
        assert_eq!(inherited.serialize(), fds.serialize());
    }

    #[test]
    fn sockets_go_to_another_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upgrade.sock").display().to_string();
        let mut fds = Fds::new();
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        fds.add("a".to_string(), socket.into_raw_fd());

        let receiver = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut received = Fds::new();
                received.get_from_sock(path.as_str()).unwrap();
                received
            }
        });
        assert_eq!(fds.send_to_sock(path.as_str()), Ok(1));
        let mut received = receiver.join().unwrap();
        assert!(
            received
                .claim("a")
                .is_some_and(|fd| Some(&fd) != fds.get("a"))
        );
        close(*received.get("a").unwrap());
        close(*fds.get("a").unwrap());

        let nowhere = directory.path().join("no/such").display().to_string();
        assert_eq!(
            Fds::new().get_from_sock(nowhere.as_str()),
            Err(Errno::ENOENT)
        );
    }

    #[test]
    fn closes_what_nobody_wants() {
        let (kept, _kept_peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (closed, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut fds = Fds::new();
        fds.deserialize(
            vec!["kept".to_string(), "closed".to_string()],
            vec![kept.into_raw_fd(), closed.into_raw_fd()],
        );
        let keep = HashSet::from(["kept".to_string(), "new".to_string()]);
        assert_eq!(fds.close_unclaimed(&keep), ["closed"]);
        assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
        assert!(fds.get("kept").is_some() && fds.get("closed").is_none());
        assert_eq!(fds.close_unclaimed(&HashSet::new()), ["kept"]);
        assert!(fds.is_empty());
    }
}
