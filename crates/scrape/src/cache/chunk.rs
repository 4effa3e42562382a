//! A run of slots with the table that says what they are and the values they are coded against.

use model::{BaseVector, EncodedTable, MetricChunk, Presence, SeriesTable, Timestamps};

use super::slots::Slots;

/// Every so many values are looked at to tell what a chunk costs.
const SAMPLING: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// First slot; a multiple of 64.
    pub(super) start: usize,
    pub(super) table: EncodedTable,
    pub(super) base: BaseVector,
    /// What a sample cost when the base was new, and what has been paid beyond that since, in bytes.
    best_cost: f64,
    overpaid: f64,
}

impl Chunk {
    pub(super) fn new(start: usize, table: EncodedTable, base: BaseVector) -> Self {
        Self { start, table, base, best_cost: f64::INFINITY, overpaid: 0.0 }
    }

    pub(super) fn len(&self) -> usize {
        self.table.series() as usize
    }

    /// First slot that is not the chunk's.
    pub(super) fn end(&self) -> usize {
        self.start + self.len()
    }

    /// The table read back. Its bytes are our own, so this succeeds.
    pub(super) fn series(&self) -> Option<SeriesTable> {
        SeriesTable::decode(self.table.bytes()).ok()
    }

    /// The chunk's part of a batch.
    pub(super) fn columns<'a>(&'a self, slots: &'a Slots, stamp: i64) -> MetricChunk<'a> {
        let range = self.start..self.end();
        let present = slots.emitted.range(self.start, self.len());
        let count: usize = slots.emitted.count_in(self.start, self.len());
        let times = slots.times.get(range.clone()).unwrap_or_default();
        MetricChunk {
            table: &self.table,
            base: &self.base,
            present: if count == self.len() { Presence::All } else { Presence::Bits(present) },
            timestamps: if times.iter().all(|time| *time == stamp) {
                Timestamps::Common(stamp)
            } else {
                Timestamps::Each(times)
            },
            values: slots.values.get(range).unwrap_or_default(),
        }
    }

    /// Renews the base once the old one has cost more than a new one does: the price of a base is its own bytes.
    pub(super) fn renew_base(&mut self, slots: &Slots, stamp: i64) {
        let columns = self.columns(slots, stamp);
        let items = columns.items();
        if items == 0 {
            return;
        }
        let cost = columns.sampled_cost(SAMPLING);
        // The first batch after renewal repeats the base's own values, so the second one sets the measure.
        if self.best_cost.is_infinite() {
            self.best_cost = f64::MAX;
            return;
        }
        self.best_cost = self.best_cost.min(cost);
        let overpaid = (cost - self.best_cost) * items as f64;
        self.overpaid += overpaid;
        let price = self.base.bytes().len().max(self.len() * 2) as f64;
        if self.overpaid > price || self.base.is_none() {
            self.base = self.new_base(slots);
            self.best_cost = f64::INFINITY;
            self.overpaid = 0.0;
        }
    }

    /// This scrape's values; where there is none, or a marker, what the old base has.
    pub(super) fn new_base(&self, slots: &Slots) -> BaseVector {
        let values = slots.values.get(self.start..self.end()).unwrap_or_default();
        let base = |index: usize| self.base.values().get(index).copied().unwrap_or(0.0);
        BaseVector::new(
            values
                .iter()
                .enumerate()
                .map(|(index, value)| if slots.now.get(self.start + index) { *value } else { base(index) })
                .collect(),
        )
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.table.bytes().len() + self.base.heap_bytes()
    }
}
