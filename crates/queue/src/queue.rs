//! The public face: opening, handing out appenders and readers, reload, close. Owns the threads.
//!
//! Keeps true: every thread is joined before the directory's lock is free, so a queue that was dropped can be opened
//! again at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::appender::Appender;
use crate::config::{DestinationSpec, LaneId, LaneSpec, MinFree, QueueConfig};
use crate::disk::{DirectoryLock, Disk, RealDisk};
use crate::error::QueueError;
use crate::lane::{Lane, LaneCore, spawn};
use crate::ledger::{self, Ledger};
use crate::reader::Reader;
use crate::store::{Additions, ApplyReport, OpenReport, Store};

/// The write-ahead queue. Clones are the same queue; when the last one is dropped it writes what it holds and ends.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    lock: DirectoryLock,
    writers: Mutex<BTreeMap<LaneId, JoinHandle<()>>>,
    caretaker: Mutex<Option<JoinHandle<()>>>,
    /// Reloads run one after the other.
    changing: Mutex<()>,
}

/// What closing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// The book at the end.
    pub ledger: Ledger,
}

impl Queue {
    /// Opens the directory, whatever is in it, and starts the lanes. Blocking: some file reads and, for new
    /// destinations, one sync each.
    ///
    /// Fails on a lock held by another process, on missing permission, and on files of a newer major format; never
    /// because of damaged content.
    pub fn open(
        config: QueueConfig,
        lanes: Vec<LaneSpec>,
        destinations: Vec<DestinationSpec>,
    ) -> Result<(Queue, OpenReport), QueueError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let directory = config.directory.clone();
        disk.create_dir(&directory).map_err(|source| QueueError::io("create directory", &directory, source))?;
        let lock = DirectoryLock::take(&directory)?;
        let (store, report) = Store::open(disk, config, &lanes, &destinations)?;
        let inner = Inner {
            store: Arc::new(store),
            lock,
            writers: Mutex::default(),
            caretaker: Mutex::default(),
            changing: Mutex::default(),
        };
        let held: Vec<Arc<Lane>> = inner.store.lanes.read().values().cloned().collect();
        for lane in held {
            inner.start(lane)?;
        }
        inner.start_caretaker()?;
        Ok((Queue { inner: Arc::new(inner) }, report))
    }

    pub(crate) fn lane(&self, lane: &LaneId) -> Result<Arc<Lane>, QueueError> {
        self.inner.store.lane(lane)
    }

    /// The way into a lane.
    pub fn appender(&self, lane: &LaneId) -> Result<Appender, QueueError> {
        Ok(Appender { lane: self.inner.store.lane(lane)? })
    }

    /// The way out: the only reader of this destination and lane. It begins behind the newest claim ever given out
    /// in this process; claims that were dropped come first.
    pub fn reader(&self, destination: &str, lane: &LaneId) -> Result<Reader, QueueError> {
        let (desk, at) = self.inner.store.desk(destination, lane)?;
        Ok(Reader::new(desk, at))
    }

    /// The book of all destinations and lanes.
    pub fn ledger(&self) -> Ledger {
        self.inner.ledger()
    }

    /// Changes lanes, budgets and destinations while running. Known destinations keep their position. Blocking. A failure
    /// leaves everything as it was.
    pub fn apply(&self, lanes: Vec<LaneSpec>, destinations: Vec<DestinationSpec>) -> Result<ApplyReport, QueueError> {
        let inner = &self.inner;
        let _one_at_a_time = inner.changing.lock();
        let added = inner.store.prepare(&lanes, &destinations)?;
        if let Err(error) = added.lanes.iter().try_for_each(|lane| inner.start(Arc::clone(lane))) {
            inner.take_back(added);
            return Err(error);
        }
        let reload = inner.store.complete(&lanes, &destinations, &added);
        for lane in reload.ended {
            inner.end(&lane);
            inner.store.drop_lane(&lane);
        }
        Ok(reload.report)
    }

    /// Changes the disk budget (bytes) of all lanes together, and the space left to others, while running. Each lane gets
    /// its share by weight; one that uses more evicts down to it at its next commit, as far as policies allow.
    pub fn resize(&self, max_bytes: u64, min_free: MinFree) {
        self.inner.store.resize(max_bytes, min_free);
    }

    /// Writes and syncs everything that was appended, and the cursors; readers and appenders then get
    /// [`QueueError::Closed`]. [`QueueError::Deadline`] if that takes longer than `within`: what was not durable may
    /// be lost, as in a crash.
    pub async fn close(self, within: Duration) -> Result<CloseReport, QueueError> {
        let inner = Arc::clone(&self.inner);
        inner.stop();
        let work = tokio::task::spawn_blocking(move || {
            let result = inner.finish();
            (inner.ledger(), result)
        });
        match tokio::time::timeout(within, work).await {
            Ok(Ok((ledger, result))) => {
                result?;
                Ok(CloseReport { ledger })
            }
            Ok(Err(_)) => Err(QueueError::Closed),
            Err(_) => Err(QueueError::Deadline),
        }
    }
}

impl Inner {
    fn start(&self, lane: Arc<Lane>) -> Result<(), QueueError> {
        let id = lane.id.clone();
        let dir = lane.dir.clone();
        let core = LaneCore::new(lane, fastrand::Rng::new());
        let writer = spawn(core, &self.store.config, Some(self.lock.clone()))
            .map_err(|source| QueueError::io("start the thread of lane", &dir, source))?;
        self.writers.lock().insert(id, writer);
        Ok(())
    }

    /// Ends a lane's thread, if it has one.
    fn end(&self, lane: &Lane) {
        lane.mailbox.close();
        let writer = self.writers.lock().remove(&lane.id);
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }

    fn take_back(&self, added: Additions) {
        added.lanes.iter().for_each(|lane| self.end(lane));
        self.store.take_back(added);
    }

    /// The thread that writes cursor files: each at most once in an interval, and only when it moved. The first answer
    /// after a pause is written at once.
    fn start_caretaker(&self) -> Result<(), QueueError> {
        let store = Arc::clone(&self.store);
        let interval = self.store.config.cursor_interval;
        let thread = std::thread::Builder::new().name("queue-cursors".to_owned()).spawn(move || {
            let mut next = None;
            while store.bell.wait(next) {
                let (result, again) = store.tend_due(interval);
                next = again;
                if let Err(error) = result {
                    tracing::warn!(%error, "cannot write cursor files: trying again; after a crash, more would be sent twice");
                }
            }
        });
        let directory = &self.store.config.directory;
        *self.caretaker.lock() =
            Some(thread.map_err(|source| QueueError::io("start the cursor thread of", directory, source))?);
        Ok(())
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger {
            quarantine_bytes: self.store.quarantine.bytes(),
            removed: self.store.removed(),
            ..Ledger::default()
        };
        let lanes: Vec<Arc<Lane>> = self.store.lanes.read().values().cloned().collect();
        for lane in lanes {
            ledger::snapshot(&lane, &mut ledger);
        }
        ledger
    }

    fn stop(&self) {
        for lane in self.store.lanes.read().values() {
            lane.mailbox.close();
        }
        self.store.bell.close();
    }

    fn finish(&self) -> Result<(), QueueError> {
        let writers = std::mem::take(&mut *self.writers.lock());
        for (_, writer) in writers {
            let _ = writer.join();
        }
        let caretaker = self.caretaker.lock().take();
        if let Some(caretaker) = caretaker {
            let _ = caretaker.join();
        }
        let directory = self.store.cursors_dir();
        self.store.tend().map_err(|source| QueueError::io("write cursor files in", &directory, source))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = self.finish() {
            tracing::warn!(%error, "closing the queue");
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({})", self.inner.store.config.directory.display())
    }
}
