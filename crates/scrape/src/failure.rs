//! Why a scrape failed, or why a pool cannot scrape.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use net::NetError;

use crate::IngestError;

/// One failed scrape of one target. Becomes `last_error` on the targets page; `up` is 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeFailure {
    /// The job as a whole may not scrape (too many targets).
    #[error("{0}")]
    Forced(Arc<str>),
    #[error("the request cannot be built: {why}")]
    Request { why: String },
    #[error("{0}")]
    Net(#[from] NetError),
    #[error("server returned HTTP status {status}")]
    Status { status: StatusCode },
    #[error("other targets with very large bodies took all of its {}s", .after.as_secs_f64())]
    Turn { after: Duration },
    #[error("{0}")]
    Ingest(#[from] IngestError),
}

/// Why a scrape pool cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The job's HTTP client settings are unusable.
    #[error("scrape job {job:?}: the HTTP client cannot be built: {source}")]
    Client {
        /// The job's name.
        job: String,
        #[source]
        source: NetError,
    },
}
