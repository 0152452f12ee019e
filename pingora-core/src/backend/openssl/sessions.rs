//! Sessions to resume with servers: which were given, and to which peers they belong.
//!
//! A resumed handshake checks no certificate, so a session may only be used for a peer that would
//! have made it in the same way: the key is the peer's reuse hash, which covers server name,
//! authorities, client certificate and everything else that tells connections apart.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::differences::lifetime;
use crate::backend::by_peer::{ByPeer, MAX_PEERS};
use crate::backend::library::error::ErrorStack;
use crate::backend::library::ex_data::Index;
use crate::backend::library::ssl::{
    Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslVersion,
};

/// How many sessions are kept for a peer. TLS 1.3 uses each once (RFC 8446, appendix C.4), and
/// servers give two at a time.
const MAX_PER_PEER: usize = 4;

/// The longest a session is kept, whatever the server says (RFC 8446, section 4.6.1: a week).
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The sessions of one connector, those of a peer with the time they end, the newest last.
pub(super) struct Sessions(Mutex<ByPeer<u64, VecDeque<(Instant, SslSession)>>>);

impl Default for Sessions {
    fn default() -> Self {
        Sessions(Mutex::new(ByPeer::new(MAX_PEERS)))
    }
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
        kept.insert(key, VecDeque::new());
        let Some(sessions) = kept.get_mut(&key) else {
            return;
        };
        if sessions.len() == MAX_PER_PEER {
            sessions.pop_front();
        }
        sessions.push_back((expires, session));
    }

    /// Returns the newest session; one of TLS 1.2 stays for the next.
    fn take(&self, key: u64) -> Option<SslSession> {
        let mut kept = self.0.lock();
        let sessions = kept.get_mut(&key)?;
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

/// Returns where the key of a connection is kept with it.
fn key_index() -> Option<Index<Ssl, u64>> {
    static INDEX: OnceLock<Option<Index<Ssl, u64>>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().ok())
}
