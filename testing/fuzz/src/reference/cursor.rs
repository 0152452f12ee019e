//! Bytes, one at a time.

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end before the message does.
    Incomplete,
    /// No message begins like this.
    Refused(&'static str),
}

/// Returns a refusal.
pub fn refuse<T>(why: &'static str) -> Result<T, Stop> {
    Err(Stop::Refused(why))
}

/// A place in the input.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    pub fn next(&mut self) -> Result<u8, Stop> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// Takes exactly these bytes.
    pub fn expect(&mut self, bytes: &[u8], why: &'static str) -> Result<(), Stop> {
        for byte in bytes {
            if self.next()? != *byte {
                return refuse(why);
            }
        }
        Ok(())
    }

    pub fn crlf(&mut self) -> Result<(), Stop> {
        self.expect(b"\r\n", "no CRLF")
    }

    /// Takes bytes up to `end`, and `end`; all of them are `valid`.
    pub fn until(
        &mut self,
        end: u8,
        valid: fn(u8) -> bool,
        why: &'static str,
    ) -> Result<Vec<u8>, Stop> {
        let mut taken = Vec::new();
        loop {
            match self.next()? {
                byte if byte == end => return Ok(taken),
                byte if valid(byte) => taken.push(byte),
                _ => return refuse(why),
            }
        }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn rest(&self) -> Vec<u8> {
        self.bytes[self.at..].to_vec()
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field value consists of (RFC 9110 section 5.5).
pub fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' ' | 0x21..=0x7e | 0x80..=0xff)
}
