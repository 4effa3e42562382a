//! A route of any signal, as planned: what all of them have in common.

use config::{DestinationPlan, LogsRoute, MetricsRoute, TracesRoute};
use pipeline::LaneId;
use queue::QueueError;

use super::{
    drain::{Blueprint, DrainPlan},
    processing::StagePlan,
};
use crate::lanes::{logs_lane, metrics_lane, traces_lane};

/// One entry of `metrics.configs`, `logs.configs` or `traces.configs`, or what empties a lane that none of them has any more.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutePlan {
    Metrics(MetricsRoute),
    Logs(LogsRoute),
    Traces(Box<TracesRoute>),
    Drain(Box<DrainPlan>),
}

impl RoutePlan {
    /// Every route of a plan.
    pub fn all(blueprint: &Blueprint) -> impl Iterator<Item = Self> + '_ {
        let Blueprint { plan, drains } = blueprint;
        let (metrics, logs) = (plan.metrics.iter().cloned(), plan.logs.iter().cloned());
        let traces = plan.traces.iter().cloned().map(|route| Self::Traces(Box::new(route)));
        metrics
            .map(Self::Metrics)
            .chain(logs.map(Self::Logs))
            .chain(traces)
            .chain(drains.iter().cloned().map(|drain| Self::Drain(Box::new(drain))))
    }

    /// As written in the file: unique within its signal.
    pub fn name(&self) -> &str {
        match self {
            Self::Metrics(route) => &route.name,
            Self::Logs(route) => &route.name,
            Self::Traces(route) => &route.name,
            Self::Drain(drain) => &drain.name,
        }
    }

    /// Its place in the queue: unique among all routes.
    pub fn lane(&self) -> Result<LaneId, QueueError> {
        match self {
            Self::Metrics(route) => metrics_lane(&route.name),
            Self::Logs(route) => logs_lane(&route.name),
            Self::Traces(route) => traces_lane(&route.name),
            Self::Drain(drain) => Ok(drain.lane.clone()),
        }
    }

    pub fn destinations(&self) -> &[DestinationPlan] {
        match self {
            Self::Metrics(route) => &route.destinations,
            Self::Logs(route) => &route.destinations,
            Self::Traces(route) => &route.destinations,
            Self::Drain(_) => &[],
        }
    }

    pub fn metrics(&self) -> Option<&MetricsRoute> {
        match self {
            Self::Metrics(route) => Some(route),
            _ => None,
        }
    }

    pub fn logs(&self) -> Option<&LogsRoute> {
        match self {
            Self::Logs(route) => Some(route),
            _ => None,
        }
    }

    pub fn traces(&self) -> Option<&TracesRoute> {
        match self {
            Self::Traces(route) => Some(&**route),
            _ => None,
        }
    }

    pub fn is_drain(&self) -> bool {
        matches!(self, Self::Drain(_))
    }

    /// The entry of the file that it belongs to: its own name, but for parts of an instance of traces.
    pub fn instance(&self) -> &str {
        match self {
            Self::Traces(route) => route.instance(),
            Self::Drain(drain) => &drain.instance,
            _ => self.name(),
        }
    }

    /// What is done to spans between two lanes.
    pub fn stage(&self) -> anyhow::Result<Option<StagePlan>> {
        match self {
            Self::Traces(route) => StagePlan::of_route(route, &self.lane()?).map(Some),
            Self::Drain(drain) => Ok(Some(StagePlan::of_drain(drain))),
            _ => Ok(None),
        }
    }
}
