//! [`Rewound`]: a connection whose first bytes are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use super::layered::{as_its_stream, pass_vectored_writes, pass_writes};

/// A connection of which some bytes were taken to look at, and given back.
#[derive(Debug)]
pub(crate) struct Rewound {
    first: Bytes,
    stream: Stream,
}

impl Rewound {
    /// Returns the connection that reads `first` and then what `stream` reads.
    pub(crate) fn new(stream: Stream, first: Bytes) -> Self {
        Rewound { first, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        if self.first.is_empty() {
            // What is left is a handle that keeps the bytes.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    pass_writes!(stream);
    pass_vectored_writes!(stream);
}

as_its_stream!(Rewound);
