//! Byte strings compared and shown so that a person sees the difference.

use std::fmt::{Debug, Write};

/// Panics unless the two are equal, showing both line by line and where they part.
///
/// ```should_panic
/// pingora_test_support::check::bytes(b"a: 1\r\n", b"a: 2\r\n");
/// ```
#[track_caller]
pub fn bytes(actual: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    if let Some(difference) = difference(actual.as_ref(), expected.as_ref()) {
        panic!("{difference}");
    }
}

/// Returns how the two differ, or `None` if they are equal.
pub fn difference(actual: &[u8], expected: &[u8]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let common = actual
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    let line = expected[..common]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1;
    let mut text = format!(
        "bytes differ at offset {common} (line {line}); {} received, {} expected\n",
        actual.len(),
        expected.len()
    );
    for (title, all) in [("received", actual), ("expected", expected)] {
        let _ = writeln!(text, "{title}:");
        for (number, shown) in lines(all).into_iter().enumerate() {
            let mark = if number + 1 == line { '>' } else { ' ' };
            let _ = writeln!(text, "  {mark} {shown}");
        }
    }
    Some(text)
}

/// Returns the bytes as text on one line, with everything unprintable escaped.
///
/// ```
/// assert_eq!(pingora_test_support::check::show(b"a\r\n\x00"), r"a\r\n\x00");
/// ```
pub fn show(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::new();
    for byte in bytes.as_ref() {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\x{other:02x}");
            }
        }
    }
    text
}

/// How many lines, and bytes of each, a report shows before it cuts.
const SHOWN_LINES: usize = 60;
const SHOWN_BYTES: usize = 240;

fn lines(all: &[u8]) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for line in all.split_inclusive(|byte| *byte == b'\n') {
        if shown.len() == SHOWN_LINES {
            shown.push(String::from("..."));
            break;
        }
        let cut = &line[..line.len().min(SHOWN_BYTES)];
        let rest = if cut.len() < line.len() {
            format!("... {} bytes", line.len())
        } else {
            String::new()
        };
        shown.push(show(cut) + &rest);
    }
    shown
}

/// Runs every row of a table and reports all rows that fail, not only the first.
///
/// ```
/// pingora_test_support::check::table(&[("1", 1), ("22", 2)], |text| text.len());
/// ```
#[track_caller]
pub fn table<I: Debug + Copy, O: Debug + PartialEq>(rows: &[(I, O)], run: impl Fn(I) -> O) {
    let mut wrong = String::new();
    for (input, expected) in rows {
        let actual = run(*input);
        if actual != *expected {
            let _ = writeln!(
                wrong,
                "{input:?}\n   gave     {actual:?}\n   expected {expected:?}"
            );
        }
    }
    assert!(wrong.is_empty(), "rows of the table that fail:\n{wrong}");
}

#[cfg(test)]
mod tests {
    use super::{difference, show};

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference(b"same", b"same"), None);
        let text = difference(b"a\r\nb\r\n", b"a\r\nc\r\n").unwrap();
        assert!(
            text.starts_with("bytes differ at offset 3 (line 2)"),
            "{text}"
        );
        assert!(
            text.contains(r"> b\r\n") && text.contains(r"> c\r\n"),
            "{text}"
        );
    }

    #[test]
    fn unprintable_bytes_are_escaped() {
        assert_eq!(show([0x00, 0x7f, b'\\', b'\t', 0xff]), r"\x00\x7f\\\t\xff");
    }
}
