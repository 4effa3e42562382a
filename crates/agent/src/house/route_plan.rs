//! A route of any signal, as planned: what all of them have in common.

use config::{DestinationPlan, LogsRoute, MetricsRoute, Plan};
use pipeline::LaneId;
use queue::QueueError;

use crate::lanes::{logs_lane, metrics_lane};

/// One entry of `metrics.configs` or `logs.configs`.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutePlan {
    Metrics(MetricsRoute),
    Logs(LogsRoute),
}

impl RoutePlan {
    /// Every route of a plan.
    pub fn all(plan: &Plan) -> impl Iterator<Item = Self> + '_ {
        plan.metrics.iter().cloned().map(Self::Metrics).chain(plan.logs.iter().cloned().map(Self::Logs))
    }

    /// As written in the file: unique within its signal.
    pub fn name(&self) -> &str {
        match self {
            Self::Metrics(route) => &route.name,
            Self::Logs(route) => &route.name,
        }
    }

    /// Its place in the queue: unique among all routes.
    pub fn lane(&self) -> Result<LaneId, QueueError> {
        match self {
            Self::Metrics(route) => metrics_lane(&route.name),
            Self::Logs(route) => logs_lane(&route.name),
        }
    }

    pub fn destinations(&self) -> &[DestinationPlan] {
        match self {
            Self::Metrics(route) => &route.destinations,
            Self::Logs(route) => &route.destinations,
        }
    }

    pub fn metrics(&self) -> Option<&MetricsRoute> {
        match self {
            Self::Metrics(route) => Some(route),
            Self::Logs(_) => None,
        }
    }

    pub fn logs(&self) -> Option<&LogsRoute> {
        match self {
            Self::Logs(route) => Some(route),
            Self::Metrics(_) => None,
        }
    }
}
