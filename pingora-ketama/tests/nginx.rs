//! What a real nginx picked with `hash $key consistent`, recorded in `nginx.txt` by
//! `testing/fixtures/ketama/generate.sh`.

use std::net::SocketAddr;
use std::str::FromStr;

use pingora_ketama::{Bucket, Continuum};

/// One `upstream` of the record.
struct Upstream<'a> {
    name: &'a str,
    servers: Vec<(SocketAddr, u32)>,
    /// Keys and the number of the server each went to.
    picks: Vec<(&'a str, usize)>,
}

fn parse(record: &str) -> Vec<Upstream<'_>> {
    let mut upstreams: Vec<Upstream<'_>> = Vec::new();
    for line in record.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["upstream", name] => upstreams.push(Upstream {
                name,
                servers: Vec::new(),
                picks: Vec::new(),
            }),
            ["server", address, weight] => {
                let server = (parsed(address), parsed(weight));
                last(&mut upstreams).servers.push(server);
            }
            [key, picked] => {
                let pick = (key, parsed(picked));
                last(&mut upstreams).picks.push(pick);
            }
            _ => panic!("not a line of a record: {line}"),
        }
    }
    upstreams
}

fn parsed<T: FromStr>(word: &str) -> T {
    match word.parse() {
        Ok(value) => value,
        Err(_) => panic!("not of the expected type: {word}"),
    }
}

fn last<'a, 'b>(upstreams: &'b mut [Upstream<'a>]) -> &'b mut Upstream<'a> {
    upstreams
        .last_mut()
        .expect("a record begins with an upstream")
}

#[test]
fn keys_go_where_nginx_sends_them() {
    let upstreams = parse(include_str!("nginx.txt"));
    assert!(upstreams.len() >= 8);
    for Upstream {
        name,
        servers,
        picks,
    } in upstreams
    {
        let buckets: Vec<_> = servers
            .iter()
            .map(|(address, weight)| Bucket::new(*address, *weight))
            .collect();
        let ring = Continuum::new(&buckets);
        assert!(picks.len() >= 400);
        for (key, number) in picks {
            let picked = ring.node(key.as_bytes());
            assert_eq!(
                picked,
                Some(servers[number].0),
                "upstream {name}, key {key}"
            );
        }
    }
}
