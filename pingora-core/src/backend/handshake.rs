//! What every handshake does whatever the library: how long it may take, on which threads it
//! runs, and for which names a server's certificate may be valid.

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pingora_error::{Error, ErrorType, Result};

use super::hello::{self, ClientHelloHook};
use super::settings::TLS_CONF_ERR;
use crate::connectors::offload::{AbortOnDrop, OffloadRuntime};
use crate::protocols::{Peek, TimingDigest};
use crate::upstreams::peer::{Peer, Unresolved, unresolved_of};

/// How long a TLS handshake with a server may take when the peer has no timeout at all.
const DEFAULT_UPSTREAM_HANDSHAKE: Duration = Duration::from_secs(60);

// === accepting ===

/// What comes before the handshake with a client, and where that runs.
pub(super) struct Before {
    /// Threads for handshakes, if there are such.
    offload: Option<OffloadRuntime>,
    hello_hook: Option<ClientHelloHook>,
}

impl Before {
    /// Returns what has handshakes run on pools of threads, or without pools where they are asked
    /// for, and shows each ClientHello to the hook.
    pub(super) fn new(
        pools_and_threads: Option<(usize, usize)>,
        hello_hook: Option<ClientHelloHook>,
    ) -> Self {
        let start = |size| OffloadRuntime::named(size, "tls offload");
        Before {
            offload: pools_and_threads.and_then(start),
            hello_hook,
        }
    }

    /// Waits until the client has said what it wants, and shows it to the hook.
    ///
    /// A client that says nothing, or half of it, then costs its socket and what it said, and not
    /// the state of a handshake too: that is 49 KiB with OpenSSL.
    ///
    /// # Errors
    /// Those of the hook.
    pub(super) async fn client_hello<S: Peek + Send>(&self, stream: &mut S) -> Result<()> {
        match &self.hello_hook {
            Some(hook) => hello::show(stream, hook).await,
            None => {
                hello::wait(stream).await;
                Ok(())
            }
        }
    }

    /// Runs `work` on the threads chosen by `id`, and returns how long it waited for one.
    ///
    /// Dropping the future ends the work.
    pub(super) async fn run<F, T>(&self, id: i32, work: F) -> Result<(T, Option<Duration>)>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let Some(offload) = &self.offload else {
            return Ok((work.await?, None));
        };
        let asked = Instant::now();
        let task = offload
            .runtime_of(id.unsigned_abs().into())
            .spawn(async move {
                let waited = asked.elapsed();
                (work.await, waited)
            });
        match AbortOnDrop::new(task).await {
            Ok((done, waited)) => Ok((done?, Some(waited))),
            Err(e) => Error::e_because(ErrorType::InternalError, "the handshake was cut short", e),
        }
    }
}

/// Returns the error of a handshake with a client that failed because of `reason`.
#[cold]
pub(super) fn accept_error(reason: impl Into<String>) -> Box<Error> {
    let context = format!("TLS handshake: {}", reason.into());
    Error::explain(ErrorType::TLSHandshakeFailure, context).into_down()
}

// === connecting ===

/// Bounds the handshake with `peer`: its connection timeout, unless it only has one for everything.
pub(super) async fn within_limit<P, F, T>(peer: &P, handshake: F) -> Result<T>
where
    P: Peer,
    F: Future<Output = Result<T>>,
{
    let limit = match (peer.connection_timeout(), peer.total_connection_timeout()) {
        (Some(limit), _) => limit,
        (None, Some(_)) => return handshake.await,
        (None, None) => DEFAULT_UPSTREAM_HANDSHAKE,
    };
    match pingora_timeout::timeout(limit, handshake).await {
        Ok(done) => done,
        Err(_) => Error::e_explain(
            ErrorType::TLSHandshakeTimedout,
            format!("TLS handshake not done in {limit:?}"),
        ),
    }
}

/// For whom a server's certificate must be valid: one of these is enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity<'a> {
    /// Whoever has a certificate.
    Anybody,
    /// One of these names.
    Names(Vec<Cow<'a, str>>),
    /// The address that was connected to.
    Address(IpAddr),
}

/// Returns whom the certificate of `peer` must be valid for.
///
/// Without a server name there is still the name or the address that is connected to. A server name
/// that is an address counts as none when there is an alternative: libraries check either names or
/// an address.
///
/// # Errors
/// `InvalidCert` when there is nothing to check but everything is to be checked; those of
/// [`check_names`].
pub(super) fn identity_of<P: Peer>(peer: &P) -> Result<Identity<'_>> {
    check_names(peer)?;
    if !peer.verify_cert() || !peer.verify_hostname() {
        return Ok(Identity::Anybody);
    }
    let alternative = peer.alternative_cn().filter(|name| !name.is_empty());
    let name = match peer.sni() {
        "" => host_name(peer).map(|name| Cow::from(String::from(&*name))),
        sni => Some(Cow::from(sni)),
    };
    let address = match &name {
        Some(name) => name.parse().ok(),
        None => peer.address().as_inet().map(|address| address.ip()),
    };
    match (address, name, alternative) {
        (Some(address), _, None) => Ok(Identity::Address(address)),
        (Some(_), _, Some(alternative)) => {
            Ok(Identity::Names(vec![Cow::from(alternative.as_str())]))
        }
        (None, None, None) => Error::e_explain(
            ErrorType::InvalidCert,
            "there is no server name to check the certificate for",
        ),
        (None, name, alternative) => {
            let legal = name.as_deref().and_then(without_underscores);
            let names = [
                name,
                legal.map(Cow::from),
                alternative.map(|name| Cow::from(name.as_str())),
            ];
            Ok(Identity::Names(names.into_iter().flatten().collect()))
        }
    }
}

/// Returns that TLS can be spoken to `peer`, before anything is connected.
///
/// # Errors
/// `TLSConfigError` when a name of the peer is none.
pub(crate) fn ensure_supported<P: Peer>(peer: &P) -> Result<()> {
    if peer.tls() {
        check_names(peer)
    } else {
        Ok(())
    }
}

/// Returns that the names of `peer` may be given to a library.
///
/// # Errors
/// Those of [`check_name`].
fn check_names<P: Peer>(peer: &P) -> Result<()> {
    let host = host_name(peer);
    let names = [
        Some(peer.sni()),
        host.as_deref(),
        peer.alternative_cn().map(String::as_str),
    ];
    names.into_iter().flatten().try_for_each(check_name)
}

/// Returns that `name` may be given to a library as the name of a server.
///
/// OpenSSL takes one with a dot before it for every name that ends so, and a text with a NUL for
/// none, or for what is before it.
///
/// # Errors
/// `TLSConfigError` from the upstream for those two.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.starts_with('.') || name.contains('\0') {
        let context = format!("{name:?} is no name of a server");
        return Err(Error::explain(TLS_CONF_ERR, context).into_up());
    }
    Ok(())
}

/// Returns the host name that is looked up to connect to `peer`, `None` for one with an address.
fn host_name<P: Peer>(peer: &P) -> Option<Arc<str>> {
    match unresolved_of(peer.address(), peer.get_peer_options())? {
        Unresolved::Name(name) => Some(name),
        Unresolved::Invalid(_) => None,
    }
}

/// Returns the server name to send, `None` for none: addresses must not be sent (RFC 6066, 3).
pub(super) fn server_name<P: Peer>(peer: &P) -> Option<&str> {
    let sni = peer.sni();
    (!sni.is_empty() && sni.parse::<IpAddr>().is_err()).then_some(sni)
}

/// Returns `name` with hyphens for the underscores of its leftmost label, `None` without any.
///
/// Underscores are not allowed in host names but common in names of services, and some libraries
/// do not match them against wildcards. The other labels stay: a wildcard covers only the first.
pub(super) fn without_underscores(name: &str) -> Option<String> {
    let (first, rest) = name.split_once('.')?;
    first
        .contains('_')
        .then(|| format!("{}.{rest}", first.replace('_', "-")))
}

// === digests ===

/// Returns the timing of a handshake that began at `started` and is done now.
pub(super) fn timing(started: Option<Instant>) -> TimingDigest {
    TimingDigest {
        established_ts: SystemTime::now(),
        establishment_duration: started.map(|started| started.elapsed()),
        offload_wait_duration: None,
    }
}

#[cfg(test)]
mod tests;
