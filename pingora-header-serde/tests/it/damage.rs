//! No record makes the reader panic, take much memory, or return another head than was stored.

use pingora_error::ErrorType;
use pingora_header_serde::{HeaderSerde, MAX_HEAD_BYTES};
use pingora_http::ResponseHeader;
use proptest::prelude::*;

fn stored() -> Vec<Vec<u8>> {
    let serde = HeaderSerde::new(None);
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    head.append_header("Content-Type", "text/html")
        .expect("a valid field");
    let short = serde.serialize(&head).expect("a head of usual size");
    head.append_header("x-long", "words that repeat, ".repeat(5))
        .expect("a valid field");
    let compressed = serde.serialize(&head).expect("a head of usual size");
    assert_ne!(short[0], compressed[0], "one of each form");
    vec![short, compressed]
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error() {
    let serde = HeaderSerde::new(None);
    let given = HeaderSerde::new(Some(b"x".to_vec()));
    for record in stored() {
        for serde in [&serde, &given] {
            assert!(
                serde.deserialize(&record).is_ok(),
                "the built-in dictionary stays"
            );
            for bit in 0..record.len() * 8 {
                let mut damaged = record.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let error = serde
                    .deserialize(&damaged)
                    .err()
                    .unwrap_or_else(|| panic!("bit {bit}"));
                assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader);
            }
            for cut in 0..record.len() {
                assert!(serde.deserialize(&record[..cut]).is_err(), "cut at {cut}");
            }
            assert!(serde.deserialize(&[&record[..], b"x"].concat()).is_err());
        }
    }
}

#[test]
fn another_dictionary_is_an_error() {
    let one = HeaderSerde::new(Some(b"one dictionary".to_vec()));
    let other = HeaderSerde::new(Some(b"another one".to_vec()));
    let mut head = ResponseHeader::build(200, None).expect("a valid status");
    head.append_header("x-long", "words and words and words and words and words")
        .expect("a valid field");
    head.append_header("x-long", "words and words and words and words and words")
        .expect("a valid field");
    let record = one.serialize(&head).expect("a head of usual size");
    assert!(one.deserialize(&record).is_ok());
    for reader in [other, HeaderSerde::new(None)] {
        let error = reader.deserialize(&record).expect_err("another dictionary");
        assert!(error.to_string().contains("dictionary"), "{error}");
    }
}

#[test]
#[should_panic(expected = "the dictionary is a valid one of zstd")]
fn a_broken_dictionary_is_a_mistake() {
    HeaderSerde::new(Some([&[0x37, 0xa4, 0x30, 0xec][..], &[7; 40]].concat()));
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let serde = HeaderSerde::new(None);
    for size in [2 * MAX_HEAD_BYTES + 1, 64 << 20] {
        let mut bomb = Vec::with_capacity(zstd_safe::compress_bound(size));
        zstd_safe::compress(&mut bomb, &vec![b'a'; size], 3).expect("room for it");
        let error = serde.deserialize(&bomb).expect_err("too large");
        assert!(error.to_string().contains("too large"), "{error}");
        // The size a frame states is not believed where it is short of the truth either.
        let mut liar = bomb.clone();
        liar[4] &= 0x3f;
        assert!(serde.deserialize(&liar).is_err());
    }
    // A frame that does not say how large it will be.
    let mut unknown = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    unknown.extend([0x01, 0x00, 0x00]);
    assert!(serde.deserialize(&unknown).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(mut record: Vec<u8>, form in prop::sample::select(vec![0, 1, 2, 3, 4, 0x28])) {
        if let Some(first) = record.first_mut() {
            *first = form;
        }
        prop_assert!(HeaderSerde::new(None).deserialize(&record).is_err());
    }
}
