//! What stages count: dropped lines by reason, and the metrics that `metrics` stages define.
//!
//! Keeps true: a metric lives as long as a pipeline that defines it; pipelines that define the same metric in the same
//! way share its name, and their series with equal labels are served as one; where definitions differ, as they do while a
//! changed configuration replaces another, the newest is served; a series that no line touched for its
//! `max_idle_duration` is not served any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::SystemTime,
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family},
    registry::Registry,
};

use crate::series::{Series, SeriesKind, SeriesTotals};

type NoLabels = [(&'static str, &'static str); 0];
type SomeLabels = Vec<(&'static str, String)>;

/// The label that tells one logs instance from another.
const INSTANCE: &str = "logs_config";

/// Counters and custom metrics of all pipelines of a process. Clones share everything.
#[derive(Debug, Clone)]
pub struct StageMetrics {
    dropped: Family<SomeLabels, Counter>,
    dropped_by_label: Family<SomeLabels, Counter>,
    failures: Family<SomeLabels, Counter>,
    custom: Arc<Custom>,
    /// Whose lines are counted here.
    instance: Option<Arc<str>>,
}

impl StageMetrics {
    /// Registered under their public names (the registry adds `_total`).
    pub fn registered(registry: &mut Registry) -> Self {
        Self::with_clock(registry, wall_clock)
    }

    /// The same; idle series are judged by `clock` (nanoseconds since the epoch) when the metrics are read.
    pub fn with_clock(registry: &mut Registry, clock: fn() -> i64) -> Self {
        let metrics = Self {
            dropped: Family::default(),
            dropped_by_label: Family::default(),
            failures: Family::default(),
            custom: Arc::new(Custom { clock, by_name: Mutex::default() }),
            instance: None,
        };
        registry.register(
            "logentry_dropped_lines",
            "Log lines that were dropped before the queue",
            metrics.dropped.clone(),
        );
        registry.register(
            "logentry_dropped_lines_by_label",
            "Log lines that a limit stage with by_label_name dropped, by label",
            metrics.dropped_by_label.clone(),
        );
        registry.register(
            "sigpost_log_stage_failures",
            "Lines that a stage could not read, by stage and reason; they pass as they are",
            metrics.failures.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&metrics.custom)));
        metrics
    }

    /// Metrics that nobody reads.
    pub fn unregistered() -> Self {
        Self::registered(&mut Registry::default())
    }

    /// The part of one logs instance: all it counts has the label `logs_config`, as in Grafana Agent.
    #[must_use]
    pub fn of_instance(&self, name: &str) -> Self {
        Self { instance: Some(Arc::from(name)), ..self.clone() }
    }

    /// Counts lines that a source dropped itself.
    pub fn count_dropped(&self, reason: &str, lines: u64) {
        self.dropped(reason).inc_by(lines);
    }

    fn labels(&self, others: &[(&'static str, &str)]) -> SomeLabels {
        let instance = self.instance.iter().map(|name| (INSTANCE, name.to_string()));
        instance.chain(others.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
    }

    pub(crate) fn dropped(&self, reason: &str) -> Counter {
        self.dropped.get_or_create(&self.labels(&[("reason", reason)])).clone()
    }

    /// The counters of what a stage of this kind cannot read.
    pub(crate) fn failures(&self, stage: &'static str) -> Failures {
        Failures { metrics: self.clone(), stage, known: Vec::new() }
    }

    pub(crate) fn dropped_by_label(&self, name: &str, value: &str) {
        let labels = self.labels(&[("label_name", name), ("label_value", value)]);
        self.dropped_by_label.get_or_create(&labels).inc();
    }

    /// The `by_label` counters of a limit stage that forgot its older labels.
    pub(crate) fn forget_labels(&self) {
        self.dropped_by_label.clear();
    }

    /// A metric of a `metrics` stage.
    pub(crate) fn define(&self, name: &str, help: &str, kind: SeriesKind, max_idle_ns: i64) -> Arc<Series> {
        let mut by_name = self.custom.by_name.lock();
        let living = by_name.entry(name.to_owned()).or_default();
        living.retain(|(_, other)| other.strong_count() > 0);
        let series = Arc::new(Series::new(help.to_owned(), kind, max_idle_ns));
        living.push((self.instance.clone(), Arc::downgrade(&series)));
        series
    }
}

/// What one stage cannot read, by reason.
#[derive(Debug, Clone)]
pub(crate) struct Failures {
    metrics: StageMetrics,
    stage: &'static str,
    /// Those that occurred: a job may have such lines all the time.
    known: Vec<(&'static str, Counter)>,
}

impl Failures {
    pub(crate) fn count(&mut self, reason: &'static str) {
        if let Some((_, counter)) = self.known.iter().find(|(known, _)| *known == reason) {
            counter.inc();
            return;
        }
        let labels = self.metrics.labels(&[("stage", self.stage), ("reason", reason)]);
        let counter = self.metrics.failures.get_or_create(&labels).clone();
        counter.inc();
        self.known.push((reason, counter));
    }
}

fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The help of a metric whose configuration describes it nowhere.
const UNDESCRIBED: &str = "Made of log lines by a metrics stage";

/// An instance's metric, while a pipeline has it.
type Defined = (Option<Arc<str>>, Weak<Series>);

#[derive(Debug)]
struct Custom {
    clock: fn() -> i64,
    by_name: Mutex<BTreeMap<String, Vec<Defined>>>,
}

impl Collector for Custom {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now_ns = (self.clock)();
        let mut by_name = self.by_name.lock();
        by_name.retain(|_, living| {
            living.retain(|(_, series)| series.strong_count() > 0);
            !living.is_empty()
        });
        for (name, living) in by_name.iter() {
            let living: Vec<_> = living.iter().filter_map(|(of, series)| Some((of, series.upgrade()?))).collect();
            let Some((_, newest)) = living.last() else { continue };
            let mut totals = SeriesTotals::default();
            for (instance, series) in living.iter().filter(|(_, series)| series.kind() == newest.kind()) {
                series.prune(now_ns);
                series.add_to(&mut totals, instance.as_deref().map(|name| (INSTANCE, name)));
            }
            if totals.is_empty() {
                continue;
            }
            // The encoder adds `_total` to counters. A counter that is not called so keeps its exact name, which
            // dashboards ask for, and is served as one of unknown type.
            let (name, kind) = match (newest.kind(), name.strip_suffix("_total")) {
                (SeriesKind::Counter, Some(stem)) => (stem, MetricType::Counter),
                (SeriesKind::Counter, None) => (name.as_str(), MetricType::Unknown),
                (SeriesKind::Gauge, _) => (name.as_str(), MetricType::Gauge),
                (SeriesKind::Histogram(_), _) => (name.as_str(), MetricType::Histogram),
            };
            let mut helps = living.iter().rev().map(|(_, series)| series.help());
            let help = helps.find(|help| !help.trim().is_empty()).unwrap_or(UNDESCRIBED);
            let metric = encoder.encode_descriptor(name, help, None, kind)?;
            Served { totals: &totals, kind }.encode(metric)?;
        }
        Ok(())
    }
}

struct Served<'a> {
    totals: &'a SeriesTotals,
    kind: MetricType,
}

impl EncodeMetric for Served<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (labels, total) in self.totals.iter() {
            let labels: Vec<(&str, &str)> = labels.iter().collect();
            let mut one = encoder.encode_family(&labels)?;
            match (self.kind, &total.buckets) {
                (MetricType::Counter, _) => one.encode_counter::<NoLabels, f64, f64>(&total.value, None)?,
                (_, Some(buckets)) => one.encode_histogram::<NoLabels>(total.value, total.count, buckets, None)?,
                (_, None) => one.encode_gauge(&total.value)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}
