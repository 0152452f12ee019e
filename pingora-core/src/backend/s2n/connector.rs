//! Connecting: what all connections of a connector share, and the configurations of their peers.
//!
//! The library wants one configuration for everything a peer may ask for, and tells new session
//! tickets to it. So there is one for each reuse hash, which covers just that; the sessions of one
//! peer are then not those of another.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_error::{Error, ErrorType, Result};

use super::cert::{X509Pem, load_pair};
use super::stream::{AutoFlushableStream, S2NConnectionBuilder, TlsStream};
use super::verifier::Wanted;
use super::{INTERMEDIATE, reason, set_keylog, set_policy, unusable};
use crate::backend::by_peer::{ByPeer, MAX_PEERS};
pub(crate) use crate::backend::handshake::ensure_supported;
use crate::backend::handshake::{Identity, identity_of, server_name, timing, within_limit};
use crate::backend::keylog::KeyLog;
use crate::backend::lazy::{self, Files};
use crate::backend::library::library::callbacks::{
    ConnectionFuture, SessionTicket, SessionTicketCallback,
};
use crate::backend::library::library::config::ConnectionInitializer;
use crate::backend::library::library::enums::Version;
use crate::backend::library::{
    ClientAuthType, ConfigBuilder, Connection, S2NError, TlsConnector as LibraryConnector,
};
use crate::backend::settings::TLS_CONF_ERR;
use crate::protocols::{ALPN, IO};
use crate::upstreams::peer::Peer;

/// How many sessions are kept for a peer: TLS 1.3 uses each once, and servers give two at a time.
const MAX_SESSIONS: usize = 4;

/// The longest a session is kept, whatever the server says (RFC 8446, section 4.6.1: a week).
const MAX_SESSION_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a transport connector keeps for TLS.
pub(crate) type Connector = lazy::Connector<Made>;

/// The settings that all TLS connections of a connector share.
pub(crate) type TlsConnector = lazy::TlsConnector<Made>;

/// What the files say, and what was made of it for peers.
pub(crate) struct Made {
    ca: Option<X509Pem>,
    presented: Option<(X509Pem, Vec<u8>)>,
    keylog: Option<&'static KeyLog>,
    /// By reuse hash, and whether HTTP/2 was ruled out.
    configs: Mutex<ByPeer<(u64, Option<u8>), ConfigOfPeer>>,
}

type ConfigOfPeer = LibraryConnector<S2NConnectionBuilder>;

impl lazy::Made for Made {
    fn make(files: &Files) -> Result<Self> {
        let pair = files.cert_and_key.as_ref();
        Ok(Made {
            ca: files.ca.as_deref().map(X509Pem::load).transpose()?,
            presented: pair.map(|(cert, key)| load_pair(cert, key)).transpose()?,
            keylog: files
                .keylog
                .then(KeyLog::from_env)
                .flatten()
                .map(|log| &*Box::leak(Box::new(log))),
            configs: Mutex::new(ByPeer::new(files.cache_size.unwrap_or(MAX_PEERS))),
        })
    }
}

impl Made {
    /// Returns the configuration for `peer`, made when first needed.
    fn config_of<P: Peer>(&self, peer: &P, alpn_override: Option<&ALPN>) -> Result<ConfigOfPeer> {
        let key = (
            peer.reuse_hash(),
            alpn_override.map(ALPN::get_max_http_version),
        );
        if let Some(config) = self.configs.lock().get_mut(&key) {
            return Ok(config.clone());
        }
        let identity = identity_of(peer)?;
        if peer.get_peer_options().is_some_and(|o| o.curves.is_some()) {
            let context =
                "s2n takes key exchange groups from the security policy, not from `curves`";
            return Err(Error::explain(TLS_CONF_ERR, context).into_in());
        }
        let config = self.new_config(peer, &identity, alpn_override);
        let config = config.map_err(|e| unusable("cannot use the TLS settings of the peer", &e))?;
        self.configs.lock().insert(key, config.clone());
        Ok(config)
    }

    fn new_config<P: Peer>(
        &self,
        peer: &P,
        identity: &Identity<'_>,
        alpn_override: Option<&ALPN>,
    ) -> Result<ConfigOfPeer, S2NError> {
        let mut builder = ConfigBuilder::new();
        let policy = peer.get_s2n_security_policy();
        set_policy(
            &mut builder,
            policy,
            INTERMEDIATE,
            peer.get_max_blinding_delay(),
        )?;
        self.trust(&mut builder, peer, identity)?;
        let presented = match peer.get_client_cert_key() {
            Some(own) => Some((own.raw_pem(), own.key())),
            None => self
                .presented
                .as_ref()
                .map(|(pem, key)| (&*pem.raw_pem, key)),
        };
        if let Some((pem, key)) = presented {
            builder.load_pem(pem, key)?;
            builder.set_client_auth_type(ClientAuthType::Optional)?;
        }
        if let Some(alpn) = alpn_override.or(peer.get_alpn()) {
            builder.set_application_protocol_preference(alpn.to_wire_protocols())?;
        }
        if let Some(log) = self.keylog {
            set_keylog(&mut builder, log)?;
        }
        let keys = peer.get_psk().cloned();
        // The library takes either keys or sessions.
        if keys.is_none() {
            let sessions = Arc::new(Sessions::default());
            builder.set_session_ticket_callback(OnTicket(sessions.clone()))?;
            builder.set_connection_initializer(OnConnection(sessions))?;
        }
        Ok(LibraryConnector::new(S2NConnectionBuilder {
            config: builder.build()?,
            psk_config: keys,
            security_policy: None,
        }))
    }

    /// Sets whose certificates are accepted, and for which names.
    fn trust<P: Peer>(
        &self,
        builder: &mut ConfigBuilder,
        peer: &P,
        identity: &Identity<'_>,
    ) -> Result<(), S2NError> {
        let own = peer.get_ca().map(|ca| &**ca).or(self.ca.as_ref());
        builder.with_system_certs(own.is_none() || peer.use_system_certs())?;
        if let Some(own) = own {
            builder.trust_pem(&own.raw_pem)?;
        }
        builder.set_verify_host_callback(Wanted::from(identity))?;
        if !peer.verify_cert() {
            // SAFETY: nothing of memory: the peer asks for a connection whoever the server is.
            unsafe { builder.disable_x509_verification() }?;
        }
        Ok(())
    }
}

/// The session tickets a peer gave, the newest last.
#[derive(Default)]
struct Sessions(Mutex<VecDeque<Session>>);

struct Session {
    expires: Instant,
    /// Whether it is one of TLS 1.3, used once (RFC 8446, appendix C.4).
    is_used_once: bool,
    ticket: Vec<u8>,
}

struct OnTicket(Arc<Sessions>);

impl SessionTicketCallback for OnTicket {
    fn on_session_ticket(&self, connection: &mut Connection, ticket: &SessionTicket) {
        let (Ok(length), Ok(lifetime)) = (ticket.len(), ticket.lifetime()) else {
            return;
        };
        let mut bytes = vec![0; length];
        if ticket.data(&mut bytes).is_err() {
            return;
        }
        let mut sessions = self.0.0.lock();
        if sessions.len() == MAX_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(Session {
            expires: Instant::now() + lifetime.min(MAX_SESSION_AGE),
            is_used_once: matches!(connection.actual_protocol_version(), Ok(Version::TLS13)),
            ticket: bytes,
        });
    }
}

struct OnConnection(Arc<Sessions>);

impl ConnectionInitializer for OnConnection {
    /// Offers the newest session, if there is one. One that the library does not take is none.
    fn initialize_connection(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<Pin<Box<dyn ConnectionFuture>>>, S2NError> {
        let mut sessions = self.0.0.lock();
        sessions.retain(|session| session.expires > Instant::now());
        if let Some(session) = sessions.pop_back() {
            let _ = connection.set_session_ticket(&session.ticket);
            if !session.is_used_once {
                sessions.push_back(session);
            }
        }
        Ok(None)
    }
}

/// Does the handshake with `peer` on `stream`, offering `alpn_override` rather than the peer's ALPN.
///
/// # Errors
/// `InvalidCert` when the server's certificate is not what the peer asks for, `TLSHandshakeFailure`
/// with the reason, `TLSHandshakeTimedout`, and `TLSConfigError` when the connector or the peer
/// cannot be set up.
pub(crate) async fn connect<T, P>(
    stream: T,
    peer: &P,
    alpn_override: Option<ALPN>,
    tls_ctx: &TlsConnector,
) -> Result<TlsStream<T>>
where
    T: IO,
    P: Peer + Send + Sync,
{
    let connector = tls_ctx.get()?.config_of(peer, alpn_override.as_ref())?;
    let name = server_name(peer).unwrap_or_default();
    let handshake = client::handshake(&connector, name, stream);
    let mut stream = within_limit(peer, handshake).await?;
    if let Some(hook) = peer.upstream_tls_handshake_complete_hook()
        && let Some(kept) = hook(stream.tls())
    {
        stream.digest_mut().extension.set(kept);
    }
    Ok(stream)
}

/// Handshakes with servers.
pub mod client {
    use super::*;

    /// Does the handshake with the server called `domain`, which `connector` may check.
    ///
    /// # Errors
    /// `InvalidCert` when the certificate is not valid, `TLSHandshakeFailure` for everything else.
    pub async fn handshake<S: IO>(
        connector: &LibraryConnector<S2NConnectionBuilder>,
        domain: &str,
        stream: S,
    ) -> Result<TlsStream<S>> {
        let started = Instant::now();
        let stream = AutoFlushableStream::new(stream, true);
        let done = connector.connect(domain, stream).await;
        let stream = done.map_err(|e| failed(&e, domain))?;
        Ok(TlsStream::new(stream, timing(Some(started))))
    }

    #[cold]
    fn failed(e: &S2NError, domain: &str) -> Box<Error> {
        let of = if domain.is_empty() {
            String::new()
        } else {
            format!(" of {domain}")
        };
        if e.name().starts_with("S2N_ERR_CERT_") {
            let context = format!("certificate{of}: {}", reason(e));
            return Error::explain(ErrorType::InvalidCert, context);
        }
        let context = format!("TLS handshake: {}", reason(e));
        Error::explain(ErrorType::TLSHandshakeFailure, context)
    }
}
