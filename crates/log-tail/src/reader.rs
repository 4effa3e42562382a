//! The threads that read: each takes the next file that has something new, one batch of it, and puts it back.
//!
//! Files wait in one line, so a large one delays the others by one batch each turn. Keeps true: one batch a reader is in
//! memory; a reader that waits for room in the queue reads nothing meanwhile.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use model::SourceMark;
use parking_lot::{Condvar, Mutex};
use pipeline::{Durability, LogIntake, Receipt};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    book::{Book, Ticket},
    lines::Counts,
    metrics::RouteMetrics,
    tail_file::{Desk, TailFile, Turn},
};

/// Files that have something new, in the order in which they came.
#[derive(Default)]
pub(crate) struct Queue {
    line: Mutex<(VecDeque<Box<TailFile>>, Hours)>,
    wake: Condvar,
}

/// What readers still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Hours {
    #[default]
    Open,
    /// Nothing is read any more; what stages hold back goes on.
    Ending,
    /// The same, and no file comes any more.
    LastCall,
    Closed,
}

impl Queue {
    pub(crate) fn push(&self, file: Box<TailFile>) {
        self.line.lock().0.push_back(file);
        self.wake.notify_one();
    }

    fn pop(&self) -> Option<Box<TailFile>> {
        let mut line = self.line.lock();
        loop {
            if line.1 == Hours::Closed {
                return None;
            }
            while let Some(mut file) = line.0.pop_front() {
                if line.1 == Hours::Open {
                    return Some(file);
                }
                if file.is_orphan() {
                    return Some(file);
                }
                if file.holds() {
                    file.ending = true;
                    return Some(file);
                }
            }
            if line.1 == Hours::LastCall {
                return None;
            }
            self.wake.wait(&mut line);
        }
    }

    /// The next one, if there is one.
    #[cfg(test)]
    pub(crate) fn try_pop(&self) -> Option<Box<TailFile>> {
        self.line.lock().0.pop_front()
    }

    fn hours(&self) -> Hours {
        self.line.lock().1
    }

    /// Readers do no more than this from the turn after the one that they are at.
    pub(crate) fn restrict(&self, hours: Hours) {
        let mut line = self.line.lock();
        line.1 = line.1.max(hours);
        self.wake.notify_all();
    }
}

/// A file that comes back.
pub(crate) struct Done {
    pub file: Box<TailFile>,
    pub turn: Turn,
    /// Something was read.
    pub read: bool,
    /// The path still leads to it.
    pub in_place: bool,
    /// When that was asked, ms since the epoch: what is there now may have come since.
    pub looked_ms: i64,
    /// Names it still has.
    pub links: u64,
}

/// Between two tries to read on where a stage says wait.
const FAREWELL_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Positions on their way into the book, in the order in which they were handed over.
pub(crate) type Settling = (Option<(Receipt, Ticket)>, SourceMark);

/// One reader thread.
pub(crate) struct Reader {
    pub queue: Arc<Queue>,
    pub intake: LogIntake,
    pub book: Arc<Book>,
    pub settler: mpsc::UnboundedSender<Settling>,
    pub metrics: RouteMetrics,
    pub runtime: Handle,
    pub stop: CancellationToken,
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(crate) fn now_ms() -> i64 {
    now_ns() / 1_000_000
}

impl Reader {
    pub(crate) fn run(self, give_back: impl Fn(Done)) {
        let mut desk = Desk::default();
        while let Some(mut file) = self.queue.pop() {
            let Some((mut turn, mut read)) = self.turn(&mut file, &mut desk) else {
                return self.tell_unread(&file);
            };
            if self.ends() && !file.ending && file.is_orphan() {
                match self.bid_farewell(&mut file, &mut desk) {
                    Some(last) => turn = last,
                    None => return self.tell_unread(&file),
                }
                self.tell_unread(&file);
            }
            while self.ends() && file.holds() && !(file.ending && matches!(turn, Turn::Idle | Turn::Waits(_))) {
                file.ending = true;
                match self.turn(&mut file, &mut desk) {
                    Some((next, more)) => (turn, read) = (next, read || more),
                    None => return,
                }
            }
            let at_rest = !matches!(turn, Turn::More);
            let looked_ms = now_ms();
            let in_place = !at_rest || file.is_in_place();
            let links = file.metadata().map_or(0, |meta| std::os::unix::fs::MetadataExt::nlink(&meta));
            give_back(Done { file, turn, read, in_place, looked_ms, links });
        }
    }

    fn ends(&self) -> bool {
        matches!(self.queue.hours(), Hours::Ending | Hours::LastCall)
    }

    /// Reads a file that nobody can open again to its end, as long as there is time. `None`: as [`turn`](Self::turn).
    fn bid_farewell(&self, file: &mut TailFile, desk: &mut Desk) -> Option<Turn> {
        file.farewell = true;
        loop {
            let (turn, _) = self.turn(file, desk)?;
            match turn {
                _ if !self.ends() => return Some(turn),
                Turn::More => {}
                Turn::Waits(_) => std::thread::sleep(FAREWELL_PAUSE),
                // The last line comes as it is, and what stages hold with it.
                Turn::Idle if !file.last => file.last = true,
                _ => return Some(turn),
            }
        }
    }

    /// Says what is lost of a file that nobody can open again.
    fn tell_unread(&self, file: &TailFile) {
        let bytes = file.unread();
        if !self.ends() && self.queue.hours() != Hours::Closed || bytes == 0 || !file.is_orphan() {
            return;
        }
        tracing::warn!(path = %file.record.path, bytes, offset = file.record.offset, "a log file that was removed, or moved away, could not be read to its end before the stop: the rest is lost unless it is found again");
        self.metrics.rotated("given_up");
    }

    /// One batch at most. `None`: the queue is closed, or the tail ends.
    fn turn(&self, file: &mut TailFile, desk: &mut Desk) -> Option<(Turn, bool)> {
        let before = (file.record.offset, file.record.held.clone());
        let mut counts = Counts::default();
        let turn = self.guarded(file, desk, &mut counts);
        let read = file.record.offset != before.0;
        if read || !desk.batch.is_empty() || file.record.held != before.1 {
            let size = file.size.max(file.record.offset);
            self.metrics.read(&file.record.path, file.record.offset, size, counts);
            let mark = file.record.mark();
            let stays = self.hand_over(desk, mark);
            desk.batch.clear();
            stays?;
        } else {
            desk.batch.clear();
        }
        Some((turn, read))
    }

    /// A mistake of this program costs one file a pause, and neither this thread nor a line: what was not handed over is
    /// read again.
    fn guarded(&self, file: &mut TailFile, desk: &mut Desk, counts: &mut Counts) -> Turn {
        let before = file.record.clone();
        let turn = catch_unwind(AssertUnwindSafe(|| file.turn(desk, now_ns(), counts)));
        turn.unwrap_or_else(|_| {
            let why = "reading it failed by a mistake of this program; please report what the log says";
            tracing::error!(path = %before.path, "a log file cannot be read: {why}");
            *desk = Desk::default();
            *counts = Counts::default();
            self.metrics.panicked();
            file.recover(before);
            Turn::Failed(std::io::Error::other(why))
        })
    }

    fn hand_over(&self, desk: &mut Desk, mark: SourceMark) -> Option<()> {
        if desk.batch.is_empty() {
            // Nothing to append, but behind everything that was.
            return self.settler.send((None, mark)).ok();
        }
        let ticket = self.book.begin().ok()?;
        desk.batch.mark(mark.clone());
        let stream = crate::record::hash(mark.cursor.get(..16).unwrap_or_default().as_bytes());
        let append = self.intake.append(&mut desk.batch, stream, Durability::Soon);
        let appended = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                appended = append => Some(appended),
            }
        });
        match appended {
            Some(Ok(receipt)) => self.settler.send((Some((receipt, ticket)), mark)).ok(),
            // What became of it is not known: the ticket keeps the floor where it is.
            None | Some(Err(pipeline::IntakeError::Queue { .. })) => None,
            Some(Err(error)) => {
                tracing::error!(path = %mark.key, %error, "lines of a log file cannot be queued and are dropped");
                self.book.abandon(ticket);
                self.settler.send((None, mark)).ok()
            }
        }
    }
}

/// Brings positions into the book as they become durable. Ends when every sender is gone.
pub(crate) async fn settle(book: Arc<Book>, mut settling: mpsc::UnboundedReceiver<Settling>) {
    while let Some((receipt, mark)) = settling.recv().await {
        match receipt {
            None => book.moved(&mark),
            Some((receipt, ticket)) => {
                // A lane that closed before: the ticket keeps the floor where it is, and nothing behind may count.
                if receipt.durable().await.is_err() {
                    return;
                }
                book.settle(ticket, &mark);
            }
        }
    }
}
