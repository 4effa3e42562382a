//! Takes logs in from everything that is not a file.
//!
//! A [`Forward`] is the way that all sources share: labels by relabelling, stages, a batch, the queue's intake, and the
//! source's mark in the same record. Each source is a plain configuration and a type that runs until it is told to stop:
//!
//! - [`PushReceiver`]: `loki_push_api`, what other agents push.
//! - [`JournalReader`]: the systemd journal, through `journalctl`.
//! - [`SyslogListener`]: syslog over TCP, TLS and UDP.
//! - [`CloudWatchReader`], [`S3Reader`]: log groups of CloudWatch Logs; objects of S3, listed or told of by SQS.
//! - [`DockerReader`]: the output of containers, through the engine's API.
//! - [`read_stdin`]: the standard input.
//!
//! Those that listen get their socket from [`net::Sockets`], where a successor finds it again: a reload closes no port. Positions
//! go to a [`MarkBook`], once they are durable.
//!
//! It refuses: to read configuration files, to know where lines go, to tail files, to answer success for a line that the
//! queue does not hold on disk, and to end silently: a source that cannot work says why in its [`SourceState`], in a log
//! line and in a counter, and tries again.
//!
//! Invariants: no bytes from outside panic, allocate without bound or hold a task for ever; a queue without room makes
//! sources wait (or answer 429), it never makes them keep lines in memory; positions never run ahead of lines.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

mod clock;
mod cloud;
mod docker;
mod error;
mod forward;
#[doc(hidden)]
#[allow(clippy::panic, clippy::indexing_slicing, reason = "targets of fuzzing, which panic where a promise is broken")]
pub mod fuzz;
mod journal;
mod lines;
mod marks;
mod metrics;
mod push;
mod state;
mod stdin;
mod syslog;

pub use cloud::{
    CloudAccess, CloudWatchConfig, CloudWatchReader, LogGroups, NewObjects, ObjectCompression, S3Config, S3Reader,
    SqsConfig,
};
pub use docker::{DockerConfig, DockerReader};
pub use error::ReceiveError;
pub use forward::{Forward, ForwardConfig, LONGEST_LINE};
pub use journal::{JournalConfig, JournalReader};
pub use marks::{MarkBook, MarkFate, SettleMarks};
pub use metrics::ReceiveMetrics;
pub use push::{PushConfig, PushLimits, PushReceiver};
pub use state::{SourceState, SourceStatus};
pub use stdin::{StdinConfig, read_lines, read_stdin};
pub use syslog::{SyslogConfig, SyslogFormat, SyslogListener};
