//! The opening handshake of WebSocket (RFC 6455 section 4), for where one side speaks HTTP/1 and
//! the other HTTP/2: pure.

use http::HeaderValue;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Returns a new `Sec-WebSocket-Key`.
pub(super) fn new_key() -> HeaderValue {
    let mut nonce = [0; 16];
    fastrand::fill(&mut nonce);
    HeaderValue::from_str(&base64(&nonce)).expect("base64 is a valid value")
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = (word >> (18 - 6 * at)) as usize & 63;
            out.push(match at <= group.len() {
                true => char::from(BASE64[digit]),
                false => '=',
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(new_key().len(), 24);
    }
}
