//! A YAML text as a tree of nodes that know their places.
//!
//! `granit-parser` makes events of the text. Here plain scalars are told apart, aliases become the
//! nodes they stand for, `<<` is merged, and a key given twice is refused. An alias shares what it
//! stands for, so that the tree of a text is never much larger than the text.
//!
//! Next: `values.rs`, by which serde reads the tree.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, StrInput, Tag};

use super::scalar;

/// Returns the root of the document in `text`, nothing if there is none, or else what is wrong and
/// where: `LINE:COLUMN: TEXT`.
pub(super) fn read(text: &str) -> Result<Option<Node>, String> {
    if text.len() > MAX_TEXT {
        return Err(Place::START.error(format_args!("longer than {MAX_TEXT} bytes")));
    }
    let mut options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
    };
    reader.document()
}

/// The longest text.
const MAX_TEXT: usize = 16 << 20;

/// The most nodes of a text, with those that `<<` adds: a bound for time and memory.
const MAX_NODES: usize = 1 << 16;

/// The most lists and mappings within each other, through aliases too: a bound for the stack.
const MAX_DEPTH: usize = 64;

/// A value or key, and where it stands. A clone shares the value.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// How many levels of lists and mappings there are.
    depth: usize,
}

/// Line and column, from 1.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Place {
    line: usize,
    column: usize,
}

/// What a node holds.
#[derive(Clone)]
pub(super) enum Value {
    /// `null`, `~` or no text at all.
    Nothing,
    /// A number, `true`, `false` or `<<`, as written.
    Plain(Rc<str>),
    Text(Rc<str>),
    List(Rc<[Node]>),
    Mapping(Rc<[Entry]>),
}

/// A key and its value.
pub(super) type Entry = (Node, Node);

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The nodes that aliases can stand for, which are whole.
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Option<Node>, String> {
        let mut root = None;
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), place) if root.is_some() => {
                    return Err(place.error("expected one YAML document, found a second"));
                }
                (Event::DocumentStart(..), _) => root = self.node()?,
                _ => {}
            }
        }
    }

    /// Returns the next node, or nothing at the end of the list or mapping.
    fn node(&mut self) -> Result<Option<Node>, String> {
        let (event, place) = self.event()?;
        if !event.is_node() {
            return Ok(None);
        }
        self.count(1, place)?;
        let (anchor, tag, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, place).map(Some),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = scalar::value(&text, plain, core_name(&tag).as_deref());
                (anchor, tag, value)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let list = Value::List(self.list()?.into());
                let fits = matches!(
                    core_name(&tag).as_deref(),
                    None | Some("seq" | "omap" | "pairs")
                );
                (anchor, tag, fits.then_some(list))
            }
            Event::MappingStart(_, anchor, tag) => {
                let mapping = Value::Mapping(self.mapping()?.into());
                let fits = matches!(core_name(&tag).as_deref(), None | Some("map" | "set"));
                (anchor, tag, fits.then_some(mapping))
            }
            _ => return Ok(None),
        };
        let Some(value) = value else {
            let tag = tag.map(|tag| tag.original()).unwrap_or_default();
            let tag = brief(&tag);
            return Err(place.error(format_args!("the tag `{tag}` is unknown or does not fit")));
        };
        let depth = value.depth();
        let node = Node {
            place,
            value,
            depth,
        };
        if depth > MAX_DEPTH {
            return Err(place.error(TooDeep));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    fn list(&mut self) -> Result<Vec<Node>, String> {
        let mut list = Vec::new();
        while let Some(node) = self.node()? {
            list.push(node);
        }
        Ok(list)
    }

    fn mapping(&mut self) -> Result<Vec<Entry>, String> {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        while let Some(key) = self.node()?
            && let Some(value) = self.node()?
        {
            match key.text() {
                Some(_) if key.is_merge() => self.merge(&value, &mut merged)?,
                Some(name) if !names.insert(name.clone()) => {
                    let name = brief(name);
                    return Err(key
                        .place
                        .error(format_args!("{name}: the key is given twice")));
                }
                _ => entries.push((key, value)),
            }
        }
        // What stands in the mapping itself comes before what is merged.
        let is_new = |(key, _): &Entry| key.text().is_some_and(|name| names.insert(name.clone()));
        entries.extend(merged.into_iter().filter(is_new));
        Ok(entries)
    }

    /// Adds the entries of the value of `<<` to `merged`.
    fn merge(&mut self, value: &Node, merged: &mut Vec<Entry>) -> Result<(), String> {
        let mappings = match &value.value {
            Value::Nothing => return Ok(()),
            Value::List(list) => list,
            _ => std::slice::from_ref(value),
        };
        for node in mappings {
            let Value::Mapping(entries) = &node.value else {
                let expected = "expected a mapping or a list of mappings";
                return Err(node
                    .place
                    .error(format_args!("<<: {expected}, found {node}")));
            };
            self.count(entries.len(), node.place)?;
            merged.extend_from_slice(entries);
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, String> {
        // The parser knows the anchor, so what it names has begun, and may not be whole.
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(place.error("the alias stands within what it stands for"));
        };
        Ok(Node {
            place,
            ..node.clone()
        })
    }

    fn event(&mut self) -> Result<(Event<'a>, Place), String> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, Place::from(&span.start))),
            None => Ok((Event::StreamEnd, Place::START)),
            Some(Err(e)) => {
                let place = Place::from(e.marker());
                Err(match e.kind() {
                    ErrorKind::RecursionLimitExceeded => place.error(TooDeep),
                    ErrorKind::UnknownAnchor => place.error("the alias stands for nothing above"),
                    kind => place.error(kind),
                })
            }
        }
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(place.error(format_args!("more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

/// Returns the name of a tag of YAML itself, as `int` of `!!int`. `!`, which makes a string of a
/// scalar, is `str`.
fn core_name<'a>(tag: &'a Option<Cow<'_, Tag>>) -> Option<Cow<'a, str>> {
    let tag = tag.as_ref()?;
    match tag.parts() {
        ("", "!") => Some(Cow::Borrowed("str")),
        _ => tag.suffix_in_namespace("tag:yaml.org,2002:"),
    }
}

// === impl Node ===

impl Node {
    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&Rc<str>> {
        match &self.value {
            Value::Plain(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_merge(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if **text == *scalar::MERGE)
    }
}

impl Value {
    fn depth(&self) -> usize {
        let within = match self {
            Value::List(list) => list.iter().map(|node| node.depth).max(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|(key, value)| key.depth.max(value.depth))
                .max(),
            _ => return 0,
        };
        1 + within.unwrap_or(0)
    }
}

/// Writes what is quoted of a node in a message.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Nothing => f.write_str("nothing"),
            Value::Plain(text) => f.write_str(&brief(text)),
            Value::Text(text) => match text.char_indices().nth(MAX_QUOTED) {
                Some((end, _)) => write!(f, "{:?}...", &text[..end]),
                None => write!(f, "{text:?}"),
            },
            Value::List(_) => f.write_str("a list"),
            Value::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

/// Returns the start of `text` in one line.
pub(super) fn brief(text: &str) -> String {
    let start = text.chars().take(MAX_QUOTED);
    let mut brief: String = start.flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_QUOTED).is_some() {
        brief.push_str("...");
    }
    brief
}

/// The most characters of the text that a message quotes.
const MAX_QUOTED: usize = 60;

struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nested deeper than {MAX_DEPTH} levels")
    }
}

// === impl Place ===

impl Place {
    pub(super) const START: Place = Place { line: 1, column: 1 };

    pub(super) fn error(self, what: impl fmt::Display) -> String {
        format!("{self}: {what}")
    }
}

impl From<&Marker> for Place {
    fn from(marker: &Marker) -> Self {
        Place {
            line: marker.line(),
            column: marker.col() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
