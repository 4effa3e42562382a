//! How a source is doing, for the pages and for whoever asks: never silent trouble.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;

use crate::clock::now_ms;

/// What a source shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceStatus {
    /// `journal`, `syslog`, `loki_push_api`, `cloudwatch_logs`, `s3`, `stdin`.
    pub kind: &'static str,
    pub job_name: String,
    /// Where it listens, for those that do.
    pub listening: Option<SocketAddr>,
    /// What keeps it from working now, and since when (ms since the epoch).
    pub trouble: Option<(String, i64)>,
    /// How often it had to begin anew (a child that died, a listener that failed).
    pub restarts: u64,
    /// Lines handed to the queue.
    pub lines: u64,
    /// When the last one was, ms since the epoch; 0 for never.
    pub last_line_ms: i64,
}

/// A source's status as its tasks write it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SourceState(Arc<Mutex<SourceStatus>>);

impl SourceState {
    /// A source that has done nothing yet.
    pub fn new(kind: &'static str, job_name: &str) -> Self {
        Self(Arc::new(Mutex::new(SourceStatus { kind, job_name: job_name.to_owned(), ..SourceStatus::default() })))
    }

    /// How it is now.
    pub fn status(&self) -> SourceStatus {
        self.0.lock().clone()
    }

    pub(crate) fn listening(&self, address: Option<SocketAddr>) {
        self.0.lock().listening = address;
    }

    /// All is well. The end of a trouble is told.
    pub(crate) fn well(&self) {
        let mut status = self.0.lock();
        if let Some((why, _)) = status.trouble.take() {
            tracing::info!(source = status.kind, job = status.job_name, was = why, "a log source works again");
        }
    }

    /// Something is in the way. A new reason is told at once, the same one only the first time.
    pub fn trouble(&self, why: &str) {
        let mut status = self.0.lock();
        let known = status.trouble.as_ref().is_some_and(|(known, _)| known == why);
        if !known {
            tracing::warn!(source = status.kind, job = status.job_name, "a log source is in trouble: {why}");
            let since = status.trouble.as_ref().map_or_else(now_ms, |(_, since)| *since);
            status.trouble = Some((why.to_owned(), since));
        }
    }

    /// It begins anew.
    pub fn restarted(&self) {
        self.0.lock().restarts += 1;
    }

    pub(crate) fn handed_over(&self, lines: u64) {
        if lines > 0 {
            let mut status = self.0.lock();
            status.lines += lines;
            status.last_line_ms = now_ms();
        }
    }
}
