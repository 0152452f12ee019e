//! Connecting: what all connections of a connector share, and the configurations of their peers.
//!
//! The library wants one configuration for everything a peer may ask for, and keeps sessions to
//! resume in it. So there is one for each reuse hash, which covers just that; the sessions of one
//! peer are then not those of another.

use std::sync::Arc;

use parking_lot::Mutex;
use pingora_error::{Error, Result};

use super::CaType;
use super::cert::{load_pair, load_roots};
use super::stream::TlsStream;
use super::verifier::{PeerVerifier, server_name as library_name};
use crate::backend::by_peer::{ByPeer, MAX_PEERS};
pub(crate) use crate::backend::handshake::ensure_supported;
use crate::backend::handshake::{Identity, identity_of, server_name, within_limit};
use crate::backend::keylog::KeyLog;
use crate::backend::lazy::{self, Files};
use crate::backend::library::library::client::Resumption;
use crate::backend::library::{
    CertificateDer, ClientConfig, CryptoProvider, PrivateKeyDer, RootCertStore, RusTlsError,
    ServerName, TlsConnector as LibraryConnector, crypto_provider,
    load_platform_certs_incl_env_into_store, version,
};
use crate::backend::settings::TLS_CONF_ERR;
use crate::protocols::{ALPN, IO};
use crate::upstreams::peer::Peer;

/// How many sessions are kept for a peer: TLS 1.3 uses each once, and servers give two at a time.
const MAX_SESSIONS: usize = 4;

/// What a transport connector keeps for TLS.
pub(crate) type Connector = lazy::Connector<Made>;

/// The settings that all TLS connections of a connector share.
pub(crate) type TlsConnector = lazy::TlsConnector<Made>;

/// What the files say, and what was made of it for peers.
pub(crate) struct Made {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    presented: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    keylog: Option<Arc<KeyLog>>,
    /// By reuse hash, and whether HTTP/2 was ruled out.
    configs: Mutex<ByPeer<(u64, Option<u8>), Arc<ClientConfig>>>,
}

impl lazy::Made for Made {
    fn make(files: &Files) -> Result<Self> {
        let roots = match &files.ca {
            Some(path) => load_roots(path)?,
            None => {
                let mut roots = RootCertStore::empty();
                // Peers with authorities of their own, or that check nothing, need none of the system.
                if let Err(e) = load_platform_certs_incl_env_into_store(&mut roots) {
                    log::warn!("{e}");
                }
                roots
            }
        };
        let presented = match &files.cert_and_key {
            Some((cert_path, key_path)) => Some(load_pair(cert_path, key_path)?),
            None => None,
        };
        Ok(Made {
            provider: crypto_provider(),
            roots: Arc::new(roots),
            presented,
            keylog: files.keylog.then(KeyLog::from_env).flatten().map(Arc::new),
            configs: Mutex::new(ByPeer::new(MAX_PEERS)),
        })
    }
}

impl Made {
    /// Returns the configuration for `peer`, made when first needed.
    fn config_of<P: Peer>(
        &self,
        peer: &P,
        alpn_override: Option<&ALPN>,
    ) -> Result<Arc<ClientConfig>> {
        let key = (
            peer.reuse_hash(),
            alpn_override.map(ALPN::get_max_http_version),
        );
        if let Some(config) = self.configs.lock().get_mut(&key) {
            return Ok(config.clone());
        }
        let identity = identity_of(peer)?;
        let config = self.new_config(peer, &identity, alpn_override);
        let config = Arc::new(config.map_err(|e| unusable(&e))?);
        self.configs.lock().insert(key, config.clone());
        Ok(config)
    }

    fn new_config<P: Peer>(
        &self,
        peer: &P,
        identity: &Identity<'_>,
        alpn_override: Option<&ALPN>,
    ) -> Result<ClientConfig, RusTlsError> {
        let curves = peer.get_peer_options().and_then(|o| o.curves.as_deref());
        let provider = match curves {
            Some(curves) => Arc::new(with_groups(&self.provider, curves)?),
            None => self.provider.clone(),
        };
        let roots = match peer.get_ca() {
            Some(ca) => Arc::new(roots_of(ca)?),
            None => self.roots.clone(),
        };
        let roots = peer.verify_cert().then_some(roots);
        let verifier = PeerVerifier::new(provider.clone(), roots, identity)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let presented = match peer.get_client_cert_key() {
            Some(cert_key) => {
                let pair = cert_key.to_library();
                Some(pair.map_err(|e| RusTlsError::General(e.to_owned()))?)
            }
            None => self
                .presented
                .as_ref()
                .map(|(chain, key)| (chain.clone(), key.clone_key())),
        };
        let mut config = match presented {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = server_name(peer).is_some();
        config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
        if let Some(alpn) = alpn_override.or(peer.get_alpn()) {
            config.alpn_protocols = alpn.to_wire_protocols();
        }
        if let Some(keylog) = &self.keylog {
            config.key_log = keylog.clone();
        }
        Ok(config)
    }
}

fn roots_of(ca: &CaType) -> Result<RootCertStore, RusTlsError> {
    let mut roots = RootCertStore::empty();
    for cert in ca {
        roots.add(CertificateDer::from(cert))?;
    }
    Ok(roots)
}

/// Returns `provider` with the key exchange groups named in `curves`, separated by colons.
fn with_groups(provider: &CryptoProvider, curves: &str) -> Result<CryptoProvider, RusTlsError> {
    let mut chosen = provider.clone();
    chosen.kx_groups = curves
        .split(':')
        .map(|wanted| {
            let wanted = library_group(wanted);
            let mut groups = provider.kx_groups.iter();
            groups
                .find(|group| format!("{:?}", group.name()).eq_ignore_ascii_case(wanted))
                .copied()
                .ok_or_else(|| RusTlsError::General(format!("no key exchange group {wanted:?}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(chosen)
}

/// Returns the library's name of a group that others call otherwise.
fn library_group(name: &str) -> &str {
    match name {
        "P-256" | "prime256v1" => "secp256r1",
        "P-384" => "secp384r1",
        "P-521" => "secp521r1",
        name => name,
    }
}

#[cold]
fn unusable(e: &RusTlsError) -> Box<Error> {
    let context = format!("cannot use the TLS settings of the peer: {e}");
    Error::explain(TLS_CONF_ERR, context).into_in()
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
    let config = tls_ctx.get()?.config_of(peer, alpn_override.as_ref())?;
    let name = name_of(peer).map_err(|e| unusable(&e))?;
    let connector = LibraryConnector::from(config);
    let handshake = TlsStream::connect(&connector, name, stream);
    let mut stream = within_limit(peer, handshake).await?;
    if let Some(hook) = peer.upstream_tls_handshake_complete_hook()
        && let Some(kept) = hook(stream.tls())
    {
        stream.digest_mut().extension.set(kept);
    }
    Ok(stream)
}

/// Returns what the library is to call the server: its name or, as names are checked elsewhere, any.
fn name_of<P: Peer>(peer: &P) -> Result<ServerName<'static>, RusTlsError> {
    match server_name(peer) {
        Some(name) => library_name(name),
        None => Ok(ServerName::IpAddress(
            std::net::Ipv4Addr::UNSPECIFIED.into(),
        )),
    }
}

/// Handshakes with servers.
pub mod client {
    use super::*;

    /// Does the handshake with the server called `domain`, which `connector` may check.
    ///
    /// # Errors
    /// `InvalidCert` when the certificate is not valid, `TLSHandshakeFailure` for everything else.
    pub async fn handshake<S: IO>(
        connector: &LibraryConnector,
        domain: &str,
        io: S,
    ) -> Result<TlsStream<S>> {
        TlsStream::from_connector(connector, domain, io).await
    }
}
