//! The stages that only move labels: `labels`, `static_labels`, `labeldrop`, `labelallow`, `structured_metadata`, `tenant`.

use super::{Flow, LineStage, mapping};
use crate::{
    Entry, Name, StageError, StageFault,
    config::{Mapping, TenantConfig},
    entry::TENANT_LABEL,
    error::Place,
    selector::is_label_name,
};

fn check_names<'a>(names: impl Iterator<Item = &'a String>, place: &Place) -> Result<(), StageError> {
    for name in names {
        if !is_label_name(name) {
            return Err(place.key(name).fault(StageFault::LabelName(name.clone())));
        }
    }
    Ok(())
}

/// `labels`: labels from extracted values; what is not there changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct FromExtracted(Vec<(Name, Name)>);

impl FromExtracted {
    pub fn new(config: &Mapping, place: &Place) -> Result<Self, StageError> {
        if config.is_empty() {
            return Err(place.fault(StageFault::Required));
        }
        check_names(config.iter().map(|(name, _)| name), place)?;
        Ok(Self(mapping(config)))
    }

    pub fn of(label: &str) -> Self {
        Self(vec![(Name::from(label), Name::from(label))])
    }
}

impl LineStage for FromExtracted {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        for (label, source) in &self.0 {
            if let Some(value) = entry.extracted.text(source)
                && entry.labels.get(label) != Some(&*value)
            {
                entry.labels.set(label, &value);
            }
        }
        Flow::Pass
    }
}

/// `static_labels`.
#[derive(Debug, Clone)]
pub(crate) struct Static(Vec<(String, String)>);

impl Static {
    pub fn new(config: &[(String, String)], place: &Place) -> Result<Self, StageError> {
        if config.is_empty() {
            return Err(place.fault(StageFault::Required));
        }
        check_names(config.iter().map(|(name, _)| name), place)?;
        Ok(Self(config.to_vec()))
    }
}

impl LineStage for Static {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        for (name, value) in &self.0 {
            entry.labels.set(name, value);
        }
        Flow::Pass
    }
}

/// `labeldrop` and `labelallow`.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    names: Vec<String>,
    /// Whether the named labels stay, or the others.
    named_stay: bool,
}

impl Keep {
    pub fn new(names: &[String], named_stay: bool, place: &Place) -> Result<Self, StageError> {
        if names.is_empty() {
            return Err(place.fault(StageFault::Required));
        }
        Ok(Self { names: names.to_vec(), named_stay })
    }
}

impl LineStage for Keep {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        entry.labels.retain(|name, _| self.names.iter().any(|n| n == name) == self.named_stay);
        Flow::Pass
    }
}

/// `structured_metadata`: from extracted values, then from labels, which leave the stream.
#[derive(Debug, Clone)]
pub(crate) struct Metadata(Vec<(Name, Name)>);

impl Metadata {
    pub fn new(config: &Mapping, place: &Place) -> Result<Self, StageError> {
        if config.is_empty() {
            return Err(place.fault(StageFault::Required));
        }
        check_names(config.iter().map(|(name, _)| name), place)?;
        Ok(Self(mapping(config)))
    }
}

impl LineStage for Metadata {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        for (name, source) in &self.0 {
            if let Some(value) = entry.extracted.text(source) {
                entry.structured_metadata.set(name, &value);
            }
        }
        for (name, source) in &self.0 {
            if let Some(value) = entry.labels.get(source) {
                entry.structured_metadata.set(name, value);
            }
        }
        entry.labels.retain(|name, _| !self.0.iter().any(|(_, source)| **source == *name));
        Flow::Pass
    }
}

/// `tenant`: an empty or missing tenant changes nothing.
#[derive(Debug, Clone)]
pub(crate) enum Tenant {
    Label(String),
    Source(Name),
    Value(String),
}

impl Tenant {
    pub fn new(config: &TenantConfig, place: &Place) -> Result<Self, StageError> {
        let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        match (given(&config.label), given(&config.source), given(&config.value)) {
            (Some(label), None, None) => Ok(Self::Label(label)),
            (None, Some(source), None) => Ok(Self::Source(Name::from(source))),
            (None, None, Some(value)) => Ok(Self::Value(value)),
            _ => Err(place.fault(StageFault::Combination("exactly one of `label`, `source` and `value` is required"))),
        }
    }
}

impl LineStage for Tenant {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        let tenant = match self {
            Self::Label(label) => entry.labels.get(label).map(str::to_owned),
            Self::Source(source) => entry.extracted.text(source).map(|t| t.into_owned()),
            Self::Value(value) => Some(value.clone()),
        };
        if let Some(tenant) = tenant.filter(|t| !t.is_empty()) {
            entry.labels.set(TENANT_LABEL, &tenant);
        }
        Flow::Pass
    }
}
