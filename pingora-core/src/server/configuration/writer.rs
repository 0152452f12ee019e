//! From [`ServerConf`] to YAML text: a line for each key, and one for each element of a list.
//!
//! As in `values.rs`, here are the types a configuration has, and no others: a field of a new type
//! wants its method.

use std::fmt::{self, Display};

use serde::ser::{self, Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};

use super::ServerConf;
use super::node::Value;
use super::scalar;

/// Returns the text of a configuration, or else that it has a value of a type that is missing here.
pub(super) fn write(conf: &ServerConf) -> Result<String, NoForm> {
    let mut text = String::new();
    conf.serialize(Writer {
        text: &mut text,
        key: None,
    })?;
    Ok(text)
}

/// A value has no form in a configuration.
#[derive(Debug)]
pub(super) struct NoForm;

impl Display for NoForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a type that configurations do not have")
    }
}

impl std::error::Error for NoForm {}

impl ser::Error for NoForm {
    fn custom<T: Display>(_: T) -> Self {
        NoForm
    }
}

/// Writes a value after its key; without one, the whole configuration or the element of a list.
struct Writer<'a> {
    text: &'a mut String,
    key: Option<&'static str>,
}

impl Writer<'_> {
    fn line(self, value: impl Display) -> Result<(), NoForm> {
        let line = match self.key {
            Some(key) => format!("{key}: {value}\n"),
            None => format!("- {value}\n"),
        };
        self.text.push_str(&line);
        Ok(())
    }
}

/// Defines the methods for values that are written as they are displayed, and for those that have no
/// form.
macro_rules! scalars {
    (written: $($written:ident $type:ty),*; refused: $($refused:ident($($argument:ty),*)),* $(,)?) => {
        $(fn $written(self, value: $type) -> Result<(), NoForm> {
            self.line(value)
        })*
        $(fn $refused(self $(, _: $argument)*) -> Result<(), NoForm> {
            Err(NoForm)
        })*
    };
}

type Static = &'static str;

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = NoForm;
    type SerializeSeq = List<'a>;
    type SerializeStruct = Self;
    type SerializeTuple = Impossible<(), NoForm>;
    type SerializeTupleStruct = Impossible<(), NoForm>;
    type SerializeTupleVariant = Impossible<(), NoForm>;
    type SerializeMap = Impossible<(), NoForm>;
    type SerializeStructVariant = Impossible<(), NoForm>;

    scalars! {
        written: serialize_bool bool, serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64;
        refused: serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
            serialize_f32(f32), serialize_f64(f64), serialize_char(char), serialize_bytes(&[u8]),
            serialize_unit(), serialize_unit_struct(Static),
    }

    fn serialize_str(self, value: &str) -> Result<(), NoForm> {
        self.line(Quoted(value))
    }

    fn serialize_none(self) -> Result<(), NoForm> {
        self.line("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoForm> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: Static, _: u32, variant: Static) -> Result<(), NoForm> {
        self.line(Quoted(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, NoForm> {
        Ok(List {
            text: self.text,
            key: Some(self.key.ok_or(NoForm)?),
        })
    }

    fn serialize_struct(self, _: Static, _: usize) -> Result<Self, NoForm> {
        match self.key {
            None => Ok(self),
            Some(_) => Err(NoForm),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: Static,
        _: &T,
    ) -> Result<(), NoForm> {
        Err(NoForm)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Static,
        _: u32,
        _: Static,
        _: &T,
    ) -> Result<(), NoForm> {
        Err(NoForm)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, NoForm> {
        Err(NoForm)
    }

    fn serialize_tuple_struct(
        self,
        _: Static,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, NoForm> {
        Err(NoForm)
    }

    fn serialize_tuple_variant(
        self,
        _: Static,
        _: u32,
        _: Static,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NoForm> {
        Err(NoForm)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, NoForm> {
        Err(NoForm)
    }

    fn serialize_struct_variant(
        self,
        _: Static,
        _: u32,
        _: Static,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NoForm> {
        Err(NoForm)
    }
}

impl SerializeStruct for Writer<'_> {
    type Ok = ();
    type Error = NoForm;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: Static,
        value: &T,
    ) -> Result<(), NoForm> {
        value.serialize(Writer {
            text: self.text,
            key: Some(key),
        })
    }

    fn end(self) -> Result<(), NoForm> {
        Ok(())
    }
}

/// Writes a list, whose key stands before the first element.
struct List<'a> {
    text: &'a mut String,
    /// Until it is written.
    key: Option<&'static str>,
}

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = NoForm;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoForm> {
        if let Some(key) = self.key.take() {
            self.text.push_str(&format!("{key}:\n"));
        }
        value.serialize(Writer {
            text: self.text,
            key: None,
        })
    }

    fn end(self) -> Result<(), NoForm> {
        if let Some(key) = self.key {
            self.text.push_str(&format!("{key}: []\n"));
        }
        Ok(())
    }
}

/// Displays a string as it is where it cannot be taken for anything else, or else in quotes.
struct Quoted<'a>(&'a str);

impl Quoted<'_> {
    /// Whether the string means itself without quotes.
    fn is_plain(&self) -> bool {
        let starts = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.' | '_');
        let goes_on = |c: char| c.is_ascii_alphanumeric() || "/._-+@,=".contains(c);
        self.0.starts_with(starts)
            && self.0.chars().all(goes_on)
            && matches!(scalar::value(self.0, true, None), Some(Value::Text(_)))
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_plain() {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' '..='~' => write!(f, "{c}")?,
                c if c.is_alphanumeric() => write!(f, "{c}")?,
                c => write!(f, "\\U{:08X}", u32::from(c))?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_where_they_have_to_be() {
        for (text, expected) in [
            ("nobody", "nobody"),
            ("/tmp/pingora.pid", "/tmp/pingora.pid"),
            ("../conf-1/a_b.sock", "../conf-1/a_b.sock"),
            ("größe", "\"größe\""),
            ("", "\"\""),
            ("1.2.3.4", "\"1.2.3.4\""),
            ("::1", "\"::1\""),
            ("yes", "\"yes\""),
            ("null", "\"null\""),
            (".inf", "\".inf\""),
            ("- a", "\"- a\""),
            ("a: b # c", "\"a: b # c\""),
            ("say \"a\\b\"", "\"say \\\"a\\\\b\\\"\""),
            ("a\n\u{feff}", "\"a\\U0000000A\\U0000FEFF\""),
        ] {
            assert_eq!(Quoted(text).to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_key_a_line() {
        let conf = ServerConf {
            threads: 2,
            daemon: true,
            user: Some(String::from("nobody")),
            client_bind_to_ipv6: vec![String::from("::1")],
            ..ServerConf::default()
        };
        let text = write(&conf).unwrap();
        for expected in [
            "threads: 2\n",
            "daemon: true\n",
            "user: nobody\n",
            "group: null\n",
            "client_bind_to_ipv4: []\n",
            "client_bind_to_ipv6:\n- \"::1\"\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }
}
