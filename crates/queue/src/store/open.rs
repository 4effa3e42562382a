//! What a start does: positions first, then lanes, then what nobody wants any more.
//!
//! Keeps true: no content of any file makes it fail, except an intact header of a newer major version (invariant 15).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::{OpenReport, Room, Store, check};
use crate::bell::Bell;
use crate::config::{DestinationSpec, LaneId, LaneSpec, QueueConfig, budgets};
use crate::cursor::slot::Slot;
use crate::cursor::{CursorEntry, CursorFile, survey};
use crate::disk::{Disk, read_full};
use crate::error::QueueError;
use crate::lane::{Recovered, Witness, recover};
use crate::layout;
use crate::quarantine::Quarantine;

impl Store {
    /// Opens what is in the directory and brings it into the shape that is wanted.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        config: QueueConfig,
        lanes: &[LaneSpec],
        destinations: &[DestinationSpec],
    ) -> Result<(Store, OpenReport), QueueError> {
        check(lanes, destinations)?;
        let quarantine = Arc::new(Quarantine::open(Arc::clone(&disk), config.directory.join("quarantine")));
        let room = Room { max_bytes: config.max_bytes, min_free: config.min_free, lanes: lanes.to_vec() };
        let store = Store {
            room: RwLock::new(room),
            removed: Mutex::default(),
            config,
            disk,
            lanes: RwLock::default(),
            destinations: RwLock::default(),
            quarantine,
            bell: Arc::new(Bell::default()),
            incarnations: AtomicU64::new(1),
        };
        for dir in [store.config.directory.clone(), store.lanes_dir(), store.cursors_dir()] {
            store.disk.create_dir(&dir).map_err(|source| QueueError::io("create directory", &dir, source))?;
        }
        let mut report = OpenReport::default();
        let mut slots = store.load_cursors(&mut report)?;
        let recovered = store.recover_lanes(lanes, &slots)?;
        let mut discard = Vec::new();
        for ((spec, budget), mut found) in lanes.iter().zip(budgets(store.config.max_bytes, lanes)).zip(recovered) {
            let dir = store.lanes_dir().join(spec.id.as_str());
            report.foreign.extend(found.report.foreign.iter().map(|name| dir.join(name)));
            report.lanes.push(found.report.clone());
            discard.append(&mut found.discard);
            let items =
                found.durable.item.saturating_sub(found.segments.first().map_or(u64::MAX, |oldest| oldest.first_item));
            if items > 0 && slots.is_empty() && report.damaged_cursors.is_empty() {
                report.unclaimed.push((spec.id.clone(), items));
            }
            store.add_lane(spec, budget, found);
        }
        store.remove_unwanted_lanes(&slots, &mut report)?;
        for spec in destinations {
            let found = slots.remove(&spec.name);
            match &found {
                Some(_) => report.resumed.push(spec.name.clone()),
                None => report.added.push(spec.name.clone()),
            }
            store.add_destination(spec, found, &mut report)?;
        }
        for (name, (mut file, slot)) in slots {
            for cursor in &slot.lanes {
                if let Some(lane) = store.lanes.read().values().find(|lane| lane.id.as_str() == cursor.lane) {
                    let pending = lane.board.lock().durable.item.saturating_sub(cursor.settled.item);
                    report.removed.push(store.booked(&name, &cursor.lane, pending));
                }
            }
            file.remove().map_err(|source| QueueError::io("remove cursor file", file.path(), source))?;
        }
        report.foreign.extend(layout::strays(&store.disk, &store.config.directory));
        report.foreign.sort();
        store.discard(&discard)?;
        for lane in store.lanes.read().values() {
            lane.reclaim();
        }
        Ok((store, report))
    }

    fn load_cursors(&self, report: &mut OpenReport) -> Result<BTreeMap<String, (CursorFile, Slot)>, QueueError> {
        let mut out = BTreeMap::new();
        for (path, entry) in survey(&self.disk, &self.cursors_dir())? {
            match entry {
                CursorEntry::Draft => {
                    let _ = self.disk.remove(&path);
                }
                CursorEntry::Foreign => report.foreign.push(path),
                CursorEntry::Damaged => {
                    self.keep_damaged_cursor(&path);
                    report.damaged_cursors.push(path);
                }
                CursorEntry::Valid(found) => {
                    let file = CursorFile::adopt(&self.disk, &path, &found)?;
                    out.insert(found.slot.destination.clone(), (file, found.slot));
                }
            }
        }
        Ok(out)
    }

    fn keep_damaged_cursor(&self, path: &Path) {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let Ok(file) = self.disk.open(path) else {
            return;
        };
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
            tasks.into_iter().zip(lanes).map(|(task, spec)| task.join().unwrap_or_else(|_| one(&spec.id))).collect()
        })
    }

    /// Removes the files of lanes nobody wants any more, after booking what their destinations lose.
    fn remove_unwanted_lanes(
        &self,
        slots: &BTreeMap<String, (CursorFile, Slot)>,
        report: &mut OpenReport,
    ) -> Result<(), QueueError> {
        let found = layout::lanes(&self.disk, &self.lanes_dir())?;
        report.foreign.extend(found.foreign);
        for (id, path) in found.lanes {
            if self.lanes.read().contains_key(&id) {
                continue;
            }
            let name = id.as_str();
            let found = recover(&self.disk, &path, &id, witness(slots, name), &self.quarantine)?;
            report.foreign.extend(found.report.foreign.iter().map(|name| path.join(name)));
            for (destination, (_, slot)) in slots {
                for cursor in slot.lanes.iter().filter(|cursor| cursor.lane == name) {
                    let items = found.durable.item.saturating_sub(cursor.settled.item);
                    report.removed.push(self.booked(destination, name, items));
                }
            }
            for path in found.segments.iter().map(|segment| &segment.path).chain(&found.discard) {
                let _ = self.disk.remove(path);
            }
            let _ = self.disk.remove_dir(&path);
        }
        Ok(())
    }
}

fn witness(slots: &BTreeMap<String, (CursorFile, Slot)>, lane: &str) -> Witness {
    Witness::of(slots.values().map(|(_, slot)| slot), lane)
}
