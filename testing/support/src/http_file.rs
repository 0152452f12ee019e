//! Reads tables of raw messages: `testing/fixtures/requests/*.http`.
//!
//! A file is a list of cases, a case is a list of named parts:
//!
//! ```text
//! # a line that starts with `#` outside a part is a comment
//! === two lengths
//! --- request
//! POST / HTTP/1.1
//! Host: a
//! Content-Length: 5
//! Content-Length: 6
//!
//! hello\
//! --- expect
//! 400 close
//! ```
//!
//! Every line of a part ends in CRLF on the wire; a backslash at the end of a line takes that CRLF
//! away. Inside a line `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` mean what they mean in Rust, and
//! `\{N:text}` repeats `text` N times. [`Case::text`] reads a part as plain lines instead.

use std::fs;
use std::path::{Path, PathBuf};

/// One case of a table.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and title, for messages.
    pub name: String,
    parts: Vec<(String, String)>,
}

impl Case {
    /// Returns the bytes of a part as they go on the wire; panics if the case has no such part.
    pub fn bytes(&self, part: &str) -> Vec<u8> {
        wire(self.raw(part), &self.name)
    }

    /// Returns a part as text without the line end at its end; panics if the case has no such part.
    pub fn text(&self, part: &str) -> &str {
        self.raw(part).trim_end()
    }

    /// Returns whether the case has this part.
    pub fn has(&self, part: &str) -> bool {
        self.parts.iter().any(|(name, _)| name == part)
    }

    fn raw(&self, part: &str) -> &str {
        let found = self.parts.iter().find(|(name, _)| name == part);
        &found
            .unwrap_or_else(|| panic!("{}: no part `--- {part}`", self.name))
            .1
    }
}

/// Returns the folder with the tables.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/requests")
}

/// Reads the table `testing/fixtures/requests/NAME`; panics if it cannot.
pub fn load(name: &str) -> Vec<Case> {
    let path = folder().join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases = parse(name, &text);
    assert!(
        !cases.is_empty(),
        "{name}: no case; a case starts with `=== title`"
    );
    cases
}

/// Reads the cases of a table given as text; `name` is used in messages.
///
/// ```
/// let cases = pingora_test_support::http_file::parse("t", "=== a\n--- request\nGET / HTTP/1.1\n\n");
/// assert_eq!(cases[0].bytes("request"), b"GET / HTTP/1.1\r\n\r\n");
/// ```
pub fn parse(name: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case {
                name: format!("{name}: {title}"),
                parts: Vec::new(),
            });
            continue;
        }
        let at = || format!("{name}:{}: ", number + 1);
        match (cases.last_mut(), line.strip_prefix("--- ")) {
            (Some(case), Some(part)) => case.parts.push((part.trim().to_owned(), String::new())),
            (Some(case), None) => match case.parts.last_mut() {
                Some((_, text)) => {
                    text.push_str(line);
                    text.push('\n');
                }
                None => assert!(is_comment(line), "{}text before the first part", at()),
            },
            (None, _) => assert!(is_comment(line), "{}text before the first case", at()),
        }
    }
    cases
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with('#')
}

/// Turns the lines of a part into the bytes they stand for.
fn wire(text: &str, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let trailing = line.len() - line.trim_end_matches('\\').len();
        let (line, end) = match line.strip_suffix('\\') {
            Some(rest) if trailing % 2 == 1 => (rest, &b""[..]),
            _ => (line, &b"\r\n"[..]),
        };
        unescape(line, &mut bytes).unwrap_or_else(|| panic!("{name}: bad escape in `{line}`"));
        bytes.extend_from_slice(end);
    }
    bytes
}

fn unescape(line: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let mut rest = line;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut chars = escaped.chars();
        let byte = match chars.next()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let byte = u8::from_str_radix(escaped.get(1..3)?, 16).ok()?;
                chars = escaped.get(3..)?.chars();
                byte
            }
            '{' => {
                let (repeat, after) = escaped.get(1..)?.split_once('}')?;
                let (times, text) = repeat.split_once(':')?;
                bytes.extend_from_slice(text.repeat(times.parse().ok()?).as_bytes());
                rest = after;
                continue;
            }
            _ => return None,
        };
        bytes.push(byte);
        rest = chars.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::check;

    #[test]
    fn escapes_and_line_ends() {
        for (line, expected) in [
            ("plain", &b"plain\r\n"[..]),
            ("no end\\", b"no end"),
            ("end\\\\", b"end\\\r\n"),
            ("\\x00\\xff|\\r\\n\\t\\0\\", b"\x00\xff|\r\n\t\0"),
            ("a\\{3:bc}d", b"abcbcbcd\r\n"),
        ] {
            let cases = parse("t", &format!("# comment\n=== one\n--- in\n{line}\n"));
            check::bytes(cases[0].bytes("in"), expected);
        }
    }

    #[test]
    fn parts_are_separate() {
        let cases = parse(
            "t",
            "=== a\n--- in\nx\n--- out\n400 close\n\n=== b\n--- in\n\n",
        );
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].text("out"), "400 close");
        assert_eq!(cases[1].bytes("in"), b"\r\n");
        assert!(!cases[1].has("out"));
        assert_eq!(cases[1].name, "t: b");
    }
}
