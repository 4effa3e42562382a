//! `metrics:`: the global defaults, and one route for each of `configs[]`.

use std::{path::PathBuf, time::Duration};

use ::remote_write::DestinationConfig;
use model::Labels;

use super::{Settings, ignored, relabel, remote_write, scrape};
use crate::{
    DestinationPlan, MetricsRoute, Severity,
    block::{Block, Field, Reader, Shape},
    scalar,
};

pub(super) const METRICS: Shape = Shape {
    name: "metrics",
    keys: &[&[
        "wal_directory",
        "wal_cleanup_age",
        "wal_cleanup_period",
        "instance_restart_backoff",
        "instance_mode",
        "http_disable_keepalives",
        "http_idle_conn_timeout",
        "scraping_service",
        "scraping_service_client",
        "global",
        "configs",
    ]],
};

pub(super) const GLOBAL: Shape = Shape {
    name: "metrics.global",
    keys: &[
        &[
            "scrape_interval",
            "scrape_timeout",
            "external_labels",
            "remote_write",
            "evaluation_interval",
            "query_log_file",
        ],
        scrape::SHARED_KEYS,
    ],
};

pub(super) const INSTANCE: Shape = Shape {
    name: "metrics.configs[]",
    keys: &[&[
        "name",
        "host_filter",
        "host_filter_relabel_configs",
        "scrape_configs",
        "remote_write",
        "wal_truncate_frequency",
        "min_wal_time",
        "max_wal_time",
        "remote_flush_deadline",
        "write_stale_on_shutdown",
    ]],
};

const DEFAULT_DATA_DIRECTORY: &str = "data-agent/";

/// What `metrics:` comes to.
pub(super) struct Metrics {
    pub data_directory: PathBuf,
    pub routes: Vec<MetricsRoute>,
}

impl Metrics {
    pub fn nothing(settings: &Settings) -> Self {
        let data_directory = settings.data_directory.clone().unwrap_or_else(|| DEFAULT_DATA_DIRECTORY.into());
        Self { data_directory, routes: Vec::new() }
    }
}

/// What instances inherit.
struct Global<'a> {
    defaults: scrape::Defaults,
    external_labels: Labels,
    remote_write: Option<Field<'a>>,
}

pub(super) fn read<'a>(reader: &'a Reader<'a>, field: &Field<'a>, settings: &Settings) -> Option<Metrics> {
    let block = Block::open(reader, METRICS, field)?;
    let mut metrics = Metrics::nothing(settings);
    if let (None, Some(directory)) = (&settings.data_directory, block.path("wal_directory")) {
        metrics.data_directory = directory;
    }
    // Read for their form; they steer a log of segments that this agent's queue replaces.
    for key in ["wal_cleanup_age", "wal_cleanup_period", "instance_restart_backoff", "http_idle_conn_timeout"] {
        block.duration(key);
    }
    block.choice("instance_mode", &[("shared", ()), ("distinct", ())]);
    for key in ["scraping_service", "scraping_service_client"] {
        let why = format!("{key}: sigpost does not share scrapes between agents; this block is ignored");
        ignored::block(reader, block.get(key), &why);
    }
    let mut defaults = scrape::Defaults::new(settings.extra_scrape_metrics);
    defaults.disable_keepalives = block.flag("http_disable_keepalives").unwrap_or(false);
    let global = global(&block, defaults);

    let instances = block.items("configs");
    let mut names: Vec<String> = Vec::new();
    for item in &instances {
        let Some(instance) = Block::open(reader, INSTANCE, item) else {
            continue;
        };
        let name = instance.required("name", "name: default").unwrap_or_default();
        if !name.is_empty() && names.contains(&name) {
            instance.error_at(
                "name",
                format!("two entries of `metrics.configs` have the name `{name}`"),
                Some("names are unique"),
            );
        }
        names.push(name.clone());
        metrics.routes.push(route(&instance, name, &global));
    }
    unique_destinations(&block, &metrics.routes);
    Some(metrics)
}

fn global<'a>(metrics: &Block<'a>, defaults: scrape::Defaults) -> Global<'a> {
    let nothing = Global { defaults: defaults.clone(), external_labels: Labels::new(), remote_write: None };
    let Some(block) = metrics.block("global", GLOBAL) else {
        return nothing;
    };
    block.duration("evaluation_interval");
    Global {
        defaults: defaults.with_global(&block),
        external_labels: labels(&block, "external_labels"),
        remote_write: block.get("remote_write"),
    }
}

fn route<'a>(instance: &Block<'a>, name: String, global: &Global<'a>) -> MetricsRoute {
    let jobs = scrape::jobs(instance, &global.defaults);
    let destinations = destinations(instance, &name, global);
    let longest = instance.duration("wal_truncate_frequency");
    if longest.is_some_and(|d| d.is_zero()) {
        instance.error_at("wal_truncate_frequency", "`wal_truncate_frequency` must be longer than 0", None);
    }
    // The Agent refuses files that break this; a file that runs there runs here, and the other way round.
    let limit = longest.unwrap_or(Duration::from_secs(3600));
    for (job, _) in jobs.iter().filter(|(job, _)| job.interval > limit) {
        let message = format!(
            "the scrape interval of job `{}` ({}) is longer than wal_truncate_frequency ({})",
            job.job_name,
            scalar::show_duration(job.interval),
            scalar::show_duration(limit)
        );
        instance.error_at(
            "wal_truncate_frequency",
            message,
            Some("shorten the interval or raise wal_truncate_frequency"),
        );
    }
    let (least, most) = (instance.duration("min_wal_time"), instance.duration("max_wal_time"));
    if least.unwrap_or(Duration::from_secs(300)) > most.unwrap_or(Duration::from_secs(4 * 3600)) {
        instance.error_at("min_wal_time", "`min_wal_time` is longer than `max_wal_time`", None);
    }
    let remote_flush_deadline = instance.duration("remote_flush_deadline").unwrap_or(Duration::from_secs(60));
    if remote_flush_deadline.is_zero() {
        instance.error_at("remote_flush_deadline", "`remote_flush_deadline` must be longer than 0", None);
    }
    MetricsRoute {
        name,
        external_labels: global.external_labels.clone(),
        jobs,
        destinations,
        host_filter: instance.flag("host_filter").unwrap_or(false),
        host_filter_relabel: relabel::rules(instance, "host_filter_relabel_configs"),
        write_stale_on_shutdown: instance.flag("write_stale_on_shutdown").unwrap_or(false),
        remote_flush_deadline,
    }
}

/// The instance's own destinations, or those of `metrics.global`.
fn destinations<'a>(instance: &Block<'a>, name: &str, global: &Global<'a>) -> Vec<DestinationPlan> {
    let own = instance.get("remote_write").filter(|f| !instance.reader.items(f).is_empty());
    let inherited = own.is_none();
    let Some(list) = own.or_else(|| global.remote_write.clone()) else {
        instance.warn(
            format!("`{name}` has no `remote_write`: what it scrapes goes nowhere"),
            Some("add remote_write here or under metrics.global"),
        );
        return Vec::new();
    };
    let mut destinations: Vec<DestinationPlan> = Vec::new();
    for field in instance.reader.items(&list) {
        let place = remote_write::Place { instance: name, inherited, external_labels: &global.external_labels };
        let Some(mut destination) = remote_write::read(instance.reader, &field, &place) else {
            continue;
        };
        let same = |other: &DestinationPlan| {
            without_name(other) == without_name(&destination) && other.identity == destination.identity
        };
        if destinations.iter().any(same) {
            let message = "this `remote_write` entry is the same as one before it: everything would be sent twice";
            instance.reader.error(&field, message, Some("remove it"));
        }
        // Generated names of two destinations at one URL are told apart by their order.
        if field_name(instance.reader, &field).is_none() {
            let base = destination.config.name.clone();
            let mut number = 1;
            while destinations.iter().any(|d| d.config.name == destination.config.name) {
                number += 1;
                destination.config.name = format!("{base}-{number}");
            }
        }
        destinations.push(destination);
    }
    destinations
}

fn without_name(plan: &DestinationPlan) -> DestinationConfig {
    DestinationConfig { name: String::new(), ..plan.config.clone() }
}

pub(super) fn field_name(reader: &Reader<'_>, field: &Field<'_>) -> Option<String> {
    match &field.node.value {
        crate::node::Value::Mapping(entries) => entries
            .iter()
            .find(|e| e.key == "name")
            .and_then(|e| reader.text(&Field::root(&e.node)))
            .filter(|t| !t.is_empty()),
        _ => None,
    }
}

/// Names are a destination's place in the queue: two of one name would share it.
fn unique_destinations(block: &Block<'_>, routes: &[MetricsRoute]) {
    let mut names: Vec<&str> = Vec::new();
    for destination in routes.iter().flat_map(|r| &r.destinations) {
        let name = destination.config.name.as_str();
        if names.contains(&name) {
            let message = format!("two `remote_write` entries have the name `{name}`");
            let help = "a name is a destination's place in the queue; give each its own";
            match place_of_name(block, name) {
                Some(field) => block.reader.error(&field, message, Some(help)),
                None => block.error(message, Some(help)),
            }
        }
        names.push(name);
    }
}

/// The last `name:` with this text among the instances' destinations.
fn place_of_name<'a>(block: &Block<'a>, name: &str) -> Option<Field<'a>> {
    let mut found = None;
    for instance in block.items("configs") {
        let Some((_, list)) = block.reader.entries(&instance).into_iter().find(|(key, _)| *key == "remote_write")
        else {
            continue;
        };
        for item in block.reader.items(&list) {
            let fields = block.reader.entries(&item).into_iter();
            found = fields
                .filter(|(key, f)| *key == "name" && block.reader.text(f).as_deref() == Some(name))
                .map(|(_, f)| f)
                .last()
                .or(found);
        }
    }
    found
}

/// A mapping of label names to values.
pub(super) fn labels(block: &Block<'_>, key: &str) -> Labels {
    let mut labels = Labels::new();
    for (name, field) in block.entries(key) {
        let start = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !start || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let help = "label names are letters, digits and `_`, and do not start with a digit";
            block.reader.error(&field, format!("`{name}` is not a label name"), Some(help));
        }
        if let Some(value) = block.reader.text(&field) {
            if value.is_empty()
                && let Some(variable) = block.reader.empty_variable(&field)
            {
                block.reader.empty_by(Severity::Warning, &field, &variable);
            }
            labels.set(name, &value);
        }
    }
    labels
}
