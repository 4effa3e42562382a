//! What the queue is told: where, how much, which lanes, which destinations. Plain data with checked names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::QueueError;

const MIB: u64 = 1 << 20;

/// Name of a lane: one independent log, for instance `metrics-default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(Arc<str>);

impl LaneId {
    /// Checks that the name can be a directory name: 1 to 128 characters of `a-z 0-9 _ . -`, not starting with a dot.
    pub fn new(name: &str) -> Result<LaneId, QueueError> {
        let refuse = |why| Err(QueueError::Name { what: "lane", name: name.to_owned(), why });
        if name.is_empty() || name.len() > 128 {
            return refuse("it must have 1 to 128 characters");
        }
        if name.starts_with('.') {
            return refuse("it must not start with a dot");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-')) {
            return refuse("only a-z, 0-9, '_', '.' and '-' are allowed");
        }
        Ok(LaneId(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One lane and its part of the disk budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpec {
    /// Its name.
    pub id: LaneId,
    /// Its budget is `max_bytes * weight / sum of weights`.
    pub weight: u32,
    /// Its records say where their sources stood: segments stay until the sources wrote that down themselves
    /// ([`Queue::keep_from`](crate::Queue::keep_from)).
    pub marked: bool,
}

impl LaneSpec {
    /// A lane of weight 1.
    pub fn new(id: LaneId) -> LaneSpec {
        LaneSpec { id, weight: 1, marked: false }
    }

    /// The same for a lane whose records hold the positions of their sources.
    #[must_use]
    pub fn marked(self) -> LaneSpec {
        LaneSpec { marked: true, ..self }
    }
}

/// What happens when a lane is full and this destination still needs its oldest segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// The destination loses the oldest segment; the loss is counted as `evicted`.
    #[default]
    Evict,
    /// Appends wait, for every source and destination of the lane.
    Hold,
}

/// Where a destination begins that the queue has not seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With the next record.
    #[default]
    Now,
    /// With the oldest record on disk.
    Oldest,
}

/// One destination: its position is known by its name, so changing anything else keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSpec {
    /// Identity. Any text; must not hold secrets, it appears in logs and file names.
    pub name: String,
    /// The lanes it reads.
    pub lanes: Vec<LaneId>,
    /// What happens when a lane is full.
    pub on_full: OnFull,
    /// Older frames are counted as `expired` without being sent.
    pub max_age: Option<Duration>,
    /// Where it begins when it is new.
    pub start: StartAt,
    /// `false`: paused. It has no reader; position and space are kept (under `on_full`).
    pub enabled: bool,
    /// Bytes of decompressed payload, and of references to contexts, in unsettled claims, over all its lanes.
    pub max_in_flight_bytes: u64,
    /// Frames between the oldest unsettled claim and the newest claim, per lane.
    pub max_claims: usize,
}

impl DestinationSpec {
    /// Defaults: evict, no maximal age, start now, enabled, 16 MiB and 256 claims in flight.
    pub fn new(name: impl Into<String>, lanes: Vec<LaneId>) -> DestinationSpec {
        DestinationSpec {
            name: name.into(),
            lanes,
            on_full: OnFull::Evict,
            max_age: None,
            start: StartAt::Now,
            enabled: true,
            max_in_flight_bytes: 16 * MIB,
            max_claims: 256,
        }
    }

    pub(crate) fn check(&self) -> Result<(), QueueError> {
        let refuse = |why| Err(QueueError::Name { what: "destination", name: self.name.clone(), why });
        if self.name.is_empty() || self.name.len() > 1024 {
            return refuse("it must have 1 to 1024 bytes");
        }
        if self.name.chars().any(char::is_control) {
            return refuse("it must not hold control characters");
        }
        Ok(())
    }
}

/// Space of the filesystem the queue leaves alone: a new segment is not opened if less would stay free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinFree {
    /// Part of the filesystem's size, in percent.
    pub percent: u8,
    /// Never less than this many bytes.
    pub bytes: u64,
    /// What the percentage never asks beyond, bytes: 5 % of a big disk is far more than its other users
    /// need left, and an agent that stops reading over it helps nobody.
    pub at_most: u64,
}

impl MinFree {
    /// No limit.
    pub const NONE: MinFree = MinFree::bytes(0);

    /// So many bytes, whatever the filesystem's size.
    pub const fn bytes(bytes: u64) -> MinFree {
        MinFree { percent: 0, bytes, at_most: u64::MAX }
    }

    /// That part of the filesystem, however large it is.
    pub const fn percent(percent: u8) -> MinFree {
        MinFree { percent, bytes: 0, at_most: u64::MAX }
    }

    pub(crate) fn limit(self, total: u64) -> u64 {
        let part = u128::from(total) * u128::from(self.percent) / 100;
        u64::try_from(part).unwrap_or(u64::MAX).min(self.at_most).max(self.bytes)
    }
}

impl Default for MinFree {
    fn default() -> Self {
        MinFree { percent: 5, bytes: 512 * MIB, at_most: 2048 * MIB }
    }
}

/// Where the queue lives and how much it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueConfig {
    /// The queue's own directory; created if it is not there.
    pub directory: PathBuf,
    /// Disk budget of all lanes together, bytes.
    pub max_bytes: u64,
    /// Space left to others.
    pub min_free: MinFree,
    /// Longest time a `Soon` append stays unsynced.
    pub commit_interval: Duration,
    /// Longest time between a settled claim and its cursor on disk.
    pub cursor_interval: Duration,
    /// A segment that holds something is closed after this time.
    pub rotate_after: Duration,
    /// Size of a segment file; `None`: a sixteenth of the lane's budget, between 1 and 64 MiB, and at most half of the
    /// budget. Where less room is left than that, a segment is shorter.
    pub segment_bytes: Option<u64>,
    /// Bytes of payload and contexts a lane keeps in memory until they are durable.
    pub credit_bytes: u64,
}

impl QueueConfig {
    /// The defaults: 10 GiB, 5 % of the filesystem free (512 MiB to 2 GiB), 200 ms commits.
    pub fn new(directory: impl Into<PathBuf>) -> QueueConfig {
        QueueConfig {
            directory: directory.into(),
            max_bytes: 10 << 30,
            min_free: MinFree::default(),
            commit_interval: Duration::from_millis(200),
            cursor_interval: Duration::from_secs(1),
            rotate_after: Duration::from_secs(600),
            segment_bytes: None,
            credit_bytes: 16 * MIB,
        }
    }

    pub(crate) fn segment_size(&self, lane_budget: u64) -> u64 {
        // A small budget still holds two segments, or every rotation would evict everything.
        let derived = (lane_budget / 16).clamp(MIB, 64 * MIB).min(lane_budget / 2);
        self.segment_bytes.unwrap_or(derived).max(4096)
    }
}

/// Budget of each lane, in the order given.
pub(crate) fn budgets(max_bytes: u64, lanes: &[LaneSpec]) -> Vec<u64> {
    let sum: u128 = lanes.iter().map(|lane| u128::from(lane.weight)).sum::<u128>().max(1);
    lanes
        .iter()
        .map(|lane| {
            let share = u128::from(max_bytes) * u128::from(lane.weight) / sum;
            u64::try_from(share).unwrap_or(u64::MAX)
        })
        .collect()
}
