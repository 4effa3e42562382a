//! From exposed labels to stored ones: target labels, metric relabelling, limits. The slow path's rules.

use model::Labels;

use super::{CacheConfig, IngestFault};
use crate::parser::series::SeriesText;

const EXPORTED: &str = "exported_";
/// Characters of a series shown in a message.
const SHOWN: usize = 200;

#[derive(Debug)]
pub(super) struct Admission {
    pub(super) config: CacheConfig,
}

impl Admission {
    pub(super) fn new(mut config: CacheConfig) -> Self {
        config.target_labels.retain(|name, _| !name.starts_with("__"));
        Self { config }
    }

    /// The labels a sample is stored under, in name order, where they need no work: without rules, and where no label
    /// has to make way. Everything is lent; this is what a first scrape mostly does. `None` says to ask
    /// [`admit`](Self::admit).
    pub(super) fn lend<'a>(&'a self, exposed: &'a SeriesText) -> Option<Vec<(&'a str, &'a str)>> {
        if !self.config.metric_relabel.is_empty() {
            return None;
        }
        let mut pairs = Vec::with_capacity(16);
        pairs.push(("__name__", exposed.name()));
        pairs.extend(exposed.labels().filter(|(_, value)| !value.is_empty()));
        for (name, value) in self.config.target_labels.iter() {
            let mut same = exposed.labels().filter(|(exposed, _)| *exposed == name);
            match same.next() {
                // Even an empty label wins.
                Some(_) if self.config.honor_labels => {}
                Some((_, displaced)) if !displaced.is_empty() => return None,
                _ => pairs.push((name, value)),
            }
        }
        pairs.sort_unstable_by_key(|(name, _)| *name);
        Some(pairs)
    }

    /// The labels a sample is stored under; `None` if relabelling drops it.
    pub(super) fn admit(&self, exposed: &SeriesText) -> Result<Option<Labels>, IngestFault> {
        let mut labels = self.with_target_labels(exposed);
        let rules = &self.config.metric_relabel;
        if !rules.is_empty() && !relabel::process(&mut labels, rules) || labels.is_empty() {
            return Ok(None);
        }
        if labels.get("__name__").is_none() {
            let pairs: Vec<_> = labels.iter().collect();
            return Err(IngestFault::NoName { series: show(&pairs) });
        }
        Ok(Some(labels))
    }

    /// `honor_labels`: what is exposed wins, even an empty value, which removes the label. Else the target wins, and
    /// what was exposed under its name moves to `exported_` names.
    fn with_target_labels(&self, exposed: &SeriesText) -> Labels {
        let mut labels: Labels = std::iter::once(("__name__", exposed.name()))
            .chain(exposed.labels().filter(|(_, value)| !value.is_empty()))
            .collect();
        let mut displaced: Vec<(&str, String)> = Vec::new();
        for (name, value) in self.config.target_labels.iter() {
            if self.config.honor_labels {
                if !exposed.labels().any(|(exposed, _)| exposed == name) {
                    labels.set(name, value);
                }
                continue;
            }
            if let Some(exposed) = labels.get(name) {
                displaced.push((name, exposed.to_owned()));
            }
            labels.set(name, value);
        }
        displaced.sort_by_key(|(name, _)| name.len());
        for (name, value) in displaced {
            let mut moved = format!("{EXPORTED}{name}");
            while labels.get(&moved).is_some() {
                moved.insert_str(0, EXPORTED);
            }
            labels.set(&moved, &value);
        }
        labels
    }

    /// After relabelling, `__name__` included, as Prometheus counts.
    pub(super) fn check_limits(&self, labels: &[(&str, &str)]) -> Result<(), IngestFault> {
        let limits = &self.config.limits;
        let exceeds = |found: usize, limit: u64| limit > 0 && found as u64 > limit;
        if exceeds(labels.len(), limits.labels) {
            return Err(IngestFault::LabelLimit { series: show(labels), found: labels.len(), limit: limits.labels });
        }
        for (name, value) in labels {
            if exceeds(name.len(), limits.label_name_length) {
                return Err(IngestFault::LabelNameLength {
                    series: show(labels),
                    name: cut(name),
                    found: name.len(),
                    limit: limits.label_name_length,
                });
            }
            if exceeds(value.len(), limits.label_value_length) {
                return Err(IngestFault::LabelValueLength {
                    series: show(labels),
                    name: cut(name),
                    found: value.len(),
                    limit: limits.label_value_length,
                });
            }
        }
        Ok(())
    }
}

/// A series as text, for messages.
pub(super) fn show(labels: &[(&str, &str)]) -> String {
    let name = labels.iter().find(|(name, _)| *name == "__name__");
    let mut text = name.map_or("", |(_, value)| *value).to_owned();
    let mut open = '{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        text.extend([open.to_string().as_str(), name, "=\"", value, "\""]);
        open = ',';
        if text.len() > SHOWN {
            break;
        }
    }
    if open == ',' {
        text.push('}');
    }
    cut(&text)
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
