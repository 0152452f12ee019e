//! [`Table`]: the sessions of a UDP proxy by the address of their client, and how many there may
//! be. Knows no sockets and no time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};

use super::stats::Dropped;

/// Two sessions differ in the client's address, or in the address it sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    pub(super) per_client: usize,
}

pub(super) struct Table<V> {
    sessions: HashMap<Key, V>,
    /// How many of them a client has, if any.
    by_client: HashMap<IpAddr, usize>,
    draining: bool,
}

impl<V: Clone> Table<V> {
    pub(super) fn new() -> Self {
        Table {
            sessions: HashMap::new(),
            by_client: HashMap::new(),
            draining: false,
        }
    }

    /// Lets nobody in any more.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Enters the session that `make` returns, and returns it; says why if it may not be.
    pub(super) fn insert(
        &mut self,
        key: Key,
        limits: Limits,
        make: impl FnOnce() -> V,
    ) -> Result<V, Dropped> {
        if self.draining {
            return Err(Dropped::ShuttingDown);
        }
        if self.sessions.len() >= limits.sessions {
            return Err(Dropped::TooManySessions);
        }
        let vacant = match self.sessions.entry(key) {
            Entry::Vacant(vacant) => vacant,
            Entry::Occupied(there) => return Ok(there.get().clone()),
        };
        let client = client_of(key.client.ip());
        if self.by_client.get(&client).copied().unwrap_or_default() >= limits.per_client {
            return Err(Dropped::TooManyOfClient);
        }
        *self.by_client.entry(client).or_default() += 1;
        Ok(vacant.insert(make()).clone())
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, key: &Key) -> Option<V> {
        let removed = self.sessions.remove(key)?;
        let client = self.by_client.entry(client_of(key.client.ip()));
        if let Entry::Occupied(mut count) = client {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(removed)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        self.sessions.get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.sessions.values()
    }
}

/// Returns what counts as one client: an IPv4 address, or an IPv6 network as networks give them to
/// their users (RFC 6177), whose addresses anybody in it can take.
fn client_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// Checks the table against a list, for fuzzing.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::*;

    /// Applies each of `ops`: whose session, and whether to begin or to end it.
    pub fn table(sessions: usize, per_client: usize, ops: &[(u8, bool)]) {
        run(sessions, per_client, ops);
    }
}

/// A session of few clients, with few ports each; two clients share a network.
#[cfg(any(test, fuzzing))]
fn key(number: u8) -> Key {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let host = u16::from(number >> 4 & 3);
    let ip: IpAddr = match number >> 6 {
        0 => Ipv4Addr::new(192, 0, 2, host as u8).into(),
        1 => Ipv4Addr::new(192, 0, 2, host as u8).to_ipv6_mapped().into(),
        2 => Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host).into(),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0, host, 0, 0, 0, 1).into(),
    };
    Key {
        client: (ip, 1000 + u16::from(number & 15)).into(),
        server: ([192, 0, 2, 53], 53).into(),
    }
}

/// The naive twin: a list that is searched from front to back.
#[cfg(any(test, fuzzing))]
fn run(sessions: usize, per_client: usize, ops: &[(u8, bool)]) {
    let limits = Limits {
        sessions,
        per_client,
    };
    let mut table = Table::new();
    let mut list: Vec<(Key, u8)> = vec![];
    for &(number, begins) in ops {
        let key = key(number);
        let at = list.iter().position(|(listed, _)| *listed == key);
        assert_eq!(table.get(&key).copied(), at.map(|at| list[at].1));
        if begins && at.is_none() {
            let same = |(listed, _): &&(Key, u8)| {
                client_of(listed.client.ip()) == client_of(key.client.ip())
            };
            let expected = if list.len() >= sessions {
                Err(Dropped::TooManySessions)
            } else if list.iter().filter(same).count() >= per_client {
                Err(Dropped::TooManyOfClient)
            } else {
                list.push((key, number));
                Ok(number)
            };
            assert_eq!(table.insert(key, limits, || number), expected);
        } else if !begins {
            let expected = at.map(|at| list.remove(at).1);
            assert_eq!(table.remove(&key), expected);
        }
        assert_eq!(table.values().count(), list.len());
        assert!(
            table.by_client.len() <= list.len(),
            "nobody without a session is kept"
        );
    }
    table.drain();
    let other = Key {
        client: ([198, 51, 100, 1], 1).into(),
        ..key(0)
    };
    assert_eq!(
        table.insert(other, limits, || 0),
        Err(Dropped::ShuttingDown)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_one_client() {
        let check = |a: &str, b: &str, same: bool| {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(client_of(a) == client_of(b), same, "{a} {b}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    #[test]
    fn the_table_is_a_list_with_limits() {
        let mut random = 1_u64;
        for round in 0..200 {
            let mut ops = vec![];
            for _ in 0..300 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                ops.push(((random >> 33) as u8, random >> 60 < 10));
            }
            run(round % 40, round % 7, &ops);
        }
    }
}
