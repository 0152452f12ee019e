//! Where backend sets come from: the discovery trait and a set known in advance.
//!
//! `backends.rs` calls it and applies what it says.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::ToSocketAddrs;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::Extensions;
use pingora_error::Result;

use crate::Backend;

/// Finds the backends of a set.
///
/// ```
/// use std::collections::{BTreeSet, HashMap};
/// use std::hash::{DefaultHasher, Hash, Hasher};
/// use pingora_load_balancing::{Backend, Backends, discovery::ServiceDiscovery};
///
/// /// Two servers, the second in maintenance.
/// struct Inventory;
///
/// #[async_trait::async_trait]
/// impl ServiceDiscovery for Inventory {
///     async fn discover(&self) -> pingora_error::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
///         let serving = Backend::new("10.0.0.1:80")?;
///         let resting = Backend::new("10.0.0.2:80")?;
///         let mut hasher = DefaultHasher::new();
///         resting.hash(&mut hasher);
///         let enablement = HashMap::from([(hasher.finish(), false)]);
///         Ok((BTreeSet::from([serving, resting]), enablement))
///     }
/// }
///
/// let backends = Backends::new(Box::new(Inventory));
/// ```
#[async_trait]
pub trait ServiceDiscovery {
    /// Returns the whole set and, for the backends it wants to switch on or off, their enablement.
    ///
    /// The map is keyed by the backend's hash: [`Hash`](std::hash::Hash) of the backend fed to
    /// [`DefaultHasher::new`](std::hash::DefaultHasher::new). A backend the map does not name keeps the state it has;
    /// new ones are enabled. On an error the previous set stays in use. The call may be dropped at any await point
    /// when the server shuts down.
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)>;
}

/// A set known in advance, which enables all of its backends.
///
/// ```
/// use pingora_load_balancing::{Backends, discovery::Static};
///
/// let discovery = Static::try_from_iter(["127.0.0.1:80", "127.0.0.1:81"])?;
/// assert_eq!(discovery.get().len(), 2);
/// let backends = Backends::new(discovery);
/// # std::io::Result::Ok(())
/// ```
#[derive(Default)]
pub struct Static {
    backends: ArcSwap<BTreeSet<Backend>>,
}

impl Static {
    /// Creates a discovery that always answers `backends`.
    pub fn new(backends: BTreeSet<Backend>) -> Box<Self> {
        Box::new(Static {
            backends: ArcSwap::from_pointee(backends),
        })
    }

    /// Creates a discovery of backends of weight 1, one for each address the items resolve to.
    ///
    /// Host names are resolved once, here and blocking. Errors if an item does not resolve.
    pub fn try_from_iter<A, T: IntoIterator<Item = A>>(iter: T) -> io::Result<Box<Self>>
    where
        A: ToSocketAddrs,
    {
        let mut backends = BTreeSet::new();
        for item in iter {
            for addr in item.to_socket_addrs()? {
                backends.insert(Backend {
                    addr: addr.into(),
                    weight: 1,
                    ext: Extensions::new(),
                });
            }
        }
        Ok(Self::new(backends))
    }

    /// Returns a copy of the set.
    pub fn get(&self) -> BTreeSet<Backend> {
        BTreeSet::clone(&self.backends.load())
    }
}

#[async_trait]
impl ServiceDiscovery for Static {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((self.get(), HashMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn static_sets() {
        let discovery = Static::try_from_iter(["1.1.1.1:80", "1.0.0.1:80", "1.1.1.1:80"]).unwrap();
        let (found, enablement) = discovery.discover().now_or_never().unwrap().unwrap();
        let found: Vec<_> = found.iter().map(|b| b.addr.to_string()).collect();
        assert_eq!(found, ["1.0.0.1:80", "1.1.1.1:80"]);
        assert!(enablement.is_empty());

        assert!(Static::default().get().is_empty());
        assert!(Static::try_from_iter(["no port"]).is_err());
        // Backends resolve to themselves.
        let backends = discovery.get();
        assert_eq!(Static::try_from_iter(&backends).unwrap().get(), backends);
        assert_eq!(Static::new(backends.clone()).get(), backends);
    }
}
