//! What earlier versions stored is read for ever: bytes in `tests/golden`, with the head as text beside.
//! Files are added when a form is, and never changed.

use std::fs;
use std::path::PathBuf;

use pingora_header_serde::HeaderSerde;

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check(record: &str, dictionary: Option<&str>, form: u8) {
    let serde = HeaderSerde::new(dictionary.map(golden));
    let bytes = golden(record);
    assert_eq!(bytes[0], form, "{record}");
    let head = serde
        .deserialize(&bytes)
        .unwrap_or_else(|error| panic!("{record}: {error}"));
    let reason = head.get_reason_phrase().expect("each has one");
    let mut text = format!(
        "{:?} {} {reason}\r\n",
        head.version(),
        head.status().as_u16()
    )
    .into_bytes();
    head.header_to_h1_wire(&mut text);
    text.extend_from_slice(b"\r\n");
    let expected = golden(&record.replace(".bin", ".http"));
    assert_eq!(
        text.escape_ascii().to_string(),
        expected.escape_ascii().to_string(),
        "{record}"
    );
}

#[test]
fn first_form() {
    check("plain-1.bin", None, 1);
    check("built-in-1.bin", None, 2);
    check("given-1.bin", Some("given.dict"), 3);
}

#[test]
fn frames_of_text() {
    check("text.bin", None, 0x28);
    check("text-dictionary.bin", Some("given.dict"), 0x28);
}
