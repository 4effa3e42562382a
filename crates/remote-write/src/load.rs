//! One body's worth of samples: which samples of which lots are in it, and what became of the others on the way.
//!
//! Pure: no clock, no socket. It keeps true: every sample between `from` and `end` is counted in exactly one column of
//! exactly one share; samples keep the order of the lots.

use std::{collections::VecDeque, ops::Range};

use model::Audience;

use crate::{
    lot::Lot,
    verdict::Loss,
    wire::{
        body::{Body, Stamp},
        press::Press,
        table::Fate,
    },
};

/// A place between two samples: before sample `sample` of lot `lot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) lot: usize,
    pub(crate) sample: u32,
}

/// How much goes into one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) samples: u64,
    /// Uncompressed; a single sample may be larger.
    pub(crate) bytes: usize,
}

impl Limits {
    pub(crate) const NONE: Self = Self { samples: u64::MAX, bytes: usize::MAX };
}

/// What one lot contributes to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) lot: usize,
    pub(crate) kept: u32,
    pub(crate) filtered: u32,
    pub(crate) expired: u32,
    pub(crate) undecodable: u32,
    pub(crate) damaged: u32,
}

/// What a body holds. The bytes are in the press.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) from: Place,
    pub(crate) end: Place,
    pub(crate) shares: Vec<Share>,
    pub(crate) kept: u64,
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
}

impl Load {
    /// The lots that it has samples of, of `all` that there are.
    pub(crate) fn lots(&self, all: usize) -> Range<usize> {
        let end = self.end.lot + usize::from(self.end.sample > 0);
        self.from.lot.min(all)..end.min(all).max(self.from.lot.min(all))
    }

    /// How many of the kept samples are in the first of two parts: cut between frames, or in the middle of a single one.
    pub(crate) fn first_half(&self) -> u64 {
        let half = self.kept / 2;
        let mut sum = 0;
        let ends = self.shares.iter().map(|share| {
            sum += u64::from(share.kept);
            sum
        });
        ends.filter(|end| *end > 0 && *end < self.kept).min_by_key(|end| end.abs_diff(half)).unwrap_or(half)
    }
}

/// Refusals within frames that are followed up for a body of `samples`.
pub(crate) fn isolation_budget(samples: u64) -> u32 {
    4 * (u64::BITS - samples.leading_zeros()) + 8
}

/// Fills `press`, if there is one, and counts what becomes of each sample.
pub(crate) fn write_body(
    lots: &VecDeque<Lot>,
    mut press: Option<&mut Press>,
    from: Place,
    to: Place,
    limits: Limits,
    cutoff: Option<i64>,
) -> Load {
    let mut bytes = 0;
    let mut load = Load { from, end: to, shares: Vec::new(), kept: 0, oldest_ms: i64::MAX, newest_ms: i64::MIN };
    let mut stamp_ms = 0;
    let mut stamp = Stamp::new(stamp_ms);
    for (index, lot) in lots.iter().enumerate().skip(from.lot) {
        if index > to.lot || (index == to.lot && to.sample == 0) {
            break;
        }
        let mut share = Share { lot: index, kept: 0, filtered: 0, expired: 0, undecodable: 0, damaged: 0 };
        let begin = if index == from.lot { from.sample } else { 0 };
        let stop = if index == to.lot { to.sample } else { u32::MAX };
        // Position of the chunk's first sample in the lot.
        let mut base = 0u32;
        for (chunk, table) in lot.chunks().iter().zip(&lot.tables) {
            let items = u32::try_from(chunk.items()).unwrap_or(u32::MAX);
            let (skip, take) = (begin.saturating_sub(base).min(items), stop.saturating_sub(base).min(items));
            let at = base;
            base = base.saturating_add(items);
            if take <= skip {
                continue;
            }
            let table = match table {
                Ok(table) => table,
                Err(Loss::Damaged) => {
                    share.damaged += take - skip;
                    continue;
                }
                Err(_) => {
                    share.undecodable += take - skip;
                    continue;
                }
            };
            let histograms = (chunk.audience == Audience::WithHistograms).then_some(&chunk.histograms);
            for (place, sample) in (at + skip..).zip(chunk.samples().take(take as usize).skip(skip as usize)) {
                let histogram = histograms.map(|all| all.get((place - at) as usize).unwrap_or_default());
                let fate = table.fate(sample.series);
                match fate {
                    Fate::Kept(_) if cutoff.is_some_and(|cutoff| sample.timestamp_ms < cutoff) => share.expired += 1,
                    Fate::Kept(labels) => {
                        if sample.timestamp_ms != stamp_ms {
                            stamp_ms = sample.timestamp_ms;
                            stamp = Stamp::new(stamp_ms);
                        }
                        let length = match histogram {
                            None => Body::sample_len(labels, sample.value, &stamp),
                            Some(histogram) => Body::histogram_len(labels, histogram, &stamp),
                        };
                        if load.kept >= limits.samples || (bytes + length > limits.bytes && load.kept > 0) {
                            load.end = Place { lot: index, sample: place };
                            load.shares.push(share);
                            return load;
                        }
                        match (&mut press, histogram) {
                            (None, _) => {}
                            (Some(press), None) => {
                                press.put_sample(table, sample.series, sample.value, &stamp, length);
                            }
                            (Some(press), Some(histogram)) => {
                                press.put_histogram(table, sample.series, histogram, &stamp, length);
                            }
                        }
                        bytes += length;
                        share.kept += 1;
                        load.kept += 1;
                        load.oldest_ms = load.oldest_ms.min(sample.timestamp_ms);
                        load.newest_ms = load.newest_ms.max(sample.timestamp_ms);
                    }
                    Fate::Dropped => share.filtered += 1,
                    Fate::Missing => share.undecodable += 1,
                }
            }
        }
        load.shares.push(share);
    }
    load
}
