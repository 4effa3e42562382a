//! The lane's writer as a state machine: it numbers records, writes frames, syncs, rotates. No threads, no clock.
//!
//! A record is in `waiting` until its frame is in the batch, in `unsynced` until it is durable, and in memory all that
//! time. Whatever fails, the unsynced records go back to the front of `waiting` and the file is never written again
//! (a failed fdatasync may have dropped the pages and marked them clean), so each record becomes durable in a segment
//! whose every sync succeeded (invariant 17).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::disk::{DiskFile, write_full};
use crate::frame::{self, FrameHeader, KIND_CONTEXT, REF_LEN};
use crate::lane::{Credit, Lane, LaneState};
use crate::record::{ContextKey, Durability, Record};
use crate::segment;

/// A context is written again after this many uses, which bounds what one damaged copy can cost.
const CONTEXT_USES: u32 = 256;
/// Encoded bytes handed to the system in one write.
const BATCH: u64 = 1 << 20;

/// A record on its way to the disk.
pub(crate) struct Pending {
    pub record: Record,
    pub durability: Durability,
    pub ticket: u64,
    /// When it was handed over, ms since the epoch.
    pub posted_ms: i64,
    /// Held until the record is durable: that bounds the memory of a lane.
    pub _credit: Option<Credit>,
}

/// Why the lane cannot go on now; what was handed over stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    Full,
    Failed,
}

impl Stall {
    pub(crate) fn state(self) -> LaneState {
        match self {
            Stall::Full => LaneState::Full,
            Stall::Failed => LaneState::Failed,
        }
    }
}

/// A stall, or a broken segment file.
pub(super) enum Trouble {
    Stall(Stall),
    Broken(&'static str, io::Error),
}

/// The segment this process writes to.
pub(super) struct Active {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) base: u64,
    pub(super) nonce: u64,
    /// Lane offset behind the last frame handed to the system.
    pub(super) written: u64,
    /// Lane offset behind the last frame in the batch.
    pub(super) next: u64,
    /// Lane offset where the reserved space ends.
    pub(super) limit: u64,
    pub(super) contexts: HashMap<ContextKey, (u64, u32)>,
}

pub(super) enum Part {
    Own(usize),
    Shared(Bytes),
}

#[derive(Default)]
pub(super) struct Batch {
    pub(super) own: Vec<u8>,
    pub(super) parts: Vec<Part>,
}

impl Batch {
    fn own(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some(Part::Own(len)) => *len += bytes.len(),
            _ => self.parts.push(Part::Own(bytes.len())),
        }
    }

    fn slices(&self) -> Vec<&[u8]> {
        let mut rest = self.own.as_slice();
        self.parts
            .iter()
            .map(|part| match part {
                Part::Shared(bytes) => bytes.as_ref(),
                Part::Own(len) => {
                    let (head, tail) = rest.split_at_checked(*len).unwrap_or((rest, &[]));
                    rest = tail;
                    head
                }
            })
            .collect()
    }
}

/// The writer of one lane.
pub(crate) struct LaneCore {
    pub lane: Arc<Lane>,
    pub(super) active: Option<Active>,
    pub(super) batch: Batch,
    pub(super) waiting: VecDeque<Pending>,
    pub(super) unsynced: Vec<Pending>,
    pub(super) next_base: u64,
    pub(super) next_item: u64,
    pub(super) last_ingest_ms: i64,
    pub(super) random: fastrand::Rng,
}

impl LaneCore {
    /// A core that continues behind what the board says is durable.
    pub(crate) fn new(lane: Arc<Lane>, random: fastrand::Rng) -> LaneCore {
        let (durable, last_ingest_ms) = {
            let board = lane.board.lock();
            (board.durable, board.last_ingest_ms)
        };
        LaneCore {
            lane,
            active: None,
            batch: Batch::default(),
            waiting: VecDeque::new(),
            unsynced: Vec::new(),
            next_base: durable.offset,
            next_item: durable.item,
            last_ingest_ms,
            random,
        }
    }

    /// Takes records over; [`LaneCore::write`] puts them on disk.
    pub(crate) fn accept(&mut self, records: impl IntoIterator<Item = Pending>) {
        self.waiting.extend(records);
    }

    /// True while records wait that no segment holds.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Items in records that are not durable.
    pub(crate) fn undurable_items(&self) -> u64 {
        self.unsynced.iter().chain(&self.waiting).map(|pending| u64::from(pending.record.items)).sum()
    }

    /// Bytes written and not synced.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        let durable = self.lane.board.lock().durable.offset;
        match &self.active {
            Some(active) if !self.unsynced.is_empty() => active.next.saturating_sub(durable.max(active.base)),
            _ => 0,
        }
    }

    /// True if somebody waits for a sync.
    pub(crate) fn wants_sync_now(&self) -> bool {
        self.unsynced.iter().any(|pending| pending.durability == Durability::Now)
    }

    /// Base of the active segment.
    pub(crate) fn open_base(&self) -> Option<u64> {
        self.active.as_ref().map(|active| active.base)
    }

    /// Tells the board how long the oldest record here has not been durable.
    fn tell_oldest(&self) {
        let oldest = self.unsynced.iter().chain(&self.waiting).map(|pending| pending.posted_ms).next();
        self.lane.board.lock().oldest_unsynced_ms = oldest;
    }

    /// Hands everything that waits to the system, without syncing it.
    pub(crate) fn write(&mut self, now_ms: i64) -> Result<(), Stall> {
        let result = self.persevere(|core| core.try_write(now_ms));
        self.tell_oldest();
        result
    }

    /// Writes and syncs. What fits is synced even if the rest has to wait.
    pub(crate) fn commit(&mut self, now_ms: i64) -> Result<(), Stall> {
        let written = self.write(now_ms);
        let synced = self.persevere(|core| {
            if core.unsynced.is_empty() && core.has_waiting() {
                core.try_write(now_ms)?;
            }
            core.try_sync()
        });
        self.tell_oldest();
        self.shrink_to_budget();
        // The second attempt may have done what the first could not.
        if self.has_waiting() { synced.and(written) } else { synced }
    }

    /// Commits and closes the active segment.
    pub(crate) fn rotate(&mut self, now_ms: i64) -> Result<(), Stall> {
        let result = self.commit(now_ms);
        if self.unsynced.is_empty() {
            self.seal();
        }
        result
    }

    /// Tries twice: a broken segment is replaced by a new one at once, a second failure has to wait.
    fn persevere(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<(), Trouble>) -> Result<(), Stall> {
        for last in [false, true] {
            match attempt(self) {
                Ok(()) => return Ok(()),
                Err(Trouble::Stall(stall)) => return Err(stall),
                Err(Trouble::Broken(op, error)) => {
                    self.abandon(op, &error);
                    if last {
                        break;
                    }
                }
            }
        }
        Err(Stall::Failed)
    }

    fn try_write(&mut self, now_ms: i64) -> Result<(), Trouble> {
        while let Some(pending) = self.waiting.front() {
            let need = self.need(&pending.record);
            let fits = self.active.as_ref().is_some_and(|active| active.next.saturating_add(need) <= active.limit);
            if !fits {
                if self.active.is_some() {
                    self.try_sync()?;
                    self.seal();
                }
                let need = self.waiting.front().map_or(0, |pending| self.need(&pending.record));
                self.open_segment(need, now_ms)?;
            }
            let Some(pending) = self.waiting.pop_front() else {
                break;
            };
            self.encode(&pending.record, now_ms);
            self.unsynced.push(pending);
            if self.active.as_ref().is_some_and(|active| active.next - active.written >= BATCH) {
                self.flush()?;
            }
        }
        self.flush()
    }

    /// Bytes the record takes in the active segment, or in a new one.
    fn need(&self, record: &Record) -> u64 {
        let known = self.active.as_ref().map(|active| &active.contexts);
        let contexts: u64 = record
            .contexts
            .iter()
            .filter(|(key, _)| known.and_then(|known| known.get(key)).is_none_or(|(_, uses)| *uses >= CONTEXT_USES))
            .map(|(_, bytes)| frame::span(16 + bytes.len() as u64))
            .sum();
        contexts + frame::span((record.contexts.len() * REF_LEN + record.payload.len()) as u64)
    }

    /// Puts the record's frames, contexts first, into the batch. There is an active segment with room for them.
    fn encode(&mut self, record: &Record, now_ms: i64) {
        let durable_before = self.lane.board.lock().durable.offset;
        self.last_ingest_ms = self.last_ingest_ms.max(now_ms);
        let Some(active) = self.active.as_mut() else {
            return;
        };
        let mut refs = Vec::with_capacity(record.contexts.len() * REF_LEN);
        let mut contexts = 0;
        let put = |batch: &mut Batch, next: &mut u64, mut header: FrameHeader, own: &[u8], shared: &Bytes| {
            let len = own.len() + shared.len();
            header.stored_len = u32::try_from(len).unwrap_or(u32::MAX);
            header.stored_crc = crc32c::crc32c_append(crc32c::crc32c(own), shared);
            header.durable_before = durable_before;
            let offset = *next;
            batch.own(&header.encode(active.nonce, offset));
            batch.own(own);
            if !shared.is_empty() {
                batch.parts.push(Part::Shared(shared.clone()));
            }
            let padding = len.next_multiple_of(8) - len;
            batch.own([0u8; 8].get(..padding).unwrap_or_default());
            *next = offset + header.span();
            offset
        };
        let blank = FrameHeader {
            stored_len: 0,
            stored_crc: 0,
            raw_len: 0,
            items: 0,
            first_item: self.next_item,
            stream: record.stream,
            ingest_ms: self.last_ingest_ms,
            durable_before: 0,
            kind: KIND_CONTEXT,
            codec: 0,
            contexts: 0,
            flags: 0,
        };
        for (key, bytes) in &record.contexts {
            let known = active.contexts.get_mut(key).filter(|(_, uses)| *uses < CONTEXT_USES);
            let offset = match known {
                Some((offset, uses)) => {
                    *uses += 1;
                    *offset
                }
                None => {
                    let raw_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    let header = FrameHeader { raw_len, stream: 0, ..blank };
                    let offset = put(&mut self.batch, &mut active.next, header, &key.0, bytes);
                    active.contexts.insert(*key, (offset, 1));
                    contexts += 1;
                    offset
                }
            };
            refs.extend_from_slice(&key.0);
            refs.extend_from_slice(&offset.to_le_bytes());
        }
        let header = FrameHeader {
            raw_len: record.raw_len,
            items: record.items,
            kind: record.kind as u8,
            codec: record.codec as u8,
            contexts: u16::try_from(record.contexts.len()).unwrap_or(u16::MAX),
            ..blank
        };
        put(&mut self.batch, &mut active.next, header, &refs, &record.payload);
        self.next_item += u64::from(record.items);
        if contexts > 0 {
            self.lane.board.lock().stats.contexts += contexts;
        }
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        if active.next == active.written {
            return Ok(());
        }
        let pos = active.written - active.base + segment::HEADER_SIZE;
        let result = write_full(active.file.as_ref(), &self.batch.slices(), pos);
        self.batch.own.clear();
        self.batch.parts.clear();
        result.map_err(|error| Trouble::Broken("write", error))?;
        let count = active.next - active.written;
        active.written = active.next;
        self.lane.board.lock().stats.written_bytes += count;
        Ok(())
    }

    /// fdatasync, then publish: in that order, or readers could see what a power cut takes away (invariants 2, 3).
    fn try_sync(&mut self) -> Result<(), Trouble> {
        self.flush()?;
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let Some(active) = self.active.as_ref() else {
            return Ok(());
        };
        let begun = Instant::now();
        active.file.sync().map_err(|error| Trouble::Broken("sync", error))?;
        let spent = begun.elapsed();
        self.publish(spent);
        Ok(())
    }

    fn publish(&mut self, spent: Duration) {
        let Some(active) = self.active.as_ref() else {
            return;
        };
        {
            let mut board = self.lane.board.lock();
            board.durable.offset = active.written;
            board.durable.item = self.next_item;
            board.last_ingest_ms = self.last_ingest_ms;
            if let Some(segment) = board.segments.back_mut() {
                segment.end = active.written;
                // Grows only where space could not be reserved.
                segment.size = segment.size.max(active.written - active.base + segment::HEADER_SIZE);
            }
            let stats = &mut board.stats;
            stats.commits += 1;
            stats.commit_nanos += u64::try_from(spent.as_nanos()).unwrap_or_default();
            for pending in &self.unsynced {
                stats.frames += 1;
                stats.items += u64::from(pending.record.items);
                stats.payload_bytes += pending.record.payload.len() as u64;
            }
        }
        // One cursor file says within its interval how far the log goes, also while nothing is delivered: should the end of
        // the log rot, that is how its loss can be counted.
        let witness = self.lane.board.lock().pairs.values().next().map(|pair| Arc::clone(&pair.destination));
        if let Some(destination) = witness {
            destination.mark_news();
        }
        let ticket = self.unsynced.last().map(|pending| pending.ticket);
        let offset = active.written;
        self.lane.durable.send_modify(|cell| {
            cell.offset = offset;
            cell.ticket = ticket.unwrap_or(cell.ticket);
        });
        self.unsynced.clear();
    }
}
