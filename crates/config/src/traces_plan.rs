//! What `traces:` says, as plain data: part of a [`Plan`](crate::Plan).
//!
//! Does nothing. Keeps true: every default is already applied; no two receivers of a plan listen on the same address.

use std::time::Duration;

use discovery::DiscoveryConfig;
use otlp_receive::{ReceiverConfig, Signals};
use traces::{LogBackend, ProcessorsConfig};

use crate::DestinationPlan;

/// One `traces.configs[]` entry: a lane of the queue, what fills it, what empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesRoute {
    /// As written; unique among these. May hold any character.
    pub name: String,
    /// The entry that this is a part of, if it is: `load_balancing` makes several routes of one entry.
    pub part_of: Option<String>,
    /// Endpoints to listen on.
    pub receivers: Vec<ReceiverConfig>,
    /// What is done to spans before destinations see them.
    pub processors: ProcessorsConfig,
    /// Where labels come from that processors put on spans.
    pub jobs: Vec<(scrape::JobConfig, Vec<discovery::DiscoveryConfig>)>,
    /// Names of the routes that processors part spans between, in the order of `processors.balance`.
    pub backends: Vec<String>,
    /// Where those backends come from; set on the part of an instance that parts spans.
    pub balancing: Option<Box<BalancingPlan>>,
    /// The same as it was written: key and block.
    pub written: Vec<(String, Written)>,
    /// What one of the destinations takes.
    pub accepts: Signals,
    pub destinations: Vec<DestinationPlan>,
}

impl TracesRoute {
    /// The entry of `traces.configs` that it is, or is a part of.
    pub fn instance(&self) -> &str {
        self.part_of.as_deref().unwrap_or(&self.name)
    }

    /// Entries of `logs.configs` that lines of it go to: those made of spans, and received log records.
    pub fn logs_instances(&self) -> impl Iterator<Item = &str> {
        let made = self.processors.automatic_logging.as_ref().and_then(|logging| match &logging.backend {
            LogBackend::Instance(name) => Some(name.as_str()),
            LogBackend::Stdout => None,
        });
        made.into_iter().chain(self.receivers.iter().filter_map(|receiver| receiver.logs_instance.as_deref()))
    }
}

/// What `load_balancing` says of backends.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancingPlan {
    pub resolver: BackendResolver,
    /// How each of them is spoken to. Its URL is that of no backend where the resolver finds them.
    pub template: DestinationPlan,
}

/// Where backends are known from.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendResolver {
    /// The file.
    Static,
    /// The addresses of a host name.
    Dns { hostname: String, port: u16, interval: Duration, timeout: Duration },
    /// The addresses behind a service of the cluster, each with these ports.
    Kubernetes { endpoints: Box<DiscoveryConfig>, ports: Vec<u16> },
}

/// The name of the route of one backend.
pub fn backend_route(instance: &str, backend: &str) -> String {
    format!("{instance}/{backend}")
}

/// The name of the route that parts an instance's spans.
pub fn balancer_route(instance: &str) -> String {
    format!("{instance}/load_balancing")
}

/// The place in the queue of one backend.
pub fn backend_destination(instance: &str, backend: &str) -> String {
    format!("traces-{instance}/{backend}")
}

impl BalancingPlan {
    /// How `backend` (`host:port`) is spoken to; `None`: that is no address.
    pub fn destination(&self, instance: &str, backend: &str) -> Option<DestinationPlan> {
        let (host, port) = backend.rsplit_once(':')?;
        let mut plan = self.template.clone();
        plan.config.url.set_host(Some(host)).ok()?;
        plan.config.url.set_port(Some(port.parse().ok()?)).ok()?;
        plan.config.name = backend_destination(instance, backend);
        Some(plan)
    }
}

impl TracesRoute {
    /// A part of an instance, which takes spans alone and does nothing yet.
    pub fn part(instance: &str, name: String) -> Self {
        Self {
            name,
            part_of: Some(instance.to_owned()),
            receivers: Vec::new(),
            processors: ProcessorsConfig::default(),
            jobs: Vec::new(),
            backends: Vec::new(),
            balancing: None,
            written: Vec::new(),
            accepts: Signals { traces: true, ..Signals::default() },
            destinations: Vec::new(),
        }
    }
}

/// Gives an instance whose backends are found these ones (`host:port`) in place of those it had. Does nothing to others.
pub fn set_backends(routes: &mut Vec<TracesRoute>, instance: &str, found: &[String]) {
    let is_balancer = |route: &TracesRoute| route.part_of.as_deref() == Some(instance) && route.balancing.is_some();
    let Some(at) = routes.iter().position(is_balancer) else { return };
    let Some(balancer) = routes.get_mut(at) else { return };
    let Some(balancing) = balancer.balancing.clone() else { return };
    let of = |backend: &String| Some((backend.clone(), balancing.destination(instance, backend)?));
    let found: Vec<(String, DestinationPlan)> = found.iter().filter_map(of).collect();
    let names = found.iter().map(|(backend, _)| backend_route(instance, backend)).collect();
    let gone = std::mem::replace(&mut balancer.backends, names);
    if let Some(balance) = &mut balancer.processors.balance {
        balance.backends = found.iter().map(|(backend, _)| backend.clone()).collect();
    }
    routes.retain(|route| route.part_of.as_deref() != Some(instance) || !gone.contains(&route.name));
    for (backend, destination) in found {
        let part = TracesRoute::part(instance, backend_route(instance, &backend));
        routes.push(TracesRoute { destinations: vec![destination], ..part });
    }
}

/// A block of the file, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// In quotes.
    Text(String),
    /// Numbers, truth values, words.
    Word(String),
    List(Vec<Written>),
    Map(Vec<(String, Written)>),
}
