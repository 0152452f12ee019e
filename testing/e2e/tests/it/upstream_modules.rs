//! Modules on the side of the upstream: what they change, hooks and clients get changed.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, HttpModules, Module};
use pingora::prelude::*;
use pingora_e2e::harness::{self, peer};
use pingora_test_support::client::Client;
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;
use tokio::sync::mpsc;

/// Makes bodies upper case, ends them with `!`, and turns trailers into the end of the body.
#[derive(Default)]
struct Shout {
    on: bool,
    heads: u32,
}

impl HttpModuleBuilder for Shout {
    fn init(&self) -> Module {
        Box::new(Shout::default())
    }
}

#[async_trait]
impl HttpModule for Shout {
    async fn response_header_filter(&mut self, resp: &mut ResponseHeader, _: bool) -> Result<()> {
        if self.on {
            resp.remove_header("content-length");
            self.heads += 1;
            resp.insert_header("X-Module", self.heads.to_string())?;
        }
        Ok(())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, _: bool) -> Result<()> {
        if let Some(data) = body.as_mut().filter(|_| self.on) {
            *data = data.to_ascii_uppercase().into();
        }
        Ok(())
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok(self.on.then(|| Bytes::from_static(b"!")))
    }

    fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        if !self.on {
            return Ok(None);
        }
        let trailers = trailers.take();
        Ok(trailers.map(|t| format!("{} trailers", t.len()).into()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// What the hook of the client's side saw.
#[derive(Default)]
struct Seen {
    module: bool,
    body: Vec<u8>,
    ends: usize,
}

struct Shouting(SocketAddr, mpsc::UnboundedSender<Seen>);

#[async_trait]
impl ProxyHttp for Shouting {
    type CTX = Seen;

    fn new_ctx(&self) -> Seen {
        Seen::default()
    }

    fn init_upstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(Shout::default()));
    }

    async fn adjust_upstream_modules(
        &self,
        session: &mut Session,
        resp: &ResponseHeader,
        _end: bool,
        _ctx: &mut Seen,
    ) -> Result<()> {
        let module = session.upstream_modules_ctx.get_mut::<Shout>().unwrap();
        module.on = !resp.headers.contains_key("x-quiet");
        Ok(())
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        resp: &mut ResponseHeader,
        ctx: &mut Seen,
    ) -> Result<()> {
        if resp.status == 503 {
            let mut error = Error::explain(ErrorType::HTTPStatus(503), "another may answer");
            error.set_retry(true);
            return Err(error);
        }
        ctx.module = resp.headers.contains_key("x-module");
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Seen,
    ) -> Result<Option<Duration>> {
        ctx.body
            .extend_from_slice(body.as_deref().unwrap_or_default());
        ctx.ends += usize::from(end);
        Ok(None)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Seen) -> Result<Box<HttpPeer>> {
        Ok(peer(self.0))
    }

    async fn logging(&self, _: &mut Session, _: Option<&Error>, ctx: &mut Seen) {
        self.1.send(std::mem::take(ctx)).unwrap();
    }
}

#[test]
fn hooks_and_clients_get_what_modules_made() {
    let trailers =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nA: b\r\n\r\n";
    let quiet = [("X-Quiet", "")];
    let cases = [
        (Reply::chunked(["ab", "cd"]), "ABCD!", true),
        (Reply::ok("ab"), "AB!", true),
        (Reply::ok(""), "!", true),
        (Reply::raw(trailers), "AB1 trailers", true),
        (Reply::with_fields(200, &quiet, "ab"), "ab", false),
    ];
    harness::run(async {
        for (reply, expected, module) in cases {
            let origin = Origin::start(move |_| reply.clone()).await;
            let (seen, mut logged) = mpsc::unbounded_channel();
            let proxy = harness::proxy(Shouting(origin.addr(), seen)).await;
            let response = Client::connect(proxy.addr()).await.get("/").await;
            assert_eq!(response.text(), expected);
            assert_eq!(response.header("x-module").is_some(), module);
            let seen = within("the request is logged", logged.recv())
                .await
                .unwrap();
            assert_eq!(seen.body, expected.as_bytes());
            assert_eq!((seen.module, seen.ends), (module, 1));
        }
    });
}

#[test]
fn the_response_of_a_second_try_finds_new_modules() {
    harness::run(async {
        let origin = Origin::start(|request| match request.index {
            1 => Reply::status(503, "busy"),
            _ => Reply::ok("ab"),
        })
        .await;
        let (seen, _logged) = mpsc::unbounded_channel();
        let proxy = harness::proxy(Shouting(origin.addr(), seen)).await;
        let response = Client::connect(proxy.addr()).await.get("/").await;
        assert_eq!((response.status, response.text()), (200, "AB!"));
        assert_eq!(response.header("x-module"), Some("1"));
    });
}
