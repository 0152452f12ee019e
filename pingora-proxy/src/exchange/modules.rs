//! The request body on its way through the modules, which see each piece once: another try sends what
//! they made of those before, and goes on where they are.

use bytes::Bytes;
use futures_core::future::BoxFuture;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_error::Result;

use super::filter::append;
use crate::Session;

/// Bytes the modules made of a request body that are kept for another try, as many as of the body.
const KEPT_BYTES: usize = 64 * 1024;

/// What the modules made of a request body so far.
pub(crate) struct FilteredBody {
    kept: FixedBuffer,
    /// They were told its end.
    ended: bool,
    /// The next piece is from here.
    replays: bool,
    /// Something of it is not here.
    lacks: bool,
}

impl FilteredBody {
    fn new(lacks: bool) -> Self {
        FilteredBody {
            kept: FixedBuffer::new(KEPT_BYTES),
            ended: false,
            replays: false,
            lacks,
        }
    }

    /// Returns whether another try can send all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.lacks && !self.kept.is_truncated()
    }

    /// Returns what another try sends first.
    pub(super) fn replay(&mut self) -> Option<Bytes> {
        let kept = self.kept.get_buffer();
        self.replays = kept.is_some();
        kept
    }
}

/// Passes a piece of the request body through the modules, unless they have seen it.
///
/// Boxed: most requests go through no module.
pub(super) fn filter<'a>(
    session: &'a mut Session,
    data: &'a mut Option<Bytes>,
    end: bool,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(filter_fresh(session, data, end))
}

async fn filter_fresh(session: &mut Session, data: &mut Option<Bytes>, end: bool) -> Result<()> {
    let modules = &mut session.downstream_modules_ctx;
    if session.downstream_session.was_upgraded() {
        return modules.request_body_filter(data, end).await;
    }
    let piece = data.as_ref().map_or(0, Bytes::len);
    let read = session.downstream_session.body_bytes_read();
    let filtered = session
        .filtered_body
        // Modules that were asked for later lack the beginning.
        .get_or_insert_with(|| Box::new(FilteredBody::new(read > piece)));
    let replays = std::mem::take(&mut filtered.replays);
    if filtered.ended || (replays && !end) {
        return Ok(());
    }
    let mut rest = None;
    let fresh = if replays { &mut rest } else { &mut *data };
    // As long as it is under way, and if it fails.
    let lacks = std::mem::replace(&mut filtered.lacks, true);
    modules.request_body_filter(fresh, end).await?;
    filtered.lacks = lacks;
    filtered.ended = end;
    if let Some(fresh) = fresh {
        filtered.kept.write_to_buffer(fresh);
    }
    append(data, rest);
    Ok(())
}
