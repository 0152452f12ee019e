#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use pingora_core::*;

/// HTTP request and response heads.
pub mod http {
    pub use pingora_http::*;
}

/// Load balancing: backend sets, discovery, health checks, selection.
#[cfg(feature = "lb")]
pub mod lb {
    pub use pingora_load_balancing::*;
}

/// The programmable reverse proxy.
#[cfg(feature = "proxy")]
pub mod proxy {
    pub use pingora_proxy::*;
}

/// Timeouts and sleeps.
#[cfg(feature = "time")]
pub mod time {
    pub use pingora_timeout::*;
}

/// What most programs import: `use pingora::prelude::*`.
pub mod prelude {
    pub use pingora_core::prelude::*;
    pub use pingora_http::prelude::*;
    #[cfg(feature = "lb")]
    pub use pingora_load_balancing::prelude::*;
    #[cfg(feature = "proxy")]
    pub use pingora_proxy::prelude::*;
    pub use pingora_timeout::*;
}
