//! Where each line of a group of lots ended, and the counters that move with it.
//!
//! It keeps true: a line is booked once; what is booked here sums to the lots' items when a group is through.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    head::Address,
    line::Road,
    sheaf::{Cargo, Row},
};
use crate::{lot::Tally, verdict::Loss};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Book {
    tallies: Mutex<Vec<Tally>>,
    road: Arc<Road>,
}

impl Book {
    pub(crate) fn new(lots: usize, road: Arc<Road>) -> Self {
        Self { tallies: Mutex::new((0..lots).map(|_| Tally::default()).collect()), road }
    }

    /// Closes it.
    pub(crate) fn take_tallies(&mut self) -> Vec<Tally> {
        std::mem::take(self.tallies.get_mut())
    }

    fn with(&self, lot: usize, work: impl FnOnce(&mut Tally)) {
        if let Some(tally) = self.tallies.lock().get_mut(lot) {
            work(tally);
        }
    }

    /// Dropped by relabelling.
    pub(crate) fn filtered(&self, lot: usize, lines: u32) {
        self.with(lot, |tally| tally.filtered += lines);
        self.road.status.count(0, u64::from(lines), 0);
        self.road.metrics.dropped("dropped_series", u64::from(lines));
    }

    /// Older than the destination wants.
    pub(crate) fn expired(&self, lot: usize, lines: u32) {
        self.with(lot, |tally| tally.expired += lines);
        self.road.status.count(0, 0, u64::from(lines));
        self.road.metrics.dropped("too_old", u64::from(lines));
    }

    /// Lost before it was sent.
    pub(crate) fn lost(&self, lot: usize, lines: u32, loss: Loss, message: &str) {
        if lines > 0 {
            self.with(lot, |tally| tally.reject(loss, lines));
            self.road.status.lost_items("lines", loss, u64::from(lines), message);
        }
    }

    /// A request came to its end: its first `stored` lines count as stored, the others as lost.
    pub(crate) fn ended(&self, address: &Address, cargo: &Cargo<'_>, stored: u64, lost: Option<(Loss, &str)>) {
        let (lines, bytes) = (cargo.lines(), cargo.bytes());
        let stored = stored.min(lines);
        let mut left = stored;
        let newest_ns = match cargo {
            Cargo::Packed(pieces) => {
                for piece in pieces {
                    let took = u32::try_from(left).unwrap_or(u32::MAX).min(piece.lines);
                    left -= u64::from(took);
                    self.split(piece.lot, took, piece.lines - took, lost);
                }
                pieces.iter().map(|piece| piece.last_ns).max()
            }
            Cargo::Rows(rows) => {
                for run in rows.chunk_by(|a, b| a.lot == b.lot) {
                    let run_lines = run.iter().map(|row| row.items).sum();
                    let took = u32::try_from(left).unwrap_or(u32::MAX).min(run_lines);
                    left -= u64::from(took);
                    if let Some(row) = run.first() {
                        self.split(row.lot, took, run_lines - took, lost);
                    }
                }
                if let Some((loss, message)) = lost.filter(|_| stored == 0) {
                    rows.iter().for_each(|row| self.part_lost(address, row, loss, message));
                }
                rows.iter().map(|row| row.entry.timestamp_ns).max()
            }
        };
        self.told(address, stored, lines - stored, bytes, newest_ns, lost);
    }

    /// The same where the answer names the lines: `loss_of` says why a line is lost.
    pub(crate) fn ended_each(
        &self,
        address: &Address,
        rows: &[Row<'_>],
        loss_of: impl Fn(usize) -> Option<Loss>,
        message: &str,
    ) {
        let mut reasons: Vec<(Loss, u64, u64)> = Vec::new();
        let mut stored = 0;
        let (mut bytes, mut newest_ns) = (0, None);
        for (index, row) in rows.iter().enumerate() {
            let loss = loss_of(index);
            match loss {
                None => {
                    self.split(row.lot, row.items, 0, None);
                    stored += u64::from(row.items);
                    bytes += row.entry.line.len() as u64;
                    newest_ns = newest_ns.max(Some(row.entry.timestamp_ns));
                }
                Some(loss) => {
                    self.split(row.lot, 0, row.items, Some((loss, message)));
                    self.part_lost(address, row, loss, message);
                    let (items, length) = (u64::from(row.items), row.entry.line.len() as u64);
                    match reasons.iter_mut().find(|(known, ..)| *known == loss) {
                        Some((_, count, bytes)) => (*count, *bytes) = (*count + items, *bytes + length),
                        None => reasons.push((loss, items, length)),
                    }
                }
            }
        }
        self.told(address, stored, 0, bytes, newest_ns, None);
        for (loss, count, bytes) in reasons {
            self.told(address, 0, count, bytes, None, Some((loss, message)));
        }
    }

    /// A part of a line that is not its last does not arrive. The line itself is booked by its last part.
    fn part_lost(&self, address: &Address, row: &Row<'_>, loss: Loss, message: &str) {
        if row.items == 0 {
            self.road.cells.cut(&address.first, row.entry.line.len() as u64);
            self.road.status.part_lost(loss, message);
        }
    }

    fn split(&self, lot: usize, stored: u32, lost: u32, why: Option<(Loss, &str)>) {
        self.with(lot, |tally| {
            tally.delivered += stored;
            tally.reject(why.map_or(Loss::BadRequest, |(loss, _)| loss), lost);
        });
    }

    fn told(
        &self,
        address: &Address,
        stored: u64,
        refused: u64,
        bytes: u64,
        newest_ns: Option<i64>,
        lost: Option<(Loss, &str)>,
    ) {
        self.road.status.count(stored, 0, 0);
        self.road.metrics.samples.inc_by(stored + refused);
        let part = |lines: u64| (bytes * lines).checked_div(stored + refused).unwrap_or(0);
        self.road.cells.sent(stored, part(stored));
        if let Some((loss, message)) = lost {
            self.road.metrics.failed.inc_by(refused);
            self.road.status.lost_items("lines", loss, refused, message);
            self.road.cells.dropped(&address.first, loss, refused, part(refused));
        }
        if stored > 0
            && let Some(newest) = newest_ns
        {
            self.road.metrics.queue_highest_sent.note(newest.div_euclid(1_000_000));
        }
    }
}
