//! Every Rust snippet of the README and of `docs/`, compiled (and run, unless it would serve for
//! ever) as a doc test. A page that is not listed here is not checked: list it.

#[doc = include_str!("../../../README.md")]
struct Readme;
#[doc = include_str!("../../../docs/quick_start.md")]
struct QuickStart;
#[doc = include_str!("../../../docs/user_guide/compression.md")]
struct Compression;
#[doc = include_str!("../../../docs/user_guide/conf.md")]
struct Conf;
#[doc = include_str!("../../../docs/user_guide/ctx.md")]
struct Ctx;
#[doc = include_str!("../../../docs/user_guide/errors.md")]
struct Errors;
#[doc = include_str!("../../../docs/user_guide/failover.md")]
struct Failover;
#[doc = include_str!("../../../docs/user_guide/http2.md")]
struct Http2;
#[doc = include_str!("../../../docs/user_guide/internals.md")]
struct Internals;
#[doc = include_str!("../../../docs/user_guide/limits.md")]
struct Limits;
#[doc = include_str!("../../../docs/user_guide/load_balancing.md")]
struct LoadBalancing;
#[doc = include_str!("../../../docs/user_guide/modify_filter.md")]
struct ModifyFilter;
#[doc = include_str!("../../../docs/user_guide/peer.md")]
struct Peer;
#[doc = include_str!("../../../docs/user_guide/phase.md")]
struct Phase;
#[doc = include_str!("../../../docs/user_guide/pooling.md")]
struct Pooling;
#[doc = include_str!("../../../docs/user_guide/rate_limiting.md")]
struct RateLimiting;
#[doc = include_str!("../../../docs/user_guide/start_stop.md")]
struct StartStop;
#[doc = include_str!("../../../docs/user_guide/subrequests.md")]
struct Subrequests;
#[doc = include_str!("../../../docs/user_guide/tcp.md")]
struct Tcp;
#[cfg(feature = "any_tls")]
#[doc = include_str!("../../../docs/user_guide/tls.md")]
struct Tls;
#[doc = include_str!("../../../docs/user_guide/udp.md")]
struct Udp;
