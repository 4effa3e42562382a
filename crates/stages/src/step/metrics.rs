//! `metrics`: counters, gauges and histograms fed by extracted values, one series for each label set.

use std::{borrow::Cow, sync::Arc};

use model::Labels;

use super::{Flow, LineStage};
use crate::{
    Entry, Name, StageError, StageFault, Value,
    config::{MetricConfig, MetricSettings},
    duration::go_duration,
    error::Place,
    metrics::StageMetrics,
    series::{Change, DEFAULT_BUCKETS, Series, SeriesKind},
};

const DEFAULT_IDLE_NS: i64 = 300_000_000_000;
const LEAST_IDLE_NS: i64 = 1_000_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Metrics(Vec<Metric>);

#[derive(Debug, Clone)]
struct Metric {
    source: Name,
    /// Only lines whose source has this text.
    value: Option<String>,
    action: Action,
    series: Arc<Series>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Every line, or its bytes.
    CountAll,
    CountBytes,
    /// Plus or minus one, whatever the source's value.
    Step {
        up: bool,
    },
    Add {
        up: bool,
        only_up: bool,
    },
    Set,
    Observe,
    Never,
}

impl Metrics {
    pub fn new(config: &[(String, MetricConfig)], place: &Place, metrics: &StageMetrics) -> Result<Self, StageError> {
        if config.is_empty() {
            return Err(place.fault(StageFault::Required));
        }
        config
            .iter()
            .map(|(name, metric)| Metric::new(name, metric, &place.key(name), metrics))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Metric {
    fn new(name: &str, config: &MetricConfig, place: &Place, metrics: &StageMetrics) -> Result<Self, StageError> {
        let prefix = config.prefix.as_deref().filter(|p| !p.is_empty()).unwrap_or("promtail_custom_");
        let full = format!("{prefix}{name}");
        if !is_metric_name(&full) {
            return Err(place.fault(StageFault::MetricName(full)));
        }
        let idle_ns = match config.max_idle_duration {
            None => DEFAULT_IDLE_NS,
            Some(idle) => i64::try_from(idle.as_nanos()).unwrap_or(i64::MAX),
        };
        if idle_ns < LEAST_IDLE_NS {
            return Err(place.key("max_idle_duration").fault(StageFault::Combination("at least 1s is required")));
        }
        let settings = &config.config;
        let here = place.key("config");
        let (kind, action) = match config.kind.to_lowercase().as_str() {
            "counter" => (SeriesKind::Counter, counter_action(settings, &here)?),
            "gauge" => (SeriesKind::Gauge, gauge_action(settings, &here)?),
            "histogram" => (SeriesKind::Histogram(buckets(settings, &here)?), Action::Observe),
            other => {
                let given = other.to_owned();
                let allowed = "counter, gauge, histogram";
                return Err(place.key("type").fault(StageFault::Choice { given, allowed }));
            }
        };
        Ok(Self {
            source: Name::from(config.source.as_deref().unwrap_or(name)),
            value: settings.value.clone(),
            action,
            series: metrics.define(&full, &config.description, kind, idle_ns),
        })
    }

    fn change(&self, entry: &Entry) -> Option<Change> {
        match self.action {
            Action::CountAll => return Some(Change::Add(1.0)),
            #[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
            Action::CountBytes => return Some(Change::Add(entry.line.len() as f64)),
            _ => {}
        }
        // Null counts as being there, unless its text or number is asked for.
        let found = entry.extracted.get(&self.source)?;
        if let Some(value) = &self.value
            && found.as_text().as_deref() != Some(value)
        {
            return None;
        }
        match self.action {
            Action::Step { up } => Some(Change::Add(if up { 1.0 } else { -1.0 })),
            Action::Add { up, only_up } => {
                // A counter cannot go down; Promtail's process would end here.
                let number = number(found).filter(|n| !only_up || *n >= 0.0)?;
                Some(Change::Add(if up { number } else { -number }))
            }
            Action::Set => number(found).map(Change::Set),
            Action::Observe => number(found).map(Change::Observe),
            Action::CountAll | Action::CountBytes | Action::Never => None,
        }
    }
}

fn counter_action(settings: &MetricSettings, place: &Place) -> Result<Action, StageError> {
    let action = settings.action.as_deref().unwrap_or_default().to_lowercase();
    let fault = |text| Err(place.fault(StageFault::Combination(text)));
    let action = match action.as_str() {
        "inc" => Action::Step { up: true },
        "add" => Action::Add { up: true, only_up: true },
        _ => {
            return Err(place.key("action").fault(StageFault::Choice { given: action, allowed: "inc, add" }));
        }
    };
    if settings.match_all && settings.value.is_some() {
        return fault("`match_all: true` cannot be combined with `value`");
    }
    if settings.count_entry_bytes && !settings.match_all {
        return fault("`count_entry_bytes: true` needs `match_all: true`");
    }
    if settings.count_entry_bytes && action == (Action::Step { up: true }) {
        return fault("`count_entry_bytes: true` needs `action: add`");
    }
    match (settings.match_all, settings.count_entry_bytes, action) {
        (true, true, _) => Ok(Action::CountBytes),
        (true, false, Action::Step { .. }) => Ok(Action::CountAll),
        // There is nothing to add: Promtail loads this and never counts.
        (true, false, _) => Ok(Action::Never),
        (false, _, action) => Ok(action),
    }
}

fn gauge_action(settings: &MetricSettings, place: &Place) -> Result<Action, StageError> {
    let action = settings.action.as_deref().unwrap_or_default().to_lowercase();
    Ok(match action.as_str() {
        "set" => Action::Set,
        "inc" => Action::Step { up: true },
        "dec" => Action::Step { up: false },
        "add" => Action::Add { up: true, only_up: false },
        "sub" => Action::Add { up: false, only_up: false },
        _ => {
            let allowed = "set, inc, dec, add, sub";
            return Err(place.key("action").fault(StageFault::Choice { given: action, allowed }));
        }
    })
}

/// Rising bounds without infinity.
fn buckets(settings: &MetricSettings, place: &Place) -> Result<Vec<f64>, StageError> {
    let mut bounds = settings.buckets.clone();
    if bounds.is_empty() {
        bounds = DEFAULT_BUCKETS.to_vec();
    }
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
    }
    let rising = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    if !rising || bounds.iter().any(|b| !b.is_finite()) {
        return Err(place.key("buckets").fault(StageFault::Buckets));
    }
    Ok(bounds)
}

/// Texts may be numbers or Go durations, which are seconds then.
#[allow(clippy::cast_precision_loss, reason = "metrics are floats")]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => None,
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Integer(n) => Some(*n as f64),
        Value::Unsigned(n) => Some(*n as f64),
        Value::Float(f) => Some(*f),
        Value::Text(text) => text.parse().ok().or_else(|| Some(go_duration(text)? as f64 / 1e9)),
    }
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

/// Without internal labels, such as the tenant's: series must not carry them, nor differ only by them.
fn visible(labels: &Labels) -> Cow<'_, Labels> {
    if labels.iter().any(|(name, _)| name.starts_with("__")) {
        let mut visible = labels.clone();
        visible.retain(|name, _| !name.starts_with("__"));
        return Cow::Owned(visible);
    }
    Cow::Borrowed(labels)
}

impl LineStage for Metrics {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let labels = visible(&entry.labels);
        for metric in &self.0 {
            if let Some(change) = metric.change(entry) {
                metric.series.change(&labels, change, now_ns);
            }
        }
        Flow::Pass
    }
}
