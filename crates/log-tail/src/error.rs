//! What can be wrong with a route of log files before it runs. Files that fail while it runs are states, not errors.

use std::{io, path::PathBuf};

/// Why a tail cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A `__path__` or `__path_exclude__` that is no pattern.
    #[error("path pattern {pattern:?} is not usable: {why}")]
    Pattern { pattern: String, why: String },
    /// `pipeline_stages` that cannot be made.
    #[error("the stages of job {job} cannot run: {source}")]
    Stages { job: String, source: stages::StageError },
    /// `encoding` is not a name that is known.
    #[error(
        "encoding {name:?} is not known: use an IANA name such as utf-8, utf-16le, iso-8859-1, windows-1252, shift_jis or gbk"
    )]
    Encoding { name: String },
    /// The positions file of Promtail cannot be read as such.
    #[error(
        "positions file {} is not valid: {why}; repair or remove it, or set positions.ignore_invalid_yaml", path.display()
    )]
    Positions { path: PathBuf, why: String },
    /// A file of ours.
    #[error("cannot {op} {}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// The queue.
    #[error("cannot read positions from the queue")]
    Queue(#[from] pipeline::QueueError),
    /// A thread did not start.
    #[error("cannot start a thread that reads log files")]
    Thread(#[source] io::Error),
}
