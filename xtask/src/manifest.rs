//! Just enough of Cargo.toml: the members of the workspace, and per crate its dependencies and
//! features. Reads only the shapes this repository writes (one key a line, members one a line).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A crate of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// The folder, relative to the top of the repository.
    pub(crate) folder: String,
    /// The package name.
    pub(crate) name: String,
    /// Normal and build dependencies; development dependencies are not layered.
    pub(crate) dependencies: Vec<String>,
    /// Feature names, in order.
    pub(crate) features: Vec<String>,
}

impl Package {
    /// Whether the crate is published; what lies in a sub-folder (and xtask) is not.
    pub(crate) fn is_published(&self) -> bool {
        !self.folder.contains('/') && self.folder != "xtask"
    }
}

/// Reads every member of the workspace.
pub(crate) fn workspace() -> Result<Vec<Package>, String> {
    let text = read("Cargo.toml")?;
    let members = text
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (members, _) = members.ok_or("Cargo.toml: no `members = [` list")?;
    let folders = members
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split('"').next());
    folders
        .map(|folder| Ok(package(folder, &read(&format!("{folder}/Cargo.toml"))?)))
        .collect()
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(PathBuf::from(path)).map_err(|error| format!("cannot read {path}: {error}"))
}

fn package(folder: &str, text: &str) -> Package {
    let sections = sections(text);
    let keys = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let matching = sections.iter().filter(|(name, _)| wanted(name));
        matching
            .flat_map(|(_, keys)| keys.iter().map(|(key, _)| key.clone()))
            .collect()
    };
    let name = sections
        .get("package")
        .and_then(|keys| keys.iter().find(|(key, _)| key == "name"));
    let name = name.map_or(folder.to_owned(), |(_, value)| {
        value.trim_matches('"').to_owned()
    });
    let is_dependency = |section: &str| {
        let last = section.rsplit('.').next().unwrap_or(section);
        matches!(last, "dependencies" | "build-dependencies")
    };
    Package {
        folder: folder.to_owned(),
        name,
        dependencies: keys(&is_dependency),
        features: keys(&|section| section == "features"),
    }
}

/// Splits a manifest into sections of `key = value` lines; `key.workspace` counts as `key`.
fn sections(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        // Continuation lines of a multi-line value are indented; keys are not.
        if line.starts_with([' ', '\t', '#', ']', '}']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            current = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key
                .trim()
                .split('.')
                .next()
                .unwrap_or_default()
                .trim_matches('"');
            let entry = (key.to_owned(), value.trim().to_owned());
            sections.entry(current.clone()).or_default().push(entry);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn reads_names_dependencies_and_features() {
        let text = r#"
[package]
name = "some-crate"
version.workspace = true

[features]
# comment
a = ["dep:x"]
b = [
    "a",
]

[dependencies]
x.workspace = true
y = { version = "1", features = ["z"] }

[target.'cfg(unix)'.dependencies]
libc.workspace = true

[dev-dependencies]
t.workspace = true
"#;
        let package = package("folder", text);
        assert_eq!(package.name, "some-crate");
        assert_eq!(package.features, ["a", "b"]);
        assert_eq!(package.dependencies, ["x", "y", "libc"]);
    }
}
