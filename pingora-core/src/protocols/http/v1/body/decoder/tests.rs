use super::*;

/// Decodes `input` in pieces of `step` bytes; the body, or `None` when it is refused.
fn decode(length: BodyLength, input: &[u8], step: usize) -> Option<(Vec<u8>, bool, Vec<u8>)> {
    let limits = HttpLimits::default();
    let mut decoder = BodyDecoder::new(length);
    let mut buf = BytesMut::new();
    let mut body = Vec::new();
    for piece in input.chunks(step) {
        buf.extend_from_slice(piece);
        while !decoder.is_done() {
            match decoder.decode(&mut buf, &limits) {
                Ok(Decoded::Data(data)) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Ok(Decoded::End) => assert!(decoder.is_done()),
                Ok(Decoded::NeedInput) => break,
                Err(_) => return None,
            }
        }
    }
    assert_eq!(decoder.bytes(), body.len());
    Some((body, decoder.is_done(), buf.to_vec()))
}

/// The same result, however the input is cut.
fn check(length: BodyLength, input: &[u8], expected: Option<(&[u8], bool, &[u8])>) {
    for step in 1..=input.len().max(1) {
        let decoded = decode(length, input, step);
        let decoded = decoded
            .as_ref()
            .map(|(body, done, rest)| (&body[..], *done, &rest[..]));
        assert_eq!(
            decoded,
            expected,
            "{} in steps of {step}",
            input.escape_ascii()
        );
    }
}

#[test]
fn fixed_bodies_end_where_they_say() {
    check(
        BodyLength::Fixed(5),
        b"helloGET",
        Some((b"hello", true, b"GET")),
    );
    check(BodyLength::Fixed(5), b"hel", Some((b"hel", false, b"")));
    check(BodyLength::None, b"GET", Some((b"", true, b"GET")));
    check(BodyLength::UntilClose, b"abc", Some((b"abc", false, b"")));
}

#[test]
fn chunks_are_put_together() {
    use BodyLength::Chunked;
    check(
        Chunked,
        b"5\r\nhello\r\n0\r\n\r\nGET",
        Some((b"hello", true, b"GET")),
    );
    check(
        Chunked,
        b"1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n",
        Some((b"a0123456789", true, b"")),
    );
    check(Chunked, b"0\r\n\r\n", Some((b"", true, b"")));
    check(Chunked, b"000\r\n\r\n", Some((b"", true, b"")));
    check(
        Chunked,
        b"3;name=value;x=\"y z\"\r\nabc\r\n0;last\r\n\r\n",
        Some((b"abc", true, b"")),
    );
    check(
        Chunked,
        b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        Some((b"abc", true, b"")),
    );
    check(Chunked, b"3\r\nab", Some((b"ab", false, b"")));
}

#[test]
fn bad_chunks_are_refused() {
    let table: &[&[u8]] = &[
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"-0\r\n\r\n",
        b"5_0\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5 junk\r\nhello\r\n",
        b"\r\n\r\n",
        b";ext\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"0000000000000000\r\n\r\n",
        b"5;\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\r;a\nhello",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5;a\0b\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nbad name: y\r\n\r\n",
        b"0\r\nX y\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\r\r\n\r\n",
        b"0\r\nX: \x0cy\r\n\r\n",
    ];
    for input in table {
        for step in 1..=input.len() {
            let decoded = decode(BodyLength::Chunked, input, step);
            assert_eq!(decoded, None, "{} in steps of {step}", input.escape_ascii());
        }
    }
}

#[test]
fn trailers_are_kept_unless_they_change_the_message() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut buf = BytesMut::from(
        &b"0\r\nX-Sum: 1\r\nContent-Length: 5\r\nHost: b\r\nAuthorization: x\r\nGrpc-Status: 0\r\n\r\n"[..],
    );
    assert_eq!(
        decoder.decode(&mut buf, &HttpLimits::default()).unwrap(),
        Decoded::End
    );
    let trailers = decoder.take_trailers().unwrap();
    let names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-sum", "grpc-status"]);
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let limits = HttpLimits::default();
    let mut extension = b"1;".to_vec();
    extension.resize(limits.max_chunk_extension_bytes + 10, b'x');
    assert_eq!(decode(BodyLength::Chunked, &extension, 1000), None);
    let mut many = Vec::new();
    for _ in 0..limits.max_chunk_extension_bytes / 4 + 1 {
        many.extend_from_slice(b"1;xxxx\r\na\r\n");
    }
    assert_eq!(
        decode(BodyLength::Chunked, &many, 1000),
        None,
        "all chunks count together"
    );
    let mut trailer = b"0\r\nX: ".to_vec();
    trailer.resize(limits.max_trailer_bytes + 10, b'x');
    assert_eq!(decode(BodyLength::Chunked, &trailer, 1000), None);
    let many = [&b"0\r\n"[..], &b"X: y\r\n".repeat(33), b"\r\n"].concat();
    assert_eq!(decode(BodyLength::Chunked, &many, 1000), None);
}

#[test]
fn a_body_cut_short_is_an_error() {
    assert!(BodyDecoder::new(BodyLength::Fixed(1)).close().is_err());
    assert!(BodyDecoder::new(BodyLength::Chunked).close().is_err());
    assert!(BodyDecoder::new(BodyLength::UntilClose).close().is_ok());
    assert!(BodyDecoder::new(BodyLength::None).close().is_ok());
}
