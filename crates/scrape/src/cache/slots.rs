//! The columns of a target: value, timestamp and the marks of one bit, all by slot.
//!
//! A chunk owns a run of slots that starts at a multiple of 64, so its marks are whole words.

use super::bits::Bits;

#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) values: Vec<f64>,
    /// Empty unless some sample of the scrape has a timestamp of its own.
    pub(super) times: Vec<i64>,
    /// Has a sample in this scrape.
    pub(super) now: Bits,
    /// Has a sample in this scrape whose absence next time is not to be marked.
    pub(super) untracked: Bits,
    /// Had a sample in the previous successful scrape.
    pub(super) known: Bits,
    /// To be marked stale when missing.
    pub(super) tracked: Bits,
    /// In the last successful scrape, with a timestamp of its own: its absence is not marked.
    pub(super) timed: Bits,
    /// Its table has the family that the body of the current digest gives it.
    pub(super) described: Bits,
    /// Goes into the batch.
    pub(super) emitted: Bits,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Grows or cuts all columns.
    pub(super) fn resize(&mut self, len: usize) {
        self.values.resize(len, 0.0);
        if !self.times.is_empty() {
            self.times.resize(len, 0);
        }
        for bits in self.bits_mut() {
            bits.resize(len);
        }
    }

    fn bits_mut(&mut self) -> [&mut Bits; 7] {
        [
            &mut self.now,
            &mut self.untracked,
            &mut self.known,
            &mut self.tracked,
            &mut self.timed,
            &mut self.described,
            &mut self.emitted,
        ]
    }

    /// Adds the slot `at`, which is the end or, at the start of a chunk, a little behind it.
    pub(super) fn grow_to(&mut self, at: usize, stamp: i64) {
        let len = at + 1;
        self.values.resize(len, 0.0);
        if !self.times.is_empty() {
            self.times.resize(len, stamp);
        }
        if len.div_ceil(64) > self.now.words().len() {
            for bits in self.bits_mut() {
                bits.resize(len);
            }
        }
    }

    #[inline]
    pub(super) fn set_value(&mut self, slot: usize, value: f64) {
        if let Some(place) = self.values.get_mut(slot) {
            *place = value;
        }
    }

    /// Gives the slot a time of its own; the others have `stamp`.
    pub(super) fn set_time(&mut self, slot: usize, time: i64, stamp: i64) {
        if self.times.len() != self.values.len() {
            self.times.resize(self.values.len(), stamp);
        }
        if let Some(place) = self.times.get_mut(slot) {
            *place = time;
        }
    }

    pub(super) fn time(&self, slot: usize, stamp: i64) -> i64 {
        self.times.get(slot).copied().unwrap_or(stamp)
    }

    pub(super) fn shrink(&mut self) {
        self.values.shrink_to_fit();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bits =
            [&self.now, &self.untracked, &self.known, &self.tracked, &self.timed, &self.described, &self.emitted];
        self.values.capacity() * 8
            + self.times.capacity() * 8
            + bits.iter().map(|bits| bits.heap_bytes()).sum::<usize>()
    }
}
