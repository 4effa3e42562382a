//! Differences added up: clients that send what happened since they sent last, for a store that wants sums.
//!
//! Keeps true: at most [`MOST_SERIES`] sums are kept, and those that nobody added to for [`IDLE_MS`] go first; a difference that is not
//! newer than the last one is not added, so that a request that is sent twice counts once; what a request added can be taken back.

use std::collections::HashMap;

use model::Labels;

/// Sums kept at most.
pub(crate) const MOST_SERIES: usize = 100_000;

/// A sum that nobody added to for so long begins anew.
const IDLE_MS: i64 = 3_600_000;

/// The sum of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sum {
    Number(f64),
    Histogram { bounds: Vec<f64>, counts: Vec<u64>, count: u64, sum: f64 },
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
        if known.is_none() && self.kept.len() >= MOST_SERIES {
            self.kept.retain(|_, kept| now_ms.saturating_sub(kept.touched_ms) < IDLE_MS);
            if self.kept.len() >= MOST_SERIES {
                return Err(NotAdded::Full);
            }
        }
        let known = self.kept.get(labels).cloned();
        let sum = match known.as_ref().filter(|kept| now_ms.saturating_sub(kept.touched_ms) < IDLE_MS) {
            Some(kept) => joined(&kept.sum, more),
            None => more,
        };
        self.before.push((labels.clone(), known));
        self.kept.insert(labels.clone(), Kept { sum: sum.clone(), last_ms: time_ms, touched_ms: now_ms });
        Ok(sum)
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
                Some(kept) => self.kept.insert(labels, kept),
                None => self.kept.remove(&labels),
            };
        }
    }
}

/// Histograms of other bounds begin anew.
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
        (_, more) => more,
    }
}
