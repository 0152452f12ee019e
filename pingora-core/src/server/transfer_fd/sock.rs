//! Handing listening sockets to another process, over a Unix socket.
//!
//! The new process listens at the path, the old one connects and sends. For each socket it sends
//! the length of the address (two bytes, big endian) with the descriptor attached to the first of
//! them, then the address. A length of 0 ends the list; the new process answers with one byte, so
//! the old one knows that its sockets live on.
//!
//! Both functions block; `bootstrap.rs` and `run.rs` call them.

use std::fs;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Fds;

/// The most sockets one process hands over.
const MAX_SOCKETS: usize = 1024;

/// The longest wait for one read or write of the other process.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two attempts to reach the other process.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Sends the sockets in `fds` to the process that listens at `path`, which may take `attempts`
/// seconds to appear. Returns their number.
pub(crate) fn send(fds: &Fds, path: &str, attempts: usize) -> io::Result<usize> {
    let (binds, fds) = fds.serialize();
    let mut stream = connect(path, attempts)?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    for (bind, fd) in binds.iter().zip(&fds) {
        let length = u16::try_from(bind.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "address too long"))?;
        send_with_fd(&stream, length.to_be_bytes(), *fd)?;
        stream.write_all(bind.as_bytes())?;
    }
    stream.write_all(&[0, 0])?;
    stream.read_exact(&mut [0])?;
    Ok(fds.len())
}

/// Receives the sockets that another process sends to `path` within `attempts` seconds.
/// `owner` is the user and group, if not ours, the other process may run as.
pub(crate) fn receive(
    path: &str,
    attempts: usize,
    owner: Option<(u32, u32)>,
) -> io::Result<(Vec<String>, Vec<RawFd>)> {
    let listener = listen(path, owner)?;
    let accepted = accept(
        &listener,
        RETRY_INTERVAL * attempts.try_into().unwrap_or(u32::MAX),
    );
    // Nobody else is to connect. The file may be gone already, which is as well.
    let _ = fs::remove_file(path);
    let mut stream = accepted?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    let mut sockets = Vec::new();
    while let Some(socket) = receive_one(&mut stream)? {
        if sockets.len() == MAX_SOCKETS {
            return Err(invalid("too many sockets"));
        }
        sockets.push(socket);
    }
    stream.write_all(&[1])?;
    Ok(sockets
        .into_iter()
        .map(|(bind, fd)| (bind, fd.into_raw_fd()))
        .unzip())
}

fn connect(path: &str, attempts: usize) -> io::Result<UnixStream> {
    let mut left = attempts;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(e) if left == 0 => return Err(e),
            Err(_) => {
                left -= 1;
                std::thread::sleep(RETRY_INTERVAL);
            }
        }
    }
}

fn listen(path: &str, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    // A socket left behind by an attempt that failed. Anything else is not ours to remove.
    if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Who may write here decides what we listen on.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(Path::new(path), Some(user), Some(group))?;
    }
    Ok(listener)
}

fn accept(listener: &UnixListener, limit: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd, and its number.
        match unsafe { libc::poll(&mut poll, 1, millis) } {
            0 if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            ready if ready > 0 => return Ok(listener.accept()?.0),
            -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => {
                return Err(io::Error::last_os_error());
            }
            _ => {}
        }
    }
}

fn receive_one(stream: &mut UnixStream) -> io::Result<Option<(String, OwnedFd)>> {
    let mut length = [0; 2];
    let (read, fd) = receive_with_fd(stream, &mut length)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.read_exact(&mut length[read..])?;
    let length = u16::from_be_bytes(length);
    if length == 0 {
        return Ok(None);
    }
    let fd = fd.ok_or_else(|| invalid("an address came without its socket"))?;
    let mut bind = vec![0; usize::from(length)];
    stream.read_exact(&mut bind)?;
    let bind = String::from_utf8(bind).map_err(|_| invalid("an address is not text"))?;
    Ok(Some((bind, fd)))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Room for the control message of one descriptor, aligned as its header has to be.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; 64],
}

/// Returns a message of one part, with control data.
fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: `msghdr` holds integers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = std::ptr::from_mut(control).cast();
    message.msg_controllen = mem::size_of::<Control>() as _;
    message
}

const FD_SIZE: u32 = mem::size_of::<RawFd>() as u32;

fn send_with_fd(stream: &UnixStream, mut bytes: [u8; 2], fd: RawFd) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control { bytes: [0; 64] };
    let mut message = message(&mut part, &mut control);
    // SAFETY: computes a size.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(FD_SIZE) } as _;
    // SAFETY: `message` has room for one control message, so its first header is inside `control`
    // and the descriptor fits behind it. `control` is aligned for the header; the data behind it
    // is written without assuming alignment.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(FD_SIZE) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
    }
    // SAFETY: all pointers in `message` are to locals that live until the call returns.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, 0) };
    match sent {
        -1 => Err(io::Error::last_os_error()),
        2 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn receive_with_fd(
    stream: &UnixStream,
    bytes: &mut [u8; 2],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control { bytes: [0; 64] };
    let mut message = message(&mut part, &mut control);
    // SAFETY: computes a size. Room for exactly one descriptor makes the kernel drop others.
    message.msg_controllen = unsafe { libc::CMSG_LEN(FD_SIZE) } as _;
    // SAFETY: all pointers in `message` are to locals that live until the call returns.
    let read = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled in `message`; its first header, if any, is inside `control`.
    // A control message of this type and length holds one descriptor, which is now ours alone.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        let is_fd = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize == libc::CMSG_LEN(FD_SIZE) as usize;
        is_fd
            .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    };
    if let Some(fd) = &fd {
        // SAFETY: an open descriptor and a flag. Programs this one starts are not to listen too.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok((read, fd))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn socket_in(dir: &tempfile::TempDir) -> String {
        dir.path().join("upgrade.sock").display().to_string()
    }

    #[test]
    fn sockets_arrive_with_their_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_in(&dir);
        let listeners: Vec<TcpListener> = (0..3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut fds = Fds::new();
        for listener in &listeners {
            fds.add("127.0.0.1:0".to_string(), listener.as_raw_fd());
        }
        let (sent, received) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&fds, &path, 30));
            let received = receive(&path, 30, None).unwrap();
            (sender.join().unwrap().unwrap(), received)
        });
        assert_eq!(sent, 3);
        assert_eq!(received.0, ["127.0.0.1:0"; 3]);
        for (listener, fd) in listeners.into_iter().zip(received.1) {
            let address = listener.local_addr().unwrap();
            drop(listener);
            // SAFETY: received above, and used nowhere else.
            let inherited = unsafe { TcpListener::from_raw_fd(fd) };
            assert_eq!(inherited.local_addr().unwrap(), address);
            TcpStream::connect(address).unwrap();
        }
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn nobody_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_in(&dir);
        let error = send(&Fds::new(), &path, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = receive(&path, 0, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // What is there and no socket stays.
        fs::write(&path, "precious").unwrap();
        assert!(receive(&path, 0, None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_is_sent_is_checked() {
        for bytes in [&b"\0\x03abc"[..], b"\0", b"", b"\xff\xffx"] {
            let dir = tempfile::tempdir().unwrap();
            let path = socket_in(&dir);
            std::thread::scope(|scope| {
                scope.spawn(|| connect(&path, 30).unwrap().write_all(bytes).unwrap());
                assert!(receive(&path, 30, None).is_err(), "{bytes:?}");
            });
        }
    }
}
