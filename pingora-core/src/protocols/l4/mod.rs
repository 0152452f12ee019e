//! Layer 4: sockets, their addresses and options.
//!
//! [`stream`] is the connection the rest of the crate reads and writes, [`listener`] what it comes
//! from, [`virt`] how a transport of your own takes part. What a system call does is in the
//! private module `sys`.

pub mod ext;
pub mod listener;
pub mod socket;
pub mod stream;
pub mod virt;
