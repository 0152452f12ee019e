//! HTTP modules: filters over requests and responses that any server or proxy can add.
//!
//! [`HttpModules`] is the set a server was configured with; [`HttpModuleCtx`] is the set as one
//! request goes through it. Modules see requests in descending order of
//! [`order`](HttpModuleBuilder::order) and responses the same way. A set whose modules are all
//! [dormant](HttpModuleBuilder::is_dormant) costs nothing: it is made when one is asked for.

pub mod compression;
pub mod grpc_web;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};

/// A filter as one request goes through it; every default lets things pass.
#[async_trait]
pub trait HttpModule {
    /// Sees the request head, and may change it.
    async fn request_header_filter(&mut self, _req: &mut RequestHeader) -> Result<()> {
        Ok(())
    }

    /// Sees each piece of the request body once, and may replace it: another try at an upstream sends
    /// again what came of it.
    async fn request_body_filter(
        &mut self,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        Ok(())
    }

    /// Sees the response head, and may change it.
    async fn response_header_filter(
        &mut self,
        _resp: &mut ResponseHeader,
        _end_of_stream: bool,
    ) -> Result<()> {
        Ok(())
    }

    /// Sees each piece of the response body, and may replace it.
    fn response_body_filter(
        &mut self,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
    ) -> Result<()> {
        Ok(())
    }

    /// Sees the trailers of the response; returned bytes go into the body before them.
    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Runs at the end of a response without trailers; returned bytes end the body.
    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    /// Returns the module for downcasting.
    fn as_any(&self) -> &dyn Any;

    /// Returns the module for downcasting, to change.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// A module as one request goes through it.
pub type Module = Box<dyn HttpModule + 'static + Send + Sync>;

/// Makes a module for each request.
pub trait HttpModuleBuilder {
    /// Returns the place among the modules: higher sees everything first. Default 0.
    fn order(&self) -> i16 {
        0
    }

    /// Returns whether a module does nothing until somebody asks for it and changes it. Default false.
    fn is_dormant(&self) -> bool {
        false
    }

    /// Returns the module for one request.
    fn init(&self) -> Module;
}

/// A boxed maker of modules.
pub type ModuleBuilder = Box<dyn HttpModuleBuilder + 'static + Send + Sync>;

/// The modules a server was configured with.
///
/// ```
/// use pingora_core::modules::http::HttpModules;
///
/// let modules = HttpModules::new();
/// let _for_one_request = modules.build_ctx();
/// ```
#[derive(Default)]
pub struct HttpModules {
    builders: Arc<Vec<ModuleBuilder>>,
    /// The set, once it is in use.
    set: OnceLock<Arc<Set>>,
}

/// What the requests share.
struct Set {
    builders: Arc<Vec<ModuleBuilder>>,
    /// Where each type of module stands.
    index: HashMap<TypeId, usize>,
    is_dormant: bool,
}

impl HttpModules {
    /// Returns an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a module, in its order and behind those of the same order.
    ///
    /// Panics once requests go through the set.
    pub fn add_module(&mut self, builder: ModuleBuilder) {
        assert!(
            self.set.get().is_none(),
            "add modules before the server starts"
        );
        let builders = Arc::get_mut(&mut self.builders).expect("only a set in use shares them");
        let at = builders.partition_point(|other| other.order() >= builder.order());
        builders.insert(at, builder);
    }

    /// Returns the modules for one request; costs nothing when there are none.
    pub fn build_ctx(&self) -> HttpModuleCtx {
        if self.builders.is_empty() {
            return HttpModuleCtx::empty();
        }
        let set = self.set.get_or_init(|| Arc::new(Set::new(&self.builders)));
        let modules = match set.is_dormant {
            true => OnceLock::new(),
            false => OnceLock::from(set.modules()),
        };
        HttpModuleCtx {
            modules,
            set: Some(Arc::clone(set)),
        }
    }
}

impl Set {
    fn new(builders: &Arc<Vec<ModuleBuilder>>) -> Self {
        let types = builders
            .iter()
            .map(|builder| builder.init().as_any().type_id());
        Self {
            builders: Arc::clone(builders),
            index: types.zip(0..).collect(),
            is_dormant: builders.iter().all(|builder| builder.is_dormant()),
        }
    }

    fn modules(&self) -> Vec<Module> {
        self.builders.iter().map(|builder| builder.init()).collect()
    }
}

/// The modules as one request goes through them.
pub struct HttpModuleCtx {
    /// Not made yet while the set is dormant.
    modules: OnceLock<Vec<Module>>,
    set: Option<Arc<Set>>,
}

impl HttpModuleCtx {
    /// Returns a context without modules.
    pub fn empty() -> Self {
        HttpModuleCtx {
            modules: OnceLock::new(),
            set: None,
        }
    }

    /// Returns the module of type `T`.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        let set = self.set.as_ref()?;
        let at = *set.index.get(&TypeId::of::<T>())?;
        let modules = self.modules.get_or_init(|| set.modules());
        modules[at].as_any().downcast_ref()
    }

    /// Returns the module of type `T`, to change.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        let set = self.set.as_ref()?;
        let at = *set.index.get(&TypeId::of::<T>())?;
        self.modules.get_or_init(|| set.modules());
        self.modules_mut()[at].as_any_mut().downcast_mut()
    }

    /// Returns whether there is no module that could do anything.
    pub fn is_empty(&self) -> bool {
        self.modules.get().is_none_or(Vec::is_empty)
    }

    fn modules_mut(&mut self) -> &mut [Module] {
        self.modules.get_mut().map_or(&mut [], Vec::as_mut_slice)
    }

    /// Passes the request head through all modules.
    pub async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        for module in self.modules_mut() {
            module.request_header_filter(req).await?;
        }
        Ok(())
    }

    /// Passes a piece of the request body through all modules.
    pub async fn request_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in self.modules_mut() {
            module.request_body_filter(body, end_of_stream).await?;
        }
        Ok(())
    }

    /// Passes the response head through all modules.
    pub async fn response_header_filter(
        &mut self,
        req: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in self.modules_mut() {
            module.response_header_filter(req, end_of_stream).await?;
        }
        Ok(())
    }

    /// Passes a piece of the response body through all modules.
    pub fn response_body_filter(
        &mut self,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
    ) -> Result<()> {
        for module in self.modules_mut() {
            module.response_body_filter(body, end_of_stream)?;
        }
        Ok(())
    }

    /// Passes the trailers through all modules; returns what goes into the body before them.
    ///
    /// Bytes of one module pass through the body filters of those behind it.
    pub fn response_trailer_filter(
        &mut self,
        trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.collect(|module| module.response_trailer_filter(trailers))
    }

    /// Tells all modules that the response has ended; returns what ends the body.
    pub fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.collect(|module| module.response_done_filter())
    }

    fn collect(
        &mut self,
        mut filter: impl FnMut(&mut Module) -> Result<Option<Bytes>>,
    ) -> Result<Option<Bytes>> {
        let mut collected: Option<Bytes> = None;
        for module in self.modules_mut() {
            if collected.is_some() {
                module.response_body_filter(&mut collected, false)?;
            }
            if let Some(bytes) = filter(module)? {
                collected = Some(match collected.take() {
                    None => bytes,
                    Some(before) => {
                        let mut both = BytesMut::from(&before[..]);
                        both.extend_from_slice(&bytes);
                        both.freeze()
                    }
                });
            }
        }
        Ok(collected)
    }
}

#[cfg(test)]
mod tests;
