//! What a plan becomes once it is known what waits on disk and which backends were found: a [`Blueprint`].
//!
//! A backend of `load_balancing` that is gone leaves a lane in which spans may wait. A [`DrainPlan`] empties it: what waits is read in
//! the place of the destination that is gone, and appended to the lanes of those that are left, or to what the instance's own
//! receivers fill where nothing is balanced any more. Touches nothing itself. Keeps true: a lane that holds unsent spans of an
//! instance which still exists is in every blueprint, until it is empty.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use config::{
    BackendResolver, BalancingPlan, Plan, TracesRoute, backend_destination, backend_route, balancer_route, set_backends,
};
use pipeline::LaneId;
use queue::Ledger;
use traces::BalanceConfig;

use super::specs::processed;
use crate::lanes::{processors_name, spans_lane, traces_lane};

/// A destination's place in a lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    pub destination: String,
    pub lane: String,
}

/// Empties one lane.
#[derive(Debug, Clone, PartialEq)]
pub struct DrainPlan {
    /// The entry of `traces.configs`.
    pub instance: String,
    /// The route that had the lane.
    pub name: String,
    pub lane: LaneId,
    /// Who had a place in it.
    pub destination: String,
    pub onward: Vec<LaneId>,
    /// How spans are parted between `onward`; `None`: there is one.
    pub balance: Option<BalanceConfig>,
}

/// Backends that resolvers found, by instance, with the resolver that found them.
pub type Found = BTreeMap<String, (BackendResolver, Vec<String>)>;

/// Everything that runs: a plan with its backends, and lanes that are to be emptied.
#[derive(Debug, Clone)]
pub struct Blueprint {
    pub plan: Plan,
    pub drains: Vec<DrainPlan>,
}

impl Blueprint {
    /// For a queue that is not open yet.
    pub fn at_start(plan: &Plan) -> Result<Self> {
        Self::new(plan, &Found::new(), &on_disk(plan)?)
    }

    /// `waiting`: the places in lanes in which something may wait.
    pub fn new(plan: &Plan, found: &Found, waiting: &BTreeSet<Waiting>) -> Result<Self> {
        let mut plan = plan.clone();
        for (instance, resolver) in resolvers(&plan) {
            let backends = match found.get(&instance) {
                Some((by, backends)) if *by == resolver => backends.clone(),
                // Until it has spoken, those go on that something waits for.
                _ => waiting.iter().filter_map(|one| backend_of(&instance, one)).map(str::to_owned).collect(),
            };
            set_backends(&mut plan.traces, &instance, &backends);
        }
        let mut drains = Vec::new();
        for whole in plan.traces.iter().filter(|route| route.part_of.is_none()) {
            drains.extend(of_instance(&plan, whole, waiting)?);
        }
        Ok(Self { plan, drains })
    }
}

/// The instances whose backends are found while they run.
pub fn resolvers(plan: &Plan) -> Vec<(String, BackendResolver)> {
    let of = |route: &TracesRoute| {
        let BalancingPlan { resolver, .. } = &**route.balancing.as_ref()?;
        (*resolver != BackendResolver::Static).then(|| (route.instance().to_owned(), resolver.clone()))
    };
    plan.traces.iter().filter_map(of).collect()
}

/// The backend of an instance that has that place.
fn backend_of<'w>(instance: &str, waiting: &'w Waiting) -> Option<&'w str> {
    let backend = backend_name(instance, &waiting.destination)?;
    let lane = traces_lane(&backend_route(instance, backend)).ok()?;
    (lane.as_str() == waiting.lane).then_some(backend)
}

/// The backend (`host:port`) that a destination of an instance is, if it is one.
pub fn backend_name<'n>(instance: &str, destination: &'n str) -> Option<&'n str> {
    // A destination whose name somebody else had was set apart.
    let set_apart = format!("traces-{instance}-{}", backend_destination(instance, ""));
    let own = backend_destination(instance, "");
    let backend = destination.strip_prefix(&own).or_else(|| destination.strip_prefix(&set_apart))?;
    (!backend.contains('/')).then_some(backend)
}

fn of_instance(plan: &Plan, whole: &TracesRoute, waiting: &BTreeSet<Waiting>) -> Result<Vec<DrainPlan>> {
    let parts: Vec<&TracesRoute> = plan.traces.iter().filter(|route| route.instance() == whole.name).collect();
    let balancer = parts.iter().find(|route| route.balancing.is_some());
    let (onward, balance) = match balancer {
        Some(route) => {
            let lanes = route.backends.iter().map(|name| traces_lane(name)).collect::<Result<_, _>>()?;
            (lanes, route.processors.balance.clone())
        }
        // Nothing is balanced any more: it goes where the receivers' goes.
        None => match processed(plan, whole)? {
            Some(lane) => (vec![lane], None),
            None => (vec![traces_lane(&whole.name)?], None),
        },
    };
    let mut drains = Vec::new();
    for one in waiting {
        let name = match backend_of(&whole.name, one) {
            Some(backend) => backend_route(&whole.name, backend),
            None if balancer.is_none() && is_balancer(&whole.name, one)? => balancer_route(&whole.name),
            None => continue,
        };
        if parts.iter().any(|route| route.name == name) {
            continue;
        }
        drains.push(DrainPlan {
            instance: whole.name.clone(),
            name,
            lane: LaneId::new(&one.lane)?,
            destination: one.destination.clone(),
            onward: onward.clone(),
            balance: balance.clone(),
        });
    }
    Ok(drains)
}

/// Whether it is the place of what parted an instance's spans.
fn is_balancer(instance: &str, waiting: &Waiting) -> Result<bool> {
    let name = balancer_route(instance);
    Ok(waiting.lane == spans_lane(&name)?.as_str() && waiting.destination == processors_name(&traces_lane(&name)?))
}

/// What a queue that is not open yet holds. Looks into it only if there is a lane that may be a backend's.
fn on_disk(plan: &Plan) -> Result<BTreeSet<Waiting>> {
    let directory = &plan.queue.directory;
    if !may_hold_backends(&directory.join("lanes"), plan) {
        return Ok(BTreeSet::new());
    }
    let inspection = queue::inspect(directory).context("looking for spans that wait for backends")?;
    let rows = inspection.cursors.into_iter().map(|cursor| cursor.row);
    Ok(rows.map(|row| Waiting { destination: row.destination, lane: row.lane.as_str().to_owned() }).collect())
}

/// Whether a lane of traces is there that no instance has by its own name.
fn may_hold_backends(lanes: &Path, plan: &Plan) -> bool {
    let Ok(entries) = std::fs::read_dir(lanes) else { return false };
    let lanes_of = |route: &TracesRoute| [traces_lane(&route.name), spans_lane(&route.name)];
    let own: Vec<LaneId> = plan.traces.iter().flat_map(lanes_of).flatten().collect();
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return false };
        ["traces-", "spans-"].iter().any(|of| name.starts_with(of)) && own.iter().all(|own| own.as_str() != name)
    })
}

/// The places in the lanes of an open queue, without those that `emptied` says are done with.
pub fn in_queue(ledger: &Ledger, emptied: impl Fn(&LaneId, bool) -> bool) -> BTreeSet<Waiting> {
    let rows = ledger.rows.iter().filter(|row| !emptied(&row.lane, row.pending_items > 0));
    rows.map(|row| Waiting { destination: row.destination.clone(), lane: row.lane.as_str().to_owned() }).collect()
}
