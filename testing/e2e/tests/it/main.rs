//! Whole-server tests: a real listener, a real client, a real origin. One file a topic.

mod bodies;
mod keepalive;
mod requests;
mod responses;
