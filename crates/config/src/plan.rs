//! What a configuration file says, as plain data: the result of reading it, and what a reload compares.
//!
//! Does nothing. Keeps true: every default is already applied; names of routes and destinations are unique.

use std::{path::PathBuf, sync::Arc, time::Duration};

use model::Labels;
use relabel::Rule;

use crate::{LogsRoute, Problem, TracesRoute};

/// Everything the agent runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub server: ServerPlan,
    /// Root of everything the agent writes (`metrics.wal_directory`, default `data-agent/`).
    pub data_directory: PathBuf,
    pub queue: QueuePlan,
    /// One per `metrics.configs[]`.
    pub metrics: Vec<MetricsRoute>,
    /// One per `logs.configs[]`.
    pub logs: Vec<LogsRoute>,
    /// One per `traces.configs[]`.
    pub traces: Vec<TracesRoute>,
    /// `secrets:` and `vault:`.
    pub secret_stores: aws::SecretStoresConfig,
    /// Every secret of a store that the plan refers to, once for each reference; who reads the stores fills them.
    pub stored_secrets: Vec<Arc<net::StoredSecret>>,
    /// Things a person should know although the file is valid, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// `server:`. Listen addresses are flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerPlan {
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// In force only with the flag `-server.http.enable-tls`.
    pub http_tls: Option<ServerTls>,
    /// In force only with the flag `-server.grpc.enable-tls`.
    pub grpc_tls: Option<ServerTls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Logfmt,
    Json,
}

/// `http_tls_config` / `grpc_tls_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: Option<PathBuf>,
    pub client_auth: ClientAuthType,
    pub min_version: Option<net::TlsVersion>,
    pub max_version: Option<net::TlsVersion>,
}

/// Go's names for what is asked of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthType {
    #[default]
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

/// `queue:`.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePlan {
    /// Default `<data directory>/queue`.
    pub directory: PathBuf,
    /// Bytes on disk for all lanes together. Default 8 GiB.
    pub max_bytes: u64,
    /// Room to leave on the file system. Default [`MinFree::Auto`].
    pub min_free: MinFree,
    /// How `max_bytes` is split between the signals.
    pub shares: Shares,
    /// Longest time between an append and its fdatasync. Default 200 ms.
    pub commit_interval: Duration,
}

/// `queue.min_free`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    /// 5 % of the file system's size, at least 512 MiB and at most 2 GiB.
    Auto,
    /// Of the file system's size, 0 to 100.
    Percent(f64),
    Bytes(u64),
}

/// `queue.shares`; only their proportion counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    pub metrics: u32,
    pub logs: u32,
    pub traces: u32,
}

impl Default for Shares {
    fn default() -> Self {
        Self { metrics: 40, logs: 40, traces: 20 }
    }
}

/// One `metrics.configs[]` entry, with `metrics.global` applied: a lane of the queue, what fills it, what empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsRoute {
    /// As written; unique. May hold any character.
    pub name: String,
    /// Also in each destination's config, which is where they are applied.
    pub external_labels: Labels,
    /// Each job with where its targets come from.
    pub jobs: Vec<(scrape::JobConfig, Vec<discovery::DiscoveryConfig>)>,
    pub destinations: Vec<DestinationPlan>,
    /// Keep only targets on this host.
    pub host_filter: bool,
    /// Applied for the host filter's decision only.
    pub host_filter_relabel: Vec<Rule>,
    /// Send staleness markers when the agent stops.
    pub write_stale_on_shutdown: bool,
    /// How long a stopping agent waits for destinations to take what is pending. Default 1 min.
    pub remote_flush_deadline: Duration,
}

/// One `remote_write[]` entry of metrics or traces, or one of `clients[]` of logs.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationPlan {
    /// `config.name` is unique in the whole plan.
    pub config: remote_write::DestinationConfig,
    /// The `sigv4:` / `aws:` block; `None`: not signed.
    pub identity: Option<aws::IdentityConfig>,
    /// The signing name used when neither the block nor the host gives one: `aps`, or `s3` for objects.
    pub default_service: &'static str,
    pub on_full: OnFull,
    /// False: keeps its place in the queue, sends nothing.
    pub enabled: bool,
}

/// What happens when a destination's backlog fills the lane's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The oldest data is given up, and counted.
    #[default]
    Evict,
    /// Intake waits.
    Hold,
}
