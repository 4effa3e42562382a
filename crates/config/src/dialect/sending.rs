//! `queue_config` and `metadata_config`: how a remote-write destination batches and retries.

use std::time::Duration;

use ::remote_write::{Backoff, MetadataConfig};

use crate::block::{Block, Shape};

pub(super) const QUEUE_CONFIG: Shape = Shape {
    name: "queue_config",
    keys: &[&[
        "capacity",
        "min_shards",
        "max_shards",
        "max_samples_per_send",
        "batch_send_deadline",
        "min_backoff",
        "max_backoff",
        "retry_on_http_429",
        "sample_age_limit",
    ]],
};

pub(super) const METADATA_CONFIG: Shape =
    Shape { name: "metadata_config", keys: &[&["send", "send_interval", "max_samples_per_send"]] };

const DEFAULT_SHARDS: u32 = 4;

/// `queue_config` as far as it has meaning here.
pub(super) struct QueueConfig {
    pub backoff: Backoff,
    pub max_samples: Option<usize>,
    pub shards: u32,
    pub sample_age_limit: Option<Duration>,
}

pub(super) fn queue_config(block: &Block<'_>) -> QueueConfig {
    let mut config = QueueConfig {
        backoff: Backoff { min: Duration::from_millis(30), max: Duration::from_secs(5), retry_on_http_429: true },
        max_samples: None,
        shards: DEFAULT_SHARDS,
        sample_age_limit: None,
    };
    let Some(block) = block.block("queue_config", QUEUE_CONFIG) else {
        return config;
    };
    let positive = |key: &str| {
        let number = block.whole(key);
        if number == Some(0) {
            block.error_at(key, format!("`{key}` is at least 1"), None);
        }
        number
    };
    positive("capacity");
    let (min_shards, max_shards) = (positive("min_shards"), positive("max_shards"));
    if min_shards.unwrap_or(1) > max_shards.unwrap_or(50) {
        block.error_at("min_shards", "`min_shards` is above `max_shards` (default 50)", None);
    }
    let narrow = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    let shards = DEFAULT_SHARDS.max(narrow(min_shards).unwrap_or(1));
    config.shards = shards.min(narrow(max_shards).unwrap_or(u32::MAX)).clamp(1, 256);
    config.max_samples = positive("max_samples_per_send").and_then(|n| usize::try_from(n).ok());
    block.duration("batch_send_deadline");
    if let Some(min) = block.duration("min_backoff") {
        config.backoff.min = min;
    }
    if let Some(max) = block.duration("max_backoff") {
        config.backoff.max = max;
    }
    if config.backoff.min > config.backoff.max {
        block.error_at("min_backoff", "`min_backoff` is longer than `max_backoff`", None);
    }
    config.backoff.retry_on_http_429 = block.flag("retry_on_http_429").unwrap_or(true);
    config.sample_age_limit = block.duration("sample_age_limit").filter(|age| !age.is_zero());
    config
}

pub(super) fn metadata(block: &Block<'_>) -> MetadataConfig {
    let mut metadata =
        MetadataConfig { send: true, send_interval: Duration::from_secs(60), max_samples_per_send: 2000 };
    let Some(block) = block.block("metadata_config", METADATA_CONFIG) else {
        return metadata;
    };
    metadata.send = block.flag("send").unwrap_or(true);
    if let Some(interval) = block.duration("send_interval") {
        if interval.is_zero() {
            block.error_at("send_interval", "`send_interval` must be longer than 0", None);
        }
        metadata.send_interval = interval;
    }
    if let Some(most) = block.whole("max_samples_per_send").and_then(|n| usize::try_from(n).ok()) {
        if most == 0 {
            block.error_at("max_samples_per_send", "`max_samples_per_send` is at least 1", None);
        }
        metadata.max_samples_per_send = most;
    }
    metadata
}
