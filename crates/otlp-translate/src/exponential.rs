//! Exponential histograms: made coarser, added up, and as ones with bounds.
//!
//! The bound behind bucket `i` of scale `s` is `2^((i + 1) * 2^-s)`, and two neighbours become one bucket of scale `s - 1`
//! (OpenTelemetry's data model, "Exponential Buckets", "Exponential Scale"). Keeps true: what is made has at most as many buckets on
//! each side of zero as was asked for; no count is lost by joining buckets.

use proto::otlp_metrics::{Buckets, ExponentialHistogramDataPoint};

/// Bounds of one histogram at most, on each side of zero; and buckets of a sum that is kept.
pub(crate) const MOST_BOUNDS: usize = 160;

/// An exponential histogram with only those buckets that are used, and those between them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exponential {
    pub(crate) scale: i32,
    pub(crate) count: u64,
    /// Not told of histograms with values below zero, as a rule.
    pub(crate) sum: Option<f64>,
    pub(crate) zero_count: u64,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Side,
    pub(crate) negative: Side,
}

/// The buckets on one side of zero. The first and the last are used, or there are none.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Side {
    /// Index of the first.
    pub(crate) first: i64,
    pub(crate) counts: Vec<u64>,
}

impl Side {
    fn read(buckets: Option<&Buckets>) -> Self {
        let Some(buckets) = buckets else { return Self::default() };
        let skipped = buckets.bucket_counts.iter().position(|count| *count > 0).unwrap_or(0);
        let end = buckets.bucket_counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let counts = buckets.bucket_counts.get(skipped..end).unwrap_or_default().to_vec();
        Self { first: i64::from(buckets.offset).saturating_add(whole(skipped)), counts }
    }

    pub(crate) fn index(&self, place: usize) -> i64 {
        self.first.saturating_add(whole(place))
    }

    fn last(&self) -> i64 {
        self.index(self.counts.len().saturating_sub(1))
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The two together, with buckets `2^halvings` times as wide. The caller has seen that they are few.
    fn joined(&self, other: &Self, halvings: u32) -> Self {
        let sides = || [self, other].into_iter().filter(|side| !side.counts.is_empty());
        let Some(first) = sides().map(|side| side.first >> halvings).min() else { return Self::default() };
        let mut counts = Vec::new();
        for side in sides() {
            for (place, count) in side.counts.iter().enumerate() {
                let Ok(at) = usize::try_from((side.index(place) >> halvings) - first) else { continue };
                if at >= counts.len() {
                    counts.resize(at + 1, 0u64);
                }
                if let Some(slot) = counts.get_mut(at) {
                    *slot = slot.saturating_add(*count);
                }
            }
        }
        Self { first, counts }
    }

    /// How often neighbours have to be joined until both sides together are in `most` buckets.
    fn halvings(&self, other: &Self, most: usize) -> u32 {
        let sides = || [self, other].into_iter().filter(|side| !side.counts.is_empty());
        let first = sides().map(|side| side.first).min().unwrap_or_default();
        let last = sides().map(Self::last).max().unwrap_or_default();
        (0..i64::BITS - 1).find(|by| (last >> by) - (first >> by) < whole(most)).unwrap_or(i64::BITS - 1)
    }
}

impl Exponential {
    pub(crate) fn read(point: &ExponentialHistogramDataPoint) -> Self {
        Self {
            scale: point.scale,
            count: point.count,
            sum: point.sum,
            zero_count: point.zero_count,
            zero_threshold: point.zero_threshold.max(0.0),
            positive: Side::read(point.positive.as_ref()),
            negative: Side::read(point.negative.as_ref()),
        }
    }

    /// Whether the buckets hold what was counted. Where a value was no number (the sum is none then), they may hold less.
    pub(crate) fn is_sound(&self) -> bool {
        let held = self.positive.total().saturating_add(self.negative.total()).saturating_add(self.zero_count);
        held == self.count || (held < self.count && self.sum.is_some_and(f64::is_nan))
    }

    /// The same with buckets `2^halvings` times as wide.
    fn coarser(&self, halvings: u32) -> Self {
        let by = halvings.min(i64::BITS - 1);
        let none = Side::default();
        Self {
            scale: self.scale.saturating_sub_unsigned(halvings),
            positive: self.positive.joined(&none, by),
            negative: self.negative.joined(&none, by),
            ..*self
        }
    }

    /// The same with a scale of at most `scale` and at most `most` buckets on each side.
    pub(crate) fn within(&self, scale: i32, most: usize) -> Self {
        let down = u32::try_from(self.scale.saturating_sub(scale)).unwrap_or(0);
        let none = Side::default();
        let halvings = self.positive.halvings(&none, most).max(self.negative.halvings(&none, most));
        match halvings.max(down) {
            0 => self.clone(),
            halvings => self.coarser(halvings),
        }
    }

    /// Both added up, in at most [`MOST_BOUNDS`] buckets on each side. `None`: their zero buckets differ.
    pub(crate) fn plus(&self, more: &Self) -> Option<Self> {
        if self.zero_threshold.to_bits() != more.zero_threshold.to_bits() {
            return None;
        }
        let scale = self.scale.min(more.scale);
        let one = self.within(scale, MOST_BOUNDS);
        let other = more.within(scale, MOST_BOUNDS);
        // Either may have become coarser still.
        let scale = one.scale.min(other.scale);
        let (one, other) = (one.within(scale, MOST_BOUNDS), other.within(scale, MOST_BOUNDS));
        let halvings = one
            .positive
            .halvings(&other.positive, MOST_BOUNDS)
            .max(one.negative.halvings(&other.negative, MOST_BOUNDS));
        Some(Self {
            scale: scale.saturating_sub_unsigned(halvings),
            count: one.count.saturating_add(other.count),
            sum: one.sum.zip(other.sum).map(|(one, other)| one + other),
            zero_count: one.zero_count.saturating_add(other.zero_count),
            zero_threshold: one.zero_threshold,
            positive: one.positive.joined(&other.positive, halvings),
            negative: one.negative.joined(&other.negative, halvings),
        })
    }

    /// Ascending bounds, and how many values are in the bucket below each.
    pub(crate) fn explicit(&self) -> (Vec<f64>, Vec<u64>) {
        let (mut bounds, mut counts) = (Vec::new(), Vec::new());
        let few = self.within(i32::MAX, MOST_BOUNDS);
        // Below zero the bucket of the largest magnitude comes first, and ends at its smaller one.
        for (place, count) in few.negative.counts.iter().enumerate().rev() {
            bounds.push(-bound(few.negative.index(place), few.scale));
            counts.push(*count);
        }
        if few.zero_count > 0 || !bounds.is_empty() {
            bounds.push(few.zero_threshold);
            counts.push(few.zero_count);
        }
        for (place, count) in few.positive.counts.iter().enumerate() {
            bounds.push(bound(few.positive.index(place).saturating_add(1), few.scale));
            counts.push(*count);
        }
        ascending(bounds, counts)
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The lower bound of a bucket.
fn bound(index: i64, scale: i32) -> f64 {
    (index as f64 * (-f64::from(scale)).exp2()).exp2()
}

/// Bounds that are the same number, or infinite, become one with the next.
fn ascending(bounds: Vec<f64>, counts: Vec<u64>) -> (Vec<f64>, Vec<u64>) {
    let mut found: (Vec<f64>, Vec<u64>) = (Vec::with_capacity(bounds.len()), Vec::with_capacity(counts.len()));
    for (bound, count) in bounds.into_iter().zip(counts) {
        match (found.0.last(), found.1.last_mut()) {
            (Some(last), Some(slot)) if bound <= *last => *slot = slot.saturating_add(count),
            _ if bound.is_finite() => {
                found.0.push(bound);
                found.1.push(count);
            }
            // Counted by the last bucket, which has no bound.
            _ => {}
        }
    }
    found
}
