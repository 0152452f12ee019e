//! Makes the options of a connector.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::ConnectorOptions;
use crate::server::configuration::ServerConf;

/// The idle connections a connector keeps when nothing else is said.
pub(super) const DEFAULT_POOL_SIZE: usize = 128;

/// Is called with the time a connection was idle, each time one is taken from the pool.
pub type PoolCallback = Arc<dyn Fn(Duration) + Send + Sync>;

impl ConnectorOptions {
    /// Returns the options of a server's configuration, with room for
    /// `upstream_keepalive_pool_size` idle connections for each of its `threads`.
    ///
    /// An address of `client_bind_to_ipv4` or `_ipv6` that is no IP address of that kind is left
    /// out with an error in the log.
    pub fn from_server_conf(server_conf: &ServerConf) -> Self {
        ConnectorOptions {
            ca_file: server_conf.ca_file.clone(),
            cert_key_file: None,
            debug_ssl_keylog: server_conf.upstream_debug_ssl_keylog,
            #[cfg(feature = "s2n")]
            s2n_config_cache_size: server_conf.s2n_config_cache_size,
            keepalive_pool_size: (server_conf.upstream_keepalive_pool_size)
                .saturating_mul(server_conf.threads),
            offload_threadpool: server_conf.upstream_connect_offload_threadpool(),
            bind_to_v4: bind_addresses(&server_conf.client_bind_to_ipv4, IpAddr::is_ipv4),
            bind_to_v6: bind_addresses(&server_conf.client_bind_to_ipv6, IpAddr::is_ipv6),
            keepalive_pool_callback: None,
        }
    }

    /// Returns the defaults with room for `keepalive_pool_size` idle connections.
    pub fn new(keepalive_pool_size: usize) -> Self {
        ConnectorOptions {
            ca_file: None,
            cert_key_file: None,
            debug_ssl_keylog: false,
            #[cfg(feature = "s2n")]
            s2n_config_cache_size: None,
            keepalive_pool_size,
            offload_threadpool: None,
            bind_to_v4: vec![],
            bind_to_v6: vec![],
            keepalive_pool_callback: None,
        }
    }
}

impl fmt::Debug for ConnectorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorOptions")
            .field("ca_file", &self.ca_file)
            .field("cert_key_file", &self.cert_key_file)
            .field("debug_ssl_keylog", &self.debug_ssl_keylog)
            .field("keepalive_pool_size", &self.keepalive_pool_size)
            .field("offload_threadpool", &self.offload_threadpool)
            .field("bind_to_v4", &self.bind_to_v4)
            .field("bind_to_v6", &self.bind_to_v6)
            .finish_non_exhaustive()
    }
}

/// Parses the addresses of one family, any port.
fn bind_addresses(texts: &[String], is_family: fn(&IpAddr) -> bool) -> Vec<SocketAddr> {
    let parse = |text: &String| match text.parse::<IpAddr>() {
        Ok(ip) if is_family(&ip) => Some(SocketAddr::new(ip, 0)),
        _ => {
            log::error!("address to connect from ignored: {text:?} is no address of its family");
            None
        }
    };
    texts.iter().filter_map(parse).collect()
}
