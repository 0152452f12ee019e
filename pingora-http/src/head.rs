//! The methods both heads have, written once.
//!
//! A head has a table of fields and, once somebody asked for them, `Parts`. The table is the
//! truth; whatever changes it changes built `Parts` as well. Read next: `request.rs`.

use http::HeaderValue;
use pingora_error::{Error, ErrorType, Result};

use crate::case_header_name::{CaseHeaderName, is_valid_name};

/// Writes the common methods of a head type with the fields `fields: Fields`,
/// `parts: OnceLock<Box<Parts>>`, `user_data: Extensions` and a method `build_parts(&self)`.
macro_rules! head_methods {
    ($Head:ident, $Parts:ty, $example:literal) => {
        impl $Head {
            /// Puts in a field in place of all fields of that name.
            ///
            /// The first of them keeps its place and takes the spelling given; a name not there
            /// yet is added at the end. A head that keeps no case writes names in Title-Case.
            ///
            /// # Errors
            /// `InvalidHTTPHeader` if the name is no token or the value holds control characters,
            /// and past [`MAX_FIELDS`](crate::fields::MAX_FIELDS) or
            /// [`MAX_ADDED_BYTES`](crate::fields::MAX_ADDED_BYTES). The head is then unchanged.
            ///
            /// ```
            #[doc = $example]
            /// head.append_header("x-a", "1")?;
            /// head.append_header("x-b", "2")?;
            /// head.append_header("x-a", "3")?;
            /// head.insert_header("X-A", "4")?;
            /// let mut wire = Vec::new();
            /// head.header_to_h1_wire(&mut wire);
            /// assert_eq!(wire, b"X-A: 4\r\nx-b: 2\r\n");
            /// # Ok::<(), pingora_error::BError>(())
            /// ```
            pub fn insert_header(
                &mut self,
                name: impl IntoCaseHeaderName,
                value: impl TryInto<HeaderValue>,
            ) -> Result<()> {
                let name = name.into_case_header_name();
                let value = head::checked(&name, value)?;
                self.fields.insert(name.as_slice(), &value)?;
                if let Some(parts) = self.parts.get_mut() {
                    if let Ok(name) = HeaderName::from_bytes(name.as_slice()) {
                        head::in_step(parts.headers.try_insert(name, value));
                    }
                }
                Ok(())
            }

            /// Adds a field after all others and returns whether its name was there before.
            ///
            /// # Errors
            /// As [`insert_header`](Self::insert_header).
            pub fn append_header(
                &mut self,
                name: impl IntoCaseHeaderName,
                value: impl TryInto<HeaderValue>,
            ) -> Result<bool> {
                let name = name.into_case_header_name();
                let value = head::checked(&name, value)?;
                let existed = self.fields.append(name.as_slice(), &value)?;
                if let Some(parts) = self.parts.get_mut() {
                    if let Ok(name) = HeaderName::from_bytes(name.as_slice()) {
                        head::in_step(parts.headers.try_append(name, value));
                    }
                }
                Ok(existed)
            }

            /// Removes all fields of a name, in any case, and returns the first value.
            ///
            /// The name is a `&str`, `&String` or `&HeaderName`.
            pub fn remove_header<'a, N: ?Sized>(&mut self, name: &'a N) -> Option<HeaderValue>
            where
                &'a N: 'a + AsHeaderName,
            {
                let (name, value) = self.fields.remove(name)?;
                if let Some(parts) = self.parts.get_mut() {
                    parts.headers.remove(name);
                }
                Some(value)
            }

            /// Removes all fields of a known name and returns whether there were any.
            pub fn remove_known(&mut self, name: KnownName) -> bool {
                let removed = self.fields.remove_known(name);
                if removed && let Some(parts) = self.parts.get_mut() {
                    parts.headers.remove(name.header_name());
                }
                removed
            }

            /// Puts in a field in place of all fields of that known name, written in Title-Case.
            ///
            /// `value` must be a valid field value: this is for the engine's own values and those
            /// it took from a checked head. A debug build panics at one that is not.
            pub fn set_known(&mut self, name: KnownName, value: &[u8]) {
                self.fields.set_known(name, value);
                if let Some(parts) = self.parts.get_mut() {
                    let value = header_value_from_slice(value);
                    head::in_step(parts.headers.try_insert(name.header_name(), value));
                }
            }

            /// Removes the fields `keep` returns false for; it is called once for each, in order.
            pub fn retain_fields(&mut self, keep: impl FnMut(Field<'_>) -> bool) {
                let removed = self.fields.retain(keep);
                if removed && let Some(parts) = self.parts.get_mut() {
                    parts.headers = self.fields.to_map();
                }
            }

            /// Returns the extensions for changing: typed data that travels with this head and its
            /// clones, never on the wire.
            pub fn extensions_mut(&mut self) -> &mut Extensions {
                match self.parts.get_mut() {
                    Some(parts) => &mut parts.extensions,
                    None => &mut self.user_data,
                }
            }

            /// Returns the table of fields, which is read without building `Parts`.
            pub fn fields(&self) -> &Fields {
                &self.fields
            }

            /// Returns the exact bytes this head was built from by
            /// [`from_received`](Self::from_received), whatever was changed since.
            pub fn received_head(&self) -> Option<&Bytes> {
                let is_h1 = self.fields.keeps_case();
                Some(self.fields.received()).filter(|head| is_h1 && !head.is_empty())
            }

            /// Returns whether names keep the spelling they were received or given in.
            ///
            /// Heads from `build_no_case` and from `Parts` do not.
            pub fn has_case(&self) -> bool {
                self.fields.keeps_case()
            }

            /// Writes the field lines as HTTP/1 has them, each ended by CRLF.
            ///
            /// The start line and the empty line after the head are not written. Neighbouring
            /// unmodified lines are copied at once.
            pub fn header_to_h1_wire(&self, buf: &mut impl BufMut) {
                self.fields.write_lines(buf);
            }

            /// Returns the names as they are written on HTTP/1, with their values, in order.
            ///
            /// A head that keeps no case gives the names in Title-Case.
            pub fn case_header_iter(
                &self,
            ) -> impl Iterator<Item = (&CaseHeaderName, &HeaderValue)> + '_ {
                self.fields
                    .cased()
                    .iter()
                    .map(|(name, value)| (name, value))
            }

            /// Calls `f` with each name and value in order.
            ///
            /// # Errors
            /// The first error of `f`, which ends the calls.
            pub fn map<F: FnMut(HeaderNameVariant<'_>, &HeaderValue) -> Result<()>>(
                &self,
                f: F,
            ) -> Result<()> {
                self.fields.map(f)
            }

            /// Returns a copy of the `Parts`.
            pub fn as_owned_parts(&self) -> $Parts {
                match self.parts.get() {
                    Some(parts) => (**parts).clone(),
                    None => self.build_parts(),
                }
            }

            /// Returns the `Parts`, moved out of the head if they were built.
            ///
            /// The head stays what it was, and builds others if somebody asks for them again.
            ///
            /// ```
            #[doc = $example]
            /// head.insert_header("x-a", "1")?;
            /// assert_eq!(head.take_parts().headers["x-a"], "1");
            /// assert_eq!(head.headers["x-a"], "1");
            /// # Ok::<(), pingora_error::BError>(())
            /// ```
            pub fn take_parts(&mut self) -> $Parts {
                match self.parts.take() {
                    Some(parts) => {
                        self.user_data = parts.extensions.clone();
                        *parts
                    }
                    None => self.parts_with(self.map_to_take()),
                }
            }

            fn build_parts(&self) -> $Parts {
                self.parts_with(self.fields.to_map())
            }

            fn current_extensions(&self) -> &Extensions {
                self.parts
                    .get()
                    .map_or(&self.user_data, |parts| &parts.extensions)
            }
        }

        impl AsRef<$Parts> for $Head {
            fn as_ref(&self) -> &$Parts {
                self.parts.get_or_init(|| Box::new(self.build_parts()))
            }
        }

        impl Deref for $Head {
            type Target = $Parts;

            fn deref(&self) -> &Self::Target {
                self.as_ref()
            }
        }

        impl From<$Head> for $Parts {
            fn from(mut head: $Head) -> $Parts {
                match head.parts.take() {
                    Some(parts) => *parts,
                    None => head.build_parts(),
                }
            }
        }
    };
}

pub(crate) use head_methods;

/// Returns the value, if it and the name may stand in a head.
pub(crate) fn checked<V: TryInto<HeaderValue>>(
    name: &CaseHeaderName,
    value: V,
) -> Result<HeaderValue> {
    if !is_valid_name(name.as_slice()) {
        return invalid("invalid header name");
    }
    value
        .try_into()
        .or_else(|_| invalid("invalid header value"))
}

/// Returns the error of a head that cannot be.
#[cold]
pub(crate) fn invalid<T>(context: &'static str) -> Result<T> {
    Error::e_explain(ErrorType::InvalidHTTPHeader, context)
}

/// Takes the answer of a built map to a change. The map can only refuse past its limit of 24,576
/// names, which the limit of the table keeps heads away from; behind a parser without a limit the
/// fields past it are in the table and on the wire only, as in [`Fields`](crate::fields::Fields).
pub(crate) fn in_step<T>(_changed: std::result::Result<T, http::header::MaxSizeReached>) {}

#[cfg(test)]
pub(crate) mod tests;
