//! Stored heads: no bytes panic, and a head that is restored is stored and restored as the same.
//!
//! An input is a record without its checksum, which is put on, so that what is behind it is reached.

use std::sync::LazyLock;

use pingora_header_serde::HeaderSerde;
use pingora_http::ResponseHeader;

const DICTIONARY: &[u8] = b"Content-Security-Policy: default-src 'self'";
const BUILT_IN: &[u8] = include_bytes!("../../../pingora-header-serde/dict/v1.dict");

/// Checks these bytes as a record, with and without a right checksum.
pub fn header_serde(data: &[u8]) {
    static SERDES: LazyLock<[HeaderSerde; 2]> =
        LazyLock::new(|| [None, Some(DICTIONARY.to_vec())].map(HeaderSerde::new));
    let fingerprint = match data.first() {
        Some(2) => crc32fast::hash(BUILT_IN),
        Some(3) => crc32fast::hash(DICTIONARY),
        _ => 0,
    };
    let mut hasher = crc32fast::Hasher::new_with_initial(fingerprint);
    hasher.update(data);
    let record = [data, &hasher.finalize().to_le_bytes()].concat();
    for serde in &*SERDES {
        check(serde, data);
        check(serde, &record);
    }
}

fn check(serde: &HeaderSerde, record: &[u8]) {
    let Ok(head) = serde.deserialize(record) else {
        return;
    };
    let Ok(stored) = serde.serialize(&head) else {
        // A line of text without the usual space grows by one.
        assert_eq!(record[0], 0x28, "what was restored is within the limits");
        return;
    };
    let again = serde.deserialize(&stored).expect("what was stored");
    assert_eq!(lines(&again), lines(&head));
    assert_eq!(again.status(), head.status());
    assert_eq!(again.version(), head.version());
    assert_eq!(again.get_reason_phrase(), head.get_reason_phrase());
}

fn lines(head: &ResponseHeader) -> Vec<u8> {
    let mut lines = Vec::new();
    head.header_to_h1_wire(&mut lines);
    lines
}
