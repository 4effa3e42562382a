//! An export request of metrics as samples.

use std::collections::BTreeMap;

use model::{Labels, MetricType, stale_marker};
use prost::Message;
use proto::otlp_metrics::{
    Data, ExponentialHistogramDataPoint, ExportMetricsServiceRequest, HistogramDataPoint, Metric, NO_RECORDED_VALUE,
    Number, NumberDataPoint, ResourceMetrics, SummaryDataPoint, Temporality,
};

use crate::{
    columns::{Columns, Family, SampleBatch},
    delta::{NotAdded, Sum, Sums},
    exponential::explicit,
    name::{Kind, metric_name, unit_name},
    resource::{Source, labels},
    text::number_text,
};

/// Points that have no place in Prometheus' model, by reason.
pub type Rejected = BTreeMap<&'static str, u64>;

/// What a request became.
#[derive(Debug, Default)]
pub struct Translated {
    pub batches: Vec<SampleBatch>,
    /// Data points that are in them.
    pub points: u64,
    pub rejected: Rejected,
}

/// Translates the requests of one receiver, and keeps the sums of what it gets as differences.
#[derive(Debug, Default)]
pub struct MetricTranslator {
    sums: Sums,
}

impl MetricTranslator {
    /// Reads a request that was checked. `now_ms` stands for times that are not said. When the samples are durable, call
    /// [`done`](Self::done), else [`undo`](Self::undo). An error says what is not protobuf.
    pub fn translate(&mut self, request: &[u8], now_ms: i64) -> Result<Translated, String> {
        let request = ExportMetricsServiceRequest::decode(request).map_err(|error| error.to_string())?;
        let mut all = Translated::default();
        for group in &request.resource_metrics {
            Group::new(group, now_ms, &mut self.sums, &mut all).read(group);
        }
        Ok(all)
    }

    /// Whether differences were added since [`done`](Self::done) or [`undo`](Self::undo): others have to wait for these.
    pub fn has_added(&self) -> bool {
        self.sums.has_added()
    }

    /// The samples are durable.
    pub fn done(&mut self) {
        self.sums.done();
    }

    /// They are not, and the client will send them again.
    pub fn undo(&mut self) {
        self.sums.undo();
    }
}

/// The points of one resource.
struct Group<'t> {
    source: Source,
    columns: Columns,
    newest: i64,
    now_ms: i64,
    sums: &'t mut Sums,
    all: &'t mut Translated,
}

/// A metric's points have this in common.
#[derive(Clone, Copy)]
struct Common<'a> {
    name: &'a str,
    kind: MetricType,
    help: &'a str,
    unit: &'a str,
}

impl Common<'_> {
    fn family(&self) -> Family<'_> {
        Family { name: self.name, kind: self.kind, help: self.help, unit: self.unit }
    }
}

/// Why a point is not taken.
type Reason = &'static str;

impl<'t> Group<'t> {
    fn new(group: &ResourceMetrics, now_ms: i64, sums: &'t mut Sums, all: &'t mut Translated) -> Self {
        let source = Source::new(group.resource.as_ref());
        let identity: Labels = [("job", &source.job), ("instance", &source.instance)].into_iter().collect();
        let columns = Columns::new(identity.prometheus_hash());
        Self { source, columns, newest: i64::MIN, now_ms, sums, all }
    }

    fn read(mut self, group: &ResourceMetrics) {
        for metric in group.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            self.metric(metric);
        }
        self.target_info();
        self.all.batches.extend(self.columns.finish());
    }

    fn target_info(&mut self) {
        if self.source.info.is_empty() || self.newest == i64::MIN {
            return;
        }
        let help = "Target metadata";
        let common = Common { name: "target_info", kind: MetricType::Gauge, help, unit: "" };
        let info = std::mem::take(&mut self.source.info);
        let labels = self.labels("target_info", &info, None);
        self.columns.push(common.family(), labels, self.newest, 1.0);
    }

    fn metric(&mut self, metric: &Metric) {
        let unit = unit_name(&metric.unit);
        let named = |kind: Kind| metric_name(&metric.name, &metric.unit, kind);
        let (name, kind) = match &metric.data {
            Some(Data::Sum(sum)) if sum.is_monotonic => (named(Kind::Counter), MetricType::Counter),
            Some(Data::Gauge(_)) => (named(Kind::Gauge), MetricType::Gauge),
            Some(Data::Sum(_)) => (named(Kind::Other), MetricType::Gauge),
            Some(Data::Summary(_)) => (named(Kind::Other), MetricType::Summary),
            _ => (named(Kind::Other), MetricType::Histogram),
        };
        let common = Common { name: &name, kind, help: &metric.description, unit: &unit };
        let unnamed = name.is_empty();
        let book = |group: &mut Self, told: Result<(), Reason>| match told {
            Ok(()) => group.all.points += 1,
            Err(reason) => *group.all.rejected.entry(reason).or_default() += 1,
        };
        let of = |temporality: i32| match temporality {
            2 => Ok(false),
            1 => Ok(true),
            _ => Err("no_temporality"),
        };
        match &metric.data {
            None => {}
            Some(Data::Gauge(gauge)) => {
                for point in &gauge.data_points {
                    let told = if unnamed { Err("no_name") } else { self.number(common, point, Ok(false)) };
                    book(self, told);
                }
            }
            Some(Data::Sum(sum)) => {
                for point in &sum.data_points {
                    let delta = of(sum.aggregation_temporality);
                    let told = if unnamed { Err("no_name") } else { self.number(common, point, delta) };
                    book(self, told);
                }
            }
            Some(Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    let delta = of(histogram.aggregation_temporality);
                    let told = if unnamed { Err("no_name") } else { self.histogram(common, point, delta) };
                    book(self, told);
                }
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let delta = histogram.aggregation_temporality() != Temporality::Cumulative;
                for point in &histogram.data_points {
                    let told = match (unnamed, delta) {
                        (true, _) => Err("no_name"),
                        (_, true) => Err("delta_exponential_histogram"),
                        _ => self.exponential(common, point),
                    };
                    book(self, told);
                }
            }
            Some(Data::Summary(summary)) => {
                for point in &summary.data_points {
                    let told = if unnamed { Err("no_name") } else { self.summary(common, point) };
                    book(self, told);
                }
            }
        }
    }

    /// Milliseconds; of a point without a time the time of receiving.
    fn time(&mut self, nanos: u64) -> i64 {
        let time = if nanos == 0 { self.now_ms } else { i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX) };
        self.newest = self.newest.max(time);
        time
    }

    /// `own` is sorted by name. `job` and `instance` go before attributes of these names.
    fn labels(&self, name: &str, own: &[(String, String)], extra: Option<(&str, &str)>) -> Labels {
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let source = [("job", self.source.job.as_str()), ("instance", self.source.instance.as_str())];
        let source = source.into_iter().filter(|(_, value)| !value.is_empty());
        own.chain(source).chain([("__name__", name)]).chain(extra).collect()
    }

    fn put(
        &mut self,
        common: Common<'_>,
        suffix: &str,
        own: &[(String, String)],
        extra: Option<(&str, &str)>,
        sample: (i64, f64),
    ) -> Result<(), Reason> {
        let labels = self.labels(&format!("{}{suffix}", common.name), own, extra);
        let taken = self.columns.push(common.family(), labels, sample.0, sample.1);
        if taken { Ok(()) } else { Err("series_too_large") }
    }

    fn number(
        &mut self,
        common: Common<'_>,
        point: &NumberDataPoint,
        delta: Result<bool, Reason>,
    ) -> Result<(), Reason> {
        let (own, time) = (labels(point.attributes.iter()), self.time(point.time_unix_nano));
        if is_stale(point.flags) {
            return self.put(common, "", &own, None, (time, stale_marker()));
        }
        let value = match point.value {
            Some(Number::Double(value)) => value,
            Some(Number::Int(value)) => value as f64,
            None => return Err("no_value"),
        };
        let value = if delta? {
            let labels = self.labels(common.name, &own, None);
            match self.sums.add(&labels, Sum::Number(value), time, self.now_ms).map_err(not_added)? {
                Sum::Number(sum) => sum,
                Sum::Histogram { .. } => return Err("no_value"),
            }
        } else {
            value
        };
        self.put(common, "", &own, None, (time, value))
    }

    fn histogram(
        &mut self,
        common: Common<'_>,
        point: &HistogramDataPoint,
        delta: Result<bool, Reason>,
    ) -> Result<(), Reason> {
        let (own, time) = (labels(point.attributes.iter()), self.time(point.time_unix_nano));
        let (mut bounds, mut counts) = (point.explicit_bounds.clone(), point.bucket_counts.clone());
        if !counts.is_empty() && counts.len() != bounds.len() + 1 || !bounds.is_sorted() {
            return Err("malformed_histogram");
        }
        let (mut count, mut sum) = (point.count, point.sum);
        if delta? && !is_stale(point.flags) {
            let labels = self.labels(common.name, &own, None);
            let more = Sum::Histogram { bounds, counts, count, sum: sum.unwrap_or(0.0) };
            let total = self.sums.add(&labels, more, time, self.now_ms).map_err(not_added)?;
            let Sum::Histogram { bounds: b, counts: c, count: all, sum: s } = total else { return Err("no_value") };
            (bounds, counts, count, sum) = (b, c, all, sum.map(|_| s));
        }
        self.buckets(common, &own, time, is_stale(point.flags), &bounds, &counts, count, sum)
    }

    fn exponential(&mut self, common: Common<'_>, point: &ExponentialHistogramDataPoint) -> Result<(), Reason> {
        let (own, time) = (labels(point.attributes.iter()), self.time(point.time_unix_nano));
        let (bounds, counts) = explicit(point);
        self.buckets(common, &own, time, is_stale(point.flags), &bounds, &counts, point.count, point.sum)
    }

    #[allow(clippy::too_many_arguments, reason = "all that a histogram is")]
    fn buckets(
        &mut self,
        common: Common<'_>,
        own: &[(String, String)],
        time: i64,
        stale: bool,
        bounds: &[f64],
        counts: &[u64],
        count: u64,
        sum: Option<f64>,
    ) -> Result<(), Reason> {
        let value = |number: f64| (time, if stale { stale_marker() } else { number });
        if let Some(sum) = sum {
            self.put(common, "_sum", own, None, value(sum))?;
        }
        self.put(common, "_count", own, None, value(count as f64))?;
        let mut below = 0u64;
        for (bound, count) in bounds.iter().zip(counts) {
            below = below.saturating_add(*count);
            if *bound < f64::INFINITY {
                self.put(common, "_bucket", own, Some(("le", &number_text(*bound))), value(below as f64))?;
            }
        }
        self.put(common, "_bucket", own, Some(("le", "+Inf")), value(count as f64))
    }

    fn summary(&mut self, common: Common<'_>, point: &SummaryDataPoint) -> Result<(), Reason> {
        let (own, time) = (labels(point.attributes.iter()), self.time(point.time_unix_nano));
        let stale = is_stale(point.flags);
        let value = |number: f64| (time, if stale { stale_marker() } else { number });
        self.put(common, "_sum", &own, None, value(point.sum))?;
        self.put(common, "_count", &own, None, value(point.count as f64))?;
        for quantile in &point.quantile_values {
            let text = number_text(quantile.quantile);
            self.put(common, "", &own, Some(("quantile", &text)), value(quantile.value))?;
        }
        Ok(())
    }
}

fn not_added(why: NotAdded) -> Reason {
    match why {
        NotAdded::Old => "old_delta",
        NotAdded::Full => "too_many_delta_series",
    }
}

fn is_stale(flags: u32) -> bool {
    flags & NO_RECORDED_VALUE != 0
}
