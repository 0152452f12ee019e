//! What a proxy does to request headers on the way to an upstream.

/// Which `Upgrade` requests an HTTP/1 upstream is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H1UpgradePolicy {
    /// Only `Upgrade: websocket` (RFC 6455).
    WebSocketOnly,
    /// Every upgrade the client asks for.
    Preserve,
    /// None.
    Deny,
}

/// What a proxy does to request headers on the way to an upstream.
///
/// ```
/// use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpUpstreamRequestPolicy};
///
/// let policy = HttpUpstreamRequestPolicy::default();
/// assert!(policy.strip_hop_by_hop);
/// assert_eq!(policy.h1_upgrade, H1UpgradePolicy::WebSocketOnly);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpUpstreamRequestPolicy {
    /// Remove the hop-by-hop fields (RFC 9110, section 7.6.1).
    pub strip_hop_by_hop: bool,
    /// Remove the fields named by `Connection`.
    pub strip_connection_nominated: bool,
    /// Refuse a request whose `Connection` names what is no field name, or a field that must not
    /// be removed.
    pub reject_malformed_connection_nominations: bool,
    /// Which upgrades pass.
    pub h1_upgrade: H1UpgradePolicy,
}

impl HttpUpstreamRequestPolicy {
    /// Returns the default: everything hop-by-hop is removed, only WebSocket upgrades pass.
    pub fn standard() -> Self {
        HttpUpstreamRequestPolicy {
            strip_hop_by_hop: true,
            strip_connection_nominated: true,
            reject_malformed_connection_nominations: true,
            h1_upgrade: H1UpgradePolicy::WebSocketOnly,
        }
    }

    /// Returns the policy that leaves the headers and upgrades of the client as they are.
    pub fn preserve() -> Self {
        HttpUpstreamRequestPolicy {
            strip_hop_by_hop: false,
            strip_connection_nominated: false,
            reject_malformed_connection_nominations: false,
            h1_upgrade: H1UpgradePolicy::Preserve,
        }
    }

    /// Returns [`standard`](Self::standard) without any upgrade.
    pub fn deny_upgrades() -> Self {
        HttpUpstreamRequestPolicy {
            h1_upgrade: H1UpgradePolicy::Deny,
            ..Self::standard()
        }
    }
}

impl Default for HttpUpstreamRequestPolicy {
    fn default() -> Self {
        Self::standard()
    }
}
