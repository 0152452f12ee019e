//! The vocabulary of an error: whose fault it is, may it be tried again, and what makes the enum
//! of types out of its table in `lib.rs`. Used by `error`.

use crate::ErrorType;

// One table declares the unit variants and their names, so that neither can be forgotten.
macro_rules! error_types {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What failed.
        ///
        /// Users add their own with [`ErrorType::new`] and [`ErrorType::new_code`]:
        ///
        /// ```
        /// use pingora_error::ErrorType;
        ///
        /// const OVER_QUOTA: ErrorType = ErrorType::new("OverQuota");
        /// assert_eq!(OVER_QUOTA.as_str(), "OverQuota");
        /// assert_eq!(ErrorType::ConnectTimedout.as_str(), "ConnectTimedout");
        /// ```
        #[derive(Debug, PartialEq, Eq, Clone)]
        pub enum ErrorType {
            $($(#[$doc])* $name,)*
            /// The response must be, or was, this HTTP status.
            HTTPStatus(u16),
            /// A type of the user, by name. Names should be CamelCase and unique in the program.
            Custom(&'static str),
            /// A type of the user, by name and with a code.
            CustomCode(&'static str, u16),
        }

        impl ErrorType {
            /// Returns the name of the type: that of the variant, or the name given to
            /// [`ErrorType::new`]; codes and statuses are left out.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::HTTPStatus(_) => "HTTPStatus",
                    Self::Custom(name) | Self::CustomCode(name, _) => name,
                }
            }
        }

        #[cfg(test)]
        pub(crate) const UNIT_TYPES: &[(ErrorType, &str)] = &[$((ErrorType::$name, stringify!($name)),)*];
    };
}

pub(crate) use error_types;

impl ErrorType {
    /// Returns a type of the user's own, [`ErrorType::Custom`].
    pub const fn new(name: &'static str) -> Self {
        Self::Custom(name)
    }

    /// Returns a type of the user's own with a code, [`ErrorType::CustomCode`].
    pub const fn new_code(name: &'static str, code: u16) -> Self {
        Self::CustomCode(name, code)
    }

    // The number printed behind the name.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::HTTPStatus(code) | Self::CustomCode(_, code) => Some(*code),
            _ => None,
        }
    }
}

/// Whose fault an error is, seen from the proxy.
///
/// ```
/// assert_eq!(pingora_error::ErrorSource::Upstream.as_str(), "Upstream");
/// assert_eq!(pingora_error::ErrorSource::Unset.as_str(), "");
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum ErrorSource {
    /// The server the proxy talks to.
    Upstream,
    /// The client that talks to the proxy.
    Downstream,
    /// The proxy.
    Internal,
    /// Not known yet: whoever knows sets it.
    Unset,
}

impl ErrorSource {
    /// Returns the name of the source; the empty string for [`ErrorSource::Unset`].
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Upstream => "Upstream",
            Self::Downstream => "Downstream",
            Self::Internal => "Internal",
            Self::Unset => "",
        }
    }
}

/// Whether the request that failed may be sent again.
///
/// ```
/// use pingora_error::RetryType;
///
/// let mut retry = RetryType::ReusedOnly;
/// assert!(!retry.retry()); // undecided: no
/// retry.decide_reuse(true);
/// assert_eq!(retry, RetryType::Decided(true));
/// ```
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum RetryType {
    /// The answer is known.
    Decided(bool),
    /// Only if the connection had served a request before, because then the peer may have closed
    /// it while it was idle.
    ReusedOnly,
}

impl RetryType {
    /// Decides [`RetryType::ReusedOnly`]: retry if `reused`. A decision already made stays.
    pub fn decide_reuse(&mut self, reused: bool) {
        if matches!(self, Self::ReusedOnly) {
            *self = Self::Decided(reused);
        }
    }

    /// Returns whether to retry; `false` as long as nobody decided.
    pub fn retry(&self) -> bool {
        match self {
            Self::Decided(retry) => *retry,
            Self::ReusedOnly => false,
        }
    }
}

impl From<bool> for RetryType {
    fn from(b: bool) -> Self {
        Self::Decided(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNIT_TYPES;

    #[test]
    fn names_and_codes() {
        let with_code = [
            (ErrorType::HTTPStatus(404), "HTTPStatus", Some(404)),
            (ErrorType::new("Mine"), "Mine", None),
            (ErrorType::new_code("Mine", 7), "Mine", Some(7)),
        ];
        for (etype, name, code) in with_code {
            assert_eq!((etype.as_str(), etype.code()), (name, code));
        }
        for (etype, name) in UNIT_TYPES {
            assert_eq!((etype.as_str(), etype.code()), (*name, None));
            assert_eq!(format!("{etype:?}"), *name);
        }
    }

    #[test]
    fn retry_decisions() {
        use RetryType::*;
        for (before, reused, after, retry) in [
            (ReusedOnly, true, Decided(true), true),
            (ReusedOnly, false, Decided(false), false),
            (Decided(true), false, Decided(true), true),
            (Decided(false), true, Decided(false), false),
        ] {
            let mut decision = before;
            decision.decide_reuse(reused);
            assert_eq!((decision, decision.retry()), (after, retry));
        }
        assert!(
            !ReusedOnly.retry(),
            "undecided must neither panic nor retry"
        );
        assert_eq!(RetryType::from(true), Decided(true));
    }
}
