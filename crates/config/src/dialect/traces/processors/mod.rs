//! What stands between receivers and destinations: `batch`, and the processors.
//!
//! Keeps true: spans never leave otherwise than the file says.

pub(in crate::dialect) mod attributes;
pub(in crate::dialect) mod derived;
mod discovered;
pub(in crate::dialect) mod load_balancing;
pub(in crate::dialect) mod tail_sampling;
mod value;

use std::time::Duration;

use traces::{Chain, ProcessorMetrics, ProcessorsConfig};

use super::Instances;
use crate::{
    block::{Block, Shape},
    traces_plan::Written,
};

/// Processors that run.
pub(super) const RUNNING: &[&str] = &[
    "attributes",
    "spanmetrics",
    "service_graphs",
    "tail_sampling",
    "automatic_logging",
    "prom_sd_operation_type",
    "prom_sd_pod_associations",
    "scrape_configs",
    "load_balancing",
];

/// Of these, those that are written again as they stand: the others may hold secrets.
const AS_WRITTEN: usize = 7;

/// What does not run.
pub(super) const DERIVING: &[&str] = &["jaeger_remote_sampling"];

pub(in crate::dialect) const BATCH: Shape = Shape {
    name: "traces.configs[].batch",
    keys: &[&["timeout", "send_batch_size", "send_batch_max_size", "metadata_keys", "metadata_cardinality_limit"]],
};

/// `batch`, as far as it has meaning here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    /// How long a request waits for more; `None`: not at all.
    pub wait: Option<Duration>,
    /// Items in a request at most.
    pub most: Option<usize>,
}

pub(super) fn batch(instance: &Block<'_>) -> Batch {
    let Some(field) = instance.raw("batch") else {
        return Batch::default();
    };
    let Some(block) = Block::open(instance.reader, BATCH, &field) else {
        return Batch::default();
    };
    let wait = block.duration("timeout").unwrap_or(Duration::from_millis(200));
    if wait > Duration::from_secs(3600) {
        block.error_at("timeout", "`timeout` of a batch is at most 1h", None);
    }
    let (size, most) = (block.whole("send_batch_size").unwrap_or(8192), block.whole("send_batch_max_size"));
    if most.is_some_and(|most| most != 0 && most < size) {
        block.error_at("send_batch_max_size", "`send_batch_max_size` is below `send_batch_size` (default 8192)", None);
    }
    if let Some(field) = block.get("metadata_keys").filter(|field| !block.reader.texts(field).is_empty()) {
        let message = "`metadata_keys` has no effect: requests are joined whatever headers they came with";
        block.reader.warn(&field, message, None);
    }
    block.whole("metadata_cardinality_limit");
    let most = most.filter(|most| *most > 0).unwrap_or_else(|| size.max(1));
    Batch { wait: Some(wait), most: usize::try_from(most).ok() }
}

/// Says what is not derived.
pub(super) fn not_derived(instance: &Block<'_>) {
    for key in DERIVING {
        let Some(field) = instance.get(key) else { continue };
        let message = format!("`{key}` does not run in this version: spans are forwarded, and nothing is made of them");
        instance.reader.warn(&field, message, None);
    }
}

/// What the processors of an instance come to.
pub(super) struct Processors {
    pub config: ProcessorsConfig,
    pub jobs: discovered::Jobs,
    pub balancing: Option<load_balancing::Balancing>,
    /// Blocks as they stand in the file.
    pub written: Vec<(String, Written)>,
}

/// The processors, checked.
pub(super) fn read(instance: &Block<'_>, name: &str, instances: &Instances) -> Processors {
    not_derived(instance);
    let (discovered, jobs) = discovered::read(instance);
    let balancing = load_balancing::read(instance, name);
    let config = ProcessorsConfig {
        discovered,
        attributes: attributes::read(instance),
        span_metrics: derived::span_metrics(instance, instances),
        service_graphs: derived::service_graphs(instance),
        tail_sampling: tail_sampling::read(instance),
        automatic_logging: derived::automatic_logging(instance, instances),
        balance: None,
    };
    // What cannot be compiled is told at the block it is of; what was told while reading is not told again.
    let none = ProcessorsConfig::default;
    let alone = [
        (
            "attributes",
            config.attributes.as_ref().is_some_and(|attributes| !attributes.actions.is_empty()),
            ProcessorsConfig { attributes: config.attributes.clone(), ..none() },
        ),
        (
            "tail_sampling",
            config.tail_sampling.as_ref().is_some_and(|tail| !tail.policies.is_empty()),
            ProcessorsConfig { tail_sampling: config.tail_sampling.clone(), ..none() },
        ),
    ];
    for (key, _, alone) in alone.iter().filter(|(_, complete, _)| *complete) {
        if let Err(error) = Chain::new(alone, "", &ProcessorMetrics::default()) {
            instance.error_at(key, format!("{key}: {error}"), None);
        }
    }
    let written = |key: &&str| Some(((*key).to_owned(), value::written(instance.reader, instance.get(key)?.node)));
    let mut written: Vec<(String, Written)> = RUNNING.iter().take(AS_WRITTEN).filter_map(written).collect();
    written.extend(load_balancing::shown(instance));
    Processors { config, jobs, balancing, written }
}
