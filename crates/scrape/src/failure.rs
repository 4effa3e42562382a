//! Why a scrape failed, or why a pool cannot scrape.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use net::NetError;

use crate::{IngestError, Limits, bodies::BODY_LIMIT};

/// One failed scrape of one target. Becomes `last_error` on the targets page; `up` is 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeFailure {
    /// The job as a whole may not scrape (too many targets).
    #[error("{0}")]
    Forced(Arc<str>),
    #[error("{0}")]
    Net(#[from] NetError),
    /// The limit is ours and not the job's.
    #[error("the body is larger than {} MiB; set body_size_limit to allow it", BODY_LIMIT >> 20)]
    TooLarge,
    #[error("server returned HTTP status {status}")]
    Status { status: StatusCode },
    #[error("other targets with very large bodies took all of its {}s", .after.as_secs_f64())]
    Turn { after: Duration },
    #[error("reading its very large body was broken off for the sake of other targets")]
    Recalled,
    #[error("{0}")]
    Ingest(#[from] IngestError),
}

impl ScrapeFailure {
    /// A body that is too large is explained by the limit that was in force.
    pub(crate) fn with_limit_of(self, limits: &Limits) -> Self {
        match self {
            Self::Net(NetError::BodyTooLarge { .. }) if limits.body_size == 0 => Self::TooLarge,
            other => other,
        }
    }
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
