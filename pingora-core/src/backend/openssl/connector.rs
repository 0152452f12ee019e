//! Connecting: the settings all connections of a connector share, and those of one connection.

use std::any::Any;
use std::sync::Arc;

use pingora_error::{Error, ErrorType, Result};

use super::cert::{load_certificates, load_pair, settings_error, store_of};
use super::differences::verify_failure;
use super::sessions::Sessions;
use super::stream::SslStream;
use super::{handshake_reason, reasons};
pub(crate) use crate::backend::handshake::ensure_supported;
use crate::backend::handshake::{Identity, check_name, identity_of, server_name, within_limit};
use crate::backend::keylog::KeyLog;
use crate::backend::lazy::{self, Files};
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ext;
use crate::backend::library::ssl::{
    ConnectConfiguration, Error as SslError, SslConnector, SslConnectorBuilder, SslMethod, SslRef,
    SslVerifyMode, SslVersion,
};
use crate::backend::library::x509::verify::X509CheckFlags;
use crate::protocols::{ALPN, IO};
use crate::upstreams::peer::Peer;

/// What a transport connector keeps for TLS.
pub(crate) type Connector = lazy::Connector<Made>;

/// The settings that all TLS connections of a connector share.
pub(crate) type TlsConnector = lazy::TlsConnector<Made>;

/// The context of a connector.
pub(crate) struct Made {
    connector: SslConnector,
    sessions: Arc<Sessions>,
}

impl lazy::Made for Made {
    fn make(files: &Files) -> Result<Self> {
        let failed =
            |e: ErrorStack| settings_error("cannot make the TLS settings of a connector", &e);
        let mut builder = SslConnector::builder(SslMethod::tls()).map_err(failed)?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(failed)?;
        if let Some(path) = &files.ca {
            let trusted = store_of(&load_certificates(path)?).map_err(failed)?;
            builder.set_cert_store(trusted);
        }
        if let Some((cert_path, key_path)) = &files.cert_and_key {
            present(&mut builder, cert_path, key_path)?;
        }
        if let Some(log) = files.keylog.then(KeyLog::from_env).flatten() {
            builder.set_keylog_callback(move |_, line| log.write(line));
        }
        let sessions = Arc::new(Sessions::default());
        sessions.attach(&mut builder);
        Ok(Made {
            connector: builder.build(),
            sessions,
        })
    }
}

/// Has all connections present a certificate from files.
fn present(builder: &mut SslConnectorBuilder, cert_path: &str, key_path: &str) -> Result<()> {
    let (certificates, key) = load_pair(cert_path, key_path)?;
    let mut set = || {
        builder.set_certificate(&certificates[0])?;
        builder.set_private_key(&key)?;
        let mut chain = certificates[1..].iter();
        chain.try_for_each(|cert| builder.add_extra_chain_cert(cert.clone()))
    };
    set().map_err(|e| settings_error(&format!("cannot use {cert_path} with {key_path}"), &e))
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
) -> Result<SslStream<T>>
where
    T: IO,
    P: Peer + Send + Sync,
{
    let made = tls_ctx.get()?;
    let identity = identity_of(peer)?;
    let mut config = made.connector.configure().map_err(|e| unusable(&e))?;
    configure(&mut config, peer, &identity, alpn_override).map_err(|e| unusable(&e))?;
    let offered = made.sessions.offer(&mut config, peer.reuse_hash());
    offered.map_err(|e| unusable(&e))?;
    let name = server_name(peer);
    config.set_use_server_name_indication(name.is_some());
    config.set_verify_hostname(false);
    let hook = peer.upstream_tls_handshake_complete_hook().cloned();
    let handshake = client::handshake(config, name.unwrap_or_default(), stream, hook);
    within_limit(peer, handshake).await
}

#[cold]
fn unusable(e: &ErrorStack) -> Box<Error> {
    settings_error("cannot use the TLS settings of the peer", e)
}

/// Sets what `peer` asks for, but for the server name.
fn configure<P: Peer>(
    ssl: &mut SslRef,
    peer: &P,
    identity: &Identity<'_>,
    alpn_override: Option<ALPN>,
) -> Result<(), ErrorStack> {
    ext::ssl_set_renegotiate_mode_freely(ssl);
    if let Some(ca) = peer.get_ca() {
        let store = store_of(ca)?;
        ext::ssl_set_verify_cert_store(ssl, &store)?;
    }
    if let Some(cert_key) = peer.get_client_cert_key() {
        cert_key.present(ssl)?;
    }
    if !peer.verify_cert() {
        ssl.set_verify(SslVerifyMode::NONE);
    }
    verify_as(ssl, identity)?;
    if let Some(alpn) = alpn_override.as_ref().or(peer.get_alpn()) {
        ssl.set_alpn_protos(alpn.to_wire_preference())?;
    }
    if let Some(options) = peer.get_peer_options() {
        if let Some(curves) = &options.curves {
            ext::ssl_set_groups_list(ssl, curves)?;
        }
        ext::ssl_use_second_key_share(ssl, options.second_keyshare);
    }
    Ok(())
}

/// Has the handshake fail unless the server's certificate is valid for one of `identity`.
fn verify_as(ssl: &mut SslRef, identity: &Identity<'_>) -> Result<(), ErrorStack> {
    let param = ssl.param_mut();
    param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
    match identity {
        Identity::Anybody => Ok(()),
        Identity::Address(address) => param.set_ip(*address),
        Identity::Names(names) => names.iter().try_for_each(|name| ext::add_host(param, name)),
    }
}

/// Handshakes with servers.
pub mod client {
    use super::*;

    /// Does the handshake with the server called `domain`, which `conn_config` may check.
    ///
    /// What `complete_hook` returns is kept with the digest of the connection.
    ///
    /// # Errors
    /// `InvalidCert` when the certificate is not valid, `TLSConfigError` when `domain` is no name,
    /// `TLSHandshakeFailure` for everything else.
    pub async fn handshake<S: IO>(
        conn_config: ConnectConfiguration,
        domain: &str,
        io: S,
        complete_hook: Option<
            Arc<dyn Fn(&SslRef) -> Option<Arc<dyn Any + Send + Sync>> + Send + Sync>,
        >,
    ) -> Result<SslStream<S>> {
        check_name(domain)?;
        let ssl = conn_config
            .into_ssl(domain)
            .map_err(|e| Error::explain(ErrorType::TLSHandshakeFailure, reasons(&e)))?;
        let mut stream = SslStream::new(ssl, io)?;
        if let Err(e) = stream.connect().await {
            return Err(failed(stream.ssl(), &e, domain));
        }
        if let Some(kept) = complete_hook.and_then(|hook| hook(stream.ssl()))
            && let Some(digest) = stream.digest_mut()
        {
            digest.extension.set(kept);
        }
        Ok(stream)
    }

    #[cold]
    fn failed(ssl: &SslRef, e: &SslError, domain: &str) -> Box<Error> {
        let of = if domain.is_empty() {
            String::new()
        } else {
            format!(" of {domain}")
        };
        match verify_failure(ssl) {
            Some(failure) => {
                let context = format!("certificate{of}: {failure}");
                Error::explain(ErrorType::InvalidCert, context)
            }
            None => {
                let context = format!("TLS handshake: {}", handshake_reason(e));
                Error::explain(ErrorType::TLSHandshakeFailure, context)
            }
        }
    }
}
