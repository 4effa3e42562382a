//! `kubernetes_sd_configs`: pods, nodes, services, endpoints and endpoint slices of a cluster.
//!
//! An `informer` lists and watches one kind of object; a `World` holds what all of them know; when it changes, the role's
//! target groups are made anew and reported. Keeps true: nothing is reported before every kind was listed once; a burst of
//! changes is one report.

mod access;
mod config;
mod endpoints;
mod informer;
mod labels;
mod objects;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

pub use config::{KubernetesDiscovery, KubernetesRole, KubernetesSelector};

use self::{
    access::ApiServer,
    endpoints::Around,
    informer::{Change, Question, follow},
    objects::{EndpointSlice, Endpoints, Node, Object, Pod, Service},
};
use crate::{DiscoveryError, DiscoveryMetrics, TargetGroup, board::Board};

/// One entry of `kubernetes_sd_configs`.
pub(crate) struct KubernetesSource {
    config: KubernetesDiscovery,
    server: ApiServer,
    metrics: DiscoveryMetrics,
    namespaces: Vec<Option<String>>,
}

/// Changes that come within this are reported together.
const BURST: Duration = Duration::from_millis(250);

/// Objects of one kind, by the place they were listed in and by their own names.
type Kept<T> = BTreeMap<usize, BTreeMap<String, T>>;

#[derive(Default)]
struct World {
    pods: Kept<Pod>,
    nodes: Kept<Node>,
    services: Kept<Service>,
    endpoints: Kept<Endpoints>,
    slices: Kept<EndpointSlice>,
    /// Lists that have not come yet.
    missing: usize,
}

struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

/// Where a kind is kept in the world.
type Shelf<T> = fn(&mut World) -> &mut Kept<T>;

impl KubernetesSource {
    pub(crate) fn new(config: KubernetesDiscovery, metrics: DiscoveryMetrics) -> Result<Self, DiscoveryError> {
        let server = ApiServer::new(&config)?;
        let mut namespaces: Vec<Option<String>> = config.namespaces.iter().cloned().map(Some).collect();
        if config.own_namespace {
            let own = server.own_namespace.clone().ok_or_else(|| DiscoveryError::Kubernetes {
                why: "own_namespace: this pod's namespace is not known; name it under `namespaces.names`".to_owned(),
            })?;
            if !namespaces.contains(&Some(own.clone())) {
                namespaces.push(Some(own));
            }
        }
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        Ok(Self { config, server, metrics, namespaces })
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(self, slot: usize, board: &Board) {
        let shared = Arc::new(Shared { world: Mutex::default(), changed: Notify::new() });
        let mut work: Vec<BoxFuture<'_, ()>> = Vec::new();
        let role = self.config.role;
        let with_pods = matches!(role, KubernetesRole::Endpoints | KubernetesRole::EndpointSlice);
        if role == KubernetesRole::Node || (role == KubernetesRole::Pod && self.config.attach_node) {
            self.watch(&mut work, &shared, KubernetesRole::Node, |world| &mut world.nodes);
        }
        if role == KubernetesRole::Pod || with_pods {
            self.watch(&mut work, &shared, KubernetesRole::Pod, |world| &mut world.pods);
        }
        if role == KubernetesRole::Service || with_pods {
            self.watch(&mut work, &shared, KubernetesRole::Service, |world| &mut world.services);
        }
        if role == KubernetesRole::Endpoints {
            self.watch(&mut work, &shared, KubernetesRole::Endpoints, |world| &mut world.endpoints);
        }
        if role == KubernetesRole::EndpointSlice {
            self.watch(&mut work, &shared, KubernetesRole::EndpointSlice, |world| &mut world.slices);
        }
        let report = async {
            loop {
                shared.changed.notified().await;
                tokio::time::sleep(BURST).await;
                let groups = {
                    let world = shared.world.lock();
                    (world.missing == 0).then(|| world.groups(role, self.config.attach_node))
                };
                if let Some(groups) = groups {
                    board.report(slot, groups);
                }
            }
        };
        tokio::select! {
            () = board.abandoned() => {}
            _ = join_all(work) => {}
            () = report => {}
        }
    }

    fn watch<'s, T: Object + DeserializeOwned + Send + 'static>(
        &'s self,
        work: &mut Vec<BoxFuture<'s, ()>>,
        shared: &Arc<Shared>,
        role: KubernetesRole,
        shelf: Shelf<T>,
    ) {
        let everywhere = [None];
        // Nodes lie in no namespace.
        let places: &[Option<String>] = if role == KubernetesRole::Node { &everywhere } else { &self.namespaces };
        for (place, namespace) in places.iter().enumerate() {
            let question = self.question(role, namespace.as_deref());
            shared.world.lock().missing += 1;
            let shared = Arc::clone(shared);
            work.push(Box::pin(async move {
                let mut is_first = true;
                let tell = |change: Change<T>| {
                    {
                        let mut world = shared.world.lock();
                        if std::mem::take(&mut is_first) {
                            world.missing = world.missing.saturating_sub(1);
                        }
                        let kept = shelf(&mut world).entry(place).or_default();
                        match change {
                            Change::All(all) => *kept = all,
                            Change::Set(key, object) => drop(kept.insert(key, object)),
                            Change::Remove(key) => drop(kept.remove(&key)),
                        }
                    }
                    shared.changed.notify_one();
                };
                follow(&self.server, &question, &self.metrics, tell).await;
            }));
        }
    }

    fn question(&self, role: KubernetesRole, namespace: Option<&str>) -> Question {
        let (base, what) = match role {
            KubernetesRole::Node => ("/api/v1", "nodes"),
            KubernetesRole::Pod => ("/api/v1", "pods"),
            KubernetesRole::Service => ("/api/v1", "services"),
            KubernetesRole::Endpoints => ("/api/v1", "endpoints"),
            KubernetesRole::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
        };
        let path = match namespace {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{what}"),
            None => format!("{base}/{what}"),
        };
        let mut selectors = String::new();
        for selector in self.config.selectors.iter().filter(|selector| selector.role == role) {
            for (key, text) in [("labelSelector", &selector.label), ("fieldSelector", &selector.field)] {
                if !text.is_empty() {
                    let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                    selectors.push_str(&format!("&{key}={text}"));
                }
            }
        }
        Question { path, selectors, what }
    }
}

fn all<T>(kept: &Kept<T>) -> impl Iterator<Item = &T> {
    kept.values().flat_map(BTreeMap::values)
}

fn merged<T: Clone>(kept: &Kept<T>) -> BTreeMap<String, T> {
    kept.values().flatten().map(|(key, object)| (key.clone(), object.clone())).collect()
}

impl World {
    fn groups(&self, role: KubernetesRole, attach_node: bool) -> Vec<TargetGroup> {
        match role {
            KubernetesRole::Node => all(&self.nodes).map(labels::node).collect(),
            KubernetesRole::Service => all(&self.services).map(labels::service).collect(),
            KubernetesRole::Pod => {
                let node = |pod: &Pod| self.nodes.get(&0)?.get(&format!("/{}", pod.spec.node_name));
                all(&self.pods).map(|pod| labels::pod(pod, node(pod).filter(|_| attach_node))).collect()
            }
            KubernetesRole::Endpoints | KubernetesRole::EndpointSlice => {
                let (pods, services) = (merged(&self.pods), merged(&self.services));
                let around = Around { pods: &pods, services: &services };
                match role {
                    KubernetesRole::Endpoints => {
                        all(&self.endpoints).map(|own| endpoints::endpoints(own, around)).collect()
                    }
                    _ => all(&self.slices).map(|own| endpoints::slice(own, around)).collect(),
                }
            }
        }
    }
}
