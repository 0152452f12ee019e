//! Which responses are coded, and what their heads say afterwards. Pure. Read next: `ctx.rs`.

use http::StatusCode;
use pingora_http::ResponseHeader;
use pingora_http::fields::{Fields, KnownName};

use super::Algorithm;

/// Returns whether a response with this head has a whole body that may be coded otherwise.
pub(super) fn may_be_coded(resp: &ResponseHeader) -> bool {
    let status = resp.status();
    let whole = !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::RESET_CONTENT
        && status != StatusCode::PARTIAL_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    // RFC 9110 section 7.7: a proxy leaves content alone that is marked so.
    whole
        && resp.fields().get_by_name(b"content-range").is_none()
        && !lists(resp.fields(), KnownName::CacheControl, b"no-transform")
}

/// Returns whether the content is of a kind that becomes smaller, and not coded yet.
pub(super) fn is_compressible(resp: &ResponseHeader, min_size: u64) -> bool {
    let fields = resp.fields();
    let plain = fields
        .get_all(KnownName::ContentEncoding)
        .all(|value| value.trim_ascii().eq_ignore_ascii_case(b"identity"));
    let large = content_length(fields).is_none_or(|length| length >= min_size);
    let kind = fields.get(KnownName::ContentType).unwrap_or_default();
    plain && large && is_compressible_type(kind)
}

/// Returns the coding of the content, if it is one and no more.
pub(super) fn coding(resp: &ResponseHeader) -> Option<Algorithm> {
    let mut values = resp.fields().get_all(KnownName::ContentEncoding);
    let value = values.next()?;
    let name = std::str::from_utf8(value.trim_ascii()).ok()?;
    values.next().is_none().then(|| Algorithm::from(name))
}

/// Returns whether the length of the content is told in advance.
pub(super) fn has_length(resp: &ResponseHeader) -> bool {
    resp.fields().has(KnownName::ContentLength)
}

/// Changes the head to that of the content in another coding, `None` being none.
///
/// Lengths, digests and byte ranges of the old content are gone; a strong validator becomes a weak one,
/// for the bytes are not those the origin meant (RFC 9110 section 8.8.3.3), unless `keep_etag`.
pub(super) fn recode(resp: &mut ResponseHeader, coding: Option<Algorithm>, keep_etag: bool) {
    match coding {
        Some(coding) => resp.set_known(KnownName::ContentEncoding, coding.as_str().as_bytes()),
        None => {
            resp.remove_known(KnownName::ContentEncoding);
        }
    }
    resp.remove_known(KnownName::ContentLength);
    for name in [
        "accept-ranges",
        "content-md5",
        "content-digest",
        "digest",
        "repr-digest",
    ] {
        resp.remove_header(name);
    }
    let strong = resp
        .fields()
        .get(KnownName::Etag)
        .filter(|tag| tag.starts_with(b"\""));
    if let Some(strong) = strong.filter(|_| !keep_etag) {
        let weak = [b"W/", strong].concat();
        resp.set_known(KnownName::Etag, &weak);
    }
}

/// Adds a name to `Vary`, unless it is there (RFC 9110 section 12.5.5).
pub(super) fn vary_on(resp: &mut ResponseHeader, name: &'static str) {
    let fields = resp.fields();
    if lists(fields, KnownName::Vary, b"*") || lists(fields, KnownName::Vary, name.as_bytes()) {
        return;
    }
    // Past the limit of fields the head goes out without: caches then keep one more variant.
    let _ = resp.append_header("Vary", name);
}

/// Returns whether a list field has this member, whatever its case.
fn lists(fields: &Fields, name: KnownName, member: &[u8]) -> bool {
    fields
        .get_all(name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(member))
}

fn content_length(fields: &Fields) -> Option<u64> {
    let value = fields.get(KnownName::ContentLength)?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Returns whether content of this type becomes smaller: what is not compressed by itself.
fn is_compressible_type(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';');
    let essence = content_type[..end.unwrap_or(content_type.len())].trim_ascii();
    let essence = essence.to_ascii_lowercase();
    let Some(slash) = essence.iter().position(|byte| *byte == b'/') else {
        return false;
    };
    let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
    let is_text = subtype.ends_with(b"+json") || subtype.ends_with(b"+xml");
    let starts = |prefix: &&[u8]| subtype.starts_with(prefix);
    match kind {
        b"text" => true,
        _ if is_text => true,
        b"application" => !COMPRESSED_APPLICATION.iter().any(starts) && !subtype.ends_with(b"+zip"),
        b"font" => !subtype.starts_with(b"woff"),
        b"image" => PLAIN_IMAGE.contains(&subtype),
        _ => false,
    }
}

/// How subtypes of `application` begin that are compressed already, or framed so that a second coding is in
/// the way: messages of gRPC are compressed one by one.
const COMPRESSED_APPLICATION: &[&[u8]] = &[
    b"zip",
    b"gzip",
    b"x-gzip",
    b"x-7z",
    b"x-bzip",
    b"x-xz",
    b"x-lz",
    b"x-rar",
    b"x-zip",
    b"x-brotli",
    b"x-compress",
    b"zstd",
    b"zlib",
    b"vnd.rar",
    b"java-archive",
    b"vnd.android.package-archive",
    b"vnd.openxmlformats-officedocument",
    b"vnd.oasis.opendocument",
    b"epub",
    b"font-woff",
    b"x-font-woff",
    b"grpc",
];

const PLAIN_IMAGE: &[&[u8]] = &[b"bmp", b"x-icon", b"vnd.microsoft.icon", b"x-ms-bmp"];

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn some_responses_are_left_alone() {
        for (status, fields, coded) in [
            (200, &[][..], true),
            (404, &[], true),
            (100, &[], false),
            (101, &[], false),
            (204, &[], false),
            (205, &[], false),
            (206, &[], false),
            (304, &[], false),
            (200, &[("content-range", "bytes 0-1/2")], false),
            (200, &[("cache-control", "public, No-Transform")], false),
            (
                200,
                &[
                    ("cache-control", "public"),
                    ("cache-control", "no-transform"),
                ],
                false,
            ),
            (200, &[("cache-control", "no-transformation")], true),
        ] {
            assert_eq!(
                may_be_coded(&head(status, fields)),
                coded,
                "{status} {fields:?}"
            );
        }
    }

    #[test]
    fn types_that_become_smaller() {
        for (content_type, compressible) in [
            ("text/html", true),
            ("TEXT/HTML; charset=utf-8", true),
            ("text/event-stream", true),
            ("application/json", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("font/ttf", true),
            ("font/woff2", false),
            ("image/png", false),
            ("video/mp4", false),
            ("application/octet-stream", true),
            ("application/zip", false),
            ("application/grpc", false),
            ("application/grpc-web+proto", false),
            ("application/epub+zip", false),
            (
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                false,
            ),
            ("text", false),
            ("", false),
        ] {
            let head = head(200, &[("content-type", content_type)]);
            assert_eq!(is_compressible(&head, 0), compressible, "{content_type}");
        }
    }

    #[test]
    fn size_and_coding_count() {
        for (fields, compressible) in [
            (&[("content-length", "99")][..], false),
            (&[("content-length", "100")], true),
            (&[], true),
            (&[("content-encoding", "gzip")], false),
            (&[("content-encoding", "identity")], true),
            (&[("content-encoding", "identity, br")], false),
        ] {
            let mut head = head(200, fields);
            head.insert_header("content-type", "text/html").unwrap();
            assert_eq!(is_compressible(&head, 100), compressible, "{fields:?}");
        }
        assert_eq!(
            coding(&head(200, &[("content-encoding", " GZIP ")])),
            Some(Algorithm::Gzip)
        );
        assert_eq!(
            coding(&head(200, &[("content-encoding", "gzip, br")])),
            Some(Algorithm::Other)
        );
        assert_eq!(
            coding(&head(
                200,
                &[("content-encoding", "br"), ("content-encoding", "br")]
            )),
            None
        );
        assert_eq!(coding(&head(200, &[])), None);
    }

    #[test]
    fn heads_follow_their_content() {
        let mut resp = head(
            200,
            &[
                ("etag", "\"a\""),
                ("content-length", "9"),
                ("accept-ranges", "bytes"),
                ("Content-MD5", "x"),
                ("vary", "Origin, Accept-Encoding"),
            ],
        );
        vary_on(&mut resp, "Accept-Encoding");
        recode(&mut resp, Some(Algorithm::Brotli), false);
        let mut wire = Vec::new();
        resp.header_to_h1_wire(&mut wire);
        assert_eq!(
            String::from_utf8(wire).unwrap().to_ascii_lowercase(),
            "etag: w/\"a\"\r\nvary: origin, accept-encoding\r\ncontent-encoding: br\r\n"
        );
        vary_on(&mut resp, "Available-Dictionary");
        assert_eq!(resp.headers.get_all("vary").iter().count(), 2);
        recode(&mut resp, None, false);
        assert!(!resp.headers.contains_key("content-encoding"));
        assert_eq!(resp.headers["etag"], "W/\"a\"");
        let mut kept = head(200, &[("etag", "\"a\""), ("vary", "*")]);
        recode(&mut kept, None, true);
        vary_on(&mut kept, "Accept-Encoding");
        assert_eq!(kept.headers["etag"], "\"a\"");
        assert_eq!(kept.headers["vary"], "*");
    }
}
