//! Whole-server tests: a real listener, a real client, a real origin. One file a topic.

mod requests;
