//! Exponential histograms as ones with bounds.
//!
//! The bound behind bucket `i` of scale `s` is `2^((i + 1) * 2^-s)` (OpenTelemetry's data model, "Exponential Buckets"). Keeps true:
//! there are at most [`MOST_BOUNDS`] bounds: of finer buckets neighbours are joined, as halving the scale does.

use proto::otlp_metrics::{Buckets, ExponentialHistogramDataPoint};

/// Bounds of one histogram at most, on each side of zero.
pub(crate) const MOST_BOUNDS: usize = 160;

/// Ascending bounds, and how many values are in the bucket below each.
pub(crate) fn explicit(point: &ExponentialHistogramDataPoint) -> (Vec<f64>, Vec<u64>) {
    let (mut bounds, mut counts) = (Vec::new(), Vec::new());
    let none = Buckets::default();
    let negative = joined(point.negative.as_ref().unwrap_or(&none), point.scale);
    let positive = joined(point.positive.as_ref().unwrap_or(&none), point.scale);
    // Below zero the bucket of the largest magnitude comes first, and ends at its smaller one.
    for (place, count) in negative.counts.iter().enumerate().rev() {
        bounds.push(-bound(negative.index(place), negative.scale));
        counts.push(*count);
    }
    if point.zero_count > 0 || !bounds.is_empty() {
        bounds.push(point.zero_threshold.max(0.0));
        counts.push(point.zero_count);
    }
    for (place, count) in positive.counts.iter().enumerate() {
        bounds.push(bound(positive.index(place) + 1, positive.scale));
        counts.push(*count);
    }
    ascending(bounds, counts)
}

struct Joined {
    offset: i64,
    scale: i32,
    counts: Vec<u64>,
}

impl Joined {
    fn index(&self, place: usize) -> i64 {
        self.offset.saturating_add(i64::try_from(place).unwrap_or(i64::MAX))
    }
}

/// The used buckets, joined in pairs until there are few enough.
fn joined(buckets: &Buckets, scale: i32) -> Joined {
    let first = buckets.bucket_counts.iter().position(|count| *count > 0).unwrap_or(0);
    let end = buckets.bucket_counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    let used = buckets.bucket_counts.get(first..end).unwrap_or_default();
    let offset = i64::from(buckets.offset) + i64::try_from(first).unwrap_or(i64::MAX);
    let mut found = Joined { offset, scale, counts: used.to_vec() };
    while found.counts.len() > MOST_BOUNDS {
        let offset = found.offset.div_euclid(2);
        let mut counts = vec![0u64; found.counts.len() / 2 + 1];
        for (place, count) in found.counts.iter().enumerate() {
            let at = found.index(place).div_euclid(2) - offset;
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| counts.get_mut(at)) {
                *slot = slot.saturating_add(*count);
            }
        }
        while counts.last() == Some(&0) {
            counts.pop();
        }
        found = Joined { offset, scale: found.scale.saturating_sub(1), counts };
    }
    found
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
