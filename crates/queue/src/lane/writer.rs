//! The lane's thread: a thin shell that gives the core records, time and the order to sync.
//!
//! Keeps true: at most one commit interval passes between a write and its sync, everything that waits during a sync is
//! in the next round, and a thread with nothing unsynced and nothing to rotate sleeps without a deadline.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::QueueConfig;
use crate::disk::DirectoryLock;
use crate::lane::core::{LaneCore, Stall};
use crate::lane::evict::tell_evicted;
use crate::lane::{Lane, LaneState};

/// Unsynced bytes that call for a sync before the interval has passed.
const UNSYNCED_LIMIT: u64 = 8 << 20;
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// A full disk is looked at more often: looking is one call, and intake waits for it.
const RETRY_FULL: Duration = Duration::from_secs(5);

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Starts the thread. It holds the directory's lock until its last write is done.
pub(crate) fn spawn(core: LaneCore, config: &QueueConfig, lock: Option<DirectoryLock>) -> io::Result<JoinHandle<()>> {
    let mut shell = Shell {
        core,
        commit_interval: config.commit_interval,
        rotate_after: config.rotate_after,
        sync_at: None,
        rotate: None,
        retry: None,
    };
    let end = End(Arc::clone(&shell.core.lane));
    std::thread::Builder::new().name("queue-lane".to_owned()).spawn(move || {
        shell.run();
        drop(end);
        drop(lock);
    })
}

/// Tells everybody who waits that this lane takes and gives nothing any more, however its thread ended.
struct End(Arc<Lane>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.mailbox.close();
        self.0.durable.send_modify(|cell| cell.state = LaneState::Closed);
        self.0.credit.close();
    }
}

struct Shell {
    core: LaneCore,
    commit_interval: Duration,
    rotate_after: Duration,
    sync_at: Option<Instant>,
    /// Base of the active segment, and when it is to be closed.
    rotate: Option<(u64, Instant)>,
    /// When to try again after a stall, and how long the next pause is.
    retry: Option<(Instant, Duration)>,
}

impl Shell {
    fn run(&mut self) {
        let lane = Arc::clone(&self.core.lane);
        loop {
            let deadline = match self.retry {
                Some((at, _)) => Some(at),
                None => [self.sync_at, self.rotate.map(|(_, at)| at)].into_iter().flatten().min(),
            };
            let round = lane.mailbox.wait(deadline, self.retry.is_some());
            self.core.accept(round.records);
            let result = self.turn(round.more, round.closing);
            self.after(result);
            if round.closing && self.retry.is_some() {
                // What waits in the box is taken over only to be counted.
                let mut more = true;
                while more {
                    let rest = lane.mailbox.wait(None, false);
                    self.core.accept(rest.records);
                    more = rest.more;
                }
                let items = self.core.undurable_items();
                tracing::error!(lane = %lane.id, items, "closing a lane that has no room or cannot write: items that were handed over and are not on disk are lost");
                break;
            }
            if round.closing && !round.more {
                break;
            }
        }
        tell_evicted(&lane, lane.losses.rest());
    }

    fn turn(&mut self, more: bool, closing: bool) -> Result<(), Stall> {
        tell_evicted(&self.core.lane, self.core.lane.losses.due());
        let now = now_ms();
        if closing && !more {
            return self.core.rotate(now);
        }
        if self.rotate.is_some_and(|(_, at)| at <= Instant::now()) {
            return self.core.rotate(now);
        }
        self.core.write(now)?;
        let unsynced = self.core.unsynced_bytes();
        if unsynced == 0 {
            return Ok(());
        }
        let due = self.sync_at.is_some_and(|at| at <= Instant::now());
        if due || unsynced >= UNSYNCED_LIMIT || (self.core.wants_sync_now() && !more) {
            return self.core.commit(now);
        }
        Ok(())
    }

    fn after(&mut self, result: Result<(), Stall>) {
        match result {
            Ok(()) => {
                self.retry = None;
                self.core.lane.set_state(LaneState::Ok);
            }
            Err(stall) => {
                // A full lane syncs what it wrote before it was full; a failing one has nothing written.
                if stall == Stall::Full {
                    let _ = self.core.commit(now_ms());
                }
                let last = if stall == Stall::Full { RETRY_FULL } else { RETRY_LAST };
                let pause = self.retry.map_or(RETRY_FIRST, |(_, pause)| (pause * 2).min(last));
                self.retry = Some((Instant::now() + pause, pause));
                self.core.lane.set_state(stall.state());
            }
        }
        let now = Instant::now();
        if self.core.unsynced_bytes() == 0 {
            self.sync_at = None;
        } else if self.sync_at.is_none() {
            self.sync_at = Some(now + self.commit_interval);
        }
        self.rotate = match (self.core.open_base(), self.rotate) {
            (Some(base), Some((held, at))) if base == held => Some((held, at)),
            (Some(base), _) => Some((base, now + self.rotate_after)),
            (None, _) => None,
        };
    }
}
