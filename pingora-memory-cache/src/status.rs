//! [`CacheStatus`]: where a value came from.

use std::time::Duration;

/// How a key was found.
///
/// ```
/// use pingora_memory_cache::CacheStatus;
/// use std::time::Duration;
///
/// let status = CacheStatus::Stale(Duration::from_secs(3));
/// assert_eq!(status.as_str(), "stale");
/// assert!(status.is_hit());
/// assert_eq!(status.stale(), Some(Duration::from_secs(3)));
/// ```
#[derive(Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was there.
    Hit,
    /// It was not there.
    Miss,
    /// It was there, past its time to live.
    Expired,
    /// It was not there, but somebody else was looking it up.
    LockHit,
    /// It was there, past its time to live for so long, and that was accepted.
    Stale(Duration),
}

impl CacheStatus {
    /// Returns the name of the status, in lower case.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Expired => "expired",
            Self::LockHit => "lock_hit",
            Self::Stale(_) => "stale",
        }
    }

    /// Returns whether a value was found, without a lookup of one's own.
    pub fn is_hit(&self) -> bool {
        match self {
            Self::Hit | Self::LockHit | Self::Stale(_) => true,
            Self::Miss | Self::Expired => false,
        }
    }

    /// Returns for how long the value has been past its time to live, if it is stale.
    pub fn stale(&self) -> Option<Duration> {
        match self {
            Self::Stale(age) => Some(*age),
            _ => None,
        }
    }
}
