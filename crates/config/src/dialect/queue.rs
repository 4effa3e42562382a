//! The top-level `queue:` block: where data waits, and how much of it.

use std::{path::Path, time::Duration};

use crate::{
    MinFree, QueuePlan, Shares,
    block::{Block, Shape},
    scalar,
};

pub(super) const QUEUE: Shape =
    Shape { name: "queue", keys: &[&["directory", "max_bytes", "min_free", "shares", "commit_interval"]] };

pub(super) const SHARES: Shape = Shape { name: "queue.shares", keys: &[&["metrics", "logs", "traces"]] };

/// Below this the queue cannot hold its fixed parts and one segment a lane.
const LEAST_BYTES: u64 = 16 << 20;

pub(super) fn read(root: &Block<'_>, data_directory: &Path) -> QueuePlan {
    let mut plan = QueuePlan {
        directory: data_directory.join("queue"),
        max_bytes: 8 << 30,
        min_free: MinFree::Auto,
        shares: Shares::default(),
        commit_interval: Duration::from_millis(200),
    };
    let Some(block) = root.block("queue", QUEUE) else {
        return plan;
    };
    if let Some(directory) = block.path("directory") {
        plan.directory = directory;
    }
    if let Some(max_bytes) = block.size("max_bytes") {
        if max_bytes < LEAST_BYTES {
            block.error_at(
                "max_bytes",
                "`max_bytes` is below 16MiB, too little for a queue",
                Some("max_bytes: 8GiB is the default"),
            );
        }
        plan.max_bytes = max_bytes;
    }
    if let Some(min_free) = min_free(&block) {
        plan.min_free = min_free;
    }
    if let Some(interval) = block.duration("commit_interval") {
        if interval.is_zero() || interval > Duration::from_secs(60) {
            block.error_at(
                "commit_interval",
                "`commit_interval` is between 1ms and 1m",
                Some("commit_interval: 200ms is the default"),
            );
        }
        plan.commit_interval = interval;
    }
    if let Some(shares) = block.block("shares", SHARES) {
        plan.shares = Shares {
            metrics: share(&shares, "metrics", 40),
            logs: share(&shares, "logs", 40),
            traces: share(&shares, "traces", 20),
        };
        let sum =
            [plan.shares.metrics, plan.shares.logs, plan.shares.traces].iter().map(|s| u64::from(*s)).sum::<u64>();
        if sum == 0 {
            shares.error("all shares are 0", Some("shares: {metrics: 40, logs: 40, traces: 20} is the default"));
        }
    }
    plan
}

fn min_free(block: &Block<'_>) -> Option<MinFree> {
    let field = block.get("min_free")?;
    let text = block.reader.text(&field)?;
    if text.trim() == "auto" {
        return Some(MinFree::Auto);
    }
    let read = match text.trim().strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..100.0).contains(&percent) => Ok(MinFree::Percent(percent)),
            _ => Err("a percentage is from 0% to below 100%".to_owned()),
        },
        None => scalar::size(&text).map(MinFree::Bytes),
    };
    read.map_err(|message| {
        block.reader.error(
            &field,
            format!("`min_free`: {message}"),
            Some("min_free: auto, min_free: 5% or min_free: 10GiB"),
        )
    })
    .ok()
}

fn share(block: &Block<'_>, key: &str, default: u32) -> u32 {
    let Some(field) = block.get(key) else {
        return default;
    };
    let Some(text) = block.reader.text(&field) else {
        return default;
    };
    match scalar::whole(text.trim().trim_end_matches('%'))
        .ok()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= 1_000_000)
    {
        Some(share) => share,
        None => {
            block.reader.error(&field, format!("`{key}`: a share is a whole number such as 40"), None);
            default
        }
    }
}
