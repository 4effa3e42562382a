//! Opening, closing and giving up segments: the part of the writer that touches names and sizes.
//!
//! Keeps true: a segment's directory entry is synced before a frame in it can be acknowledged, and a segment that had a
//! failure ends at its last durable frame for ever.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::disk::write_full;
use crate::lane::core::{Active, LaneCore, Stall, Trouble};
use crate::segment::{self, BASE_STEP, Segment, SegmentHeader};

impl LaneCore {
    /// Cuts the reserved rest off and closes the file. Everything in it is synced.
    pub(super) fn seal(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        let size = active.written - active.base + segment::HEADER_SIZE;
        self.close(&active, active.written, size);
        self.next_base = active.written.next_multiple_of(8);
        self.lane.reclaim();
        // Cursor files are to testify to where the lane stands, whatever becomes of its files.
        let destinations: Vec<_> =
            self.lane.board.lock().pairs.values().map(|pair| Arc::clone(&pair.destination)).collect();
        destinations.iter().for_each(|destination| destination.mark_dirty());
    }

    /// Gives a segment up after a failure: it ends where it was last known durable.
    pub(super) fn abandon(&mut self, op: &'static str, error: &io::Error) {
        self.batch.own.clear();
        self.batch.parts.clear();
        for pending in self.unsynced.drain(..).rev() {
            self.waiting.push_front(pending);
        }
        let durable = {
            let mut board = self.lane.board.lock();
            board.stats.write_failures += 1;
            board.durable
        };
        self.next_item = durable.item;
        let Some(active) = self.active.take() else {
            return;
        };
        tracing::warn!(lane = %self.lane.id, base = active.base, %error, "cannot {op} segment: going on in a new one");
        let end = durable.offset.max(active.base);
        self.close(&active, end, end - active.base + segment::HEADER_SIZE);
        // Offsets of frames that may be in the file are not given out again.
        self.next_base = active.limit.max(active.next).next_multiple_of(BASE_STEP);
    }

    fn close(&mut self, active: &Active, end: u64, size: u64) {
        let cut = active.file.set_len(size).is_ok();
        let mut board = self.lane.board.lock();
        let Some(segment) = board.segments.back_mut() else {
            return;
        };
        segment.sealed = true;
        segment.end = end;
        if cut {
            segment.size = size;
        }
        if end == active.base
            && let Some(empty) = board.segments.pop_back()
        {
            drop(board);
            if let Err(error) = self.lane.disk.remove(&empty.path) {
                tracing::warn!(path = %empty.path.display(), %error, "cannot remove an empty segment");
            }
        }
    }

    pub(super) fn open_segment(&mut self, need: u64, now_ms: i64) -> Result<(), Trouble> {
        let least = (segment::HEADER_SIZE + need).next_multiple_of(BASE_STEP);
        let full = self.lane.board.lock().segment_size.max(least);
        let mut size = self.make_room(least, full).map_err(Trouble::Stall)?;
        loop {
            match self.create(size, now_ms) {
                Ok(()) => return Ok(()),
                // The system knows of a limit that it does not tell, a quota for instance: less may fit.
                Err(error) if is_full(&error) && size > least => {
                    size = (size / 2).next_multiple_of(BASE_STEP).max(least);
                }
                Err(error) if is_full(&error) => {
                    if !self.evict_oldest().map_err(Trouble::Stall)? {
                        return Err(Trouble::Stall(Stall::Full));
                    }
                    size = self.make_room(least, full).map_err(Trouble::Stall)?;
                }
                Err(error) => return Err(Trouble::Broken("create", error)),
            }
        }
    }

    fn create(&mut self, size: u64, now_ms: i64) -> io::Result<()> {
        let lane = Arc::clone(&self.lane);
        let base = self.next_base;
        // No earlier than any frame before it: should this segment be the last and stay empty, nothing else tells.
        let created_ms = now_ms.max(self.last_ingest_ms);
        let path = Segment::path_in(&lane.dir, base);
        let file = match lane.disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                lane.disk.create_dir(&lane.dir)?;
                lane.disk.create(&path)?
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a failed attempt, or not ours: that place is taken.
                self.next_base = base.saturating_add(BASE_STEP).next_multiple_of(BASE_STEP);
                return Err(error);
            }
            other => other?,
        };
        let previous = lane.board.lock().segments.back().map(Segment::previous);
        let header = SegmentHeader {
            header_len: 128,
            nonce: self.random.u64(..),
            base,
            first_item: self.next_item,
            previous,
            created_ms,
            lane_hash: segment::lane_hash(&lane.id),
        };
        let filled = file
            .allocate(size)
            .and_then(|()| write_full(file.as_ref(), &[&header.encode(&lane.id)], 0))
            .and_then(|()| lane.disk.sync_dir(&lane.dir));
        if let Err(error) = filled {
            let _ = lane.disk.remove(&path);
            self.next_base = base.saturating_add(BASE_STEP).next_multiple_of(BASE_STEP);
            return Err(error);
        }
        let real_size = file.size().unwrap_or(size);
        lane.board.lock().segments.push_back(Segment {
            path,
            base,
            end: base,
            first_item: self.next_item,
            nonce: header.nonce,
            header_len: segment::HEADER_SIZE,
            created_ms,
            size: real_size,
            sealed: false,
        });
        self.active = Some(Active {
            file,
            base,
            nonce: header.nonce,
            written: base,
            next: base,
            limit: base + (size - segment::HEADER_SIZE),
            contexts: HashMap::new(),
        });
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
