//! One lane: its segments, its cursors, and the cell through which the writer tells readers what is durable.
//!
//! The board is shared by the writer thread and the readers under one short lock; no IO happens while it is held.
//! Keeps true: what the board calls durable was synced before it was put there.

mod core;
mod credit;
mod evict;
mod mailbox;
mod recover;
mod rotate;
mod salvage;
mod tail;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::config::{LaneId, MinFree, OnFull};
use crate::cursor::{Cursor, Position};
use crate::destination::Destination;
use crate::disk::Disk;
use crate::quarantine::Quarantine;
use crate::segment::{BASE_STEP, Segment};
use crate::sync;
use crate::throttle::Throttle;
use crate::walk::SegmentFile;

#[cfg(test)]
pub(crate) use self::core::Stall;
pub(crate) use self::core::{LaneCore, Pending};
pub(crate) use credit::{Credit, HeldContexts};
pub(crate) use mailbox::Mailbox;
pub use recover::LaneReport;
pub(crate) use recover::{Recovered, Witness, recover};
pub(crate) use writer::{now_ms, spawn};

/// Whether a lane takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LaneState {
    /// It does.
    #[default]
    Ok,
    /// No room, and a destination on `hold` still needs the oldest segment (or the disk is full).
    Full,
    /// The disk refuses writes; the lane tries again on its own.
    Failed,
    /// Closed or removed.
    Closed,
}

/// What the writer publishes after each sync: state, not an event, so no wake-up can be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Durable {
    pub offset: u64,
    pub ticket: u64,
    pub state: LaneState,
}

/// Counters of one lane since start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Records made durable.
    pub frames: u64,
    /// Items made durable.
    pub items: u64,
    /// Payload bytes (as stored) made durable.
    pub payload_bytes: u64,
    /// Bytes written to segment files, with headers and contexts.
    pub written_bytes: u64,
    /// Contexts written.
    pub contexts: u64,
    /// Successful syncs.
    pub commits: u64,
    /// Time spent in them, nanoseconds.
    pub commit_nanos: u64,
    /// Failed writes and syncs.
    pub write_failures: u64,
    /// Segments evicted.
    pub evicted_segments: u64,
    /// Unreadable ranges met by readers, each counted once.
    pub damaged_ranges: u64,
    /// Bytes at the end of the log that the start discarded: written, and promised to nobody.
    pub unsynced_discarded_bytes: u64,
    /// Bytes at the end of the log that had been promised and that the start found damaged.
    pub damaged_tail_bytes: u64,
}

/// One destination's part of the board.
pub(crate) struct Pair {
    pub cursor: Cursor,
    pub on_full: OnFull,
    pub destination: Arc<Destination>,
    pub turn: Arc<Notify>,
    /// Lane offset below which everything was taken from this destination; all ones once it is removed.
    pub given_up: watch::Sender<u64>,
}

impl Pair {
    /// Moves the cursor past an evicted segment and tells whoever works on its frames; gives the items lost.
    pub(crate) fn evict_to(&mut self, end: Position) -> u64 {
        let lost = self.cursor.evict_to(end);
        self.given_up.send_if_modified(|offset| end.offset > std::mem::replace(offset, end.offset.max(*offset)));
        self.destination.mark_dirty();
        self.turn.notify_one();
        lost
    }
}

/// What writer and readers share.
pub(crate) struct Board {
    pub segments: VecDeque<Segment>,
    pub durable: Position,
    pub budget: u64,
    pub segment_size: u64,
    pub min_free: MinFree,
    pub pairs: BTreeMap<Arc<str>, Pair>,
    pub stats: LaneStats,
    pub last_ingest_ms: i64,
    /// When the oldest record that the writer holds and that is not durable was handed over, ms since the epoch.
    pub oldest_unsynced_ms: Option<i64>,
    /// Segments that hold something at or behind this lane offset stay, whoever is past them.
    pub floor: u64,
    /// Segments that readers and claims have open.
    opened: Vec<Weak<SegmentFile>>,
}

impl Board {
    pub(crate) fn new(found: Recovered, budget: u64, segment_size: u64, min_free: MinFree) -> Board {
        Board {
            segments: VecDeque::from(found.segments),
            durable: found.durable,
            budget,
            segment_size,
            min_free,
            pairs: BTreeMap::new(),
            stats: LaneStats {
                unsynced_discarded_bytes: found.report.unsynced_discarded_bytes,
                damaged_tail_bytes: found.report.damaged_tail_bytes,
                ..LaneStats::default()
            },
            last_ingest_ms: found.last_ingest_ms,
            oldest_unsynced_ms: None,
            floor: u64::MAX,
            opened: Vec::new(),
        }
    }

    /// Notes that a segment is open, so that it can be closed when it goes. `None`: it went while it was being opened.
    pub(crate) fn opened(&mut self, file: SegmentFile) -> Option<Arc<SegmentFile>> {
        self.segments.iter().any(|segment| segment.base == file.base).then(|| {
            let file = Arc::new(file);
            self.opened.retain(|held| held.strong_count() > 0);
            self.opened.push(Arc::downgrade(&file));
            file
        })
    }

    /// Takes out the open files of segments that are gone.
    pub(crate) fn orphans(&mut self) -> Vec<Arc<SegmentFile>> {
        let opened = std::mem::take(&mut self.opened);
        let files = opened.iter().filter_map(Weak::upgrade);
        let (kept, orphans): (Vec<_>, Vec<_>) =
            files.partition(|file| self.segments.iter().any(|segment| segment.base == file.base));
        self.opened = kept.iter().map(Arc::downgrade).collect();
        orphans
    }

    /// Real size of all segment files, bytes.
    pub(crate) fn used(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// The position at the end of the segment at `index`: its end, and the item the next one begins with.
    pub(crate) fn end_of(&self, index: usize) -> Option<Position> {
        let segment = self.segments.get(index)?;
        let item = self.segments.get(index + 1).map_or(self.durable.item, |next| next.first_item);
        Some(Position { offset: segment.end, item })
    }

    /// Index of the segment a reader at `offset` continues in: the first that ends behind it. An empty one has nothing
    /// for readers; if it was just opened, its base may even lie beyond the durable end (invariant 6).
    pub(crate) fn segment_at(&self, offset: u64) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.end <= offset);
        let holds_frames = |segment: &Segment| segment.end > segment.base;
        self.segments.iter().enumerate().skip(index).find(|(_, segment)| holds_frames(segment)).map(|(index, _)| index)
    }

    /// The oldest published position. A segment that was just opened holds none.
    pub(crate) fn oldest(&self) -> Position {
        self.segments
            .front()
            .filter(|segment| segment.end > segment.base)
            .map_or(self.durable, |segment| Position { offset: segment.base, item: segment.first_item })
    }

    /// Stored bytes between an offset and the durable end, holes between segments not counted.
    pub(crate) fn bytes_after(&self, offset: u64) -> u64 {
        Segment::bytes_after(&self.segments, offset)
    }
}

/// Damaged places remembered for a lane.
const KNOWN_DAMAGE: usize = 10_000;

/// One lane.
pub(crate) struct Lane {
    pub id: LaneId,
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub board: Mutex<Board>,
    pub durable: watch::Sender<Durable>,
    pub credit: Arc<Semaphore>,
    pub credit_bytes: u64,
    pub mailbox: Mailbox,
    pub quarantine: Arc<Quarantine>,
    /// How often room was made at the cost of the floor.
    pub pressed: watch::Sender<u64>,
    /// Items lost to eviction.
    pub losses: Throttle,
    /// Bytes that could not be read.
    pub damages: Throttle,
    /// Frames that are intact and cannot be used.
    pub rejects: Throttle,
    /// Lane offsets of damage that a reader met: the next destination that meets it says nothing new.
    pub known_damage: Mutex<BTreeSet<u64>>,
    /// Contexts of records that are not durable.
    pub contexts: Arc<HeldContexts>,
}

impl Lane {
    /// Notes damage at a lane offset; true the first time. Of places beyond count it forgets all.
    pub(crate) fn is_new_damage(&self, offset: u64) -> bool {
        let mut known = self.known_damage.lock();
        if known.len() >= KNOWN_DAMAGE {
            known.clear();
        }
        known.insert(offset)
    }

    pub(crate) fn state(&self) -> LaneState {
        self.durable.borrow().state
    }

    /// Publishes a state if it changed.
    pub(crate) fn set_state(&self, state: LaneState) {
        let changed = self.durable.send_if_modified(|cell| {
            let changed = cell.state != state && cell.state != LaneState::Closed;
            if changed {
                cell.state = state;
            }
            changed
        });
        if changed {
            match state {
                LaneState::Ok => tracing::info!(lane = %self.id, "lane takes records again"),
                LaneState::Full => self.say_full(),
                LaneState::Failed => {
                    tracing::error!(lane = %self.id, "lane cannot write: appends wait, trying again")
                }
                LaneState::Closed => {}
            }
        }
    }

    /// Says what is short, since the disk and the budget call for different things.
    fn say_full(&self) {
        let (used, budget, min_free, next) = {
            let board = self.board.lock();
            let room = board.budget.saturating_sub(board.used());
            (board.used(), board.budget, board.min_free, board.segment_size.min(room).max(BASE_STEP))
        };
        let (free, total) = self.disk.space(&self.dir).unwrap_or((u64::MAX, 0));
        let keep_free = min_free.limit(total);
        if free < next.saturating_add(keep_free) {
            tracing::warn!(lane = %self.id, free_bytes = free, keep_free_bytes = keep_free, segment_bytes = next, "the disk has no room for what the lane has to write, and there is nothing that may be evicted: appends wait; free disk space, or lower queue.min_free");
        } else {
            tracing::warn!(lane = %self.id, bytes = used, budget_bytes = budget, "the lane's budget is used up, and there is nothing that may be evicted: appends wait; see which destination with on_full: hold does not deliver, or raise queue.max_bytes");
        }
    }

    /// Removes sealed segments that every cursor on disk is past; gives the number removed. The caller sees to it
    /// that cursors are durable first (invariant 18).
    pub(crate) fn reclaim(&self) -> usize {
        let mut gone = Vec::new();
        let orphans = {
            let mut board = self.board.lock();
            let needed = board.pairs.values().map(|pair| pair.cursor.durable_offset).min().unwrap_or(u64::MAX);
            let needed = needed.min(board.floor);
            while board.segments.front().is_some_and(|segment| segment.sealed && segment.end <= needed) {
                gone.extend(board.segments.pop_front());
            }
            if gone.is_empty() { Vec::new() } else { board.orphans() }
        };
        orphans.iter().for_each(|file| file.close());
        for segment in &gone {
            // A file that stays is below every cursor and is removed at the next start.
            if let Err(error) = self.disk.remove(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "cannot remove a finished segment");
            }
        }
        gone.len()
    }

    /// Destinations whose cursor on disk is behind the one in memory within the oldest segment.
    pub(crate) fn blocking_cursor_files(&self) -> Vec<Arc<Destination>> {
        let board = self.board.lock();
        let Some(end) = board.segments.front().filter(|segment| segment.sealed).map(|segment| segment.end) else {
            return Vec::new();
        };
        board
            .pairs
            .values()
            .filter(|pair| pair.cursor.settled.offset >= end && pair.cursor.durable_offset < end)
            .map(|pair| Arc::clone(&pair.destination))
            .collect()
    }
}
