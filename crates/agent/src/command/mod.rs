//! One file per command of the binary.

pub mod check;
pub mod doctor;
pub mod dry_run;
pub mod queue;
pub mod replay;
pub mod run;
pub mod sandbox;

use std::{path::Path, process::ExitCode};

/// [`read`] for a command: problems are printed and end it.
pub fn load(
    file: &Path,
    expand_env: bool,
    wal_directory: Option<&Path>,
    extra_scrape_metrics: bool,
) -> Result<config::Plan, ExitCode> {
    read(file, expand_env, wal_directory, extra_scrape_metrics).map_err(|problems| fail(&problems))
}

/// Reads and checks a configuration file; the error is for a person and lists all problems.
pub fn read(
    file: &Path,
    expand_env: bool,
    wal_directory: Option<&Path>,
    extra_scrape_metrics: bool,
) -> Result<config::Plan, String> {
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| format!("reading the configuration file {name}: {e}"))?;
    let text = config::decode(&bytes).map_err(|e| format!("reading the configuration file {name}: {e}"))?;
    let environment = |variable: &str| std::env::var(variable).ok();
    let wal_directory = wal_directory.map(|d| d.display().to_string());
    let hostname = crate::hostname::of_this_machine();
    let options = config::LoadOptions {
        hostname: Some(&hostname),
        expand_env,
        wal_directory: wal_directory.as_deref(),
        extra_scrape_metrics,
        ..config::LoadOptions::new(&name, &environment)
    };
    config::load(&text, options).map_err(|problems| problems.to_string())
}

/// Says on standard error what a person waits for.
#[allow(clippy::print_stderr, reason = "the logger is not up, or a person is looking at the terminal")]
pub fn tell(what: &str) {
    eprintln!("{what}");
}

/// Says why on standard error; exit code 1.
#[allow(clippy::print_stderr, reason = "the logger is not up, or a person is looking at the terminal")]
pub fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(1)
}
