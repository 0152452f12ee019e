//! The facade's modules and what programs take from them without implementing a trait.

use std::time::Duration;

use pingora::apps::{HttpPersistentSettings, HttpServerOptions, ReusedHttpStream};
use pingora::connectors::http::Connector as HttpConnector;
use pingora::connectors::http::v1::Connector as Http1Connector;
use pingora::connectors::l4::BindTo;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::{
    HMap, HeaderNameVariant, IntoCaseHeaderName, Method, RequestHeader, ResponseHeader, StatusCode,
    Version,
};
use pingora::listeners::{Listeners, ServerAddress, TcpSocketOptions};
use pingora::prelude::*;
use pingora::protocols::http::conditional_filter::{
    not_modified_filter, to_304, weak_validate_etag,
};
use pingora::protocols::http::date::get_cached_date;
use pingora::protocols::http::error_resp::{
    HTTP_400_RESPONSE, HTTP_502_RESPONSE, gen_error_response,
};
use pingora::protocols::http::v1::common::{is_upgrade_req, is_upgrade_resp};
use pingora::protocols::http::{HttpTask, SERVER_NAME, ServerSession};
use pingora::protocols::l4::ext::TcpKeepalive;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{ALPN, Stream};
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::{
    BasicPeer, H1UpgradePolicy, HttpUpstreamRequestPolicy, Peer, PeerOptions, Proxy, Scheme,
};
use pingora::utils::{BufRef, EMPTY_KV_REF, KVRef};
use pingora::{BError, Context, ErrorSource, ErrorTrait, ImmutStr, OkOrErr, OrErr, RetryType};

const MINE: pingora::ErrorType = pingora::ErrorType::new("Mine");
const MINE_TOO: pingora::ErrorType = pingora::ErrorType::new_code("MineToo", 7);

#[test]
fn errors_come_through_the_facade() {
    fn parse(text: &str) -> Result<u16> {
        text.parse::<u16>().or_err(InvalidHTTPHeader, "no number")
    }
    assert_eq!(parse("8").unwrap(), 8);
    let e: BError = parse("x").err_context(|| "outer").unwrap_err();
    assert_eq!(e.root_etype(), &InvalidHTTPHeader);
    assert_eq!(e.esource(), &ErrorSource::Unset);
    assert!(ErrorTrait::source(&e).is_none());
    let e = None::<u8>
        .or_err(MINE, "nothing")
        .map_err(|e| e.into_up())
        .unwrap_err();
    assert_eq!(e.reason_str(), "Mine");
    assert_eq!(Error::new_in(MINE_TOO).to_string(), "Internal MineToo: 7");
    let mut e = Error::explain(HTTPStatus(503), ImmutStr::from("busy"));
    e.retry = RetryType::ReusedOnly;
    e.retry.decide_reuse(true);
    assert!(e.retry());
    let e: Result<()> = Error::e_because(CustomCode("C", 1), "why", std::io::Error::other("io"));
    assert!(e.unwrap_err().to_string().ends_with("io"));
    assert!(Error::err_down::<()>(Custom("x")).is_err());
}

#[test]
fn heads_come_through_the_facade() -> Result<()> {
    let mut req = RequestHeader::build(Method::GET, b"/a", Some(4))?;
    req.insert_header("Host", "a")?;
    req.append_header("X", "1".to_string())?;
    req.append_header(String::from("X"), 2_u16)?;
    assert_eq!(req.headers.get_all("x").iter().count(), 2);
    assert_eq!(req.as_owned_parts().method, Method::GET);
    let _ = "fOO".into_case_header_name();
    let mut names = vec![];
    req.map(|name, _value| {
        names.push(match name {
            HeaderNameVariant::Case(name) => name.as_slice().to_vec(),
            HeaderNameVariant::Titled(name) => name.as_bytes().to_vec(),
        });
        Ok(())
    })?;
    assert_eq!(names, [b"Host".to_vec(), b"X".to_vec(), b"X".to_vec()]);
    let mut resp = ResponseHeader::build(StatusCode::OK, None)?;
    resp.set_version(Version::HTTP_10);
    assert_eq!(resp.status, 200);
    assert!(HMap::new().is_empty());
    assert!(!is_upgrade_req(&req) && !is_upgrade_resp(&resp));
    assert!(!not_modified_filter(&req, &resp));
    to_304(&mut resp);
    assert_eq!(resp.status, StatusCode::NOT_MODIFIED);
    assert!(weak_validate_etag(b"W/\"a\"", b"\"a\""));
    assert_eq!(get_cached_date().len(), 29);
    assert_eq!(HTTP_400_RESPONSE.status, 400);
    assert_eq!(HTTP_502_RESPONSE.status, 502);
    for (code, kept) in [(400, &HTTP_400_RESPONSE), (502, &HTTP_502_RESPONSE)] {
        // What is kept is older than what is sent.
        assert!(!kept.headers.contains_key("date"), "{code}");
        assert!(
            ServerSession::generate_error(code)
                .headers
                .contains_key("date")
        );
    }
    assert_eq!(gen_error_response(418).headers["server"], &SERVER_NAME[..]);
    Ok(())
}

#[test]
fn peers_come_through_the_facade() -> Result<()> {
    let mut peer = HttpPeer::new(("127.0.0.1", 80), false, "a".to_string());
    peer.group_key = 7;
    peer.scheme = Scheme::from_tls_bool(false);
    peer.options = PeerOptions::new();
    peer.options.connection_timeout = Some(Duration::from_secs(1));
    peer.options.alpn = ALPN::new(2, 1);
    peer.options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(5),
        count: 5,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    let mut bind_to = BindTo::default();
    bind_to.addr = Some("127.0.0.1:0".parse().expect("an address"));
    bind_to.set_port_range(Some((10_000, 20_000)))?;
    bind_to.set_fallback(true);
    peer.options.bind_to = Some(bind_to);
    peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy {
        h1_upgrade: H1UpgradePolicy::Preserve,
        ..HttpUpstreamRequestPolicy::standard()
    };
    assert_eq!(peer.connection_timeout(), Some(Duration::from_secs(1)));
    assert_eq!(peer.get_alpn(), Some(&ALPN::H2H1));
    peer.proxy = Some(Proxy {
        next_hop: std::path::Path::new("/tmp/proxy.sock").into(),
        host: "a".to_string(),
        port: 443,
        headers: Default::default(),
    });
    assert_ne!(
        peer.reuse_hash(),
        BasicPeer::new("127.0.0.1:80").reuse_hash()
    );
    let by_path = HttpPeer::new_uds("/tmp/a.sock", true, "a".to_string())?;
    assert!(by_path.is_tls() && by_path.address().as_unix().is_some());
    let inet: SocketAddr = "127.0.0.1:80".parse().expect("an address");
    assert_eq!(inet.as_inet().map(|inet| inet.port()), Some(80));
    assert_eq!(BasicPeer::new_uds("/tmp/b.sock")?.sni, "");
    Ok(())
}

#[test]
fn servers_come_through_the_facade() -> Result<()> {
    let conf = ServerConf::from_yaml("---\nversion: 1\nthreads: 3\n")?;
    let opt = Opt {
        upgrade: false,
        daemon: false,
        ..Opt::default()
    };
    let mut server = Server::new_with_opt_and_conf(opt, conf);
    assert_eq!(server.configuration.threads, 3);
    assert!(server.options.is_some());
    let _phases = server.watch_execution_phase();
    let first = server.add_service(background_service(
        "a",
        crate::services::Background::default(),
    ));
    let second = server.add_services(vec![Box::new(background_service(
        "b",
        crate::services::Background::default(),
    ))]);
    second[0].add_dependency(&first);
    second[0].add_dependencies([&first]);
    assert_eq!(second[0].name(), "BG b");
    assert!(Fds::new().is_empty());

    let mut options = HttpServerOptions::default();
    options.keepalive_request_limit = Some(100);
    assert!(!options.h2c && !options.allow_connect_method_proxying);

    let mut listeners = Listeners::new();
    listeners.add_tcp("127.0.0.1:0");
    let mut socket = TcpSocketOptions::default();
    socket.so_reuseport = Some(true);
    listeners.add_tcp_with_settings("127.0.0.1:0", socket);
    listeners.add_address(ServerAddress::Tcp("127.0.0.1:0".to_string(), None));
    Ok(())
}

#[tokio::test]
async fn connectors_come_through_the_facade() {
    let mut options = ConnectorOptions::new(8);
    options.bind_to_v4 = vec!["127.0.0.1:0".parse().expect("an address")];
    let transport = TransportConnector::new(Some(options.clone()));
    let nobody = HttpPeer::new("127.0.0.1:1", false, String::new());
    assert!(transport.reused_stream(&nobody).await.is_none());
    let e = transport
        .get_stream(&nobody)
        .await
        .expect_err("nobody listens");
    assert_eq!(e.esource(), &ErrorSource::Upstream);
    let http: HttpConnector = HttpConnector::new(None);
    assert!(http.get_http_session(&nobody).await.is_err());
    assert!(
        Http1Connector::new(Some(options))
            .get_http_session(&nobody)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn sessions_come_through_the_facade() {
    let (client, server) = tokio::io::duplex(1024);
    let stream: Stream = Box::new(server);
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(5));
    let settings = HttpPersistentSettings::for_session(&session);
    let reused = ReusedHttpStream::new(Box::new(client), Some(settings));
    let (stream, settings) = reused.consume();
    settings
        .expect("given above")
        .apply_to_session(&mut session);
    assert_eq!(session.get_keepalive(), Some(5));
    drop(stream);
    assert!(HttpTask::Done.is_end());

    let slept = pingora::time::timeout(Duration::from_millis(1), std::future::pending::<()>());
    assert!(slept.await.is_err());
    pingora::time::sleep(Duration::from_millis(1)).await;
    timeout(Duration::from_secs(5), async {})
        .await
        .expect("in time");
}

#[test]
fn buffers_come_through_the_facade() {
    let buffer = b"name: value";
    let pair = KVRef::new(0, 4, 6, 5);
    assert_eq!(pair.get_name(buffer), b"name");
    assert_eq!(pair.get_value(buffer), b"value");
    assert_eq!(BufRef::new(0, 4).get(buffer), b"name");
    assert!(EMPTY_KV_REF.value().is_empty());
}
