//! Where outgoing connections go.
//!
//! [`peer`] describes one remote server and how to talk to it; the
//! [`connectors`](crate::connectors) make connections from that description.

pub mod peer;
