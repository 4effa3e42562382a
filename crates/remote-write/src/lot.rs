//! A claim on its way out, with its tables and its book.
//!
//! It keeps true: a settled outcome sums to the frame's items.

use std::sync::Arc;

use model::{ContextKey, DecodedChunk};
use pipeline::{MetricClaim, Outcome, QueueError, Reason, off_reactor};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    roster::Binding,
    tables::WireTables,
    verdict::Loss,
    wire::{
        body::Body,
        body::Stamp,
        table::{Fate, WireTable},
    },
};

/// A claim and its part of the samples in flight.
pub(crate) type Dealt = (MetricClaim, OwnedSemaphorePermit);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Lot {
    /// `None`: the queue gave the frame up, and nothing of it is sent any more.
    claim: Option<MetricClaim>,
    items: u32,
    /// One for each chunk, or why there is none.
    pub(crate) tables: Vec<Result<Arc<WireTable>, Loss>>,
    /// Samples at its front that are booked.
    pub(crate) sent: u32,
    pub(crate) tally: Tally,
    /// Given back when the lot ends, settled or not.
    room: Option<OwnedSemaphorePermit>,
    _binding: Option<Binding<Dealt>>,
    pending: Option<Pending>,
}

/// Samples in hand, as a gauge shows them.
#[derive(Debug)]
pub(crate) struct Pending(Gauge, i64);

impl Pending {
    pub(crate) fn new(gauge: &Gauge, samples: u32) -> Self {
        gauge.inc_by(i64::from(samples));
        Self(gauge.clone(), i64::from(samples))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.dec_by(self.1);
    }
}

/// Where samples ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) delivered: u32,
    pub(crate) filtered: u32,
    pub(crate) expired: u32,
    pub(crate) damaged: u32,
    /// Each reason once.
    pub(crate) rejected: Vec<(Loss, u32)>,
}

impl Tally {
    /// Refused for good.
    pub(crate) fn reject(&mut self, loss: Loss, items: u32) {
        match self.rejected.iter_mut().find(|(known, _)| *known == loss) {
            Some((_, count)) => *count += items,
            None if items > 0 => self.rejected.push((loss, items)),
            None => {}
        }
    }

    pub(crate) fn refused(&self) -> u32 {
        self.rejected.iter().map(|(_, items)| *items).sum()
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.delivered += more.delivered;
        self.filtered += more.filtered;
        self.expired += more.expired;
        self.damaged += more.damaged;
        more.rejected.iter().for_each(|(loss, items)| self.reject(*loss, *items));
    }

    /// What the queue is told of a frame of `items`.
    pub(crate) fn outcome(&self, items: u32) -> Outcome {
        if self.delivered == items {
            return Outcome::Delivered;
        }
        if self.expired == items {
            return Outcome::Expired;
        }
        if self.damaged == items {
            return Outcome::Damaged;
        }
        Outcome::Mixed {
            delivered: self.delivered,
            filtered: self.filtered,
            rejected: self.rejected.iter().map(|(loss, items)| (Reason::new(loss.as_str()), *items)).collect(),
            expired: self.expired,
            damaged: self.damaged,
        }
    }
}

impl Lot {
    /// Finds the claim's tables, reading from disk those that are not remembered.
    pub(crate) fn new(
        claim: MetricClaim,
        tables: &WireTables,
        room: Option<OwnedSemaphorePermit>,
        binding: Option<Binding<Dealt>>,
        pending: &Gauge,
    ) -> Self {
        let items = claim.frame().items;
        let pending = Some(Pending::new(pending, items));
        let tables = tables_of(&claim, tables);
        let mut lot = Self {
            claim: Some(claim),
            items,
            tables,
            sent: 0,
            tally: Tally::default(),
            room,
            _binding: binding,
            pending,
        };
        lot.let_go();
        lot
    }

    pub(crate) fn items(&self) -> u32 {
        self.items
    }

    /// Unless the queue gave it up.
    pub(crate) fn claim(&self) -> Option<&MetricClaim> {
        self.claim.as_ref()
    }

    pub(crate) fn chunks(&self) -> &[DecodedChunk] {
        self.claim.as_ref().map_or(&[], |claim| &claim.chunks)
    }

    /// Lets go of a frame that the queue gave up: its memory and its place among what is in flight are free at once. True if
    /// it did. Its stream stays bound to this line until the lot's turn has come.
    pub(crate) fn let_go(&mut self) -> bool {
        let gone = self.claim.take_if(|claim| claim.evicted()).is_some();
        if gone {
            self.tables = Vec::new();
            self.room = None;
            self.pending = None;
        }
        gone
    }

    /// Bytes of a body that holds all its samples, whatever their age: a function of the frame and the configuration
    /// alone, so that batches can be cut the same way twice.
    pub(crate) fn wire_len(&self) -> usize {
        let mut length = 0;
        for (chunk, table) in self.chunks().iter().zip(&self.tables) {
            let Ok(table) = table else { continue };
            for (at, sample) in chunk.samples().enumerate() {
                let Fate::Kept(labels) = table.fate(sample.series) else { continue };
                let stamp = Stamp::new(sample.timestamp_ms);
                length += match chunk.histograms.get(at) {
                    None => Body::sample_len(labels, sample.value, &stamp),
                    Some(histogram) => Body::histogram_len(labels, histogram, &stamp),
                };
            }
        }
        length
    }

    /// The newest timestamp, if it has samples.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        use model::DecodedTimestamps::{Common, Each};
        let newest = |chunk: &DecodedChunk| match &chunk.timestamps {
            Common(at) => Some(*at),
            Each(each) => each.iter().max().copied(),
        };
        self.chunks().iter().filter_map(newest).max()
    }

    /// Tells the queue where every sample ended.
    pub(crate) fn settle(self) {
        if let Some(claim) = self.claim {
            claim.settle(self.tally.outcome(self.items));
        }
    }
}

/// One for each chunk. All that have to be read are read in one go.
fn tables_of(claim: &MetricClaim, tables: &WireTables) -> Vec<Result<Arc<WireTable>, Loss>> {
    // What is for other destinations (all of a frame or nothing) is filtered out: its table keeps no series.
    if claim.chunks.iter().any(|chunk| !tables.takes(chunk.audience)) {
        return claim.chunks.iter().map(|chunk| Ok(WireTables::of_nothing(chunk.series))).collect();
    }
    let known = tables.get_all(claim.chunks.iter().map(|chunk| &chunk.table));
    let missing = known.iter().any(Option::is_none);
    off_reactor(missing, || {
        let all = claim.chunks.iter().zip(known);
        all.map(|(chunk, known)| {
            let table = match known {
                Some(table) => table,
                None => read_table(claim, &chunk.table, tables)?,
            };
            if table.series() == chunk.series as usize { Ok(table) } else { Err(Loss::Undecodable) }
        })
        .collect()
    })
}

fn read_table(claim: &MetricClaim, key: &ContextKey, tables: &WireTables) -> Result<Arc<WireTable>, Loss> {
    // Two chunks of a claim may share a table.
    if let Some(table) = tables.get(key) {
        return Ok(table);
    }
    let bytes = claim.table_bytes(key).map_err(|error| match error {
        QueueError::UnknownContext { .. } => Loss::Undecodable,
        _ => Loss::Damaged,
    })?;
    tables.make(*key, &bytes).map_err(|_| Loss::Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_frame_that_were_refused_for_several_reasons_are_counted_under_each() {
        let mut tally = Tally { delivered: 1, ..Tally::default() };
        tally.reject(Loss::TooOld, 2);
        tally.reject(Loss::TooNew, 3);
        let mut sum = Tally::default();
        sum.reject(Loss::TooOld, 1);
        sum.add(&tally);
        let Outcome::Mixed { delivered: 1, rejected, .. } = sum.outcome(7) else { panic!("{sum:?}") };
        assert_eq!(rejected, [(Reason::new("too_old"), 3), (Reason::new("too_new"), 3)]);
    }

    #[test]
    fn a_damaged_table_is_damage_and_no_refusal() {
        let tally = Tally { delivered: 7, damaged: 3, ..Tally::default() };
        let Outcome::Mixed { delivered: 7, rejected, damaged: 3, .. } = tally.outcome(10) else {
            panic!("{:?}", tally.outcome(10));
        };
        assert!(rejected.is_empty());
        let whole = Tally { damaged: 10, ..Tally::default() };
        assert_eq!(whole.outcome(10), Outcome::Damaged);
    }
}
