//! The examples of RFC 7541 appendix C, what is malformed, what is worth an entry, and random fields against a
//! naive twin.

use bytes::BytesMut;
use std::mem::size_of;

use pingora_http::fields::KnownName;
use proptest::prelude::*;

use super::kind::Judged;
use super::statics::{self, STATIC, Worth};
use super::table::{Name, Table};
use super::*;

type Fields = Vec<(String, String)>;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Splits `name: value` lines.
fn fields(lines: &[&str]) -> Fields {
    let split = |line: &&str| {
        let colon = line[1..].find(": ").unwrap() + 1;
        (line[..colon].to_owned(), line[colon + 2..].to_owned())
    };
    lines.iter().map(split).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    decoder.decode(block, usize::MAX, |field| {
        fields.push((text(field.name), text(field.value)))
    })?;
    Ok(fields)
}

fn table<M: Copy>(table: &Table<M>) -> Fields {
    let entry = |age| {
        table
            .get(age)
            .map(|entry| (text(entry.name), text(entry.value)))
    };
    (0..).map_while(entry).collect()
}

fn kind_of(name: &[u8], value: &[u8]) -> Kind {
    Judged::new(Kind::of_name(name), value).kind()
}

/// Decodes a block and compares the fields, the table and its size.
fn check(decoder: &mut Decoder, block: &str, expected: &[&str], entries: &[&str], size: usize) {
    assert_eq!(
        decode(decoder, &hex(block)).unwrap(),
        fields(expected),
        "{block}"
    );
    assert_eq!(table(&decoder.table), fields(entries), "{block}");
    assert_eq!(decoder.table.size(), size, "{block}");
}

// === The examples of appendix C ===

#[test]
fn integers_are_those_of_c_1() {
    // C.1.1 and C.1.2: the length of a string would do, but a size update shows its number.
    for (value, mask, expected) in [(10, 0x1f, "0a"), (1337, 0x1f, "1f9a0a"), (42, 0xff, "2a")] {
        let mut out = BytesMut::new();
        encoder::write_integer(value, 0, mask, &mut out);
        assert_eq!(out, hex(expected), "{value}");
        let mut input = decoder::Input { rest: &out[1..] };
        assert_eq!(input.integer(out[0], mask), Ok(value));
        assert!(input.rest.is_empty());
    }
}

#[test]
fn literals_are_those_of_c_2() {
    let mut decoder = Decoder::new(4096);
    let custom = "custom-key: custom-header";
    let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(&mut decoder, block, &[custom], &[custom], 55);
    let mut decoder = Decoder::new(4096);
    let block = "040c 2f73 616d 706c 652f 7061 7468";
    check(&mut decoder, block, &[":path: /sample/path"], &[], 0);
    let block = "1008 7061 7373 776f 7264 0673 6563 7265 74";
    check(&mut decoder, block, &["password: secret"], &[], 0);
    decoder
        .decode(&hex(block), usize::MAX, |field| assert!(field.is_sensitive))
        .unwrap();
    check(&mut decoder, "82", &[":method: GET"], &[], 0);
}

#[test]
fn requests_are_those_of_c_3_and_c_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let authority = ":authority: www.example.com";
    let http = [":method: GET", ":scheme: http", ":path: /", authority];
    let no_cache = "cache-control: no-cache";
    let custom = "custom-key: custom-value";
    for blocks in [plain, huffman] {
        let decoder = &mut Decoder::new(4096);
        check(decoder, blocks[0], &http, &[authority], 57);
        let second = [&http[..], &[no_cache]].concat();
        check(decoder, blocks[1], &second, &[no_cache, authority], 110);
        let third = [
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            authority,
            custom,
        ];
        check(
            decoder,
            blocks[2],
            &third,
            &[custom, no_cache, authority],
            164,
        );
    }
}

#[test]
fn responses_are_those_of_c_5_and_c_6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 \
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 \
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 \
         3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let [found, temporary] = [":status: 302", ":status: 307"];
    let private = "cache-control: private";
    let [date, later] = [
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
    ];
    let location = "location: https://www.example.com";
    let gzip = "content-encoding: gzip";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    for blocks in [plain, huffman] {
        let decoder = &mut Decoder::new(4096);
        check(decoder, "3fe1 01", &[], &[], 0);
        let first = [found, private, date, location];
        check(
            decoder,
            blocks[0],
            &first,
            &[location, date, private, found],
            222,
        );
        let second = [temporary, private, date, location];
        check(
            decoder,
            blocks[1],
            &second,
            &[temporary, location, date, private],
            222,
        );
        let third = [":status: 200", private, later, location, gzip, cookie];
        check(decoder, blocks[2], &third, &[cookie, gzip, later], 215);
    }
}

// === Decoding ===

#[test]
fn what_is_no_hpack_is_refused() {
    let cases: &[(&str, &str)] = &[
        ("80", "an index that no table has"),
        ("be", "an index that no table has"),
        ("ff00", "an index that no table has"),
        ("7e 0161", "an index that no table has"),
        ("0f2f 0161", "an index that no table has"),
        ("ff", CUT),
        ("ff80", CUT),
        ("ff80808080", HUGE),
        ("ffffffffff7f", HUGE),
        ("ffffffffffffffffffffffffffffffff", HUGE),
        ("00", CUT),
        ("0001", CUT),
        ("000161", CUT),
        ("00016102", CUT),
        ("0001610261", CUT),
        ("04", CUT),
        ("047f", CUT),
        // Lengths announced and not there.
        ("047fffffff7f", CUT),
        ("04ffffffff7f", CUT),
        ("047fffffffff7f", HUGE),
        // More than seven bits of padding, padding with a zero, padding alone, the end symbol.
        ("0482 1fff", STRING),
        ("0481 1e", STRING),
        ("0481 ff", STRING),
        ("0484 ffffffff", STRING),
        ("0485 1ffffffffc", STRING),
        ("0487 ffffffffffffff", STRING),
        ("3fe21f", LIMIT),
        ("3fffffffff7f", HUGE),
        ("8220", LATE),
        ("203fe11f203fe21f", LIMIT),
        ("40016101623f00", LATE),
    ];
    const CUT: &str = "a block that ends within a field";
    const HUGE: &str = "an integer that is too large";
    const STRING: &str = "a string that is no Huffman code";
    const LIMIT: &str = "a size update above the limit";
    const LATE: &str = "a size update after a field";
    for (block, why) in cases {
        let result = decode(&mut Decoder::new(4096), &hex(block));
        assert_eq!(result, Err(Malformed(why)), "{block}");
    }
}

#[test]
fn every_cut_of_a_block_is_refused_or_shorter() {
    let block = hex(
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    );
    let whole = decode(&mut Decoder::new(4096), &block).unwrap();
    for cut in 0..block.len() {
        if let Ok(fields) = decode(&mut Decoder::new(4096), &block[..cut]) {
            assert!(
                fields.len() < whole.len() && whole.starts_with(&fields),
                "{cut}"
            );
        }
    }
}

#[test]
fn size_updates_start_a_block() {
    let decoder = &mut Decoder::new(100);
    let entry = "40016101 62";
    check(decoder, entry, &["a: b"], &["a: b"], 34);
    // Down to nothing and up again, in one block.
    check(decoder, "20 3f45 82", &[":method: GET"], &[], 0);
    assert_eq!(decoder.table.max_size(), 100);
    for size in [34, 68, 68] {
        check(decoder, entry, &["a: b"], &["a: b"; 3][..size / 34], size);
    }
    check(decoder, "3f25", &[], &["a: b"; 2], 68);
    check(decoder, "3f24", &[], &["a: b"; 1], 34);
    check(decoder, "3f02", &[], &[], 0);
    assert_eq!(
        decode(decoder, &hex("3f46")),
        Err(Malformed("a size update above the limit"))
    );
}

#[test]
fn a_name_may_be_evicted_by_its_own_entry() {
    let decoder = &mut Decoder::new(4096);
    check(
        decoder,
        "3f10 4003 6b65 79 01 61",
        &["key: a"],
        &["key: a"],
        36,
    );
    check(decoder, "7e 02 6262", &["key: bb"], &["key: bb"], 37);
    // One that is too large empties the table, yet has its name.
    let large = "key: 0123456789abcdef";
    check(
        decoder,
        "7e 10 3031 3233 3435 3637 3839 6162 6364 6566",
        &[large],
        &[],
        0,
    );
}

#[test]
fn kinds_are_found() {
    let known = Kind::Known;
    let cases: &[(&[u8], &[u8], Kind)] = &[
        (b":path", b"/", Kind::Pseudo(Pseudo::Path)),
        (b":protocol", b"websocket", Kind::Pseudo(Pseudo::Protocol)),
        (b":status", b"200 ", Kind::Invalid),
        (b":unknown", b"", Kind::Invalid),
        (b":Path", b"/", Kind::Invalid),
        (b":", b"", Kind::Invalid),
        (b"", b"", Kind::Invalid),
        (b"content-length", b"1", known(KnownName::ContentLength)),
        (b"Content-length", b"1", Kind::Invalid),
        (b"x-any.thing_9", b"", Kind::Other),
        (b"x-Any", b"", Kind::Invalid),
        (b"x any", b"", Kind::Invalid),
        (b"x:any", b"", Kind::Invalid),
        (b"x\x80", b"", Kind::Invalid),
        (b"te", b"\xff\x80 a\tb", known(KnownName::Te)),
    ];
    for (name, value, kind) in cases {
        assert_eq!(kind_of(name, value), *kind, "{}", text(name));
    }
    for len in 1..40 {
        for at in 0..len {
            for byte in 0..=255 {
                let mut value = vec![b'a'; len];
                value[at] = byte;
                let at_end = at == 0 || at == len - 1;
                let is_valid = match byte {
                    b' ' | b'\t' => !at_end,
                    0..32 | 127 => false,
                    _ => true,
                };
                let kind = kind_of(b"x", &value);
                assert_eq!(kind == Kind::Other, is_valid, "{byte} at {at} of {len}");
            }
        }
    }
}

#[test]
fn kinds_are_kept() {
    let kinds = |decoder: &mut Decoder, block: &str| {
        let mut kinds = Vec::new();
        decoder
            .decode(&hex(block), usize::MAX, |field| kinds.push(field.kind))
            .unwrap();
        kinds
    };
    let decoder = &mut Decoder::new(4096);
    let [invalid, other] = [Kind::Invalid, Kind::Other];
    // A value that is none, then its name with one that is; a name that is none, then with another value.
    assert_eq!(
        kinds(decoder, "400161 0100 be 7e0162 be bf"),
        [invalid, invalid, other, other, invalid]
    );
    assert_eq!(kinds(decoder, "400141 0162 be 7e0163"), [invalid; 3]);
    let date = Kind::Known(KnownName::Date);
    assert_eq!(
        kinds(decoder, "610161 be 7e0162 0f2f0120"),
        [date, date, date, invalid]
    );
    for entry in &STATIC {
        let kind = kind_of(entry.name.as_bytes(), entry.value.as_bytes());
        assert_eq!(kind, entry.kind, "{}", entry.name);
    }
}

#[test]
fn strings_of_all_bytes_are_decoded() {
    for byte in 0..=255 {
        for raw in [vec![byte], vec![b'a', byte, b'0'], vec![byte; 20]] {
            let mut coded = BytesMut::new();
            let padded = [&raw[..], &[b'0'; 80]].concat();
            let mut output = vec![0; 1000];
            if huffman::encode::<false>(&padded, &mut coded) {
                assert_eq!(coded.len(), huffman::encoded_len::<false>(&padded));
                let len = huffman::decode(&coded, &mut output).unwrap();
                assert_eq!(&output[..len], padded);
            } else {
                assert!(huffman::encoded_len::<false>(&padded) >= padded.len());
            }
        }
    }
}

// === Encoding ===

/// Encodes a field and says how: `indexed`, `kept`, `literal` or `never`.
fn how(encoder: &mut Encoder, name: &str, value: &str) -> &'static str {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    assert!(out.is_empty());
    encoder.field(
        name.as_bytes(),
        KnownName::of(name.as_bytes()),
        value.as_bytes(),
        false,
        &mut out,
    );
    match out[0] {
        0x80.. => "indexed",
        0x40.. => "kept",
        0x10.. => "never",
        _ => "literal",
    }
}

#[test]
fn what_is_worth_it_gets_an_entry() {
    let long = "x".repeat(1100);
    let steps = [
        ("Server", "origin", "kept"),
        ("server", "origin", "indexed"),
        ("X-Frame-Options", "DENY", "kept"),
        ("x-frame-options", "DENY", "indexed"),
        // Another value, until it comes again.
        ("x-frame-options", "SAMEORIGIN", "literal"),
        ("x-frame-options", "SAMEORIGIN", "kept"),
        ("x-frame-options", "SAMEORIGIN", "indexed"),
        ("x-frame-options", "DENY", "indexed"),
        // What changes.
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT", "literal"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT", "literal"),
        ("Date", "Mon, 21 Oct 2013 20:13:22 GMT", "kept"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT", "indexed"),
        ("last-modified", "now", "literal"),
        ("if-none-match", "\"a\"", "literal"),
        ("content-range", "bytes 1-2/3", "literal"),
        ("age", "1", "literal"),
        ("content-length", "1", "literal"),
        // Secrets.
        ("authorization", "Basic abc", "never"),
        ("proxy-authorization", "Basic abc", "never"),
        ("set-cookie", "a=b; and more of it than is short", "never"),
        ("cookie", "a=b", "never"),
        ("cookie", "a=0123456789abcdef0123456789", "kept"),
        ("cookie", "a=0123456789abcdef0123456789", "indexed"),
        ("accept-encoding", "gzip, deflate", "indexed"),
        ("accept-encoding", "br", "kept"),
        ("x-long", &long, "literal"),
        ("x-long", &long, "literal"),
    ];
    let encoder = &mut Encoder::new();
    for (at, (name, value, expected)) in steps.into_iter().enumerate() {
        assert_eq!(how(encoder, name, value), expected, "{at}: {name}: {value}");
    }
}

#[test]
fn sensitive_fields_are_marked_and_not_kept() {
    let encoder = &mut Encoder::new();
    let decoder = &mut Decoder::new(4096);
    for name in ["x-token", "X-Token", "server", "age"] {
        for _ in 0..3 {
            let mut out = BytesMut::new();
            encoder.begin(&mut out);
            encoder.field(
                name.as_bytes(),
                KnownName::of(name.as_bytes()),
                b"secret",
                true,
                &mut out,
            );
            decoder
                .decode(&out, usize::MAX, |field| {
                    assert!(field.is_sensitive);
                    assert_eq!(text(field.name), name.to_lowercase());
                })
                .unwrap();
        }
    }
    assert_eq!(table(&decoder.table), []);
}

#[test]
fn many_names_are_found_while_numbers_wrap() {
    let encoder = &mut Encoder::new();
    encoder.newest = u16::MAX - 100;
    let decoder = &mut Decoder::new(4096);
    for number in 0_usize..400 {
        // Some eighty fit in the table.
        let sent = [
            (number, false),
            (number, true),
            (number.saturating_sub(30), true),
        ];
        for (number, is_indexed) in sent {
            let (name, value) = (format!("name-{number}"), format!("value-{number}"));
            let mut out = BytesMut::new();
            encoder.field(name.as_bytes(), None, value.as_bytes(), false, &mut out);
            assert_eq!(out.len() <= 2, is_indexed, "{number}");
            assert_eq!(decode(decoder, &out), Ok(vec![(name, value)]));
        }
    }
}

#[test]
fn pseudo_headers_and_statuses_use_the_static_table() {
    let one = |name, value: &str| {
        let mut out = BytesMut::new();
        Encoder::new().pseudo(name, value.as_bytes(), &mut out);
        out
    };
    for (at, entry) in STATIC.iter().enumerate() {
        if let Kind::Pseudo(name) = entry.kind
            && !entry.value.is_empty()
        {
            assert_eq!(one(name, entry.value)[..], [0x81 + at as u8]);
        }
    }
    assert_eq!(one(Pseudo::Path, "/a"), hex("04 02 2f61"));
    for status in 100..=999 {
        let mut encoder = Encoder::new();
        let decoder = &mut Decoder::new(4096);
        for _ in 0..2 {
            let mut out = BytesMut::new();
            encoder.status(status, &mut out);
            let expected = vec![(":status".to_owned(), status.to_string())];
            assert_eq!(decode(decoder, &out), Ok(expected));
        }
    }
}

#[test]
fn size_updates_tell_the_smallest_and_the_last() {
    let mut encoder = Encoder::new();
    let mut check = |sizes: &[usize], expected: &str| {
        for &size in sizes {
            encoder.set_max_table_size(size);
        }
        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        assert_eq!(out, hex(expected), "{sizes:?}");
    };
    check(&[], "");
    check(&[4096], "");
    check(&[65536], "");
    check(&[100], "3f45");
    check(&[100], "");
    check(&[0, 100], "20 3f45");
    check(&[50, 0, 4096], "20 3fe11f");
    check(&[65536, 50, 70000], "3f13 3fe11f");
}

#[test]
fn every_static_name_has_its_traits() {
    for (at, entry) in STATIC.iter().enumerate() {
        let name = entry.name.as_bytes();
        let traits = match entry.kind {
            Kind::Known(known) => statics::of_known(known),
            Kind::Other => statics::of_other(&name.to_ascii_uppercase()),
            _ => continue,
        };
        assert_eq!(usize::from(traits.index), at + 1, "{}", entry.name);
    }
    let changing: Vec<_> = STATIC
        .iter()
        .filter(|entry| entry.kind == Kind::Other)
        .filter(|entry| statics::of_other(entry.name.as_bytes()).worth == Worth::Changing)
        .map(|entry| entry.name)
        .collect();
    let expected = "age content-range expires if-match if-modified-since if-none-match if-range \
                    if-unmodified-since last-modified";
    assert_eq!(changing.join(" "), expected);
    assert_eq!(statics::of_other(b"x-other").index, 0);
    assert_eq!(statics::of_other(b"").index, 0);
}

// === Memory ===

#[test]
fn idle_coders_are_small() {
    assert!(size_of::<Decoder>() <= 96, "{}", size_of::<Decoder>());
    assert!(size_of::<Encoder>() <= 128, "{}", size_of::<Encoder>());
}

#[test]
fn the_buffer_of_a_table_does_not_grow_for_ever() {
    let mut table = Table::new(4096);
    for number in 0..10_000_u32 {
        let value = vec![b'v'; number as usize % 700];
        table.insert(Name::Bytes(b"name"), &value, number);
        assert!(table.size() <= 4096);
        assert_eq!(table.get(0).unwrap().value, value);
        assert_eq!(table.get(0).unwrap().mark, number);
    }
    assert!(table.capacity() <= 3 * 4096, "{}", table.capacity());
    table.set_max_size(0);
    assert_eq!(table.capacity(), 0);
}

// === Random fields against naive twins ===

/// The table as RFC 7541 2.3.2 and 4 describe it.
struct NaiveTable {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    max_size: usize,
}

impl NaiveTable {
    fn evict(&mut self, more: usize) {
        let size = |entries: &[(Vec<u8>, Vec<u8>)]| -> usize {
            entries
                .iter()
                .map(|(name, value)| name.len() + value.len() + 32)
                .sum()
        };
        while !self.entries.is_empty() && size(&self.entries) + more > self.max_size {
            self.entries.pop();
        }
    }

    fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let size = name.len() + value.len() + 32;
        self.evict(size);
        if size <= self.max_size {
            self.entries.insert(0, (name, value));
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Vec<u8>, Vec<u8>),
    InsertNameOf(usize, Vec<u8>),
    Resize(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        4 => (bytes(), bytes()).prop_map(|(name, value)| Operation::Insert(name, value)),
        4 => (0..6_usize, bytes()).prop_map(|(age, value)| Operation::InsertNameOf(age, value)),
        1 => (0..600_usize).prop_map(Operation::Resize),
    ]
}

/// A message: sizes the peer sets before it, and its fields with whether they are sensitive.
type Message = (Vec<usize>, Vec<(String, Vec<u8>, bool)>);

fn message() -> impl Strategy<Value = Message> {
    let name = prop_oneof![
        "[a-z]{1,3}",
        "[A-Za-z0-9-]{0,30}",
        prop::sample::select(vec![
            "date",
            "Server",
            "content-type",
            "cookie",
            "age",
            "x-a",
            "X-A",
            "accept-encoding",
            "etag",
        ])
        .prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        2 => "[a-c]{0,2}".prop_map(String::into_bytes),
        2 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let sizes = prop_oneof![
        6 => Just(Vec::new()),
        1 => prop::collection::vec(0..5000_usize, 1..3),
    ];
    let field = (name, value, prop::bool::weighted(0.1));
    (sizes, prop::collection::vec(field, 0..12))
}

proptest! {
    #[test]
    fn tables_are_like_the_naive_one(operations in prop::collection::vec(operation(), 0..80)) {
        let mut table = Table::new(300);
        let mut naive = NaiveTable { entries: Vec::new(), max_size: 300 };
        for operation in operations {
            match operation {
                Operation::Insert(name, value) => {
                    table.insert(Name::Bytes(&name), &value, ());
                    naive.insert(name, value);
                }
                Operation::InsertNameOf(age, value) => {
                    let is_there = age < naive.entries.len();
                    table.insert(Name::OfEntry(age), &value, ());
                    if is_there {
                        let name = naive.entries[age].0.clone();
                        naive.insert(name, value);
                    }
                }
                Operation::Resize(max_size) => {
                    table.set_max_size(max_size);
                    naive.max_size = max_size;
                    naive.evict(0);
                }
            }
            for (age, (name, value)) in naive.entries.iter().enumerate() {
                let entry = table.get(age).unwrap();
                prop_assert_eq!(entry.name, name);
                prop_assert_eq!(entry.value, value);
            }
            prop_assert!(table.get(naive.entries.len()).is_none());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(messages in prop::collection::vec(message(), 1..12)) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(4096);
        for (sizes, fields) in messages {
            sizes.iter().for_each(|&size| encoder.set_max_table_size(size));
            let mut block = BytesMut::new();
            encoder.begin(&mut block);
            for (name, value, sensitive) in &fields {
                let known = KnownName::of(name.as_bytes());
                encoder.field(name.as_bytes(), known, value, *sensitive, &mut block);
            }
            let mut expected = fields.iter();
            decoder.decode(&block, usize::MAX, |field| {
                let (name, value, sensitive) = expected.next().unwrap();
                assert_eq!(text(field.name), name.to_ascii_lowercase());
                assert_eq!(field.value, value);
                assert!(field.is_sensitive >= *sensitive);
                assert_eq!(field.kind, kind_of(field.name, value));
            }).unwrap();
            prop_assert!(expected.next().is_none());
            prop_assert_eq!(decoder.table.size(), encoder.table.size());
        }
    }

    #[test]
    fn any_block_is_decoded_or_refused(blocks in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let mut decoder = Decoder::new(200);
        for block in blocks {
            let result = decoder.decode(&block, usize::MAX, |field| {
                assert_eq!(field.kind, kind_of(field.name, field.value));
            });
            if result.is_err() {
                break;
            }
        }
    }

    #[test]
    fn huffman_is_like_bit_by_bit(coded in prop::collection::vec(
        prop_oneof![2 => any::<u8>(), 1 => Just(0xff)], 0..20)) {
        let mut output = vec![0; huffman::decoded_bound(coded.len())];
        let decoded = huffman::decode(&coded, &mut output).map(|len| output[..len].to_vec());
        prop_assert_eq!(decoded, naive_huffman(&coded));
    }
}

/// Decodes bit by bit (RFC 7541 5.2).
fn naive_huffman(coded: &[u8]) -> Option<Vec<u8>> {
    let (mut decoded, mut code, mut bits) = (Vec::new(), 0_u32, 0_u8);
    for at in 0..coded.len() * 8 {
        code = code << 1 | u32::from(coded[at / 8] >> (7 - at % 8) & 1);
        bits += 1;
        let is_it = |known: &huffman::Code| (known.code, known.bits) == (code, bits);
        if let Some(symbol) = huffman::CODES.iter().position(is_it) {
            decoded.push(u8::try_from(symbol).ok()?);
            (code, bits) = (0, 0);
        }
    }
    (bits < 8 && code == (1 << bits) - 1).then_some(decoded)
}
