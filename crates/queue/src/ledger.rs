//! The book: for each destination and lane, where every accepted item is. A snapshot, taken lane by lane.
//!
//! Keeps true (invariant 1): `accepted == delivered + filtered + rejected + evicted + expired + damaged + pending` in each row.
//! A destination that is removed has no row any more: what was pending for it is in [`Ledger::removed`].

use std::collections::BTreeMap;

use crate::config::LaneId;
use crate::lane::{Lane, LaneState, LaneStats};
use crate::record::Reason;
use crate::store::Removed;

/// All pairs and all lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// One row for each destination and lane.
    pub rows: Vec<LedgerRow>,
    /// One row for each lane.
    pub lanes: Vec<LaneRow>,
    /// Bytes of damaged ranges kept for inspection.
    pub quarantine_bytes: u64,
    /// What was pending for destinations that were removed since the start, summed by destination and lane.
    pub removed: Vec<Removed>,
}

/// One destination in one lane. All counts are items unless a name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The destination.
    pub destination: String,
    /// The lane.
    pub lane: LaneId,
    /// Made durable since the destination began.
    pub accepted: u64,
    /// Taken by the far side.
    pub delivered: u64,
    /// Dropped by the destination's own rules.
    pub filtered: u64,
    /// Refused for good.
    pub rejected: u64,
    /// `rejected`, by reason.
    pub rejected_by: BTreeMap<Reason, u64>,
    /// Lost because the lane was full.
    pub evicted: u64,
    /// Too old to send.
    pub expired: u64,
    /// Unreadable.
    pub damaged: u64,
    /// Accepted and not settled, claims in flight included.
    pub pending_items: u64,
    /// Bytes on disk that hold them.
    pub pending_bytes: u64,
    /// Of the pending, in claims.
    pub in_flight_items: u64,
    /// Bytes of decompressed payload in those claims.
    pub in_flight_bytes: u64,
    /// Frames handed out again since the start: claims that were given back, and after a restart those that the last
    /// cursor file knew to have been handed out. An upper bound of what arrives twice on our account, but for the last
    /// cursor interval before a crash.
    pub repeats: u64,
    /// Append time of the oldest pending item, ms since the epoch. When no claim is open this is a lower bound: the
    /// newest settled frame, or the begin of the segment.
    pub oldest_pending_ms: Option<i64>,
    /// Items delivered after their frame had been evicted; counted in `evicted`, informational here.
    pub late_delivered: u64,
}

impl LedgerRow {
    /// Invariant 1.
    pub fn balances(&self) -> bool {
        let sum = [
            self.delivered,
            self.filtered,
            self.rejected,
            self.evicted,
            self.expired,
            self.damaged,
            self.pending_items,
        ];
        self.accepted == sum.into_iter().fold(0, u64::saturating_add)
    }
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRow {
    /// The lane.
    pub lane: LaneId,
    /// Whether it takes records.
    pub state: LaneState,
    /// Lane offset up to which everything is on disk.
    pub durable_offset: u64,
    /// Number the next item will get.
    pub next_item: u64,
    /// Real size of its segment files.
    pub bytes: u64,
    /// What they may grow to.
    pub budget: u64,
    /// Segment files.
    pub segments: usize,
    /// When the oldest segment was begun, ms since the epoch.
    pub oldest_ms: Option<i64>,
    /// When the oldest record that is not durable yet was handed over, ms since the epoch.
    pub oldest_unsynced_ms: Option<i64>,
    /// Counters since start.
    pub stats: LaneStats,
}

pub(crate) fn snapshot(lane: &Lane, ledger: &mut Ledger) {
    let state = lane.state();
    // What waits there is younger than what the writer holds.
    let in_mailbox = lane.mailbox.oldest_ms();
    let board = lane.board.lock();
    for (name, pair) in &board.pairs {
        let cursor = &pair.cursor;
        let pending_items = board.durable.item.saturating_sub(cursor.settled.item);
        let held = board.segment_at(cursor.settled.offset).and_then(|at| board.segments.get(at));
        let known = cursor.oldest_ingest_ms().or(held.map(|segment| segment.created_ms.max(cursor.settled_ingest_ms)));
        let oldest_pending_ms = known.filter(|ms| pending_items > 0 && *ms > 0);
        ledger.rows.push(LedgerRow {
            destination: name.to_string(),
            lane: lane.id.clone(),
            accepted: board.durable.item.saturating_sub(cursor.start_item),
            delivered: cursor.counts.delivered,
            filtered: cursor.counts.filtered,
            rejected: cursor.counts.rejected,
            rejected_by: cursor.counts.reasons.clone(),
            evicted: cursor.counts.evicted,
            expired: cursor.counts.expired,
            damaged: cursor.counts.damaged,
            pending_items,
            pending_bytes: board.bytes_after(cursor.settled.offset),
            in_flight_items: cursor.open_items(),
            in_flight_bytes: cursor.open_bytes(),
            repeats: cursor.repeats,
            oldest_pending_ms,
            late_delivered: cursor.late_delivered,
        });
    }
    ledger.lanes.push(LaneRow {
        lane: lane.id.clone(),
        state,
        durable_offset: board.durable.offset,
        next_item: board.durable.item,
        bytes: board.used(),
        budget: board.budget,
        segments: board.segments.len(),
        oldest_ms: board.segments.front().map(|segment| segment.created_ms).filter(|ms| *ms > 0),
        oldest_unsynced_ms: board.oldest_unsynced_ms.or(in_mailbox),
        stats: board.stats.clone(),
    });
}
