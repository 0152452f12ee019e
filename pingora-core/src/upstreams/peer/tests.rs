use std::collections::{BTreeMap, HashSet};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, SocketAddr as InetAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use super::reuse::SeededHasher;
use super::*;
use crate::protocols::proxy_protocol::{ProxyHeader, SendProxyHeader};
use crate::protocols::tls::CustomALPN;

/// An address type the constructors do not know.
struct Own(Result<Vec<InetAddr>, &'static str>);

impl ToSocketAddrs for Own {
    type Iter = std::vec::IntoIter<InetAddr>;

    fn to_socket_addrs(&self) -> std::io::Result<Self::Iter> {
        self.0
            .clone()
            .map(Vec::into_iter)
            .map_err(std::io::Error::other)
    }
}

/// Returns address and name of the peer made from `address`.
fn place<A: ToSocketAddrs>(address: A) -> String {
    let peer = HttpPeer::new(address, false, String::new());
    match &peer.options.unresolved {
        None => format!("address {}", peer._address),
        Some(Unresolved::Name(name)) => {
            format!(
                "name {name}, port {}",
                placeholder_port(&peer._address).unwrap()
            )
        }
        Some(Unresolved::Invalid(reason)) => format!("invalid: {reason}"),
    }
}

#[test]
// the reference types are what is tested
#[allow(clippy::needless_borrows_for_generic_args)]
fn every_address_type_is_understood() {
    let inet: InetAddr = "192.0.2.1:80".parse().unwrap();
    let unix: SocketAddr = "unix:/run/app.sock".parse().unwrap();
    let name = String::from("example.com:80");
    let address = "address 192.0.2.1:80";
    let expected = "name example.com, port 80";

    assert_eq!(place("192.0.2.1:80"), address);
    assert_eq!(place(inet), address);
    assert_eq!(place(&inet), address);
    assert_eq!(place(&[inet][..]), address);
    assert_eq!(place(SocketAddr::Inet(inet)), address);
    assert_eq!(place(&SocketAddr::Inet(inet)), address);
    assert_eq!(place((Ipv4Addr::new(192, 0, 2, 1), 80)), address);
    assert_eq!(place((IpAddr::from([192, 0, 2, 1]), 80)), address);
    assert_eq!(place(("192.0.2.1", 80)), address);
    assert_eq!(place(("::1", 80)), "address [::1]:80");
    assert_eq!(place("[::1]:80"), "address [::1]:80");
    assert_eq!(place(Own(Ok(vec![inet]))), address);
    assert_eq!(place(unix), "address /run/app.sock");

    assert_eq!(place("example.com:80"), expected);
    assert_eq!(place(&"example.com:80"), expected);
    assert_eq!(place(name.clone()), expected);
    assert_eq!(place(&name), expected);
    assert_eq!(place(("example.com", 80)), expected);
    assert_eq!(place(&("example.com", 80)), expected);
    assert_eq!(place((String::from("example.com"), 80)), expected);
    assert_eq!(place(&(String::from("example.com"), 80)), expected);
}

#[test]
fn nonsense_is_remembered() {
    let check = |text: &str, reason: &str| {
        let place = place(text);
        assert!(
            place.starts_with("invalid: ") && place.contains(reason),
            "{text:?}: {place}"
        );
    };
    check("", "no port");
    check("example.com", "no port");
    check("example.com:", "no valid port");
    check("example.com:http", "no valid port");
    check("example.com:65536", "no valid port");
    check("example.com:+80", "no valid port");
    check(":80", "no host name");
    check("a b:80", "no host name");
    check("http://example.com:80", "no host name");
    check("a\0b:80", "no host name");
    check("[::1:80", "no host name");
    check(&format!("{}:80", "a".repeat(255)), "no host name");

    assert_eq!(
        place(Own(Err("nope"))),
        "invalid: the address of the peer has no socket address: nope"
    );
    assert_eq!(
        place(Own(Ok(vec![]))),
        "invalid: the address of the peer is an empty list"
    );
}

#[test]
fn display_shows_the_name() {
    let peer = HttpPeer::new("example.com:443", true, "example.com".into());
    assert_eq!(
        peer.to_string(),
        "addr: example.com:443, scheme: HTTPS, sni: example.com, alpn: H1"
    );
    let mut peer = HttpPeer::new("nonsense", false, String::new());
    assert_eq!(peer.to_string(), "addr: invalid, scheme: HTTP, alpn: H1");
    peer._address = "192.0.2.1:80".parse().unwrap();
    assert_eq!(
        peer.to_string(),
        "addr: 192.0.2.1:80, scheme: HTTP, alpn: H1"
    );
    let peer = BasicPeer::new("example.com:53");
    assert_eq!(peer.to_string(), "addr: example.com:53, sni: , alpn: H1");
}

#[test]
fn secrets_are_not_shown() {
    let headers = BTreeMap::from([("Authorization".to_string(), b"hunter2".to_vec())]);
    let mut peer = HttpPeer::new_proxy(
        "/run/p.sock",
        [192, 0, 2, 1].into(),
        443,
        true,
        "",
        headers.clone(),
    );
    peer.options.extra_proxy_headers = headers;
    assert!(!peer.to_string().contains("hunter2"));
    assert!(!format!("{:?}", peer.options).contains("hunter2"));
}

/// A peer with a change that must keep it from sharing connections.
fn changed(change: impl FnOnce(&mut HttpPeer)) -> HttpPeer {
    let mut peer = HttpPeer::new("192.0.2.1:443", true, "a.example".into());
    change(&mut peer);
    peer
}

fn proxy(next_hop: &str, host: &str, header: &str) -> Option<Proxy> {
    Some(Proxy {
        next_hop: Path::new(next_hop).into(),
        host: host.into(),
        port: 443,
        headers: BTreeMap::from([("X-Team".into(), header.into())]),
    })
}

#[cfg(feature = "any_tls")]
fn authority(file: &str) -> Arc<CaType> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");
    crate::utils::tls::load_ca(&format!("{folder}/{file}")).unwrap()
}

#[cfg(not(feature = "any_tls"))]
fn authority(_file: &str) -> Arc<CaType> {
    Arc::new([])
}

#[cfg(feature = "any_tls")]
#[test]
fn authorities_are_told_apart_by_their_certificates() {
    let with = |file| changed(|p| p.options.ca = Some(authority(file))).reuse_hash();
    assert_eq!(with("ca.pem"), with("ca.pem"));
    assert_ne!(with("ca.pem"), with("other-ca.pem"));
}

#[test]
fn reuse_hash_separates() {
    let bind = |text: &str, range| {
        let mut bind = BindTo::default();
        bind.addr = Some(text.parse().unwrap());
        bind.set_port_range(range).unwrap();
        Some(bind)
    };
    let name = |host: &str| Some(Unresolved::Name(host.into()));
    let header = |source: &str| {
        let header = ProxyHeader::new(source.parse().unwrap(), "192.0.2.1:443".parse().unwrap());
        Some(Arc::new(SendProxyHeader::new(header)))
    };
    let (ca, other_ca) = (authority("ca.pem"), authority("other-ca.pem"));
    let peers = [
        changed(|_| {}),
        changed(|p| p._address = "192.0.2.1:444".parse().unwrap()),
        changed(|p| p._address = "192.0.2.2:443".parse().unwrap()),
        changed(|p| p._address = "[2001:db8::1]:443".parse().unwrap()),
        changed(|p| p._address = "unix:/a".parse().unwrap()),
        changed(|p| p._address = "unix:/b".parse().unwrap()),
        changed(|p| *p = HttpPeer::new("a.example:443", true, "a.example".into())),
        changed(|p| *p = HttpPeer::new("b.example:443", true, "a.example".into())),
        changed(|p| *p = HttpPeer::new("b.example:444", true, "a.example".into())),
        changed(|p| p.scheme = Scheme::HTTP),
        changed(|p| p.sni = "b.example".into()),
        changed(|p| p.sni = String::new()),
        changed(|p| p.group_key = 1),
        changed(|p| p.proxy = proxy("/a", "192.0.2.1", "x")),
        changed(|p| p.proxy = proxy("/b", "192.0.2.1", "x")),
        changed(|p| p.proxy = proxy("/b", "192.0.2.2", "x")),
        changed(|p| p.proxy = proxy("/b", "192.0.2.2", "y")),
        changed(|p| p.options.verify_cert = false),
        changed(|p| p.options.verify_hostname = false),
        changed(|p| p.options.second_keyshare = false),
        changed(|p| p.options.alternative_cn = Some("b.example".into())),
        changed(|p| p.options.alternative_cn = Some("c.example".into())),
        changed(|p| p.options.alpn = ALPN::H2H1),
        changed(|p| p.options.alpn = ALPN::Custom(CustomALPN::new(b"x".to_vec()))),
        changed(|p| p.options.curves = Some("X25519".into())),
        changed(|p| p.options.max_blinding_delay = Some(0)),
        changed(|p| p.options.use_system_certs = true),
        changed(|p| p.options.dscp = Some(0)),
        changed(|p| p.options.dscp = Some(10)),
        changed(|p| p.options.max_h2_streams = 100),
        changed(|p| p.options.proxy_protocol = header("192.0.2.8:1")),
        changed(|p| p.options.proxy_protocol = header("192.0.2.8:2")),
        changed(|p| p.options.ca = Some(ca)),
        changed(|p| p.options.ca = Some(other_ca)),
        changed(|p| p.options.bind_to = Some(BindTo::default())),
        changed(|p| p.options.bind_to = bind("192.0.2.8:0", None)),
        changed(|p| p.options.bind_to = bind("192.0.2.9:0", None)),
        changed(|p| p.options.bind_to = bind("192.0.2.9:0", Some((1024, 2048)))),
    ];
    let mut seen = HashSet::new();
    for peer in &peers {
        // without a library there is only the empty set of authorities
        if !seen.insert(peer.reuse_hash())
            && (cfg!(feature = "any_tls") || peer.options.ca.is_none())
        {
            panic!("shares the connections of another peer: {peer:?}");
        }
    }

    let base = changed(|_| {}).reuse_hash();
    let same = [
        changed(|p| p.options.connection_timeout = Some(Duration::from_secs(1))),
        changed(|p| p.options.idle_timeout = Some(Duration::from_secs(1))),
        changed(|p| p.options.tcp_recv_buf = Some(4096)),
        changed(|p| p.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve()),
        changed(|p| p.options.extra_proxy_headers = BTreeMap::from([("a".into(), vec![1])])),
        // a name that is not used, since there is an address
        changed(|p| p.options.unresolved = name("b.example")),
    ];
    for peer in same {
        assert_eq!(peer.reuse_hash(), base, "{peer:?}");
    }
}

#[test]
fn reuse_hash_of_basic_peers() {
    let mut tls = BasicPeer::new("192.0.2.1:443");
    tls.sni = "a.example".into();
    let mut unverified = tls.clone();
    unverified.options.verify_cert = false;
    let peers = [
        BasicPeer::new("192.0.2.1:443"),
        BasicPeer::new("192.0.2.1:444"),
        BasicPeer::new("a.example:443"),
        BasicPeer::new("b.example:443"),
        BasicPeer::new_uds("/run/a").unwrap(),
        BasicPeer::new_uds("/run/b").unwrap(),
        tls,
        unverified,
    ];
    let hashes: HashSet<u64> = peers.iter().map(Peer::reuse_hash).collect();
    assert_eq!(hashes.len(), peers.len());
    assert_eq!(
        peers[2].reuse_hash(),
        BasicPeer::new("a.example:443").reuse_hash()
    );
}

#[test]
fn hasher_tells_similar_input_apart() {
    let mut seen = HashSet::new();
    let mut add = |bytes: &[u8]| {
        let mut hasher = SeededHasher::new();
        hasher.write(bytes);
        assert!(seen.insert(hasher.finish()), "{bytes:?}");
    };
    for length in 0..40 {
        add(&vec![0; length]);
        for position in 0..length {
            for bit in 0..8 {
                let mut bytes = vec![0; length];
                bytes[position] = 1 << bit;
                add(&bytes);
            }
        }
    }
}

#[test]
fn hasher_spreads_bits() {
    // Each bit of the hash of neighbouring numbers must be set about half of the time.
    const N: u64 = 4096;
    let mut ones = [0_u64; 64];
    for number in 0..N {
        let mut hasher = SeededHasher::new();
        hasher.write_u64(number);
        let hash = hasher.finish();
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += hash >> bit & 1;
        }
    }
    for (bit, ones) in ones.into_iter().enumerate() {
        assert!(
            (N / 4..N * 3 / 4).contains(&ones),
            "bit {bit} was set {ones} times of {N}"
        );
    }
}

#[test]
fn path_of_a_unix_socket_is_bounded() {
    assert!(HttpPeer::new_uds("/run/app.sock", false, String::new()).is_ok());
    let too_long = "/".repeat(200);
    assert!(HttpPeer::new_uds(&too_long, false, String::new()).is_err());
    assert!(BasicPeer::new_uds(too_long).is_err());
}

#[test]
fn descriptor_matches_its_peer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    let matches = |peer: BasicPeer| peer.matches_fd(client.as_fd());

    assert!(matches(BasicPeer::new(&address.to_string())));
    assert!(matches(BasicPeer::new(&format!(
        "0.0.0.0:{}",
        address.port()
    ))));
    assert!(matches(BasicPeer::new(&format!(
        "localhost:{}",
        address.port()
    ))));
    assert!(!matches(BasicPeer::new("127.0.0.1:1")));
    assert!(!matches(BasicPeer::new("127.0.0.2:1")));
    assert!(!matches(BasicPeer::new_uds("/run/app.sock").unwrap()));
    assert!(!BasicPeer::new(&address.to_string()).matches_fd(std::io::stdin()));
}

#[test]
fn policies() {
    assert_eq!(
        HttpUpstreamRequestPolicy::default(),
        HttpUpstreamRequestPolicy::standard()
    );
    let denying = HttpUpstreamRequestPolicy::deny_upgrades();
    assert!(denying.strip_hop_by_hop && denying.strip_connection_nominated);
    assert_eq!(denying.h1_upgrade, H1UpgradePolicy::Deny);
    let preserving = HttpUpstreamRequestPolicy::preserve();
    assert!(!preserving.strip_hop_by_hop && !preserving.strip_connection_nominated);
}
