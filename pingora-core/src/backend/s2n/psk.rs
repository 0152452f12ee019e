//! Keys that both sides know beforehand (RFC 8446, section 2.2), in place of certificates.

use std::fmt;
use std::hash::{Hash, Hasher};

pub(crate) use crate::backend::library::S2NPolicy as SecurityPolicy;
use crate::backend::library::library::psk::Psk as LibraryPsk;
use crate::backend::library::{Connection, PskHmac, S2NError};

/// The pre-shared keys of a peer.
pub type PskType = PskConfig;

/// A key that both sides know beforehand.
///
/// ```
/// use pingora_core::protocols::tls::{Psk, PskConfig};
/// use pingora_core::tls::PskHmac;
///
/// let secret = b"at least sixteen random bytes".to_vec();
/// let keys = PskConfig::new(vec![Psk::new("peer-1".to_string(), secret, PskHmac::SHA256)]);
/// assert_eq!(keys.keys[0].identity, b"peer-1");
/// ```
pub struct Psk {
    /// The name of the key, which is sent in the clear.
    pub identity: Vec<u8>,
    /// The key: at least 16 bytes from a source of random numbers.
    pub secret: Vec<u8>,
    /// The hash function it is used with.
    pub hmac: PskHmac,
}

impl Psk {
    /// Returns the key `secret` called `identity`.
    pub fn new(identity: String, secret: Vec<u8>, hmac: PskHmac) -> Self {
        Psk {
            identity: identity.into_bytes(),
            secret,
            hmac,
        }
    }
}

/// Returns the same function: the type of the library is not `Copy`.
fn copy_of(hmac: &PskHmac) -> Result<PskHmac, S2NError> {
    match hmac {
        PskHmac::SHA256 => Ok(PskHmac::SHA256),
        PskHmac::SHA384 => Ok(PskHmac::SHA384),
        other => Err(S2NError::application(
            format!("no pre-shared keys with {other:?}").into(),
        )),
    }
}

impl fmt::Debug for Psk {
    /// Writes the name, and nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Psk")
            .field("identity", &String::from_utf8_lossy(&self.identity))
            .finish_non_exhaustive()
    }
}

/// Pre-shared keys, the preferred one first.
#[derive(Debug)]
pub struct PskConfig {
    /// The keys.
    pub keys: Vec<Psk>,
}

impl PskConfig {
    /// Returns these keys.
    pub fn new(keys: Vec<Psk>) -> Self {
        PskConfig { keys }
    }

    /// Lets `connection` use them.
    pub(super) fn append_to(&self, connection: &mut Connection) -> Result<(), S2NError> {
        for key in &self.keys {
            let mut builder = LibraryPsk::builder()?;
            builder.set_identity(&key.identity)?;
            builder.set_secret(&key.secret)?;
            builder.set_hmac(copy_of(&key.hmac)?)?;
            connection.append_psk(&builder.build()?)?;
        }
        Ok(())
    }
}

impl Hash for PskConfig {
    /// Adds names, keys and hash functions: peers with different ones share no connections.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for key in &self.keys {
            key.identity.hash(state);
            key.secret.hash(state);
            std::mem::discriminant(&key.hmac).hash(state);
        }
    }
}
