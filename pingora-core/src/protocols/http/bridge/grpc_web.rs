//! gRPC-web on the side of the client, gRPC on that of the server (PROTOCOL-WEB of gRPC).
//!
//! Browsers see no trailers and send none, so gRPC-web puts the trailers of a response into one more
//! frame at the end of its body; with `-text` the body is base64 besides. Messages are the same.
//!
//! ```text
//!  Disabled ──init──> Init ──request is gRPC-web──> Upgrade ──response is gRPC──> Trailers ──trailers──> Done
//!                      └─────any other──> Disabled     └──────any other──> Done
//! ```
//!
//! [`GrpcWebCtx`] is the state and does heads and trailers; `Bridge`, behind the module, adds the bodies that
//! `-text` needs. Read next: `base64.rs`.

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::protocols::http::base64;

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_WEB_TEXT: &[u8] = b"application/grpc-web-text";

/// The first byte of the frame that holds the trailers.
const TRAILER_FRAME: u8 = 0x80;

/// How far the translation of one request is.
///
/// ```
/// use pingora_core::protocols::http::bridge::grpc_web::GrpcWebCtx;
/// use pingora_http::RequestHeader;
///
/// let mut req = RequestHeader::build("POST", b"/package.Service/Method", None)?;
/// req.insert_header("Content-Type", "application/grpc-web+proto")?;
///
/// let mut bridge = GrpcWebCtx::default();
/// bridge.init();
/// bridge.request_header_filter(&mut req);
/// assert_eq!(bridge, GrpcWebCtx::Upgrade);
/// assert_eq!(req.headers["content-type"], "application/grpc+proto");
/// assert_eq!(req.headers["te"], "trailers");
/// # Ok::<(), pingora_error::BError>(())
/// ```
#[derive(Default, PartialEq, Debug)]
pub enum GrpcWebCtx {
    /// Everything passes as it is.
    #[default]
    Disabled,
    /// The request is awaited.
    Init,
    /// The request was gRPC-web, the response is awaited.
    Upgrade,
    /// The response is gRPC, its trailers are awaited.
    Trailers,
    /// There is nothing left to do.
    Done,
}

impl GrpcWebCtx {
    /// Switches the translation on for the request to come.
    pub fn init(&mut self) {
        *self = GrpcWebCtx::Init;
    }

    /// Makes a gRPC request of a gRPC-web request; any other passes and ends the translation.
    ///
    /// `-text` needs the body translated too: that is for
    /// [`GrpcWebBridge`](crate::modules::http::grpc_web::GrpcWebBridge), here it is any other.
    pub fn request_header_filter(&mut self, req: &mut RequestHeader) {
        if *self == GrpcWebCtx::Init {
            self.upgrade(req, GRPC_WEB);
        }
    }

    /// Makes a gRPC-web response of a gRPC response; any other passes and ends the translation.
    pub fn response_header_filter(&mut self, resp: &mut ResponseHeader) {
        if *self == GrpcWebCtx::Upgrade {
            self.downgrade(resp, GRPC_WEB);
        }
    }

    /// Returns the frame the trailers become, with which the body ends; the map is then empty.
    ///
    /// # Errors
    /// If they are larger than a frame can be.
    pub fn response_trailer_filter(
        &mut self,
        resp_trailers: &mut HeaderMap,
    ) -> Result<Option<Bytes>> {
        if *self != GrpcWebCtx::Trailers {
            return Ok(None);
        }
        *self = GrpcWebCtx::Done;
        let mut frame = vec![TRAILER_FRAME, 0, 0, 0, 0];
        for (name, value) in resp_trailers.iter() {
            for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"] {
                frame.extend_from_slice(part);
            }
        }
        let Ok(length) = u32::try_from(frame.len() - 5) else {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "gRPC trailers too large")
                .map_err(|e: Box<Error>| e.into_up());
        };
        frame[1..5].copy_from_slice(&length.to_be_bytes());
        resp_trailers.clear();
        Ok(Some(Bytes::from(frame)))
    }

    fn upgrade(&mut self, req: &mut RequestHeader, from: &[u8]) {
        let content_type = req.fields().get(KnownName::ContentType);
        let Some(suffix) = content_type.and_then(|kind| suffix(kind, from)) else {
            *self = GrpcWebCtx::Disabled;
            return;
        };
        let grpc = [GRPC, suffix].concat();
        req.set_known(KnownName::ContentType, &grpc);
        // A gRPC server refuses a client that does not take trailers.
        req.set_known(KnownName::Te, b"trailers");
        *self = GrpcWebCtx::Upgrade;
    }

    fn downgrade(&mut self, resp: &mut ResponseHeader, to: &[u8]) {
        if resp.status().is_informational() {
            return;
        }
        let content_type = resp.fields().get(KnownName::ContentType);
        let Some(suffix) = content_type.and_then(|kind| suffix(kind, GRPC)) else {
            *self = GrpcWebCtx::Done;
            return;
        };
        let web = [to, suffix].concat();
        resp.set_known(KnownName::ContentType, &web);
        // The body becomes longer by the trailers.
        resp.remove_known(KnownName::ContentLength);
        *self = GrpcWebCtx::Trailers;
    }
}

/// Returns what follows `base` in a content type that is it, such as `+proto` or nothing.
fn suffix<'a>(content_type: &'a [u8], base: &[u8]) -> Option<&'a [u8]> {
    let (front, suffix) = content_type.trim_ascii().split_at_checked(base.len())?;
    let ends = matches!(suffix.first(), None | Some(b'+' | b';' | b' '));
    (front.eq_ignore_ascii_case(base) && ends).then_some(suffix)
}

/// The translation with bodies.
#[derive(Default)]
pub(crate) struct Bridge {
    pub(crate) ctx: GrpcWebCtx,
    /// The bodies are base64: what decodes that of the request.
    text: Option<base64::Decoder>,
}

impl Bridge {
    pub(crate) fn request_header(&mut self, req: &mut RequestHeader) {
        if self.ctx != GrpcWebCtx::Init {
            return;
        }
        let content_type = req.fields().get(KnownName::ContentType).unwrap_or_default();
        if suffix(content_type, GRPC_WEB_TEXT).is_none() {
            return self.ctx.request_header_filter(req);
        }
        self.text = Some(base64::Decoder::default());
        self.ctx.upgrade(req, GRPC_WEB_TEXT);
        // The body becomes shorter by a quarter, or by more with padding.
        if req.remove_known(KnownName::ContentLength) {
            req.set_known(KnownName::TransferEncoding, b"chunked");
        }
    }

    pub(crate) fn request_body(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(decoder) = &mut self.text else {
            return Ok(());
        };
        let mut decoded = Vec::new();
        let valid = match body {
            Some(text) => decoder.decode(text, &mut decoded).is_some(),
            None => true,
        };
        if !valid || (end && !decoder.is_between_groups()) {
            return Error::e_explain(ErrorType::HTTPStatus(400), "gRPC-web-text is not base64")
                .map_err(|e: Box<Error>| e.into_down());
        }
        if body.is_some() {
            *body = Some(Bytes::from(decoded)).filter(|decoded| !decoded.is_empty());
        }
        Ok(())
    }

    pub(crate) fn response_header(&mut self, resp: &mut ResponseHeader) {
        match self.text {
            Some(_) if self.ctx == GrpcWebCtx::Upgrade => self.ctx.downgrade(resp, GRPC_WEB_TEXT),
            _ => self.ctx.response_header_filter(resp),
        }
    }

    pub(crate) fn response_body(&mut self, body: &mut Option<Bytes>) {
        if self.text.is_some() && self.ctx == GrpcWebCtx::Trailers {
            *body = body.take().map(|bytes| encoded(&bytes));
        }
    }

    pub(crate) fn response_trailers(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        let Some(map) = trailers else {
            return Ok(None);
        };
        let frame = self.ctx.response_trailer_filter(map)?;
        if frame.is_none() {
            return Ok(None);
        }
        *trailers = None;
        Ok(match self.text {
            Some(_) => frame.map(|frame| encoded(&frame)),
            None => frame,
        })
    }
}

fn encoded(bytes: &[u8]) -> Bytes {
    let mut text = Vec::new();
    base64::encode(bytes, &mut text);
    Bytes::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(content_type: &str) -> RequestHeader {
        let mut req = RequestHeader::build("POST", b"/s/m", None).unwrap();
        req.insert_header("content-type", content_type).unwrap();
        req.insert_header("content-length", "8").unwrap();
        req
    }

    fn response(content_type: &str) -> ResponseHeader {
        let mut resp = ResponseHeader::build(200, None).unwrap();
        resp.insert_header("content-type", content_type).unwrap();
        resp
    }

    fn started() -> Bridge {
        let mut bridge = Bridge::default();
        bridge.ctx.init();
        bridge
    }

    #[test]
    fn content_types_are_translated() {
        for (web, grpc, back) in [
            (
                "application/grpc-web",
                "application/grpc",
                "application/grpc-web",
            ),
            (
                "Application/gRPC-Web+proto",
                "application/grpc+proto",
                "application/grpc-web+proto",
            ),
            (
                "application/grpc-web-text+proto",
                "application/grpc+proto",
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web+json; charset=utf-8",
                "application/grpc+json; charset=utf-8",
                "application/grpc-web+json; charset=utf-8",
            ),
        ] {
            let (mut bridge, mut req) = (started(), request(web));
            bridge.request_header(&mut req);
            assert_eq!(bridge.ctx, GrpcWebCtx::Upgrade, "{web}");
            assert_eq!(req.headers["content-type"], grpc);
            assert_eq!(req.headers["te"], "trailers");
            assert_eq!(
                req.headers.contains_key("content-length"),
                !web.contains("text")
            );
            let mut resp = response(grpc);
            resp.set_content_length(9).unwrap();
            bridge.response_header(&mut resp);
            assert_eq!(bridge.ctx, GrpcWebCtx::Trailers);
            assert_eq!(resp.headers["content-type"], back);
            assert!(!resp.headers.contains_key("content-length"));
        }
    }

    #[test]
    fn what_is_not_grpc_web_passes() {
        for other in [
            "application/grpc",
            "application/grpc-webby",
            "text/plain",
            "",
        ] {
            let (mut bridge, mut req) = (started(), request(other));
            bridge.request_header(&mut req);
            assert_eq!(bridge.ctx, GrpcWebCtx::Disabled, "{other}");
            assert!(!req.headers.contains_key("te"));
        }
        let (mut off, mut req) = (Bridge::default(), request("application/grpc-web"));
        off.request_header(&mut req);
        assert_eq!(req.headers["content-type"], "application/grpc-web");

        let (mut bridge, mut req) = (started(), request("application/grpc-web-text"));
        bridge.request_header(&mut req);
        let mut early = ResponseHeader::build(103, None).unwrap();
        bridge.response_header(&mut early);
        assert_eq!(bridge.ctx, GrpcWebCtx::Upgrade);
        let mut resp = response("text/html");
        bridge.response_header(&mut resp);
        assert_eq!(bridge.ctx, GrpcWebCtx::Done);
        let mut body = Some(Bytes::from_static(b"<p>"));
        bridge.response_body(&mut body);
        assert_eq!(body.unwrap(), "<p>");
        let mut trailers = Some(Box::new(HeaderMap::new()));
        assert_eq!(bridge.response_trailers(&mut trailers).unwrap(), None);
        assert!(trailers.is_some());
    }

    fn in_trailers(content_type: &str) -> Bridge {
        let mut bridge = started();
        bridge.request_header(&mut request(content_type));
        bridge.response_header(&mut response("application/grpc"));
        bridge
    }

    #[test]
    fn trailers_end_the_body() {
        let frame = b"\x80\0\0\0\x1egrpc-status:0\r\ngrpc-message:\r\n";
        for (content_type, text) in [
            ("application/grpc-web", false),
            ("application/grpc-web-text", true),
        ] {
            let mut bridge = in_trailers(content_type);
            let mut map = HeaderMap::new();
            map.insert("grpc-status", "0".parse().unwrap());
            map.insert("grpc-message", "".parse().unwrap());
            let mut trailers = Some(Box::new(map));
            let bytes = bridge.response_trailers(&mut trailers).unwrap().unwrap();
            let bytes = if text {
                base64::decode(&bytes).unwrap()
            } else {
                bytes.to_vec()
            };
            assert_eq!(bytes, frame);
            assert!(trailers.is_none());
            assert_eq!(bridge.ctx, GrpcWebCtx::Done);
            assert_eq!(
                bridge.response_trailers(&mut Some(Box::default())).unwrap(),
                None
            );
        }
    }

    #[test]
    fn text_is_decoded_and_encoded() {
        let mut bridge = in_trailers("application/grpc-web-text");
        // Two encodings one after the other, cut anywhere.
        let mut decoded = Vec::new();
        for piece in ["AAAAA", "AI=", "", "YWJ", "j"] {
            let mut body = Some(Bytes::from_static(piece.as_bytes()));
            bridge.request_body(&mut body, piece == "j").unwrap();
            decoded.extend(body.unwrap_or_default());
        }
        assert_eq!(decoded, b"\0\0\0\0\x02abc");
        let mut body = Some(Bytes::from_static(b"ab"));
        bridge.response_body(&mut body);
        assert_eq!(body.unwrap(), "YWI=");

        let mut none = None;
        bridge.request_body(&mut none, false).unwrap();
        bridge.response_body(&mut none);
        assert_eq!(none, None);
        for (piece, end) in [("A*==", false), ("AAA", true)] {
            let mut bridge = in_trailers("application/grpc-web-text");
            let mut body = Some(Bytes::from_static(piece.as_bytes()));
            let error = bridge.request_body(&mut body, end).unwrap_err();
            assert_eq!(error.etype(), &ErrorType::HTTPStatus(400), "{piece}");
        }
    }
}
