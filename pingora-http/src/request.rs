//! What can be done with the head of a request. Read next: `request/target.rs`, `head.rs`, `fields.rs`.

mod target;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes};
use http::header::AsHeaderName;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora_error::Result;

use crate::RequestHeader;
use crate::case_header_name::{CaseHeaderName, HeaderNameVariant, IntoCaseHeaderName};
use crate::fields::{Field, FieldSpan, Fields, H2Fields, KnownName, ParsedFields};
use crate::head::{self, head_methods};
use crate::value::header_value_from_slice;
use target::{Target, is_valid_target, path_of};

/// Where the parts of the target of a request of HTTP/2 are, as
/// [`H2Fields::put`] has returned it; see [`RequestHeader::from_h2`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct H2Target {
    /// The value of `:scheme`.
    pub scheme: Option<(u32, u32)>,
    /// The value of `:authority`.
    pub authority: Option<(u32, u32)>,
    /// The value of `:path`.
    pub path: Option<(u32, u32)>,
}

#[derive(Clone)]
pub(crate) struct RequestLine {
    method: Method,
    target: Target,
    version: Version,
}

impl RequestLine {
    fn received(method: Method, target: (u32, u32), version: Version, head: &[u8]) -> Self {
        let target_end = target.0 as usize + target.1 as usize;
        assert!(target_end <= head.len(), "the target lies in the head");
        RequestLine {
            method,
            target: Target::Received(target.0, target.1),
            version,
        }
    }
}

// === impl RequestHeader ===

impl RequestHeader {
    /// Returns the head of an HTTP/1.1 request without fields that keeps the case of names.
    ///
    /// `path` is the request target as it will be written; it need not be UTF-8, and an empty one
    /// becomes `/`. `size_hint` is the number of fields to make room for, 8 by default.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the method is no token or the path holds spaces or control
    /// characters or more than 65,534 bytes.
    pub fn build(
        method: impl TryInto<Method>,
        path: &[u8],
        size_hint: Option<usize>,
    ) -> Result<Self> {
        Self::build_with(
            method,
            path,
            Fields::new(true, size_hint.unwrap_or(DEFAULT_FIELDS)),
        )
    }

    /// Returns the head of a request that writes its names in Title-Case on HTTP/1; the rest is as
    /// in [`build`](Self::build). For requests that go to or came from HTTP/2.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_no_case(
        method: impl TryInto<Method>,
        path: &[u8],
        size_hint: Option<usize>,
    ) -> Result<Self> {
        Self::build_with(
            method,
            path,
            Fields::new(false, size_hint.unwrap_or(DEFAULT_FIELDS)),
        )
    }

    /// Returns the head a parser found in `head`, whose bytes it shares.
    ///
    /// `target` is (start, length) of the request target in `head`. Nothing is checked: the parser
    /// has made sure that names are tokens of at most 65,535 bytes, that values hold no control
    /// bytes, and that targets hold none and no space. Targets over 65,534 bytes are cut in `uri`
    /// (not in [`raw_path`](Self::raw_path)); refuse them.
    ///
    /// # Panics
    /// If a span is not inside `head` or a name is too long: mistakes of the parser.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Method, Version};
    /// use pingora_http::{RequestHeader, fields::FieldSpan};
    ///
    /// let head = Bytes::from_static(b"GET /x HTTP/1.1\r\nhOst: a\r\n\r\n");
    /// let host = FieldSpan { name: (17, 4), value: (23, 1) };
    /// let fields = [host].into_iter();
    /// let req = RequestHeader::from_received(Method::GET, (4, 2), Version::HTTP_11, head, fields);
    /// assert_eq!(req.raw_path(), b"/x");
    /// assert_eq!(req.headers["host"], "a");
    /// ```
    pub fn from_received(
        method: Method,
        target: (u32, u32),
        version: Version,
        head: Bytes,
        fields: impl Iterator<Item = FieldSpan>,
    ) -> Self {
        let line = RequestLine::received(method, target, version, &head);
        Self::new(line, Fields::from_received(head, fields))
    }

    /// Returns the head a parser has found in `head`, as [`from_received`](Self::from_received)
    /// does, of fields the parser has looked at already.
    ///
    /// # Panics
    /// If the target or a field is not inside `head`: a mistake of the parser.
    pub fn from_parsed(
        method: Method,
        target: (u32, u32),
        version: Version,
        head: Bytes,
        fields: ParsedFields,
    ) -> Self {
        let line = RequestLine::received(method, target, version, &head);
        Self::new(line, Fields::from_parsed(head, fields))
    }

    /// Sets the method.
    pub fn set_method(&mut self, method: Method) {
        let form_changes = (self.line.method == Method::CONNECT) != (method == Method::CONNECT);
        self.line.method = method.clone();
        if let Some(parts) = self.parts.get_mut() {
            parts.method = method;
        }
        if form_changes {
            self.renew_uri();
        }
    }

    /// Sets the target to a `Uri`: what is written is its path and query, or its authority if it
    /// has no path.
    pub fn set_uri(&mut self, uri: Uri) {
        if let Some(parts) = self.parts.get_mut() {
            parts.uri = uri.clone();
        }
        self.line.target = Target::Uri(Arc::new(uri));
    }

    /// Sets the target to these bytes, which need not be UTF-8; an empty path becomes `/`.
    ///
    /// # Errors
    /// `InvalidHTTPHeader` if the path holds spaces or control characters or more than 65,534
    /// bytes. The head is then unchanged.
    pub fn set_raw_path(&mut self, path: &[u8]) -> Result<()> {
        self.line.target = raw_target(path)?;
        self.renew_uri();
        Ok(())
    }

    /// Sets the version.
    pub fn set_version(&mut self, version: Version) {
        self.line.version = version;
        if let Some(parts) = self.parts.get_mut() {
            parts.version = version;
        }
    }

    /// Sets whether HTTP/2 ends the stream with this head when the request has no body, true by
    /// default. False leaves it to an empty DATA frame, which some servers insist on.
    pub fn set_send_end_stream(&mut self, send_end_stream: bool) {
        self.send_end_stream = send_end_stream;
    }

    /// Returns what [`set_send_end_stream`](Self::set_send_end_stream) set; `None` if the version
    /// is not HTTP/2, where it means nothing.
    pub fn send_end_stream(&self) -> Option<bool> {
        (self.line.version == Version::HTTP_2).then_some(self.send_end_stream)
    }

    /// Returns the method without building `Parts`.
    pub fn method(&self) -> &Method {
        &self.line.method
    }

    /// Returns the version without building `Parts`.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Returns the request target byte for byte as received or given.
    pub fn raw_path(&self) -> &[u8] {
        self.line.target.bytes(self.fields.received())
    }

    /// Returns the authority in the target, without building `Parts`: requests of HTTP/2 and those
    /// in absolute-form have one.
    pub fn target_authority(&self) -> Option<&[u8]> {
        self.line.target.authority(self.fields.received())
    }

    /// Returns whether the target is UTF-8. If not, `uri` holds it percent-encoded.
    pub fn raw_path_is_utf8(&self) -> bool {
        std::str::from_utf8(self.raw_path()).is_ok()
    }

    /// Returns what follows the last dot in the last segment of the path, such as `css` of
    /// `/a/b.css?x`. `None` if there is no path, no dot or nothing after it.
    pub fn uri_file_extension(&self) -> Option<&str> {
        let path = path_of(self.raw_path());
        let (_, file) = path.split_at(path.iter().rposition(|&byte| byte == b'/')? + 1);
        let dot = file.iter().rposition(|&byte| byte == b'.')?;
        std::str::from_utf8(&file[dot + 1..])
            .ok()
            .filter(|extension| !extension.is_empty())
    }

    /// Returns the head of a request received with HTTP/2; `target` points into `fields`.
    ///
    /// The caller has checked that all of it is valid. An example is with
    /// [`H2Fields`].
    ///
    /// # Panics
    /// If a part of the target lies outside of `fields`.
    pub fn from_h2(method: Method, target: H2Target, fields: H2Fields) -> Self {
        let parts = [target.scheme, target.authority, target.path];
        let lies_in = |(start, len)| start as usize + len as usize <= fields.bytes_len();
        assert!(
            parts.into_iter().flatten().all(lies_in),
            "the target lies in what was received"
        );
        let line = RequestLine {
            method,
            target: Target::H2(target),
            version: Version::HTTP_2,
        };
        Self::new(line, Fields::from(fields))
    }

    fn build_with(method: impl TryInto<Method>, path: &[u8], fields: Fields) -> Result<Self> {
        let method = method
            .try_into()
            .or_else(|_| head::invalid("invalid method"))?;
        let target = raw_target(path)?;
        Ok(Self::new(
            RequestLine {
                method,
                target,
                version: Version::HTTP_11,
            },
            fields,
        ))
    }

    fn new(line: RequestLine, fields: Fields) -> Self {
        Self {
            line,
            fields,
            parts: OnceLock::new(),
            user_data: Extensions::new(),
            send_end_stream: true,
        }
    }

    /// Makes the `Uri` of built `Parts` anew.
    fn renew_uri(&mut self) {
        if self.parts.get().is_none() {
            return;
        }
        let uri = self.uri_of_target();
        if let Some(parts) = self.parts.get_mut() {
            parts.uri = uri;
        }
    }

    /// Few connections to servers remember fields of many requests: it does not matter where they lie.
    fn map_to_take(&self) -> HeaderMap {
        self.fields.to_map()
    }

    fn parts_with(&self, headers: HeaderMap) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.line.method.clone();
        parts.uri = self.uri_of_target();
        parts.version = self.line.version;
        parts.headers = headers;
        parts.extensions = self.user_data.clone();
        parts
    }

    fn uri_of_target(&self) -> Uri {
        let connect = self.line.method == Method::CONNECT;
        self.line.target.uri(self.fields.received(), connect)
    }
}

head_methods!(
    RequestHeader,
    Parts,
    "let mut head = pingora_http::RequestHeader::build(\"GET\", b\"/\", None)?;"
);

impl Clone for RequestHeader {
    fn clone(&self) -> Self {
        Self {
            line: self.line.clone(),
            fields: self.fields.clone(),
            parts: OnceLock::new(),
            user_data: self.current_extensions().clone(),
            send_end_stream: self.send_end_stream,
        }
    }
}

impl From<Parts> for RequestHeader {
    fn from(parts: Parts) -> RequestHeader {
        let line = RequestLine {
            method: parts.method.clone(),
            target: Target::Uri(Arc::new(parts.uri.clone())),
            version: parts.version,
        };
        let mut head = Self::new(line, Fields::from_map(&parts.headers));
        head.parts = OnceLock::from(Box::new(parts));
        head
    }
}

/// Shows everything but credentials and values marked sensitive.
impl fmt::Debug for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHeader")
            .field("method", &self.line.method)
            .field(
                "target",
                &format_args!("\"{}\"", self.raw_path().escape_ascii()),
            )
            .field("version", &self.line.version)
            .field("fields", &self.fields)
            .finish()
    }
}

/// Returns the target of a path given by a user.
fn raw_target(path: &[u8]) -> Result<Target> {
    match path {
        b"" | b"/" => Ok(Target::Raw(Bytes::from_static(b"/"))),
        _ if is_valid_target(path) => Ok(Target::Raw(Bytes::copy_from_slice(path))),
        _ => head::invalid("invalid request target"),
    }
}

/// Room for fields when a user gives no hint.
const DEFAULT_FIELDS: usize = 8;

#[cfg(test)]
mod tests;
