//! What `logs:` says, as plain data: part of a [`Plan`](crate::Plan).
//!
//! Does nothing. Keeps true: every default is already applied; no two routes share a positions file.

use std::{path::PathBuf, time::Duration};

use aws::IdentityConfig;
use log_receive::{CloudWatchConfig, DockerConfig, JournalConfig, PushConfig, S3Config, SyslogConfig};
use net::Transport;
use relabel::Rule;
use stages::PipelineConfig;
use url::Url;

use crate::DestinationPlan;

/// One `logs.configs[]` entry, with `logs.global` applied: a lane of the queue, what fills it, what empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogsRoute {
    /// As written; unique among these. May hold any character.
    pub name: String,
    pub positions: PositionsPlan,
    /// How often patterns are looked through again (`target_config.sync_period`). Default 10 s.
    pub sync_period: Duration,
    /// Lines come from standard input alone (`target_config.stdin`).
    pub stdin: bool,
    pub limits: LineLimits,
    pub watch: FileWatch,
    pub jobs: Vec<LogJobPlan>,
    pub destinations: Vec<DestinationPlan>,
}

/// Where reading goes on after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionsPlan {
    /// Promtail's file (`positions.filename`, or `<positions_directory>/<name>.yml`): read at the first start, written for
    /// tools. Default `<data directory>/positions/<name>.yml`.
    pub file: PathBuf,
    /// Default 10 s.
    pub sync_period: Duration,
    /// Start over instead of refusing a file that cannot be read.
    pub ignore_invalid_yaml: bool,
}

/// `limits_config`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LineLimits {
    /// Lines per second and at once, for the whole instance; `None`: no limit.
    pub rate: Option<LineRate>,
    /// Label sets at most; 0: no limit.
    pub max_streams: u64,
    /// Bytes; 0: no limit but the reader's own.
    pub max_line_size: u64,
    /// Longer lines are cut instead of dropped.
    pub max_line_size_truncate: bool,
}

/// `readline_rate_enabled` and its figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineRate {
    pub per_second: f64,
    pub burst: u64,
    /// What is too much is dropped; else it waits in its file.
    pub drop: bool,
}

/// `global.file_watch_config`: the time between two looks at a file, doubling from the first to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileWatch {
    pub min_poll: Duration,
    pub max_poll: Duration,
}

impl Default for FileWatch {
    fn default() -> Self {
        Self { min_poll: Duration::from_millis(250), max_poll: Duration::from_millis(250) }
    }
}

/// One of `scrape_configs[]` of an instance of logs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogJobPlan {
    pub job_name: String,
    pub source: LogSource,
    pub relabel: Vec<Rule>,
    pub stages: PipelineConfig,
    /// An IANA name, checked by whoever decodes; `None`: UTF-8.
    pub encoding: Option<String>,
    pub decompression: Option<Decompression>,
}

/// Where a job's lines come from.
#[derive(Debug, Clone, PartialEq)]
pub enum LogSource {
    /// Files that the label `__path__` of discovered targets names.
    Files(Vec<discovery::DiscoveryConfig>),
    Journal(JournalConfig),
    Syslog(SyslogConfig),
    Push(PushConfig),
    CloudWatch(Box<CloudWatchPlan>),
    Objects(Box<ObjectsPlan>),
    Docker(DockerConfig),
}

impl LogSource {
    /// The port it listens on, if it does: transport and address as configured.
    pub fn listens(&self) -> Option<(Transport, &str)> {
        match self {
            Self::Syslog(config) => Some((config.transport, &config.listen)),
            Self::Push(config) => Some((Transport::Tcp, &config.listen)),
            Self::Files(_) | Self::Journal(_) | Self::CloudWatch(_) | Self::Objects(_) | Self::Docker(_) => None,
        }
    }
}

/// `cloudwatch_logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatchPlan {
    /// `endpoint` is where requests go.
    pub config: CloudWatchConfig,
    pub identity: IdentityConfig,
    /// The region's own address.
    pub signed_for: Url,
}

/// `s3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectsPlan {
    pub config: S3Config,
    /// For the bucket, and for the queue if there is one.
    pub identity: IdentityConfig,
}

/// `decompression`, where it is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decompression {
    /// How long a file that appears is left alone first.
    pub initial_delay: Duration,
    pub format: CompressionFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionFormat {
    Gzip,
    Zlib,
    Bzip2,
    Zstd,
}
