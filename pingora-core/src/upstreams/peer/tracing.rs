//! Observing the life of a connection.

use std::fmt::Debug;

/// Is told when a connection opens and closes.
pub trait Tracing: Send + Sync + Debug {
    /// Is called when the connection is open, before TLS.
    fn on_connected(&self);

    /// Is called when the connection is closed.
    fn on_disconnected(&self);

    /// Returns a copy for another connection to the same peer.
    fn boxed_clone(&self) -> Box<dyn Tracing>;
}

/// A [`Tracing`] observer, carried by [`PeerOptions`](super::PeerOptions).
///
/// ```
/// use pingora_core::upstreams::peer::{HttpPeer, Tracer, Tracing};
///
/// #[derive(Clone, Debug)]
/// struct Print;
///
/// impl Tracing for Print {
///     fn on_connected(&self) {
///         println!("open");
///     }
///     fn on_disconnected(&self) {
///         println!("closed");
///     }
///     fn boxed_clone(&self) -> Box<dyn Tracing> {
///         Box::new(self.clone())
///     }
/// }
///
/// let mut peer = HttpPeer::new("127.0.0.1:80", false, String::new());
/// peer.options.tracer = Some(Tracer(Box::new(Print)));
/// ```
#[derive(Debug)]
pub struct Tracer(pub Box<dyn Tracing>);

impl Clone for Tracer {
    fn clone(&self) -> Self {
        Tracer(self.0.boxed_clone())
    }
}
