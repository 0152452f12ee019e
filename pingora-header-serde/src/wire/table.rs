//! The names and values that have tokens. Entries are added at the end of their list and never
//! changed: stored heads refer to them by their places.
//!
//! A name has two spellings, the usual one of HTTP/1 and the lower case one of HTTP/2. Read next:
//! `../wire.rs`.

/// A name with its tokens.
pub(crate) struct Known {
    pub(crate) usual: &'static str,
    pub(crate) lower: &'static str,
    values: &'static [&'static str],
}

/// The most names there is room for.
pub(crate) const MAX_NAMES: usize = 96;

/// The most values of one name there is room for.
const MAX_VALUES: usize = 58;

/// Returns the place of a name, and whether it is spelled in lower case.
///
/// `None` if it is not in the table or spelled in another way.
pub(crate) fn find_name(name: &[u8]) -> Option<(u8, bool)> {
    let mut slot = slot(name);
    while let Some(known) = NAMES.get(usize::from(SLOTS[slot])) {
        if known.usual.as_bytes() == name {
            return Some((SLOTS[slot], false));
        }
        if known.lower.as_bytes() == name {
            return Some((SLOTS[slot], true));
        }
        slot = (slot + 1) % SLOTS.len();
    }
    None
}

/// Returns the place of a value under the name at that place.
pub(crate) fn find_value(name: u8, value: &[u8]) -> Option<u8> {
    let values = NAMES[usize::from(name)].values;
    let at = values.iter().position(|known| known.as_bytes() == value)?;
    Some(at as u8)
}

/// Returns the value at that place under the name at that place.
pub(crate) fn value(name: u8, at: u8) -> Option<&'static str> {
    NAMES
        .get(usize::from(name))?
        .values
        .get(usize::from(at))
        .copied()
}

/// Where to begin to look for a name, in any case.
const fn slot(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let first = (name[0] | 0x20) as usize;
    let middle = (name[length / 2] | 0x20) as usize;
    let last = (name[length - 1] | 0x20) as usize;
    (length * 7 + first * 3 + middle * 37 + last * 11) % SLOT_COUNT
}

/// Slots, an eighth of them taken or a little more.
const SLOT_COUNT: usize = 512;

/// For each slot the place of a name, or `EMPTY`. A name is in the first free slot from its own.
static SLOTS: [u8; SLOT_COUNT] = slots();
const EMPTY: u8 = u8::MAX;

const fn slots() -> [u8; SLOT_COUNT] {
    let mut slots = [EMPTY; SLOT_COUNT];
    let mut at = 0;
    while at < NAMES.len() {
        let mut free = slot(NAMES[at].lower.as_bytes());
        while slots[free] != EMPTY {
            free = (free + 1) % SLOT_COUNT;
        }
        slots[free] = at as u8;
        assert!(
            NAMES[at].values.len() <= MAX_VALUES,
            "tokens for values end"
        );
        at += 1;
    }
    assert!(at <= MAX_NAMES, "tokens for names end");
    slots
}

macro_rules! known {
    ($($usual:literal $lower:literal [$($value:literal),* $(,)?])*) => {
        &[$(Known { usual: $usual, lower: $lower, values: &[$($value),*] }),*]
    };
}

/// The names, each with its values.
pub(crate) const NAMES: &[Known] = known! {
    "Date" "date" []
    "Content-Type" "content-type" ["text/html", "text/html; charset=utf-8", "text/html; charset=UTF-8", "text/html;charset=utf-8", "text/html;charset=UTF-8", "text/plain", "text/plain; charset=utf-8", "text/plain; charset=UTF-8", "text/plain;charset=UTF-8", "text/css", "text/css; charset=utf-8", "text/css; charset=UTF-8", "text/javascript", "text/javascript; charset=utf-8", "text/javascript; charset=UTF-8", "application/javascript", "application/javascript; charset=utf-8", "application/javascript; charset=UTF-8", "application/x-javascript", "application/json", "application/json; charset=utf-8", "application/json; charset=UTF-8", "application/json;charset=utf-8", "application/json;charset=UTF-8", "application/xml", "text/xml", "text/xml; charset=utf-8", "application/octet-stream", "application/pdf", "application/zip", "application/wasm", "application/grpc", "application/manifest+json", "application/problem+json", "application/vnd.apple.mpegurl", "application/rss+xml", "application/x-www-form-urlencoded", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/svg+xml", "image/x-icon", "image/vnd.microsoft.icon", "font/woff2", "font/woff", "font/ttf", "video/mp4", "video/mp2t", "video/webm", "audio/mpeg", "text/event-stream", "multipart/form-data", "binary/octet-stream"]
    "Content-Length" "content-length" ["0", "1", "2"]
    "Connection" "connection" ["keep-alive", "close", "Keep-Alive", "Upgrade"]
    "Server" "server" ["nginx", "Apache", "cloudflare", "openresty", "Varnish", "Caddy", "envoy", "istio-envoy", "LiteSpeed", "AmazonS3", "CloudFront", "gws", "ESF", "sffe", "UploadServer", "Google Frontend", "Microsoft-IIS/10.0", "Microsoft-Azure-Application-Gateway/v2", "AkamaiGHost", "ATS", "gunicorn", "uvicorn", "Cowboy", "Werkzeug", "Kestrel", "tengine", "Vercel", "Netlify", "GitHub.com", "awselb/2.0", "Pingora"]
    "Last-Modified" "last-modified" []
    "ETag" "etag" []
    "Cache-Control" "cache-control" ["no-cache", "no-store", "private", "public", "max-age=0", "no-cache, no-store", "no-store, no-cache", "no-cache, no-store, must-revalidate", "no-store, no-cache, must-revalidate", "no-cache, no-store, max-age=0, must-revalidate", "no-store, no-cache, must-revalidate, max-age=0", "no-cache, private", "private, no-cache", "private, max-age=0", "private, no-store", "private, must-revalidate", "private, max-age=0, must-revalidate", "max-age=0, private, must-revalidate", "no-cache, must-revalidate, max-age=0", "public, max-age=0, must-revalidate", "public, must-revalidate, max-age=0", "public, max-age=0", "max-age=0, must-revalidate", "must-revalidate", "public, no-cache", "max-age=60", "max-age=300", "max-age=600", "max-age=3600", "max-age=7200", "max-age=14400", "max-age=86400", "max-age=604800", "max-age=2592000", "max-age=31536000", "max-age=315360000", "public, max-age=60", "public, max-age=300", "public, max-age=600", "public, max-age=3600", "public, max-age=14400", "public, max-age=86400", "public, max-age=604800", "public, max-age=2592000", "public, max-age=31536000", "public, max-age=31536000, immutable", "public,max-age=31536000,immutable", "max-age=31536000, immutable", "public, immutable, max-age=31536000", "max-age=31536000, public", "max-age=31536000, public, immutable"]
    "Expires" "expires" ["0", "-1", "Thu, 01 Jan 1970 00:00:00 GMT"]
    "Vary" "vary" ["Accept-Encoding", "accept-encoding", "Origin", "Accept-Encoding, Origin", "Origin, Accept-Encoding", "Accept-Encoding,Origin", "Accept", "Accept, Accept-Encoding", "Accept-Encoding, Accept", "Accept-Encoding, User-Agent", "Accept-Encoding,User-Agent", "User-Agent", "Cookie", "Accept-Encoding, Cookie", "Accept-Language", "*", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]
    "Content-Encoding" "content-encoding" ["gzip", "br", "zstd", "deflate", "identity", "dcb", "dcz"]
    "Accept-Ranges" "accept-ranges" ["bytes", "none"]
    "Transfer-Encoding" "transfer-encoding" ["chunked"]
    "Keep-Alive" "keep-alive" ["timeout=5", "timeout=5, max=100", "timeout=15", "timeout=20", "timeout=60"]
    "Age" "age" ["0", "1"]
    "Via" "via" ["1.1 varnish", "1.1 google", "1.1 varnish, 1.1 varnish", "1.1 vegur", "1.1 proxy"]
    "X-Cache" "x-cache" ["HIT", "MISS", "HIT, HIT", "MISS, HIT", "HIT, MISS", "MISS, MISS", "Hit from cloudfront", "Miss from cloudfront", "RefreshHit from cloudfront", "Error from cloudfront", "TCP_HIT", "TCP_MISS", "EXPIRED", "STALE", "BYPASS"]
    "X-Cache-Hits" "x-cache-hits" ["0", "1", "0, 0", "1, 1"]
    "X-Served-By" "x-served-by" []
    "X-Timer" "x-timer" []
    "Alt-Svc" "alt-svc" ["h3=\":443\"; ma=86400", "h3=\":443\"; ma=2592000", "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000", "h3=\":443\";ma=86400", "clear"]
    "CF-Cache-Status" "cf-cache-status" ["HIT", "MISS", "DYNAMIC", "EXPIRED", "REVALIDATED", "STALE", "BYPASS"]
    "CF-RAY" "cf-ray" []
    "X-Amz-Cf-Pop" "x-amz-cf-pop" []
    "X-Amz-Cf-Id" "x-amz-cf-id" []
    "X-Amz-Request-Id" "x-amz-request-id" []
    "X-Amz-Id-2" "x-amz-id-2" []
    "X-Amz-Server-Side-Encryption" "x-amz-server-side-encryption" ["AES256", "aws:kms"]
    "X-Amz-Version-Id" "x-amz-version-id" []
    "X-Amz-Storage-Class" "x-amz-storage-class" []
    "X-Request-Id" "x-request-id" []
    "X-Correlation-Id" "x-correlation-id" []
    "X-Trace-Id" "x-trace-id" []
    "Traceparent" "traceparent" []
    "X-Runtime" "x-runtime" []
    "X-Response-Time" "x-response-time" []
    "X-Envoy-Upstream-Service-Time" "x-envoy-upstream-service-time" []
    "Strict-Transport-Security" "strict-transport-security" ["max-age=31536000", "max-age=31536000; includeSubDomains", "max-age=31536000; includeSubDomains; preload", "max-age=31536000; includeSubdomains", "max-age=31536000; preload", "max-age=31536000;includeSubDomains;preload", "max-age=63072000", "max-age=63072000; includeSubDomains", "max-age=63072000; includeSubDomains; preload", "max-age=63072000; preload", "max-age=15552000", "max-age=15552000; includeSubDomains", "max-age=15724800; includeSubDomains", "max-age=86400", "max-age=300"]
    "X-Content-Type-Options" "x-content-type-options" ["nosniff"]
    "X-Frame-Options" "x-frame-options" ["SAMEORIGIN", "DENY", "sameorigin", "deny"]
    "X-XSS-Protection" "x-xss-protection" ["1; mode=block", "0", "1"]
    "X-Download-Options" "x-download-options" ["noopen"]
    "X-Permitted-Cross-Domain-Policies" "x-permitted-cross-domain-policies" ["none"]
    "X-DNS-Prefetch-Control" "x-dns-prefetch-control" ["off", "on"]
    "X-Robots-Tag" "x-robots-tag" ["noindex", "none", "noindex, nofollow", "all"]
    "X-Powered-By" "x-powered-by" ["Express", "ASP.NET", "Next.js", "PHP/8.3.14", "PHP/7.4.33", "Servlet/3.1", "WordPress VIP"]
    "X-AspNet-Version" "x-aspnet-version" ["4.0.30319"]
    "X-UA-Compatible" "x-ua-compatible" ["IE=edge", "IE=Edge", "IE=edge,chrome=1"]
    "X-Accel-Buffering" "x-accel-buffering" ["no"]
    "Referrer-Policy" "referrer-policy" ["strict-origin-when-cross-origin", "no-referrer", "same-origin", "origin", "origin-when-cross-origin", "no-referrer-when-downgrade", "strict-origin", "unsafe-url"]
    "Permissions-Policy" "permissions-policy" ["interest-cohort=()", "geolocation=(), camera=(), microphone=()", "camera=(), microphone=(), geolocation=()"]
    "Content-Security-Policy" "content-security-policy" ["default-src 'self'", "default-src 'none'", "upgrade-insecure-requests", "frame-ancestors 'self'", "frame-ancestors 'none'", "block-all-mixed-content; frame-ancestors 'none'; upgrade-insecure-requests;"]
    "Content-Security-Policy-Report-Only" "content-security-policy-report-only" []
    "Access-Control-Allow-Origin" "access-control-allow-origin" ["*", "null"]
    "Access-Control-Allow-Credentials" "access-control-allow-credentials" ["true"]
    "Access-Control-Allow-Methods" "access-control-allow-methods" ["GET", "GET, HEAD", "GET, POST", "GET, OPTIONS", "GET, HEAD, OPTIONS", "GET, POST, OPTIONS", "GET,POST,OPTIONS", "POST, OPTIONS", "GET, POST, PUT, DELETE, OPTIONS", "GET,HEAD,PUT,PATCH,POST,DELETE", "GET, PUT, POST, DELETE, PATCH, OPTIONS", "*"]
    "Access-Control-Allow-Headers" "access-control-allow-headers" ["*", "Content-Type", "content-type", "Content-Type, Authorization", "Authorization", "X-Requested-With", "Origin, X-Requested-With, Content-Type, Accept"]
    "Access-Control-Expose-Headers" "access-control-expose-headers" ["*", "Content-Length", "Content-Encoding", "ETag", "Content-Length,Content-Range"]
    "Access-Control-Max-Age" "access-control-max-age" ["86400", "3600", "600", "1728000", "7200", "1000"]
    "Cross-Origin-Resource-Policy" "cross-origin-resource-policy" ["cross-origin", "same-origin", "same-site"]
    "Cross-Origin-Opener-Policy" "cross-origin-opener-policy" ["same-origin", "same-origin-allow-popups", "unsafe-none", "same-origin; report-to=\"coop\""]
    "Cross-Origin-Embedder-Policy" "cross-origin-embedder-policy" ["require-corp", "credentialless", "unsafe-none"]
    "Origin-Agent-Cluster" "origin-agent-cluster" ["?1"]
    "Timing-Allow-Origin" "timing-allow-origin" ["*"]
    "Content-Disposition" "content-disposition" ["inline", "attachment"]
    "Content-Language" "content-language" ["en", "en-US", "en-GB", "de", "fr", "es", "ja", "ru", "pt-BR", "zh-CN"]
    "Content-Range" "content-range" []
    "Content-Location" "content-location" []
    "Content-MD5" "content-md5" []
    "Link" "link" []
    "Location" "location" ["/"]
    "Set-Cookie" "set-cookie" []
    "WWW-Authenticate" "www-authenticate" ["Basic", "Bearer", "Negotiate"]
    "Retry-After" "retry-after" ["1", "5", "10", "30", "60", "120", "3600"]
    "Allow" "allow" ["GET, HEAD", "GET", "POST", "GET, HEAD, OPTIONS", "GET, POST, HEAD, OPTIONS"]
    "Pragma" "pragma" ["no-cache", "public"]
    "P3P" "p3p" ["CP=\"This is not a P3P policy! See g.co/p3phelp for more info.\""]
    "Refresh" "refresh" []
    "Server-Timing" "server-timing" []
    "Report-To" "report-to" []
    "Reporting-Endpoints" "reporting-endpoints" []
    "NEL" "nel" ["{\"success_fraction\":0,\"report_to\":\"cf-nel\",\"max_age\":604800}"]
    "Expect-CT" "expect-ct" ["max-age=0"]
    "Accept-CH" "accept-ch" []
    "Priority" "priority" ["u=1, i"]
    "Surrogate-Control" "surrogate-control" []
    "Surrogate-Key" "surrogate-key" []
    "CDN-Cache-Control" "cdn-cache-control" []
    "Cache-Tag" "cache-tag" []
    "Trailer" "trailer" []
    "Upgrade" "upgrade" ["websocket", "h2c"]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_at_its_place() {
        for (at, known) in NAMES.iter().enumerate() {
            let at = at as u8;
            assert_eq!(known.usual.to_ascii_lowercase(), known.lower);
            assert_eq!(
                find_name(known.usual.as_bytes()).map(|(id, _)| id),
                Some(at)
            );
            assert_eq!(
                find_name(known.lower.as_bytes()).map(|(id, _)| id),
                Some(at)
            );
            for (place, text) in known.values.iter().enumerate() {
                let place = place as u8;
                assert_eq!(
                    find_value(at, text.as_bytes()),
                    Some(place),
                    "{}: {text}",
                    known.usual
                );
                assert_eq!(value(at, place), Some(*text));
            }
        }
    }

    #[test]
    fn other_names_and_places_are_not_found() {
        for name in [
            "",
            "x",
            "CONTENT-TYPE",
            "Content-typE",
            "content-typf",
            "x-unknown",
        ] {
            assert_eq!(find_name(name.as_bytes()), None, "{name}");
        }
        assert_eq!(find_value(0, b"no date"), None);
        assert_eq!(value(0, 57), None);
        assert_eq!(value(MAX_NAMES as u8, 0), None);
    }
}
