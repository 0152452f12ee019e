//! Turning the results and options of others into ours, and adding context to our own. The error
//! they make is in `error`.

use std::error::Error as ErrorTrait;

use crate::{BError, Error, ErrorType, ImmutStr, Result};

/// Adds what was attempted to a result that failed.
///
/// ```
/// use pingora_error::{Context, Error, ErrorType, Result};
///
/// let failed: Result<()> = Error::err(ErrorType::ReadError);
/// let e = failed.err_context(|| format!("read body of {}", "/x")).unwrap_err();
/// assert_eq!(e.to_string(), "ReadError context: read body of /x");
/// ```
pub trait Context<T> {
    /// Returns the result, its error wrapped by [`Error::more_context`]. `context` runs only on
    /// errors.
    fn err_context<C: Into<ImmutStr>, F: FnOnce() -> C>(self, context: F) -> Result<T, BError>;
}

impl<T> Context<T> for Result<T, BError> {
    fn err_context<C: Into<ImmutStr>, F: FnOnce() -> C>(self, context: F) -> Result<T, BError> {
        self.map_err(|e| e.more_context(context()))
    }
}

/// Turns any result into ours.
///
/// ```
/// use pingora_error::{ErrorType, OrErr};
///
/// let e = "x".parse::<u16>().or_err(ErrorType::InternalError, "parse port").unwrap_err();
/// assert_eq!(
///     e.to_string(),
///     "InternalError context: parse port cause: invalid digit found in string",
/// );
/// ```
pub trait OrErr<T, E> {
    /// Returns the result, its error the cause of one of type `et` with `context`.
    fn or_err(self, et: ErrorType, context: &'static str) -> Result<T, BError>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>;

    /// Returns the result, its error the cause of one of type `et`. `context` runs only on
    /// errors.
    fn or_err_with<C: Into<ImmutStr>, F: FnOnce() -> C>(
        self,
        et: ErrorType,
        context: F,
    ) -> Result<T, BError>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>;

    /// Returns the result, its error replaced by one of type `et` with a context made of it. For
    /// errors that cannot be a cause, or should not be kept.
    fn explain_err<C: Into<ImmutStr>, F: FnOnce(E) -> C>(
        self,
        et: ErrorType,
        context: F,
    ) -> Result<T, BError>;

    /// Returns the result, its error the cause of an [`ErrorType::InternalError`].
    fn or_fail(self) -> Result<T>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>;
}

impl<T, E> OrErr<T, E> for Result<T, E> {
    fn or_err(self, et: ErrorType, context: &'static str) -> Result<T, BError>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>,
    {
        self.map_err(|e| Error::because(et, context, e))
    }

    fn or_err_with<C: Into<ImmutStr>, F: FnOnce() -> C>(
        self,
        et: ErrorType,
        context: F,
    ) -> Result<T, BError>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>,
    {
        self.map_err(|e| Error::because(et, context(), e))
    }

    fn explain_err<C: Into<ImmutStr>, F: FnOnce(E) -> C>(
        self,
        et: ErrorType,
        exp: F,
    ) -> Result<T, BError> {
        self.map_err(|e| Error::explain(et, exp(e)))
    }

    fn or_fail(self) -> Result<T, BError>
    where
        E: Into<Box<dyn ErrorTrait + Send + Sync>>,
    {
        self.map_err(|e| Error::because(ErrorType::InternalError, "", e))
    }
}

/// Turns an option into our result.
///
/// ```
/// use pingora_error::{ErrorType, OkOrErr};
///
/// let e = None::<u8>.or_err(ErrorType::InvalidHTTPHeader, "host missing").unwrap_err();
/// assert_eq!(e.to_string(), "InvalidHTTPHeader context: host missing");
/// ```
pub trait OkOrErr<T> {
    /// Returns the value, or an error of type `et` with `context`.
    fn or_err(self, et: ErrorType, context: &'static str) -> Result<T, BError>;

    /// Returns the value, or an error of type `et`. `context` runs only then.
    fn or_err_with<C: Into<ImmutStr>, F: FnOnce() -> C>(
        self,
        et: ErrorType,
        context: F,
    ) -> Result<T, BError>;
}

impl<T> OkOrErr<T> for Option<T> {
    fn or_err(self, et: ErrorType, context: &'static str) -> Result<T, BError> {
        self.ok_or_else(|| Error::explain(et, context))
    }

    fn or_err_with<C: Into<ImmutStr>, F: FnOnce() -> C>(
        self,
        et: ErrorType,
        context: F,
    ) -> Result<T, BError> {
        self.ok_or_else(|| Error::explain(et, context()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_ours() {
        let text = || Err::<(), _>("text");
        let never = || -> &'static str { panic!("context of a success") };
        for (result, line) in [
            (
                text().or_err(ErrorType::ReadError, "c"),
                "ReadError context: c cause: text",
            ),
            (
                text().or_err_with(ErrorType::ReadError, || String::from("c")),
                "ReadError context: c cause: text",
            ),
            (
                text().explain_err(ErrorType::ReadError, |e| format!("saw {e}")),
                "ReadError context: saw text",
            ),
            (text().or_fail(), "InternalError cause: text"),
            (
                None.or_err(ErrorType::ReadError, "c"),
                "ReadError context: c",
            ),
            (
                None.or_err_with(ErrorType::ReadError, || "c"),
                "ReadError context: c",
            ),
            (
                text().or_fail().err_context(|| "more"),
                "InternalError context: more cause: text",
            ),
        ] {
            assert_eq!(result.unwrap_err().to_string(), line);
        }
        Ok::<_, &str>(())
            .or_err_with(ErrorType::ReadError, never)
            .unwrap();
        Some(()).or_err_with(ErrorType::ReadError, never).unwrap();
        Ok::<_, BError>(()).err_context(never).unwrap();
    }
}
