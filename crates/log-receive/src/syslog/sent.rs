//! A message between its connection and the queue: one that is given up on the way is counted, whoever lets go of it.

use std::{net::IpAddr, sync::Arc};

use super::framing::Framed;
use crate::metrics::SourceCounts;

/// A message and who sent it.
pub(super) struct Sent {
    message: Option<(IpAddr, Framed)>,
    counts: Arc<SourceCounts>,
}

impl Sent {
    pub(super) fn new(from: IpAddr, framed: Framed, counts: &Arc<SourceCounts>) -> Self {
        Self { message: Some((from, framed)), counts: Arc::clone(counts) }
    }

    /// It is the caller's from now on.
    pub(super) fn take(mut self) -> Option<(IpAddr, Framed)> {
        self.message.take()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.message.is_some() {
            self.counts.dropped("not_handed_over");
        }
    }
}
