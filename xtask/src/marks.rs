//! Marks that must not stay in the code: open ends without an issue, tests that do not run.

use std::fs;
use std::path::Path;

use crate::layers::rust_files;
use crate::manifest;

/// The marks and what to do instead. Written in two halves so that this file does not find itself.
const MARKS: &[(&str, &str, &str)] = &[
    ("todo", "!(", "finish it"),
    ("unimplemented", "!(", "finish it"),
    ("FIX", "ME", "fix it or open an issue"),
    (
        "#[ign",
        "ore",
        "assert what happens today and say why it is wrong",
    ),
];

/// Returns every mark left in the sources, as `file:line: what`.
pub(crate) fn check() -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    for package in manifest::workspace()? {
        for file in rust_files(Path::new(&package.folder))? {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            for (number, line) in text.lines().enumerate() {
                if let Some(what) = mark(line) {
                    wrong.push(format!("{}:{}: {what}", file.display(), number + 1));
                }
            }
        }
    }
    Ok(wrong)
}

fn mark(line: &str) -> Option<String> {
    let found = MARKS
        .iter()
        .find(|(start, end, _)| line.contains(&format!("{start}{end}")));
    if let Some((start, end, advice)) = found {
        return Some(format!("`{start}{end}`: {advice}"));
    }
    let (_, after) = line.split_once(concat!("TO", "DO"))?;
    (!after.starts_with("(#")).then(|| String::from("an open end needs an issue number: (#12)"))
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn marks_are_found() {
        for line in [
            concat!("// TO", "DO: later"),
            concat!("to", "do!()"),
            concat!("#[ign", "ore]"),
        ] {
            assert!(mark(line).is_some(), "{line}");
        }
        for line in [concat!("// TO", "DO(#12): later"), "let x = 1;"] {
            assert!(mark(line).is_none(), "{line}");
        }
    }
}
