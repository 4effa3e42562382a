//! Where each item of a group of lots ended, and the counters that move with it.
//!
//! It keeps true: an item is booked once; what is booked sums to the lots' items when a group is through.

use model::otlp::Signal;

use super::{cargo::Cargo, metrics::OtlpCells};
use crate::{DestinationStatus, lot::Tally, metrics::DestinationMetrics, verdict::Loss};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Book<'a> {
    tallies: Vec<Tally>,
    signal: Signal,
    status: &'a DestinationStatus,
    metrics: &'a DestinationMetrics,
    cells: &'a OtlpCells,
}

impl<'a> Book<'a> {
    pub(crate) fn new(
        lots: usize,
        status: &'a DestinationStatus,
        metrics: &'a DestinationMetrics,
        cells: &'a OtlpCells,
    ) -> Self {
        Self { tallies: vec![Tally::default(); lots], signal: Signal::Traces, status, metrics, cells }
    }

    /// What is booked from now on is of this signal.
    pub(crate) fn turn_to(&mut self, signal: Signal) {
        self.signal = signal;
    }

    pub(crate) fn into_tallies(self) -> Vec<Tally> {
        self.tallies
    }

    /// Meant for other destinations.
    pub(crate) fn filtered(&mut self, lot: usize, items: u32) {
        if let Some(tally) = self.tallies.get_mut(lot) {
            tally.filtered += items;
        }
        self.status.count(0, u64::from(items), 0);
    }

    /// Received longer ago than the destination wants.
    pub(crate) fn expired(&mut self, lot: usize, items: u32) {
        if let Some(tally) = self.tallies.get_mut(lot) {
            tally.expired += items;
        }
        self.status.count(0, 0, u64::from(items));
        self.metrics.dropped("too_old", u64::from(items));
    }

    /// Lost before it was sent.
    pub(crate) fn lost(&mut self, lot: usize, items: u32, loss: Loss, message: &str) {
        self.split(lot, 0, items, loss);
        self.cells.failed(self.signal, u64::from(items));
        self.status.lost_unasked(items_of(self.signal), loss, u64::from(items), message);
    }

    /// A request came to its end: its first `stored` items count as stored, the others as lost.
    pub(crate) fn ended(&mut self, cargo: &Cargo<'_>, stored: u64, lost: Option<(Loss, &str)>, ingest_ms: Option<i64>) {
        let items = cargo.items();
        let stored = stored.min(items);
        let mut left = stored;
        for (lot, items) in cargo.shares() {
            let took = u32::try_from(left).unwrap_or(u32::MAX).min(items);
            left -= u64::from(took);
            self.split(lot, took, items - took, lost.map_or(Loss::BadRequest, |(loss, _)| loss));
        }
        self.told(stored, items - stored, lost);
        if let Some(at) = ingest_ms.filter(|_| stored > 0) {
            self.metrics.queue_highest_sent.note(at);
        }
    }

    /// One item of a request whose answer names each.
    pub(crate) fn ended_one(&mut self, lot: usize, lost: Option<(Loss, &str)>) {
        let (stored, refused) = if lost.is_some() { (0, 1) } else { (1, 0) };
        self.split(lot, stored, refused, lost.map_or(Loss::BadRequest, |(loss, _)| loss));
        self.told(u64::from(stored), u64::from(refused), lost);
    }

    fn split(&mut self, lot: usize, stored: u32, lost: u32, loss: Loss) {
        if let Some(tally) = self.tallies.get_mut(lot) {
            tally.delivered += stored;
            tally.reject(loss, lost);
        }
    }

    fn told(&self, stored: u64, refused: u64, lost: Option<(Loss, &str)>) {
        self.status.count(stored, 0, 0);
        self.metrics.samples.inc_by(stored + refused);
        self.cells.sent(self.signal, stored);
        if refused > 0 {
            let (loss, message) = lost.unwrap_or((Loss::BadRequest, ""));
            self.metrics.failed.inc_by(refused);
            self.cells.failed(self.signal, refused);
            self.status.lost_items(items_of(self.signal), loss, refused, message);
        }
    }
}

/// What a person calls the items of a signal.
fn items_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "data points",
        Signal::Logs => "log records",
    }
}
