//! The text of an error's context: a literal most of the time, an owned string when it was
//! formatted. Used by `error`.

use std::fmt;

/// A string that never changes: a `&'static str` kept as it is, or an owned one without spare
/// capacity.
///
/// ```
/// use pingora_error::ImmutStr;
///
/// assert!(!ImmutStr::from("a literal").is_owned());
/// assert_eq!(ImmutStr::from(format!("port {}", 80)).as_str(), "port 80");
/// ```
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum ImmutStr {
    /// A string that lives as long as the program; made without allocation.
    Static(&'static str),
    /// A string made at run time.
    Owned(Box<str>),
}

impl ImmutStr {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Static(s) => s,
            Self::Owned(s) => s,
        }
    }

    /// Returns whether the text was made at run time.
    pub fn is_owned(&self) -> bool {
        matches!(self, Self::Owned(_))
    }
}

impl fmt::Display for ImmutStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<&'static str> for ImmutStr {
    fn from(s: &'static str) -> Self {
        Self::Static(s)
    }
}

impl From<String> for ImmutStr {
    fn from(s: String) -> Self {
        Self::Owned(s.into_boxed_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_stay_static_and_strings_are_owned() {
        for (text, owned) in [
            (ImmutStr::from("x"), false),
            (ImmutStr::from(String::from("x")), true),
        ] {
            assert_eq!(text.is_owned(), owned);
            assert_eq!(text.as_str(), "x");
            assert_eq!(format!("[{text:>3}]"), "[  x]");
        }
    }
}
