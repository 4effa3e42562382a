//! A claim of lines on its way out, with its book.
//!
//! It keeps true: every line is booked in one column, and a lot is settled when all of them are; one that is not comes back.

use pipeline::LogClaim;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    lot::{Pending, Tally},
    roster::Binding,
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct LogLot {
    pub(crate) claim: LogClaim,
    bytes: u64,
    _room: Option<OwnedSemaphorePermit>,
    _binding: Option<Binding<Dealt>>,
    _pending: Pending,
}

/// A claim, the bytes of its lines, and its place among what is in flight.
#[derive(Debug)]
pub(crate) struct Dealt {
    pub(crate) claim: LogClaim,
    pub(crate) bytes: u64,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

impl LogLot {
    pub(crate) fn new(dealt: Dealt, binding: Option<Binding<Dealt>>, pending: &Gauge) -> Self {
        let Dealt { claim, bytes, room } = dealt;
        let pending = Pending::new(pending, claim.frame().items);
        Self { claim, bytes, _room: room, _binding: binding, _pending: pending }
    }

    pub(crate) fn items(&self) -> u32 {
        self.claim.frame().items
    }

    /// Bytes of its lines.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells the queue where every line ended, if all came to an end.
    pub(crate) fn settle(self, tally: &Tally) {
        let items = self.items();
        let booked = tally.delivered + tally.filtered + tally.expired + tally.refused() + tally.damaged;
        // A lot that is dropped comes back, unless the queue gave it up.
        if booked == items {
            self.claim.settle(tally.outcome(items));
        }
    }
}
