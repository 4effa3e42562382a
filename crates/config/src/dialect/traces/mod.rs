//! `traces:`: one route for each of `configs[]`.

pub(super) mod processors;
pub(super) mod receivers;
pub(super) mod remote_write;

use crate::{
    DestinationPlan, TracesRoute,
    block::{Block, Field, Reader, Shape},
};

pub(super) const TRACES: Shape = Shape { name: "traces", keys: &[&["configs"]] };

pub(super) const INSTANCE: Shape = Shape {
    name: "traces.configs[]",
    keys: &[&["name", "receivers", "remote_write", "batch"], processors::CHANGING, processors::DERIVING],
};

/// `names`: those that destinations of other signals have.
pub(super) fn read<'a>(reader: &'a Reader<'a>, field: &Field<'a>, mut names: Vec<String>) -> Vec<TracesRoute> {
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
        let route = route(&instance, name, &mut names);
        for receiver in &route.receivers {
            let all = routes.iter().flat_map(|other| &other.receivers).chain(&route.receivers);
            if all.filter(|other| other.listen == receiver.listen).count() > 1 {
                let message = format!("two receivers listen on {}", receiver.listen);
                instance.error_at("receivers", message, Some("give each its own `endpoint`"));
                break;
            }
        }
        routes.push(route);
    }
    routes
}

fn route<'a>(instance: &Block<'a>, name: String, names: &mut Vec<String>) -> TracesRoute {
    let batch = processors::batch(instance);
    let receivers = receivers::read(instance);
    let held_by = processors::held_by(instance, &name);
    let mut destinations: Vec<DestinationPlan> = Vec::new();
    let entries = instance.items("remote_write");
    if entries.is_empty() {
        let help = "add remote_write: [{endpoint: 'https://host:4318', protocol: http}]";
        instance.warn(format!("`{name}` has no `remote_write`: what it receives goes nowhere"), Some(help));
    }
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
    }
    for taken in remote_write::set_apart(names, &name, &mut destinations) {
        let message =
            format!("another destination has the name `{taken}`: this one is called `traces-{name}-{taken}` here");
        instance.warn(message, Some("a name is a destination's place in the queue; give each its own"));
    }
    let accepts = remote_write::accepted(&destinations);
    TracesRoute { name, receivers, held_by, accepts, destinations }
}
