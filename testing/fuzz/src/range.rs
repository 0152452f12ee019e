//! Range requests: whatever is asked for, what is sent exists and is no more than the whole.

use http::header::{CONTENT_LENGTH, RANGE};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{RangeType, range_header_filter};

/// Takes the first byte of `data` as the length of a response, the rest as a `Range` field.
pub fn range(data: &[u8]) {
    let Some((&length, value)) = data.split_first() else {
        return;
    };
    let length = usize::from(length);
    let mut req = RequestHeader::build("GET", b"/", None).expect("a valid head");
    if req.insert_header(RANGE, value).is_err() {
        return;
    }
    let mut resp = ResponseHeader::build(200, None).expect("a valid head");
    resp.insert_header(CONTENT_LENGTH, length)
        .expect("a valid value");
    let range = range_header_filter(&req, &mut resp, Some(16));
    let (status, sent) = match &range {
        RangeType::None => (200, Some(length)),
        RangeType::Invalid => (416, Some(0)),
        RangeType::Single(part) => {
            assert!(part.start < part.end && part.end <= length);
            (206, Some(part.len()))
        }
        RangeType::Multi(parts) => {
            assert!((2..=16).contains(&parts.ranges.len()));
            let exist = |part: &std::ops::Range<usize>| part.start < part.end && part.end <= length;
            assert!(parts.ranges.iter().all(exist));
            assert!(
                parts
                    .ranges
                    .iter()
                    .map(ExactSizeIterator::len)
                    .sum::<usize>()
                    <= length
            );
            (206, None)
        }
    };
    assert_eq!(resp.status(), status);
    if let Some(sent) = sent {
        assert_eq!(resp.headers[CONTENT_LENGTH], sent.to_string());
    }
}
