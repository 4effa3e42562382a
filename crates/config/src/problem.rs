//! Problems of a file and how they are told to a person.
//!
//! Keeps true: what is stored here is already masked; printing cannot leak.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

/// One thing to know about one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Key path, such as `metrics.configs[0].remote_write[0].url`; empty where the YAML itself is broken.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
    /// The line as written, secrets masked.
    pub snippet: String,
    /// Where the mark under the snippet starts (characters from 0) and how long it is.
    pub mark: (usize, usize),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{severity}: {}", self.message)?;
        write!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, " ({})", self.path)?;
        }
        if !self.snippet.trim().is_empty() {
            let (start, length) = self.mark;
            write!(
                f,
                "\n{gutter} |\n{number} | {}\n{gutter} | {}{}",
                self.snippet,
                " ".repeat(start),
                "^".repeat(length.max(1))
            )?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n{gutter} = help: {suggestion}")?;
        }
        Ok(())
    }
}

/// Why a file is refused: one or more errors in the order of the file, with the warnings that were found on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// Not empty.
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.errors {
            write!(f, "{problem}\n\n")?;
        }
        let file = self.errors.first().map_or("", |p| p.file.as_str());
        match self.errors.len() {
            1 => write!(f, "{file}: 1 problem; nothing was started or changed"),
            n => write!(f, "{file}: {n} problems; nothing was started or changed"),
        }
    }
}

impl std::error::Error for Problems {}
