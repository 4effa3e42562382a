//! The queue without threads: lanes, destinations, cursor files, and how they change at start and at reload.
//!
//! Keeps true: a destination's first position is on disk before anything is appended for it, and a destination or
//! lane that goes takes its pending items to the `removed` column, with a log line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};

use crate::claim::Desk;
use crate::config::{DestinationSpec, LaneId, LaneSpec, QueueConfig, StartAt};
use crate::cursor::slot::{LaneCursor, Slot};
use crate::cursor::{Counts, Cursor, CursorFile, Position};
use crate::destination::{Bell, Destination};
use crate::disk::{Disk, read_full};
use crate::error::QueueError;
use crate::lane::{Board, Durable, Lane, LaneReport, LaneStats, LaneState, Mailbox, Pair, Recovered, Witness, recover};
use crate::quarantine::Quarantine;
use crate::throttle::Throttle;

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
    /// Entries of the queue's directories that are not its own; left alone.
    pub foreign: Vec<String>,
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
    incarnations: AtomicU64,
    /// Reloads run one after the other.
    changing: Mutex<()>,
}

impl Store {
    pub(crate) fn lanes_dir(&self) -> PathBuf {
        self.config.directory.join("lanes")
    }

    pub(crate) fn cursors_dir(&self) -> PathBuf {
        self.config.directory.join("cursors")
    }

    /// Opens what is in the directory and brings it into the shape that is wanted.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        config: QueueConfig,
        lanes: &[LaneSpec],
        destinations: &[DestinationSpec],
    ) -> Result<(Store, OpenReport), QueueError> {
        check(lanes, destinations)?;
        let quarantine = Arc::new(Quarantine::open(Arc::clone(&disk), config.directory.join("quarantine")));
        let store = Store {
            config,
            disk,
            lanes: RwLock::default(),
            destinations: RwLock::default(),
            quarantine,
            bell: Arc::new(Bell::default()),
            incarnations: AtomicU64::new(1),
            changing: Mutex::new(()),
        };
        for dir in [store.config.directory.clone(), store.lanes_dir(), store.cursors_dir()] {
            store.disk.create_dir(&dir).map_err(|source| QueueError::io("create directory", &dir, source))?;
        }
        let mut report = OpenReport::default();
        let mut slots = store.load_cursors(&mut report)?;
        let recovered = store.recover_lanes(lanes, &slots)?;
        let mut discard = Vec::new();
        for ((spec, budget), mut found) in lanes.iter().zip(store.config.budgets(lanes)).zip(recovered) {
            report.lanes.push(found.report.clone());
            discard.append(&mut found.discard);
            store.add_lane(spec, budget, found);
        }
        store.remove_unwanted_lanes(&slots, &mut report)?;
        for spec in destinations {
            let found = slots.remove(&spec.name);
            match &found {
                Some(_) => report.resumed.push(spec.name.clone()),
                None => report.added.push(spec.name.clone()),
            }
            store.add_destination(spec, found, &report.damaged_cursors, &mut report.removed)?;
        }
        for (name, (mut file, slot)) in slots {
            for cursor in &slot.lanes {
                if let Some(lane) = store.lanes.read().values().find(|lane| lane.id.as_str() == cursor.lane) {
                    let pending = lane.board.lock().durable.item.saturating_sub(cursor.settled.item);
                    report.removed.push(booked(&name, &cursor.lane, pending));
                }
            }
            file.remove().map_err(|source| QueueError::io("remove cursor file", file.path(), source))?;
        }
        store.discard(&discard)?;
        for lane in store.lanes.read().values() {
            lane.reclaim();
        }
        Ok((store, report))
    }

    fn load_cursors(&self, report: &mut OpenReport) -> Result<BTreeMap<String, (CursorFile, Slot)>, QueueError> {
        let dir = self.cursors_dir();
        let names = self.disk.list(&dir).map_err(|source| QueueError::io("list directory", &dir, source))?;
        let mut out = BTreeMap::new();
        for (name, _) in names {
            let path = dir.join(&name);
            if name.ends_with(".cur.tmp") {
                let _ = self.disk.remove(&path);
            } else if !name.ends_with(".cur") {
                report.foreign.push(name);
            } else {
                match CursorFile::load(&self.disk, &path)? {
                    Some((file, slot)) if !out.contains_key(&slot.destination) => {
                        out.insert(slot.destination.clone(), (file, slot));
                    }
                    Some(_) => report.foreign.push(name),
                    None => {
                        tracing::error!(path = %path.display(), "cursor file is damaged: its destination begins at the oldest record, so some are sent twice");
                        self.keep_damaged_cursor(&path, &name);
                        report.damaged_cursors.push(path);
                    }
                }
            }
        }
        Ok(out)
    }

    fn keep_damaged_cursor(&self, path: &Path, name: &str) {
        let Ok(file) = self.disk.open(path) else { return };
        let mut bytes = vec![0; 64 << 10];
        let len = read_full(file.as_ref(), &mut bytes, 0).unwrap_or_default();
        bytes.truncate(len);
        if let Ok(lane) = LaneId::new("cursor") {
            self.quarantine.keep(&lane, crate::fields::fnv64(name.as_bytes()), &bytes);
        }
        // Its destination may be gone; one that is there writes a new file over this name.
        let _ = self.disk.remove(path);
    }

    fn recover_lanes(
        &self,
        lanes: &[LaneSpec],
        slots: &BTreeMap<String, (CursorFile, Slot)>,
    ) -> Result<Vec<Recovered>, QueueError> {
        let one = |lane: &LaneId| {
            let dir = self.lanes_dir().join(lane.as_str());
            recover(&self.disk, &dir, lane, witness(slots, lane.as_str()), &self.quarantine)
        };
        // Each scans at most one segment; side by side they cost what one costs on a cold disk.
        std::thread::scope(|scope| {
            let tasks: Vec<_> = lanes.iter().map(|spec| scope.spawn(|| one(&spec.id))).collect();
            tasks
                .into_iter()
                .zip(lanes)
                .map(|(task, spec)| task.join().unwrap_or_else(|_| one(&spec.id)))
                .collect()
        })
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
        let lane = Arc::new(Lane {
            id: spec.id.clone(),
            dir: self.lanes_dir().join(spec.id.as_str()),
            disk: Arc::clone(&self.disk),
            durable: watch::Sender::new(Durable { offset: found.durable.offset, ..Durable::default() }),
            board: Mutex::new(Board {
                segments: VecDeque::from(found.segments),
                durable: found.durable,
                budget,
                segment_size: self.config.segment_size(budget),
                min_free: self.config.min_free,
                pairs: BTreeMap::new(),
                stats: LaneStats::default(),
                last_ingest_ms: found.last_ingest_ms,
            }),
            credit: Arc::new(Semaphore::new(usize::try_from(credit_bytes).unwrap_or(Semaphore::MAX_PERMITS))),
            credit_bytes,
            mailbox: Mailbox::default(),
            quarantine: Arc::clone(&self.quarantine),
            losses: Throttle::default(),
        });
        self.lanes.write().insert(spec.id.clone(), Arc::clone(&lane));
        lane
    }

    /// Removes the files of lanes nobody wants any more, after booking what their destinations lose.
    fn remove_unwanted_lanes(
        &self,
        slots: &BTreeMap<String, (CursorFile, Slot)>,
        report: &mut OpenReport,
    ) -> Result<(), QueueError> {
        let dir = self.lanes_dir();
        let names = self.disk.list(&dir).map_err(|source| QueueError::io("list directory", &dir, source))?;
        for (name, _) in names {
            let Ok(id) = LaneId::new(&name) else {
                report.foreign.push(name);
                continue;
            };
            let path = dir.join(&name);
            if self.lanes.read().contains_key(&id) || self.disk.list(&path).is_err() {
                continue;
            }
            let found = recover(&self.disk, &path, &id, witness(slots, &name), &self.quarantine)?;
            for (destination, (_, slot)) in slots {
                for cursor in slot.lanes.iter().filter(|cursor| cursor.lane == name) {
                    let items = found.durable.item.saturating_sub(cursor.settled.item);
                    report.removed.push(booked(destination, &name, items));
                }
            }
            for path in found.segments.iter().map(|segment| &segment.path).chain(&found.discard) {
                let _ = self.disk.remove(path);
            }
            let _ = self.disk.remove_dir(&path);
        }
        Ok(())
    }

    fn add_destination(
        &self,
        spec: &DestinationSpec,
        found: Option<(CursorFile, Slot)>,
        damaged: &[PathBuf],
        removed: &mut Vec<Removed>,
    ) -> Result<Arc<Destination>, QueueError> {
        let (file, slot) = match found {
            Some((file, slot)) => (file, Some(slot)),
            None => (CursorFile::fresh(Arc::clone(&self.disk), &self.cursors_dir(), &spec.name), None),
        };
        let start = if damaged.iter().any(|path| path == file.path()) { StartAt::Oldest } else { spec.start };
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
                    removed.push(booked(&spec.name, &cursor.lane, items));
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
            Some(known) => Cursor::new(known.start_item, known.settled, known.counts.clone(), incarnation),
            None => {
                let at: Position = match start {
                    StartAt::Now => board.durable,
                    StartAt::Oldest => board.oldest(),
                };
                Cursor::new(at.item, at, Counts::default(), incarnation)
            }
        };
        let on_full = destination.spec.read().on_full;
        let pair = Pair { cursor, on_full, destination: Arc::clone(destination), turn: Arc::new(Notify::new()) };
        board.pairs.insert(Arc::clone(&destination.name), pair);
        drop(board);
        destination.lanes.write().push(Arc::downgrade(&lane));
        Ok(())
    }

    /// Takes a destination off a lane and books what it had not settled.
    fn unsubscribe(&self, destination: &Destination, lane: &Lane, removed: &mut Vec<Removed>) {
        let gone = {
            let mut board = lane.board.lock();
            let durable = board.durable.item;
            board.pairs.remove(&destination.name).map(|pair| (durable, pair))
        };
        if let Some((durable, pair)) = gone {
            pair.turn.notify_one();
            removed.push(booked(&destination.name, lane.id.as_str(), durable.saturating_sub(pair.cursor.settled.item)));
        }
        destination.lanes.write().retain(|held| held.upgrade().is_some_and(|held| held.id != lane.id));
    }

    /// Brings the running queue into the shape that is wanted. Gives the lanes that need a writer, and those whose
    /// writer has to end before [`Store::drop_lane`] removes their files.
    pub(crate) fn apply(
        &self,
        lanes: &[LaneSpec],
        destinations: &[DestinationSpec],
    ) -> Result<(ApplyReport, Vec<Arc<Lane>>, Vec<Arc<Lane>>), QueueError> {
        check(lanes, destinations)?;
        let _one_at_a_time = self.changing.lock();
        let mut report = ApplyReport::default();
        let mut begun = Vec::new();
        for (spec, budget) in lanes.iter().zip(self.config.budgets(lanes)) {
            let held = self.lanes.read().get(&spec.id).cloned();
            match held {
                Some(lane) => {
                    let mut board = lane.board.lock();
                    board.budget = budget;
                    board.segment_size = self.config.segment_size(budget);
                }
                None => {
                    let dir = self.lanes_dir().join(spec.id.as_str());
                    let found = recover(&self.disk, &dir, &spec.id, Witness::default(), &self.quarantine)?;
                    self.discard(&found.discard)?;
                    begun.push(self.add_lane(spec, budget, found));
                    report.added_lanes.push(spec.id.clone());
                }
            }
        }
        let held: Vec<Arc<Destination>> = self.destinations.read().values().cloned().collect();
        for destination in held {
            match destinations.iter().find(|spec| spec.name == *destination.name) {
                Some(spec) => self.change_destination(&destination, spec, &mut report)?,
                None => {
                    for lane in self.lanes.read().values() {
                        if lane.board.lock().pairs.contains_key(&destination.name) {
                            self.unsubscribe(&destination, lane, &mut report.removed);
                        }
                    }
                    self.destinations.write().remove(&destination.name);
                    let mut file = destination.file.lock();
                    file.remove().map_err(|source| QueueError::io("remove cursor file", file.path(), source))?;
                }
            }
        }
        for spec in destinations {
            if !self.destinations.read().contains_key(spec.name.as_str()) {
                self.add_destination(spec, None, &[], &mut report.removed)?;
                report.added.push(spec.name.clone());
            }
        }
        let mut ended = Vec::new();
        self.lanes.write().retain(|id, lane| {
            let wanted = lanes.iter().any(|spec| spec.id == *id);
            if !wanted {
                ended.push(Arc::clone(lane));
            }
            wanted
        });
        for lane in self.lanes.read().values() {
            lane.reclaim();
            lane.mailbox.poke();
        }
        Ok((report, begun, ended))
    }

    fn change_destination(
        &self,
        destination: &Arc<Destination>,
        spec: &DestinationSpec,
        report: &mut ApplyReport,
    ) -> Result<(), QueueError> {
        let before = destination.spec.read().clone();
        destination.configure(spec.clone());
        for id in before.lanes.iter().filter(|id| !spec.lanes.contains(id)) {
            if let Ok(lane) = self.lane(id) {
                self.unsubscribe(destination, &lane, &mut report.removed);
            }
        }
        for id in spec.lanes.iter().filter(|id| !before.lanes.contains(id)).collect::<BTreeSet<_>>() {
            self.subscribe(destination, id, None, spec.start)?;
        }
        for id in &spec.lanes {
            let lane = self.lane(id)?;
            if let Some(pair) = lane.board.lock().pairs.get_mut(&destination.name) {
                pair.on_full = spec.on_full;
                pair.turn.notify_one();
            }
        }
        if before.lanes != spec.lanes {
            self.sync(destination)?;
        }
        Ok(())
    }

    /// Removes the files of a lane whose writer has ended.
    pub(crate) fn drop_lane(&self, lane: &Lane) {
        let segments = {
            let mut board = lane.board.lock();
            board.pairs.clear();
            std::mem::take(&mut board.segments)
        };
        for segment in segments {
            let _ = self.disk.remove(&segment.path);
        }
        let _ = self.disk.remove_dir(&lane.dir);
    }

    pub(crate) fn lane(&self, id: &LaneId) -> Result<Arc<Lane>, QueueError> {
        self.lanes.read().get(id).cloned().ok_or_else(|| QueueError::UnknownLane { lane: id.as_str().to_owned() })
    }

    /// A desk for the pair's only reader, and where it begins.
    pub(crate) fn desk(&self, destination: &str, id: &LaneId) -> Result<(Arc<Desk>, Position), QueueError> {
        let lane = self.lane(id)?;
        let unknown = || QueueError::UnknownDestination { destination: destination.to_owned(), lane: id.as_str().to_owned() };
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
            incarnation: pair.cursor.incarnation,
            lane: Arc::clone(&lane),
        };
        drop(board);
        Ok((Arc::new(desk), at))
    }

    /// Writes the cursor files that changed and removes what they free. Gives the first failure, after trying all.
    pub(crate) fn tend(&self) -> io::Result<()> {
        let mut result = Ok(());
        let destinations: Vec<Arc<Destination>> = self.destinations.read().values().cloned().collect();
        for destination in destinations {
            if destination.dirty.load(Ordering::Acquire)
                && let Err(error) = destination.sync()
            {
                result = result.and(Err(error));
            }
        }
        let lanes: Vec<Arc<Lane>> = self.lanes.read().values().cloned().collect();
        for lane in lanes {
            if lane.reclaim() > 0 && lane.state() != LaneState::Ok {
                lane.mailbox.poke();
            }
        }
        result
    }

    fn sync(&self, destination: &Destination) -> Result<(), QueueError> {
        destination.sync().map_err(|source| QueueError::io("write cursor file", destination.file.lock().path(), source))
    }
}

fn booked(destination: &str, lane: &str, items: u64) -> Removed {
    if items > 0 {
        tracing::warn!(destination, lane, items, "destination removed from lane: pending items are not delivered");
    } else {
        tracing::info!(destination, lane, "destination removed from lane; nothing was pending");
    }
    Removed { destination: destination.to_owned(), lane: lane.to_owned(), items }
}

fn witness(slots: &BTreeMap<String, (CursorFile, Slot)>, lane: &str) -> Witness {
    let mut out = Witness::default();
    for cursor in slots.values().flat_map(|(_, slot)| &slot.lanes).filter(|cursor| cursor.lane == lane) {
        out.offset = out.offset.max(cursor.settled.offset).max(cursor.lane_end.offset);
        out.item = out.item.max(cursor.settled.item).max(cursor.lane_end.item);
    }
    out
}

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
