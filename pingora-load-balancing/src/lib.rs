//! Backend sets, discovery, health checks and selection algorithms.
