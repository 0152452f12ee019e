//! Types as programs write them out: with every field, or without the parameters that have a default.

use pingora::connectors::http::Connector;
use pingora::http::ResponseHeader;
use pingora::lb::health_check::{HttpHealthCheck, TcpHealthCheck};
use pingora::prelude::*;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, SslDigestExtension};
use pingora::protocols::{Digest, TimingDigest};
use pingora::proxy::{FailToProxy, HttpProxy, ProxyServiceBuilder};
use pingora::upstreams::peer::{BasicPeer, PeerOptions, Scheme};

/// What a program keeps, named without parameters.
#[allow(dead_code)]
struct Kept<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    check: Box<HttpHealthCheck>,
    fallback: Box<TcpHealthCheck>,
    connector: Connector,
    session: Option<HttpSession>,
    proxy: Option<HttpProxy<P>>,
    builder: Option<ProxyServiceBuilder<P>>,
}

#[test]
fn types_are_named_without_parameters() {
    fn keep(check: HttpHealthCheck) -> Box<HttpHealthCheck<()>> {
        Box::new(check)
    }
    let kept: Kept<crate::proxying::EveryHook> = Kept {
        check: keep(HttpHealthCheck::new("a.example", false)),
        fallback: TcpHealthCheck::new(),
        connector: Connector::new(None),
        session: None,
        proxy: None,
        builder: None,
    };
    assert_eq!(kept.check.consecutive_success, 1);
}

#[test]
fn structs_are_written_out() -> Result<()> {
    let ssl = SslDigest {
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        version: "TLSv1.3".into(),
        organization: None,
        serial_number: None,
        cert_digest: vec![],
        extension: SslDigestExtension::default(),
    };
    let proxy = ProxyDigest {
        response: Box::new(ResponseHeader::build(200, None)?),
        user_data: Some(Box::new(7_u8)),
    };
    let Digest {
        ssl_digest,
        timing_digest,
        proxy_digest,
        socket_digest,
    } = Digest {
        ssl_digest: Some(ssl.into()),
        timing_digest: vec![Some(TimingDigest {
            established_ts: std::time::SystemTime::UNIX_EPOCH,
            establishment_duration: None,
            offload_wait_duration: None,
        })],
        proxy_digest: Some(proxy.into()),
        socket_digest: None,
    };
    assert!(ssl_digest.is_some_and(|ssl| ssl.version == "TLSv1.3"));
    assert!(proxy_digest.is_some_and(|proxy| proxy.user_data.is_some()));
    assert_eq!((timing_digest.len(), socket_digest.is_none()), (1, true));

    let address = "127.0.0.1:80".parse()?;
    let basic = BasicPeer {
        _address: address,
        sni: String::new(),
        options: PeerOptions::new(),
    };
    let http = HttpPeer {
        _address: basic._address.clone(),
        scheme: Scheme::HTTP,
        sni: basic.sni,
        proxy: None,
        client_cert_key: None,
        group_key: 0,
        options: basic.options,
    };
    assert!(!http.is_tls());
    let FailToProxy {
        error_code,
        can_reuse_downstream,
    } = FailToProxy {
        error_code: 502,
        can_reuse_downstream: false,
    };
    assert_eq!((error_code, can_reuse_downstream), (502, false));
    Ok(())
}
