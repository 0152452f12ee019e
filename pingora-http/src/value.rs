//! Header values out of raw bytes, without a way to fail. Read next: `fields.rs`.

use bytes::Bytes;
use http::HeaderValue;

/// Returns a header value of these bytes, sharing them when they are a [`Bytes`].
///
/// A field value may hold visible ASCII, space, tab and the opaque bytes 0x80-0xFF. Every other
/// byte (controls such as CR, LF and NUL, and DEL) is replaced by a space, which is one of the two
/// things RFC 9110 section 5.5 lets a recipient do with them; only then are the bytes copied.
///
/// ```
/// use pingora_http::header_value_from_raw;
///
/// assert_eq!(header_value_from_raw("caf\u{e9}"), "caf\u{e9}");
/// assert_eq!(header_value_from_raw(&b"a\r\nb"[..]), "a  b");
/// ```
pub fn header_value_from_raw(raw: impl Into<Bytes>) -> HeaderValue {
    let raw = raw.into();
    let shared = if is_clean(&raw) { raw } else { cleaned(&raw) };
    HeaderValue::from_maybe_shared(shared).expect("no byte is left that a value may not hold")
}

/// Returns a header value with a copy of these bytes; see [`header_value_from_raw`].
///
/// ```
/// assert_eq!(pingora_http::header_value_from_slice(b"a\0b"), "a b");
/// ```
pub fn header_value_from_slice(raw: &[u8]) -> HeaderValue {
    match HeaderValue::from_bytes(raw) {
        Ok(value) => value,
        Err(_) => header_value_from_raw(cleaned(raw)),
    }
}

/// Returns whether a field value may hold `byte` (RFC 9110 section 5.5).
const fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Returns whether every byte may stand in a field value.
pub(crate) fn is_clean(raw: &[u8]) -> bool {
    // No early return, so that the loop is vectorised.
    !raw.iter()
        .fold(false, |bad, &byte| bad | !is_value_byte(byte))
}

#[cold]
fn cleaned(raw: &[u8]) -> Bytes {
    raw.iter()
        .map(|&byte| if is_value_byte(byte) { byte } else { b' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_makes_a_value() {
        for byte in 0..=255u8 {
            let raw = [b'a', byte, b'b'];
            let accepted = HeaderValue::from_bytes(&raw).is_ok();
            let want = [b'a', if accepted { byte } else { b' ' }, b'b'];
            assert_eq!(
                header_value_from_slice(&raw).as_bytes(),
                want,
                "byte {byte}"
            );
            let shared = header_value_from_raw(raw.to_vec());
            assert_eq!(shared.as_bytes(), want, "byte {byte}");
            assert_eq!(is_clean(&raw), accepted, "byte {byte}");
        }
    }

    #[test]
    fn clean_bytes_are_shared() {
        let raw = Bytes::from_static(b"shared");
        let value = header_value_from_raw(raw.clone());
        assert_eq!(value.as_bytes().as_ptr(), raw.as_ptr());
    }
}
