//! What a user pays for compiling the load balancer: crates, CPU seconds, size.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::machine;
use crate::proxies::here;
use crate::report;

/// Runs `bench build` on the checkout in `checkout`, this one by default.
pub fn run(checkout: Option<&str>) -> Result<()> {
    let checkout = checkout.map_or_else(|| here().join("../.."), PathBuf::from);
    let folder = std::env::temp_dir().join(format!("bench-build-{}", std::process::id()));
    let outcome = measure(&checkout, &folder);
    // Left over, it costs nothing but disk.
    let _ = fs::remove_dir_all(&folder);
    let text = outcome?;
    println!("{text}");
    report::write_section("build", &text)
}

fn measure(checkout: &Path, folder: &Path) -> Result<String> {
    let ours = Cost::of(
        checkout,
        &[],
        &["--example", "load_balancer"],
        &folder.join("ours"),
        "examples/load_balancer",
    )?;
    let pingora = Cost::of(
        here(),
        &RELEASE,
        &["-p", "bench-pingora-lb"],
        &folder.join("pingora"),
        "bench-pingora-lb",
    )?;
    Ok(format!(
        "{date}. {machine}.\n\n\
         | a load balancer | ours | Pingora 0.9.1 |\n|---|---:|---:|\n\
         | crates compiled | {} | {} |\n\
         | CPU seconds | {:.0} | {:.0} ({:.2}) |\n\
         | size, stripped | {} | {} |\n",
        ours.crates,
        pingora.crates,
        ours.seconds,
        pingora.seconds,
        pingora.seconds / ours.seconds,
        ours.size,
        pingora.size,
        date = machine::today(),
        machine = machine::describe(),
    ))
}

/// What cargo does for release where a workspace does not say otherwise, which that of the harness does.
const RELEASE: [(&str, &str); 2] = [
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

/// What compiling a program for release costs.
struct Cost {
    crates: usize,
    /// CPU time.
    seconds: f64,
    size: String,
}

impl Cost {
    /// Compiles with cargo in `workspace`, all of it, into `folder`.
    fn of(
        workspace: &Path,
        profile: &[(&str, &str)],
        what: &[&str],
        folder: &Path,
        program: &str,
    ) -> Result<Self> {
        eprintln!("compiling {}", what.join(" "));
        let before = children_ticks()?;
        let output = Command::new("cargo")
            .args(["build", "--release"])
            .args(what)
            .current_dir(workspace)
            .env("CARGO_TARGET_DIR", folder)
            .envs(profile.iter().copied())
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        let seconds = (children_ticks()? - before) as f64 / 100.0;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{} does not build:\n{log}", what.join(" ")));
        }
        let crates = log
            .lines()
            .filter(|line| line.trim_start().starts_with("Compiling "))
            .count();
        let size = stripped_size(&folder.join("release").join(program))?;
        Ok(Self {
            crates,
            seconds,
            size,
        })
    }
}

fn stripped_size(program: &Path) -> Result<String> {
    let stripped = program.with_extension("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(program)
        .status();
    match status {
        Ok(status) if status.success() => {
            let bytes = fs::metadata(&stripped).map_err(|error| error.to_string())?;
            Ok(format!("{:.1} MB", bytes.len() as f64 / 1e6))
        }
        _ => Ok(String::from("unknown (`strip` is missing)")),
    }
}

/// Returns the CPU time of ended children so far, in hundredths of a second.
fn children_ticks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| error.to_string())?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(13).take(2);
    ticks
        .map(|field| {
            field
                .parse::<u64>()
                .map_err(|_| String::from("/proc/self/stat has changed"))
        })
        .sum()
}
