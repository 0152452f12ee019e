//! SETTINGS (RFC 9113 section 6.5): what each side tells the other about itself. Pure.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frame::{
    DEFAULT_WINDOW, HEAD_BYTES, Head, MAX_PAYLOAD, MAX_WINDOW, PREFACE, flag, kind, number, put,
};

mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441 section 3.
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The largest frame a peer may ever allow.
const MAX_FRAME_SIZE: u32 = (1 << 24) - 1;

/// Bytes of the table of the decoder, the protocol's default, which is not announced.
pub(super) const HEADER_TABLE_BYTES: usize = 4096;

/// What we tell the peer, and keep to ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    /// Streams the peer may have open at once.
    pub(crate) max_streams: u32,
    /// Bytes a stream may bring before they are read.
    pub(crate) stream_window: u32,
    /// Bytes all streams together may bring before they are read.
    pub(crate) connection_window: u32,
    /// Bytes of a header list, each field counted with 32 more.
    pub(crate) max_header_list: u32,
    /// Whether a client may ask for tunnels in streams (RFC 8441).
    pub(crate) connect_protocol: bool,
}

/// What the peer has told us.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Streams we may have open at once.
    pub(super) max_streams: u32,
    pub(super) stream_window: u32,
    pub(super) connect_protocol: bool,
    /// SETTINGS have come.
    pub(super) has_come: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Peer {
            max_streams: u32::MAX,
            stream_window: DEFAULT_WINDOW,
            connect_protocol: false,
            has_come: false,
        }
    }
}

impl Local {
    /// Returns what the options of the `h2` crate make a server say.
    ///
    /// They cannot be asked, so a server with these options is made to introduce itself, in memory.
    /// What the last one said is remembered: an application has the same options for each connection.
    pub(crate) fn told_by(options: h2::server::Builder) -> Self {
        thread_local! {
            static LAST: RefCell<Option<(String, Local)>> = const { RefCell::new(None) };
        }
        let shown = format!("{options:?}");
        LAST.with_borrow_mut(|last| match last {
            Some((of, local)) if *of == shown => local.clone(),
            _ => last.insert((shown, Self::introduced(options))).1.clone(),
        })
    }

    fn introduced(options: h2::server::Builder) -> Self {
        let mut told = Local {
            max_streams: u32::MAX,
            stream_window: DEFAULT_WINDOW,
            connection_window: DEFAULT_WINDOW,
            max_header_list: u32::MAX,
            connect_protocol: false,
        };
        let said = introduction(options);
        let mut rest = &said[..];
        while let Some(head) = Head::parse(rest) {
            let Some(payload) = rest.get(HEAD_BYTES..HEAD_BYTES + head.len) else {
                break;
            };
            match head.kind {
                kind::SETTINGS if !head.is(flag::ACK) => told.hear(payload),
                kind::WINDOW_UPDATE if head.stream == 0 => {
                    told.connection_window += number(payload).unwrap_or_default();
                }
                _ => (),
            }
            rest = &rest[HEAD_BYTES + head.len..];
        }
        told
    }

    fn hear(&mut self, payload: &[u8]) {
        for [a, b, v0, v1, v2, v3] in payload.as_chunks::<6>().0 {
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            match u16::from_be_bytes([*a, *b]) {
                id::MAX_CONCURRENT_STREAMS => self.max_streams = value,
                id::INITIAL_WINDOW_SIZE => self.stream_window = value,
                id::MAX_HEADER_LIST_SIZE => self.max_header_list = value,
                id::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
                _ => (),
            }
        }
    }

    /// Appends the first frame of a server, or of a client.
    pub(super) fn put(&self, is_server: bool, out: &mut BytesMut) {
        let mut payload = Vec::with_capacity(36);
        let mut setting = |id: u16, value: u32| {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        };
        if is_server {
            setting(id::MAX_CONCURRENT_STREAMS, self.max_streams);
        } else {
            setting(id::ENABLE_PUSH, 0);
        }
        if self.stream_window != DEFAULT_WINDOW {
            setting(id::INITIAL_WINDOW_SIZE, self.stream_window);
        }
        setting(id::MAX_HEADER_LIST_SIZE, self.max_header_list);
        if self.connect_protocol && is_server {
            setting(id::ENABLE_CONNECT_PROTOCOL, 1);
        }
        put(out, kind::SETTINGS, 0, 0, &payload);
    }
}

/// What SETTINGS of the peer change beside [`Peer`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// By how much the windows of all streams grow, or shrink.
    pub(super) window: i64,
    /// The most our encoder's table may hold: the least that was said, and the last.
    pub(super) table_size: Option<(u32, u32)>,
}

impl Peer {
    /// Takes a payload.
    ///
    /// # Errors
    /// The reason to end the connection with.
    pub(super) fn apply(
        &mut self,
        payload: &[u8],
        is_server: bool,
    ) -> Result<Changes, (Reason, &'static str)> {
        let mut changes = Changes::default();
        let (settings, []) = payload.as_chunks::<6>() else {
            return Err((Reason::FRAME_SIZE_ERROR, "length of SETTINGS"));
        };
        for [a, b, v0, v1, v2, v3] in settings.iter().copied() {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([a, b]) {
                id::HEADER_TABLE_SIZE => {
                    let least = changes
                        .table_size
                        .map_or(value, |(least, _)| least.min(value));
                    changes.table_size = Some((least, value));
                }
                // A server does not push to a server, and we never push.
                id::ENABLE_PUSH if value > 1 || (!is_server && value == 1) => {
                    return Err((Reason::PROTOCOL_ERROR, "ENABLE_PUSH"));
                }
                id::MAX_CONCURRENT_STREAMS => self.max_streams = value,
                id::INITIAL_WINDOW_SIZE => {
                    if i64::from(value) > MAX_WINDOW {
                        return Err((Reason::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE"));
                    }
                    changes.window += i64::from(value) - i64::from(self.stream_window);
                    self.stream_window = value;
                }
                // Larger frames than every peer takes are never sent.
                id::MAX_FRAME_SIZE if !(MAX_PAYLOAD as u32..=MAX_FRAME_SIZE).contains(&value) => {
                    return Err((Reason::PROTOCOL_ERROR, "MAX_FRAME_SIZE"));
                }
                // RFC 8441 section 3: once it is 1 it must stay so.
                id::ENABLE_CONNECT_PROTOCOL => {
                    if value > 1 || (self.connect_protocol && value == 0) {
                        return Err((Reason::PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL"));
                    }
                    self.connect_protocol = value == 1;
                }
                // Others mean nothing to us.
                _ => (),
            }
        }
        self.has_come = true;
        Ok(changes)
    }
}

/// Returns what a server with these options sends to a client that has sent its preface.
fn introduction(options: h2::server::Builder) -> Vec<u8> {
    /// More than any introduction.
    const ROOM: usize = 1024;
    let (mut client, server) = tokio::io::duplex(ROOM);
    let introduce = async move {
        let empty = Head {
            len: 0,
            kind: kind::SETTINGS,
            flags: 0,
            stream: 0,
        };
        let preface = [&PREFACE[..], &empty.encode()].concat();
        client.write_all(&preface).await.ok()?;
        let mut connection = options.handshake::<_, Bytes>(server).await.ok()?;
        // It says what is left to say while it waits for a request, of which none comes.
        let waits = poll_fn(|cx| Poll::Ready(connection.poll_accept(cx).is_pending())).await;
        let mut said = vec![0; ROOM];
        let len = match waits {
            true => client.read(&mut said).await.ok()?,
            false => 0,
        };
        said.truncate(len);
        Some(said)
    };
    // All of it happens in memory, so that there is nothing to wait for.
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(tokio::task::unconstrained(introduce)).poll(&mut cx) {
        Poll::Ready(Some(said)) => said,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_heard() {
        let mut options = h2::server::Builder::new();
        options
            .max_concurrent_streams(7)
            .initial_window_size(100_000)
            .initial_connection_window_size(1_000_000)
            .max_header_list_size(5_000)
            .enable_connect_protocol();
        let told = Local::told_by(options);
        let expected = Local {
            max_streams: 7,
            stream_window: 100_000,
            connection_window: 1_000_000,
            max_header_list: 5_000,
            connect_protocol: true,
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn what_we_say_is_understood() {
        let local = Local {
            max_streams: 9,
            stream_window: 70_000,
            connection_window: 1,
            max_header_list: 10,
            connect_protocol: true,
        };
        let mut out = BytesMut::new();
        local.put(true, &mut out);
        let mut heard = Local {
            max_streams: 0,
            stream_window: 0,
            connection_window: 1,
            max_header_list: 0,
            connect_protocol: false,
        };
        heard.hear(&out[HEAD_BYTES..]);
        assert_eq!(heard, local);
    }

    #[test]
    fn settings_of_the_peer() {
        let setting = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let mut peer = Peer::default();
        let payload = [
            setting(id::HEADER_TABLE_SIZE, 0),
            setting(id::HEADER_TABLE_SIZE, 4096),
            setting(id::MAX_CONCURRENT_STREAMS, 3),
            setting(id::INITIAL_WINDOW_SIZE, 100),
            setting(id::INITIAL_WINDOW_SIZE, 1000),
            setting(0x99, 1),
        ];
        let changes = peer.apply(&payload.concat(), true).unwrap();
        let window = 1000 - i64::from(DEFAULT_WINDOW);
        assert_eq!(
            changes,
            Changes {
                window,
                table_size: Some((0, 4096))
            }
        );
        assert_eq!((peer.max_streams, peer.stream_window), (3, 1000));
        assert!(peer.has_come && !peer.connect_protocol);
        for (payload, is_server, reason) in [
            (vec![0; 5], true, Reason::FRAME_SIZE_ERROR),
            (setting(id::ENABLE_PUSH, 2), true, Reason::PROTOCOL_ERROR),
            (setting(id::ENABLE_PUSH, 1), false, Reason::PROTOCOL_ERROR),
            (
                setting(id::INITIAL_WINDOW_SIZE, 1 << 31),
                true,
                Reason::FLOW_CONTROL_ERROR,
            ),
            (
                setting(id::MAX_FRAME_SIZE, 16_383),
                true,
                Reason::PROTOCOL_ERROR,
            ),
            (
                setting(id::MAX_FRAME_SIZE, 1 << 24),
                true,
                Reason::PROTOCOL_ERROR,
            ),
            (
                setting(id::ENABLE_CONNECT_PROTOCOL, 2),
                false,
                Reason::PROTOCOL_ERROR,
            ),
        ] {
            let refused = Peer::default().apply(&payload, is_server);
            assert_eq!(refused.unwrap_err().0, reason, "{payload:?}");
        }
    }
}
