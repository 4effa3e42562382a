//! Differences added up: clients that send what happened since they sent last, for a store that wants sums.
//!
//! Keeps true: at most [`MOST_SERIES`] sums of [`MOST_BYTES`] are kept, and those that nobody added to for [`IDLE_MS`] go first; a difference that is not
//! newer than the last one is not added, so that a request that is sent twice counts once; what a request added can be taken back.

use std::collections::HashMap;

use model::Labels;

use crate::exponential::{Exponential, MOST_BOUNDS};

/// Sums kept at most.
pub(crate) const MOST_SERIES: usize = 100_000;

/// Bounds and counts kept at most: 100,000 histograms of 80 buckets.
pub(crate) const MOST_BYTES: usize = 128 << 20;

/// A sum that nobody added to for so long begins anew.
const IDLE_MS: i64 = 3_600_000;

/// The sum of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sum {
    Number(f64),
    Histogram { bounds: Vec<f64>, counts: Vec<u64>, count: u64, sum: f64 },
    Exponential(Box<Exponential>),
}

impl Sum {
    /// Bytes of heap, but for what is the same for all.
    fn bytes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Histogram { bounds, counts, .. } => 8 * (bounds.len() + counts.len()),
            Self::Exponential(of) => {
                size_of::<Exponential>() + 8 * (of.positive.counts.len() + of.negative.counts.len())
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Kept {
    sum: Sum,
    last_ms: i64,
    touched_ms: i64,
}

/// Why a difference is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// Not newer than the one before.
    Old,
    /// There are too many series.
    Full,
}

/// All sums of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    kept: HashMap<Labels, Kept>,
    /// Of all sums.
    bytes: usize,
    /// What was there before the request under way; the first entry of a series counts.
    before: Vec<(Labels, Option<Kept>)>,
}

impl Sums {
    /// Adds and gives the sum. `now_ms` is the time of receiving.
    pub(crate) fn add(&mut self, labels: &Labels, more: Sum, time_ms: i64, now_ms: i64) -> Result<Sum, NotAdded> {
        let known = self.kept.get(labels);
        if known.is_some_and(|kept| time_ms <= kept.last_ms) {
            return Err(NotAdded::Old);
        }
        let before = known.map_or(0, |kept| kept.sum.bytes());
        let is_full = |sums: &Self, new: bool| {
            (new && sums.kept.len() >= MOST_SERIES)
                || sums.bytes.saturating_sub(before).saturating_add(more.bytes()) > MOST_BYTES
        };
        let new = known.is_none();
        if is_full(self, new) {
            self.forget_idle(labels, now_ms);
            if is_full(self, new) {
                return Err(NotAdded::Full);
            }
        }
        let known = self.kept.get(labels).cloned();
        let sum = match known.as_ref().filter(|kept| now_ms.saturating_sub(kept.touched_ms) < IDLE_MS) {
            Some(kept) => joined(&kept.sum, more),
            None => few(more),
        };
        self.before.push((labels.clone(), known));
        self.put(labels.clone(), Kept { sum: sum.clone(), last_ms: time_ms, touched_ms: now_ms });
        Ok(sum)
    }

    fn put(&mut self, labels: Labels, kept: Kept) {
        self.bytes = self.bytes.saturating_add(kept.sum.bytes());
        let old = self.kept.insert(labels, kept);
        self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| old.sum.bytes()));
    }

    /// All but that of `labels`, which begins anew in its place.
    fn forget_idle(&mut self, labels: &Labels, now_ms: i64) {
        let mut freed = 0;
        self.kept.retain(|of, kept| {
            let stays = of == labels || now_ms.saturating_sub(kept.touched_ms) < IDLE_MS;
            freed += if stays { 0 } else { kept.sum.bytes() };
            stays
        });
        self.bytes = self.bytes.saturating_sub(freed);
    }

    pub(crate) fn has_added(&self) -> bool {
        !self.before.is_empty()
    }

    /// The request is kept.
    pub(crate) fn done(&mut self) {
        self.before.clear();
    }

    /// The request is not kept: its client will send it again.
    pub(crate) fn undo(&mut self) {
        while let Some((labels, kept)) = self.before.pop() {
            match kept {
                Some(kept) => self.put(labels, kept),
                None => {
                    let old = self.kept.remove(&labels);
                    self.bytes = self.bytes.saturating_sub(old.map_or(0, |old| old.sum.bytes()));
                }
            }
        }
    }
}

/// As it is kept.
fn few(sum: Sum) -> Sum {
    match sum {
        Sum::Exponential(of) => Sum::Exponential(Box::new(of.within(i32::MAX, MOST_BOUNDS))),
        sum => sum,
    }
}

/// Histograms of other bounds, or with another zero bucket, begin anew.
fn joined(known: &Sum, more: Sum) -> Sum {
    match (known, more) {
        (Sum::Number(known), Sum::Number(more)) => Sum::Number(known + more),
        (
            Sum::Histogram { bounds: known, counts: before, count: all, sum: total },
            Sum::Histogram { bounds, counts, count, sum },
        ) if *known == bounds && before.len() == counts.len() => {
            let counts = before.iter().zip(counts).map(|(before, more)| before.saturating_add(more)).collect();
            Sum::Histogram { bounds, counts, count: all.saturating_add(count), sum: total + sum }
        }
        (Sum::Exponential(known), Sum::Exponential(more)) => match known.plus(&more) {
            Some(sum) => Sum::Exponential(Box::new(sum)),
            None => few(Sum::Exponential(more)),
        },
        (_, more) => few(more),
    }
}
