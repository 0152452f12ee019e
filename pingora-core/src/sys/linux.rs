//! What only Linux has: most of it socket options without a wrapper elsewhere.
//!
//! The three functions with `unsafe` at the top are all there is; the rest are lines that call
//! them. `fallback` lists the same names for other systems.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, SystemTime};

use libc::{c_int, c_void, socklen_t};
use socket2::{SockFilter, Socket};
use tokio::io::ReadBuf;

use super::{borrow, is_ipv6};
use crate::protocols::l4::ext::{TCP_INFO, TcpKeepalive};

/// Options of a listening socket pass to the sockets it accepts (keepalive, no delay, DSCP), so
/// they are set once instead of once for each connection.
pub(crate) const ACCEPTED_INHERIT: bool = true;

/// `include/uapi/linux/in.h`; the C library has no name for it yet.
const IP_LOCAL_PORT_RANGE: c_int = 51;

/// Room for the control messages of one receive: a timestamp takes 32 bytes.
const CONTROL_BYTES: usize = 64;

/// An integer option, signed as the kernel has it.
pub(super) fn set_int(socket: &Socket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_bytes(socket, level, name, &value.to_ne_bytes())
}

fn set_bytes(socket: &Socket, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let length = value.len() as socklen_t;
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel
    // only reads it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast::<c_void>(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Returns the kernel's statistics of a TCP connection. An older kernel knows fewer fields; those
/// it does not know are zero.
pub(crate) fn tcp_info(fd: RawFd) -> io::Result<TCP_INFO> {
    let socket = borrow(fd)?;
    let mut info = MaybeUninit::<TCP_INFO>::zeroed();
    let mut length = TCP_INFO::len();
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`, to it.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast::<c_void>(),
            &mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every field is an integer, for which any bytes are a value, and all started as zero.
    Ok(unsafe { info.assume_init() })
}

/// Sets the DSCP of all packets sent (RFC 2474), 0 to 63.
pub(crate) fn set_dscp(fd: RawFd, value: u8) -> io::Result<()> {
    if value > 63 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let socket = borrow(fd)?;
    // The lower two bits are ECN (RFC 3168), which the kernel manages.
    let class = u32::from(value) << 2;
    if is_ipv6(&socket)? {
        socket.set_tclass_v6(class)?;
        // IPv4 connections accepted by a dual-stack socket; fails on one that is IPv6 only.
        let _ = socket.set_tos_v4(class);
        return Ok(());
    }
    socket.set_tos_v4(class)
}

/// Sends data with the SYN when the remote side gave a cookie before (RFC 7413).
pub(crate) fn set_fastopen_connect(fd: RawFd) -> io::Result<()> {
    set_int(
        &*borrow(fd)?,
        libc::IPPROTO_TCP,
        libc::TCP_FASTOPEN_CONNECT,
        1,
    )
}

/// Accepts data with the SYN (RFC 7413), up to `backlog` connections waiting for their handshake.
pub(crate) fn set_fastopen_backlog(fd: RawFd, backlog: usize) -> io::Result<()> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    set_int(
        &*borrow(fd)?,
        libc::IPPROTO_TCP,
        libc::TCP_FASTOPEN,
        backlog,
    )
}

/// Has the kernel drop what opens a connection to a listening socket; the clients try again, and
/// find what listens there then. Handshakes that have begun go on.
///
/// A connection that is born at that moment inherits the filter, so it must let everything else
/// through: one that drops all packets would silence that connection for ever.
pub(crate) fn drop_arriving(fd: RawFd) -> io::Result<()> {
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    let instruction = |code, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    // What a program returns is the number of bytes to keep of the packet, a TCP segment.
    let drop_syn = [
        instruction(
            libc::BPF_LD | libc::BPF_B | libc::BPF_ABS,
            0,
            0,
            FLAGS_OFFSET,
        ),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    borrow(fd)?.attach_filter(&drop_syn)
}

/// Gives up on a connection whose data stays unacknowledged that long (RFC 5482).
pub(crate) fn set_user_timeout(socket: &Socket, keepalive: &TcpKeepalive) -> io::Result<()> {
    if keepalive.user_timeout.is_zero() {
        return Ok(());
    }
    socket.set_tcp_user_timeout(Some(keepalive.user_timeout))
}

/// Returns the destination of a connection before a firewall rule redirected it here.
pub(crate) fn original_dst(fd: RawFd) -> io::Result<Option<SocketAddr>> {
    let socket = borrow(fd)?;
    let address = if is_ipv6(&socket)? {
        socket.original_dst_v6()?
    } else {
        socket.original_dst_v4()?
    };
    Ok(address.as_socket())
}

/// Returns the number by which eBPF programs know the socket.
pub(crate) fn socket_cookie(fd: RawFd) -> io::Result<u64> {
    borrow(fd)?.cookie()
}

/// Has `connect` choose the local port, within `range` if given, instead of `bind`: the same port
/// then serves connections to different destinations.
pub(crate) fn choose_port_late(socket: &Socket, range: Option<(u16, u16)>) -> io::Result<()> {
    // An older kernel without the option chooses the port at bind, which is less but works.
    let _ = set_int(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1);
    let Some((low, high)) = range else {
        return Ok(());
    };
    let packed = (u32::from(high) << 16) | u32::from(low);
    set_bytes(
        socket,
        libc::IPPROTO_IP,
        IP_LOCAL_PORT_RANGE,
        &packed.to_ne_bytes(),
    )
}

/// Asks for the time at which received bytes came in from the network.
pub(crate) fn enable_rx_timestamp(fd: RawFd) -> io::Result<()> {
    set_int(&*borrow(fd)?, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Receives into `buf`; the time is that of the last byte received, if the kernel told it.
///
/// Never waits: the socket is non-blocking.
pub(crate) fn recv_with_timestamp(
    fd: RawFd,
    buf: &mut ReadBuf<'_>,
) -> io::Result<Option<SystemTime>> {
    // A union with the header type is how C code aligns the control buffer.
    #[repr(C)]
    union Control {
        bytes: [u8; CONTROL_BYTES],
        _align: libc::cmsghdr,
    }
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    // SAFETY: nothing uninitialised is written into the buffer by this function; the kernel
    // initialises the bytes it reports.
    let unfilled = unsafe { buf.unfilled_mut() };
    let mut part = libc::iovec {
        iov_base: unfilled.as_mut_ptr().cast::<c_void>(),
        iov_len: unfilled.len(),
    };
    // SAFETY: `msghdr` is made of integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast::<c_void>();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the header points to `part`, which describes the unfilled part of `buf`, and to
    // `control`; both outlive the call.
    let received = unsafe { libc::recvmsg(fd, &mut header, 0) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote `received` bytes to the start of the unfilled part.
    unsafe { buf.assume_init(received) };
    buf.advance(received);
    Ok(timestamp(&header))
}

/// Finds the timestamp among the control messages of a filled header.
fn timestamp(header: &libc::msghdr) -> Option<SystemTime> {
    // SAFETY: `header` was filled by `recvmsg` and points to a live control buffer; the macros walk
    // it within `msg_controllen`.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so the macro that made it found a whole header inside the buffer.
        let kind = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if kind == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: a message of this kind carries one `timespec`, perhaps not aligned.
            let time = unsafe {
                libc::CMSG_DATA(message)
                    .cast::<libc::timespec>()
                    .read_unaligned()
            };
            let seconds = u64::try_from(time.tv_sec).ok()?;
            let nanos = u32::try_from(time.tv_nsec).ok()?;
            return SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}
