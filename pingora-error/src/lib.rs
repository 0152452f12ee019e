//! Errors with a type, a source (upstream, downstream, internal), a retry decision and a chain of contexts.
