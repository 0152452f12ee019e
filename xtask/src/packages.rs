//! System packages the tests use: found on the search path, else installed with apt-get, else named.

use std::env;
use std::path::{Path, PathBuf};

use crate::steps::{Cmd, Steps};

/// A program (or several, of which one will do), the Debian/Ubuntu package that has it, and what
/// needs it. Extend this table.
const NEEDED: &[(&str, &str, &str)] = &[
    (
        "nginx",
        "nginx",
        "a foreign origin for the end-to-end tests",
    ),
    (
        "pkg-config",
        "pkg-config",
        "finding the system's OpenSSL for the `openssl` feature",
    ),
    (
        "cmake",
        "cmake",
        "building BoringSSL for the `boringssl` feature",
    ),
    (
        "c++",
        "g++",
        "building BoringSSL for the `boringssl` feature",
    ),
    ("clang", "clang", "reading the headers of BoringSSL"),
    ("curl", "curl", "a foreign client for the end-to-end tests"),
    (
        "openssl",
        "openssl",
        "a foreign client of TLS for the end-to-end tests",
    ),
    (
        "python3",
        "python3",
        "a foreign client of TLS for the end-to-end tests",
    ),
    (
        "chromium|chromium-browser|google-chrome",
        "chromium",
        "a browser for the end-to-end tests",
    ),
];

/// The same for libraries, by their pkg-config name.
const NEEDED_LIBRARIES: &[(&str, &str, &str)] =
    &[("openssl", "libssl-dev", "the `openssl` feature")];

/// Folders that hold daemons but are not on every user's search path.
const SBIN: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Makes sure that every needed program and library is there.
pub(crate) fn install(steps: &mut Steps) -> Result<(), String> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let Some(apt) = apt_get() else {
        let mut text = String::from("these are needed and cannot be installed from here:\n");
        for (name, package, why) in missing {
            text.push_str(&format!(
                "  {name} (Debian/Ubuntu package {package}): {why}\n"
            ));
        }
        return Err(text
            + &format!(
                "Install them, e.g. `sudo apt-get install {}`.",
                packages.join(" ")
            ));
    };
    let apt = |rest: &str| Cmd::new(&format!("{apt} {rest}"));
    steps.run("system packages: apt-get update", apt("update -q"))?;
    steps.run(
        "system packages: apt-get install",
        apt("install -q -y --no-install-recommends").args(packages),
    )?;
    match self::missing().first() {
        Some((name, package, _)) => {
            Err(format!("{package} is installed but `{name}` is not found"))
        }
        None => Ok(()),
    }
}

fn missing() -> Vec<(&'static str, &'static str, &'static str)> {
    let programs = NEEDED
        .iter()
        .filter(|(programs, ..)| programs.split('|').all(|program| find(program).is_none()));
    let libraries = NEEDED_LIBRARIES.iter().filter(|(library, ..)| {
        let ask = Cmd::new(&format!("pkg-config --exists {library}"));
        ask.output().is_none()
    });
    programs.chain(libraries).copied().collect()
}

/// Returns the start of an apt-get command line that needs no password, if there is one.
fn apt_get() -> Option<&'static str> {
    find("apt-get")?;
    if Cmd::new("id -u").output()?.trim() == "0" {
        return Some("env DEBIAN_FRONTEND=noninteractive apt-get");
    }
    find("sudo")?;
    Cmd::new("sudo -n true").output()?;
    Some("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get")
}

/// Returns where `program` is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SBIN.iter().map(PathBuf::from));
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    folders
        .map(|folder| folder.join(&name))
        .find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn programs_are_found_by_name() {
        assert!(find("cargo").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
