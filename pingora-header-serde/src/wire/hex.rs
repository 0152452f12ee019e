//! Identifiers and tags made of hexadecimal digits, two digits a byte.
//!
//! ```text
//! Digits   0a1b2c                                 number of bytes, bytes
//! Uuid     0f8fad5b-d9cb-469f-a165-70867728950e   16 bytes
//! Tag      "6731b2ef-bc55"                        numbers of digits (4 bits each), digits
//! WeakTag  W/"6731b2ef-bc55"                      as Tag
//! ```
//!
//! Tags of this form are what nginx and Apache make of time and size. Only lower case digits count.

/// A form of identifier, in the order of the tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Digits,
    Uuid,
    Tag,
    WeakTag,
}

/// The longest identifier as text.
pub(crate) const MAX_TEXT: usize = 2 * MAX_BYTES;

/// The most bytes of digits.
const MAX_BYTES: usize = 64;

/// Fewer digits are not worth their token.
const MIN_DIGITS: usize = 4;

/// Where the hyphens of a UUID are.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID: usize = 36;

/// Appends the short form of `text` to `out` and returns its kind, if it has one.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) -> Option<Form> {
    let mark = out.len();
    let form = match text {
        [b'"', tag @ .., b'"'] => encode_tag(tag, out).map(|()| Form::Tag),
        [b'W', b'/', b'"', tag @ .., b'"'] => encode_tag(tag, out).map(|()| Form::WeakTag),
        _ if text.len() == UUID => encode_uuid(text, out).map(|()| Form::Uuid),
        _ => encode_digits(text, out).map(|()| Form::Digits),
    };
    if form.is_none() {
        out.truncate(mark);
    }
    form
}

fn encode_digits(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if text.len() < MIN_DIGITS || text.len() > MAX_TEXT || !text.len().is_multiple_of(2) {
        return None;
    }
    out.push((text.len() / 2) as u8);
    pack(text.iter().copied(), out)
}

fn encode_uuid(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let groups = HYPHENS.iter().all(|at| text[*at] == b'-');
    let digits = text.iter().copied().filter(|byte| *byte != b'-');
    if !groups || digits.clone().count() != 32 {
        return None;
    }
    pack(digits, out)
}

fn encode_tag(tag: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let first = tag.iter().position(|byte| *byte == b'-')?;
    let second = tag.len() - first - 1;
    if !(1..16).contains(&first) || !(1..16).contains(&second) {
        return None;
    }
    out.push((first as u8) << 4 | second as u8);
    pack(tag[..first].iter().chain(&tag[first + 1..]).copied(), out)
}

/// Appends digits two a byte, an odd one with a zero.
fn pack(mut digits: impl Iterator<Item = u8>, out: &mut Vec<u8>) -> Option<()> {
    while let Some(high) = digits.next() {
        let low = digits.next().unwrap_or(b'0');
        out.push(value(high)? << 4 | value(low)?);
    }
    Some(())
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Takes a short form from the front of `wire` and returns its text.
pub(crate) fn decode(form: Form, wire: &mut &[u8]) -> Option<Text> {
    let mut text = Text::default();
    match form {
        Form::Digits => {
            let length = usize::from(*take(wire, 1)?.first()?);
            if length > MAX_BYTES {
                return None;
            }
            text.put_digits(take(wire, length)?, 2 * length);
        }
        Form::Uuid => {
            let bytes = take(wire, 16)?;
            for (group, range) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
                if group > 0 {
                    text.put(b'-');
                }
                text.put_digits(&bytes[range.clone()], 2 * range.len());
            }
        }
        Form::Tag | Form::WeakTag => {
            if form == Form::WeakTag {
                text.put(b'W');
                text.put(b'/');
            }
            let lengths = *take(wire, 1)?.first()?;
            let (first, second) = (usize::from(lengths >> 4), usize::from(lengths & 15));
            let bytes = take(wire, (first + second).div_ceil(2))?;
            let mut digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            text.put(b'"');
            digits
                .by_ref()
                .take(first)
                .for_each(|digit| text.put(DIGITS[usize::from(digit)]));
            text.put(b'-');
            digits
                .take(second)
                .for_each(|digit| text.put(DIGITS[usize::from(digit)]));
            text.put(b'"');
        }
    }
    Some(text)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn take<'a>(wire: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = wire.split_at_checked(length)?;
    *wire = rest;
    Some(taken)
}

/// A short text without an allocation.
pub(crate) struct Text {
    bytes: [u8; MAX_TEXT],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_TEXT],
            length: 0,
        }
    }
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn put_digits(&mut self, bytes: &[u8], count: usize) {
        let into = &mut self.bytes[self.length..self.length + count];
        for (pair, byte) in into.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        self.length += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, form: Option<Form>, length: usize) {
        let mut wire = vec![7];
        assert_eq!(encode(text.as_bytes(), &mut wire), form, "{text}");
        assert_eq!(wire.len(), 1 + length, "{text}");
        if let Some(form) = form {
            let mut rest = &wire[1..];
            let decoded = decode(form, &mut rest).expect("what was encoded");
            assert_eq!(decoded.as_bytes(), text.as_bytes());
            assert!(rest.is_empty());
            for cut in 1..wire.len() {
                assert!(
                    decode(form, &mut &wire[1..cut]).is_none(),
                    "{text} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn each_form_is_found() {
        check("0a1b2c", Some(Form::Digits), 4);
        check(&"0f".repeat(64), Some(Form::Digits), 65);
        check("0f8fad5b-d9cb-469f-a165-70867728950e", Some(Form::Uuid), 16);
        check("\"6731b2ef-bc55\"", Some(Form::Tag), 7);
        check("\"6-bc55\"", Some(Form::Tag), 4);
        check("W/\"6731b2ef-bc5\"", Some(Form::WeakTag), 7);
    }

    #[test]
    fn other_texts_have_none() {
        let long = "0f".repeat(65);
        for text in [
            "",
            "0",
            "0a",
            "0a1",
            "0A1B2C",
            "0a1b2g",
            "0f8fad5b-d9cb-469f-a165-7086772895-e",
            "0f8fad5b-d9cb-469f-a165-70867728950E",
            "0f8fad5b-d9cb-469f-a165-70867728950g",
            "\"\"",
            "\"-\"",
            "\"a-\"",
            "\"-a\"",
            "\"0123456789abcdef-1\"",
            "\"a-b-c\"",
            "\"abcd\"",
            "W/\"\"",
            "W/\"a-B\"",
            &long,
        ] {
            check(text, None, 0);
        }
    }

    proptest! {
        #[test]
        fn anything_comes_back(text in "(W/)?\"?[0-9a-fA-]{0,40}\"?") {
            let mut wire = Vec::new();
            if let Some(form) = encode(text.as_bytes(), &mut wire) {
                let mut rest = &wire[..];
                let decoded = decode(form, &mut rest).expect("what was encoded");
                prop_assert_eq!(decoded.as_bytes(), text.as_bytes());
                prop_assert!(rest.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_taken_or_refused(form in 0..4usize, wire: Vec<u8>) {
            let form = [Form::Digits, Form::Uuid, Form::Tag, Form::WeakTag][form];
            let mut rest = &wire[..];
            if let Some(text) = decode(form, &mut rest) {
                prop_assert!(text.as_bytes().len() <= MAX_TEXT);
            }
        }
    }
}
