//! What is done with the body of one response.
//!
//! ```text
//!  no Body ──request_filter──> no Body ──response_header_filter──> Body ──restart──> no Body
//!  settings may change         the client is known                 coded, decoded, or as it is
//! ```
//!
//! A response is coded if it has content of a kind that becomes smaller, and in the coding that the
//! client likes best; it is decoded if it comes in a coding that the client does not take. Levels of 0
//! and switches that are off, the default, leave everything alone and cost nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use log::warn;
use pingora_error::Result;
use pingora_http::fields::KnownName;
use pingora_http::{RequestHeader, ResponseHeader};
use strum::EnumCount;

use super::accept::{Accepted, dictionary_hash};
use super::{Algorithm, DecompressionLimits, DictionaryData, Encode, headers};
use crate::protocols::http::HttpTask;

/// Content with fewer bytes is sent as it is: the frame of a coding takes up to twenty itself.
const DEFAULT_MIN_SIZE: u64 = 64;

/// Codes or decodes the body of one response.
///
/// ```
/// use bytes::Bytes;
/// use pingora_core::protocols::http::compression::ResponseCompressionCtx;
/// use pingora_http::{RequestHeader, ResponseHeader};
///
/// let mut ctx = ResponseCompressionCtx::new(6, false, false);
/// let mut req = RequestHeader::build("GET", b"/", None)?;
/// req.insert_header("Accept-Encoding", "gzip, deflate")?;
/// ctx.request_filter(&req);
///
/// let mut resp = ResponseHeader::build(200, None)?;
/// resp.insert_header("Content-Type", "text/plain")?;
/// ctx.response_header_filter(&mut resp, false);
/// assert_eq!(resp.headers["content-encoding"], "gzip");
///
/// let body = Bytes::from(vec![b'a'; 1000]);
/// let coded = ctx.response_body_filter(Some(&body), true).expect("it is coded");
/// assert!(coded.len() < 100);
/// # Ok::<(), pingora_error::BError>(())
/// ```
#[derive(Default)]
pub struct ResponseCompressionCtx {
    /// What decides about the head, kept for the next response if this one is given up; none until
    /// something is set, as in most requests.
    head: Option<Box<Head>>,
    /// The body of the response, once its head has passed.
    body: Option<Body>,
}

struct Head {
    levels: [u32; Algorithm::COUNT],
    decompress: [bool; Algorithm::COUNT],
    preserve_etag: [bool; Algorithm::COUNT],
    min_size: u64,
    limits: DecompressionLimits,
    dictionary: Option<Box<DictionaryData>>,
    accepted: Accepted,
    is_head_request: bool,
    is_connect: bool,
    /// The hash of the dictionary the client has.
    available: Option<Box<[u8; 32]>>,
    /// [`Head::make_codec`], once something was switched on.
    make_codec: Option<MakeCodec>,
}

/// Makes what does an action to a body; the last argument is whether each piece is flushed.
///
/// It is reached by this pointer only, which only the settings set, so that a program that switches nothing
/// on has no use for the libraries of the codings: the linker leaves their megabytes out.
type MakeCodec = fn(&Head, Action, bool) -> Option<Box<dyn Encode + Send + Sync>>;

#[derive(Default)]
struct Body {
    codec: Option<Box<dyn Encode + Send + Sync>>,
    ended: bool,
}

/// What to do with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Nothing,
    Compress(Algorithm),
    Decompress(Algorithm),
}

// === impl ResponseCompressionCtx ===

impl ResponseCompressionCtx {
    /// Returns a context with these settings for all codings.
    ///
    /// Level 0 does not compress. `preserve_etag` keeps strong entity tags, which otherwise become weak when
    /// the body changes.
    pub fn new(compression_level: u32, decompress_enable: bool, preserve_etag: bool) -> Self {
        let mut ctx = Self::default();
        ctx.adjust_level(compression_level);
        ctx.adjust_decompression(decompress_enable);
        ctx.adjust_preserve_etag(preserve_etag);
        ctx
    }

    /// Forgets the response that has begun: another comes in its place. The settings stay.
    pub fn restart(&mut self) {
        self.body = None;
    }

    /// Sets the level of all codings; no effect once the head of the response has passed.
    pub fn adjust_level(&mut self, new_level: u32) {
        self.switches(|head| head.levels = [new_level; Algorithm::COUNT]);
    }

    /// Sets the level of one coding; no effect once the head of the response has passed.
    pub fn adjust_algorithm_level(&mut self, algorithm: Algorithm, new_level: u32) {
        self.switches(|head| head.levels[algorithm.index()] = new_level);
    }

    /// Sets whether responses are decompressed; no effect once the head of the response has passed.
    pub fn adjust_decompression(&mut self, enabled: bool) {
        self.switches(|head| head.decompress = [enabled; Algorithm::COUNT]);
    }

    /// Sets whether this coding is decompressed; no effect once the head of the response has passed.
    pub fn adjust_algorithm_decompression(&mut self, algorithm: Algorithm, enabled: bool) {
        self.switches(|head| head.decompress[algorithm.index()] = enabled);
    }

    /// Sets whether strong entity tags are kept; no effect once the head of the response has passed.
    pub fn adjust_preserve_etag(&mut self, enabled: bool) {
        self.settings(|head| head.preserve_etag = [enabled; Algorithm::COUNT]);
    }

    /// Sets whether strong entity tags are kept when this coding is put on or taken off; no effect once
    /// the head of the response has passed.
    pub fn adjust_algorithm_preserve_etag(&mut self, algorithm: Algorithm, enabled: bool) {
        self.settings(|head| head.preserve_etag[algorithm.index()] = enabled);
    }

    /// Sets how many bytes content must have at least to be compressed, if its length is known.
    pub fn set_min_size(&mut self, bytes: u64) {
        self.settings(|head| head.min_size = bytes);
    }

    /// Sets how far a body may grow when it is decompressed.
    pub fn set_decompression_limits(&mut self, limits: DecompressionLimits) {
        self.settings(|head| head.limits = limits);
    }

    /// Sets the dictionary that `dcb` and `dcz` use for clients that say they have it.
    ///
    /// `dictionary_hash` is the SHA-256 of the bytes. Which dictionary fits a request is for the
    /// application to know: RFC 9842 section 2.2.
    pub fn set_dictionary(&mut self, dictionary_bytes: Bytes, dictionary_hash: [u8; 32]) {
        let dictionary = DictionaryData {
            bytes: dictionary_bytes,
            hash: dictionary_hash,
        };
        self.settings(|head| head.dictionary = Some(Box::new(dictionary)));
    }

    /// Removes the dictionary.
    pub fn clear_dictionary(&mut self) {
        self.settings(|head| head.dictionary = None);
    }

    /// Returns whether there is a dictionary for the response to come.
    pub fn has_dictionary(&self) -> bool {
        let head = self.head.as_ref();
        self.is_header_phase() && head.is_some_and(|head| head.dictionary.is_some())
    }

    /// Returns whether a body may be changed: before the response by the settings, then in fact.
    pub fn is_enabled(&self) -> bool {
        match &self.body {
            None => self.head.as_ref().is_some_and(|head| head.is_enabled()),
            Some(body) => body.codec.is_some(),
        }
    }

    /// Returns whether the head of the response has not passed yet.
    pub fn is_header_phase(&self) -> bool {
        self.body.is_none()
    }

    /// Returns the coding put on or taken off, the bytes that went in and came out, and the time it took.
    pub fn get_info(&self) -> Option<(&'static str, usize, usize, Duration)> {
        let codec = self.body.as_ref()?.codec.as_ref()?;
        Some(codec.stat())
    }

    /// Looks at what the client takes.
    pub fn request_filter(&mut self, req: &RequestHeader) {
        if !self.is_header_phase() || !self.is_enabled() {
            return;
        }
        let Some(head) = &mut self.head else {
            return;
        };
        head.is_head_request = req.method() == Method::HEAD;
        head.is_connect = *req.method() == Method::CONNECT;
        head.accepted = Accepted::parse(req.fields().get_all(KnownName::AcceptEncoding));
        let available = req.fields().get_by_name(b"available-dictionary");
        head.available = available.and_then(dictionary_hash).map(Box::new);
    }

    /// Returns whether the body of this response would be decompressed.
    pub fn will_decompress(&self, resp: &ResponseHeader) -> bool {
        let action = self.head.as_ref().map(|head| head.action(resp));
        self.is_header_phase() && matches!(action, Some(Action::Decompress(_)))
    }

    /// Decides about the body and changes the head accordingly; `end` is a response without a body.
    ///
    /// Heads of interim responses (1xx) pass.
    pub fn response_header_filter(&mut self, resp: &mut ResponseHeader, end: bool) {
        if !self.is_header_phase() {
            return;
        }
        if resp.status().is_informational() && resp.status() != 101 {
            return;
        }
        let head = self.head.as_ref().filter(|head| head.is_enabled());
        let codec = head.and_then(|head| head.response(resp, end));
        self.body = Some(Body { codec, ended: end });
    }

    /// Returns what is sent in place of this piece of the body, `None` if that is the piece itself.
    ///
    /// A body that cannot be coded ends there, with a warning in the log;
    /// [`try_response_body_filter`](Self::try_response_body_filter) returns the error.
    pub fn response_body_filter(&mut self, data: Option<&Bytes>, end: bool) -> Option<Bytes> {
        match self.try_response_body_filter(data, end) {
            Ok(piece) => piece,
            Err(e) => {
                warn!("response body cut off: {e}");
                Some(Bytes::new())
            }
        }
    }

    /// Returns what is sent in place of this piece of the body, `None` if that is the piece itself.
    ///
    /// # Errors
    /// [`COMPRESSION_ERROR`](super::COMPRESSION_ERROR) if the body is not in the coding its head says, or
    /// grows past the [limits](DecompressionLimits). What follows is empty.
    pub fn try_response_body_filter(
        &mut self,
        data: Option<&Bytes>,
        end: bool,
    ) -> Result<Option<Bytes>> {
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        let Some(codec) = &mut body.codec else {
            return Ok(None);
        };
        if body.ended {
            return Ok(Some(Bytes::new()));
        }
        let coded = codec.encode(data.map_or(&[][..], |data| data), end);
        body.ended = end || coded.is_err();
        coded.map(Some)
    }

    /// Returns what still has to be sent of a body that ended without a last piece.
    ///
    /// # Errors
    /// [`COMPRESSION_ERROR`](super::COMPRESSION_ERROR) if the body breaks off.
    pub fn finish(&mut self) -> Result<Option<Bytes>> {
        let rest = self.try_response_body_filter(None, true)?;
        Ok(rest.filter(|rest| !rest.is_empty()))
    }

    /// Passes one piece of a response through.
    ///
    /// An end that still has bytes to send becomes a last piece of the body; trailers are then left out, for
    /// one task has no room for both. A body that cannot be coded becomes a failure.
    pub fn response_filter(&mut self, t: &mut HttpTask) {
        let coded = match t {
            HttpTask::Header(resp, end) => {
                self.response_header_filter(resp, *end);
                return;
            }
            HttpTask::Body(data, end) => {
                let piece = self.try_response_body_filter(data.as_ref(), *end);
                piece.map(|piece| piece.map(|piece| HttpTask::Body(some(piece), *end)))
            }
            HttpTask::Trailer(_) | HttpTask::Done => {
                let rest = self.finish();
                rest.map(|rest| rest.map(|rest| HttpTask::Body(Some(rest), true)))
            }
            HttpTask::UpgradedBody(..) | HttpTask::Failed(_) => return,
        };
        match coded {
            Ok(Some(task)) => *t = task,
            Ok(None) => {}
            Err(e) => *t = HttpTask::Failed(e.into_up()),
        }
    }

    fn switches(&mut self, change: impl FnOnce(&mut Head)) {
        self.settings(|head| {
            head.make_codec = Some(Head::make_codec);
            change(head);
        });
    }

    fn settings(&mut self, change: impl FnOnce(&mut Head)) {
        if self.is_header_phase() {
            change(self.head.get_or_insert_default());
        }
    }
}

/// Everything is off until it is switched on.
impl Default for Head {
    fn default() -> Self {
        Head {
            levels: [0; Algorithm::COUNT],
            decompress: [false; Algorithm::COUNT],
            preserve_etag: [false; Algorithm::COUNT],
            min_size: DEFAULT_MIN_SIZE,
            limits: DecompressionLimits::default(),
            dictionary: None,
            accepted: Accepted::NOTHING,
            is_head_request: false,
            is_connect: false,
            available: None,
            make_codec: None,
        }
    }
}

/// Returns the piece if it has bytes.
pub(crate) fn some(piece: Bytes) -> Option<Bytes> {
    Some(piece).filter(|piece| !piece.is_empty())
}

// === impl Head ===

impl Head {
    fn is_enabled(&self) -> bool {
        self.compresses() || self.decompress.contains(&true)
    }

    fn compresses(&self) -> bool {
        self.levels.iter().any(|level| *level > 0)
    }

    /// Changes the head of the response and returns what codes its body.
    fn response(
        &self,
        resp: &mut ResponseHeader,
        end: bool,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        // What follows is a tunnel (RFC 9110 section 9.3.6).
        if self.is_connect && resp.status().is_success() {
            return None;
        }
        // The answer to HEAD says what that to GET would (RFC 9110 section 9.3.2).
        if end && !self.is_head_request {
            return None;
        }
        let action = self.action(resp);
        if action != Action::Nothing || self.could_change(resp) {
            headers::vary_on(resp, "Accept-Encoding");
            if self.dictionary.is_some() {
                headers::vary_on(resp, "Available-Dictionary");
            }
        }
        // A stream is read as it is written; what has a length comes at once.
        let flush = !headers::has_length(resp);
        let codec = self.make_codec?(self, action, flush)?;
        let (algorithm, coding) = match action {
            Action::Nothing => return None,
            Action::Compress(algorithm) => (algorithm, Some(algorithm)),
            Action::Decompress(algorithm) => (algorithm, None),
        };
        headers::recode(resp, coding, self.preserve_etag[algorithm.index()]);
        Some(codec).filter(|_| !end)
    }

    fn make_codec(&self, action: Action, flush: bool) -> Option<Box<dyn Encode + Send + Sync>> {
        match action {
            Action::Nothing => None,
            Action::Compress(algorithm) => self.compressor(algorithm, flush),
            Action::Decompress(algorithm) => algorithm.decompressor_within(self.limits),
        }
    }

    fn action(&self, resp: &ResponseHeader) -> Action {
        if !headers::may_be_coded(resp) {
            return Action::Nothing;
        }
        if headers::is_compressible(resp, self.min_size) {
            let best = self.accepted.best(|algorithm| self.is_usable(algorithm));
            return best.map_or(Action::Nothing, Action::Compress);
        }
        match headers::coding(resp) {
            Some(coding) if self.decompresses(coding) && !self.accepted.takes(coding) => {
                Action::Decompress(coding)
            }
            _ => Action::Nothing,
        }
    }

    /// Returns whether another client might get another coding of this response.
    fn could_change(&self, resp: &ResponseHeader) -> bool {
        headers::may_be_coded(resp)
            && ((self.compresses() && headers::is_compressible(resp, self.min_size))
                || headers::coding(resp).is_some_and(|coding| self.decompresses(coding)))
    }

    fn is_usable(&self, algorithm: Algorithm) -> bool {
        let shared = || match (&self.dictionary, &self.available) {
            (Some(ours), Some(theirs)) => ours.hash == **theirs,
            _ => false,
        };
        self.levels[algorithm.index()] > 0 && (!algorithm.uses_dictionary() || shared())
    }

    fn decompresses(&self, coding: Algorithm) -> bool {
        coding.can_decompress() && self.decompress[coding.index()]
    }

    fn compressor(
        &self,
        algorithm: Algorithm,
        flush: bool,
    ) -> Option<Box<dyn Encode + Send + Sync>> {
        let level = self.levels[algorithm.index()];
        match &self.dictionary {
            Some(dictionary) if algorithm.uses_dictionary() => {
                algorithm.compressor_with(level, flush, dictionary)
            }
            _ => algorithm.compressor_of(level, flush),
        }
    }
}
