//! What goes on while the house runs: backends of `load_balancing` are looked for, lanes that were emptied go, what the queue gave
//! up is counted where the Agent's dashboards look for it.
//!
//! Keeps true: what a resolver does not find, or finds nothing, changes nothing; a change of backends is a reload of the plan that
//! runs, with all that this keeps true.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use config::BackendResolver;
use discovery::TargetGroup;
use pipeline::LaneId;
use remote_write::ProtocolConfig;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, sync::DropGuard};

use super::{House, drain::resolvers, job::Found};
use crate::complaint::complaint;

/// How often the house looks what is to be done.
const LOOK: Duration = Duration::from_millis(500);

/// A resolver that runs for one instance; dropped, it ends.
struct Search {
    resolver: BackendResolver,
    /// `host:port`, sorted; nothing before something was found.
    found: watch::Receiver<Vec<String>>,
    _stop: DropGuard,
}

impl House {
    /// Works until the house is dropped or drained.
    pub async fn tend(house: Weak<House>) {
        let mut searches: BTreeMap<String, Search> = BTreeMap::new();
        // Of a change that could not be made.
        let mut again = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(house) = house.upgrade() else { return };
            if !house.is_ready() {
                return;
            }
            house.book_evictions();
            house.search(&mut searches);
            let changed = house.note_found(&mut searches) | house.has_emptied_lane();
            if !changed && !again {
                continue;
            }
            again = match house.rebalance().await {
                Ok(()) => false,
                Err(error) => {
                    tracing::warn!(
                        error = complaint(error.as_ref()),
                        "the change of backends was not made; trying again"
                    );
                    true
                }
            };
        }
    }

    /// Goes over to the backends that are known now; lanes that are empty by now go.
    pub async fn rebalance(self: &Arc<Self>) -> anyhow::Result<()> {
        let _one = self.changing.lock().await;
        if !self.is_ready() {
            return Ok(());
        }
        let plan = self.plan.lock().clone();
        self.go_over(&plan).await
    }

    /// Whether what waited for a backend that is gone has all gone on.
    fn has_emptied_lane(&self) -> bool {
        let drains: Vec<LaneId> = {
            let routes = self.routes.read();
            routes.iter().filter(|(_, route)| route.plan.is_drain()).map(|(lane, _)| lane.clone()).collect()
        };
        if drains.is_empty() {
            return false;
        }
        let ledger = self.ledger();
        let waits = |lane: &LaneId| ledger.rows.iter().any(|row| row.lane == *lane && row.pending_items > 0);
        drains.iter().any(|lane| !waits(lane))
    }

    /// Counts what the queue gave up of spans since this was done last.
    fn book_evictions(&self) {
        let routes = self.routes.read();
        let traces = routes.values().filter(|route| route.plan.traces().is_some());
        let deliveries: Vec<_> = traces
            .flat_map(|route| route.deliveries().map(|one| (&route.lane, route.plan.instance(), one.plan())))
            .collect();
        if deliveries.is_empty() {
            return;
        }
        let ledger = self.ledger();
        let mut told = self.evicted.lock();
        for (lane, instance, plan) in deliveries {
            let name = &plan.config.name;
            let Some(row) = ledger.rows.iter().find(|row| row.lane == *lane && row.destination == *name) else {
                continue;
            };
            let known = told.entry((lane.clone(), name.clone())).or_default();
            let lost = row.evicted.saturating_sub(*known);
            *known = row.evicted;
            if let (ProtocolConfig::Otlp(protocol), true) = (&plan.config.protocol, lost > 0) {
                self.wiring.parts.otlp_deliveries.for_instance(instance).given_up(protocol, name, lost);
            }
        }
    }

    /// Starts and ends resolvers as the plan has them.
    fn search(&self, searches: &mut BTreeMap<String, Search>) {
        let wanted: BTreeMap<String, BackendResolver> = resolvers(&self.plan.lock()).into_iter().collect();
        searches.retain(|instance, search| wanted.get(instance) == Some(&search.resolver));
        for (instance, resolver) in wanted {
            if searches.contains_key(&instance) {
                continue;
            }
            let (found, stop) = (watch::Sender::default(), CancellationToken::new());
            let receiver = found.subscribe();
            let started = self.start_search(&instance, resolver.clone(), found, stop.clone());
            match started {
                Ok(()) => {
                    searches.insert(instance, Search { resolver, found: receiver, _stop: stop.drop_guard() });
                }
                Err(error) => tracing::error!(
                    instance,
                    error = complaint(error.as_ref()),
                    "backends cannot be looked for; trying again"
                ),
            }
        }
    }

    fn start_search(
        &self,
        instance: &str,
        resolver: BackendResolver,
        found: watch::Sender<Vec<String>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let metrics = self.wiring.parts.processors.clone();
        let instance = instance.to_owned();
        match resolver {
            BackendResolver::Static => {}
            BackendResolver::Dns { hostname, port, interval, timeout } => {
                let name = Name { hostname, port, timeout };
                tokio::spawn(async move {
                    let look = async {
                        let mut failing = false;
                        loop {
                            let addresses = name.resolve().await;
                            metrics.resolved(&instance, "dns", addresses.is_ok());
                            let failed = addresses.is_err();
                            match addresses {
                                Ok(addresses) => {
                                    if failing {
                                        tracing::info!(
                                            instance,
                                            hostname = name.hostname,
                                            "backends are looked up again"
                                        );
                                    }
                                    tell(&found, addresses, || metrics.backends_changed(&instance, "dns"));
                                }
                                Err(error) if !failing => tracing::warn!(
                                    instance,
                                    hostname = name.hostname,
                                    error,
                                    "backends cannot be looked up; those that were found before stay"
                                ),
                                Err(_) => {}
                            }
                            failing = failed;
                            tokio::time::sleep(interval).await;
                        }
                    };
                    stop.run_until_cancelled(look).await;
                });
            }
            BackendResolver::Kubernetes { endpoints, ports } => {
                let looking = Found::look(&self.wiring.parts, "load_balancing", &[*endpoints])?;
                tokio::spawn(async move {
                    let mut groups = looking.groups();
                    let look = async {
                        loop {
                            let addresses = behind_service(&groups.borrow_and_update(), &ports);
                            if !addresses.is_empty() {
                                metrics.resolved(&instance, "k8s", true);
                                tell(&found, addresses, || metrics.backends_changed(&instance, "k8s"));
                            }
                            if groups.changed().await.is_err() {
                                return;
                            }
                        }
                    };
                    stop.run_until_cancelled(look).await;
                    looking.end().await;
                });
            }
        }
        Ok(())
    }

    /// Whether a resolver found something else than it had.
    fn note_found(&self, searches: &mut BTreeMap<String, Search>) -> bool {
        let mut changed = false;
        for (instance, search) in searches {
            if !search.found.has_changed().unwrap_or(false) {
                continue;
            }
            let backends = search.found.borrow_and_update().clone();
            tracing::info!(instance, backends = backends.join(", "), "backends were found");
            self.found.lock().insert(instance.clone(), (search.resolver.clone(), backends));
            changed = true;
        }
        changed
    }
}

/// Backends that are found to be none are not believed.
fn tell(found: &watch::Sender<Vec<String>>, addresses: Vec<String>, changed: impl FnOnce()) {
    let differs = |known: &mut Vec<String>| {
        let differs = *known != addresses;
        *known = addresses;
        differs
    };
    if found.send_if_modified(differs) {
        changed();
    }
}

/// A host name and what is asked for at each of its addresses.
struct Name {
    hostname: String,
    port: u16,
    timeout: Duration,
}

impl Name {
    /// Its addresses as `host:port`, each once, sorted; at least one.
    async fn resolve(&self) -> Result<Vec<String>, String> {
        let looked = tokio::net::lookup_host((self.hostname.as_str(), self.port));
        let addresses = match tokio::time::timeout(self.timeout, looked).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {:?}", self.timeout)),
        };
        let addresses: BTreeSet<String> = addresses.map(|address| address.to_string()).collect();
        if addresses.is_empty() { Err("it has no address".to_owned()) } else { Ok(addresses.into_iter().collect()) }
    }
}

/// The addresses that are ready behind a service, each with these ports, sorted.
fn behind_service(groups: &[TargetGroup], ports: &[u16]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for target in groups.iter().flat_map(|group| &group.targets) {
        if target.get("__meta_kubernetes_endpoint_ready") != Some("true") {
            continue;
        }
        let address = target.get("__address__").and_then(|address| address.rsplit_once(':'));
        let Some((host, _)) = address else { continue };
        found.extend(ports.iter().map(|port| format!("{host}:{port}")));
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    #[tokio::test]
    async fn a_host_name_becomes_its_addresses_with_the_port() {
        let name =
            |hostname: &str| Name { hostname: hostname.to_owned(), port: 4317, timeout: Duration::from_secs(30) };
        let found = name("localhost").resolve().await.unwrap();
        assert!(found.iter().any(|backend| backend == "127.0.0.1:4317" || backend == "[::1]:4317"), "{found:?}");
        assert!(name("no-such-host.invalid").resolve().await.is_err());
    }

    #[test]
    fn of_a_service_only_what_is_ready_is_a_backend_at_each_port() {
        let target = |address: &str, ready: &str| {
            let mut labels = Labels::new();
            labels.set("__address__", address);
            labels.set("__meta_kubernetes_endpoint_ready", ready);
            labels
        };
        let targets =
            vec![target("10.0.0.2:80", "true"), target("10.0.0.3:80", "false"), target("[fd00::1]:80", "true")];
        let group = TargetGroup { source: "endpoints/a/b".to_owned(), targets, labels: Labels::new() };
        let found = behind_service(&[group], &[4317, 4318]);
        assert_eq!(found, ["10.0.0.2:4317", "10.0.0.2:4318", "[fd00::1]:4317", "[fd00::1]:4318"]);
    }

    #[test]
    fn the_same_backends_are_no_change() {
        let (sender, mut seen) = watch::channel(Vec::new());
        let mut changes = 0;
        for found in [["a:1"], ["a:1"], ["b:1"]] {
            tell(&sender, found.map(str::to_owned).to_vec(), || changes += 1);
        }
        assert_eq!((changes, seen.borrow_and_update().clone()), (2, vec!["b:1".to_owned()]));
    }
}
