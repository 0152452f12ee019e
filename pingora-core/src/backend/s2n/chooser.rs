//! The configuration of each connection of a listener, chosen when the client has said what it
//! wants: the certificate for the name, and the keys of session tickets.
//!
//! The library keeps both in one configuration that cannot be changed. So there is one for each
//! certificate, made when first needed and again after a while: with new ticket keys, as whoever
//! gets hold of one can read the sessions resumed by it.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::cert::Loaded;
use super::stream::TlsRef;
use super::{set_keylog, set_policy};
use crate::backend::certificates::CertificateSet;
use crate::backend::keylog::KeyLog;
use crate::backend::library::library::callbacks::{ClientHelloCallback, ConnectionFuture};
use crate::backend::library::library::error::Error as S2NError;
use crate::backend::library::{
    ClientAuthType, Config, ConfigBuilder, Connection, IgnoreVerifyHostnameCallback, S2NPolicy,
    fill_random,
};
use crate::listeners::TlsAccept;
use crate::protocols::ALPN;
use crate::protocols::tls::client_hello::ClientHello;

/// How long session tickets are given out under one key. They can be used for as long again.
const TICKET_KEY_AGE: Duration = Duration::from_secs(60 * 60);

/// The callbacks of a listener.
pub(super) type Callbacks = Arc<dyn TlsAccept + Send + Sync>;

/// What the configurations of a listener have in common.
pub(super) struct Common {
    pub(super) policy: Option<S2NPolicy>,
    /// The policy of ours when there is none.
    pub(super) profile: &'static str,
    pub(super) max_blinding_delay: Option<u32>,
    pub(super) alpn: Option<ALPN>,
    pub(super) client_auth: ClientAuthType,
    /// The authorities of client certificates, in PEM form.
    pub(super) client_ca: Option<Vec<u8>>,
    pub(super) verify_client_hostname: bool,
    pub(super) keylog: Option<&'static KeyLog>,
}

impl Common {
    /// Returns a configuration without a certificate.
    pub(super) fn builder(&self) -> Result<ConfigBuilder, S2NError> {
        let mut builder = ConfigBuilder::new();
        builder.with_system_certs(false)?;
        let policy = self.policy.as_ref();
        set_policy(&mut builder, policy, self.profile, self.max_blinding_delay)?;
        if let Some(alpn) = &self.alpn {
            builder.set_application_protocol_preference(alpn.to_wire_protocols())?;
        }
        builder.set_client_auth_type(self.client_auth)?;
        if let Some(pem) = &self.client_ca {
            builder.trust_pem(pem)?;
        }
        if !self.verify_client_hostname {
            builder.set_verify_host_callback(IgnoreVerifyHostnameCallback::new())?;
        }
        if let Some(log) = self.keylog {
            set_keylog(&mut builder, log)?;
        }
        Ok(builder)
    }

    fn with_certificate(&self, certificate: &Loaded) -> Result<ConfigBuilder, S2NError> {
        let mut builder = self.builder()?;
        builder.load_chain(certificate.0.clone())?;
        Ok(builder)
    }
}

/// Chooses the configuration of each connection.
pub(super) struct Chooser {
    common: Common,
    certificates: Option<CertificateSet>,
    callbacks: Option<Callbacks>,
    /// Whether clients may have keys instead of certificates, besides which the library takes no
    /// session tickets.
    has_keys: bool,
    /// At most one for each certificate in use.
    made: Mutex<Vec<Made>>,
}

/// The configuration for a certificate.
struct Made {
    certificate: Weak<Loaded>,
    config: Config,
    key: Option<TicketKey>,
}

impl Chooser {
    pub(super) fn new(
        common: Common,
        certificates: Option<CertificateSet>,
        callbacks: Option<Callbacks>,
        has_keys: bool,
    ) -> Self {
        Chooser {
            common,
            certificates,
            callbacks,
            has_keys,
            made: Mutex::default(),
        }
    }

    /// Returns whether sessions may be resumed.
    ///
    /// A resumed session of the library has no client certificate, so that those are shown in each
    /// handshake.
    fn resumes(&self) -> bool {
        self.common.client_auth == ClientAuthType::None && !self.has_keys
    }

    /// Returns the configuration for a name; `None` when there are no certificates.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Option<Config>, S2NError> {
        self.find_at(name, Instant::now())
    }

    fn find_at(&self, name: Option<&str>, now: Instant) -> Result<Option<Config>, S2NError> {
        let Some(certificates) = &self.certificates else {
            return Ok(None);
        };
        let certificate = certificates.find(name);
        let mut made = self.made.lock();
        let of_it = |made: &Made| made.certificate.as_ptr() == Arc::as_ptr(&certificate);
        let old = made.iter().position(of_it);
        if let Some(old) = old
            && made[old].key.as_ref().is_none_or(|key| key.is_fresh(now))
        {
            return Ok(Some(made[old].config.clone()));
        }
        let old = old.map(|old| made.swap_remove(old));
        // Those of certificates that were replaced go.
        made.retain(|made| made.certificate.strong_count() > 0);
        let mut builder = self.common.with_certificate(&certificate)?;
        let mut key = None;
        if self.resumes() {
            if let Some(old) = old.and_then(|old| old.key) {
                old.add_to(&mut builder)?;
            }
            let new = TicketKey::new(now)?;
            new.add_to(&mut builder)?;
            key = Some(new);
        }
        let config = builder.build()?;
        made.push(Made {
            certificate: Arc::downgrade(&certificate),
            config: config.clone(),
            key,
        });
        Ok(Some(config))
    }
}

/// The chooser as a callback of the library.
pub(super) struct OnClientHello(pub(super) Arc<Chooser>);

impl ClientHelloCallback for OnClientHello {
    fn on_client_hello(
        &self,
        connection: &mut Connection,
    ) -> Result<Option<Pin<Box<dyn ConnectionFuture>>>, S2NError> {
        let chooser = &self.0;
        let name = connection.server_name().map(str::to_owned);
        if let Some(accepted) = &chooser.common.alpn {
            check_protocols(connection, accepted)?;
        }
        let Some(callbacks) = chooser.callbacks.clone() else {
            if let Some(config) = chooser.find(name.as_deref())? {
                use_config(connection, config)?;
            }
            return Ok(None);
        };
        let chooser = chooser.clone();
        let choice = async move {
            let mut asked = TlsRef::asked_for(name);
            callbacks.certificate_callback(&mut asked).await;
            match asked.take_certificate() {
                Some(chosen) => chooser.common.with_certificate(&chosen)?.build().map(Some),
                None => chooser.find(asked.server_name()),
            }
        };
        Ok(Some(Box::pin(Choice(Mutex::new(Box::pin(choice))))))
    }
}

/// A choice that is being made, in a lock for those who share what they never poll.
struct Choice(Mutex<Pin<Box<dyn Future<Output = Result<Option<Config>, S2NError>> + Send>>>);

impl ConnectionFuture for Choice {
    fn poll(
        mut self: Pin<&mut Self>,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S2NError>> {
        match self.0.get_mut().as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(())),
            Poll::Ready(Ok(Some(config))) => Poll::Ready(use_config(connection, config)),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
        }
    }
}

fn use_config(connection: &mut Connection, config: Config) -> Result<(), S2NError> {
    if connection.server_name().is_some() {
        connection.server_name_extension_used();
    }
    connection.set_config(config).map(|_| ())
}

/// Refuses clients that offer only protocols that are not `accepted` (RFC 7301, section 3.2); the
/// library would go on without one.
fn check_protocols(connection: &Connection, accepted: &ALPN) -> Result<(), S2NError> {
    let body = connection.client_hello()?.raw_message()?;
    let offered = match ClientHello::parse(&framed(&body)) {
        Ok(Some(hello)) => hello.alpn,
        // The library has read it, so that it is one.
        _ => return Ok(()),
    };
    let accepted = accepted.to_wire_protocols();
    if offered.is_empty() || offered.iter().any(|name| accepted.contains(name)) {
        return Ok(());
    }
    let why = "the client offers no protocol that is accepted";
    Err(S2NError::application(why.into()))
}

/// Returns the body of a ClientHello in a message and records, as it was sent.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let message = [&[1], &length[1..], body].concat();
    let record = |part: &[u8]| {
        let length = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    };
    message.chunks(16 * 1024).flat_map(record).collect()
}

/// A key of session tickets.
struct TicketKey {
    name: [u8; 16],
    key: [u8; 32],
    made: Instant,
    made_at: SystemTime,
}

impl TicketKey {
    fn new(now: Instant) -> Result<Self, S2NError> {
        let mut key = TicketKey {
            name: [0; 16],
            key: [0; 32],
            made: now,
            made_at: SystemTime::now(),
        };
        fill_random(&mut key.name)?;
        fill_random(&mut key.key)?;
        Ok(key)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.made) < TICKET_KEY_AGE
    }

    fn add_to(&self, builder: &mut ConfigBuilder) -> Result<(), S2NError> {
        builder.add_session_ticket_key(&self.name, &self.key, self.made_at)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_made_again() {
        let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");
        let set = |name| {
            CertificateSet::new(
                &format!("{certs}/{name}.pem"),
                &format!("{certs}/{name}.key"),
            )
        };
        let certificates = set("a").unwrap();
        let common = || Common {
            policy: None,
            profile: super::super::INTERMEDIATE,
            max_blinding_delay: None,
            alpn: None,
            client_auth: ClientAuthType::None,
            client_ca: None,
            verify_client_hostname: false,
            keylog: None,
        };
        let chooser = Chooser::new(common(), Some(certificates.clone()), None, false);
        let now = Instant::now();
        let first = chooser.find_at(None, now).unwrap();
        assert_eq!(first, chooser.find_at(Some("b.example"), now).unwrap());
        // With new keys of session tickets.
        let later = chooser.find_at(None, now + TICKET_KEY_AGE).unwrap();
        assert_ne!(first, later);
        assert_eq!(later, chooser.find_at(None, now + TICKET_KEY_AGE).unwrap());
        // With the certificate that is in the files now.
        certificates.reload().unwrap();
        assert_ne!(later, chooser.find_at(None, now + TICKET_KEY_AGE).unwrap());
        assert_eq!(chooser.made.lock().len(), 1);

        let chooser = Chooser::new(common(), None, None, true);
        assert_eq!(chooser.find(None).unwrap(), None);
    }

    #[test]
    fn a_client_hello_in_records() {
        let mut body = [&[3, 3][..], &[7; 32], b"\0\0\x02\x13\x01\x01\0"].concat();
        let extension = [&[0xff, 1][..], &20_000_u16.to_be_bytes(), &[0; 20_000]].concat();
        body.extend((extension.len() as u16).to_be_bytes());
        body.extend(extension);
        let hello = ClientHello::parse(&framed(&body)).unwrap().unwrap();
        assert_eq!(hello.cipher_suites, [0x1301]);
    }
}
