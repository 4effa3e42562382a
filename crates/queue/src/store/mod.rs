//! The queue without threads: lanes, destinations, cursor files, and how they change at start and at reload.
//!
//! Keeps true: a destination's first position is on disk before anything is appended for it, and a destination or
//! lane that goes takes its pending items to the list of what was removed; the report names it, and whoever opened the queue
//! tells it.

mod open;
mod reload;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};

use crate::bell::Bell;
use crate::claim::Desk;
use crate::config::{DestinationSpec, LaneId, LaneSpec, MinFree, QueueConfig, StartAt, budgets};
use crate::cursor::slot::{LaneCursor, Slot};
use crate::cursor::{Counts, Cursor, CursorFile, Position};
use crate::destination::Destination;
use crate::disk::Disk;
use crate::error::QueueError;
use crate::lane::{Board, Durable, Lane, LaneReport, LaneState, Mailbox, Pair, Recovered};
use crate::quarantine::Quarantine;
use crate::throttle::Throttle;

pub(crate) use reload::Additions;

/// Items a destination did not get because it (or the lane) was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The destination.
    pub destination: String,
    /// The lane.
    pub lane: String,
    /// Items that were pending.
    pub items: u64,
}

/// What the start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// One for each lane.
    pub lanes: Vec<LaneReport>,
    /// Destinations whose position was found.
    pub resumed: Vec<String>,
    /// Destinations without a position.
    pub added: Vec<String>,
    /// Destinations and lanes that are no longer wanted.
    pub removed: Vec<Removed>,
    /// Cursor files without a valid slot: their destinations begin at the oldest record.
    pub damaged_cursors: Vec<PathBuf>,
    /// Lanes that hold items while there is no cursor file at all, and how many: somebody removed the files. Destinations begin at
    /// the oldest record.
    pub unclaimed: Vec<(LaneId, u64)>,
    /// Entries of the queue's directories, lanes included, that are not its own; left alone. What
    /// [`Inspection::foreign`](crate::Inspection::foreign) says of the same directory.
    pub foreign: Vec<PathBuf>,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// New destinations.
    pub added: Vec<String>,
    /// New lanes.
    pub added_lanes: Vec<LaneId>,
    /// What went.
    pub removed: Vec<Removed>,
}

pub(crate) struct Store {
    pub config: QueueConfig,
    pub disk: Arc<dyn Disk>,
    pub lanes: RwLock<BTreeMap<LaneId, Arc<Lane>>>,
    pub destinations: RwLock<BTreeMap<Arc<str>, Arc<Destination>>>,
    pub quarantine: Arc<Quarantine>,
    pub bell: Arc<Bell>,
    /// Disk budget and free space as last told.
    room: RwLock<Room>,
    /// Items booked as removed since the start.
    removed: Mutex<BTreeMap<(String, String), u64>>,
    incarnations: AtomicU64,
}

/// What the lanes may use together, and how it is shared.
#[derive(Debug, Clone)]
struct Room {
    max_bytes: u64,
    min_free: MinFree,
    lanes: Vec<LaneSpec>,
}

impl Store {
    pub(crate) fn lanes_dir(&self) -> PathBuf {
        self.config.directory.join("lanes")
    }

    pub(crate) fn cursors_dir(&self) -> PathBuf {
        self.config.directory.join("cursors")
    }

    /// Removes useless segment files, after writing down what their names testify: where the lane's offsets stood.
    fn discard(&self, paths: &[PathBuf]) -> Result<(), QueueError> {
        if paths.is_empty() {
            return Ok(());
        }
        for destination in self.destinations.read().values() {
            self.sync(destination)?;
        }
        for path in paths {
            if let Err(error) = self.disk.remove(path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a useless segment file");
            }
        }
        Ok(())
    }

    fn add_lane(&self, spec: &LaneSpec, budget: u64, found: Recovered) -> Arc<Lane> {
        let credit_bytes = self.config.credit_bytes.clamp(1, u64::from(u32::MAX));
        let mut board = Board::new(found, budget, self.config.segment_size(budget), self.room.read().min_free);
        if spec.marked {
            board.floor = 0;
        }
        let lane = Arc::new(Lane {
            id: spec.id.clone(),
            dir: self.lanes_dir().join(spec.id.as_str()),
            disk: Arc::clone(&self.disk),
            durable: watch::Sender::new(Durable { offset: board.durable.offset, ..Durable::default() }),
            board: Mutex::new(board),
            pressed: watch::Sender::new(0),
            credit: Arc::new(Semaphore::new(usize::try_from(credit_bytes).unwrap_or(Semaphore::MAX_PERMITS))),
            credit_bytes,
            mailbox: Mailbox::default(),
            quarantine: Arc::clone(&self.quarantine),
            losses: Throttle::default(),
            damages: Throttle::default(),
            rejects: Throttle::default(),
            known_damage: Mutex::default(),
            contexts: Arc::default(),
        });
        self.lanes.write().insert(spec.id.clone(), Arc::clone(&lane));
        lane
    }

    fn add_destination(
        &self,
        spec: &DestinationSpec,
        found: Option<(CursorFile, Slot)>,
        report: &mut OpenReport,
    ) -> Result<Arc<Destination>, QueueError> {
        let (file, slot) = match found {
            Some((file, slot)) => (file, Some(slot)),
            None => (CursorFile::fresh(Arc::clone(&self.disk), &self.cursors_dir(), &spec.name), None),
        };
        let was_there = !report.unclaimed.is_empty() || report.damaged_cursors.iter().any(|path| path == file.path());
        let start = if was_there { StartAt::Oldest } else { spec.start };
        let known: Vec<LaneCursor> = slot.map(|slot| slot.lanes).unwrap_or_default();
        let destination = Arc::new(Destination::new(spec.clone(), file, Arc::clone(&self.bell)));
        let mut changed = known.is_empty();
        for id in spec.lanes.iter().collect::<BTreeSet<_>>() {
            let cursor = known.iter().find(|cursor| cursor.lane == id.as_str());
            changed |= cursor.is_none();
            self.subscribe(&destination, id, cursor, start)?;
        }
        for cursor in &known {
            if spec.lanes.iter().all(|id| id.as_str() != cursor.lane) {
                changed = true;
                if let Some(lane) = self.lanes.read().values().find(|lane| lane.id.as_str() == cursor.lane) {
                    let items = lane.board.lock().durable.item.saturating_sub(cursor.settled.item);
                    report.removed.push(self.booked(&spec.name, &cursor.lane, items));
                }
            }
        }
        if changed {
            self.sync(&destination)?;
        }
        self.destinations.write().insert(Arc::clone(&destination.name), Arc::clone(&destination));
        Ok(destination)
    }

    fn subscribe(
        &self,
        destination: &Arc<Destination>,
        id: &LaneId,
        known: Option<&LaneCursor>,
        start: StartAt,
    ) -> Result<(), QueueError> {
        let lane = self.lane(id)?;
        let mut board = lane.board.lock();
        let incarnation = self.incarnations.fetch_add(1, Ordering::Relaxed);
        let cursor = match known {
            Some(known) => {
                let mut cursor = Cursor::new(known.start_item, known.settled, known.counts.clone(), incarnation);
                cursor.handed_out = known.claimed;
                cursor
            }
            None => {
                let at: Position = match start {
                    StartAt::Now => board.durable,
                    StartAt::Oldest => board.oldest(),
                };
                Cursor::new(at.item, at, Counts::default(), incarnation)
            }
        };
        let on_full = destination.spec.read().on_full;
        let pair = Pair {
            cursor,
            on_full,
            destination: Arc::clone(destination),
            turn: Arc::new(Notify::new()),
            given_up: watch::Sender::new(0),
        };
        board.pairs.insert(Arc::clone(&destination.name), pair);
        drop(board);
        destination.lanes.write().push(Arc::downgrade(&lane));
        Ok(())
    }

    /// Changes the budget of all lanes together and the space left to others. A smaller budget evicts down to itself at
    /// each lane's next commit, as far as policies allow.
    pub(crate) fn resize(&self, max_bytes: u64, min_free: MinFree) {
        let lanes = {
            let mut room = self.room.write();
            room.max_bytes = max_bytes;
            room.min_free = min_free;
            room.lanes.clone()
        };
        self.share(&lanes);
    }

    /// Tells the lanes that run what they may use.
    fn share(&self, lanes: &[LaneSpec]) {
        let mut room = self.room.write();
        room.lanes = lanes.to_vec();
        for (spec, budget) in lanes.iter().zip(budgets(room.max_bytes, lanes)) {
            if let Ok(lane) = self.lane(&spec.id) {
                let mut board = lane.board.lock();
                board.budget = budget;
                board.segment_size = self.config.segment_size(budget);
                board.min_free = room.min_free;
                drop(board);
                lane.mailbox.poke();
            }
        }
    }

    /// Items booked as removed since the start, by destination and lane.
    pub(crate) fn removed(&self) -> Vec<Removed> {
        let removed = self.removed.lock();
        let row = |((destination, lane), items): (&(String, String), &u64)| Removed {
            destination: destination.clone(),
            lane: lane.clone(),
            items: *items,
        };
        removed.iter().map(row).collect()
    }

    fn booked(&self, destination: &str, lane: &str, items: u64) -> Removed {
        let mut removed = self.removed.lock();
        let key = (destination.to_owned(), lane.to_owned());
        if removed.len() < REMOVED_ROWS || removed.contains_key(&key) {
            *removed.entry(key).or_default() += items;
        }
        Removed { destination: destination.to_owned(), lane: lane.to_owned(), items }
    }

    pub(crate) fn lane(&self, id: &LaneId) -> Result<Arc<Lane>, QueueError> {
        self.lanes.read().get(id).cloned().ok_or_else(|| QueueError::UnknownLane { lane: id.as_str().to_owned() })
    }

    /// A desk for the pair's only reader, and where it begins.
    pub(crate) fn desk(&self, destination: &str, id: &LaneId) -> Result<(Arc<Desk>, Position), QueueError> {
        let lane = self.lane(id)?;
        let unknown =
            || QueueError::UnknownDestination { destination: destination.to_owned(), lane: id.as_str().to_owned() };
        let held = self.destinations.read().get(destination).cloned().ok_or_else(unknown)?;
        if !held.spec.read().enabled {
            return Err(QueueError::Paused { destination: destination.to_owned() });
        }
        let mut board = lane.board.lock();
        let pair = board.pairs.get_mut(destination).ok_or_else(unknown)?;
        if std::mem::replace(&mut pair.cursor.has_reader, true) {
            return Err(QueueError::ReaderTaken { destination: destination.to_owned(), lane: id.as_str().to_owned() });
        }
        let at = pair.cursor.claimed;
        let desk = Desk {
            destination: held,
            turn: Arc::clone(&pair.turn),
            given_up: pair.given_up.subscribe(),
            incarnation: pair.cursor.incarnation,
            lane: Arc::clone(&lane),
        };
        drop(board);
        Ok((Arc::new(desk), at))
    }

    /// Writes the cursor files that changed and removes what they free. Gives the first failure, after trying all.
    pub(crate) fn tend(&self) -> io::Result<()> {
        let mut result = Ok(());
        for destination in self.all_destinations() {
            if destination.dirt.is_set()
                && let Err(error) = destination.sync()
            {
                result = result.and(Err(error));
            }
        }
        self.reclaim();
        result
    }

    /// The same for the files that were not written within `interval`; also gives when to look again.
    pub(crate) fn tend_due(&self, interval: Duration) -> (io::Result<()>, Option<Instant>) {
        let now = Instant::now();
        let (mut result, mut next) = (Ok(()), None);
        for destination in self.all_destinations() {
            let (one, again) = destination.tend(now, interval);
            result = result.and(one);
            next = [next, again].into_iter().flatten().min();
        }
        self.reclaim();
        (result, next)
    }

    fn all_destinations(&self) -> Vec<Arc<Destination>> {
        self.destinations.read().values().cloned().collect()
    }

    fn reclaim(&self) {
        let lanes: Vec<Arc<Lane>> = self.lanes.read().values().cloned().collect();
        for lane in lanes {
            if lane.reclaim() > 0 && lane.state() != LaneState::Ok {
                lane.mailbox.poke();
            }
        }
    }

    fn sync(&self, destination: &Destination) -> Result<(), QueueError> {
        destination.sync().map_err(|source| QueueError::io("write cursor file", destination.file.lock().path(), source))
    }
}

/// Removed pairs remembered; they come from the configuration, one reload at a time.
const REMOVED_ROWS: usize = 1000;

fn check(lanes: &[LaneSpec], destinations: &[DestinationSpec]) -> Result<(), QueueError> {
    let mut names = BTreeSet::new();
    for lane in lanes {
        if !names.insert(lane.id.as_str()) {
            return Err(QueueError::Name { what: "lane", name: lane.id.as_str().to_owned(), why: "it is given twice" });
        }
    }
    let mut known = BTreeSet::new();
    for spec in destinations {
        spec.check()?;
        if !known.insert(spec.name.as_str()) {
            return Err(QueueError::Name { what: "destination", name: spec.name.clone(), why: "it is given twice" });
        }
        for id in &spec.lanes {
            if !names.contains(id.as_str()) {
                return Err(QueueError::UnknownLane { lane: id.as_str().to_owned() });
            }
        }
    }
    Ok(())
}
