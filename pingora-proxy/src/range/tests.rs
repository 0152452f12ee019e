//! Tables of ranges and of heads.

use super::*;

#[test]
fn fields_are_read_as_the_rfc_says() {
    use Requested::{Everything, Nothing, Parts};
    let part = |range| Parts(vec![range]);
    let cases: &[(&str, Requested)] = &[
        ("bytes=0-0", part(0..1)),
        ("bytes=0-9", part(0..10)),
        ("bytes=0-", part(0..10)),
        ("bytes=9-", part(9..10)),
        ("bytes=3-5", part(3..6)),
        ("BYTES= 3-5 ", part(3..6)),
        ("bytes=-1", part(9..10)),
        ("bytes=-10", part(0..10)),
        ("bytes=-11", part(0..10)),
        ("bytes=5-100", part(5..10)),
        ("bytes=5-99999999999999999999999999", part(5..10)),
        ("bytes=-99999999999999999999999999", part(0..10)),
        ("bytes=10-", Nothing),
        ("bytes=10-20", Nothing),
        ("bytes=99999999999999999999999999-", Nothing),
        ("bytes=-0", Nothing),
        ("bytes=10-,20-30", Nothing),
        ("bytes=0-1,8-9", Parts(vec![0..2, 8..10])),
        ("bytes=8-9, 0-1", Parts(vec![8..10, 0..2])),
        ("bytes=,0-1,,", part(0..2)),
        ("bytes=0-1,50-60", part(0..2)),
        ("bytes=0-1,2-3,4-5", Everything),
        ("bytes=0-9,0-0", Everything),
        ("bytes=0-5,3-9", Everything),
        ("bytes=5-3", Everything),
        ("bytes=0-1,5-3", Everything),
        ("bytes=", Everything),
        ("bytes=,", Everything),
        ("bytes=-", Everything),
        ("bytes=a-b", Everything),
        ("bytes=+1-2", Everything),
        ("bytes=1 -2", Everything),
        ("bytes=1--2", Everything),
        ("bytes=0x1-2", Everything),
        ("bytes", Everything),
        ("bytes 0-1", Everything),
        ("items=0-1", Everything),
        ("", Everything),
    ];
    for (value, expected) in cases {
        assert_eq!(&parse_range(value.as_bytes(), 10, 2), expected, "{value}");
    }
    assert_eq!(parse_range(b"bytes=0-", 0, 2), Nothing);
    assert_eq!(parse_range(b"bytes=-5", 0, 2), Nothing);
}

fn get(fields: &[(&'static str, &str)]) -> RequestHeader {
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in fields {
        req.append_header(*name, *value).unwrap();
    }
    req
}

fn whole(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut resp = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        resp.append_header(*name, *value).unwrap();
    }
    resp
}

fn value<'a>(resp: &'a ResponseHeader, name: &str) -> Option<&'a str> {
    resp.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn if_range_must_name_this_very_response() {
    let date = "Tue, 15 Nov 1994 12:45:26 GMT";
    let cases = [
        ("\"a\"", true),
        ("\"b\"", false),
        ("W/\"a\"", false),
        (date, true),
        ("Tue, 15 Nov 1994 12:45:27 GMT", false),
        ("nonsense", false),
    ];
    for (condition, matches) in cases {
        let req = get(&[("Range", "bytes=0-0"), ("If-Range", condition)]);
        let fields = [
            ("Content-Length", "5"),
            ("ETag", "\"a\""),
            ("Last-Modified", date),
        ];
        let mut resp = whole(&fields);
        let range = range_header_filter(&req, &mut resp, None);
        assert_eq!(range != RangeType::None, matches, "{condition}");
    }
    let mut weak = whole(&[("Content-Length", "5"), ("ETag", "W/\"a\"")]);
    let req = get(&[("Range", "bytes=0-0"), ("If-Range", "W/\"a\"")]);
    assert_eq!(range_header_filter(&req, &mut weak, None), RangeType::None);
}

#[test]
fn heads_say_what_is_sent() {
    let length = ("Content-Length", "10");
    let mut resp = whole(&[length]);
    range_header_filter(&get(&[]), &mut resp, None);
    assert_eq!(
        (resp.status().as_u16(), value(&resp, "accept-ranges")),
        (200, Some("bytes"))
    );

    let mut resp = whole(&[length, ("ETag", "\"a\"")]);
    let range = range_header_filter(&get(&[("Range", "bytes=20-")]), &mut resp, None);
    assert_eq!((range, resp.status().as_u16()), (RangeType::Invalid, 416));
    assert_eq!(value(&resp, "content-range"), Some("bytes */10"));
    assert_eq!(value(&resp, "content-length"), Some("0"));
    assert_eq!(value(&resp, "etag"), None);
}

#[test]
fn what_cannot_be_cut_is_left_alone() {
    let range = [("Range", "bytes=0-0")];
    let mut resp = whole(&[]);
    assert_eq!(
        range_header_filter(&get(&range), &mut resp, None),
        RangeType::None
    );
    let mut resp = whole(&[("Content-Length", "10")]);
    resp.set_status(404).unwrap();
    assert_eq!(
        range_header_filter(&get(&range), &mut resp, None),
        RangeType::None
    );
    let mut head = get(&range);
    head.set_method(Method::HEAD);
    let mut resp = whole(&[("Content-Length", "10")]);
    assert_eq!(range_header_filter(&head, &mut resp, None), RangeType::None);
    assert_eq!(resp.status(), 200);
    let twice = [("Range", "bytes=0-0"), ("Range", "bytes=1-1")];
    assert_eq!(
        range_header_filter(&get(&twice), &mut resp, None),
        RangeType::None
    );
}

/// The length that is announced is that of the body the parts make.
#[test]
fn several_parts_are_framed() {
    let mut resp = whole(&[("Content-Length", "10"), ("Content-Type", "text/plain")]);
    let req = get(&[("Range", "bytes=0-1,-2")]);
    let RangeType::Multi(parts) = range_header_filter(&req, &mut resp, Some(2)) else {
        panic!("two parts were asked for");
    };
    let mut body = String::new();
    for range in &parts.ranges {
        body += &parts.part_head(range);
        body += &"0123456789"[range.clone()];
    }
    body += &parts.end();
    let b = &parts.boundary;
    let expected = format!(
        "\r\n--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
         \r\n--{b}\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
         \r\n--{b}--\r\n"
    );
    assert_eq!(body, expected);
    assert_eq!(
        value(&resp, "content-length"),
        Some(body.len().to_string().as_str())
    );
    let content_type = format!("multipart/byteranges; boundary={b}");
    assert_eq!(value(&resp, "content-type"), Some(content_type.as_str()));
    assert_ne!(MultiRangeInfo::new(vec![]).boundary, *b);
}

/// A request of a few bytes a part is not to be answered with a hundred bytes a part.
#[test]
fn the_number_of_parts_has_a_limit_by_default() {
    for (parts, status) in [(200, 206), (201, 200)] {
        let ranges: Vec<String> = (0..parts).map(|at| format!("{at}-{at}")).collect();
        let value = format!("bytes={}", ranges.join(","));
        let req = get(&[("Range", &value)]);
        let mut resp = whole(&[("Content-Length", "1000")]);
        range_header_filter(&req, &mut resp, None);
        assert_eq!(resp.status(), status, "{parts}");
        let mut resp = whole(&[("Content-Length", "1000")]);
        range_header_filter(&req, &mut resp, Some(1000));
        assert_eq!(resp.status(), 206, "{parts}");
    }
}
