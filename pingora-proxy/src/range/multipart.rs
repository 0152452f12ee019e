//! Framing several parts of a response as one body (RFC 9110 section 14.6).

use std::ops::Range;

/// Several parts of a response, and how they are told apart.
///
/// ```
/// use pingora_proxy::MultiRangeInfo;
///
/// let mut parts = MultiRangeInfo::new(vec![0..2, 8..10]);
/// parts.set_content_type("text/plain".to_string());
/// parts.set_total_length(10);
/// // Four bytes of content, and what stands around them.
/// assert!(parts.calculate_multipart_length() > 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRangeInfo {
    /// The parts, in the order they are sent.
    pub ranges: Vec<Range<usize>>,
    /// What separates them: random, so that it is in no content.
    pub boundary: String,
    /// The content type of each part; `None` when the response has none.
    pub content_type: Option<String>,
    total_length: usize,
}

impl MultiRangeInfo {
    /// Returns `ranges` with a new boundary, of a response of unknown length and type.
    pub fn new(ranges: Vec<Range<usize>>) -> Self {
        MultiRangeInfo {
            ranges,
            boundary: format!("{:032x}", fastrand::u128(..)),
            content_type: None,
            total_length: 0,
        }
    }

    /// Sets the content type of each part.
    pub fn set_content_type(&mut self, content_type: String) {
        self.content_type = Some(content_type);
    }

    /// Sets the length of the whole response.
    pub fn set_total_length(&mut self, total_length: usize) {
        self.total_length = total_length;
    }

    /// Returns the length of the body that holds all parts.
    pub fn calculate_multipart_length(&self) -> usize {
        let parts = self
            .ranges
            .iter()
            .map(|range| self.part_head(range).len() + range.len());
        parts.sum::<usize>() + self.end().len()
    }

    /// Returns what stands before the bytes of a part.
    pub(super) fn part_head(&self, range: &Range<usize>) -> String {
        let content_type = match &self.content_type {
            Some(content_type) => format!("Content-Type: {content_type}\r\n"),
            None => String::new(),
        };
        format!(
            "\r\n--{}\r\n{content_type}Content-Range: bytes {}-{}/{}\r\n\r\n",
            self.boundary,
            range.start,
            range.end.saturating_sub(1),
            self.total_length,
        )
    }

    /// Returns what stands behind the last part.
    pub(super) fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}
