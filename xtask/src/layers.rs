//! The layer check: which crate may know which, where a TLS library is named, and where an
//! operating system is. ARCHITECTURE.md says why; this file makes it true.

use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::{self, Package};

/// The layer of every published crate. A dependency may lie on the same layer or below.
const LAYERS: &[(&str, u8)] = &[
    ("pingora", 6),
    ("pingora-proxy", 5),
    ("pingora-cache", 4),
    ("pingora-load-balancing", 4),
    ("pingora-prometheus", 4),
    ("pingora-core", 3),
    ("pingora-pool", 2),
    ("pingora-memory-cache", 2),
    ("pingora-lru", 1),
    ("pingora-runtime", 1),
    ("pingora-timeout", 1),
    ("pingora-header-serde", 1),
    ("pingora-openssl", 1),
    ("pingora-boringssl", 1),
    ("pingora-rustls", 1),
    ("pingora-s2n", 1),
    ("pingora-error", 0),
    ("pingora-http", 0),
    ("pingora-limits", 0),
    ("pingora-ketama", 0),
    ("TinyUFO", 0),
];

/// What layer 0 does without: it computes, it neither waits nor talks.
const NOT_IN_LAYER_0: &[&str] = &["tokio", "mio", "socket2", "rustix", "libc", "log"];

/// Exceptions to that: crate, dependency, reason.
const ALLOWED_IN_LAYER_0: &[(&str, &str, &str)] = &[(
    "pingora-limits",
    "rustix",
    "reads a clock, nothing else: the coarse one of Linux",
)];

/// Features that select a TLS library, and where they may be named in Rust source.
const TLS_FEATURES: &[&str] = &[
    "openssl",
    "boringssl",
    "rustls",
    "__rustls",
    "rustls-ring",
    "rustls-fips",
    "s2n",
    "any_tls",
    "openssl_derived",
];
const TLS_GATE: &str = "pingora-core/src/backend/";

/// Files outside the folder that may name a library, each with its reason.
const TLS_ALLOWED: &[(&str, &str)] = &[
    (
        "pingora-core/src/connectors/",
        "public field with s2n only: s2n_config_cache_size",
    ),
    (
        "pingora-core/src/server/configuration/",
        "public field with s2n only: s2n_config_cache_size",
    ),
    (
        "pingora/examples/server.rs",
        "an example that shows TLS too where it is compiled in",
    ),
];

/// The folder that knows operating systems.
const OS_GATE: &str = "pingora-core/src/sys/";

/// Files outside the folder that may name an operating system, each with its reason.
const OS_ALLOWED: &[(&str, &str)] = &[
    (
        "pingora-pool/src/clock.rs",
        "layer 2 cannot reach sys/: the coarse clock of Linux",
    ),
    (
        "pingora-limits/src/clock.rs",
        "layer 0 cannot reach sys/: the coarse clock of Linux",
    ),
    (
        "pingora-memory-cache/src/clock.rs",
        "layer 2 cannot reach sys/: the coarse clock of Linux",
    ),
    (
        "pingora-load-balancing/src/backend.rs",
        "public: a backend may be a Unix socket",
    ),
    (
        "pingora-load-balancing/src/health_check/",
        "public: a backend may be a Unix socket",
    ),
    (
        "pingora-core/src/upstreams/peer/",
        "public signatures: new_uds, matches_fd, matches_sock",
    ),
    (
        "pingora-core/src/protocols/ext_test.rs",
        "public impls for UnixStream",
    ),
    (
        "pingora-core/src/protocols/mod.rs",
        "public alias UniqueIDType",
    ),
    (
        "pingora-core/src/protocols/digest.rs",
        "public constructors from_raw_fd, from_raw_socket",
    ),
    (
        "pingora-core/src/protocols/l4/",
        "public signatures over descriptors and Unix sockets",
    ),
    (
        "pingora-core/src/protocols/http/",
        "public signatures over descriptors",
    ),
    (
        "pingora-core/src/connectors/",
        "public signatures over descriptors and Unix sockets",
    ),
    ("pingora-core/src/listeners/", "public signatures: uds, fds"),
    (
        "pingora-core/src/services/",
        "public signatures: fds of start_service",
    ),
    (
        "pingora-core/src/server/",
        "public signatures: fds; signals and daemon exist on Unix only",
    ),
    ("pingora-core/src/lib.rs", "re-exports of the above"),
    (
        "pingora-proxy/src/phases.rs",
        "public signature: connected_to_upstream takes a RawFd or RawSocket",
    ),
    (
        "pingora-proxy/src/exchange/",
        "passes that descriptor to connected_to_upstream",
    ),
];

/// Returns every place that breaks a rule, as `file:line: what`.
pub(crate) fn check() -> Result<Vec<String>, String> {
    let packages = manifest::workspace()?;
    let mut wrong: Vec<String> = packages.iter().flat_map(edges).collect();
    for package in packages.iter().filter(|package| package.is_published()) {
        for file in rust_files(&Path::new(&package.folder).join("src"))? {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            wrong.extend(names(&file.to_string_lossy().replace('\\', "/"), &text));
        }
    }
    Ok(wrong)
}

/// Returns the dependencies of `package` that climb, and what layer 0 must not use.
fn edges(package: &Package) -> Vec<String> {
    if !package.is_published() {
        return Vec::new();
    }
    let manifest = format!("{}/Cargo.toml", package.folder);
    let Some(own) = layer(&package.name) else {
        return vec![format!(
            "{manifest}: {} has no layer; add it to xtask/src/layers.rs",
            package.name
        )];
    };
    let judge = |dependency: &String| match layer(dependency) {
        Some(theirs) if theirs > own => Some(format!(
            "{manifest}: layer {own} climbs to {dependency} on layer {theirs}"
        )),
        None if own == 0 && is_banned_in_layer_0(&package.name, dependency) => {
            Some(format!("{manifest}: layer 0 does without {dependency}"))
        }
        _ => None,
    };
    package.dependencies.iter().filter_map(judge).collect()
}

fn is_banned_in_layer_0(name: &str, dependency: &str) -> bool {
    let is_allowed = ALLOWED_IN_LAYER_0
        .iter()
        .any(|(package, allowed, _)| *package == name && *allowed == dependency);
    NOT_IN_LAYER_0.contains(&dependency) && !is_allowed
}

fn layer(name: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, layer)| *layer)
}

/// Returns the lines of a source file that name a TLS library or a system where they must not.
/// Tests may: they know where they run.
fn names(file: &str, text: &str) -> Vec<String> {
    if file.ends_with("/tests.rs") || file.contains("/tests/") {
        return Vec::new();
    }
    let tls_allowed = file.starts_with(TLS_GATE)
        || TLS_ALLOWED
            .iter()
            .any(|(allowed, _)| file.starts_with(allowed));
    let os_allowed = file.starts_with(OS_GATE)
        || OS_ALLOWED
            .iter()
            .any(|(allowed, _)| file.starts_with(allowed));
    let mut wrong = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if !tls_allowed && names_tls(line) {
            wrong.push(format!(
                "{file}:{}: a TLS feature outside {TLS_GATE}",
                number + 1
            ));
        }
        if !os_allowed && names_os(line) {
            wrong.push(format!(
                "{file}:{}: an operating system outside {OS_GATE}",
                number + 1
            ));
        }
    }
    wrong
}

fn names_tls(line: &str) -> bool {
    let compact: String = line.split_whitespace().collect();
    TLS_FEATURES
        .iter()
        .any(|feature| compact.contains(&format!("feature=\"{feature}\"")))
}

fn names_os(line: &str) -> bool {
    let Some((_, condition)) = line.split_once("cfg") else {
        return false;
    };
    let mut words = condition.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let opens = condition
        .trim_start_matches(['!', '_', 'a', 't', 'r'])
        .starts_with('(');
    opens && words.any(|word| matches!(word, "unix" | "windows" | "target_os" | "target_family"))
}

/// Returns every `.rs` file below `folder`, sorted.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{Package, edges, names_os, names_tls};

    #[test]
    fn climbing_edges_are_named() {
        let package = |name: &str, dependencies: &[&str]| Package {
            folder: name.to_owned(),
            name: name.to_owned(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            features: Vec::new(),
        };
        let cases: &[(&str, &[&str], usize)] = &[
            ("pingora-core", &["pingora-pool", "tokio"], 0),
            ("pingora-core", &["pingora-proxy"], 1),
            ("pingora-pool", &["pingora-core", "pingora-proxy"], 2),
            ("pingora-http", &["pingora-error", "bytes"], 0),
            ("pingora-http", &["tokio"], 1),
            ("pingora-new", &[], 1),
        ];
        for (name, dependencies, expected) in cases {
            let wrong = edges(&package(name, dependencies));
            assert_eq!(wrong.len(), *expected, "{name}: {wrong:?}");
        }
    }

    #[test]
    fn lines_that_name_a_system_or_a_library() {
        for line in [
            "#[cfg(unix)]",
            "if cfg!(target_os = \"linux\") {",
            "#[cfg_attr(windows, x)]",
            "#[cfg(not(unix))]",
        ] {
            assert!(names_os(line), "{line}");
        }
        for line in [
            "#[cfg(test)]",
            "let unix = 1;",
            "#[cfg(feature = \"unixish\")]",
            "fn config(unix: bool)",
        ] {
            assert!(!names_os(line), "{line}");
        }
        assert!(names_tls("#[cfg(any(feature = \"rustls\", test))]"));
        assert!(!names_tls("#[cfg(feature = \"v2\")]"));
    }
}
