//! From the plan to what the queue is told, at rest and while one plan follows another.

use std::collections::BTreeMap;

use anyhow::Result;
use config::Plan;
use queue::{DestinationSpec, LaneSpec, MinFree, OnFull, QueueConfig};

use crate::lanes::metrics_lane;

/// Where the queue lies and how much it may take.
pub fn queue_config(plan: &Plan) -> QueueConfig {
    let min_free = match plan.queue.min_free {
        // The fraction of a percent does not matter for a safety margin.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        config::MinFree::Percent(percent) => MinFree { percent: percent.round() as u8, ..MinFree::default() },
        config::MinFree::Bytes(bytes) => MinFree { percent: 0, bytes },
    };
    // Only metrics run in this version, and their share of the whole is what they may take.
    let shares = plan.queue.shares;
    let all = u64::from(shares.metrics) + u64::from(shares.logs) + u64::from(shares.traces);
    let max_bytes = (plan.queue.max_bytes / all.max(1)).saturating_mul(u64::from(shares.metrics));
    QueueConfig {
        max_bytes,
        min_free,
        commit_interval: plan.queue.commit_interval,
        ..QueueConfig::new(plan.queue.directory.clone())
    }
}

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
        let mut lanes: Vec<LaneSpec> = self.lanes.iter().map(|l| LaneSpec { weight: STAYING, ..l.clone() }).collect();
        lanes.extend(wanted.lanes.iter().filter(|w| self.lanes.iter().all(|l| l.id != w.id)).cloned());
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

/// Weight of a lane that stays beside added ones of weight 1.
const STAYING: u32 = 1 << 20;

/// A lane for each route, a destination for each `remote_write`.
pub fn queue_specs(plan: &Plan) -> Result<Specs> {
    let mut lanes = Vec::new();
    let mut destinations = Vec::new();
    for route in &plan.metrics {
        let lane = metrics_lane(&route.name)?;
        lanes.push(LaneSpec::new(lane.clone()));
        for destination in &route.destinations {
            destinations.push(DestinationSpec {
                on_full: match destination.on_full {
                    config::OnFull::Evict => OnFull::Evict,
                    config::OnFull::Hold => OnFull::Hold,
                },
                // Samples are expired one by one where they are sent, by their own timestamps; the queue's rule by time
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
