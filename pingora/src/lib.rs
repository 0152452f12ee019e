//! A framework for fast, reliable and programmable network services.
