//! What only some libraries have, for the others: types without a value, so that an option of
//! theirs can only be `None`.

/// Pre-shared keys, which this library does not take.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PskType {}

/// A security policy, which this library does not have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecurityPolicy {}
