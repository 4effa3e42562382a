//! Making room: finished segments go first, then the oldest segment is taken from destinations that allow it.
//!
//! Keeps true: eviction happens only when a new segment has no room (or the budget shrank), oldest first, never past a
//! destination on `hold` (invariants 12, 13), and the cursors that allow an unlink are on disk before it (18).

use std::sync::Arc;

use crate::config::OnFull;
use crate::destination::Destination;
use crate::lane::core::{LaneCore, Stall};

impl LaneCore {
    /// Sees to it that a segment of `size` bytes fits into the budget and leaves the filesystem its free space.
    pub(super) fn make_room(&mut self, size: u64) -> Result<(), Stall> {
        loop {
            let (used, budget, min_free) = {
                let board = self.lane.board.lock();
                (board.used(), board.budget, board.min_free)
            };
            let over = used > 0 && used.saturating_add(size) > budget;
            // Where the system cannot tell, the write itself will.
            let short = self
                .lane
                .disk
                .space(&self.lane.dir)
                .map_or(0, |(free, total)| size.saturating_add(min_free.limit(total)).saturating_sub(free));
            let low = short > 0;
            if !over && !low {
                return Ok(());
            }
            // Others filled the disk: all that the lane has would not be enough, and nothing is given up for nothing.
            if short > used {
                self.write_blocking_cursors()?;
                return Err(Stall::Full);
            }
            if !self.evict_oldest()? {
                return if used == 0 && !low { Ok(()) } else { Err(Stall::Full) };
            }
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
        if lost > 0
            && let Some(items) = lane.losses.add(lost)
        {
            tracing::warn!(lane = %lane.id, items, "lane is full: items were evicted that a destination had not taken yet");
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
