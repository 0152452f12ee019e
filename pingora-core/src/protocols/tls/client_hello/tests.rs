//! Messages in every form: cut, old, with names that are none, and other things.

use proptest::prelude::*;

use super::*;

fn list(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list(content)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &list(&[&[0][..], &list(name)].concat()))
}

/// A message with these extensions, without its header.
fn body(extensions: &[u8]) -> Vec<u8> {
    let fixed = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &list(&[0x13, 1, 0x13, 2]),
        &[1, 0],
    ]
    .concat();
    [fixed, list(extensions)].concat()
}

/// Records of at most `size` bytes that hold the message.
fn records(body: &[u8], size: usize) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1], &length[1..], body].concat();
    let record = |part: &[u8]| [&[22, 3, 1][..], &list(part)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn name_in(extensions: &[u8]) -> Result<Option<String>, ()> {
    let parsed = ClientHello::parse(&records(&body(extensions), 10_000));
    parsed
        .map(|hello| hello.unwrap().server_name)
        .map_err(|_| ())
}

#[test]
fn everything_is_read_however_it_is_cut() {
    let alpn = extension(ALPN, &list(b"\x02h2\x08http/1.1"));
    let versions = extension(SUPPORTED_VERSIONS, b"\x04\x03\x04\x03\x03");
    let unknown = extension(0xfafa, b"anything");
    let groups = extension(SUPPORTED_GROUPS, &list(&[0x11, 0xec, 0, 29]));
    let algorithms = extension(SIGNATURE_ALGORITHMS, &list(&[4, 3]));
    let parts = [
        sni(b"Example.COM"),
        groups,
        algorithms,
        alpn,
        versions,
        unknown,
    ];
    let extensions = parts.concat();
    let body = body(&extensions);
    for size in [1, 3, 50, 10_000] {
        let wire = records(&body, size);
        let hello = ClientHello::parse(&wire).unwrap().unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("example.com"));
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(hello.versions, [0x0304, 0x0303]);
        assert_eq!(hello.cipher_suites, [0x1301, 0x1302]);
        assert_eq!(hello.groups, [0x11ec, 29]);
        assert_eq!(hello.signature_algorithms, [0x0403]);
        assert_eq!(hello.legacy_version, 0x0303);
        assert_eq!(hello.extensions, [0, 10, 13, 16, 43, 0xfafa]);
        for end in 0..wire.len() {
            assert_eq!(ClientHello::parse(&wire[..end]), Ok(None), "{size} {end}");
        }
    }
}

#[test]
fn an_old_client_says_less() {
    let fixed = [&[3, 1][..], &[7; 32], &[0], &list(&[0, 5]), &[1, 0]].concat();
    let hello = ClientHello::parse(&records(&fixed, 100)).unwrap().unwrap();
    assert_eq!((hello.server_name, hello.versions), (None, vec![]));
    assert_eq!(hello.legacy_version, 0x0301);
}

#[test]
fn names_are_host_names() {
    let cases: [(&[u8], Result<Option<&str>, ()>); 8] = [
        (b"a.example", Ok(Some("a.example"))),
        (b"a.example.", Ok(Some("a.example"))),
        (b"_x.example", Ok(Some("_x.example"))),
        (b"a\0.example", Err(())),
        (b"a b", Err(())),
        (b"", Err(())),
        (b"\xc3\xa4.example", Err(())),
        (&[b'a'; 254], Err(())),
    ];
    for (name, expected) in cases {
        let expected = expected.map(|name| name.map(str::to_string));
        assert_eq!(name_in(&sni(name)), expected, "{name:?}");
    }
    // Two names, or one and something behind it.
    assert!(name_in(&[sni(b"a"), sni(b"b")].concat()).is_err());
    assert!(name_in(&extension(SERVER_NAME, b"\0\x04\0\0\x01ax")).is_err());
}

#[test]
fn other_things_are_refused() {
    let hello = records(&body(&sni(b"a.example")), 10_000);
    let cases: [(&str, Vec<u8>); 7] = [
        ("plain HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another record", [&[23], &hello[1..]].concat()),
        ("another version", [&[22, 2], &hello[2..]].concat()),
        ("another message", [&hello[..5], &[2], &hello[6..]].concat()),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("a long message", vec![22, 3, 1, 0, 4, 1, 0, 0x80, 1]),
        (
            "bytes behind the extensions",
            records(&[body(&[]), vec![0]].concat(), 999),
        ),
    ];
    for (what, bytes) in cases {
        assert!(ClientHello::parse(&bytes).is_err(), "{what}");
    }
}

proptest! {
    /// What is asked for is more than there is, and no more than there will be.
    #[test]
    fn needs_are_exact(size in 1_usize..60) {
        let wire = records(&body(&sni(b"a.example")), size);
        let mut have = 0;
        while let Progress::Need(count) = read(&wire[..have]) {
            prop_assert!(count > have && count <= wire.len());
            have = count;
        }
        prop_assert!(matches!(read(&wire[..have]), Progress::Whole(_)));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn damage_does_not_panic(at in 0_usize..150, to in any::<u8>()) {
        let mut damaged = records(&body(&sni(b"a.example")), 10_000);
        let at = at % damaged.len();
        damaged[at] = to;
        let _ = read(&damaged);
    }
}
