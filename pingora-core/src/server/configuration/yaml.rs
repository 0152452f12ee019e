//! From YAML text to [`ServerConf`], and what is said when the text is wrong.
//!
//! The text is read once, into a tree of nodes that know their places. So a message can say all of
//! file, line, column, key, expectation and value, and an unknown key can be warned about without
//! refusing it.
//!
//! Next: `node.rs` for the tree, `keys.rs` for the table of keys, `limits.rs` for ranges.

use std::rc::Rc;

use pingora_error::{BError, Error, ErrorType, Result};

use super::node::{self, Node, Place, Value};
use super::{ServerConf, keys, values};
use crate::server::report;

/// Reads and checks `text`. `name` is the file as messages call it.
pub(super) fn parse(name: &str, text: &str) -> Result<ServerConf> {
    match read(text) {
        Err(wrong) => Err(error(format!("{name}:{wrong}"))),
        Ok((conf, keys)) => {
            for warning in unknown_keys(name, &keys) {
                report::warning(&warning);
            }
            Ok(conf)
        }
    }
}

/// Returns the configuration of `text` with its keys, or what is wrong and where.
pub(super) fn read(text: &str) -> std::result::Result<(ServerConf, Vec<Key>), String> {
    let keys = read_keys(text)?;
    let conf = values::read(&keys).map_err(mismatch)?;
    match conf.out_of_range() {
        None => Ok((conf, keys)),
        Some(wrong) => {
            let place = keys.iter().find(|key| *key.name == *wrong.key);
            let place = place.map_or(Place::START, |key| key.value.place);
            Err(place.error(wrong))
        }
    }
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
        .map(
            |Key {
                 name: key, place, ..
             }| {
                let quoted = node::brief(key);
                match keys::nearest(key) {
                    Some(near) => {
                        format!("{name}:{place}: unknown key `{quoted}`, did you mean `{near}`?")
                    }
                    None => format!("{name}:{place}: unknown key `{quoted}`, ignored"),
                }
            },
        )
        .collect()
}

/// The most unknown keys of one file that are warned about.
const MAX_WARNINGS: usize = 32;

/// Describes a value that is not of the type of its key.
fn mismatch(key: &Key) -> String {
    let Key { name, value, .. } = key;
    let expected = keys::expectation(name).unwrap_or("another value");
    // Of a list of addresses an element is wrong.
    if let (keys::ADDRESSES, Value::List(list)) = (expected, &value.value)
        && let Some(wrong) = list.iter().find(|node| node.text().is_none())
    {
        let place = wrong.place;
        return place.error(format_args!(
            "{name}: expected {expected}, found {wrong} in it"
        ));
    }
    let place = value.place;
    place.error(format_args!("{name}: expected {expected}, found {value}"))
}

/// One key as it stands in the file.
pub(super) struct Key {
    pub(super) name: Rc<str>,
    pub(super) value: Node,
    place: Place,
}

/// Reads the keys of a document. An empty document has none.
fn read_keys(text: &str) -> std::result::Result<Vec<Key>, String> {
    let Some(root) = node::read(text)? else {
        return Ok(Vec::new());
    };
    match &root.value {
        Value::Nothing => Ok(Vec::new()),
        Value::Mapping(entries) => entries.iter().map(as_key).collect(),
        _ => Err(root.place.error("expected lines of the form `key: value`")),
    }
}

fn as_key((key, value): &node::Entry) -> std::result::Result<Key, String> {
    let wrong = || key.place.error(format_args!("expected a key, found {key}"));
    Ok(Key {
        name: key.text().ok_or_else(wrong)?.clone(),
        value: value.clone(),
        place: key.place,
    })
}

#[cfg(test)]
pub(super) fn warnings(name: &str, text: &str) -> Vec<String> {
    unknown_keys(name, &read_keys(text).unwrap_or_default())
}
