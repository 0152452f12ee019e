//! From YAML text to [`ServerConf`], and what is said when the text is wrong.
//!
//! The text is read twice: once for its keys, their places and the shapes of their values, once
//! for the values themselves. So a message can say all of file, line, column, key, expectation and
//! value, and an unknown key can be warned about without refusing it.
//!
//! Next: `keys.rs` for the table of keys, `limits.rs` for ranges.

use std::fmt;

use pingora_error::{BError, Error, ErrorType, Result};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::{ServerConf, keys};
use crate::server::report;

/// Reads and checks `text`. `name` is the file as messages call it.
pub(super) fn parse(name: &str, text: &str) -> Result<ServerConf> {
    let keys = read_keys(text).map_err(|e| error(format!("{name}:{e}")))?;
    // The parser does not say where such an error is.
    let is_zero = |key: &&Key| {
        keys::expectation(&key.name) == Some(keys::POSITIVE)
            && matches!(&key.shape, Shape::Plain(value) if value == "0")
    };
    if let Some(zero) = keys.iter().find(is_zero) {
        return Err(error(format!("{name}:{}", mismatch(zero, keys::POSITIVE))));
    }
    let conf = match serde_yaml::from_str::<Option<ServerConf>>(text) {
        Ok(conf) => conf.unwrap_or_default(),
        Err(e) => return Err(error(format!("{name}:{}", describe(&e, &keys)))),
    };
    if let Some(wrong) = conf.out_of_range() {
        let place = keys.iter().find(|k| k.name == wrong.key);
        let place = place.map(|k| format!("{}:{}:", k.value.line, k.value.column));
        let place = place.unwrap_or_default();
        return Err(error(format!("{name}:{place} {wrong}")));
    }
    for warning in unknown_keys(name, &keys) {
        report::warning(&warning);
    }
    Ok(conf)
}

/// Returns an error which displays as `line` and nothing else.
///
/// The kind of an error prints first, then "context:". A configuration error is to print as it
/// stands, so its line becomes the kind; kinds are `'static`, hence the leak. It happens once for
/// each file that is refused, which ends most programs.
pub(super) fn error(line: String) -> BError {
    Error::new(ErrorType::Custom(line.leak()))
}

/// Lists what to say about keys that are not known.
fn unknown_keys(name: &str, keys: &[Key]) -> Vec<String> {
    keys.iter()
        .filter(|key| keys::expectation(&key.name).is_none())
        // One line for each key, but not without end.
        .take(MAX_WARNINGS)
        .map(|key| {
            let Place { line, column } = key.place;
            let key = key.name.as_str();
            match keys::nearest(key) {
                Some(near) => {
                    format!("{name}:{line}:{column}: unknown key `{key}`, did you mean `{near}`?")
                }
                None => format!("{name}:{line}:{column}: unknown key `{key}`, ignored"),
            }
        })
        .collect()
}

/// The most unknown keys of one file that are warned about.
const MAX_WARNINGS: usize = 32;

/// Describes why the typed reading failed, given what the untyped one saw.
fn describe(error: &serde_yaml::Error, keys: &[Key]) -> String {
    let place = place_of(error);
    let at = |key: &&Key| key.value.line == place.line && key.value.column == place.column;
    // An error inside a list has the place of the element: the last key before it is meant.
    let before = |key: &&Key| (key.value.line, key.value.column) <= (place.line, place.column);
    let key = keys.iter().find(at);
    let Some(key) = key.or_else(|| keys.iter().rfind(before)) else {
        return plain(error);
    };
    match keys::expectation(&key.name) {
        Some(expected) => mismatch(key, expected),
        None => plain(error),
    }
}

fn mismatch(key: &Key, expected: &str) -> String {
    let Place { line, column } = key.value;
    let Key { name, shape, .. } = key;
    format!("{line}:{column}: {name}: expected {expected}, found {shape}")
}

/// Describes an error by the words of the parser, in one line.
fn plain(error: &serde_yaml::Error) -> String {
    let Place { line, column } = place_of(error);
    let text = match error.without_snippet() {
        serde_yaml::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key}: the key is given twice")
        }
        serde_yaml::Error::MultipleDocuments { .. } => {
            "expected one YAML document, found a second".to_string()
        }
        other => other.to_string(),
    };
    let text = text.lines().next().unwrap_or_default();
    // The parser ends its messages with the position, which we print in front.
    let text = text.split(" at line ").next().unwrap_or(text);
    format!("{line}:{column}: {text}")
}

fn place_of(error: &serde_yaml::Error) -> Place {
    let unknown = Place { line: 1, column: 1 };
    error
        .without_snippet()
        .location()
        .map_or(unknown, Place::from)
}

/// Reads the keys of a document, with places and shapes but without types. An empty document has
/// none.
fn read_keys(text: &str) -> std::result::Result<Vec<Key>, String> {
    match serde_yaml::from_str::<Option<Keys>>(text) {
        Ok(keys) => Ok(keys.map(|k| k.0).unwrap_or_default()),
        Err(e) => Err(match e.without_snippet() {
            serde_yaml::Error::Unexpected {
                expected: "mapping start",
                ..
            } => {
                let Place { line, column } = place_of(&e);
                format!("{line}:{column}: expected lines of the form `key: value`")
            }
            _ => plain(&e),
        }),
    }
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    line: u64,
    column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Place {
            // An unknown place, that of an empty text for one, is its start.
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }
}

/// One key as it stands in the file.
struct Key {
    name: String,
    place: Place,
    value: Place,
    shape: Shape,
}

struct Keys(Vec<Key>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Mapping;

        impl<'de> Visitor<'de> for Mapping {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, value)) =
                    map.next_entry::<Spanned<String>, Spanned<Shape>>()?
                {
                    keys.push(Key {
                        name: key.value,
                        place: Place::from(key.referenced),
                        value: Place::from(value.referenced),
                        shape: value.value,
                    });
                }
                Ok(Keys(keys))
            }
        }

        deserializer.deserialize_map(Mapping)
    }
}

/// What a value looks like: enough to quote it in a message.
enum Shape {
    Nothing,
    Plain(String),
    Text(String),
    List,
    Mapping,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Nothing => f.write_str("nothing"),
            Shape::Plain(value) => f.write_str(value),
            Shape::Text(value) if value.chars().count() > MAX_QUOTED => {
                let start: String = value.chars().take(MAX_QUOTED).collect();
                write!(f, "{start:?}...")
            }
            Shape::Text(value) => write!(f, "{value:?}"),
            Shape::List => f.write_str("a list"),
            Shape::Mapping => f.write_str("a mapping"),
        }
    }
}

/// The most characters of a value that a message quotes.
const MAX_QUOTED: usize = 60;

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Shape, E> {
        Ok(Shape::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Shape, E> {
        Ok(Shape::Text(value.to_string()))
    }

    fn visit_unit<E>(self) -> std::result::Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_none<E>(self) -> std::result::Result<Shape, E> {
        Ok(Shape::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Shape, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Shape, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Shape::Mapping)
    }
}

#[cfg(test)]
pub(super) fn warnings(name: &str, text: &str) -> Vec<String> {
    unknown_keys(name, &read_keys(text).unwrap_or_default())
}
