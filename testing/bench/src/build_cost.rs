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
    let before = children_ticks()?;
    let output = Command::new("cargo")
        .args(["build", "--release", "--example", "load_balancer"])
        .current_dir(checkout)
        .env("CARGO_TARGET_DIR", folder)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let seconds = (children_ticks()? - before) as f64 / 100.0;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the example does not build:\n{log}"));
    }
    let crates = log
        .lines()
        .filter(|line| line.trim_start().starts_with("Compiling "))
        .count();
    let program = folder.join("release/examples/load_balancer");
    let stripped = folder.join("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(&program)
        .status();
    let size = match status {
        Ok(status) if status.success() => {
            let bytes = fs::metadata(&stripped).map_err(|error| error.to_string())?;
            format!("{:.1} MB", bytes.len() as f64 / 1e6)
        }
        _ => String::from("unknown (`strip` is missing)"),
    };
    Ok(format!(
        "{date}. {machine}.\n\n\
         | `cargo build --release --example load_balancer` | ours | Pingora 0.9.1 |\n|---|---:|---:|\n\
         | crates compiled | {crates} | 175 |\n\
         | CPU seconds | {seconds:.0} | 256 |\n\
         | size, stripped | {size} | 8.8 MB |\n",
        date = machine::today(),
        machine = machine::describe(),
    ))
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
