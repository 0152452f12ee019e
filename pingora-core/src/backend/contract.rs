//! What the rest of the crate expects of a backend, checked when the crate is compiled.
//!
//! The types differ from library to library, and users see that they do, so this is no trait:
//! each function below uses a backend as the crate does, and none is ever called. A new backend
//! that lacks something fails here, by name, instead of somewhere in a listener.

#![allow(dead_code)]

use std::fmt::{Debug, Display};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pingora_error::Result;

use super::cert::{CertKey, hash_ca};
use super::connector::{Connector, TlsConnector, connect, ensure_supported};
use super::listener::{Acceptor, TlsSettings};
use super::protocol::{CaType, TlsRef};
use crate::connectors::ConnectorOptions;
use crate::protocols::{ALPN, IO};
use crate::server::configuration::ServerConf;
use crate::upstreams::peer::Peer;

fn shared_between_tasks<T: Send + Sync + ?Sized>() {}

fn types() {
    shared_between_tasks::<Acceptor>();
    shared_between_tasks::<CaType>();
    shared_between_tasks::<CertKey>();
    shared_between_tasks::<TlsConnector>();
    shared_between_tasks::<TlsRef>();
    shared_between_tasks::<TlsSettings>();
}

fn certificate(key: &CertKey) -> (CertKey, impl Debug + Display + Hash) {
    (key.clone(), key)
}

fn authorities<H: Hasher>(ca: &CaType, state: &mut H) {
    hash_ca(ca, state);
}

fn settings(cert: &str, key: &str, conf: &ServerConf) -> Result<Acceptor> {
    let mut settings = TlsSettings::intermediate(cert, key)?;
    settings.enable_h2();
    settings.set_offload_threadpool(1, 1);
    settings.set_offload_threadpool_from_server_conf(conf);
    settings.try_build()
}

#[cfg(feature = "any_tls")]
fn certificate_callback(ssl: &mut TlsRef, cert_key: &CertKey) -> Result<Option<String>> {
    use super::listener::{server_name, set_certificate};
    set_certificate(ssl, cert_key)?;
    Ok(server_name(ssl).map(str::to_owned))
}

#[cfg(feature = "any_tls")]
fn beyond_level_0_9(
    set: super::certificates::CertificateSet,
    hook: super::hello::ClientHelloHook,
    callbacks: crate::listeners::TlsAcceptCallbacks,
) -> Result<Acceptor> {
    use super::settings::ClientAuth;
    let mut settings = TlsSettings::with_certificates(set)?;
    settings.set_ocsp_response("a.ocsp")?;
    settings.set_client_hello_hook(hook);
    settings.set_callbacks(callbacks);
    settings.set_client_auth("ca.pem", ClientAuth::Required)?;
    settings.enable_debug_keylog();
    settings.try_build()
}

async fn accept<S: IO + 'static>(acceptor: &Acceptor, stream: S) -> Result<Box<dyn IO>> {
    Ok(Box::new(acceptor.tls_handshake(stream).await?))
}

async fn open<S: IO + 'static, P: Peer + Send + Sync>(
    stream: S,
    peer: &P,
    alpn: Option<ALPN>,
    options: Option<ConnectorOptions>,
) -> Result<Box<dyn IO>> {
    ensure_supported(peer)?;
    let connector = Connector::new(options);
    Ok(Box::new(connect(stream, peer, alpn, &connector.ctx).await?))
}

fn upstream_hook(ssl: &TlsRef) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
    let hook: crate::protocols::tls::HandshakeCompleteHook = Arc::new(|_| None);
    hook(ssl)
}
