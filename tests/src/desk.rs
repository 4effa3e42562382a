//! A desk at which `sigpost doctor` is run on one configuration after the other.
//!
//! Keeps true: the command has nothing of this machine's environment; what is true of every report is checked for every one;
//! no secret (`MARKER`) is in any of them.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::peers;

/// What one run of the command said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub text: String,
    pub errors: String,
}

impl Said {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{}{}", self.text, self.errors))
    }
}

/// A temporary directory with a configuration, in which the command runs with nothing of this machine's environment.
#[derive(Debug)]
pub struct Desk {
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl Desk {
    pub fn new() -> Result<Self> {
        let desk = Self { dir: TempDir::new()?, env: Vec::new() };
        Ok(desk
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", desk_path("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", desk_path("credentials")))
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        std::fs::write(self.dir.path().join(name), text)?;
        Ok(self.path(name))
    }

    /// Runs doctor on one or more `remote_write` entries, each written as a YAML flow mapping.
    pub fn doctor(&self, entries: &[String], flags: &[&str]) -> Result<Said> {
        let list: String = entries.iter().map(|entry| format!("        - {entry}\n")).collect();
        let file = self
            .write("agent.yaml", &format!("metrics:\n  configs:\n    - name: default\n      remote_write:\n{list}"))?;
        self.run(&[&format!("-config.file={file}")], flags)
    }

    /// Runs doctor on one or more log clients, each written as a YAML flow mapping.
    pub fn doctor_of_logs(&self, entries: &[String], flags: &[&str]) -> Result<Said> {
        let list: String = entries.iter().map(|entry| format!("        - {entry}\n")).collect();
        let file =
            self.write("agent.yaml", &format!("logs:\n  configs:\n    - name: default\n      clients:\n{list}"))?;
        self.run(&[&format!("-config.file={file}")], flags)
    }

    /// Runs `sigpost check` on what is written in `agent.yaml` after a call of [`Self::doctor`], in the same environment.
    pub fn check(&self) -> Result<Said> {
        self.command(&["check", &self.path("agent.yaml")])
    }

    pub fn run(&self, first: &[&str], flags: &[&str]) -> Result<Said> {
        let words: Vec<&str> = ["doctor"].iter().chain(first).chain(flags).copied().collect();
        self.command(&words)
    }

    fn command(&self, words: &[&str]) -> Result<Said> {
        let out = Command::new(peers::sigpost()?)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .env("HOSTNAME", "desk")
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .current_dir(self.dir.path())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: out.status.code(), text: text(&out.stdout), errors: text(&out.stderr) })
    }

    /// The cause found for the only destination; checks what is true of every run.
    pub fn cause(&self, entry: &str) -> Result<(String, Value)> {
        self.cause_by(entry, Self::doctor)
    }

    /// The same for a log client.
    pub fn cause_of_logs(&self, entry: &str) -> Result<(String, Value)> {
        self.cause_by(entry, Self::doctor_of_logs)
    }

    fn cause_by(
        &self,
        entry: &str,
        doctor: impl Fn(&Self, &[String], &[&str]) -> Result<Said>,
    ) -> Result<(String, Value)> {
        let entries = [entry.to_owned()];
        let said = doctor(self, &entries, &["--json"])?;
        let json = said.json()?;
        let destination = json["destinations"][0].clone();
        assert_eq!(json["version"], 1);
        let accepts = destination["verdict"] == "accepts";
        let code = match destination["verdict"].as_str() {
            Some("accepts") => 0,
            Some("unproven") => 3,
            _ => 1,
        };
        assert_eq!(said.code, Some(code), "{json:#}");
        assert_eq!(json["ok"], accepts);
        let page = doctor(self, &entries, &[])?;
        assert_eq!(page.code, said.code);
        check_page(&page.text, code);
        for text in [&said.text, &page.text, &said.errors, &page.errors] {
            assert!(!text.contains("MARKER"), "a secret is shown:\n{text}");
        }
        Ok((destination["cause"].as_str().unwrap_or("none").to_owned(), destination))
    }
}

fn desk_path(name: &str) -> String {
    format!("/nonexistent/{name}")
}

/// Verdict in the first line, facts, what to do; narrow; no colour outside a terminal.
fn check_page(page: &str, code: i32) {
    let first = page.lines().next().unwrap_or_default();
    let verdict = match code {
        0 => "would accept data",
        3 => "could not be shown to accept data: ",
        _ => "would refuse: ",
    };
    assert!(first.contains(verdict), "{page}");
    assert_eq!(page.contains("do this:"), code != 0, "{page}");
    // What is known of the case stands in the advice, and no name of a placeholder.
    for unfilled in [
        "GROUP",
        ":ACCOUNT:",
        "~/.aws/config",
        "CONFIG_FILE ",
        "TOKEN_URL",
        "WHY_OPEN",
        "HOW_TO_SHOW",
        "OPEN_",
        " CERTIFICATE",
        "-id KEY",
        "access key KEY",
        "VALUE_KEY",
        "STS)",
    ] {
        // The names of PEM's sections are no placeholders.
        assert!(!page.replace("BEGIN CERTIFICATE", "").contains(unfilled), "{unfilled} in\n{page}");
    }
    assert!(!page.contains('\x1b'), "{page}");
    for line in page.lines().filter(|line| line.chars().count() > 100) {
        // Only a word that cannot be broken may stick out.
        let longest = line.split_whitespace().map(|w| w.chars().count()).max().unwrap_or(0);
        assert!(longest > 70, "{} columns: {line}", line.chars().count());
    }
    for line in page.lines() {
        assert!(!line.ends_with(' '), "a blank ends {line:?}");
    }
}
