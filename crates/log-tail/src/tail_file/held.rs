//! What the stages of a file hold back: letting go of it, naming it in the position, and reading it again after a kill.

use std::io;

use super::{Desk, MOST_HELD, TailFile, Turn, Until, gone, is_full, read_at, take};
use crate::{lines::Counts, record::hash, staged::Staged};

impl TailFile {
    /// Puts into the batch what came out of the stages, or comes out now. A turn, if nothing may be read after that.
    pub(super) fn pour(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> Option<Turn> {
        match &mut self.staged {
            Some(staged) if !staged.is_of(&self.job) => {
                // Other stages: what the old ones hold goes on before the first line of the new ones.
                staged.finish(now_ns);
                staged.pour(&mut desk.batch, now_ns, counts);
                if !staged.is_waiting() {
                    self.staged = Staged::new(&self.job).map(Box::new);
                }
            }
            Some(staged) => {
                staged.tick(now_ns);
                staged.pour(&mut desk.batch, now_ns, counts);
            }
            None => self.staged = Staged::new(&self.job).map(Box::new),
        }
        self.pause(desk, now_ns)
    }

    /// How the turn ends if no line may be taken now.
    pub(super) fn pause(&self, desk: &Desk, now_ns: i64) -> Option<Turn> {
        let staged = self.staged.as_ref();
        let own_ns = if self.farewell { 0 } else { self.wait_ns };
        let until_ns = staged.and_then(|staged| staged.waits(now_ns)).max(Some(own_ns));
        match until_ns.filter(|until| *until > now_ns) {
            Some(until_ns) => Some(Turn::Waits(until_ns)),
            None if is_full(desk.batch.bytes()) || staged.is_some_and(|staged| staged.is_waiting()) => Some(Turn::More),
            None => None,
        }
    }

    /// Nothing more comes: stages let go of everything. The turn comes again until all of it is in batches.
    pub(super) fn finish(&mut self, turn: Turn, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> Turn {
        let Some(staged) = &mut self.staged else { return turn };
        staged.finish(now_ns);
        staged.pour(&mut desk.batch, now_ns, counts);
        match (staged.is_waiting(), staged.waits(now_ns)) {
            (false, _) => turn,
            (true, Some(until_ns)) => Turn::Waits(until_ns),
            (true, None) => Turn::More,
        }
    }

    /// Reads again what a process before this one held back, and nothing of what lies between. False: the file holds
    /// something else now.
    pub(super) fn resume(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> io::Result<bool> {
        let file = self.file.as_ref().ok_or_else(gone)?;
        let mut stretches = Vec::new();
        for (start, end) in &self.record.held {
            let length = usize::try_from(end.saturating_sub(*start)).unwrap_or(usize::MAX).min(MOST_HELD);
            let mut bytes = vec![0; length];
            if read_at(file, &mut bytes, *start)? < length {
                return Ok(false);
            }
            stretches.push((*start, bytes));
        }
        // What was just read is what was held, if the file is still the same behind it.
        let mut tail = vec![0; self.record.tail_len as usize];
        let tail_at = self.record.offset.saturating_sub(u64::from(self.record.tail_len));
        let n = read_at(file, &mut tail, tail_at)?;
        if n < tail.len() || (!tail.is_empty() && hash(&tail) != self.record.tail) {
            return Ok(false);
        }
        self.take_again(&stretches, desk, now_ns, counts)?;
        Ok(true)
    }

    /// Takes held lines. Where there are no stages any more to hold them, those that the batch has no room for stay held.
    pub(super) fn take_again(
        &mut self,
        stretches: &[(u64, Vec<u8>)],
        desk: &mut Desk,
        now_ns: i64,
        counts: &mut Counts,
    ) -> io::Result<()> {
        let until = if self.staged.is_some() { Until::All } else { Until::Full };
        for (start, bytes) in stretches {
            if !self.settled {
                self.settle_charset(bytes);
            }
            let mut lines = self.lines(&mut desk.batch, &mut desk.decoded, now_ns)?;
            let taken = take(&mut lines, bytes, *start, until);
            let (last_ns, these) = (lines.last_ns, lines.counts);
            self.last_ns = last_ns;
            // They were counted when they were read first.
            counts.add(Counts { lines: 0, ..these });
            if taken < bytes.len() {
                if let Some(first) = self.record.held.first_mut() {
                    first.0 = start + taken as u64;
                }
                return Ok(());
            }
            if until == Until::Full {
                self.record.held.remove(0);
            }
        }
        self.record.held.clear();
        self.resumed = true;
        Ok(())
    }

    /// Says in the position what was read and is not in a batch.
    pub(super) fn note_held(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) {
        if let Some(staged) = &mut self.staged
            && self.resumed
        {
            self.record.held = staged.held().unwrap_or_else(|| {
                // More than a position can say: they go on as they are.
                staged.finish(now_ns);
                staged.pour(&mut desk.batch, now_ns, counts);
                staged.held().unwrap_or_else(|| staged.held_roughly())
            });
        }
    }
}
