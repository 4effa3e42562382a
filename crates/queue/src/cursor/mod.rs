//! The position of one destination in one lane: the settled prefix, the claims beyond it, and what became of each
//! item. A state machine without IO, locks or time.
//!
//! Keeps true: the settled item moves by exactly the number of items it books, so
//! `settled.item - start_item == delivered + filtered + rejected + evicted + expired + damaged` always.

mod directory;
mod file;
pub(crate) mod slot;

use std::collections::{BTreeMap, VecDeque};

use crate::reader::fetch::Fetched;
use crate::record::{Outcome, Reason};

pub(crate) use directory::{CursorEntry, survey};
pub(crate) use file::CursorFile;

/// A place in a lane: a byte offset and the number of the item that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub offset: u64,
    pub item: u64,
}

/// What became of a number of items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub delivered: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub evicted: u64,
    pub expired: u64,
    pub damaged: u64,
    /// Sums to `rejected`.
    pub reasons: Vec<(Reason, u64)>,
}

impl Tally {
    pub(crate) fn damaged(items: u64) -> Tally {
        Tally { damaged: items, ..Tally::default() }
    }

    pub(crate) fn expired(items: u64) -> Tally {
        Tally { expired: items, ..Tally::default() }
    }

    pub(crate) fn rejected(items: u64, reason: Reason) -> Tally {
        Tally { rejected: items, reasons: vec![(reason, items)], ..Tally::default() }
    }

    /// The tally of an outcome, made to sum to `items` whatever the caller said: a surplus is cut off and a
    /// shortfall is rejected as `unaccounted`, so that a sender's mistake never unbalances the book.
    pub(crate) fn of(outcome: Outcome, items: u64) -> Tally {
        match outcome {
            Outcome::Delivered => Tally { delivered: items, ..Tally::default() },
            Outcome::Rejected(reason) => Tally::rejected(items, reason),
            Outcome::Expired => Tally::expired(items),
            Outcome::Damaged => Tally::damaged(items),
            Outcome::Mixed { delivered, filtered, rejected, expired, damaged } => {
                let mut left = items;
                let mut take = |wanted: u32| {
                    let taken = u64::from(wanted).min(left);
                    left -= taken;
                    taken
                };
                let parts = [delivered, filtered, expired, damaged];
                let refused = rejected.iter().map(|(_, items)| *items);
                let sum: u64 = parts.into_iter().chain(refused).map(u64::from).sum();
                let (delivered, filtered) = (take(delivered), take(filtered));
                let reasons: Vec<_> = rejected.into_iter().map(|(reason, items)| (reason, take(items))).collect();
                let mut tally = Tally {
                    delivered,
                    filtered,
                    rejected: reasons.iter().map(|(_, items)| *items).sum(),
                    reasons,
                    expired: take(expired),
                    damaged: take(damaged),
                    evicted: 0,
                };
                if sum != items {
                    tracing::error!(items, sum, "a claim was settled with numbers that do not sum to its items");
                    tally.rejected += left;
                    tally.reasons.push((Reason::UNACCOUNTED, left));
                }
                tally
            }
        }
    }

    fn evicted(items: u64) -> Tally {
        Tally { evicted: items, ..Tally::default() }
    }
}

/// Running sums since the destination began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub delivered: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub evicted: u64,
    pub expired: u64,
    pub damaged: u64,
    pub reasons: BTreeMap<Reason, u64>,
}

/// Reasons counted by name per pair; the rest are summed under `other`.
pub(crate) const MAX_REASONS: usize = 24;

impl Counts {
    fn add(&mut self, tally: &Tally) {
        self.delivered += tally.delivered;
        self.filtered += tally.filtered;
        self.rejected += tally.rejected;
        self.evicted += tally.evicted;
        self.expired += tally.expired;
        self.damaged += tally.damaged;
        for (reason, items) in tally.reasons.iter().filter(|(_, items)| *items > 0) {
            let reason = reason.clone();
            let known = self.reasons.len() < MAX_REASONS || self.reasons.contains_key(&reason);
            *self.reasons.entry(if known { reason } else { Reason::new("other") }).or_default() += *items;
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        [self.delivered, self.filtered, self.rejected, self.evicted, self.expired, self.damaged]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

enum Fate {
    Open,
    Returned(Box<Fetched>),
    Settled(Tally),
}

struct Entry {
    offset: u64,
    end: Position,
    items: u64,
    ingest_ms: i64,
    /// Decompressed payload.
    bytes: u64,
    fate: Fate,
}

/// What settling a claim did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The prefix moved.
    Moved,
    /// Remembered; an older claim is still open.
    Ahead,
    /// The frame had been evicted or removed in the meantime.
    Late,
}

/// One destination in one lane.
pub(crate) struct Cursor {
    pub start_item: u64,
    pub settled: Position,
    /// Settled offset that is on disk: segments below it may go.
    pub durable_offset: u64,
    pub counts: Counts,
    /// End of the newest claim; the reader continues here.
    pub claimed: Position,
    /// Items delivered after their frame had been evicted; informational.
    pub late_delivered: u64,
    /// Ingest time of the newest settled frame: nothing pending is older.
    pub settled_ingest_ms: i64,
    pub has_reader: bool,
    /// Tells this cursor from a later one of the same name.
    pub incarnation: u64,
    window: VecDeque<Entry>,
    /// Frames in the window that were given back.
    returned: usize,
    /// Frames handed out again: given back before, or handed out by an earlier process as far as its cursor file knew.
    pub repeats: u64,
    /// Lane offset below which an earlier process had handed frames out.
    pub handed_out: u64,
}

impl Cursor {
    pub(crate) fn new(start_item: u64, settled: Position, counts: Counts, incarnation: u64) -> Cursor {
        Cursor {
            start_item,
            settled,
            durable_offset: settled.offset,
            counts,
            claimed: settled,
            late_delivered: 0,
            settled_ingest_ms: i64::MIN,
            has_reader: false,
            incarnation,
            window: VecDeque::new(),
            returned: 0,
            repeats: 0,
            handed_out: 0,
        }
    }

    /// Frames between the settled prefix and the newest claim.
    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Items in claims that are not settled.
    pub(crate) fn open_items(&self) -> u64 {
        self.window.iter().filter(|entry| !matches!(entry.fate, Fate::Settled(_))).map(|entry| entry.items).sum()
    }

    /// Bytes of decompressed payload in them.
    pub(crate) fn open_bytes(&self) -> u64 {
        self.window.iter().filter(|entry| !matches!(entry.fate, Fate::Settled(_))).map(|entry| entry.bytes).sum()
    }

    /// Ingest time of the oldest frame in the window, if there is one.
    pub(crate) fn oldest_ingest_ms(&self) -> Option<i64> {
        self.window.front().map(|entry| entry.ingest_ms)
    }

    /// Notes a claim of the frame at `offset`. False if the place was passed in the meantime (evicted).
    pub(crate) fn claim(&mut self, offset: u64, end: Position, items: u32, ingest_ms: i64, bytes: u64) -> bool {
        let first = end.item.saturating_sub(u64::from(items));
        if offset < self.claimed.offset || first < self.claimed.item {
            return false;
        }
        if first > self.claimed.item {
            let lost = first - self.claimed.item;
            self.pass(Position { offset, item: first }, Tally::damaged(lost), ingest_ms);
        }
        self.repeats += u64::from(offset < self.handed_out);
        self.push(offset, end, ingest_ms, bytes, Fate::Open);
        true
    }

    /// Settles everything from the newest claim to `end` without a claim; `tally` is called with the items that are.
    pub(crate) fn skip(&mut self, end: Position, ingest_ms: i64, tally: impl FnOnce(u64) -> Tally) {
        if end.offset < self.claimed.offset || (end.offset == self.claimed.offset && end.item <= self.claimed.item) {
            return;
        }
        let items = end.item.saturating_sub(self.claimed.item);
        self.pass(end, tally(items), ingest_ms);
    }

    fn pass(&mut self, end: Position, tally: Tally, ingest_ms: i64) {
        let offset = self.claimed.offset;
        self.push(offset, end, ingest_ms, 0, Fate::Settled(tally));
        self.advance();
    }

    fn push(&mut self, offset: u64, end: Position, ingest_ms: i64, bytes: u64, fate: Fate) {
        let end = Position { offset: end.offset, item: end.item.max(self.claimed.item) };
        let items = end.item - self.claimed.item;
        self.window.push_back(Entry { offset, end, items, ingest_ms, bytes, fate });
        self.claimed = end;
    }

    fn entry(&mut self, offset: u64) -> Option<&mut Entry> {
        // A skip may begin where the frame behind it begins; the frame is the one that is not settled.
        let from = self.window.partition_point(|entry| entry.offset < offset);
        self.window
            .range_mut(from..)
            .take_while(|entry| entry.offset == offset)
            .find(|entry| !matches!(entry.fate, Fate::Settled(_)))
    }

    /// Settles the claim of the frame at `offset`.
    pub(crate) fn settle(&mut self, offset: u64, items: u32, outcome: Outcome) -> Settled {
        let Some(entry) = self.entry(offset) else {
            self.late_delivered += Tally::of(outcome, u64::from(items)).delivered;
            return Settled::Late;
        };
        entry.fate = Fate::Settled(Tally::of(outcome, entry.items));
        if self.advance() { Settled::Moved } else { Settled::Ahead }
    }

    /// Takes back an unsettled claim. Gives the frame back if it was evicted in the meantime.
    pub(crate) fn give_back(&mut self, fetched: Box<Fetched>) -> Option<Box<Fetched>> {
        match self.entry(fetched.meta.offset) {
            Some(entry) => {
                entry.fate = Fate::Returned(fetched);
                self.returned += 1;
                None
            }
            None => Some(fetched),
        }
    }

    /// The oldest frame that was given back, claimed anew.
    pub(crate) fn take_back(&mut self) -> Option<Box<Fetched>> {
        if self.returned == 0 {
            return None;
        }
        let entry = self.window.iter_mut().find(|entry| matches!(entry.fate, Fate::Returned(_)))?;
        match std::mem::replace(&mut entry.fate, Fate::Open) {
            Fate::Returned(fetched) => {
                self.returned -= 1;
                self.repeats += 1;
                Some(fetched)
            }
            other => {
                entry.fate = other;
                None
            }
        }
    }

    fn advance(&mut self) -> bool {
        let mut moved = false;
        while let Some(entry) = self.window.pop_front() {
            match &entry.fate {
                Fate::Settled(tally) => {
                    self.counts.add(tally);
                    self.settled = entry.end;
                    self.settled_ingest_ms = self.settled_ingest_ms.max(entry.ingest_ms);
                    moved = true;
                }
                Fate::Open | Fate::Returned(_) => {
                    self.window.push_front(entry);
                    break;
                }
            }
        }
        moved
    }

    /// Moves the cursor to the end of an evicted segment; gives the items lost. What was settled in it stays so.
    pub(crate) fn evict_to(&mut self, end: Position) -> u64 {
        let before = self.counts.evicted;
        while self.window.front().is_some_and(|entry| entry.offset < end.offset) {
            let Some(entry) = self.window.pop_front() else {
                break;
            };
            match &entry.fate {
                Fate::Settled(tally) => self.counts.add(tally),
                Fate::Open => self.counts.add(&Tally::evicted(entry.items)),
                Fate::Returned(_) => {
                    self.returned -= 1;
                    self.counts.add(&Tally::evicted(entry.items));
                }
            }
            self.settled = entry.end;
        }
        if self.settled.offset < end.offset {
            let lost = end.item.saturating_sub(self.settled.item);
            self.counts.add(&Tally::evicted(lost));
            self.settled = Position { offset: end.offset, item: self.settled.item + lost };
        }
        self.advance();
        if self.claimed.offset < self.settled.offset {
            self.claimed = self.settled;
        }
        self.counts.evicted - before
    }
}

#[cfg(test)]
mod tests;
