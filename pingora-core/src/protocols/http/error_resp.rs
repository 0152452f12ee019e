//! Answers the proxy makes itself when something went wrong.

use http::header::{CACHE_CONTROL, CONTENT_LENGTH, DATE, SERVER};
use http::{HeaderValue, StatusCode};
use once_cell::sync::Lazy;
use pingora_http::ResponseHeader;

use super::SERVER_NAME;
use super::date::get_cached_date;

/// The head of an answer of this status without a body, not to be cached.
///
/// A code outside 100 to 999 becomes 500.
pub fn gen_error_response(code: u16) -> ResponseHeader {
    build(code, Some(get_cached_date()))
}

/// The head of a `400 Bad Request`, without a `Date`: who sends it adds that of then.
pub static HTTP_400_RESPONSE: Lazy<ResponseHeader> = Lazy::new(|| build(400, None));

/// The head of a `502 Bad Gateway`, without a `Date`: who sends it adds that of then.
pub static HTTP_502_RESPONSE: Lazy<ResponseHeader> = Lazy::new(|| build(502, None));

fn build(code: u16, date: Option<HeaderValue>) -> ResponseHeader {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let try_build = || -> pingora_error::Result<ResponseHeader> {
        let mut resp = ResponseHeader::build(status, Some(4))?;
        resp.insert_header(SERVER, &SERVER_NAME[..])?;
        if let Some(date) = date {
            resp.insert_header(DATE, date)?;
        }
        resp.insert_header(CONTENT_LENGTH, "0")?;
        resp.insert_header(CACHE_CONTROL, "private, no-store")?;
        Ok(resp)
    };
    try_build().expect("every part of the head is a valid constant")
}
