use super::*;

fn request(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut req = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    for (name, value) in headers {
        req.append_header(*name, *value).unwrap();
    }
    req
}

fn peer(policy: HttpUpstreamRequestPolicy) -> HttpPeer {
    let mut peer = HttpPeer::new("127.0.0.1:80", false, String::new());
    peer.options.http_upstream_request_policy = policy;
    peer
}

/// The fields that go upstream, `Host` left out.
fn forwarded(
    headers: &[(&'static str, &str)],
    policy: HttpUpstreamRequestPolicy,
) -> Result<Vec<String>> {
    let mut req = request("/", headers);
    req.append_header("Host", "a").unwrap();
    prepare_h1(&mut req, false, &peer(policy))?;
    Ok(req
        .fields()
        .iter()
        .map(|f| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(f.name),
                String::from_utf8_lossy(f.value)
            )
        })
        .filter(|line| !line.starts_with("Host"))
        .collect())
}

#[test]
fn hop_by_hop_fields_stay_here() {
    let table: &[(&[(&'static str, &str)], &[&str])] = &[
        (&[("Accept", "*/*")], &["Accept: */*"]),
        (
            &[("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")],
            &[],
        ),
        (
            &[
                ("Connection", "close, X-Hop"),
                ("X-Hop", "1"),
                ("X-End", "2"),
            ],
            &["X-End: 2"],
        ),
        (&[("Proxy-Connection", "keep-alive")], &[]),
        (&[("TE", "gzip")], &[]),
        (
            &[("TE", "trailers"), ("Connection", "TE")],
            &["Connection: TE", "Te: trailers"],
        ),
        (&[("Upgrade", "websocket")], &[]),
        (
            &[("Upgrade", "websocket"), ("Connection", "upgrade")],
            &["Connection: Upgrade", "Upgrade: websocket"],
        ),
        (
            &[
                ("Upgrade", "h2c"),
                ("Connection", "upgrade, http2-settings"),
            ],
            &[],
        ),
        (
            &[("Transfer-Encoding", "chunked")],
            &["Transfer-Encoding: chunked"],
        ),
    ];
    for (headers, expected) in table {
        let result = forwarded(headers, HttpUpstreamRequestPolicy::standard()).unwrap();
        let lower = |v: &[String]| v.iter().map(|s| s.to_lowercase()).collect::<Vec<_>>();
        let expected: Vec<String> = expected.iter().map(|s| s.to_lowercase()).collect();
        assert_eq!(lower(&result), expected, "{headers:?}");
    }
}

#[test]
fn protected_fields_cannot_be_nominated() {
    for name in [
        "Host",
        "X-Forwarded-For",
        "Authorization",
        "Content-Length",
        "a b",
        "(x)",
    ] {
        let headers: &[(&'static str, &str)] = &[("Connection", name)];
        let e = forwarded(headers, HttpUpstreamRequestPolicy::standard()).unwrap_err();
        assert_eq!(e.etype(), &InvalidHTTPHeader, "{name}");
        let kept = forwarded(headers, HttpUpstreamRequestPolicy::preserve()).unwrap();
        assert_eq!(kept.len(), 1, "{name}");
    }
}

#[test]
fn policies_decide_upgrades() {
    let headers: &[(&'static str, &str)] = &[("Upgrade", "other"), ("Connection", "Upgrade")];
    let mut policy = HttpUpstreamRequestPolicy::standard();
    assert!(forwarded(headers, policy).unwrap().is_empty());
    policy.h1_upgrade = H1UpgradePolicy::Preserve;
    assert_eq!(forwarded(headers, policy).unwrap().len(), 2);
    assert_eq!(
        forwarded(headers, HttpUpstreamRequestPolicy::preserve())
            .unwrap()
            .len(),
        2
    );
    let websocket: &[(&'static str, &str)] = &[("Upgrade", "websocket"), ("Connection", "Upgrade")];
    assert!(
        forwarded(websocket, HttpUpstreamRequestPolicy::deny_upgrades())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn absolute_targets_become_paths() {
    for (target, path) in [
        ("http://a/b?c", "/b?c"),
        ("http://a", "/"),
        ("http://a?q", "/?q"),
        ("/plain", "/plain"),
    ] {
        let mut req = request(target, &[("Host", "a")]);
        prepare_h1(
            &mut req,
            false,
            &peer(HttpUpstreamRequestPolicy::standard()),
        )
        .unwrap();
        assert_eq!(req.raw_path(), path.as_bytes(), "{target}");
    }
}

#[test]
fn responses_lose_what_was_meant_for_us() {
    let mut resp = ResponseHeader::build(200, None).unwrap();
    for (name, value) in [
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "5"),
        ("Upgrade", "h2"),
        ("X-End", "2"),
        ("Content-Length", "0"),
    ] {
        resp.append_header(name, value).unwrap();
    }
    strip_response(&mut resp);
    let names: Vec<_> = resp.fields().iter().map(|f| f.name.to_vec()).collect();
    assert_eq!(names, [b"X-End".to_vec(), b"Content-Length".to_vec()]);
}

/// Where nominations of protected fields are not refused, they have no effect.
#[test]
fn protected_fields_stay_whatever_is_nominated() {
    let policy = HttpUpstreamRequestPolicy {
        reject_malformed_connection_nominations: false,
        ..HttpUpstreamRequestPolicy::standard()
    };
    for name in PROTECTED {
        if matches!(name, b"host" | b"transfer-encoding" | b"content-length") {
            continue;
        }
        let name: &'static str = std::str::from_utf8(name).unwrap();
        let list = format!("close, {name}, X-Hop, a b");
        let headers = [("Connection", &*list), (name, "1"), ("X-Hop", "2")];
        let kept = forwarded(&headers, policy).unwrap();
        assert_eq!(kept.len(), 1, "{name}: {kept:?}");
        assert!(
            kept[0].eq_ignore_ascii_case(&format!("{name}: 1")),
            "{kept:?}"
        );
    }
    for (name, value) in [("Content-Length", "5"), ("Transfer-Encoding", "chunked")] {
        let headers = [("Connection", name), (name, value)];
        let kept = forwarded(&headers, policy).unwrap();
        assert_eq!(kept, [format!("{name}: {value}")]);
    }
}
