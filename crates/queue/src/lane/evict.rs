//! Making room: finished segments go first, then the oldest segment is taken from destinations that allow it.
//!
//! Keeps true: eviction happens only when the next record has no room (or the budget shrank), oldest first, never past a
//! destination on `hold` (invariants 12, 13), and the cursors that allow an unlink are on disk before it (18).

use std::sync::Arc;

use crate::config::OnFull;
use crate::destination::Destination;
use crate::lane::Lane;
use crate::lane::core::{LaneCore, Stall};
use crate::segment::BASE_STEP;

impl LaneCore {
    /// Gives the size of the next segment, bytes: `full`, or what the budget and the file system leave, if that is at least
    /// `least`. Only where not even that is left is anything evicted, and then at least a quarter of a segment, or a lane
    /// whose oldest segments are short would evict for every record.
    pub(super) fn make_room(&mut self, least: u64, full: u64) -> Result<u64, Stall> {
        let mut enough = least;
        let mut tidy = false;
        loop {
            let (used, budget, min_free) = {
                let board = self.lane.board.lock();
                (board.used(), board.budget, board.min_free)
            };
            // An empty lane takes a record that is larger than its budget.
            let in_budget = if used == 0 { budget.max(least) } else { budget.saturating_sub(used) };
            // Where the system cannot tell, the write itself will.
            let space = self.lane.disk.space(&self.lane.dir);
            let (free, keep) = space.map_or((u64::MAX, 0), |(free, total)| (free, min_free.limit(total)));
            let room = in_budget.min(free.saturating_sub(keep));
            if room >= full {
                return Ok(full);
            }
            // What everybody has taken goes before a segment is made short for it.
            if !tidy {
                tidy = true;
                let written = self.write_blocking_cursors();
                if room < least {
                    written?;
                }
                continue;
            }
            let short = room / BASE_STEP * BASE_STEP;
            if short >= enough {
                return Ok(short);
            }
            // Others filled the disk: all that the lane has would not be enough, and nothing is given up for nothing.
            if free.saturating_add(used).saturating_sub(keep) < least {
                return Err(Stall::Full);
            }
            if !self.evict_oldest()? {
                return if short >= least { Ok(short) } else { Err(Stall::Full) };
            }
            enough = least.max(full / 4);
        }
    }

    /// After the budget was made smaller: evicts down to it, as far as policies allow.
    pub(super) fn shrink_to_budget(&mut self) {
        loop {
            let over = {
                let board = self.lane.board.lock();
                board.used() > board.budget && board.segments.len() > 1
            };
            if !over || self.evict_oldest() != Ok(true) {
                return;
            }
        }
    }

    /// Removes the oldest sealed segment, moving destinations past it. False if there is none or one of them holds.
    ///
    /// The thread that writes cursor files does the same when it has written one, at any moment: what counts is whether the
    /// segment is gone, not who removed it. Otherwise the next one would be taken in its place.
    pub(super) fn evict_oldest(&mut self) -> Result<bool, Stall> {
        let lane = Arc::clone(&self.lane);
        let Some(base) = lane.board.lock().segments.front().map(|segment| segment.base) else {
            return Ok(false);
        };
        self.write_blocking_cursors()?;
        let mut lost = 0;
        {
            let mut board = lane.board.lock();
            let Some(oldest) = board.segments.front().filter(|segment| segment.base == base) else {
                return Ok(true);
            };
            let sealed = oldest.sealed;
            let Some(end) = board.end_of(0).filter(|_| sealed) else {
                return Ok(false);
            };
            let behind = |offset: u64| offset < end.offset;
            if board.pairs.values().any(|pair| behind(pair.cursor.settled.offset) && pair.on_full == OnFull::Hold) {
                return Ok(false);
            }
            for pair in board.pairs.values_mut().filter(|pair| behind(pair.cursor.settled.offset)) {
                lost += pair.evict_to(end);
            }
            board.stats.evicted_segments += 1;
            // Room goes before the sources' wish to keep it; they are asked to write their positions at once.
            if board.floor < end.offset {
                board.floor = end.offset;
                lane.pressed.send_modify(|times| *times += 1);
            }
        }
        if lost > 0 {
            tell_evicted(&lane, lane.losses.add(lost));
        }
        self.write_blocking_cursors()?;
        Ok(true)
    }

    /// Writes the cursor files that keep a finished segment from going, and removes what can go.
    fn write_blocking_cursors(&mut self) -> Result<(), Stall> {
        let blocking: Vec<Arc<Destination>> = self.lane.blocking_cursor_files();
        for destination in blocking {
            if let Err(error) = destination.sync() {
                tracing::warn!(destination = %destination.name, %error, "cannot write cursor file: nothing is evicted until it can be");
                return Err(Stall::Failed);
            }
        }
        self.lane.reclaim();
        Ok(())
    }
}

/// Says what was evicted since the last line that said so.
pub(crate) fn tell_evicted(lane: &Lane, items: Option<u64>) {
    if let Some(items) = items {
        tracing::warn!(lane = %lane.id, items, "lane is full: items were evicted that a destination had not taken yet");
    }
}
