//! The two ways of a shard to choose who stays; `shard.rs` says what they are.

/// How a shard chooses who stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Setting {
    /// By uses over a long time.
    Frequent = 0,
    /// By uses not long ago.
    Recent = 1,
}

impl Setting {
    /// Returns the part of a budget that is for newcomers.
    #[inline]
    pub(crate) fn small_part(self, budget: usize) -> usize {
        match self {
            Self::Frequent => budget / 100,
            Self::Recent => budget / 10,
        }
    }
}
