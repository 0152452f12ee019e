//! Whole-server tests: a real listener, a real client, a real origin. One file a topic.

mod bodies;
mod keepalive;
mod phases;
mod requests;
mod responses;
mod retry;
mod upgrade;
