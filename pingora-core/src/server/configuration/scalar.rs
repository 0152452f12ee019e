//! What the text of a YAML scalar stands for: the core schema of YAML 1.2, and what files in use
//! have of older YAML, as `yes` and `1_000`.
//!
//! Next: `node.rs`, which asks what each scalar is.

use super::node::Value;

/// Returns what a scalar is, by the name of its tag of YAML or else by its form; nothing if the
/// tag does not fit the text. `plain` is whether the text stands without quotes.
pub(super) fn value(text: &str, plain: bool, tag: Option<&str>) -> Option<Value> {
    let plain = match tag {
        None if plain && is_null(text) => return Some(Value::Nothing),
        None => plain && (boolean(text).is_some() || is_number(text) || text == MERGE),
        Some("null") => return Some(Value::Nothing),
        Some("str") => false,
        Some("bool") if boolean(text).is_some() => true,
        Some("int") if is_integer(text) => true,
        Some("float") if is_number(text) => true,
        Some(_) => return None,
    };
    let make = if plain { Value::Plain } else { Value::Text };
    Some(make(text.into()))
}

/// The key whose value is merged into the mapping it stands in.
pub(super) const MERGE: &str = "<<";

/// Returns the boolean that `text` is.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is = |word: &&str| trim(text).eq_ignore_ascii_case(word);
    if ["true", "yes", "on", "y"].iter().any(is) {
        return Some(true);
    }
    ["false", "no", "off", "n"].iter().any(is).then_some(false)
}

/// Returns the number that `text` is: decimal, or with `0x`, `0o` and `0b` in front. Underscores
/// may stand between digits.
pub(super) fn unsigned(text: &str) -> Option<u64> {
    let text = trim(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (radix, digits) = match text.split_at_checked(2) {
        Some(("0x" | "0X", digits)) => (16, digits),
        Some(("0o" | "0O", digits)) => (8, digits),
        Some(("0b" | "0B", digits)) => (2, digits),
        // It would be octal in older YAML.
        Some((start, _)) if start.starts_with('0') => return None,
        _ => (10, text),
    };
    let is_group = |digits: &str| digits.starts_with(|c: char| c.is_digit(radix));
    if !digits.split('_').all(is_group) {
        return None;
    }
    u64::from_str_radix(&digits.replace('_', ""), radix).ok()
}

fn is_null(text: &str) -> bool {
    text.is_empty() || text == "~" || text.eq_ignore_ascii_case("null")
}

fn is_integer(text: &str) -> bool {
    let text = trim(text);
    unsigned(text.strip_prefix('-').unwrap_or(text)).is_some()
}

fn is_number(text: &str) -> bool {
    let word = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is = |special: &&str| word.eq_ignore_ascii_case(special);
    // Rust has `inf` and `nan` without dot for numbers.
    let is_float = || text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok();
    is_integer(text) || [".inf", ".nan"].iter().any(is) || is_float()
}

/// Removes the space around a number or boolean in quotes.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        for (text, expected) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("+42", Some(42)),
            (" 42\n", Some(42)),
            ("1_000", Some(1000)),
            ("0x1f", Some(31)),
            ("0X1F", Some(31)),
            ("0o17", Some(15)),
            ("0b11", Some(3)),
            ("0x_1", None),
            ("007", None),
            ("0_7", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+", None),
            ("++1", None),
            ("-1", None),
            ("0x", None),
            ("0x+1", None),
            ("0o8", None),
            ("1_", None),
            ("_1", None),
            ("1__0", None),
            ("1.0", None),
            ("é1", None),
            ("0é", None),
        ] {
            assert_eq!(unsigned(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tells_plain_scalars_apart() {
        let check = |text, expected| {
            let found = match value(text, true, None) {
                Some(Value::Nothing) => "nothing",
                Some(Value::Plain(_)) => "plain",
                Some(Value::Text(_)) => "text",
                _ => "no value",
            };
            assert_eq!(found, expected, "{text:?}");
        };
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, "nothing");
        }
        for text in [
            "1", "-1", "007", "0x1F", "1.5", ".5", "1e3", "-.inf", ".NaN", "yes", "False",
        ] {
            check(text, "plain");
        }
        for text in [
            "abc", "1.1.1.1", "inf", "nan", "-", "12:30", "0x", "e", ".", "nil",
        ] {
            check(text, "text");
        }
    }
}
