//! From host names to addresses, without blocking a thread that serves requests.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use pingora_error::{Error, ErrorType, OrErr, Result};
use tokio::sync::Semaphore;

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// The most lookups at a time. Each occupies a thread of the blocking pool, also when nobody waits
/// for it any more, and a name server that does not answer must not take all of them.
const MAX_LOOKUPS: usize = 64;

/// Looks host names up.
#[async_trait]
pub(super) trait Resolve: Debug + Send + Sync {
    /// Returns the addresses of `host`, each with `port`, the preferred first.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(super) struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        static LOOKUPS: LazyLock<Arc<Semaphore>> =
            LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

        let permit = LOOKUPS
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let host = host.to_owned();
        // In a task, so that the permit is held until the lookup ends, not until we give up.
        let lookup = tokio::spawn(async move {
            let _permit = permit;
            tokio::net::lookup_host((host, port))
                .await
                .map(|addresses| addresses.take(MAX_ADDRESSES).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// Returns the addresses of `host` in the order in which to try them, never none.
pub(super) async fn lookup(
    resolver: &dyn Resolve,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>> {
    let mut addresses = resolver
        .resolve(host, port)
        .await
        .or_err_with(ErrorType::ConnectNoRoute, || {
            format!("host name {host:?} not resolved")
        })?;
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        return Error::e_explain(
            ErrorType::ConnectNoRoute,
            format!("host name {host:?} has no address"),
        );
    }
    Ok(interleave(addresses))
}

/// Alternates the address families, beginning with that of the first (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return addresses;
    };
    let first_is_v4 = first.is_ipv4();
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|a| a.is_ipv4() == first_is_v4);
    let mut other = other.into_iter();
    let mut ordered = Vec::with_capacity(preferred.len() + other.len());
    for address in preferred {
        ordered.push(address);
        ordered.extend(other.next());
    }
    ordered.extend(other);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace()
            .map(|a| a.parse().unwrap())
            .collect()
    }

    #[test]
    fn families_alternate() {
        let check = |given: &str, expected: &str| {
            assert_eq!(interleave(addresses(given)), addresses(expected), "{given}");
        };
        check("", "");
        check("1.1.1.1:1", "1.1.1.1:1");
        check("1.1.1.1:1 2.2.2.2:1", "1.1.1.1:1 2.2.2.2:1");
        check("[::1]:1 [::2]:1 1.1.1.1:1", "[::1]:1 1.1.1.1:1 [::2]:1");
        check("1.1.1.1:1 [::1]:1 [::2]:1", "1.1.1.1:1 [::1]:1 [::2]:1");
        check(
            "1.1.1.1:1 2.2.2.2:1 [::1]:1 [::2]:1",
            "1.1.1.1:1 [::1]:1 2.2.2.2:1 [::2]:1",
        );
    }

    #[tokio::test]
    async fn system_resolver() {
        let found = lookup(&SystemResolver, "localhost", 80).await.unwrap();
        assert!(
            found.iter().all(|a| a.ip().is_loopback() && a.port() == 80),
            "{found:?}"
        );

        let e = lookup(&SystemResolver, "name.invalid", 80)
            .await
            .unwrap_err();
        assert_eq!(e.etype(), &ErrorType::ConnectNoRoute);
        assert!(e.to_string().contains("name.invalid"), "{e}");
    }
}
