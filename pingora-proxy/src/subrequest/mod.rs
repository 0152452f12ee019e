//! Subrequests: requests a proxy makes to itself while it serves another.
//!
//! A subrequest walks all phases, as if a client had sent it; its client is the code that made it.
//! [`SubrequestSpawner`](crate::SubrequestSpawner) in `spawn.rs` makes them; [`pipe`] uses one as
//! the response of the request at hand. To make some, return true from
//! [`allow_spawning_subrequest`](crate::ProxyHttp::allow_spawning_subrequest) and take
//! [`Session::subrequest_spawner`](crate::Session::subrequest_spawner).

pub mod pipe;
pub(crate) mod spawn;

use std::any::Any;

/// Whatever the maker of a subrequest wants its hooks to know.
pub type UserCtx = Box<dyn Any + Sync + Send>;

/// Whether a subrequest has the body its head announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// It has none; the fields that announce one are removed. The default.
    #[default]
    NoBody,
    /// It has one, and somebody will send it through the handle.
    ExpectBody,
}

/// What a subrequest knows about itself, in [`Session::subrequest_ctx`](crate::Session).
///
/// ```
/// use pingora_proxy::subrequest::{BodyMode, Ctx};
///
/// let ctx = Ctx::builder()
///     .body_mode(BodyMode::ExpectBody)
///     .user_ctx(Box::new("warming up"))
///     .build();
/// let note = ctx.user_ctx().and_then(|ctx| ctx.downcast_ref::<&str>());
/// assert_eq!(note, Some(&"warming up"));
/// ```
pub struct Ctx {
    body_mode: BodyMode,
    user_ctx: Option<UserCtx>,
}

impl Ctx {
    /// Returns a builder of a context without a body and without data.
    pub fn builder() -> CtxBuilder {
        CtxBuilder::new()
    }

    /// Returns the data of the maker.
    pub fn user_ctx(&self) -> Option<&UserCtx> {
        self.user_ctx.as_ref()
    }

    /// Returns the data of the maker, to change.
    pub fn user_ctx_mut(&mut self) -> Option<&mut UserCtx> {
        self.user_ctx.as_mut()
    }

    /// Returns whether the subrequest has a body.
    pub fn body_mode(&self) -> BodyMode {
        self.body_mode
    }
}

/// Makes a [`Ctx`], which has an example.
#[derive(Default)]
pub struct CtxBuilder {
    body_mode: BodyMode,
    user_ctx: Option<UserCtx>,
}

impl CtxBuilder {
    /// Returns a builder of a context without a body and without data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the data of the maker.
    pub fn user_ctx(mut self, user_ctx: UserCtx) -> Self {
        self.user_ctx = Some(user_ctx);
        self
    }

    /// Sets whether the subrequest has a body.
    pub fn body_mode(mut self, body_mode: BodyMode) -> Self {
        self.body_mode = body_mode;
        self
    }

    /// Returns the context.
    pub fn build(self) -> Ctx {
        Ctx {
            body_mode: self.body_mode,
            user_ctx: self.user_ctx,
        }
    }
}
