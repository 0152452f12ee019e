//! Answers the proxy makes itself when something went wrong.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, DATE, SERVER};
use once_cell::sync::Lazy;
use pingora_http::ResponseHeader;

use super::SERVER_NAME;
use super::date::get_cached_date;

/// The head of an answer of this status without a body, not to be cached.
///
/// A code outside 100 to 999 becomes 500.
pub fn gen_error_response(code: u16) -> ResponseHeader {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let build = || -> pingora_error::Result<ResponseHeader> {
        let mut resp = ResponseHeader::build(status, Some(4))?;
        resp.insert_header(SERVER, &SERVER_NAME[..])?;
        resp.insert_header(DATE, get_cached_date())?;
        resp.insert_header(CONTENT_LENGTH, "0")?;
        resp.insert_header(CACHE_CONTROL, "private, no-store")?;
        Ok(resp)
    };
    build().expect("every part of the head is a valid constant")
}

/// The head of a `400 Bad Request`.
pub static HTTP_400_RESPONSE: Lazy<ResponseHeader> = Lazy::new(|| gen_error_response(400));

/// The head of a `502 Bad Gateway`.
pub static HTTP_502_RESPONSE: Lazy<ResponseHeader> = Lazy::new(|| gen_error_response(502));
