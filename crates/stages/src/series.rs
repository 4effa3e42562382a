//! The series of one custom metric: a number or a histogram for every label set that lines had.
//!
//! Keeps true: at most [`MAX_SERIES`]; lines of further label sets are not counted.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use model::Labels;
use parking_lot::Mutex;

/// Most label sets of one metric.
pub const MAX_SERIES: usize = 10_000;

/// Prometheus' default buckets.
pub(crate) const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SeriesKind {
    Counter,
    Gauge,
    /// Upper bounds, rising, without infinity.
    Histogram(Vec<f64>),
}

/// What happens to a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    Add(f64),
    Set(f64),
    Observe(f64),
}

#[derive(Debug)]
pub(crate) struct Series {
    help: String,
    kind: SeriesKind,
    max_idle_ns: i64,
    by_labels: Mutex<HashMap<Labels, Number, foldhash::fast::RandomState>>,
}

#[derive(Debug, Clone, Default)]
struct Number {
    /// The sum, for histograms.
    value: f64,
    count: u64,
    /// Not cumulative; the last is what exceeds all bounds.
    buckets: Vec<u64>,
    touched_ns: i64,
}

/// Numbers of equal labels added up.
#[derive(Debug, Default)]
pub(crate) struct SeriesTotals(BTreeMap<Labels, Total>);

#[derive(Debug)]
pub(crate) struct Total {
    pub value: f64,
    pub count: u64,
    /// Upper bound and count, not cumulative.
    pub buckets: Option<Vec<(f64, u64)>>,
}

impl Series {
    pub fn new(help: String, kind: SeriesKind, max_idle_ns: i64) -> Self {
        Self { help, kind, max_idle_ns, by_labels: Mutex::default() }
    }

    pub fn kind(&self) -> &SeriesKind {
        &self.kind
    }

    pub fn help(&self) -> &str {
        &self.help
    }

    pub fn change(&self, labels: &Labels, change: Change, now_ns: i64) {
        let mut by_labels = self.by_labels.lock();
        let full = by_labels.len() >= MAX_SERIES;
        let number = match by_labels.get_mut(labels) {
            Some(number) => number,
            None if full => return,
            None => by_labels.entry(labels.clone()).or_default(),
        };
        number.touched_ns = now_ns;
        match (change, &self.kind) {
            (Change::Add(by), _) => number.value += by,
            (Change::Set(to), _) => number.value = to,
            (Change::Observe(value), SeriesKind::Histogram(bounds)) => {
                number.buckets.resize(bounds.len() + 1, 0);
                let at = bounds.partition_point(|bound| *bound < value);
                if let Some(bucket) = number.buckets.get_mut(at) {
                    *bucket += 1;
                }
                number.value += value;
                number.count += 1;
            }
            (Change::Observe(_), _) => {}
        }
    }

    /// Forgets series that were idle for too long.
    pub fn prune(&self, now_ns: i64) {
        self.by_labels.lock().retain(|_, number| now_ns.saturating_sub(number.touched_ns) < self.max_idle_ns);
    }

    /// Adds all series up, with a label more if there is one.
    pub fn add_to(&self, totals: &mut SeriesTotals, with: Option<(&str, &str)>) {
        for (labels, number) in self.by_labels.lock().iter() {
            let mut labels = labels.clone();
            if let Some((name, value)) = with {
                labels.set(name, value);
            }
            let total = totals.0.entry(labels).or_insert_with(|| Total {
                value: 0.0,
                count: 0,
                buckets: match &self.kind {
                    SeriesKind::Histogram(bounds) => {
                        Some(bounds.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect())
                    }
                    _ => None,
                },
            });
            total.value += number.value;
            total.count += number.count;
            for ((_, total), count) in total.buckets.iter_mut().flatten().zip(&number.buckets) {
                *total += count;
            }
        }
    }
}

impl SeriesTotals {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Labels, &Total)> {
        self.0.iter()
    }
}
