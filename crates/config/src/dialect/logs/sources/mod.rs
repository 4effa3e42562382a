//! Sources of lines that are no files: one file for each key of a job.
//!
//! Keeps true: of several sources in one job the first counts, in Promtail's order, and the others are told.

mod access;
mod cloudwatch;
mod journal;
mod objects;
mod push;
mod syslog;

pub(in crate::dialect) use cloudwatch::CLOUDWATCH;
pub(in crate::dialect) use journal::JOURNAL;
pub(in crate::dialect) use objects::OBJECTS;
pub(in crate::dialect) use push::{PUSH, PUSH_SERVER};
pub(in crate::dialect) use syslog::SYSLOG;

use log_receive::DockerConfig;

use crate::{LogSource, block::Block, dialect::docker};

/// In the order in which the first counts.
pub(super) const KEYS: &[&str] =
    &["journal", "syslog", "loki_push_api", "s3", "cloudwatch_logs", "aws_api_gateway_access_logs", docker::KEY];

/// The keys that this job has.
pub(super) fn given(job: &Block<'_>) -> Vec<&'static str> {
    KEYS.iter().copied().filter(|key| job.get(key).is_some()).collect()
}

/// The source under `key`, one of [`KEYS`]. `None`: something in it is wrong, which was said.
pub(super) fn read(job: &Block<'_>, key: &str) -> Option<LogSource> {
    match key {
        docker::KEY => Some(LogSource::Docker(DockerConfig { engines: docker::all(job) })),
        "journal" => job.block(key, JOURNAL).and_then(|b| journal::read(&b)).map(LogSource::Journal),
        "syslog" => job.block(key, SYSLOG).and_then(|b| syslog::read(&b)).map(LogSource::Syslog),
        "loki_push_api" => job.block(key, PUSH).and_then(|b| push::read(&b)).map(LogSource::Push),
        "s3" => job.block(key, OBJECTS).and_then(|b| objects::read(&b)).map(Box::new).map(LogSource::Objects),
        _ => job.block(key, CLOUDWATCH).and_then(|b| cloudwatch::read(&b)).map(Box::new).map(LogSource::CloudWatch),
    }
}
