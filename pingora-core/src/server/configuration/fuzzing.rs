//! The reading of a configuration, reachable for fuzzing; compiled with `--cfg fuzzing` only.
//! Read next: `node.rs`.

use super::{ServerConf, yaml};

/// Returns the configuration of `text`, or what is wrong and where, without warnings and without
/// the leak of an error.
pub fn read(text: &str) -> Result<ServerConf, String> {
    yaml::read(text).map(|(conf, _)| conf)
}
