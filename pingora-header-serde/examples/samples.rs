//! Writes the sample heads the built-in dictionary is trained on, one file each.
//!
//! ```console
//! $ cargo run -p pingora-header-serde --example samples -- /somewhere/samples
//! $ cargo run -p pingora-header-serde --bin trainer -- /somewhere/samples pingora-header-serde/dict/v1.dict
//! ```
//!
//! Two thirds are the heads real servers sent (`dict/captured.txt`, made by `dict/capture.py`), one third is put
//! together from fields that applications and delivery networks commonly send. In all of them dates,
//! lengths, tags and identifiers are replaced by random ones, so that no dictionary learns them.
//! The same seed gives the same samples.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use fastrand::Rng;

const CAPTURED: &str = include_str!("../dict/captured.txt");

/// How often each captured head is varied.
const VARIATIONS: usize = 12;

/// How many heads are put together from [`FIELDS`].
const COMPOSED: usize = 1_000;

/// Makes the samples the same every time.
const SEED: u64 = 9_112;

/// Values a field commonly has; `#` becomes a random hexadecimal digit, `%` a decimal one, `@` a date.
const FIELDS: &[(&str, &[&str])] = &[
    ("Date", &["@"]),
    (
        "Content-Type",
        &[
            "text/html; charset=utf-8",
            "text/html;charset=UTF-8",
            "text/html",
            "application/json",
            "application/json; charset=utf-8",
            "application/javascript",
            "application/javascript; charset=utf-8",
            "text/javascript",
            "text/css",
            "text/css; charset=utf-8",
            "image/png",
            "image/jpeg",
            "image/webp",
            "image/avif",
            "image/svg+xml",
            "image/gif",
            "font/woff2",
            "video/mp4",
            "application/octet-stream",
            "text/plain; charset=utf-8",
            "application/xml",
            "application/pdf",
        ],
    ),
    ("Content-Length", &["%%%", "%%%%", "%%%%%", "%%%%%%"]),
    ("Transfer-Encoding", &["chunked"]),
    ("Connection", &["keep-alive", "close"]),
    (
        "Server",
        &[
            "nginx",
            "nginx/1.28.0",
            "Apache",
            "Apache/2.4.62 (Debian)",
            "cloudflare",
            "AmazonS3",
            "gws",
            "ATS",
            "Varnish",
            "openresty",
            "LiteSpeed",
            "Caddy",
            "envoy",
            "Microsoft-IIS/10.0",
            "gunicorn",
            "uvicorn",
        ],
    ),
    ("Last-Modified", &["@"]),
    (
        "ETag",
        &[
            "\"########-####\"",
            "W/\"########-####\"",
            "\"################################\"",
            "W/\"##-################\"",
        ],
    ),
    (
        "Cache-Control",
        &[
            "public, max-age=31536000, immutable",
            "max-age=31536000",
            "public, max-age=3600",
            "max-age=86400",
            "no-cache",
            "no-store",
            "private, max-age=0, must-revalidate",
            "no-cache, no-store, max-age=0, must-revalidate",
            "public, max-age=0, s-maxage=600, stale-while-revalidate=60",
            "max-age=600",
        ],
    ),
    (
        "Expires",
        &["@", "0", "-1", "Thu, 01 Jan 1970 00:00:00 GMT"],
    ),
    (
        "Vary",
        &[
            "Accept-Encoding",
            "Accept-Encoding, Origin",
            "Origin",
            "Accept",
            "Accept-Encoding, User-Agent",
            "Cookie",
        ],
    ),
    ("Content-Encoding", &["gzip", "br", "zstd"]),
    ("Accept-Ranges", &["bytes"]),
    ("Age", &["%", "%%", "%%%%", "%%%%%"]),
    (
        "Via",
        &[
            "1.1 varnish",
            "1.1 google",
            "2 ################################.cloudfront.net (CloudFront)",
            "1.1 proxy",
        ],
    ),
    (
        "X-Cache",
        &["HIT", "MISS", "Hit from cloudfront", "HIT, HIT"],
    ),
    ("X-Cache-Hits", &["%", "%, %%"]),
    (
        "X-Served-By",
        &[
            "cache-fra-#######-FRA",
            "cache-iad-########-IAD, cache-lhr-######-LHR",
        ],
    ),
    ("X-Timer", &["S1%%%%%%%%%.%%%%%%,VS0,VE%"]),
    ("X-Amz-Cf-Pop", &["FRA56-P%", "IAD89-C%"]),
    (
        "X-Amz-Cf-Id",
        &["################################################"],
    ),
    ("x-amz-request-id", &["################"]),
    (
        "x-amz-id-2",
        &["################################################################"],
    ),
    ("CF-Cache-Status", &["HIT", "MISS", "DYNAMIC", "EXPIRED"]),
    ("CF-RAY", &["################-FRA", "################-SJC"]),
    (
        "Alt-Svc",
        &[
            "h3=\":443\"; ma=86400",
            "h3=\":443\"; ma=2592000,h3-29=\":443\"; ma=2592000",
        ],
    ),
    (
        "X-Request-Id",
        &[
            "########-####-####-####-############",
            "################################",
        ],
    ),
    (
        "Strict-Transport-Security",
        &[
            "max-age=31536000",
            "max-age=31536000; includeSubDomains",
            "max-age=31536000; includeSubDomains; preload",
            "max-age=63072000; includeSubDomains; preload",
            "max-age=15552000",
        ],
    ),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["SAMEORIGIN", "DENY"]),
    ("X-XSS-Protection", &["1; mode=block", "0"]),
    (
        "Referrer-Policy",
        &[
            "strict-origin-when-cross-origin",
            "no-referrer",
            "same-origin",
            "origin-when-cross-origin",
        ],
    ),
    (
        "Permissions-Policy",
        &[
            "geolocation=(), camera=(), microphone=()",
            "interest-cohort=()",
        ],
    ),
    (
        "Content-Security-Policy",
        &[
            "default-src 'self'",
            "upgrade-insecure-requests",
            "frame-ancestors 'self'; script-src 'self' 'unsafe-inline' https:; object-src 'none'",
        ],
    ),
    (
        "Access-Control-Allow-Origin",
        &["*", "https://www.example.com"],
    ),
    ("Access-Control-Allow-Credentials", &["true"]),
    (
        "Access-Control-Allow-Methods",
        &["GET, HEAD, OPTIONS", "GET, POST, PUT, DELETE, OPTIONS"],
    ),
    (
        "Access-Control-Expose-Headers",
        &["Content-Length, ETag, Date"],
    ),
    ("Timing-Allow-Origin", &["*"]),
    (
        "Cross-Origin-Resource-Policy",
        &["cross-origin", "same-origin"],
    ),
    (
        "Cross-Origin-Opener-Policy",
        &["same-origin", "same-origin-allow-popups"],
    ),
    (
        "Content-Disposition",
        &["attachment; filename=\"file-%%%%.pdf\"", "inline"],
    ),
    ("Content-Language", &["en", "en-US", "de"]),
    (
        "Link",
        &[
            "</style.css>; rel=preload; as=style",
            "<https://www.example.com/>; rel=\"canonical\"",
        ],
    ),
    (
        "Set-Cookie",
        &[
            "session=################################; Path=/; HttpOnly; Secure; SameSite=Lax",
            "id=########; Expires=@; Path=/; Secure",
            "lang=en; Max-Age=31536000; Path=/",
        ],
    ),
    (
        "X-Powered-By",
        &["PHP/8.3.14", "Express", "ASP.NET", "Next.js"],
    ),
    ("X-Robots-Tag", &["noindex"]),
    (
        "Server-Timing",
        &["cdn-cache; desc=HIT, edge; dur=%", "total;dur=%%.%"],
    ),
    (
        "Report-To",
        &[
            "{\"group\":\"default\",\"max_age\":604800,\"endpoints\":[{\"url\":\"https://report.example.com/r\"}]}",
        ],
    ),
    (
        "NEL",
        &["{\"report_to\":\"default\",\"max_age\":604800,\"success_fraction\":0}"],
    ),
];

/// Status lines with how often of 16 they are chosen.
const STATUS: &[(&str, usize)] = &[
    ("200 OK", 9),
    ("404 Not Found", 1),
    ("304 Not Modified", 1),
    ("301 Moved Permanently", 1),
    ("302 Found", 1),
    ("206 Partial Content", 1),
    ("500 Internal Server Error", 1),
    ("204 No Content", 1),
];

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: samples DIR");
        std::process::exit(2);
    };
    fs::create_dir_all(&folder)?;
    let rng = &mut Rng::with_seed(SEED);
    let captured = CAPTURED.split_inclusive("\r\n\r\n");
    let varied = captured.flat_map(|head| [head; VARIATIONS]);
    let mut samples: Vec<String> = varied.map(|head| vary(head, rng)).collect();
    samples.extend((0..COMPOSED).map(|_| compose(rng)));
    for (number, sample) in samples.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}.http")), sample)?;
    }
    println!("{} samples in {}", samples.len(), folder.display());
    Ok(())
}

/// Returns the head with other dates, lengths and tags.
fn vary(head: &str, rng: &mut Rng) -> String {
    let mut varied = String::new();
    for line in head.split_inclusive("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "date" | "last-modified" | "expires" if line.ends_with("GMT\r\n") => {
                varied += &format!("{name}: {}\r\n", date(rng));
            }
            "content-length" => varied += &format!("{name}: {}\r\n", length(rng)),
            "etag" => {
                varied += name;
                varied.extend(line[name.len()..].chars().map(|c| match c {
                    '0'..='9' | 'a'..='f' => random_digit(rng, 16),
                    other => other,
                }));
            }
            _ => varied += line,
        }
    }
    varied
}

/// Returns a head of common fields in the order of the table.
fn compose(rng: &mut Rng) -> String {
    let status = STATUS
        .iter()
        .flat_map(|(line, times)| std::iter::repeat_n(line, *times))
        .nth(rng.usize(..16))
        .expect("the counts add up to 16");
    let lower = rng.u8(..4) == 0;
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (at, (name, values)) in FIELDS.iter().enumerate() {
        // Those at the front of the table are in nearly every head.
        let share = if at < 3 {
            9
        } else if at < 12 {
            5
        } else {
            2
        };
        if rng.u8(..10) >= share {
            continue;
        }
        head += &if lower {
            name.to_ascii_lowercase()
        } else {
            (*name).to_owned()
        };
        head += ": ";
        for c in values[rng.usize(..values.len())].chars() {
            match c {
                '@' => head += &date(rng),
                '#' => head.push(random_digit(rng, 16)),
                '%' => head.push(random_digit(rng, 10)),
                other => head.push(other),
            }
        }
        head += "\r\n";
    }
    head + "\r\n"
}

fn date(rng: &mut Rng) -> String {
    // Within the years 2020 to 2030.
    let seconds = 1_577_836_800 + rng.u64(..315_000_000);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn length(rng: &mut Rng) -> u64 {
    let bits = rng.u32(4..22);
    rng.u64(..1 << bits)
}

fn random_digit(rng: &mut Rng, radix: u32) -> char {
    char::from_digit(rng.u32(..radix), radix).expect("below the radix")
}
