//! From configuration to stages: every key is checked here, and errors name its place.

use std::sync::Arc;

use crate::{
    PipelineConfig, StageConfig, StageError, StageFault, StageMetrics,
    config::MatchConfig,
    error::Place,
    pipeline::{Action, Dropped, Step},
    selector::Selector,
    step::{
        LineStage, cri::Cri, docker::Docker, drop::Drop, eventlog::EventLogMessage, geoip::GeoIp, json::Json, labels,
        limit::Limit, logfmt::Logfmt, metrics::Metrics, multiline::Multiline, output, pack::Pack, reason, regex::Regex,
        replace::Replace, sampling::Sampling, template::Template, timestamp::Timestamp,
    },
};

/// Deepest nesting of `match`. Each level takes a few frames of stack for every line.
const MAX_NESTING: usize = 32;

pub(crate) fn assemble(config: &PipelineConfig, metrics: &StageMetrics) -> Result<Vec<Step>, StageError> {
    list(&config.stages, &Place::root(), metrics, 0)
}

fn list(stages: &[StageConfig], place: &Place, metrics: &StageMetrics, depth: usize) -> Result<Vec<Step>, StageError> {
    stages.iter().enumerate().map(|(i, stage)| step(stage, &place.index(i), metrics, depth)).collect()
}

fn step(stage: &StageConfig, place: &Place, metrics: &StageMetrics, depth: usize) -> Result<Step, StageError> {
    let place = place.key(stage.key());
    let mut dropped = None;
    let mut drops_as = |reason: &str| {
        dropped = Some(Dropped { reason: reason.into(), count: metrics.dropped(reason) });
    };
    let action = match stage {
        StageConfig::Cri(config) => Action::Cri(Box::new(Cri::new(config))),
        StageConfig::Multiline(config) => Action::Multiline(Multiline::new(config, &place)?),
        StageConfig::Match(config) => {
            let action = matching(config, &place, metrics, depth)?;
            if matches!(action, Action::Discard(_)) {
                drops_as(reason(config.drop_counter_reason.as_deref(), "match_stage"));
            }
            action
        }
        other => {
            match other {
                StageConfig::Drop(config) => drops_as(reason(config.drop_counter_reason.as_deref(), "drop_stage")),
                StageConfig::Sampling(config) => {
                    drops_as(reason(config.drop_counter_reason.as_deref(), "sampling_stage"));
                }
                StageConfig::Limit(config) if config.drop => drops_as("ratelimit_drop_stage"),
                StageConfig::Json(config) if config.drop_malformed => drops_as("malformed_json"),
                _ => {}
            }
            Action::Line(line(other, &place, metrics)?)
        }
    };
    Ok(Step { path: place.as_str().into(), action, dropped, failures: metrics.failures(stage.key()) })
}

fn line(stage: &StageConfig, place: &Place, metrics: &StageMetrics) -> Result<Box<dyn LineStage>, StageError> {
    Ok(match stage {
        StageConfig::Docker => Box::new(Docker::new(place)?),
        StageConfig::Json(config) => Box::new(Json::new(config, place)?),
        StageConfig::Logfmt(config) => Box::new(Logfmt::new(config, place)?),
        StageConfig::Regex(config) => Box::new(Regex::new(config, place)?),
        StageConfig::Replace(config) => Box::new(Replace::new(config, place)?),
        StageConfig::Template(config) => Box::new(Template::new(config, place)?),
        StageConfig::Labels(config) => Box::new(labels::FromExtracted::new(config, place)?),
        StageConfig::StaticLabels(config) => Box::new(labels::Static::new(config, place)?),
        StageConfig::LabelDrop(names) => Box::new(labels::Keep::new(names, false, place)?),
        StageConfig::LabelAllow(names) => Box::new(labels::Keep::new(names, true, place)?),
        StageConfig::StructuredMetadata(config) => Box::new(labels::Metadata::new(config, place)?),
        StageConfig::Timestamp(config) => Box::new(Timestamp::new(config, place)?),
        StageConfig::Output(config) => Box::new(output::Output::new(config, place)?),
        StageConfig::Tenant(config) => Box::new(labels::Tenant::new(config, place)?),
        StageConfig::Drop(config) => Box::new(Drop::new(config, place)?),
        StageConfig::Limit(config) => Box::new(Limit::new(config, place, metrics)?),
        StageConfig::Sampling(config) => Box::new(Sampling::new(config, place)?),
        StageConfig::Pack(config) => Box::new(Pack::new(config)),
        StageConfig::Metrics(config) => Box::new(Metrics::new(config, place, metrics)?),
        StageConfig::GeoIp(config) => Box::new(GeoIp::new(config, place)?),
        StageConfig::EventLogMessage(config) => Box::new(EventLogMessage::new(config, place)?),
        StageConfig::Decolorize | StageConfig::Cri(_) | StageConfig::Multiline(_) | StageConfig::Match(_) => {
            Box::new(output::Decolorize::new(place)?)
        }
    })
}

fn matching(config: &MatchConfig, place: &Place, metrics: &StageMetrics, depth: usize) -> Result<Action, StageError> {
    if config.pipeline_name.as_deref() == Some("") {
        return Err(place.key("pipeline_name").fault(StageFault::Empty));
    }
    if config.selector.is_empty() {
        return Err(place.key("selector").fault(StageFault::Required));
    }
    if depth >= MAX_NESTING {
        return Err(place.fault(StageFault::Nesting(MAX_NESTING)));
    }
    let selector = Selector::parse(&config.selector).map_err(|fault| place.key("selector").fault(fault))?;
    let selector = Arc::new(selector);
    let nested = place.key("stages");
    match (config.action.as_deref(), config.stages.is_empty()) {
        (None | Some("" | "keep"), false) => {
            Ok(Action::Keep(selector, list(&config.stages, &nested, metrics, depth + 1)?))
        }
        (None | Some("" | "keep"), true) => Err(nested.fault(StageFault::Required)),
        (Some("drop"), true) => Ok(Action::Discard(selector)),
        (Some("drop"), false) => {
            Err(nested.fault(StageFault::Combination("a match stage that drops cannot have stages")))
        }
        (Some(other), _) => {
            let given = other.to_owned();
            Err(place.key("action").fault(StageFault::Choice { given, allowed: "keep, drop" }))
        }
    }
}
