//! JA4, the fingerprint of TLS clients by FoxIO (<https://github.com/FoxIO-LLC/ja4>, that part of it under
//! the BSD licence): what a client offers, whatever the order in which browsers shuffle it.

use super::{ALPN, ClientHello, SERVER_NAME};

/// The most that is said of a count: it has two digits.
const MAX_COUNT: usize = 99;

/// Returns the fingerprint of a client that came over TCP.
pub(super) fn ja4(hello: &ClientHello) -> String {
    let ciphers: Vec<u16> = meant(&hello.cipher_suites).collect();
    let extensions: Vec<u16> = meant(&hello.extensions).collect();
    let name = match extensions.contains(&SERVER_NAME) {
        true => 'd',
        false => 'i',
    };
    let [first, last] = ends(hello.alpn.first());
    format!(
        "t{}{name}{:02}{:02}{first}{last}_{}_{}",
        version(hello),
        ciphers.len().min(MAX_COUNT),
        extensions.len().min(MAX_COUNT),
        digest(&listed(sorted(ciphers))),
        digest(&extensions_and_algorithms(hello, extensions)),
    )
}

/// Returns the numbers that mean something: all but those of RFC 8701, sent to be ignored.
fn meant(numbers: &[u16]) -> impl Iterator<Item = u16> {
    let is_grease = |number: u16| number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff;
    numbers
        .iter()
        .copied()
        .filter(move |number| !is_grease(*number))
}

/// Returns the highest version, in two characters.
fn version(hello: &ClientHello) -> &'static str {
    match meant(&hello.versions).max().unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// Returns the first and the last character of a protocol, or of its bytes in hexadecimal when one of
/// them is neither letter nor digit; zeros for none.
fn ends(protocol: Option<&Vec<u8>>) -> [char; 2] {
    let protocol = protocol.map(Vec::as_slice).unwrap_or_default();
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [*first, *last].map(char::from);
    }
    [first >> 4, last & 0xf].map(|half| char::from(b"0123456789abcdef"[usize::from(half)]))
}

fn extensions_and_algorithms(hello: &ClientHello, extensions: Vec<u16>) -> String {
    let others = |kind: &u16| *kind != SERVER_NAME && *kind != ALPN;
    let mut text = listed(sorted(extensions.into_iter().filter(others).collect()));
    let algorithms = listed(meant(&hello.signature_algorithms).collect());
    if !algorithms.is_empty() {
        text.push('_');
        text.push_str(&algorithms);
    }
    text
}

fn sorted(mut numbers: Vec<u16>) -> Vec<u16> {
    numbers.sort_unstable();
    numbers
}

fn listed(numbers: Vec<u16>) -> String {
    let texts: Vec<_> = numbers
        .iter()
        .map(|number| format!("{number:04x}"))
        .collect();
    texts.join(",")
}

/// Returns the first twelve digits of the SHA-256 digest; zeros for nothing.
fn digest(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let digest = hmac_sha256::Hash::hash(text.as_bytes());
    digest[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(list: &str) -> Vec<u16> {
        let parts = list.split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| u16::from_str_radix(part, 16).unwrap())
            .collect()
    }

    fn hello(versions: &str, ciphers: &str, extensions: &str, algorithms: &str) -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            versions: numbers(versions),
            cipher_suites: numbers(ciphers),
            extensions: numbers(extensions),
            signature_algorithms: numbers(algorithms),
            ..ClientHello::default()
        }
    }

    #[test]
    fn published_fingerprints() {
        let mut chrome = hello(
            "fafa,0304,0303",
            "0a0a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
            "1a1a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015,3a3a",
            "0403,0804,0401,0503,0805,0501,0806,0601",
        );
        let mut firefox = hello(
            "0304,0303",
            "1301,1303,1302,c02b,c02f,cca9,cca8,c02c,c030,c00a,c009,c013,c014,009c,009d,002f,0035",
            "0000,0017,ff01,000a,000b,0023,0010,0005,0022,0033,002b,000d,002d,001c,0015",
            "0403,0503,0603,0804,0805,0806,0401,0501,0601,0203,0201",
        );
        for hello in [&mut chrome, &mut firefox] {
            hello.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        assert_eq!(chrome.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(firefox.ja4(), "t13d1715h2_5b57614c22b0_3d5424432f57");
    }

    /// As programs sent them: curl 7.88 and `openssl s_client -tls1_2` with OpenSSL 3.0, Python 3.11.
    #[test]
    fn captured_messages() {
        for (name, expected) in [
            ("curl", "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"),
            ("openssl", "t12i280600_d943125447b4_e7e480e5a997"),
            ("python", "t13d181100_85036bcba153_d41ae481755e"),
        ] {
            let folder = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../testing/fixtures/client_hello"
            );
            let bytes = std::fs::read(format!("{folder}/{name}")).unwrap();
            let hello = ClientHello::parse(&bytes).unwrap().unwrap();
            assert_eq!(hello.ja4(), expected, "{name}");
        }
    }

    #[test]
    fn the_rest_of_the_first_part() {
        let protocols: [(&[u8], &str); 7] = [
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
            (b"01\xab\xcd\x30\x31a", "0a"),
        ];
        for (protocol, expected) in protocols {
            let ends = ends(Some(&protocol.to_vec()));
            assert_eq!(String::from_iter(ends), expected, "{protocol:?}");
        }
        let many = "1301,".repeat(120);
        for (hello, expected) in [
            (
                hello("", "", "", ""),
                "t12i000000_000000000000_000000000000",
            ),
            (
                hello("7f1c", "", "0000", ""),
                "t00d000100_000000000000_000000000000",
            ),
            (hello("0302", &many, "0000", ""), "t11d990100_"),
        ] {
            assert!(hello.ja4().starts_with(expected), "{}", hello.ja4());
        }
    }
}
