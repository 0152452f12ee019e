//! An HTTP client: two requests, the second on the connection of the first.
//!
//! `cargo run --release --example client [http://HOST:PORT/PATH]`
//!
//! Without an argument it asks `http://127.0.0.1:6145/`, where the example `server` listens.

use pingora::connectors::http::Connector;
use pingora::prelude::*;
use pingora::protocols::http::client::HttpSession;

/// How much of a body is read.
const MAX_BODY: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let url = std::env::args()
        .nth(1)
        .unwrap_or("http://127.0.0.1:6145/".to_string());
    match get_twice(&url).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{url}: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn get_twice(url: &str) -> Result<()> {
    let uri: http::Uri = url.parse().or_err(InternalError, "not a URL")?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Error::e_explain(InternalError, "expected http://HOST:PORT/PATH");
    };
    let port = authority.port_u16().unwrap_or(80);
    // A host name is looked up when the connection is made.
    let peer = HttpPeer::new((uri.host().unwrap_or_default(), port), false, String::new());

    // Keeps idle connections; one per program is enough.
    let connector = Connector::<()>::new(None);
    for _ in 0..2 {
        let (mut session, reused) = connector.get_http_session(&peer).await?;
        let mut request = Box::new(RequestHeader::build(
            "GET",
            uri.path_and_query()
                .map_or("/", |path| path.as_str())
                .as_bytes(),
            None,
        )?);
        request.insert_header("Host", authority.as_str())?;
        let body = exchange(&mut session, request).await?;
        println!("reused connection: {reused}");
        if let Some(response) = session.response_header() {
            println!("{} {:?}", response.status, response.headers);
        }
        println!("{}", String::from_utf8_lossy(&body));
        // A connection is kept if its response was read to the end.
        connector.release_http_session(session, &peer, None).await;
    }
    Ok(())
}

/// Sends a request without a body; returns the body of the response.
async fn exchange(session: &mut HttpSession, request: Box<RequestHeader>) -> Result<Vec<u8>> {
    session.write_request_header(request).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let mut body = Vec::new();
    while let Some(piece) = session.read_response_body().await? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_BODY {
            return Error::e_explain(InternalError, "the body is too large for this example");
        }
    }
    Ok(body)
}
