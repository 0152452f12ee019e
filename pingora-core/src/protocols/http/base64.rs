//! Base64 (RFC 4648 section 4), for the little HTTP uses it for: `grpc-web-text` and byte sequences in fields.
//! Pure. Read next: `bridge/grpc_web.rs`.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of each digit, or `NONE`.
const VALUES: [u8; 256] = values();
const NONE: u8 = 0xff;

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// Appends the padded encoding of `bytes` to `out`.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let three = [
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        let mut digits = [18, 12, 6, 0].map(|shift| DIGITS[(word >> shift) as usize & 63]);
        digits[group.len() + 1..].fill(b'=');
        out.extend_from_slice(&digits);
    }
}

/// Returns what a whole text encodes, `None` if it is not the padded encoding of anything.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut decoder = Decoder::default();
    decoder.decode(text, &mut out)?;
    decoder.is_between_groups().then_some(out)
}

/// Decodes a text that comes in pieces, and may be several encodings one after the other.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Decoder {
    /// The digits of a group not whole yet.
    group: [u8; 4],
    filled: usize,
}

impl Decoder {
    /// Appends what more of the text encodes to `out`; `None` if it is no encoding.
    pub(crate) fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        for digit in text {
            self.group[self.filled] = *digit;
            self.filled += 1;
            if self.filled == 4 {
                self.filled = 0;
                decode_group(self.group, out)?;
            }
        }
        Some(())
    }

    /// Returns whether the text may end here.
    pub(crate) fn is_between_groups(&self) -> bool {
        self.filled == 0
    }
}

fn decode_group(group: [u8; 4], out: &mut Vec<u8>) -> Option<()> {
    let padding = match group {
        [_, _, b'=', b'='] => 2,
        [.., b'='] => 1,
        _ => 0,
    };
    let mut word = 0;
    for digit in &group[..4 - padding] {
        let value = VALUES[usize::from(*digit)];
        if value == NONE {
            return None;
        }
        word = word << 6 | u32::from(value);
    }
    word <<= 6 * padding;
    let [_, bytes @ ..] = word.to_be_bytes();
    let (kept, spare) = bytes.split_at(3 - padding);
    // Bits nobody would have written (RFC 4648 section 3.5).
    if spare.iter().any(|byte| *byte != 0) {
        return None;
    }
    out.extend_from_slice(kept);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).unwrap(), bytes.as_bytes());
        }
        for wrong in [
            "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg=a", "Zm9v\n", "Zm-v", "Zm9vZ",
        ] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn pieces_join(parts: Vec<Vec<u8>>, cut in 1..7usize) {
            let mut text = Vec::new();
            parts.iter().for_each(|part| encode(part, &mut text));
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            for piece in text.chunks(cut) {
                prop_assert!(decoder.decode(piece, &mut out).is_some());
            }
            prop_assert!(decoder.is_between_groups());
            prop_assert_eq!(out, parts.concat());
        }
    }
}
