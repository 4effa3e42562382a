//! What stands between receivers and destinations: `batch`, and the processors that this version does not run.
//!
//! Keeps true: spans never leave otherwise than the file says. An instance with a processor that would change them, and that
//! does not run here, takes nothing in, and says so; one that would only derive something from them goes on without it.

use std::time::Duration;

use crate::block::{Block, Shape};

/// Processors that change or choose what is forwarded.
pub(super) const CHANGING: &[&str] = &["attributes", "tail_sampling", "load_balancing", "scrape_configs"];

/// What reads spans and writes something else, and what belongs to these and to [`CHANGING`].
pub(super) const DERIVING: &[&str] = &[
    "spanmetrics",
    "service_graphs",
    "automatic_logging",
    "jaeger_remote_sampling",
    "prom_sd_operation_type",
    "prom_sd_pod_associations",
];

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

/// What keeps the instance from taking anything in. Says so, and what is not derived.
pub(super) fn held_by(instance: &Block<'_>, name: &str) -> Vec<String> {
    let mut held = Vec::new();
    for key in CHANGING {
        let Some(field) = instance.get(key) else { continue };
        held.push((*key).to_owned());
        let message = format!(
            "`{key}` does not run in this version, and spans must not leave unchanged where it is asked for: `{name}` receives nothing"
        );
        instance.reader.warn(&field, message, Some("remove it to forward spans as they are received"));
    }
    for key in DERIVING {
        let Some(field) = instance.get(key) else { continue };
        let message = format!("`{key}` does not run in this version: spans are forwarded, and nothing is made of them");
        instance.reader.warn(&field, message, None);
    }
    held
}
