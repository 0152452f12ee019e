//! The keys of a configuration as serde reads them.
//!
//! Here are the types [`ServerConf`] has, and no others: a field of a new type wants its method.
//! Errors say nothing, as `yaml.rs` knows from the key what was expected and from the node what was
//! found.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};

use super::ServerConf;
use super::node::{Node, Value};
use super::scalar;
use super::yaml::Key;

/// Returns the configuration that `keys` make, or else the key whose value is not of its type.
pub(super) fn read(keys: &[Key]) -> Result<ServerConf, &Key> {
    let mut last = None;
    let entries = keys.iter().inspect(|key| last = Some(*key));
    let entries = entries.map(|key| (&*key.name, &key.value));
    match (ServerConf::deserialize(MapDeserializer::new(entries)), last) {
        (Ok(conf), _) => Ok(conf),
        (Err(Mismatch), Some(key)) => Err(key),
        // Every key may be left out.
        (Err(Mismatch), None) => Ok(ServerConf::default()),
    }
}

/// A value is not of the type of its key.
#[derive(Debug)]
pub(super) struct Mismatch;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of another type")
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Mismatch
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for &Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mismatch> {
        Err(Mismatch)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let value = self.text().and_then(|text| scalar::boolean(text));
        visitor.visit_bool(value.ok_or(Mismatch)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let value = self.text().and_then(|text| scalar::unsigned(text));
        visitor.visit_u64(value.ok_or(Mismatch)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_str(self.text().ok_or(Mismatch)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.value {
            Value::Nothing => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let list = match &self.value {
            Value::List(list) => list,
            Value::Nothing => [].as_slice(),
            _ => return Err(Mismatch),
        };
        visitor.visit_seq(SeqDeserializer::new(list.iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let variant: &str = self.text().ok_or(Mismatch)?;
        visitor.visit_enum(variant.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct map struct identifier
    }
}
