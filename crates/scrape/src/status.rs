//! What the targets page shows.

use std::time::Duration;

use model::Labels;

/// How a target is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetState {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl TargetState {
    /// `unknown`, `up`, `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One active target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// The scrape pool it belongs to: the job's name.
    pub job: String,
    /// Before relabelling, with the job's defaults.
    pub discovered_labels: Labels,
    /// What its samples carry.
    pub labels: Labels,
    pub scrape_url: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub state: TargetState,
    /// Milliseconds since the Unix epoch; `None` before the first scrape.
    pub last_scrape: Option<i64>,
    /// Of the last scrape; zero before the first.
    pub last_duration: Duration,
    /// Why the last scrape failed.
    pub last_error: Option<String>,
    /// Series of the last successful scrape, without the report series.
    pub series: u64,
}

/// The part of a status that its loop writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub state: TargetState,
    pub last_scrape: Option<i64>,
    pub last_duration: Duration,
    pub last_error: Option<String>,
    pub series: u64,
}
