//! `spanmetrics`: calls and latencies by service, operation, kind, status and chosen attributes.
//!
//! Knows no queue and no socket. Keeps true: no more combinations than configured are kept; a series that ends in a metrics instance
//! ends with a staleness marker; what is counted is counted once for each time a span is processed.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{EncodedTable, Labels, MetricType, SeriesTableBuilder, stale_marker};
use proto::{
    otlp_common::Resource,
    otlp_traces::{ExportTraceServiceRequest, Span, StatusCode},
};

use crate::{
    Dimension, SpanMetricsConfig, SpanMetricsOutput,
    value::{find, kind_name, service, shown},
};

/// A combination that no span has had for this long goes.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// See the file's head.
#[derive(Debug)]
pub(crate) struct SpanMetrics {
    config: SpanMetricsConfig,
    prefix: String,
    dimensions: Arc<[Dimension]>,
    /// Milliseconds.
    bounds: Vec<f64>,
    series: BTreeMap<String, Series>,
    /// Of combinations that went since the last flush.
    gone: Vec<Labels>,
    flushed: Option<Instant>,
}

#[derive(Debug)]
struct Series {
    labels: Labels,
    calls: u64,
    /// Milliseconds.
    sum: f64,
    /// One for each bound and one for what is beyond.
    buckets: Vec<u64>,
    seen: Instant,
}

/// Samples of one series table at one time.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) table: EncodedTable,
    pub(crate) values: Vec<f64>,
}

/// Labels that every series has.
const OWN: [&str; 4] = ["service_name", "operation", "span_kind", "status_code"];

impl SpanMetricsConfig {
    /// Two names among dimensions and constant labels, or one of them and one that every series has, that would be one label.
    pub fn collision(&self) -> Option<(String, String)> {
        let constant = self.const_labels.iter().map(|(name, _)| name.as_str());
        let mut seen: BTreeMap<String, &str> = OWN.iter().map(|name| ((*name).to_owned(), *name)).collect();
        seen.insert("le".to_owned(), "le");
        self.dimensions.iter().map(|dimension| dimension.name.as_str()).chain(constant).find_map(|name| {
            let before = seen.insert(label_name(name), name)?;
            Some((name.to_owned(), before.to_owned()))
        })
    }
}

impl SpanMetrics {
    /// What was not told yet, before the end.
    pub(crate) fn last(&mut self, now: Instant) -> Vec<Column> {
        self.flushed = now.checked_sub(self.config.flush_interval);
        self.flush(now)
    }

    /// What ends all series for their instance: nobody goes on with them.
    pub(crate) fn ending(&mut self) -> Vec<Column> {
        if matches!(self.config.output, SpanMetricsOutput::Endpoint(_)) {
            return Vec::new();
        }
        let mut columns = Columns::default();
        let series = std::mem::take(&mut self.series).into_values().map(|series| series.labels);
        let none = vec![0; self.bounds.len() + 1];
        let ended: Vec<Labels> = series.chain(std::mem::take(&mut self.gone)).collect();
        for labels in &ended {
            self.rows(labels, &none, &mut |family, kind, labels, _| columns.push(family, kind, labels, stale_marker()));
        }
        columns.finish()
    }

    pub(crate) fn new(config: &SpanMetricsConfig) -> Self {
        let namespace = config.namespace.as_ref().map(|namespace| format!("{namespace}_")).unwrap_or_default();
        Self {
            prefix: label_name(&format!("{namespace}traces_spanmetrics_")),
            bounds: config.buckets.iter().map(|bound| bound.as_secs_f64() * 1000.0).collect(),
            dimensions: config.dimensions.clone().into(),
            config: config.clone(),
            series: BTreeMap::new(),
            gone: Vec::new(),
            flushed: None,
        }
    }

    pub(crate) fn take(&mut self, request: &ExportTraceServiceRequest, now: Instant) {
        for group in &request.resource_spans {
            let Some(service) = service(group.resource.as_ref()) else { continue };
            for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.count(service, group.resource.as_ref(), span, now);
            }
        }
    }

    fn count(&mut self, service: &str, resource: Option<&Resource>, span: &Span, now: Instant) {
        let status = match span.status.as_ref().map_or(StatusCode::Unset, |status| status.code()) {
            StatusCode::Unset => "STATUS_CODE_UNSET",
            StatusCode::Ok => "STATUS_CODE_OK",
            StatusCode::Error => "STATUS_CODE_ERROR",
        };
        let kind = kind_name(span.kind);
        let of_resource = resource.map(|resource| &*resource.attributes).unwrap_or_default();
        let mut key = [service, &span.name, kind, status].join("\0");
        let dimensions = Arc::clone(&self.dimensions);
        let mut extra = Vec::with_capacity(dimensions.len());
        for dimension in &*dimensions {
            let found = find(&span.attributes, &dimension.name).or_else(|| find(of_resource, &dimension.name));
            let value = found.map(shown).or_else(|| dimension.default.as_deref().map(Into::into));
            key.push('\0');
            if let Some(value) = value {
                key.push_str(&value);
                extra.push((dimension.name.as_str(), value));
            }
        }
        if !self.series.contains_key(&key) && self.series.len() >= self.config.dimensions_cache_size.max(1) {
            self.make_room();
        }
        let series = self.series.entry(key).or_insert_with(|| {
            let mut labels = Labels::new();
            for (name, value) in &self.config.const_labels {
                labels.set(&label_name(name), value);
            }
            for (name, value) in &extra {
                labels.set(&label_name(name), value);
            }
            for (name, value) in
                [("service_name", service), ("operation", &span.name), ("span_kind", kind), ("status_code", status)]
            {
                labels.set(name, value);
            }
            Series { labels, calls: 0, sum: 0.0, buckets: vec![0; self.bounds.len() + 1], seen: now }
        });
        let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let millis = Duration::from_nanos(nanos).as_secs_f64() * 1000.0;
        series.calls += 1;
        series.sum += millis;
        series.seen = now;
        let place = self.bounds.partition_point(|bound| *bound < millis);
        if let Some(bucket) = series.buckets.get_mut(place) {
            *bucket += 1;
        }
    }

    /// An eighth goes at once, so that looking for the oldest is rare.
    fn make_room(&mut self) {
        let mut ages: Vec<(Instant, String)> =
            self.series.iter().map(|(key, series)| (series.seen, key.clone())).collect();
        ages.sort_unstable();
        let many = (ages.len() / 8).max(1);
        for (_, key) in ages.into_iter().take(many) {
            self.gone.extend(self.series.remove(&key).map(|series| series.labels));
        }
    }

    /// When they are flushed next; where they are served nobody waits for that.
    pub(crate) fn due(&self) -> Option<Instant> {
        let pushed = matches!(self.config.output, SpanMetricsOutput::Instance(_));
        let nothing = self.series.is_empty() && self.gone.is_empty();
        let flushed = self.flushed.filter(|_| pushed && !nothing)?;
        Some(flushed + self.config.flush_interval)
    }

    /// What a metrics instance is told, if it is time.
    pub(crate) fn flush(&mut self, now: Instant) -> Vec<Column> {
        if self.flushed.is_none() {
            self.flushed = Some(now);
        }
        let Some(due) = self.due().filter(|due| *due <= now) else { return Vec::new() };
        // A stage that was held up does not catch up.
        self.flushed = Some(if now - due > self.config.flush_interval { now } else { due });
        let mut columns = Columns::default();
        for series in self.series.values() {
            self.rows(&series.labels, &series.buckets, &mut |family, kind, labels, row| {
                columns.push(family, kind, labels, row.value(series));
            });
        }
        let ended: Vec<Labels> = std::mem::take(&mut self.gone);
        let none = vec![0; self.bounds.len() + 1];
        for labels in ended.iter().filter(|labels| self.series.values().all(|series| series.labels != **labels)) {
            self.rows(labels, &none, &mut |family, kind, labels, _| columns.push(family, kind, labels, stale_marker()));
        }
        if self.config.delta {
            self.series.clear();
        }
        let idle = self.series.iter().filter(|(_, series)| now.saturating_duration_since(series.seen) > IDLE);
        let idle: Vec<String> = idle.map(|(key, _)| key.clone()).collect();
        for key in idle {
            self.gone.extend(self.series.remove(&key).map(|series| series.labels));
        }
        columns.finish()
    }

    /// The Prometheus text format.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let prefix = &self.prefix;
        for (suffix, kind) in [("calls_total", "counter"), ("latency", "histogram")] {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# TYPE {prefix}{suffix} {kind}");
            for series in self.series.values() {
                self.rows(&series.labels, &series.buckets, &mut |family, _, labels, row| {
                    if family.ends_with(suffix) {
                        line(&mut out, labels, row.value(series));
                    }
                });
            }
        }
        out
    }

    /// The rows of a combination: name of the family, its type, all labels, what the value is.
    fn rows(&self, labels: &Labels, buckets: &[u64], each: &mut dyn FnMut(&str, MetricType, &Labels, Row)) {
        let mut labels = labels.clone();
        let calls = format!("{}calls_total", self.prefix);
        labels.set("__name__", &calls);
        each(&calls, MetricType::Counter, &labels, Row::Calls);
        let family = format!("{}latency", self.prefix);
        labels.set("__name__", &format!("{family}_count"));
        each(&family, MetricType::Histogram, &labels, Row::Calls);
        labels.set("__name__", &format!("{family}_sum"));
        each(&family, MetricType::Histogram, &labels, Row::Sum);
        labels.set("__name__", &format!("{family}_bucket"));
        let mut below = 0;
        for (at, count) in buckets.iter().enumerate() {
            below += count;
            let bound = self.bounds.get(at).map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound}"));
            labels.set("le", &bound);
            each(&family, MetricType::Histogram, &labels, Row::Below(below));
        }
    }
}

/// Which of a combination's numbers.
#[derive(Debug, Clone, Copy)]
enum Row {
    Calls,
    Sum,
    Below(u64),
}

impl Row {
    #[allow(clippy::cast_precision_loss, reason = "Prometheus has nothing but floats")]
    fn value(self, series: &Series) -> f64 {
        match self {
            Self::Calls => series.calls as f64,
            Self::Sum => series.sum,
            Self::Below(count) => count as f64,
        }
    }
}

/// Rows gathered into tables.
#[derive(Default)]
struct Columns {
    done: Vec<Column>,
    builder: SeriesTableBuilder,
    values: Vec<f64>,
}

impl Columns {
    fn push(&mut self, family: &str, kind: MetricType, labels: &Labels, value: f64) {
        for _ in 0..2 {
            let number = self.builder.family(family, kind, "", "");
            match self.builder.push(number, labels) {
                Ok(_) => return self.values.push(value),
                // Full: once more in an empty one.
                Err(_) if !self.builder.is_empty() => self.seal(),
                Err(_) => return,
            }
        }
    }

    fn seal(&mut self) {
        let (builder, values) = (std::mem::take(&mut self.builder), std::mem::take(&mut self.values));
        if !builder.is_empty() {
            self.done.push(Column { table: builder.build(), values });
        }
    }

    fn finish(mut self) -> Vec<Column> {
        self.seal();
        self.done
    }
}

/// What Prometheus takes as the name of a label.
fn label_name(name: &str) -> String {
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    let safe = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    digit.then_some('_').into_iter().chain(safe).collect()
}

fn line(out: &mut String, labels: &Labels, value: f64) {
    out.push_str(labels.get("__name__").unwrap_or_default());
    let mut open = '{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{open}{name}=\"{value}\"");
        open = ',';
    }
    let _ = writeln!(out, "}} {value}");
}

#[cfg(test)]
mod tests {
    use proto::otlp_traces::{ResourceSpans, ScopeSpans};

    use super::*;

    fn config(output: SpanMetricsOutput) -> SpanMetricsConfig {
        SpanMetricsConfig {
            buckets: vec![Duration::from_millis(2), Duration::from_millis(100)],
            dimensions: vec![
                Dimension { name: "http.method".into(), default: Some("GET".into()) },
                Dimension { name: "zone".into(), default: None },
            ],
            const_labels: vec![("const".into(), "c".into())],
            namespace: Some("ns".into()),
            output,
            dimensions_cache_size: 8,
            delta: false,
            flush_interval: Duration::from_secs(15),
        }
    }

    fn request(name: &str, millis: &[u64]) -> ExportTraceServiceRequest {
        let span = |millis: &u64| Span {
            name: name.into(),
            kind: 2,
            start_time_unix_nano: 5,
            end_time_unix_nano: 5 + millis * 1_000_000,
            ..Span::default()
        };
        let attributes = vec![("service.name", "shop").into(), ("zone", "a\"b").into()];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: millis.iter().map(span).collect(), ..ScopeSpans::default() }];
        let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![group] }
    }

    #[test]
    fn calls_and_latencies_are_counted_by_dimension() {
        let mut metrics = SpanMetrics::new(&config(SpanMetricsOutput::Endpoint("h:1".into())));
        metrics.take(&request("/a", &[2, 3, 500]), Instant::now());
        let labels = r#"const="c",http_method="GET",operation="/a",service_name="shop",span_kind="SPAN_KIND_SERVER",status_code="STATUS_CODE_UNSET",zone="a\"b""#;
        let bucketed = |le: &str| labels.replace("http_method=\"GET\",", &format!("http_method=\"GET\",le=\"{le}\","));
        let expected = format!(
            "# TYPE ns_traces_spanmetrics_calls_total counter
ns_traces_spanmetrics_calls_total{{{labels}}} 3
# TYPE ns_traces_spanmetrics_latency histogram
ns_traces_spanmetrics_latency_count{{{labels}}} 3
ns_traces_spanmetrics_latency_sum{{{labels}}} 505
ns_traces_spanmetrics_latency_bucket{{{}}} 1
ns_traces_spanmetrics_latency_bucket{{{}}} 2
ns_traces_spanmetrics_latency_bucket{{{}}} 3
",
            bucketed("2"),
            bucketed("100"),
            bucketed("+Inf")
        );
        assert_eq!(metrics.text(), expected);
    }

    #[test]
    fn a_metrics_instance_is_told_at_each_interval_and_of_the_end() {
        let mut metrics = SpanMetrics::new(&config(SpanMetricsOutput::Instance("default".into())));
        let start = Instant::now();
        assert!(metrics.flush(start).is_empty() && metrics.due().is_none());
        metrics.take(&request("/a", &[1]), start);
        assert_eq!(metrics.due(), Some(start + Duration::from_secs(15)));
        assert!(metrics.flush(start + Duration::from_secs(14)).is_empty());
        let told = metrics.flush(start + Duration::from_secs(15));
        assert_eq!(
            told.iter().map(|column| column.values.clone()).collect::<Vec<_>>(),
            [vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
        );
        // The last time it is told that it has ended is after the flush that found it idle.
        assert_eq!(metrics.flush(start + Duration::from_secs(16 * 60)).len(), 1);
        let told = metrics.flush(start + Duration::from_secs(17 * 60));
        assert!(told[0].values.iter().all(|value| model::is_stale(*value)), "{told:?}");
        assert!(metrics.due().is_none(), "nothing is left to be told");
    }

    #[test]
    fn series_that_nobody_goes_on_with_are_told_a_last_time_and_end() {
        let mut metrics = SpanMetrics::new(&config(SpanMetricsOutput::Instance("default".into())));
        let start = Instant::now();
        metrics.flush(start);
        metrics.take(&request("/a", &[1]), start);
        assert_eq!(metrics.last(start + Duration::from_secs(60))[0].values, [1.0; 6]);
        let told = metrics.ending();
        assert!(told[0].values.len() == 6 && told[0].values.iter().all(|value| model::is_stale(*value)), "{told:?}");
        assert!(metrics.ending().is_empty());
    }

    #[test]
    fn names_that_would_be_one_label_are_told() {
        let named = |names: &[&str]| {
            let dimension = |name: &&str| Dimension { name: (*name).to_owned(), default: None };
            let dimensions = names.iter().map(dimension).collect();
            SpanMetricsConfig { dimensions, ..config(SpanMetricsOutput::Endpoint("h:1".into())) }.collision()
        };
        assert_eq!(named(&["a.b", "c"]), None);
        assert_eq!(named(&["a.b", "a_b"]), Some(("a_b".to_owned(), "a.b".to_owned())));
        assert_eq!(named(&["span.kind"]), Some(("span.kind".to_owned(), "span_kind".to_owned())));
    }

    #[test]
    fn no_more_combinations_are_kept_than_configured() {
        let mut metrics = SpanMetrics::new(&config(SpanMetricsOutput::Instance("default".into())));
        for number in 0..100 {
            metrics.take(&request(&format!("/{number}"), &[1]), Instant::now());
        }
        assert_eq!(metrics.series.len(), 8);
        assert!(metrics.text().contains("operation=\"/99\""));
    }
}
