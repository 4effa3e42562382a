//! The command line of `sigpost doctor`.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser};

/// `sigpost doctor`.
#[derive(Debug, Parser)]
#[command(
    about = "Ask each destination whether it would accept data, and say why not and what to do. Exit 1 if one would not, 3 if one could not be shown to."
)]
pub struct DoctorArgs {
    /// Configuration file (YAML), as for the agent.
    #[arg(long = "config.file", visible_alias = "config", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// The same, without the flag.
    #[arg(value_name = "FILE", conflicts_with = "config_file", required_unless_present = "config_file")]
    pub bare_file: Option<PathBuf>,
    /// Replace ${VAR} in the file by the environment's value before reading it.
    #[arg(long = "config.expand-env", visible_alias = "expand-env", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub expand_env: bool,
    /// Only this destination (may be repeated), even if it is switched off.
    #[arg(long = "destination", value_name = "NAME")]
    pub destinations: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Really store something: one sample of sigpost_doctor_probe, one line, or one small object. Proves what nothing else can.
    #[arg(long)]
    pub write_probe: bool,
    /// Exit 0, and not 3, where nothing refuses and something could not be shown without storing data.
    #[arg(long)]
    pub unproven_ok: bool,
}

impl DoctorArgs {
    pub fn file(&self) -> Option<&Path> {
        self.config_file.as_deref().or(self.bare_file.as_deref())
    }
}
