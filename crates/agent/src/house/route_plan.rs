//! A route of any signal, as planned: what all of them have in common.

use config::{DestinationPlan, LogsRoute, MetricsRoute, Plan, TracesRoute};
use pipeline::LaneId;
use queue::QueueError;

use crate::lanes::{logs_lane, metrics_lane, traces_lane};

/// One entry of `metrics.configs`, `logs.configs` or `traces.configs`.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutePlan {
    Metrics(MetricsRoute),
    Logs(LogsRoute),
    Traces(Box<TracesRoute>),
}

impl RoutePlan {
    /// Every route of a plan.
    pub fn all(plan: &Plan) -> impl Iterator<Item = Self> + '_ {
        let (metrics, logs) = (plan.metrics.iter().cloned(), plan.logs.iter().cloned());
        let traces = plan.traces.iter().cloned().map(|route| Self::Traces(Box::new(route)));
        metrics.map(Self::Metrics).chain(logs.map(Self::Logs)).chain(traces)
    }

    /// As written in the file: unique within its signal.
    pub fn name(&self) -> &str {
        match self {
            Self::Metrics(route) => &route.name,
            Self::Logs(route) => &route.name,
            Self::Traces(route) => &route.name,
        }
    }

    /// Its place in the queue: unique among all routes.
    pub fn lane(&self) -> Result<LaneId, QueueError> {
        match self {
            Self::Metrics(route) => metrics_lane(&route.name),
            Self::Logs(route) => logs_lane(&route.name),
            Self::Traces(route) => traces_lane(&route.name),
        }
    }

    pub fn destinations(&self) -> &[DestinationPlan] {
        match self {
            Self::Metrics(route) => &route.destinations,
            Self::Logs(route) => &route.destinations,
            Self::Traces(route) => &route.destinations,
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
}
