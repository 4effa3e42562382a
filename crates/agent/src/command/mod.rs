//! One file per command of the binary.

pub mod check;
pub mod doctor;
pub mod dry_run;
pub mod queue;
pub mod replay;
pub mod run;
pub mod sandbox;

use std::{fmt, path::Path, process::ExitCode};

/// [`read`] for a command: problems are printed and end it.
pub fn load(
    file: &Path,
    expand_env: bool,
    wal_directory: Option<&Path>,
    extra_scrape_metrics: bool,
) -> Result<config::Plan, ExitCode> {
    read(file, expand_env, wal_directory, extra_scrape_metrics).map_err(|problems| fail(&problems))
}

/// Why there is no plan.
#[derive(Debug)]
pub enum Unusable {
    /// The file is not there, or no text.
    File { file: String, why: String },
    /// It is there and wrong.
    Configuration(config::Problems),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, why } => write!(f, "reading the configuration file {file}: {why}"),
            Self::Configuration(problems) => problems.fmt(f),
        }
    }
}

impl Unusable {
    /// Every error of the configuration, with its place.
    pub fn problems(&self) -> &[config::Problem] {
        match self {
            Self::File { .. } => &[],
            Self::Configuration(problems) => &problems.errors,
        }
    }
}

/// Reads and checks a configuration file; the error is for a person and lists all problems.
pub fn read(
    file: &Path,
    expand_env: bool,
    wal_directory: Option<&Path>,
    extra_scrape_metrics: bool,
) -> Result<config::Plan, String> {
    read_plan(file, expand_env, wal_directory, extra_scrape_metrics).map_err(|unusable| unusable.to_string())
}

/// The same, with the problems as data.
pub fn read_plan(
    file: &Path,
    expand_env: bool,
    wal_directory: Option<&Path>,
    extra_scrape_metrics: bool,
) -> Result<config::Plan, Unusable> {
    let name = file.display().to_string();
    let unreadable = |why: String| Unusable::File { file: name.clone(), why };
    let bytes = std::fs::read(file).map_err(|e| unreadable(e.to_string()))?;
    let text = config::decode(&bytes).map_err(|e| unreadable(e.to_string()))?;
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
    config::load(&text, options).map_err(Unusable::Configuration)
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
