//! The TLS gate: the only file that names a TLS feature.
//!
//! Whatever library is compiled in, the rest of the crate sees the same five modules:
//!
//! | module | holds |
//! |---|---|
//! | `cert` | certificates and keys (`utils::tls`) |
//! | `connector` | `Connector::new(Option<ConnectorOptions>)` with `ctx: TlsConnector`; `connect(stream, peer, alpn_override, &TlsConnector)` |
//! | `listener` | `TlsSettings`, whose `build()` gives an `Acceptor` with `tls_handshake(stream)` |
//! | `stream` | `SslStream<S>` |
//! | `protocol` | what `protocols::tls` shows of the library: `TlsRef`, `CaType` and more |
//! | `library` | the library itself, `pingora_core::tls` |
//!
//! Without a TLS feature that is `none`, where every type that would need a library is
//! uninhabited: what cannot work does not compile or answers with an error naming the features.

mod none;
use none as imp;

pub use self::imp::library;
// Who connects asks first whether there is TLS at all, so without it `connector` is for users only.
#[allow(unused_imports)]
pub(crate) use self::imp::{cert, connector, listener, protocol, stream};
