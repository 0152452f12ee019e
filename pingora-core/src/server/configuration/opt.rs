//! Reads the command line of a server: [`Opt`].
//!
//! Next: `super::ServerConf`, which `--conf` names the file of.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use clap::{CommandFactory, FromArgMatches};

use super::Opt;

impl Opt {
    /// Returns the options the program was started with.
    ///
    /// On a wrong option, `--help` or `--version` this prints the text and ends the program, with
    /// status 2, 0 and 0.
    pub fn parse_args() -> Self {
        Self::parse_from_args(std::env::args_os())
    }

    /// Returns the options in `args`, of which the first is the name of the program.
    ///
    /// Ends the program as [`Opt::parse_args`] does.
    pub fn parse_from_args<I, T>(args: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from_args(args).unwrap_or_else(|e| e.exit())
    }

    // `--version` is added here and not in the derive: a program that flattens these options
    // has a version of its own.
    fn try_parse_from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = Self::command().name(program_name()).version(VERSION);
        let mut matches = command.try_get_matches_from_mut(args)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
    }
}

/// The version of this crate, as `--version` and the first line of a server print it.
pub(crate) const VERSION: &str = concat!("(pingora ", env!("CARGO_PKG_VERSION"), ")");

/// Returns the file name of the running program.
pub(crate) fn program_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let path = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&path).file_stem().unwrap_or_default();
        match name.to_string_lossy() {
            name if name.is_empty() => "pingora".to_string(),
            name => name.into_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_option() {
        let parse = |args: &[&str]| {
            Opt::try_parse_from_args([&["app"], args].concat()).map_err(|e| e.to_string())
        };
        let opt = parse(&[]).unwrap();
        assert!(!opt.upgrade && !opt.daemon && !opt.test && !opt.nocapture && opt.conf.is_none());
        let opt = parse(&["-u", "-d", "-t", "-c", "a.yaml", "--nocapture"]).unwrap();
        assert!(opt.upgrade && opt.daemon && opt.test && opt.nocapture);
        assert_eq!(opt.conf.as_deref(), Some("a.yaml"));
        let opt = parse(&["--upgrade", "--daemon", "--test", "--conf=a.yaml"]).unwrap();
        assert!(opt.upgrade && opt.daemon && opt.test);
        assert!(parse(&["--wrong"]).unwrap_err().contains("'--wrong'"));
        assert!(parse(&["-c"]).unwrap_err().contains("FILE"));
    }

    #[test]
    fn prints_version_and_help() {
        let text = |arg| {
            let error = Opt::try_parse_from_args(["app", arg]).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            error.to_string()
        };
        let version = text("--version");
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        assert!(version.starts_with(program_name()), "{version}");
        let help = text("-h");
        assert!(help.contains("-u, --upgrade"), "{help}");
        assert!(help.contains("Take over the listening sockets"), "{help}");
        assert!(!help.contains("nocapture"), "{help}");
    }
}
