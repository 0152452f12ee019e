//! What was written comes back; what was damaged is an error.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::*;

const PAYLOAD: &[u8] = b"the bytes of a shard";

fn check_bytes(file: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    check(file.to_vec())
        .map(|payload| payload.bytes().to_vec())
        .map_err(|error| error.kind())
}

fn written(payload: &[u8]) -> Vec<u8> {
    let mut file = header(payload).expect("it is small").to_vec();
    file.extend(payload);
    file
}

#[test]
fn payloads_come_back() {
    let large = vec![0x89; 100_000];
    for payload in [b"".as_slice(), b"x", PAYLOAD, &MARK, &large] {
        assert_eq!(check_bytes(&written(payload)).as_deref(), Ok(payload));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error() {
    let good = written(PAYLOAD);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check_bytes(&bad), Err(ErrorKind::InvalidData), "bit {bit}");
    }
}

#[test]
fn a_file_that_is_cut_off_or_goes_on_is_an_error() {
    let good = written(PAYLOAD);
    for length in 0..good.len() {
        assert_eq!(
            check_bytes(&good[..length]),
            Err(ErrorKind::InvalidData),
            "{length}"
        );
    }
    let longer = [good.as_slice(), b"x"].concat();
    assert_eq!(check_bytes(&longer), Err(ErrorKind::InvalidData));
}

/// The length is not believed, so a large one costs nothing.
#[test]
fn lies_in_the_header_are_errors() {
    for (at, lie) in [(12, u64::MAX), (12, 1 << 40), (12, 0), (12, 21), (8, 99)] {
        let mut bad = written(PAYLOAD);
        bad[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        // The best lie has the right checksum.
        let checksum = checksum(&bad[8..20], PAYLOAD);
        bad[20..24].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(check_bytes(&bad), Err(ErrorKind::InvalidData), "{at} {lie}");
    }
}

#[test]
fn a_newer_version_is_an_error() {
    let mut newer = written(PAYLOAD);
    newer[8] += 1;
    let checksum = checksum(&newer[8..20], PAYLOAD);
    newer[20..24].copy_from_slice(&checksum.to_le_bytes());
    let error = check(newer).expect_err("it is not for us");
    assert!(error.to_string().contains("newer version"), "{error}");
}

proptest! {
    /// Whatever is read is refused, or it is somebody else's, or it is what writing its payload gives.
    #[test]
    fn no_file_is_misread(mark in 0..=8_usize, rest in prop::collection::vec(any::<u8>(), 0..60)) {
        let file = [&MARK[..mark], &rest].concat();
        match check_bytes(&file) {
            Err(kind) => prop_assert_eq!(kind, ErrorKind::InvalidData),
            Ok(payload) => prop_assert!(payload == file || written(&payload) == file),
        }
    }
}

#[test]
fn files_of_other_writers_are_left_to_the_caller() {
    for file in [b"{\"keys\":[]}".as_slice(), b"\x92\xc0", b"x", &[0; 40]] {
        assert_eq!(check_bytes(file).as_deref(), Ok(file));
    }
}

#[test]
fn a_file_is_replaced_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lru.0");
    for payload in [PAYLOAD, b"short", b""] {
        write(&path, payload).expect("the folder is writable");
        assert_eq!(read(&path).expect("it is good").bytes(), payload);
    }
    let names = fs::read_dir(folder.path()).expect("it exists");
    assert_eq!(names.count(), 1);
}

#[test]
fn each_failure_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).expect("it is new");
    let missing = folder.path().join("missing").join("lru.0");

    let error = write(&missing, PAYLOAD).expect_err("there is no such folder");
    assert!(matches!(error, ShardFileError::Create { .. }), "{error}");
    let error = write(&taken, PAYLOAD).expect_err("a folder has that name");
    assert!(
        matches!(&error, ShardFileError::Rename { to, .. } if *to == taken),
        "{error}"
    );
    let error = read(&missing).expect_err("there is no such file");
    assert!(matches!(error, ShardFileError::Open { .. }), "{error}");
    let error = read(&taken).expect_err("it is a folder");
    assert!(
        matches!(
            error,
            ShardFileError::Read { .. } | ShardFileError::Open { .. }
        ),
        "{error}"
    );
    let names = fs::read_dir(folder.path()).expect("it exists");
    assert_eq!(names.count(), 1, "no temporary file is left");
}
