//! The small blocks of `logs:`: positions, file watching, target and limits.

use std::{path::PathBuf, time::Duration};

use crate::{
    FileWatch, LineLimits, LineRate,
    block::{Block, Shape},
};

pub(in crate::dialect) const POSITIONS: Shape =
    Shape { name: "positions", keys: &[&["filename", "sync_period", "ignore_invalid_yaml"]] };

pub(in crate::dialect) const TARGET: Shape = Shape { name: "target_config", keys: &[&["sync_period", "stdin"]] };

pub(in crate::dialect) const LIMITS: Shape = Shape {
    name: "limits_config",
    keys: &[&[
        "readline_rate",
        "readline_burst",
        "readline_rate_enabled",
        "readline_rate_drop",
        "max_streams",
        "max_line_size",
        "max_line_size_truncate",
    ]],
};

pub(in crate::dialect) const FILE_WATCH: Shape =
    Shape { name: "file_watch_config", keys: &[&["min_poll_frequency", "max_poll_frequency"]] };

const SYNC_PERIOD: Duration = Duration::from_secs(10);

/// Promtail's own defaults; the Agent never applied them, so that a limit that was only switched on stopped every line.
const RATE: LineRate = LineRate { per_second: 10_000.0, burst: 10_000, drop: false };

pub(super) fn watch(global: &Block<'_>) -> FileWatch {
    let mut watch = FileWatch::default();
    let Some(block) = global.block("file_watch_config", FILE_WATCH) else {
        return watch;
    };
    let (min, max) =
        (longer_than_nothing(&block, "min_poll_frequency"), longer_than_nothing(&block, "max_poll_frequency"));
    if let Some(min) = min {
        watch = FileWatch { min_poll: min, max_poll: watch.max_poll.max(min) };
    }
    if let Some(max) = max {
        watch.max_poll = max;
    }
    if watch.min_poll > watch.max_poll {
        let message = "`min_poll_frequency` is longer than `max_poll_frequency`";
        block.error_at("min_poll_frequency", message, Some("both are the time between two looks at a file"));
    }
    watch
}

/// `sync_period` and `stdin`.
pub(super) fn target(instance: &Block<'_>) -> (Duration, bool) {
    let Some(block) = instance.block("target_config", TARGET) else {
        return (SYNC_PERIOD, false);
    };
    let sync_period = longer_than_nothing(&block, "sync_period").unwrap_or(SYNC_PERIOD);
    (sync_period, block.flag("stdin").unwrap_or(false))
}

/// `filename`, `sync_period`, `ignore_invalid_yaml`.
pub(super) fn positions(instance: &Block<'_>) -> (Option<PathBuf>, Duration, bool) {
    let Some(block) = instance.block("positions", POSITIONS) else {
        return (None, SYNC_PERIOD, false);
    };
    let sync_period = longer_than_nothing(&block, "sync_period").unwrap_or(SYNC_PERIOD);
    (block.path("filename"), sync_period, block.flag("ignore_invalid_yaml").unwrap_or(false))
}

pub(super) fn lines(instance: &Block<'_>) -> LineLimits {
    let Some(block) = instance.block("limits_config", LIMITS) else {
        return LineLimits::default();
    };
    let (per_second, burst) = (block.real("readline_rate"), block.whole("readline_burst"));
    let drop = block.flag("readline_rate_drop");
    let enabled = block.flag("readline_rate_enabled").unwrap_or(false);
    let max_streams = block.whole("max_streams").unwrap_or(0);
    // Zero is what the Agent has where nothing is written; a limit of nothing is none.
    let rate = LineRate {
        per_second: per_second.filter(|rate| *rate > 0.0).unwrap_or(RATE.per_second),
        burst: burst.filter(|burst| *burst > 0).unwrap_or(RATE.burst),
        drop: drop.unwrap_or(RATE.drop),
    };
    LineLimits {
        rate: enabled.then_some(rate),
        max_streams,
        max_line_size: block.size("max_line_size").unwrap_or(0),
        max_line_size_truncate: block.flag("max_line_size_truncate").unwrap_or(false),
    }
}

fn longer_than_nothing(block: &Block<'_>, key: &str) -> Option<Duration> {
    let duration = block.duration(key)?;
    if duration.is_zero() {
        block.error_at(key, format!("`{key}` must be longer than 0"), None);
    }
    Some(duration).filter(|duration| !duration.is_zero())
}
