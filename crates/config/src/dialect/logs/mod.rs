//! `logs:`: the global defaults, and one route for each of `configs[]`.

pub(super) mod check;
pub(super) mod clients;
pub(super) mod limits;
mod names;
mod protocol;
pub(super) mod scrape;
pub(super) mod sources;
pub(super) mod stages;

use std::path::{Path, PathBuf};

use super::Settings;
use crate::{
    DestinationPlan, FileWatch, LogsRoute, PositionsPlan,
    block::{Block, Field, Reader, Shape},
};

pub(super) const LOGS: Shape = Shape { name: "logs", keys: &[&["positions_directory", "global", "configs"]] };

pub(super) const GLOBAL: Shape = Shape { name: "logs.global", keys: &[&["file_watch_config", "clients"]] };

pub(super) const INSTANCE: Shape = Shape {
    name: "logs.configs[]",
    keys: &[&["name", "clients", "positions", "scrape_configs", "target_config", "limits_config"]],
};

/// What instances inherit.
struct Global<'a> {
    watch: FileWatch,
    clients: Option<Field<'a>>,
    positions_directory: Option<PathBuf>,
}

/// An instance without a source of its own: lines may come to it from `traces`.
pub(super) struct Sourceless<'a> {
    name: String,
    block: Block<'a>,
}

impl Sourceless<'_> {
    /// Reports it if nothing sends to it. `targets`: the instances that something else of the file names.
    pub(super) fn check(&self, targets: &[&str]) {
        if !targets.contains(&self.name.as_str()) {
            let help = "add scrape_configs with a job of static_configs and a label __path__, or have traces send to it \
                        (automatic_logging, or logs_instance of an otlp receiver)";
            self.block.warn(format!("`{}` has no `scrape_configs`: it collects nothing", self.name), Some(help));
        }
    }
}

/// `names`: those that destinations of other signals have.
pub(super) fn read<'a>(
    reader: &'a Reader<'a>,
    field: &Field<'a>,
    settings: &Settings,
    data_directory: &Path,
    mut names: Vec<String>,
) -> (Vec<LogsRoute>, Vec<Sourceless<'a>>) {
    let Some(block) = Block::open(reader, LOGS, field) else {
        return Default::default();
    };
    let global = global(&block);
    let mut routes: Vec<LogsRoute> = Vec::new();
    let mut sourceless = Vec::new();
    for item in block.items("configs") {
        let Some(instance) = Block::open(reader, INSTANCE, &item) else {
            continue;
        };
        let name = instance.required("name", "name: default").unwrap_or_default();
        if !name.is_empty() && routes.iter().any(|route| route.name == name) {
            let message = format!("two entries of `logs.configs` have the name `{name}`");
            instance.error_at("name", message, Some("names are unique"));
        }
        let route = route(&instance, name, &global, settings, data_directory, &mut names);
        // Two of one name, or of none, share a file because of that.
        let mut others = routes.iter().filter(|other| other.name != route.name);
        if let Some(other) = others.find(|other| other.positions.file == route.positions.file) {
            let message = format!("`{}` and `{}` share a positions file", other.name, route.name);
            instance.error_at("positions", message, Some("give each instance its own positions.filename"));
        }
        same_input(&instance, &route, &routes);
        if route.jobs.is_empty() && !route.stdin && instance.get("scrape_configs").is_none() {
            sourceless.push(Sourceless { name: route.name.clone(), block: instance });
        }
        routes.push(route);
    }
    (routes, sourceless)
}

/// Reports what two jobs cannot share: a port, the standard input.
fn same_input(instance: &Block<'_>, route: &LogsRoute, before: &[LogsRoute]) {
    if let Some(other) = before.iter().find(|other| other.stdin && route.stdin) {
        let message = format!("`{}` and `{}` both read the standard input", other.name, route.name);
        instance.error_at("target_config", message, Some("stdin: true in one instance only"));
    }
    let jobs = |route: &LogsRoute| if route.stdin { Vec::new() } else { route.jobs.clone() };
    let own = jobs(route);
    let mut earlier: Vec<_> = before.iter().flat_map(jobs).collect();
    for job in own {
        let Some((transport, address)) = job.source.listens() else { continue };
        let same = |other: &&crate::LogJobPlan| other.source.listens() == Some((transport, address));
        if let Some(other) = earlier.iter().find(same) {
            let message = format!("the jobs `{}` and `{}` both listen on {address}", other.job_name, job.job_name);
            instance.error_at("scrape_configs", message, Some("give each job its own port"));
        }
        earlier.push(job);
    }
}

fn global<'a>(logs: &Block<'a>) -> Global<'a> {
    let positions_directory = logs.path("positions_directory");
    let Some(block) = logs.block("global", GLOBAL) else {
        return Global { watch: FileWatch::default(), clients: None, positions_directory };
    };
    Global { watch: limits::watch(&block), clients: block.get("clients"), positions_directory }
}

fn route<'a>(
    instance: &Block<'a>,
    name: String,
    global: &Global<'a>,
    settings: &Settings,
    data_directory: &Path,
    names: &mut Vec<String>,
) -> LogsRoute {
    let positions = positions(instance, &name, global, data_directory);
    let (sync_period, stdin) = limits::target(instance);
    let limits = limits::lines(instance);
    let jobs = scrape::jobs(instance, scrape::Place { stdin, hostname: &settings.hostname });
    let mut destinations = destinations(instance, &name, global, settings);
    for taken in clients::set_apart(names, &name, &mut destinations) {
        let message =
            format!("another destination has the name `{taken}`: this one is called `logs-{name}-{taken}` here");
        instance.warn(message, Some("a name is a destination's place in the queue; give each its own"));
    }
    LogsRoute { name, positions, sync_period, stdin, limits, watch: global.watch, jobs, destinations }
}

fn positions(instance: &Block<'_>, name: &str, global: &Global<'_>, data_directory: &Path) -> PositionsPlan {
    let (file, sync_period, ignore_invalid_yaml) = limits::positions(instance);
    // A name may hold a slash; the Agent's files of such names lie deeper, and are found there.
    let in_directory = |directory: &Path| directory.join(format!("{name}.yml"));
    let file = file
        .or_else(|| global.positions_directory.as_deref().map(in_directory))
        .unwrap_or_else(|| in_directory(&data_directory.join("positions")));
    PositionsPlan { file, sync_period, ignore_invalid_yaml }
}

/// The instance's own clients, or those of `logs.global`.
fn destinations<'a>(
    instance: &Block<'a>,
    name: &str,
    global: &Global<'a>,
    settings: &Settings,
) -> Vec<DestinationPlan> {
    let own = instance.get("clients").filter(|f| !instance.reader.items(f).is_empty());
    let inherited = own.is_none();
    let Some(list) = own.or_else(|| global.clients.clone()) else {
        let help = "add clients here or under logs.global";
        instance.warn(format!("`{name}` has no `clients`: what it reads goes nowhere"), Some(help));
        return Vec::new();
    };
    let mut destinations: Vec<DestinationPlan> = Vec::new();
    for field in instance.reader.items(&list) {
        let place = clients::Place { instance: name, inherited, hostname: &settings.hostname };
        let Some(mut destination) = clients::read(instance.reader, &field, &place) else {
            continue;
        };
        if destinations.iter().any(|other| clients::same_but_name(other, &destination)) {
            let message = "this client is the same as one before it: everything would be sent twice";
            instance.reader.error(&field, message, Some("remove it"));
        }
        let written = super::metrics::field_name(instance.reader, &field);
        let same_name = |name: &str| destinations.iter().any(|d| d.config.name == name);
        if let Some(written) = written {
            if same_name(&destination.config.name) {
                let message = format!("two clients of `{name}` have the name `{written}`");
                let help = "a name is a destination's place in the queue; give each its own";
                instance.reader.error(&field, message, Some(help));
            }
        } else {
            // Generated names of two clients at one URL are told apart by their order.
            let base = destination.config.name.clone();
            let mut number = 1;
            while same_name(&destination.config.name) {
                number += 1;
                destination.config.name = format!("{base}-{number}");
            }
        }
        destinations.push(destination);
    }
    destinations
}
