//! What all TLS connections of a connector share, made of its options when it is first needed.

use std::sync::OnceLock;

use pingora_error::{Error, Result};

use crate::connectors::ConnectorOptions;

/// What a transport connector keeps for TLS.
pub(crate) struct Connector<M> {
    /// The settings every connection shares.
    pub(crate) ctx: TlsConnector<M>,
}

/// The settings that all TLS connections of a connector share, made when first needed.
pub(crate) struct TlsConnector<M> {
    files: Files,
    made: OnceLock<Result<M>>,
}

/// What the options of a connector say about TLS.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) ca: Option<String>,
    pub(crate) cert_and_key: Option<(String, String)>,
    pub(crate) keylog: bool,
    /// For how many peers configurations are kept, where the library has one for each.
    #[allow(dead_code, reason = "one library reads it")]
    pub(crate) cache_size: Option<usize>,
}

/// What a library makes of them.
pub(crate) trait Made: Sized {
    /// Makes the settings.
    ///
    /// # Errors
    /// That of the first file that cannot be used.
    fn make(files: &Files) -> Result<Self>;
}

impl<M: Made> Connector<M> {
    /// Returns a connector with the files of `options`.
    ///
    /// A file that cannot be used is logged here and fails every connection.
    pub(crate) fn new(options: Option<ConnectorOptions>) -> Self {
        let ctx = TlsConnector {
            files: options.map(Files::from).unwrap_or_default(),
            made: OnceLock::new(),
        };
        // Reading the system's authorities takes a while, and many connectors never need them; what
        // was configured is looked at now.
        if ctx.files.is_any()
            && let Err(e) = ctx.get()
        {
            log::error!("TLS to upstreams will fail: {e}");
        }
        Connector { ctx }
    }
}

impl<M: Made> TlsConnector<M> {
    /// Returns the settings, or each time the error of making them.
    pub(crate) fn get(&self) -> Result<&M> {
        match self.made.get_or_init(|| M::make(&self.files)) {
            Ok(made) => Ok(made),
            Err(e) => {
                let context = e.context.as_ref().map_or("", |context| context.as_str());
                Err(Error::explain(e.etype().clone(), context.to_owned()).into_in())
            }
        }
    }
}

impl Files {
    fn is_any(&self) -> bool {
        self.ca.is_some() || self.cert_and_key.is_some() || self.keylog
    }
}

impl From<ConnectorOptions> for Files {
    fn from(options: ConnectorOptions) -> Self {
        Files {
            ca: options.ca_file,
            cert_and_key: options.cert_key_file,
            keylog: options.debug_ssl_keylog,
            #[cfg(feature = "s2n")]
            cache_size: options.s2n_config_cache_size,
            #[cfg(not(feature = "s2n"))]
            cache_size: None,
        }
    }
}
