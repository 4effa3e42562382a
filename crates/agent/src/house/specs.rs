//! From the plan to what the queue is told, at rest and while one plan follows another.

use std::collections::BTreeMap;

use anyhow::Result;
use config::{Plan, TracesRoute};
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, QueueConfig};

use traces::Stage;

use super::{drain::Blueprint, route_plan::RoutePlan};
use crate::lanes::{processors_name, spans_lane};

/// Where the queue lies and how much it may take.
pub fn queue_config(plan: &Plan) -> QueueConfig {
    let min_free = match plan.queue.min_free {
        config::MinFree::Auto => MinFree::default(),
        // The fraction of a percent does not matter for a safety margin.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        config::MinFree::Percent(percent) => MinFree::percent(percent.round() as u8),
        config::MinFree::Bytes(bytes) => MinFree::bytes(bytes),
    };
    // The shares of signals that do not run are nobody's: adding one later takes nothing from the others.
    let shares = plan.queue.shares;
    let all = u64::from(shares.metrics) + u64::from(shares.logs) + u64::from(shares.traces);
    let run = signals(plan, 0).iter().filter(|(_, lanes)| *lanes > 0).map(|(share, _)| u64::from(*share)).sum::<u64>();
    let max_bytes = (plan.queue.max_bytes / all.max(1)).saturating_mul(run);
    QueueConfig {
        max_bytes,
        min_free,
        commit_interval: plan.queue.commit_interval,
        ..QueueConfig::new(plan.queue.directory.clone())
    }
}

/// Share and number of lanes of each signal. `drains`: those of traces that are emptied.
fn signals(plan: &Plan, drains: usize) -> [(u32, usize); 3] {
    let shares = plan.queue.shares;
    [(shares.metrics, plan.metrics.len()), (shares.logs, plan.logs.len()), (shares.traces, plan.traces.len() + drains)]
}

/// The weights of a lane of metrics, of one of logs and of one of traces: each signal gets its share, and its lanes equal parts of it.
fn weights(blueprint: &Blueprint) -> [u32; 3] {
    let parts =
        signals(&blueprint.plan, blueprint.drains.len()).map(|(share, lanes)| f64::from(share) / (lanes.max(1) as f64));
    let largest = parts.iter().copied().fold(0.0, f64::max);
    // Of at most HEAVIEST, so that the lanes of two plans can be weighed against each other.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and HEAVIEST")]
    parts.map(|part| (part / largest.max(f64::MIN_POSITIVE) * f64::from(HEAVIEST)).round().max(1.0) as u32)
}

const HEAVIEST: u32 = 4000;

/// What the queue holds for a plan.
#[derive(Debug, Clone)]
pub struct Specs {
    pub lanes: Vec<LaneSpec>,
    pub destinations: Vec<DestinationSpec>,
}

impl Specs {
    /// These, and what only `wanted` has: the queue's shape while one plan follows another. Nothing of these is taken from:
    /// added lanes get almost nothing of the budget (nobody writes to them yet), so that no data is evicted for their sake.
    pub fn with(&self, wanted: &Self) -> Self {
        let stay = |l: &LaneSpec| LaneSpec { weight: l.weight.min(HEAVIEST) * STAYING, ..l.clone() };
        let mut lanes: Vec<LaneSpec> = self.lanes.iter().map(stay).collect();
        let added = wanted.lanes.iter().filter(|w| self.lanes.iter().all(|l| l.id != w.id));
        lanes.extend(added.map(|l| LaneSpec { weight: 1, ..l.clone() }));
        let mut destinations: BTreeMap<&str, DestinationSpec> =
            self.destinations.iter().map(|d| (d.name.as_str(), d.clone())).collect();
        for added in &wanted.destinations {
            destinations
                .entry(&added.name)
                .and_modify(|held| {
                    held.enabled |= added.enabled;
                    held.lanes.extend(
                        added.lanes.iter().filter(|lane| !held.lanes.contains(lane)).cloned().collect::<Vec<_>>(),
                    );
                })
                .or_insert_with(|| added.clone());
        }
        Self { lanes, destinations: destinations.into_values().collect() }
    }
}

/// How much heavier lanes that stay are than added ones, whose weight is 1.
const STAYING: u32 = 1 << 20;

/// The lane that a route's processors read. It stays when they go: what was received for them is still in it.
pub fn processed(plan: &Plan, route: &TracesRoute) -> Result<Option<LaneId>> {
    let lane = spans_lane(&route.name)?;
    let was = plan.queue.directory.join("lanes").join(lane.as_str()).is_dir();
    Ok((was || !route.processors.is_empty()).then_some(lane))
}

/// What a start with this plan makes of the queue.
pub fn queue_specs(plan: &Plan) -> Result<Specs> {
    specs_of(&Blueprint::at_start(plan)?)
}

/// A lane for each route, a destination for each `remote_write` and each client.
pub fn specs_of(blueprint: &Blueprint) -> Result<Specs> {
    let plan = &blueprint.plan;
    let mut lanes = Vec::new();
    let mut destinations = Vec::new();
    let [of_metrics, of_logs, of_traces] = weights(blueprint);
    for route in RoutePlan::all(blueprint) {
        let lane = route.lane()?;
        if let RoutePlan::Drain(drain) = &route {
            // It only gets emptier.
            lanes.push(LaneSpec { weight: of_traces, ..LaneSpec::new(lane.clone()) });
            destinations.push(stage_spec(drain.destination.clone(), lane));
            continue;
        }
        let processed = match route.traces() {
            Some(traces) => processed(plan, traces)?,
            None => None,
        };
        let is_logs = route.logs().is_some();
        let weight = match route {
            RoutePlan::Metrics(_) => of_metrics,
            RoutePlan::Logs(_) => of_logs,
            RoutePlan::Traces(_) | RoutePlan::Drain(_) => of_traces,
        };
        let weight = match processed {
            Some(from) => {
                // What waits for processors is little beside what waits for destinations.
                let part = (weight / 4).max(1);
                lanes.push(LaneSpec { weight: part, ..LaneSpec::new(from.clone()) });
                destinations.push(stage_spec(processors_name(&lane), from));
                weight.saturating_sub(part).max(1)
            }
            None => weight,
        };
        lanes.push(LaneSpec { weight, marked: is_logs, ..LaneSpec::new(lane.clone()) });
        for destination in route.destinations() {
            destinations.push(DestinationSpec {
                on_full: match destination.on_full {
                    config::OnFull::Evict => OnFull::Evict,
                    config::OnFull::Hold => OnFull::Hold,
                },
                // Samples and lines are expired one by one where they are sent, by their own timestamps; the queue's rule by time
                // of arrival would be a second, coarser opinion.
                max_age: None,
                enabled: destination.enabled,
                max_in_flight_bytes: destination.config.max_in_flight_bytes,
                ..DestinationSpec::new(destination.config.name.clone(), vec![lane.clone()])
            });
        }
    }
    Ok(Specs { lanes, destinations })
}

/// A stage's place in the lane that it reads.
fn stage_spec(name: String, from: LaneId) -> DestinationSpec {
    DestinationSpec {
        // What was answered is not given up before it is processed: when there is no room the sender is told.
        on_full: OnFull::Hold,
        max_in_flight_bytes: Stage::ROOM_BYTES,
        max_claims: Stage::ROOM_CLAIMS,
        ..DestinationSpec::new(name, vec![from])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESTINATIONS: &str = "[{url: 'http://127.0.0.1:9/w'}]";

    fn plan(metrics: usize, logs: usize) -> Plan {
        let mut text = String::from("queue: {max_bytes: 100MiB, shares: {metrics: 50, logs: 30, traces: 20}}\n");
        text += "metrics:\n  configs:\n";
        for number in 0..metrics {
            text += &format!("    - {{name: m{number}, remote_write: {DESTINATIONS}}}\n");
        }
        text += "logs:\n  configs:\n";
        for number in 0..logs {
            text += &format!("    - {{name: l{number}, clients: {DESTINATIONS}}}\n");
        }
        config::load(&text, config::LoadOptions::new("a.yaml", &|_| None)).unwrap_or_else(|e| panic!("{e}"))
    }

    /// MiB that each lane may take, rounded.
    fn budgets(plan: &Plan) -> Vec<(String, u64)> {
        let (room, specs) = (queue_config(plan).max_bytes, queue_specs(plan).unwrap());
        let sum: u64 = specs.lanes.iter().map(|l| u64::from(l.weight)).sum();
        let mib = |l: &LaneSpec| (room as f64 * f64::from(l.weight) / sum as f64 / f64::from(1 << 20)).round() as u64;
        specs.lanes.iter().map(|l| (l.id.to_string(), mib(l))).collect()
    }

    #[test]
    fn each_signal_gets_its_share_and_its_lanes_equal_parts() {
        let lanes = |all: &[(&str, u64)]| all.iter().map(|(n, b)| ((*n).to_owned(), *b)).collect::<Vec<_>>();
        assert_eq!(budgets(&plan(1, 0)), lanes(&[("metrics-m0", 50)]));
        assert_eq!(budgets(&plan(0, 1)), lanes(&[("logs-l0", 30)]));
        assert_eq!(budgets(&plan(1, 1)), lanes(&[("metrics-m0", 50), ("logs-l0", 30)]));
        assert_eq!(
            budgets(&plan(2, 3)),
            lanes(&[("metrics-m0", 25), ("metrics-m1", 25), ("logs-l0", 10), ("logs-l1", 10), ("logs-l2", 10)])
        );
    }

    #[test]
    fn lanes_that_stay_keep_their_room_while_others_come() {
        let (before, after) = (queue_specs(&plan(2, 1)).unwrap(), queue_specs(&plan(2, 3)).unwrap());
        let between = before.with(&after);
        let weight = |specs: &Specs, id: &str| {
            let of = specs.lanes.iter().find(|l| l.id.as_str() == id).map_or(0, |l| l.weight);
            f64::from(of) / specs.lanes.iter().map(|l| f64::from(l.weight)).sum::<f64>()
        };
        for id in ["metrics-m0", "logs-l0"] {
            let (was, is) = (weight(&before, id), weight(&between, id));
            assert!((was - is).abs() < 1e-6, "{id}: {was} {is}");
        }
    }
}
