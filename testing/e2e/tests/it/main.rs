//! Whole-server tests: a real listener, a real client, a real origin. One file a topic.

mod bodies;
mod clients;
mod dns;
mod graceful;
mod keepalive;
mod lb;
mod phases;
mod requests;
mod responses;
mod retry;
mod upgrade;
