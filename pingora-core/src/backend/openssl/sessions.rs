//! Sessions to resume with servers: which were given, and to which peers they belong.
//!
//! A resumed handshake checks no certificate, so a session may only be used for a peer that would
//! have made it in the same way: the key is the peer's reuse hash, which covers server name,
//! authorities, client certificate and everything else that tells connections apart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::differences::lifetime;
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ex_data::Index;
use crate::backend::library::ssl::{
    Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslVersion,
};

/// For how many peers sessions are kept. One takes some kilobytes, mostly certificates.
const MAX_PEERS: usize = 1024;

/// How many sessions are kept for a peer. TLS 1.3 uses each once (RFC 8446, appendix C.4), and
/// servers give two at a time.
const MAX_PER_PEER: usize = 4;

/// The longest a session is kept, whatever the server says (RFC 8446, section 4.6.1: a week).
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The sessions of one connector.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    of_peer: HashMap<u64, VecDeque<(Instant, SslSession)>>,
    /// The keys in the order in which they came; those that are gone may be among them.
    order: VecDeque<u64>,
}

impl Sessions {
    /// Has the sessions of connections that were [told](Self::offer) their key kept here.
    pub(super) fn attach(self: &Arc<Self>, builder: &mut SslContextBuilder) {
        let sessions = Arc::downgrade(self);
        builder.set_session_cache_mode(
            SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL_STORE,
        );
        builder.set_new_session_callback(move |ssl, session| {
            let key = key_index().and_then(|index| ssl.ex_data(index));
            if let (Some(key), Some(sessions)) = (key, sessions.upgrade()) {
                sessions.keep(*key, session);
            }
        });
    }

    /// Tells `ssl` that it is for the peer with the reuse hash `key`, and gives it a session to
    /// resume if there is one. `ssl` must be of the context these sessions are attached to.
    pub(super) fn offer(&self, ssl: &mut SslRef, key: u64) -> Result<(), ErrorStack> {
        let Some(index) = key_index() else {
            return Ok(());
        };
        ssl.set_ex_data(index, key);
        match self.take(key) {
            // SAFETY: the sessions kept here are of the context they are attached to, and the
            // caller gives no connection of another one.
            Some(session) => unsafe { ssl.set_session(&session) },
            None => Ok(()),
        }
    }

    fn keep(&self, key: u64, session: SslSession) {
        let expires = Instant::now() + lifetime(&session).min(MAX_AGE);
        let mut kept = self.0.lock();
        if !kept.of_peer.contains_key(&key) {
            kept.make_room();
            kept.order.push_back(key);
        }
        let sessions = kept.of_peer.entry(key).or_default();
        if sessions.len() == MAX_PER_PEER {
            sessions.pop_front();
        }
        sessions.push_back((expires, session));
    }

    /// Returns the newest session; one of TLS 1.2 stays for the next.
    fn take(&self, key: u64) -> Option<SslSession> {
        let mut kept = self.0.lock();
        let sessions = kept.of_peer.get_mut(&key)?;
        let (expires, session) = sessions.pop_back()?;
        if expires <= Instant::now() {
            // The others are older.
            sessions.clear();
            return None;
        }
        if session.protocol_version() != SslVersion::TLS1_3 {
            sessions.push_back((expires, session.clone()));
        }
        Some(session)
    }
}

impl Kept {
    /// Forgets the peers that came first when there are too many.
    fn make_room(&mut self) {
        while self.order.len() >= MAX_PEERS {
            if let Some(oldest) = self.order.pop_front() {
                self.of_peer.remove(&oldest);
            }
        }
    }
}

/// Returns where the key of a connection is kept with it.
fn key_index() -> Option<Index<Ssl, u64>> {
    static INDEX: OnceLock<Option<Index<Ssl, u64>>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().ok())
}
