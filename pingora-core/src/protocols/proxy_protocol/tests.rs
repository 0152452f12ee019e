//! Headers of both versions: what is read, what is refused, what is written.

use std::net::SocketAddr;

use super::*;

fn header(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::new(source.parse().unwrap(), destination.parse().unwrap())
}

fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ()> {
    ProxyHeader::parse(bytes).map_err(|_| ())
}

#[test]
fn version_1_is_read() {
    let v4 = header("192.0.2.1:56324", "198.51.100.2:443");
    let v6 = header("[2001:db8::1]:1", "[::1]:65535");
    let cases: &[(&str, Result<ProxyHeader, ()>)] = &[
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Ok(v4)),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Ok(v6)),
        ("PROXY UNKNOWN\r\n", Ok(ProxyHeader::local())),
        (
            "PROXY UNKNOWN ffff:f...f:ffff whatever\r\n",
            Ok(ProxyHeader::local()),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 0 443\r\n",
            Ok(header("192.0.2.1:0", "198.51.100.2:443")),
        ),
        ("PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", Err(())),
        ("PROXY TCP4 192.0.2.1 198.51.100.256 1 2\r\n", Err(())),
        ("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n", Err(())),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Err(())),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n", Err(())),
        ("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", Err(())),
        ("PROXY\r\n", Err(())),
        ("PROXY \r\n", Err(())),
        ("proxy UNKNOWN\r\n", Err(())),
        ("GET / HTTP/1.1\r\n", Err(())),
        ("PROXY UNKNOWN \u{80}\r\n", Ok(ProxyHeader::local())),
    ];
    for (text, expected) in cases {
        let got = parse(text.as_bytes()).map(|whole| whole.expect("it is whole").0);
        assert_eq!(&got, expected, "{text:?}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(parse(longest.as_bytes()).unwrap().unwrap().1, 107);
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(108 - 16));
    assert!(parse(longer.as_bytes()).is_err());
    assert!(parse(b"PROXY UNKNOWN \xff\r\n").is_err());
    assert!(parse(&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat()).is_err());
}

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let mut wire = SIGNATURE.to_vec();
    wire.extend([command, family]);
    wire.extend((content.len() as u16).to_be_bytes());
    wire.extend(content);
    wire
}

#[test]
fn version_2_is_read() {
    let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187];
    let addressed = header("192.0.2.1:80", "192.0.2.2:443");
    let v6 = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    let unix = [0x61; 216];
    let with = |field: &[u8]| [&v4[..], field].concat();
    let cases: &[(u8, u8, Vec<u8>, Result<ProxyHeader, ()>)] = &[
        (0x21, 0x11, v4.to_vec(), Ok(addressed.clone())),
        (0x21, 0x12, v4.to_vec(), Ok(addressed.clone())),
        (
            0x21,
            0x21,
            v6,
            Ok(header(
                "[2020:2020:2020:2020:2020:2020:2020:2020]:1",
                "[3030:3030:3030:3030:3030:3030:3030:3030]:2",
            )),
        ),
        (
            0x21,
            0x11,
            with(&[2, 0, 1, b'a']),
            Ok(addressed.clone().with_field(2, "a")),
        ),
        (
            0x21,
            0x11,
            with(&[4, 0, 0, 5, 0, 0]),
            Ok(addressed.with_field(4, "").with_field(5, "")),
        ),
        (0x21, 0x31, unix.to_vec(), Ok(ProxyHeader::local())),
        (0x21, 0x00, vec![], Ok(ProxyHeader::local())),
        (
            0x21,
            0x00,
            vec![2, 0, 1, b'a'],
            Ok(ProxyHeader::local().with_field(2, "a")),
        ),
        (0x20, 0x00, vec![], Ok(ProxyHeader::local())),
        (0x20, 0x11, v4.to_vec(), Ok(ProxyHeader::local())),
        (0x21, 0x11, v4[..11].to_vec(), Err(())),
        (0x21, 0x11, with(&[2]), Err(())),
        (0x21, 0x11, with(&[2, 0, 2, b'a']), Err(())),
        (0x21, 0x21, v4.to_vec(), Err(())),
        (0x21, 0x31, v4.to_vec(), Err(())),
        (0x21, 0x13, v4.to_vec(), Err(())),
        (0x21, 0x41, v4.to_vec(), Err(())),
        (0x22, 0x11, v4.to_vec(), Err(())),
        (0x11, 0x11, v4.to_vec(), Err(())),
        (0x31, 0x11, v4.to_vec(), Err(())),
        (0x21, 0x11, with(&[3, 0, 4, 1, 2, 3, 4]), Err(())),
        (0x21, 0x11, with(&[3, 0, 1, 1]), Err(())),
        (0x21, 0x00, vec![0; 5000], Err(())),
    ];
    for (command, family, content, expected) in cases {
        let wire = v2(*command, *family, content);
        let got = parse(&wire).map(|whole| whole.expect("it is whole").0);
        assert_eq!(&got, expected, "{command:x} {family:x} {content:?}");
    }
}

/// Whatever is written is read back, byte for byte, however it is cut.
#[test]
fn what_is_written_is_read_back() {
    let headers = [
        ProxyHeader::local(),
        header("192.0.2.1:80", "192.0.2.2:443"),
        header("[2001:db8::1]:80", "[::1]:443"),
        header("192.0.2.1:80", "192.0.2.2:443")
            .with_field(2, "name")
            .with_field(PP2_TYPE_CRC32C, ""),
        ProxyHeader::local()
            .with_field(PP2_TYPE_CRC32C, "")
            .with_field(0xee, vec![0; 1000]),
    ];
    for header in headers {
        for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
            let wire = header.encode(version);
            for end in 0..wire.len() {
                assert_eq!(parse(&wire[..end]), Ok(None), "{version:?} {end}");
            }
            let more = [&wire[..], b"GET / HTTP/1.1"].concat();
            let (read, length) = parse(&more).unwrap().unwrap();
            assert_eq!(length, wire.len());
            assert_eq!(read.source(), header.source());
            assert_eq!(read.destination(), header.destination());
            let kinds = |h: &ProxyHeader| h.fields().iter().map(|f| f.kind).collect::<Vec<_>>();
            if version == ProxyProtocolVersion::V2 {
                assert_eq!(kinds(&read), kinds(&header));
            }
        }
    }
}

#[test]
fn two_families_become_one() {
    let mixed = header("192.0.2.1:80", "[2001:db8::1]:443");
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let (read, _) = parse(&mixed.encode(version)).unwrap().unwrap();
        let source: SocketAddr = "[::ffff:192.0.2.1]:80".parse().unwrap();
        assert_eq!(read.source(), Some(source));
        assert_eq!(read.destination(), mixed.destination());
    }
}

#[test]
fn a_damaged_checksum_is_noticed() {
    let whole = header("192.0.2.1:80", "192.0.2.2:443").with_field(PP2_TYPE_CRC32C, "");
    let wire = whole.encode(ProxyProtocolVersion::V2);
    for at in 16..wire.len() {
        let mut damaged = wire.to_vec();
        damaged[at] ^= 1;
        let unread = parse(&damaged).is_err();
        // Another type of field: there is no checksum then.
        let no_checksum = at == wire.len() - 7;
        assert!(unread || no_checksum, "byte {at}");
    }
    // The check value of CRC-32C.
    assert_eq!(crc32c(b"123456789", 9), 0xE306_9283);
}

#[test]
fn networks_are_read_and_matched() {
    let cases = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false),
        ("192.0.2.7/31", "192.0.2.6", true),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "::1", true),
        ("10.0.0.0/8", "::ffff:10.0.0.1", true),
    ];
    for (network, address, inside) in cases {
        let network: Network = network.parse().unwrap();
        assert_eq!(
            network.contains(address.parse().unwrap()),
            inside,
            "{network:?} {address}"
        );
    }
    for text in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0/8",
        "a/8",
        "10.0.0.0/",
        "10.0.0.0/-1",
    ] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}
