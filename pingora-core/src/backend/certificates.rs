//! Several certificates for one listener, chosen by server name and read again from disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use pingora_error::{Error, Result};

use super::cert::Loaded;
use super::ocsp::load_response;
use super::settings::{TLS_CONF_ERR, bad_file};
use crate::server::ShutdownWatch;
use crate::services::background::BackgroundService;

/// How often files are looked at unless said otherwise: renewed certificates are valid for days
/// before the old ones end.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// The certificates of a listener: one for each server name or wildcard, and a default.
///
/// Clones share the certificates, so that one may be given to a listener with
/// [`TlsSettings::with_certificates`](super::listener::TlsSettings::with_certificates) and another
/// kept to [`reload`](Self::reload) them. As a background service it reloads them by itself when
/// their files change. Connections that are open are not touched.
///
/// ```no_run
/// use pingora_core::listeners::tls::{CertificateSet, TlsSettings};
/// use pingora_core::services::background::background_service;
///
/// let certificates = CertificateSet::new("default.pem", "default.key")?;
/// certificates.add(&["example.com", "*.example.com"], "example.pem", "example.key")?;
/// let settings = TlsSettings::with_certificates(certificates.clone())?;
/// let watch = background_service("certificates", certificates);
/// // server.add_service(watch);
/// # Ok::<(), Box<pingora_core::Error>>(())
/// ```
#[derive(Clone)]
pub struct CertificateSet {
    shared: Arc<Shared>,
    interval: Duration,
}

struct Shared {
    /// Held while certificates are read, so that two do not do it at once.
    sources: Mutex<Vec<Source>>,
    table: RwLock<Arc<Table>>,
}

/// The files of a certificate and the names it is for, none for the default.
#[derive(Clone)]
struct Source {
    names: Vec<String>,
    cert_path: String,
    key_path: String,
    ocsp_path: Option<String>,
    /// Of the files, when they were read.
    modified: Option<Vec<SystemTime>>,
}

struct Table {
    default: Arc<Loaded>,
    exact: HashMap<String, Arc<Loaded>>,
    /// By what is behind `*.`.
    wildcards: HashMap<String, Arc<Loaded>>,
}

impl CertificateSet {
    /// Returns a set with the certificate for clients that ask for no name or an unknown one.
    ///
    /// # Errors
    /// `TLSConfigError` naming the file that cannot be used and why.
    pub fn new(cert_path: &str, key_path: &str) -> Result<Self> {
        let mut sources = vec![Source::new(&[], cert_path, key_path)?];
        let table = Table::read(&mut sources)?;
        Ok(CertificateSet {
            shared: Arc::new(Shared {
                sources: Mutex::new(sources),
                table: RwLock::new(Arc::new(table)),
            }),
            interval: DEFAULT_INTERVAL,
        })
    }

    /// Adds a certificate for `names`: host names, or wildcards like `*.example.com` that stand for
    /// one label. A name that was there before gets the new certificate.
    ///
    /// # Errors
    /// `TLSConfigError` when a file cannot be used or a name is no name; nothing is changed then.
    pub fn add(&self, names: &[&str], cert_path: &str, key_path: &str) -> Result<()> {
        let source = Source::new(names, cert_path, key_path)?;
        self.change(|sources| sources.push(source))
    }

    /// Staples the OCSP response in the DER file `ocsp_path` to the certificate in `cert_path`, for
    /// clients that ask for one (RFC 6066, section 8).
    ///
    /// The file is read again with those of the certificate. Nothing is asked for over the network:
    /// something else has to get new responses before the old ones expire.
    ///
    /// # Errors
    /// `TLSConfigError` when the set has no certificate from `cert_path`, or the response cannot be
    /// used; nothing is changed then.
    pub fn set_ocsp_response(&self, cert_path: &str, ocsp_path: &str) -> Result<()> {
        let of_it = |source: &Source| source.cert_path == cert_path;
        if !self.shared.sources.lock().iter().any(of_it) {
            let why = "the set has no such certificate";
            return Err(bad_file("certificate file", cert_path, why));
        }
        self.change(|sources| {
            for source in sources.iter_mut().filter(|source| of_it(source)) {
                source.ocsp_path = Some(ocsp_path.to_owned());
            }
        })
    }

    /// Reads all files again. New connections get what is in them now.
    ///
    /// # Errors
    /// `TLSConfigError` naming the first file that cannot be used; the certificates stay as they
    /// were then, all of them.
    pub fn reload(&self) -> Result<()> {
        self.change(|_| ())
    }

    /// Sets how often the background service looks whether files have changed; 10 seconds by
    /// default.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Returns the certificate for a server name.
    pub(super) fn find(&self, name: Option<&str>) -> Arc<Loaded> {
        let table = self.shared.table.read().clone();
        table.find(name).clone()
    }

    /// Staples the OCSP response in the file `path` to the default certificate.
    pub(super) fn set_default_ocsp_response(&self, path: &str) -> Result<()> {
        self.change(|sources| sources[0].ocsp_path = Some(path.to_owned()))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Source>)) -> Result<()> {
        let mut sources = self.shared.sources.lock();
        let mut changed = sources.clone();
        change(&mut changed);
        let table = Table::read(&mut changed)?;
        *sources = changed;
        *self.shared.table.write() = Arc::new(table);
        Ok(())
    }

    /// Returns whether a file is not the one that was read.
    fn is_outdated(&self) -> bool {
        let sources = self.shared.sources.lock();
        sources
            .iter()
            .any(|source| source.modification() != source.modified)
    }
}

#[async_trait]
impl BackgroundService for CertificateSet {
    /// Reloads the certificates when their files change, until shutdown.
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut failed_at = None;
        loop {
            // Both futures are cancel-safe.
            tokio::select! {
                _ = shutdown.changed() => return,
                _ = tokio::time::sleep(self.interval) => {}
            }
            if !self.is_outdated() {
                continue;
            }
            match self.reload() {
                Ok(()) => log::info!("certificates reloaded"),
                Err(e) => {
                    // Files may be replaced one after the other: each reason is told once.
                    let reason = e.to_string();
                    if failed_at.as_ref() != Some(&reason) {
                        log::error!("certificates not reloaded: {reason}");
                    }
                    failed_at = Some(reason);
                    continue;
                }
            }
            failed_at = None;
        }
    }
}

impl fmt::Debug for CertificateSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.shared.sources.lock();
        let names = sources
            .iter()
            .map(|source| (&source.cert_path, &source.names));
        f.debug_map().entries(names).finish()
    }
}

impl Source {
    fn new(names: &[&str], cert_path: &str, key_path: &str) -> Result<Self> {
        let names = names.iter().map(|name| checked(name));
        Ok(Source {
            names: names.collect::<Result<_>>()?,
            cert_path: cert_path.to_owned(),
            key_path: key_path.to_owned(),
            ocsp_path: None,
            modified: None,
        })
    }

    fn modification(&self) -> Option<Vec<SystemTime>> {
        let paths = [&self.cert_path, &self.key_path];
        let time = |path| {
            std::fs::metadata(path)
                .and_then(|data| data.modified())
                .ok()
        };
        paths.into_iter().chain(&self.ocsp_path).map(time).collect()
    }

    fn load(&self) -> Result<Loaded> {
        let response = self.ocsp_path.as_deref().map(load_response).transpose()?;
        Loaded::from_files(&self.cert_path, &self.key_path, response)
    }
}

/// Returns `name` in lower case.
fn checked(name: &str) -> Result<String> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    if host.is_empty() || host.contains(['*', ' ', '/']) {
        let context = format!("{name:?} is no server name and no wildcard");
        return Err(Error::explain(TLS_CONF_ERR, context).into_in());
    }
    Ok(name.to_ascii_lowercase())
}

impl Table {
    /// Reads the files, the first of which are the default.
    fn read(sources: &mut [Source]) -> Result<Self> {
        let mut default = None;
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for source in sources {
            // Before reading: a change during it is then seen as one.
            source.modified = source.modification();
            let loaded = Arc::new(source.load()?);
            for name in &source.names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcards.insert(rest.to_owned(), loaded.clone()),
                    None => exact.insert(name.clone(), loaded.clone()),
                };
            }
            default.get_or_insert(loaded);
        }
        Ok(Table {
            default: default.expect("the set is made with a default, which is never removed"),
            exact,
            wildcards,
        })
    }

    fn find(&self, name: Option<&str>) -> &Arc<Loaded> {
        let Some(name) = name else {
            return &self.default;
        };
        // A dot at the end does not make another name (RFC 6066, section 3, forbids it).
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.wildcards.get(rest)
        };
        self.exact
            .get(&name)
            .or_else(wildcard)
            .unwrap_or(&self.default)
    }
}
