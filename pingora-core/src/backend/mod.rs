//! The TLS gate: the only place that names a TLS feature.
//!
//! Any set of the features compiles; the first of `boringssl`, `openssl`, `rustls`, `s2n` serves.
//! Whichever that is, the rest of the crate sees the same modules, and `contract` makes sure at
//! compile time that each backend has them:
//!
//! | module | holds |
//! |---|---|
//! | `callbacks` | what callbacks of listeners do in the same way with every library (none without one) |
//! | `cert` | certificates and keys (`utils::tls`) |
//! | `connector` | `Connector::new(Option<ConnectorOptions>)` with `ctx: TlsConnector`; `connect(stream, peer, alpn_override, &TlsConnector)` |
//! | `listener` | `TlsSettings`, whose `try_build()` gives an `Acceptor` with `tls_handshake(stream)` |
//! | `stream` | the TLS stream |
//! | `protocol` | what `protocols::tls` shows of the library: `TlsRef`, `CaType` and more |
//! | `library` | the library itself, `pingora_core::tls` |
//! | `absent` | pre-shared keys and policies, types without a value where a library has none |
//!
//! What does not depend on the library is written once: `handshake` (timeouts, names, offload),
//! `settings` (files, errors), `lazy` (what a connector makes of its options), `by_peer` (what it
//! keeps for each of its peers), `certificates` (several of
//! them, reloaded), `ocsp` (what is stapled to them), `hello` (the ClientHello), `stream_traits` (what a TLS stream passes on to the one below), `keylog`.
//!
//! Without a TLS feature that is `none`, where every type that would need a library is
//! uninhabited: what cannot work does not compile or answers with an error naming the features.

#[cfg(feature = "any_tls")]
mod by_peer;
#[cfg(feature = "any_tls")]
mod callbacks;
#[cfg(feature = "any_tls")]
mod certificates;
mod contract;
#[cfg(feature = "any_tls")]
mod handshake;
#[cfg(feature = "any_tls")]
mod hello;
#[cfg(feature = "any_tls")]
mod keylog;
#[cfg(feature = "any_tls")]
mod lazy;
#[cfg(feature = "any_tls")]
mod ocsp;
#[cfg(feature = "any_tls")]
mod settings;
#[cfg(feature = "any_tls")]
mod stream_traits;

cfg_if::cfg_if! {
    if #[cfg(feature = "boringssl")] {
        mod absent;
        mod openssl;
        mod records;
        use self::openssl as imp;
        pub use pingora_boringssl as library;
    } else if #[cfg(feature = "openssl")] {
        mod absent;
        mod openssl;
        mod records;
        use self::openssl as imp;
        pub use pingora_openssl as library;
    } else if #[cfg(feature = "__rustls")] {
        mod absent;
        mod rustls;
        mod x509;
        use self::rustls as imp;
        pub use pingora_rustls as library;
    } else if #[cfg(feature = "s2n")] {
        mod records;
        mod s2n;
        mod x509;
        use self::s2n as imp;
        use self::s2n::psk as absent;
        pub use pingora_s2n as library;
    } else {
        mod absent;
        mod none;
        use self::none as imp;
        pub use self::none::library;
    }
}

pub(crate) use self::absent::{PskType, SecurityPolicy};
pub(crate) use self::imp::{cert, connector, listener, protocol};
