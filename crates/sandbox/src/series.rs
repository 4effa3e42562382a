//! The samples that arrived: per destination and series the last value and counts, and, when recording, every sample.
//!
//! Keeps true: memory stays within [`crate::Limits`]; what is not kept is counted as not kept, never lost silently.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::{
    config::{Limits, SampleRules},
    rate::Rate,
    remote_write::{Series, WriteError, walk},
};

/// Bits of the Prometheus staleness marker.
const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// Reasons reported in one answer.
const REASONS: usize = 5;

/// Sums over all destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SampleTotals {
    /// Samples stored, stale markers included.
    pub samples: u64,
    /// Of these, staleness markers.
    pub stale_markers: u64,
    /// Native histogram samples seen (counted, not kept).
    pub histograms: u64,
    /// Exemplars seen (counted, not kept).
    pub exemplars: u64,
    /// Metadata entries seen (counted, not kept).
    pub metadata: u64,
    /// Distinct series kept.
    pub series: u64,
    /// Samples of series beyond the limit: counted above, not kept.
    pub not_kept: u64,
    /// Samples older than the newest of their series.
    pub out_of_order: u64,
    /// Samples equal to the last one of their series, in time and value.
    pub duplicates: u64,
    /// Samples with the time of the last one of their series but another value.
    pub conflicting: u64,
    /// Samples refused (labels, age, order).
    pub refused: u64,
    /// Distinct (series, timestamp, value) recorded.
    pub recorded: u64,
    /// The recording is incomplete because it reached its limit.
    pub recording_overflowed: bool,
}

/// One series as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesState {
    /// `aps:ws-EXAMPLE`, `s3:bucket`, `prometheus:/api/v1/write`.
    pub destination: String,
    /// With `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Newest timestamp, milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
    /// Its value as Prometheus writes it (`NaN`, `+Inf`, `1.5`).
    pub last_value: String,
    /// The last sample was a staleness marker.
    pub is_stale: bool,
    /// Samples so far.
    pub samples: u64,
    /// When the last one arrived, by the sandbox's clock.
    pub arrived_ms: i64,
    /// Who sent the last one: a verified ARN, or empty.
    pub caller_arn: String,
}

/// Everything recorded of one series, in order of timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeriesDump {
    /// See [`SeriesState::destination`].
    pub destination: String,
    /// With `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Distinct samples.
    pub samples: Vec<RecordedSample>,
}

/// One distinct (timestamp, value) of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RecordedSample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value's bits, so that NaN payloads can be told apart. Hexadecimal text in JSON.
    #[serde(serialize_with = "as_hex")]
    pub value_bits: u64,
    /// How often it arrived.
    pub count: u32,
}

impl RecordedSample {
    /// The value itself.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.value_bits)
    }
}

fn as_hex<S: serde::Serializer>(bits: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{bits:016x}"))
}

#[derive(Debug)]
struct Row {
    labels: BTreeMap<String, String>,
    last: Option<(i64, f64)>,
    samples: u64,
    arrived_ms: i64,
    caller: u16,
    recorded: BTreeMap<(i64, u64), Recorded>,
}

/// How often a sample arrived, and who was the first to send it.
#[derive(Debug, Clone, Copy)]
struct Recorded {
    count: u32,
    caller: u16,
}

/// ARNs by number, so that a sample can name its caller in two bytes.
#[derive(Debug, Default)]
struct Callers {
    numbers: HashMap<String, u16>,
    names: Vec<String>,
}

impl Callers {
    /// The number of an ARN. All those beyond the first 65,534 share one.
    fn number(&mut self, arn: &str) -> u16 {
        if let Some(known) = self.numbers.get(arn) {
            return *known;
        }
        let Ok(number) = u16::try_from(self.names.len()) else {
            return u16::MAX;
        };
        if number < u16::MAX {
            self.numbers.insert(arn.to_owned(), number);
            self.names.push(arn.to_owned());
        }
        number
    }

    fn name(&self, number: u16) -> &str {
        self.names.get(usize::from(number)).map(String::as_str).unwrap_or("(one of too many)")
    }
}

/// What became of one body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) samples: u64,
    pub(crate) refused: u64,
    /// The first few reasons.
    pub(crate) reasons: Vec<String>,
}

impl Stored {
    fn refuse(&mut self, samples: u64, reason: String) {
        self.refused += samples;
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// All series of all destinations.
#[derive(Debug)]
pub(crate) struct SeriesStore {
    rows: HashMap<String, HashMap<Vec<u8>, Row>>,
    callers: Callers,
    totals: SampleTotals,
    label_bytes: usize,
    rate: Rate,
    limits: Limits,
    record: bool,
    rules: Option<SampleRules>,
}

impl SeriesStore {
    pub(crate) fn new(limits: Limits, record: bool, rules: Option<SampleRules>) -> Self {
        Self {
            rows: HashMap::new(),
            callers: Callers::default(),
            totals: SampleTotals::default(),
            label_bytes: 0,
            rate: Rate::new(),
            limits,
            record,
            rules,
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limits.clone(), self.record, self.rules);
    }

    /// Stores a decompressed `WriteRequest`. Nothing is stored when it is not valid protobuf; series or samples that a
    /// receiver refuses are left out and named, the rest is stored (as Cortex and AMP do).
    pub(crate) fn ingest(
        &mut self,
        destination: &str,
        caller_arn: &str,
        now_ms: i64,
        raw: &[u8],
    ) -> Result<Stored, WriteError> {
        let counts = walk(raw, |_| {})?;
        self.totals.metadata += counts.metadata;
        let mut stored = Stored::default();
        let caller = self.callers.number(caller_arn);
        walk(raw, |series| self.put(destination, caller, now_ms, &series, &mut stored))?;
        self.totals.samples += stored.samples;
        self.totals.refused += stored.refused;
        self.rate.add(now_ms, stored.samples);
        Ok(stored)
    }

    fn put(&mut self, destination: &str, caller: u16, now_ms: i64, series: &Series<'_>, stored: &mut Stored) {
        self.totals.exemplars += series.exemplars;
        self.totals.histograms += series.histograms;
        if let Some(problem) = series.problem() {
            stored.refuse(series.samples().count() as u64, problem);
            return;
        }
        let mut key = Vec::new();
        for (name, value) in &series.labels {
            for text in [name, value] {
                key.extend_from_slice(text.as_bytes());
                key.push(0xff); // never part of UTF-8
            }
        }
        let is_known = self.rows.get(destination).is_some_and(|rows| rows.contains_key(&key));
        if !is_known {
            let is_room = self.totals.series < self.limits.series as u64
                && self.label_bytes.saturating_add(key.len()) <= self.limits.label_bytes;
            if !is_room {
                let count = series.samples().count() as u64;
                stored.samples += count;
                self.totals.not_kept += count;
                self.totals.recording_overflowed |= self.record;
                return;
            }
            self.totals.series += 1;
            self.label_bytes += key.len();
        }
        let row = self.rows.entry(destination.to_owned()).or_default().entry(key).or_insert_with(|| Row {
            labels: series.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            last: None,
            samples: 0,
            arrived_ms: now_ms,
            caller,
            recorded: BTreeMap::new(),
        });
        for (timestamp, value) in series.samples() {
            if let Some(reason) = refusal_by_rules(self.rules, now_ms, row.last, timestamp, value) {
                stored.refuse(1, reason);
                continue;
            }
            stored.samples += 1;
            row.samples += 1;
            row.arrived_ms = now_ms;
            row.caller = caller;
            self.totals.stale_markers += u64::from(value.to_bits() == STALE_NAN_BITS);
            match row.last {
                Some((last, _)) if timestamp < last => self.totals.out_of_order += 1,
                Some((last, same)) if timestamp == last && value.to_bits() == same.to_bits() => {
                    self.totals.duplicates += 1;
                }
                Some((last, _)) if timestamp == last => self.totals.conflicting += 1,
                _ => row.last = Some((timestamp, value)),
            }
            if self.record {
                let entry = (timestamp, value.to_bits());
                if let Some(known) = row.recorded.get_mut(&entry) {
                    known.count = known.count.saturating_add(1);
                } else if self.totals.recorded < self.limits.recorded_samples as u64 {
                    row.recorded.insert(entry, Recorded { count: 1, caller });
                    self.totals.recorded += 1;
                } else {
                    self.totals.recording_overflowed = true;
                }
            }
        }
    }

    pub(crate) fn totals(&self) -> &SampleTotals {
        &self.totals
    }

    pub(crate) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// The series that arrived last, at most `limit`, of the metric `metric` if given.
    pub(crate) fn latest(&self, metric: Option<&str>, limit: usize) -> Vec<SeriesState> {
        let mut found: Vec<(&str, &Row)> = self.named(metric).collect();
        let order = |(a_to, a): &(&str, &Row), (b_to, b): &(&str, &Row)| {
            b.arrived_ms.cmp(&a.arrived_ms).then_with(|| a.labels.cmp(&b.labels)).then_with(|| a_to.cmp(b_to))
        };
        if limit == 0 {
            return Vec::new();
        }
        if found.len() > limit {
            found.select_nth_unstable_by(limit - 1, order);
            found.truncate(limit);
        }
        found.sort_unstable_by(order);
        found
            .into_iter()
            .map(|(destination, row)| {
                let (last_timestamp_ms, value) = row.last.unwrap_or_default();
                SeriesState {
                    destination: destination.to_owned(),
                    labels: row.labels.clone(),
                    last_timestamp_ms,
                    last_value: shown_value(value),
                    is_stale: value.to_bits() == STALE_NAN_BITS,
                    samples: row.samples,
                    arrived_ms: row.arrived_ms,
                    caller_arn: self.callers.name(row.caller).to_owned(),
                }
            })
            .collect()
    }

    /// Everything recorded, sorted by destination and labels. With a caller: only what that one was the first to send,
    /// and no series without such samples.
    pub(crate) fn dump(
        &self,
        destination: Option<&str>,
        metric: Option<&str>,
        caller: Option<&str>,
    ) -> Vec<SeriesDump> {
        let mut all: Vec<SeriesDump> = self
            .named(metric)
            .filter(|(to, _)| destination.is_none_or(|wanted| wanted == *to))
            .map(|(to, row)| SeriesDump {
                destination: to.to_owned(),
                labels: row.labels.clone(),
                samples: row
                    .recorded
                    .iter()
                    .filter(|(_, known)| caller.is_none_or(|wanted| self.callers.name(known.caller) == wanted))
                    .map(|((timestamp_ms, value_bits), known)| RecordedSample {
                        timestamp_ms: *timestamp_ms,
                        value_bits: *value_bits,
                        count: known.count,
                    })
                    .collect(),
            })
            .filter(|dump| caller.is_none() || !dump.samples.is_empty())
            .collect();
        all.sort_unstable_by(|a, b| (&a.destination, &a.labels).cmp(&(&b.destination, &b.labels)));
        all
    }

    fn named<'s>(&'s self, metric: Option<&'s str>) -> impl Iterator<Item = (&'s str, &'s Row)> + 's {
        self.rows
            .iter()
            .flat_map(|(destination, rows)| rows.values().map(move |row| (destination.as_str(), row)))
            .filter(move |(_, row)| {
                metric.is_none_or(|wanted| row.labels.get("__name__").is_some_and(|name| name == wanted))
            })
    }
}

fn refusal_by_rules(
    rules: Option<SampleRules>,
    now_ms: i64,
    last: Option<(i64, f64)>,
    timestamp: i64,
    value: f64,
) -> Option<String> {
    let rules = rules?;
    let as_ms = |limit: std::time::Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    if rules.max_age.is_some_and(|age| timestamp < now_ms.saturating_sub(as_ms(age))) {
        return Some(format!("greater_than_max_sample_age: sample of {timestamp}"));
    }
    let (newest, newest_value) = last?;
    if timestamp == newest && value.to_bits() != newest_value.to_bits() {
        return Some(format!("new-value-for-timestamp: sample of {timestamp}"));
    }
    let window = rules.out_of_order_window?;
    (timestamp < newest.saturating_sub(as_ms(window)))
        .then(|| format!("sample-out-of-order: sample of {timestamp} after one of {newest}"))
}

/// A value as Prometheus writes it.
fn shown_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote_write::tests::one_series;

    fn store(record: bool, rules: Option<SampleRules>) -> SeriesStore {
        SeriesStore::new(Limits { series: 2, recorded_samples: 3, ..Limits::default() }, record, rules)
    }

    #[test]
    fn every_sample_is_recorded_with_its_count() {
        let mut store = store(true, None);
        let raw = one_series(&[("__name__", "up")], &[(1, 1.0), (2, 0.0)]);
        store.ingest("aps:ws", "", 10, &raw).unwrap();
        store.ingest("aps:ws", "", 11, &raw).unwrap();
        let dump = store.dump(Some("aps:ws"), Some("up"), None);
        let seen: Vec<(i64, f64, u32)> = dump[0].samples.iter().map(|s| (s.timestamp_ms, s.value(), s.count)).collect();
        assert_eq!(seen, [(1, 1.0, 2), (2, 0.0, 2)]);
        assert_eq!((store.totals().samples, store.totals().out_of_order, store.totals().duplicates), (4, 1, 1));
        assert!(store.dump(Some("aps:other"), None, None).is_empty());
    }

    #[test]
    fn limits_are_counted_not_hidden() {
        let mut store = store(true, None);
        for name in ["a", "b", "c"] {
            store.ingest("d", "", 10, &one_series(&[("__name__", name)], &[(1, 1.0), (2, 1.0)])).unwrap();
        }
        let totals = store.totals();
        assert_eq!((totals.series, totals.samples, totals.not_kept, totals.recorded), (2, 6, 2, 3));
        assert!(totals.recording_overflowed);
    }

    #[test]
    fn amp_rules_refuse_the_old_and_the_late_and_keep_the_rest() {
        let mut store = store(false, Some(SampleRules::AMP));
        let now = 10_000_000;
        let samples = [(now, 1.0), (now - 60_000, 1.0), (now - 60_001, 1.0), (now - 3_600_001, 1.0), (now, 2.0)];
        let stored = store.ingest("d", "", now, &one_series(&[("__name__", "a")], &samples)).unwrap();
        assert_eq!((stored.samples, stored.refused), (2, 3));
        assert!(stored.reasons[0].starts_with("sample-out-of-order"));
        assert!(stored.reasons[1].starts_with("greater_than_max_sample_age"));
        assert!(stored.reasons[2].starts_with("new-value-for-timestamp"));
    }

    #[test]
    fn a_broken_body_stores_nothing() {
        let mut store = store(true, None);
        let mut raw = one_series(&[("__name__", "a")], &[(1, 1.0)]);
        raw.push(0x0a);
        assert!(store.ingest("d", "", 10, &raw).is_err());
        assert_eq!(store.totals(), &SampleTotals::default());
    }

    #[test]
    fn stale_markers_are_told_from_other_nans() {
        let mut store = store(false, None);
        let marker = f64::from_bits(STALE_NAN_BITS);
        store.ingest("d", "", 10, &one_series(&[("__name__", "a")], &[(1, f64::NAN), (2, marker)])).unwrap();
        let latest = store.latest(None, 10);
        assert!(latest[0].is_stale);
        assert_eq!(store.totals().stale_markers, 1);
    }
}
