use proptest::prelude::*;

use super::*;

/// Returns a ClientHello body like those of browsers.
fn body() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 4, 0x13, 0x01, 0x13, 0x02]);
    body.extend([1, 0]);
    let extensions: &[(u16, &[u8])] = &[
        (SERVER_NAME, b"\x00\x0c\x00\x00\x09a.example"),
        (SUPPORTED_GROUPS, &[0, 4, 0x11, 0xec, 0, 29]),
        (SIGNATURE_ALGORITHMS, &[0, 2, 4, 3]),
        (ALPN, b"\x00\x0c\x02h2\x08http/1.1"),
        (SUPPORTED_VERSIONS, &[4, 3, 4, 3, 3]),
        (0xfe0d, &[1, 2, 3]),
    ];
    let mut all = vec![];
    for (number, content) in extensions {
        all.extend(number.to_be_bytes());
        all.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        all.extend_from_slice(content);
    }
    body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
    body.extend(all);
    body
}

/// Returns the records of a handshake message, cut after each of `cuts` bytes.
fn records(body: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    let mut all = vec![];
    let mut rest = &message[..];
    let mut cuts = cuts.iter().chain(std::iter::repeat(&16_384));
    while !rest.is_empty() {
        let cut = (*cuts.next().unwrap()).clamp(1, rest.len());
        let (fragment, after) = rest.split_at(cut);
        all.extend([HANDSHAKE, 3, 1]);
        all.extend(u16::try_from(fragment.len()).unwrap().to_be_bytes());
        all.extend_from_slice(fragment);
        rest = after;
    }
    all
}

#[test]
fn what_is_in_it() {
    let expected = ClientHello {
        legacy_version: 0x0303,
        versions: vec![0x0304, 0x0303],
        cipher_suites: vec![0x1301, 0x1302],
        extensions: vec![0, 10, 13, 16, 43, 0xfe0d],
        groups: vec![0x11ec, 29],
        signature_algorithms: vec![0x0403],
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        server_name: Some("a.example".to_string()),
    };
    assert_eq!(ClientHello::parse(&body()), Some(expected));
    // Without extensions, as of old.
    let end = 2 + 32 + 1 + 6 + 2;
    assert!(ClientHello::parse(&body()[..end]).is_some());
    for length in (0..end).chain(end + 1..body().len()) {
        assert_eq!(ClientHello::parse(&body()[..length]), None, "{length}");
    }
}

#[test]
fn records_that_are_no_client_hello() {
    let whole = records(&body(), &[]);
    let mut server_hello = whole.clone();
    server_hello[RECORD_HEAD] = 2;
    let mut too_long = whole.clone();
    too_long[RECORD_HEAD + 1] = 1;
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        &[HANDSHAKE, 3, 1, 0, 0],
        &[HANDSHAKE, 2, 0, 0, 1],
        &server_hello,
        &too_long,
    ] {
        assert!(matches!(join(bytes), Progress::Malformed(_)), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_hook_sees_it_and_leaves_it() {
    use crate::protocols::l4::stream::Stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
    let sent = records(&body(), &[1, 2, 3]);
    theirs.write_all(&sent).await.unwrap();
    let mut stream = Stream::from(ours);
    let hook: ClientHelloHook = Arc::new(|hello| {
        assert_eq!(hello.server_name.as_deref(), Some("a.example"));
        Ok(())
    });
    show(&mut stream, &hook).await.unwrap();
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(received, sent);

    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    drop(theirs);
    assert!(show(&mut Stream::from(ours), &hook).await.is_err());
}

proptest! {
    #[test]
    fn any_fragmentation_is_the_same(cuts in proptest::collection::vec(1_usize..60, 0..40)) {
        let all = records(&body(), &cuts);
        prop_assert_eq!(join(&all), Progress::Whole(body()));
        // What it asks for is more than there is, and no more than there will be.
        let mut have = 0;
        while let Progress::Need(count) = join(&all[..have]) {
            prop_assert!(count > have && count <= all.len());
            have = count;
        }
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ClientHello::parse(&bytes);
        let _ = join(&bytes);
    }

    #[test]
    fn damage_does_not_panic(at in 0_usize..150, to in any::<u8>()) {
        let mut damaged = body();
        let at = at % damaged.len();
        damaged[at] = to;
        let _ = ClientHello::parse(&damaged);
    }
}
