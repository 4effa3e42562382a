//! An export request of metrics as samples.

use std::collections::BTreeMap;

use model::{Labels, MetricType, stale_marker};
use prost::Message;
use proto::{
    otlp_common::KeyValue,
    otlp_metrics::{
        Data, ExponentialHistogramDataPoint, ExportMetricsServiceRequest, HistogramDataPoint, Metric,
        NO_RECORDED_VALUE, Number, NumberDataPoint, ResourceMetrics, SummaryDataPoint,
    },
};

use crate::{
    columns::{Columns, Family, NativeBatch, NotTaken, Said, SampleBatch},
    delta::{NotAdded, Sum, Sums},
    exponential::Exponential,
    name::{Kind, metric_name, unit_name},
    native,
    resource::{Source, labels, scope_labels},
    text::number_text,
};

/// What exponential histograms become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExponentialForm {
    /// Histograms with bounds.
    #[default]
    Bounds,
    /// Native histograms.
    Native,
    /// Both: some destinations take native ones, and the others get what has bounds.
    Both,
}

/// Points that have no place in Prometheus' model, by reason.
pub type Rejected = BTreeMap<&'static str, u64>;

/// What a request became.
#[derive(Debug, Default)]
pub struct Translated {
    pub batches: Vec<SampleBatch>,
    pub histograms: Vec<NativeBatch>,
    /// What has bounds for destinations that do not take `histograms`.
    pub stand_ins: Vec<SampleBatch>,
    /// Data points that are in them.
    pub points: u64,
    pub rejected: Rejected,
}

/// Translates the requests of one receiver, and keeps the sums of what it gets as differences.
#[derive(Debug, Default)]
pub struct MetricTranslator {
    form: ExponentialForm,
    sums: Sums,
}

impl MetricTranslator {
    /// The default makes bounds of exponential histograms.
    pub fn new(form: ExponentialForm) -> Self {
        Self { form, sums: Sums::default() }
    }

    /// Reads a request that was checked. `now_ms` stands for times that are not said. When the samples are durable, call
    /// [`done`](Self::done), else [`undo`](Self::undo). An error says what is not protobuf.
    pub fn translate(&mut self, request: &[u8], now_ms: i64) -> Result<Translated, String> {
        let request = ExportMetricsServiceRequest::decode(request).map_err(|error| error.to_string())?;
        let (mut all, mut said) = (Translated::default(), Said::default());
        for group in &request.resource_metrics {
            Group::new(group, now_ms, self.form, &mut self.sums, &mut all, &mut said).read(group);
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
    /// Labels of the scope under way.
    scope: Vec<(String, String)>,
    form: ExponentialForm,
    columns: Columns<f64>,
    natives: Columns<Vec<u8>>,
    stand_ins: Columns<f64>,
    newest: i64,
    now_ms: i64,
    sums: &'t mut Sums,
    all: &'t mut Translated,
    said: &'t mut Said,
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
    fn new(
        group: &ResourceMetrics,
        now_ms: i64,
        form: ExponentialForm,
        sums: &'t mut Sums,
        all: &'t mut Translated,
        said: &'t mut Said,
    ) -> Self {
        let source = Source::new(group.resource.as_ref());
        let identity: Labels = [("job", &source.job), ("instance", &source.instance)].into_iter().collect();
        let stream = identity.prometheus_hash();
        let (columns, natives, stand_ins) =
            (Columns::new(stream, said), Columns::new(stream, said), Columns::new(stream, said));
        let (scope, newest) = (Vec::new(), i64::MIN);
        Self { source, scope, form, columns, natives, stand_ins, newest, now_ms, sums, all, said }
    }

    fn read(mut self, group: &ResourceMetrics) {
        for scope in &group.scope_metrics {
            self.scope = scope_labels(scope.scope.as_ref());
            scope.metrics.iter().for_each(|metric| self.metric(metric));
        }
        self.scope = Vec::new();
        self.target_info();
        self.all.batches.extend(self.columns.finish());
        self.all.histograms.extend(self.natives.finish());
        self.all.stand_ins.extend(self.stand_ins.finish());
    }

    fn target_info(&mut self) {
        if self.source.info.is_empty() || self.newest == i64::MIN {
            return;
        }
        let help = "Target metadata";
        let common = Common { name: "target_info", kind: MetricType::Gauge, help, unit: "" };
        let info = std::mem::take(&mut self.source.info);
        let labels = self.labels("target_info", &info, None);
        // Nobody counts on it: where it does not fit there is none.
        let _ = self.columns.push(self.said, common.family(), labels, self.newest, 1.0);
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
                for point in &histogram.data_points {
                    let delta = of(histogram.aggregation_temporality);
                    let told = if unnamed { Err("no_name") } else { self.exponential(common, point, delta) };
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

    /// `own` is sorted by name. `job`, `instance` and what the scope says go before attributes of these names.
    fn labels(&self, name: &str, own: &[(String, String)], extra: Option<(&str, &str)>) -> Labels {
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let source = [("job", self.source.job.as_str()), ("instance", self.source.instance.as_str())];
        let source = source.into_iter().filter(|(_, value)| !value.is_empty());
        let scope = self.scope.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(scope).chain(source).chain([("__name__", name)]).chain(extra).collect()
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
        self.columns.push(self.said, common.family(), labels, sample.0, sample.1).map_err(not_taken)
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
                Sum::Histogram { .. } | Sum::Exponential(_) => return Err("no_value"),
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
        let (own, time) = (labels_without("le", &point.attributes), self.time(point.time_unix_nano));
        let (mut bounds, mut counts) = (point.explicit_bounds.clone(), point.bucket_counts.clone());
        if !counts.is_empty() && counts.len() != bounds.len() + 1 || !bounds.is_sorted() {
            return Err("malformed_histogram");
        }
        let in_buckets = counts.iter().try_fold(0_u64, |all, count| all.checked_add(*count));
        if !counts.is_empty() && in_buckets != Some(point.count) && !is_stale(point.flags) {
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

    fn exponential(
        &mut self,
        common: Common<'_>,
        point: &ExponentialHistogramDataPoint,
        delta: Result<bool, Reason>,
    ) -> Result<(), Reason> {
        let (own, time) = (labels_without("le", &point.attributes), self.time(point.time_unix_nano));
        let stale = is_stale(point.flags);
        let mut read = Exponential::read(point);
        let natively = self.form != ExponentialForm::Bounds;
        if delta? && !stale {
            // What nothing can be made of is not added.
            if natively {
                native::native(&read)?;
            }
            let labels = self.labels(common.name, &own, None);
            let more = Sum::Exponential(Box::new(read));
            let sum = self.sums.add(&labels, more, time, self.now_ms).map_err(not_added)?;
            let Sum::Exponential(sum) = sum else { return Err("no_value") };
            read = *sum;
        }
        if natively {
            let histogram = if stale { native::stale() } else { native::native(&read)? };
            let labels = self.labels(common.name, &own, None);
            self.natives.push(self.said, common.family(), labels, time, histogram).map_err(not_taken)?;
        }
        match self.form {
            ExponentialForm::Native => Ok(()),
            ExponentialForm::Bounds => self.bounds(common, &own, time, stale, &read),
            ExponentialForm::Both => {
                std::mem::swap(&mut self.columns, &mut self.stand_ins);
                let told = self.bounds(common, &own, time, stale, &read);
                std::mem::swap(&mut self.columns, &mut self.stand_ins);
                told
            }
        }
    }

    fn bounds(
        &mut self,
        common: Common<'_>,
        own: &[(String, String)],
        time: i64,
        stale: bool,
        of: &Exponential,
    ) -> Result<(), Reason> {
        let (bounds, counts) = of.explicit();
        self.buckets(common, own, time, stale, &bounds, &counts, of.count, of.sum)
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
        let (own, time) = (labels_without("quantile", &point.attributes), self.time(point.time_unix_nano));
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

/// A point's labels. One of the name that tells a metric's series apart would be on some of them only: it is called
/// `exported_` on all, as scraped labels are that a target's own stand in the way of.
fn labels_without(taken: &str, attributes: &[KeyValue]) -> Vec<(String, String)> {
    let mut own = labels(attributes.iter());
    let Some(at) = own.iter().position(|(name, _)| name == taken) else { return own };
    let mut name = format!("exported_{taken}");
    while own.iter().any(|(other, _)| *other == name) {
        name.insert_str(0, "exported_");
    }
    if let Some(label) = own.get_mut(at) {
        label.0 = name;
    }
    own.sort_by(|a, b| a.0.cmp(&b.0));
    own
}

fn not_taken(why: NotTaken) -> Reason {
    match why {
        NotTaken::TooLarge => "series_too_large",
        NotTaken::Conflict => "conflicting_point",
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
