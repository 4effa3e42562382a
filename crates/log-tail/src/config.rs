//! What a tail is told: plain data, checked by whoever reads the configuration file.

use std::{path::PathBuf, sync::Arc, time::Duration};

use relabel::Rule;
use stages::{LineGate, PipelineConfig};

use crate::{Charset, Packing, Readership, book::PositionsConfig};

/// One scrape config whose source is files.
#[derive(Debug, Clone, PartialEq)]
pub struct FileJob {
    /// `job_name`; positions belong to it.
    pub job_name: String,
    /// `relabel_configs`, run over each discovered target.
    pub relabel: Vec<Rule>,
    /// `pipeline_stages`.
    pub stages: PipelineConfig,
    /// `encoding`.
    pub charset: Charset,
    /// `decompression`, if enabled.
    pub decompression: Option<Decompression>,
    /// `limits_config`.
    pub limits: Limits,
}

impl FileJob {
    /// A job with defaults: no stages, UTF-8, no decompression, no limits.
    pub fn new(job_name: impl Into<String>) -> Self {
        Self {
            job_name: job_name.into(),
            relabel: Vec::new(),
            stages: PipelineConfig::default(),
            charset: Charset::Utf8,
            decompression: None,
            limits: Limits::default(),
        }
    }
}

/// `decompression` of a job. Files that do not begin as this format does are read as plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decompression {
    pub format: Packing,
    /// How long a file stays unread after it was seen first, so that its writer can finish it.
    pub initial_delay: Duration,
}

/// `limits_config`, as far as it concerns lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Longer lines (bytes, after decoding and stages) are dropped, or cut if `truncate`; 0: no limit.
    pub max_line_size: usize,
    pub truncate: bool,
}

/// Longest line that is kept in one piece, bytes as stored. A longer one becomes several entries, each counted in
/// `sigpost_tail_lines_split_total`: nothing of it is lost, and memory stays bounded.
pub(crate) const LONGEST_LINE: usize = 1 << 20;
/// The same where there are stages, which make of half a line something else than of a whole one. A batch takes it whole.
pub(crate) const LONGEST_STAGED_LINE: usize = 8 << 20;

/// Times. The defaults are Promtail's where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// `target_config.sync_period`: how often patterns are looked up again.
    pub survey: Duration,
    /// `file_watch_config`: a file is looked at after the shorter time, doubling up to the longer one while nothing comes.
    pub min_poll: Duration,
    pub max_poll: Duration,
    /// The longer time where the kernel tells of changes as well.
    pub watched_poll: Duration,
    /// A file that rotated away or is gone and had nothing new for this long has its unfinished last line delivered.
    pub drain: Duration,
    /// A file that rotated away is followed until nothing came for this long.
    pub linger: Duration,
    /// How long a file that looks like a copy of a live sibling waits for the original to be truncated.
    pub suspicion: Duration,
    /// How long what lies beside a path is kept for other jobs whose discovery has not said yet what they want.
    pub discovery: Duration,
    /// A remainder that was not found within this time is given up.
    pub give_up: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            survey: Duration::from_secs(10),
            min_poll: Duration::from_millis(250),
            max_poll: Duration::from_millis(250),
            watched_poll: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            linger: Duration::from_secs(300),
            suspicion: Duration::from_secs(20),
            // Longer than discovery itself waits for a slow source before it publishes what there is.
            discovery: Duration::from_secs(15),
            give_up: Duration::from_secs(24 * 3600),
        }
    }
}

/// One route.
#[derive(Debug, Clone)]
pub struct TailConfig {
    /// Name of the logs config: label `logs_config` of its metrics.
    pub route: String,
    pub positions: PositionsConfig,
    pub pace: Pace,
    /// `$HOSTNAME` or the machine's name, which `__host__` is compared with.
    pub hostname: String,
    /// Threads that read and encode.
    pub readers: usize,
    /// `limits_config`, as far as it concerns all lines of the route: shared with its other sources.
    pub gate: Option<Arc<LineGate>>,
    /// What the other routes of this process read; shared by all of them.
    pub readership: Arc<Readership>,
    /// Files kept open at most; of more, those that are idle longest are closed between looks.
    pub max_open: usize,
}

impl TailConfig {
    /// Defaults for a route whose state file lies at `state_file`.
    pub fn new(route: impl Into<String>, state_file: impl Into<PathBuf>) -> Self {
        Self {
            route: route.into(),
            positions: PositionsConfig::new(state_file),
            pace: Pace::default(),
            hostname: String::new(),
            readers: 2,
            gate: None,
            readership: Arc::default(),
            max_open: 4096,
        }
    }
}
