//! Requests as a health check, against an origin that answers right and wrong.

use std::time::Duration;

use pingora_error::{Error, ErrorType};
use pingora_load_balancing::health_check::{HealthCheck, HttpHealthCheck};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::at;

const SHORT: Duration = Duration::from_millis(50);

fn check() -> HttpHealthCheck<()> {
    HttpHealthCheck::new("app.example", false)
}

#[tokio::test]
async fn wants_200() {
    let status = |target: &str| target[1..].parse().unwrap();
    let origin = Origin::start(move |request| Reply::status(status(&request.target), "body")).await;
    let outcome = async |status: u16| {
        let mut check = check();
        check.req.set_uri(format!("/{status}").parse().unwrap());
        check
            .check(&at(origin.addr()))
            .await
            .map_err(|error| error.etype().clone())
    };
    assert_eq!(outcome(200).await, Ok(()));
    for status in [201, 301, 404, 500, 503] {
        let expected = ErrorType::CustomCode("non 200 code", status);
        assert_eq!(outcome(status).await, Err(expected));
    }
}

#[tokio::test]
async fn what_is_sent() {
    let origin = Origin::start(|_| Reply::ok("")).await;
    let mut check = check();
    check.check(&at(origin.addr())).await.unwrap();
    check.req.set_uri("/healthz?deep=1".parse().unwrap());
    check.req.insert_header("X-Probe", "yes").unwrap();
    check.check(&at(origin.addr())).await.unwrap();
    let requests = origin.requests();
    let sent: Vec<_> = requests
        .iter()
        .map(|r| (&r.method[..], &r.target[..], r.header("x-probe")))
        .collect();
    assert_eq!(
        sent,
        [("GET", "/", None), ("GET", "/healthz?deep=1", Some("yes"))]
    );
    assert!(
        requests
            .iter()
            .all(|request| request.header("host") == Some("app.example"))
    );
    assert_eq!(origin.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn a_validator_judges() {
    let origin = Origin::start(|_| Reply::with_fields(503, &[("X-State", "draining")], "")).await;
    let mut check = check();
    check.validator = Some(Box::new(|response| match response.headers.get("x-state") {
        Some(state) if state == "draining" => Ok(()),
        _ => Error::e_explain(ErrorType::InternalError, "not draining"),
    }));
    check.check(&at(origin.addr())).await.unwrap();
    check.validator = Some(Box::new(|_| Error::err(ErrorType::InternalError)));
    check.check(&at(origin.addr())).await.unwrap_err();
}

#[tokio::test]
async fn connections_are_reused_on_demand() {
    let origin = Origin::start(|_| Reply::ok("body")).await;
    let mut check = check();
    for _ in 0..3 {
        check.check(&at(origin.addr())).await.unwrap();
    }
    assert_eq!(origin.connections(), 3);
    origin.wait_for_closed(3).await;
    check.reuse_connection = true;
    for _ in 0..3 {
        check.check(&at(origin.addr())).await.unwrap();
    }
    assert_eq!(origin.connections(), 4);
}

#[tokio::test]
async fn a_stale_connection_is_no_failure() {
    // Each connection answers once and breaks at the second request: the pool cannot know.
    let origin = Origin::start(|request| match request.index {
        1 => Reply::ok(""),
        _ => Reply::nothing().reset(),
    })
    .await;
    let mut check = check();
    check.reuse_connection = true;
    for _ in 0..4 {
        check.check(&at(origin.addr())).await.unwrap();
    }
    // A new connection that fails is one.
    let broken = Origin::start(|_| Reply::nothing().reset()).await;
    check.check(&at(broken.addr())).await.unwrap_err();
    assert_eq!(broken.connections(), 1);
}

#[tokio::test]
async fn the_port_can_be_another() {
    let origin = Origin::start(|_| Reply::ok("")).await;
    let mut check = check();
    let elsewhere = at(raw::refused_addr().await);
    check.check(&elsewhere).await.unwrap_err();
    check.port_override = Some(origin.addr().port());
    check.check(&elsewhere).await.unwrap();
}

#[tokio::test]
async fn bodies() {
    let large = vec![b'x'; 100_000];
    let half = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n",
        &large[..],
    ]
    .concat();
    let replies: Vec<(Reply, bool)> = vec![
        (Reply::chunked(["one", "two"]), true),
        (Reply::ok(&large), true),
        // The rest never comes, but enough was read to know that nobody needs it.
        (Reply::raw(half), true),
        (
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthree").close(),
            false,
        ),
        (
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").close(),
            false,
        ),
    ];
    for (reply, healthy) in replies {
        let shown = format!("{reply:.80?}");
        let origin = Origin::start(move |_| reply.clone()).await;
        let mut check = check();
        check.reuse_connection = true;
        let outcome = check.check(&at(origin.addr())).await;
        assert_eq!(outcome.is_ok(), healthy, "{shown}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_unread_body_is_not_reused() {
    let origin = Origin::start(|_| Reply::ok(vec![b'x'; 100_000])).await;
    let mut check = check();
    check.reuse_connection = true;
    for _ in 0..2 {
        check.check(&at(origin.addr())).await.unwrap();
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn garbage() {
    for reply in [
        "",
        "SSH-2.0-server\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
    ] {
        let origin = Origin::start(move |_| Reply::raw(reply).close()).await;
        check().check(&at(origin.addr())).await.unwrap_err();
    }
}

#[tokio::test]
async fn silence_times_out() {
    let origin = Origin::start(|_| Reply::nothing()).await;
    let mut check = check();
    check.peer_template.options.read_timeout = Some(SHORT);
    let error = check.check(&at(origin.addr())).await.unwrap_err();
    assert_eq!(*error.etype(), ErrorType::ReadTimedout);
}

#[tokio::test]
async fn a_trickle_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let _ = stream.read(&mut [0; 1024]).await;
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
        // Each byte is in time for the read timeout.
        while stream.write_all(next).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
            next = b"x";
        }
    });
    let mut check = check();
    check.peer_template.options.read_timeout = Some(SHORT);
    let error = check.check(&at(addr)).await.unwrap_err();
    assert_eq!(*error.etype(), ErrorType::ReadTimedout);
    server.await.unwrap();
}

#[test]
fn thresholds_and_names() {
    let mut check = HttpHealthCheck::new("app.example", true);
    assert_eq!(check.peer_template.sni, "app.example");
    assert!(check.peer_template.is_tls() && !check.reuse_connection);
    let options = &check.peer_template.options;
    let second = Some(Duration::from_secs(1));
    assert_eq!(
        (options.connection_timeout, options.read_timeout),
        (second, second)
    );
    assert_eq!(
        [true, false].map(|success| check.health_threshold(success)),
        [1, 1]
    );
    (check.consecutive_success, check.consecutive_failure) = (2, 3);
    assert_eq!(
        [true, false].map(|success| check.health_threshold(success)),
        [2, 3]
    );
    let backend = at("10.0.0.1:80".parse().unwrap());
    assert!(check.backend_summary(&backend).contains("10.0.0.1:80"));
    check.set_backend_summary(|backend| format!("server {}", backend.addr));
    assert_eq!(check.backend_summary(&backend), "server 10.0.0.1:80");
}
