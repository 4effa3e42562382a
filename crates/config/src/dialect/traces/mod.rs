//! `traces:`: one route for each of `configs[]`.

pub(super) mod processors;
pub(super) mod receivers;
pub(super) mod remote_write;

use otlp_receive::ExponentialForm;
use processors::{Processors, load_balancing::Balancing};
use traces::ProcessorsConfig;

use crate::{
    BalancingPlan, DestinationPlan, OnFull, TracesRoute,
    block::{Block, Field, Reader, Shape},
    traces_plan::{backend_route, balancer_route},
};

pub(super) const TRACES: Shape = Shape { name: "traces", keys: &[&["configs"]] };

pub(super) const INSTANCE: Shape = Shape {
    name: "traces.configs[]",
    keys: &[&["name", "receivers", "remote_write", "batch"], processors::RUNNING, processors::DERIVING],
};

/// Names of the instances of other signals.
pub(super) struct Instances {
    pub metrics: Vec<String>,
    /// What each of them wants of exponential histograms.
    pub exponential: Vec<ExponentialForm>,
    pub logs: Vec<String>,
}

/// `names`: those that destinations of other signals have.
pub(super) fn read<'a>(
    reader: &'a Reader<'a>,
    field: &Field<'a>,
    mut names: Vec<String>,
    instances: &Instances,
) -> Vec<TracesRoute> {
    let Some(block) = Block::open(reader, TRACES, field) else {
        return Vec::new();
    };
    let mut routes: Vec<TracesRoute> = Vec::new();
    for item in block.items("configs") {
        let Some(instance) = Block::open(reader, INSTANCE, &item) else {
            continue;
        };
        let name = instance.required("name", "name: default").unwrap_or_default();
        if !name.is_empty() && routes.iter().any(|route| route.name == name) {
            let message = format!("two entries of `traces.configs` have the name `{name}`");
            instance.error_at("name", message, Some("names are unique"));
        }
        let parts = parts(&instance, name, &mut names, instances);
        let of_parts = || parts.iter().flat_map(|route| &route.receivers);
        for receiver in of_parts() {
            let all = routes.iter().flat_map(|other| &other.receivers).chain(of_parts());
            if all.filter(|other| other.listen == receiver.listen && other.is_udp() == receiver.is_udp()).count() > 1 {
                let message = format!("two receivers listen on {}", receiver.listen);
                instance.error_at("receivers", message, Some("give each its own `endpoint`"));
                break;
            }
        }
        routes.extend(parts);
    }
    routes
}

fn parts<'a>(instance: &Block<'a>, name: String, names: &mut Vec<String>, instances: &Instances) -> Vec<TracesRoute> {
    let batch = processors::batch(instance);
    let mut receivers = receivers::read(instance);
    let processors = processors::read(instance, &name, instances);
    let mut destinations: Vec<DestinationPlan> = Vec::new();
    let mut says_what_when_full = false;
    let entries = instance.items("remote_write");
    for field in &entries {
        let Some(mut destination) = remote_write::read(instance.reader, field, &name, batch) else {
            continue;
        };
        let same_name = |name: &str| destinations.iter().any(|d| d.config.name == name);
        if super::metrics::field_name(instance.reader, field).is_some() {
            if same_name(&destination.config.name) {
                let message = format!("two destinations of `{name}` have the name `{}`", destination.config.name);
                let help = "a name is a destination's place in the queue; give each its own";
                instance.reader.error(field, message, Some(help));
            }
        } else {
            // Generated names of two destinations at one URL are told apart by their order.
            let base = destination.config.name.clone();
            let mut number = 1;
            while same_name(&destination.config.name) {
                number += 1;
                destination.config.name = format!("{base}-{number}");
            }
        }
        destinations.push(destination);
        says_what_when_full |= field_says_on_full(instance.reader, field);
    }
    // What was answered with success is not given up for what comes: senders are told to come again. Of several destinations one
    // that is down would keep the others from getting anything new.
    if let ([only], false) = (&mut *destinations, says_what_when_full)
        && only.enabled
    {
        only.on_full = OnFull::Hold;
    }
    for taken in remote_write::set_apart(names, &name, &mut destinations) {
        let message =
            format!("another destination has the name `{taken}`: this one is called `traces-{name}-{taken}` here");
        instance.warn(message, Some("a name is a destination's place in the queue; give each its own"));
    }
    let accepts = remote_write::accepted(&destinations);
    receivers::settle(instance, &mut receivers, accepts, instances);
    if entries.is_empty() {
        let help = "add remote_write: [{endpoint: 'https://host:4318', protocol: http}]";
        let elsewhere = receivers.iter().any(|r| r.metrics_instance.is_some() || r.logs_instance.is_some());
        let what = if elsewhere { "the spans that it receives go" } else { "what it receives goes" };
        instance.warn(format!("`{name}` has no `remote_write`: {what} nowhere"), Some(help));
    }
    let Processors { config, jobs, balancing, written } = processors;
    let route = TracesRoute {
        name,
        part_of: None,
        receivers,
        processors: config,
        jobs,
        backends: Vec::new(),
        balancing: None,
        written,
        accepts,
        destinations,
    };
    match balancing {
        Some(balancing) => balanced(instance, route, balancing, names),
        None => vec![route],
    }
}

/// Whether a destination says what happens when the queue is full.
fn field_says_on_full<'a>(reader: &'a Reader<'a>, destination: &Field<'a>) -> bool {
    let entries = reader.entries(destination);
    let queue = entries.iter().find(|(key, _)| *key == "queue").map(|(_, field)| field);
    queue.is_some_and(|queue| !queue.is_null() && reader.entries(queue).iter().any(|(key, _)| *key == "on_full"))
}

/// The routes of an instance with `load_balancing`; the first has the instance's name and destinations.
fn balanced(
    instance: &Block<'_>,
    whole: TracesRoute,
    balancing: Balancing,
    names: &mut Vec<String>,
) -> Vec<TracesRoute> {
    let Balancing { config, resolver, template, mut destinations, receiver } = balancing;
    for taken in remote_write::set_apart(names, &whole.name, &mut destinations) {
        instance
            .warn(format!("another destination has the name `{taken}`, which a backend of `{}` has", whole.name), None);
    }
    let part = |name: String| TracesRoute::part(&whole.name, name);
    let of_backend = |backend: &String| backend_route(&whole.name, backend);
    let backends: Vec<String> = config.backends.iter().map(of_backend).collect();
    let sending = backends
        .iter()
        .zip(destinations)
        .map(|(name, destination)| TracesRoute { destinations: vec![destination], ..part(name.clone()) });
    let mut parts: Vec<TracesRoute> = sending.collect();
    let mut behind = whole.clone();
    behind.receivers = vec![receiver];
    behind.accepts = part(String::new()).accepts;
    behind.jobs = Vec::new();
    let processors = ProcessorsConfig {
        discovered: behind.processors.discovered.take(),
        attributes: behind.processors.attributes.take(),
        balance: Some(config),
        ..ProcessorsConfig::default()
    };
    let balancer = TracesRoute {
        receivers: whole.receivers.clone(),
        processors,
        jobs: whole.jobs.clone(),
        backends,
        balancing: Some(Box::new(BalancingPlan { resolver, template })),
        ..part(balancer_route(&whole.name))
    };
    parts.insert(0, balancer);
    parts.insert(0, behind);
    parts
}
