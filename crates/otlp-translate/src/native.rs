//! Exponential histograms as native histograms of Prometheus.
//!
//! By the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", "Exponential Histograms". One departure: a sum that
//! was not told is no number, and not the staleness marker, which would take the histogram off the page. Buckets of Prometheus are
//! numbered by their upper bound, those of OTLP by their lower one. Keeps true: the counts of the buckets are those of the point.

use model::STALE_NAN_BITS;
use prost::Message;
use proto::remote_write::{BucketSpan, Histogram};

use crate::exponential::{Exponential, Side};

/// Scales that Prometheus knows; finer ones are made coarser.
const COARSEST: i32 = -4;
const FINEST: i32 = 8;
/// Buckets on each side of zero at most, those without a count between others included. SDKs make 160 unless they are told otherwise.
pub(crate) const MOST_BUCKETS: usize = 1024;
/// Of a point that says none.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Gaps up to here are written as buckets without a count: a span takes more room.
const SHORT_GAP: usize = 2;

/// `prometheus.Histogram` without a timestamp, encoded.
pub(crate) fn native(point: &Exponential) -> Result<Vec<u8>, &'static str> {
    if !point.is_sound() || !point.zero_threshold.is_finite() {
        return Err("malformed_histogram");
    }
    let point = point.within(FINEST, MOST_BUCKETS);
    if point.scale < COARSEST {
        return Err("histogram_scale");
    }
    let (negative_spans, negative_deltas) = sparse(&point.negative)?;
    let (positive_spans, positive_deltas) = sparse(&point.positive)?;
    let histogram = Histogram {
        count: point.count,
        sum: point.sum.unwrap_or(f64::NAN),
        schema: point.scale,
        zero_threshold: if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD },
        zero_count: point.zero_count,
        negative_spans,
        negative_deltas,
        positive_spans,
        positive_deltas,
        ..Histogram::default()
    };
    Ok(histogram.encode_to_vec())
}

/// A native histogram that says that the series has ended.
pub(crate) fn stale() -> Vec<u8> {
    Histogram { count: STALE_NAN_BITS, sum: f64::from_bits(STALE_NAN_BITS), ..Histogram::default() }.encode_to_vec()
}

fn sparse(side: &Side) -> Result<(Vec<BucketSpan>, Vec<i64>), &'static str> {
    let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut before, mut gap) = (0i64, 0usize);
    for (place, count) in side.counts.iter().enumerate() {
        let count = i64::try_from(*count).map_err(|_| "malformed_histogram")?;
        if count == 0 {
            gap += 1;
            continue;
        }
        match spans.last_mut() {
            Some(span) if gap <= SHORT_GAP => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += u32::try_from(gap).unwrap_or(0) + 1;
            }
            last => {
                let offset = match last {
                    Some(_) => i64::try_from(gap).unwrap_or(i64::MAX),
                    None => side.index(place).saturating_add(1),
                };
                spans.push(BucketSpan { offset: i32::try_from(offset).map_err(|_| "malformed_histogram")?, length: 1 });
            }
        }
        gap = 0;
        deltas.push(count - before);
        before = count;
    }
    Ok((spans, deltas))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::otlp_metrics::{Buckets, ExponentialHistogramDataPoint};

    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(1.5),
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..Default::default()
        }
    }

    fn of(point: &ExponentialHistogramDataPoint) -> Result<Histogram, &'static str> {
        native(&Exponential::read(point)).map(|bytes| Histogram::decode(&*bytes).unwrap())
    }

    /// Prometheus' index and count of every used bucket.
    fn buckets(spans: &[BucketSpan], deltas: &[i64]) -> Vec<(i64, i64)> {
        let (mut index, mut count, mut deltas, mut found) = (0i64, 0i64, deltas.iter(), Vec::new());
        for span in spans {
            index += i64::from(span.offset);
            for _ in 0..span.length {
                count += deltas.next().expect("as many differences as buckets");
                found.push((index, count));
                index += 1;
            }
        }
        assert_eq!(deltas.next(), None);
        found.retain(|(_, count)| *count != 0);
        found
    }

    #[test]
    fn buckets_are_numbered_by_their_upper_bound_and_written_as_differences() {
        // Of scale 0 bucket 0 is (1, 2], which Prometheus calls 1.
        let histogram = of(&ExponentialHistogramDataPoint {
            zero_count: 2,
            zero_threshold: 0.25,
            count: 13,
            negative: Some(Buckets { offset: -2, bucket_counts: vec![0, 1] }),
            ..point(0, 0, &[4, 0, 1, 0, 0, 0, 5])
        })
        .unwrap();
        assert_eq!(
            histogram,
            Histogram {
                count: 13,
                sum: 1.5,
                zero_threshold: 0.25,
                zero_count: 2,
                negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
                negative_deltas: vec![1],
                // One empty bucket is written, three are a gap.
                positive_spans: vec![BucketSpan { offset: 1, length: 3 }, BucketSpan { offset: 3, length: 1 }],
                positive_deltas: vec![4, -4, 1, 4],
                ..Histogram::default()
            }
        );
        assert_eq!(of(&point(3, 5, &[1])).unwrap().zero_threshold, 1e-128);
        let empty = of(&point(3, 5, &[])).unwrap();
        assert_eq!((empty.count, empty.schema, empty.positive_spans.len()), (0, 3, 0));
    }

    #[test]
    fn a_scale_that_prometheus_has_not_is_made_coarser_or_refused() {
        let fine = of(&point(10, -5, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        // Indexes -5 to 2 in fours: -2 gets the first, -1 the next four, 0 the last three.
        assert_eq!(fine.schema, 8);
        assert_eq!(buckets(&fine.positive_spans, &fine.positive_deltas), [(-1, 1), (0, 14), (1, 21)]);
        assert_eq!(of(&point(-4, 0, &[1])).unwrap().schema, -4);
        assert_eq!(of(&point(-5, 0, &[1])), Err("histogram_scale"));
        // So many buckets that one of Prometheus' scales would not hold them.
        assert_eq!(of(&point(-4, 0, &vec![1; MOST_BUCKETS + 1])), Err("histogram_scale"));
        let many = of(&point(0, 0, &vec![1; MOST_BUCKETS + 1])).unwrap();
        assert_eq!((many.schema, many.count), (-1, MOST_BUCKETS as u64 + 1));
    }

    #[test]
    fn a_histogram_that_contradicts_itself_is_refused() {
        let wrong = |change: &dyn Fn(&mut ExponentialHistogramDataPoint)| {
            let mut point = point(0, 0, &[1, 2]);
            change(&mut point);
            of(&point)
        };
        assert_eq!(wrong(&|point| point.count = 4), Err("malformed_histogram"));
        assert_eq!(wrong(&|point| point.zero_count = 1), Err("malformed_histogram"));
        assert_eq!(wrong(&|point| point.zero_threshold = f64::INFINITY), Err("malformed_histogram"));
        assert_eq!(wrong(&|point| point.positive.as_mut().unwrap().offset = i32::MAX), Err("malformed_histogram"));
        assert_eq!(of(&point(0, 0, &[u64::MAX])), Err("malformed_histogram"));
        // A value that was no number is counted and in no bucket.
        let nan = wrong(&|point| (point.count, point.sum) = (4, Some(f64::NAN))).unwrap();
        assert!(nan.sum.is_nan() && nan.count == 4);
        let untold = wrong(&|point| point.sum = None).unwrap();
        assert!(untold.sum.is_nan() && untold.sum.to_bits() != STALE_NAN_BITS);
    }

    #[test]
    fn a_point_without_a_recorded_value_is_a_staleness_marker() {
        let stale = Histogram::decode(&*stale()).unwrap();
        assert_eq!((stale.sum.to_bits(), stale.count), (STALE_NAN_BITS, STALE_NAN_BITS));
    }

    proptest! {
        #[test]
        fn no_count_is_lost_and_every_bucket_holds_its_values(
            scale in -4i32..20,
            offset in -100_000i32..100_000,
            counts in prop::collection::vec(prop_oneof![3 => Just(0u64), 1 => 0u64..1000], 0..3000),
        ) {
            let all: u64 = counts.iter().sum();
            match of(&point(scale, offset, &counts)) {
                Err(reason) => prop_assert_eq!(reason, "histogram_scale"),
                Ok(histogram) => {
                    let found = buckets(&histogram.positive_spans, &histogram.positive_deltas);
                    prop_assert!(found.len() <= MOST_BUCKETS && histogram.schema <= 8);
                    prop_assert_eq!(histogram.count, all);
                    let mut wanted = std::collections::BTreeMap::new();
                    for (place, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                        let index = (i64::from(offset) + place as i64) >> (scale - histogram.schema);
                        *wanted.entry(index + 1).or_insert(0) += *count as i64;
                    }
                    prop_assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
                }
            }
        }

        #[test]
        fn sums_hold_what_was_added_in_few_buckets(
            points in prop::collection::vec((-10i32..20, any::<i32>(), prop::collection::vec(0u64..9, 0..400)), 1..6),
        ) {
            let mut points = points.iter().map(|(scale, offset, counts)| Exponential::read(&point(*scale, *offset, counts)));
            let mut sum = points.next().unwrap();
            let mut all = sum.count;
            for more in points {
                all += more.count;
                sum = sum.plus(&more).unwrap();
                prop_assert!(sum.positive.counts.len() <= crate::exponential::MOST_BOUNDS);
                prop_assert!(sum.is_sound());
            }
            prop_assert_eq!(sum.count, all);
        }

        #[test]
        fn any_point_is_translated_or_refused(
            scale: i32, offset: i32, count: u64, zero: u64, threshold: f64,
            counts in prop::collection::vec(any::<u64>(), 0..300),
        ) {
            let side = Some(Buckets { offset, bucket_counts: counts });
            let point = ExponentialHistogramDataPoint {
                scale, count, zero_count: zero, zero_threshold: threshold, positive: side.clone(), negative: side,
                ..Default::default()
            };
            let _ = of(&point);
            let read = Exponential::read(&point);
            let (bounds, counts) = read.explicit();
            prop_assert!(bounds.is_sorted() && bounds.len() == counts.len());
            let _ = read.plus(&Exponential { scale: offset, ..read.clone() });
        }
    }
}
