//! OCSP responses to staple (RFC 6066, section 8): read from files that others keep fresh, and looked at
//! no further than to tell them from something else. Nothing is asked for over the network.

use pingora_error::Result;

use super::settings::{bad_file, read_file};

const WHAT: &str = "OCSP response file";

/// Bytes of DER (X.690): the tags used here, and the identifier id-pkix-ocsp-basic, the one type of
/// response there is (RFC 6960, section 4.2.1).
const SEQUENCE: u8 = 0x30;
const ENUMERATED: u8 = 0x0a;
const EXPLICIT_0: u8 = 0xa0;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const ID_PKIX_OCSP_BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// Returns the OCSP response in the DER file `path`.
///
/// # Errors
/// `TLSConfigError` naming the file and the reason.
pub(super) fn load_response(path: &str) -> Result<Vec<u8>> {
    let response = read_file(WHAT, path)?;
    match check(&response) {
        Ok(()) => Ok(response),
        Err(why) => Err(bad_file(WHAT, path, why)),
    }
}

/// Returns that `response` is a response which says something of a certificate.
fn check(response: &[u8]) -> Result<(), &'static str> {
    const NONE: &str = "it is no OCSP response in DER form";
    let (response, rest) = value(SEQUENCE, response).ok_or(NONE)?;
    let (status, bytes) = value(ENUMERATED, response).ok_or(NONE)?;
    if status != [0] {
        return Err("the responder answered with an error");
    }
    let is_basic = || {
        let (bytes, after) = value(EXPLICIT_0, bytes)?;
        let (bytes, after_bytes) = value(SEQUENCE, bytes)?;
        let (kind, basic) = value(OBJECT_IDENTIFIER, bytes)?;
        let (basic, after_basic) = value(OCTET_STRING, basic)?;
        let (_, after_all) = value(SEQUENCE, basic)?;
        let rests = [rest, after, after_bytes, after_basic, after_all];
        Some(kind == ID_PKIX_OCSP_BASIC && rests.iter().all(|rest| rest.is_empty()))
    };
    is_basic().filter(|basic| *basic).map(|_| ()).ok_or(NONE)
}

/// Returns the content of the value at the beginning of `der`, which must have this tag, and what is
/// behind it.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than four bytes of length are more than any file.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    if found != tag {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_told_from_other_things() {
        let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");
        let response = load_response(&format!("{certs}/a.ocsp")).unwrap();
        let none = "it is no OCSP response in DER form";
        for end in 0..response.len() {
            assert_eq!(check(&response[..end]), Err(none), "{end}");
        }
        let cases: &[(Vec<u8>, &str)] = &[
            ([&response[..], &[0]].concat(), none),
            (b"-----BEGIN CERTIFICATE-----".to_vec(), none),
            (std::fs::read(format!("{certs}/a.pem")).unwrap(), none),
            // tryLater, which has no content.
            (
                vec![SEQUENCE, 3, ENUMERATED, 1, 3],
                "the responder answered with an error",
            ),
            (vec![SEQUENCE, 3, ENUMERATED, 1, 0], none),
            (vec![SEQUENCE, 0x80, ENUMERATED, 1, 0], none),
            (vec![SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff], none),
        ];
        for (bytes, why) in cases {
            assert_eq!(check(bytes), Err(*why), "{bytes:?}");
        }
    }
}
