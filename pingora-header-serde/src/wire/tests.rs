use super::*;
use proptest::prelude::*;

fn encoded(head: &ResponseHeader) -> Vec<u8> {
    let mut wire = Vec::new();
    encode(head, &mut wire).expect("a head of usual size");
    wire
}

fn head(fields: &[(&str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    for (name, value) in fields {
        head.append_header(name.to_string(), *value)
            .expect("a valid field");
    }
    head
}

#[test]
fn what_is_common_is_short() {
    for (name, value, length) in [
        ("Content-Type", "text/html; charset=utf-8", 2),
        ("content-type", "text/html; charset=utf-8", 2),
        (
            "CONTENT-type",
            "text/html; charset=utf-8",
            1 + 1 + 12 + 1 + 24,
        ),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT", 6),
        ("X-When", "Sun, 06 Nov 1994 08:49:37 GMT", 1 + 1 + 6 + 5),
        ("ETag", "\"6731b2ef-bc55\"", 9),
        ("X-Request-Id", "0f8fad5b-d9cb-469f-a165-70867728950e", 18),
        ("Age", "", 2),
        ("Age", "12345", 7),
    ] {
        let wire = encoded(&head(&[(name, value)]));
        assert_eq!(wire.len() - 3, length, "{name}: {value}");
    }
    let long = "v".repeat(200);
    assert_eq!(encoded(&head(&[("Age", &long)])).len() - 3, 1 + 1 + 2 + 200);
}

#[test]
fn only_what_encoding_writes_is_a_head() {
    let status = [2, 0, 200];
    for (wire, valid) in [
        (&[][..], true),
        (&[0, 192][..], false),
        (&[1, 192], true),
        (&[1, 192 + 57], false),
        (&[95, 1, b'a'], false),
        (&[192, 1, b'a'], false),
        (&[255, 1, b'x', 1, b'a'], true),
        (&[255, 1, b'x', 192], false),
        (&[255, 0, 1, b'a'], false),
        (&[255, 1, b' ', 1, b'a'], false),
        (&[0, 1, b'\n'], false),
        (&[0, 1, 0x7f], false),
        (&[0, 1, b'\t'], true),
        (&[0, 1, 0xff], true),
        (&[0, 2, b'a'], false),
        (&[0], false),
        (&[0, 254, 0, 0, 0], false),
        (&[0, 254, 0, 0, 0, 0], true),
        (&[0, 255, 0x81, 0x80], false),
        (&[0, 255, 0x81, 0x80, 0x00, b'a'], true),
        (&[0, 255, 0x81, 0x80, 0x80, 0x00, b'a'], false),
        (&[0, 250, 65], false),
        (&[0, 252, 0x11, 0xab], true),
    ] {
        assert_eq!(
            decode(&[&status[..], wire].concat()).is_ok(),
            valid,
            "{wire:?}"
        );
    }
    for (start, valid) in [
        (&[0, 0, 200][..], true),
        (&[4, 3, 231], true),
        (&[5, 0, 200], false),
        (&[2, 0, 99], false),
        (&[2, 4, 0], false),
        (&[2, 0], false),
        (&[0x82, 0, 200], false),
        (&[0x82, 0, 200, 0], true),
        (&[0x82, 0, 200, 1, b'\r'], false),
    ] {
        assert_eq!(decode(start).is_ok(), valid, "{start:?}");
    }
}

#[test]
fn heads_are_limited() {
    let byte = [255, 1, b'x', 0];
    let with_fields = |count: usize| [&[2, 0, 200][..], &byte.repeat(count)].concat();
    assert!(decode(&with_fields(MAX_FIELDS)).is_ok());
    assert!(decode(&with_fields(MAX_FIELDS + 1)).is_err());

    // A token of two bytes becomes a hundred: the text is what counts.
    let (name, value) = (
        table::find_name(b"Content-Security-Policy")
            .expect("known")
            .0,
        VALUES + 5,
    );
    let bomb = [&[2, 0, 200][..], &[name, value].repeat(MAX_FIELDS)].concat();
    let error = decode(&bomb).expect_err("too large");
    assert!(error.to_string().contains("too large"), "{error}");

    let room = MAX_HEAD_BYTES - "HTTP/1.1 200 OK\r\nx: \r\n\r\n".len();
    let fits = "v".repeat(room);
    let restored = decode(&encoded(&head(&[("x", &fits)]))).expect("just fits");
    assert_eq!(restored.headers["x"].len(), room);
    let over = head(&[("x", &format!("{fits}v"))]);
    assert!(encode(&over, &mut Vec::new()).is_err());
}

#[test]
fn working_memory_is_given_back() {
    let large = head(&[("x", &"v".repeat(2 * KEPT_BYTES))]);
    let wire = encoded(&large);
    assert!(decode(&wire).is_ok());
    assert!(with_encoded(&large, |_| ()).is_ok());
    assert!(SCRATCH.with_borrow(|scratch| scratch.bytes.capacity()) <= KEPT_BYTES);
}

proptest! {
    #[test]
    fn no_bytes_panic(wire: Vec<u8>) {
        let _ = decode(&wire);
    }

    #[test]
    fn tokens_never_panic(fields in prop::collection::vec((0..=255u8, 0..=255u8, any::<[u8; 4]>()), 0..20)) {
        let mut wire = vec![2, 0, 200];
        for (name, value, rest) in fields {
            wire.extend([name, value]);
            wire.extend(rest);
        }
        if let Ok(head) = decode(&wire) {
            let again = encoded(&head);
            let restored = decode(&again).expect("what was encoded");
            prop_assert_eq!(restored.received_head(), head.received_head());
        }
    }
}
