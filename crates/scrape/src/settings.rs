//! A job's configuration made ready for its loops.
//!
//! Keeps true: settings never change; a job that changes gets new ones, which keep the HTTP client (and its connections)
//! if its configuration is the same.

use std::sync::Arc;

use net::{Client, ClientOptions};
use relabel::Rule;

use crate::{JobConfig, ScrapeError, bodies, request::Ask};

/// What a job's loops share; replaced as a whole when the job changes.
#[derive(Debug)]
pub(crate) struct Settings {
    pub job: JobConfig,
    pub client: Client,
    pub ask: Ask,
    pub metric_relabel: Arc<[Rule]>,
    pub body_limit: u64,
    /// Counts up when what loops remember is no longer right.
    pub cache_version: u64,
}

impl Settings {
    pub(crate) fn new(job: JobConfig, before: Option<&Self>) -> Result<Self, ScrapeError> {
        let client = match before {
            Some(before) if before.job.client == job.client => before.client.clone(),
            _ => client(&job, before.is_none())?,
        };
        let same_samples = |a: &JobConfig, b: &JobConfig| {
            (a.honor_labels, a.honor_timestamps, a.track_timestamps_staleness)
                == (b.honor_labels, b.honor_timestamps, b.track_timestamps_staleness)
                && a.metric_relabel == b.metric_relabel
                && (a.limits.samples, a.limits.labels, a.limits.label_name_length, a.limits.label_value_length)
                    == (b.limits.samples, b.limits.labels, b.limits.label_name_length, b.limits.label_value_length)
        };
        let cache_version = match before {
            Some(before) if same_samples(&before.job, &job) => before.cache_version,
            Some(before) => before.cache_version + 1,
            None => 0,
        };
        let body_limit = bodies::limit_of(&job.limits);
        Ok(Self {
            ask: Ask::new(&job.protocols, job.enable_compression),
            metric_relabel: job.metric_relabel.clone().into(),
            client,
            body_limit,
            cache_version,
            job,
        })
    }
}

/// Of a job that begins (`may_lack`), certificates that are not there, or are none, are its targets' trouble alone: they are down with
/// the reason until the files are right. What runs is not changed for that.
fn client(job: &JobConfig, may_lack: bool) -> Result<Client, ScrapeError> {
    let of_job = |source| ScrapeError::Client { job: job.job_name.clone(), source };
    match Client::new(&job.client, ClientOptions::default()) {
        Err(net::NetError::File { what, .. }) if may_lack => {
            tracing::error!(
                job = job.job_name,
                error = what,
                "this job's https targets are down until the file is right; it is looked at every 10 s"
            );
            let options = ClientOptions { files_may_be_wrong: true, ..ClientOptions::default() };
            Client::new(&job.client, options).map_err(of_job)
        }
        made => made.map_err(of_job),
    }
}
