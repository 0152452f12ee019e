//! [`SubrequestHandle`]: what the maker of a subrequest holds of it.

use pingora_error::BError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::protocols::http::HttpTask;

/// The other end of a subrequest: sends it a body, receives its response.
///
/// Dropping it, or only `rx`, tells the subrequest that nobody is interested any more: it ends with
/// an error at its next step. To let it run without looking at the response, use
/// [`drain_tasks`](SubrequestHandle::drain_tasks).
pub struct SubrequestHandle {
    /// Takes the pieces of the request body: `Body` with the end mark on the last, or `Done`.
    pub tx: mpsc::Sender<HttpTask>,
    /// Gives the pieces of the response; closed when the subrequest is over.
    pub rx: mpsc::Receiver<HttpTask>,
    /// Resolves when the subrequest asks for its body; an error when it never will.
    pub subreq_wants_body: oneshot::Receiver<()>,
    /// Resolves with the error when the subrequest fails; an error of its own when it does not.
    pub subreq_proxy_error: oneshot::Receiver<BError>,
}

impl SubrequestHandle {
    /// Receives and drops the response, in a task that ends with the subrequest.
    ///
    /// The subrequest sees a client that takes everything and stays until the end. A body that is
    /// to be sent takes a clone of `tx`, made before. Needs a runtime of tokio.
    pub fn drain_tasks(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let SubrequestHandle { tx, mut rx, .. } = self;
            // A body nobody sends breaks off instead of being waited for.
            drop(tx);
            // Ends with the subrequest, which owns the sender.
            while rx.recv().await.is_some() {}
        })
    }
}
