//! Tokio runtimes: work-stealing, or one single-threaded runtime per thread.
