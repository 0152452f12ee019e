//! `bench-hyper --listen ADDR --upstream ADDR`: a reverse proxy on hyper and hyper-util.
//!
//! One current-thread runtime, the pooled client of hyper-util, bodies streamed both ways,
//! hop-by-hop fields removed, Host kept, nothing else: what an expert would write who wants a proxy
//! and no framework.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version, server};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

type Body = Either<Incoming, Empty<Bytes>>;
type Pool = Client<HttpConnector, Incoming>;

fn main() {
    let (mut listen, mut upstream) = (None, None);
    let (mut to_client, mut to_origin) = (false, false);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--listen" => listen = value.parse().ok(),
            "--upstream" => upstream = value.parse().ok(),
            "--to-client" => to_client = value == "h2",
            "--to-origin" => to_origin = value == "h2",
            _ => {}
        }
    }
    let (Some(listen), Some(upstream)) = (listen, upstream) else {
        eprintln!("usage: bench-hyper --listen ADDR --upstream ADDR");
        std::process::exit(2);
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs an epoll descriptor")
        .block_on(serve(listen, upstream, to_client, to_origin));
}

async fn serve(listen: SocketAddr, upstream: Authority, to_client: bool, to_origin: bool) {
    let listener = TcpListener::bind(listen)
        .await
        .expect("the address is free");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Pool = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(128)
        .set_host(false)
        .http2_only(to_origin)
        .build(connector);
    loop {
        let Ok((downstream, _)) = listener.accept().await else {
            continue;
        };
        let (pool, upstream) = (pool.clone(), upstream.clone());
        tokio::spawn(connection(downstream, pool, upstream, to_client));
    }
}

async fn connection(downstream: TcpStream, pool: Pool, upstream: Authority, h2: bool) {
    // A socket that cannot be tuned is about to fail anyway.
    let _ = downstream.set_nodelay(true);
    // An error in what follows is the client's going away.
    if h2 {
        // Each stream is a task of its own there.
        let service = service_fn(move |request| {
            let (pool, upstream) = (pool.clone(), upstream.clone());
            async move { forward(&pool, &upstream, request).await }
        });
        let _ = server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(downstream), service)
            .await;
        return;
    }
    let service = service_fn(|request| forward(&pool, &upstream, request));
    let _ = server::conn::http1::Builder::new()
        .pipeline_flush(true)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(downstream), service)
        .await;
}

async fn forward(
    pool: &Pool,
    upstream: &Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    remove_hop_by_hop(request.headers_mut());
    *request.version_mut() = Version::HTTP_11;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream.clone());
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are all there");
    Ok(match pool.request(request).await {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            response.map(Either::Left)
        }
        Err(_) => {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

/// Removes what concerns one connection only (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(listed) = headers.remove(CONNECTION) {
        for name in listed.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = HeaderName::try_from(name.trim()) {
                headers.remove(name);
            }
        }
    }
    for name in [
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
