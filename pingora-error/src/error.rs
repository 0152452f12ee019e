//! What can be done with the error of `lib.rs`: constructors, what can be learned from it and how
//! it is printed. The words it is made of are in `kind`; conversions from other errors in
//! `context`.

use std::{error::Error as ErrorTrait, fmt};

use crate::{BError, Error, ErrorSource, ErrorType, ImmutStr, Result, RetryType};

pub(crate) type Cause = Box<dyn ErrorTrait + Send + Sync>;

impl Error {
    /// Returns an error made of all its parts. The retry decision is that of `cause` if it is an
    /// [`Error`] too, else "no".
    #[cold]
    pub fn create(
        etype: ErrorType,
        esource: ErrorSource,
        context: Option<ImmutStr>,
        cause: Option<Cause>,
    ) -> BError {
        let retry = match cause.as_deref().and_then(as_error) {
            Some(e) => e.retry,
            None => RetryType::Decided(false),
        };
        Box::new(Self {
            etype,
            esource,
            retry,
            cause,
            context,
        })
    }

    /// Returns an error of type `e` with an unset source.
    #[cold]
    pub fn new(e: ErrorType) -> BError {
        Self::create(e, ErrorSource::Unset, None, None)
    }

    /// Returns an error of type `e` with a context and a cause.
    #[cold]
    pub fn because<S: Into<ImmutStr>, E: Into<Box<dyn ErrorTrait + Send + Sync>>>(
        e: ErrorType,
        context: S,
        cause: E,
    ) -> BError {
        Self::create(
            e,
            ErrorSource::Unset,
            Some(context.into()),
            Some(cause.into()),
        )
    }

    /// Returns the `Err` of [`Error::because`].
    #[cold]
    pub fn e_because<T, S: Into<ImmutStr>, E: Into<Box<dyn ErrorTrait + Send + Sync>>>(
        e: ErrorType,
        context: S,
        cause: E,
    ) -> Result<T> {
        Err(Self::because(e, context, cause))
    }

    /// Returns an error of type `e` with a context.
    #[cold]
    pub fn explain<S: Into<ImmutStr>>(e: ErrorType, context: S) -> BError {
        Self::create(e, ErrorSource::Unset, Some(context.into()), None)
    }

    /// Returns the `Err` of [`Error::explain`].
    #[cold]
    pub fn e_explain<T, S: Into<ImmutStr>>(e: ErrorType, context: S) -> Result<T> {
        Err(Self::explain(e, context))
    }

    /// Returns an error of type `e` that is the upstream's fault.
    #[cold]
    pub fn new_up(e: ErrorType) -> BError {
        Self::create(e, ErrorSource::Upstream, None, None)
    }

    /// Returns an error of type `e` that is the downstream's fault.
    #[cold]
    pub fn new_down(e: ErrorType) -> BError {
        Self::create(e, ErrorSource::Downstream, None, None)
    }

    /// Returns an error of type `e` that is our own fault.
    #[cold]
    pub fn new_in(e: ErrorType) -> BError {
        Self::create(e, ErrorSource::Internal, None, None)
    }

    /// Returns an internal error whose type is [`ErrorType::Custom`] of `s`.
    #[cold]
    pub fn new_str(s: &'static str) -> BError {
        Self::new_in(ErrorType::Custom(s))
    }

    /// Returns the `Err` of [`Error::new`].
    #[cold]
    pub fn err<T>(e: ErrorType) -> Result<T> {
        Err(Self::new(e))
    }

    /// Returns the `Err` of [`Error::new_up`].
    #[cold]
    pub fn err_up<T>(e: ErrorType) -> Result<T> {
        Err(Self::new_up(e))
    }

    /// Returns the `Err` of [`Error::new_down`].
    #[cold]
    pub fn err_down<T>(e: ErrorType) -> Result<T> {
        Err(Self::new_down(e))
    }

    /// Returns the `Err` of [`Error::new_in`].
    #[cold]
    pub fn err_in<T>(e: ErrorType) -> Result<T> {
        Err(Self::new_in(e))
    }

    /// Returns this error as a [`Result`].
    pub fn into_err<T>(self: BError) -> Result<T> {
        Err(self)
    }

    /// Returns this error as the upstream's fault.
    pub fn into_up(mut self: BError) -> BError {
        self.as_up();
        self
    }

    /// Returns this error as the downstream's fault.
    pub fn into_down(mut self: BError) -> BError {
        self.as_down();
        self
    }

    /// Returns this error as our own fault.
    pub fn into_in(mut self: BError) -> BError {
        self.as_in();
        self
    }

    /// Returns an error with `context` whose cause is this one; type, source and retry decision
    /// stay.
    #[cold]
    pub fn more_context<T: Into<ImmutStr>>(self: BError, context: T) -> BError {
        Box::new(Self {
            etype: self.etype.clone(),
            esource: self.esource.clone(),
            retry: self.retry,
            context: Some(context.into()),
            cause: Some(self),
        })
    }

    /// Makes this the upstream's fault.
    pub fn as_up(&mut self) {
        self.esource = ErrorSource::Upstream;
    }

    /// Makes this the downstream's fault.
    pub fn as_down(&mut self) {
        self.esource = ErrorSource::Downstream;
    }

    /// Makes this our own fault.
    pub fn as_in(&mut self) {
        self.esource = ErrorSource::Internal;
    }

    /// Decides whether the request may be tried again.
    pub fn set_retry(&mut self, retry: bool) {
        self.retry = RetryType::Decided(retry);
    }

    /// Replaces the cause.
    pub fn set_cause<C: Into<Box<dyn ErrorTrait + Send + Sync>>>(&mut self, cause: C) {
        self.cause = Some(cause.into());
    }

    /// Replaces the context; [`Error::more_context`] keeps the old one too.
    pub fn set_context<T: Into<ImmutStr>>(&mut self, context: T) {
        self.context = Some(context.into());
    }

    /// Returns what failed.
    pub fn etype(&self) -> &ErrorType {
        &self.etype
    }

    /// Returns whose fault it is.
    pub fn esource(&self) -> &ErrorSource {
        &self.esource
    }

    /// Returns whether the request may be tried again; `false` while undecided.
    pub fn retry(&self) -> bool {
        self.retry.retry()
    }

    /// Returns the name of the type, see [`ErrorType::as_str`].
    pub fn reason_str(&self) -> &str {
        self.etype.as_str()
    }

    /// Returns the name of the source, see [`ErrorSource::as_str`].
    pub fn source_str(&self) -> &str {
        self.esource.as_str()
    }

    /// Returns the type of the innermost [`Error`] of the chain.
    pub fn root_etype(&self) -> &ErrorType {
        &self.innermost().etype
    }

    /// Returns the cause of the innermost [`Error`] of the chain, or that error if it has none.
    pub fn root_cause(&self) -> &(dyn ErrorTrait + Send + Sync + 'static) {
        let innermost = self.innermost();
        innermost.cause.as_deref().unwrap_or(innermost)
    }

    fn innermost(&self) -> &Self {
        let mut e = self;
        while let Some(cause) = e.cause.as_deref().and_then(as_error) {
            e = cause;
        }
        e
    }

    fn fmt_kind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.esource != ErrorSource::Unset {
            write!(f, "{} ", self.source_str())?;
        }
        f.write_str(self.reason_str())?;
        match self.etype.code() {
            Some(code) => write!(f, ": {code}"),
            None => Ok(()),
        }
    }

    // Whether `cause` is this error before `more_context`.
    fn same_kind(&self, cause: &Self) -> bool {
        self.etype == cause.etype && self.esource == cause.esource
    }
}

impl fmt::Debug for Error {
    /// Prints what [`Display`](fmt::Display) does: `main` that returns a `Result` and `unwrap` show
    /// an operator this. `{:#?}` prints the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("Error")
            .field("etype", &self.etype)
            .field("esource", &self.esource)
            .field("retry", &self.retry)
            .field("cause", &self.cause)
            .field("context", &self.context)
            .finish()
    }
}

impl fmt::Display for Error {
    /// Prints `SOURCE TYPE context: C cause: ...`. Causes that are [`Error`]s print the same way;
    /// those of the same type and source, as [`Error::more_context`] makes them, add just their
    /// context: `context: OUTER context: INNER`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_kind(f)?;
        let mut e = self;
        loop {
            match e.context.as_ref().map(ImmutStr::as_str) {
                None | Some("") => {}
                Some(context) => write!(f, " context: {context}")?,
            }
            let Some(cause) = e.cause.as_deref() else {
                return Ok(());
            };
            let Some(inner) = as_error(cause) else {
                return write!(f, " cause: {cause}");
            };
            if !e.same_kind(inner) {
                f.write_str(" cause: ")?;
                inner.fmt_kind(f)?;
            }
            e = inner;
        }
    }
}

impl ErrorTrait for Error {}

// A `BError` turned into a cause by `into()` is boxed once more.
fn as_error<'a>(cause: &'a (dyn ErrorTrait + Send + Sync + 'static)) -> Option<&'a Error> {
    match cause.downcast_ref::<BError>() {
        Some(e) => Some(e),
        None => cause.downcast_ref::<Error>(),
    }
}

#[cfg(test)]
mod tests;
