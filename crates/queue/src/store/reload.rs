//! What a reload does to a running queue, in two steps: what can fail is prepared beside what runs, and only then anything
//! that runs is changed or goes.
//!
//! Keeps true: a reload that fails changes nothing; a destination that stays keeps its position and its claims whatever
//! else changes about it, and nothing that goes is lost without being booked (invariant 22).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ApplyReport, OpenReport, Removed, Store, check};
use crate::config::{DestinationSpec, LaneId, LaneSpec, budgets};
use crate::cursor::CursorFile;
use crate::destination::Destination;
use crate::error::QueueError;
use crate::lane::{Lane, Witness, recover};

/// What a reload adds. It is there, and what was there before has not changed.
#[derive(Default)]
pub(crate) struct Additions {
    /// Lanes that need a writer.
    pub lanes: Vec<Arc<Lane>>,
    destinations: Vec<Arc<Destination>>,
}

/// What a reload came to, and leaves to the owner of the threads.
pub(crate) struct Reload {
    pub report: ApplyReport,
    /// Lanes whose writer is to end before [`Store::drop_lane`] removes their files.
    pub ended: Vec<Arc<Lane>>,
}

impl Store {
    /// Takes a destination off a lane and books what it had not settled.
    fn unsubscribe(&self, destination: &Destination, lane: &Lane, removed: &mut Vec<Removed>) {
        let gone = {
            let mut board = lane.board.lock();
            let durable = board.durable.item;
            board.pairs.remove(&destination.name).map(|pair| (durable, pair))
        };
        if let Some((durable, pair)) = gone {
            pair.given_up.send_replace(u64::MAX);
            pair.turn.notify_one();
            removed.push(self.booked(
                &destination.name,
                lane.id.as_str(),
                durable.saturating_sub(pair.cursor.settled.item),
            ));
        }
        destination.lanes.write().retain(|held| held.upgrade().is_some_and(|held| held.id != lane.id));
    }

    /// Adds what is wanted and not there: lanes, destinations, and lanes of destinations. After a failure it is as before.
    pub(crate) fn prepare(
        &self,
        lanes: &[LaneSpec],
        destinations: &[DestinationSpec],
    ) -> Result<Additions, QueueError> {
        check(lanes, destinations)?;
        let mut added = Additions::default();
        match self.add(lanes, destinations, &mut added) {
            Ok(()) => Ok(added),
            Err(error) => {
                self.take_back(added);
                Err(error)
            }
        }
    }

    fn add(
        &self,
        lanes: &[LaneSpec],
        destinations: &[DestinationSpec],
        added: &mut Additions,
    ) -> Result<(), QueueError> {
        let max_bytes = self.room.read().max_bytes;
        for (spec, budget) in lanes.iter().zip(budgets(max_bytes, lanes)) {
            if !self.lanes.read().contains_key(&spec.id) {
                let dir = self.lanes_dir().join(spec.id.as_str());
                let found = recover(&self.disk, &dir, &spec.id, Witness::default(), &self.quarantine)?;
                if found.report.is_damaged() {
                    tracing::warn!(report = ?found.report, "a lane that this reload adds has a damaged directory");
                }
                self.discard(&found.discard)?;
                added.lanes.push(self.add_lane(spec, budget, found));
            }
        }
        for spec in destinations {
            let held = self.destinations.read().get(spec.name.as_str()).cloned();
            let Some(held) = held else {
                // It has no cursor file, so there is nothing to report of it.
                let one = self.add_destination(spec, None, &mut OpenReport::default()).inspect_err(|_| {
                    // It may be there and not be known to be.
                    let _ = CursorFile::fresh(Arc::clone(&self.disk), &self.cursors_dir(), &spec.name).remove();
                });
                added.destinations.push(one?);
                continue;
            };
            let before = held.spec.read().lanes.clone();
            let new: BTreeSet<_> = spec.lanes.iter().filter(|id| !before.contains(id)).collect();
            for id in &new {
                self.subscribe(&held, id, None, spec.start)?;
            }
            if !new.is_empty() {
                self.sync(&held)?;
            }
        }
        Ok(())
    }

    /// Takes away what [`Store::prepare`] added. Writers of its lanes have ended.
    pub(crate) fn take_back(&self, added: Additions) {
        for destination in &added.destinations {
            self.destinations.write().remove(&destination.name);
            self.forget(destination, |_| ());
        }
        // Settings have not changed, so they still say who belongs where.
        let destinations = self.destinations.read();
        let belongs = |name: &Arc<str>, id: &LaneId| {
            destinations.get(name).is_some_and(|destination| destination.spec.read().lanes.contains(id))
        };
        for lane in self.lanes.read().values() {
            lane.board.lock().pairs.retain(|name, _| belongs(name, &lane.id));
        }
        for destination in destinations.values() {
            let mut lanes = destination.lanes.write();
            lanes.retain(|held| held.upgrade().is_some_and(|lane| belongs(&destination.name, &lane.id)));
            destination.mark_dirty();
        }
        for lane in &added.lanes {
            self.lanes.write().remove(&lane.id);
            // Files that were found in it stay.
            let _ = self.disk.remove_dir(&lane.dir);
        }
    }

    /// Takes a destination off its lanes and removes its cursor file. A file that stays is removed at the next start.
    fn forget(&self, destination: &Destination, mut off: impl FnMut(&LaneId)) {
        for id in destination.spec.read().lanes.iter().collect::<BTreeSet<_>>() {
            off(id);
        }
        let mut file = destination.file.lock();
        if let Err(error) = file.remove() {
            tracing::warn!(path = %file.path().display(), %error, "cannot remove the cursor file of a removed destination");
        }
    }

    /// Changes what stays and removes what goes; what comes was prepared. Cannot fail: a cursor file that cannot be
    /// written now is written later.
    pub(crate) fn complete(&self, lanes: &[LaneSpec], destinations: &[DestinationSpec], added: &Additions) -> Reload {
        let mut report = ApplyReport {
            added: added.destinations.iter().map(|destination| destination.name.to_string()).collect(),
            added_lanes: added.lanes.iter().map(|lane| lane.id.clone()).collect(),
            removed: Vec::new(),
        };
        self.share(lanes);
        for destination in self.all_destinations() {
            match destinations.iter().find(|spec| spec.name == *destination.name) {
                Some(spec) => self.change_destination(&destination, spec, &mut report.removed),
                None => {
                    self.destinations.write().remove(&destination.name);
                    self.forget(&destination, |id| {
                        if let Ok(lane) = self.lane(id) {
                            self.unsubscribe(&destination, &lane, &mut report.removed);
                        }
                    });
                }
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
        Reload { report, ended }
    }

    fn change_destination(&self, destination: &Destination, spec: &DestinationSpec, removed: &mut Vec<Removed>) {
        let before = destination.spec.read().clone();
        destination.configure(spec.clone());
        let gone: BTreeSet<_> = before.lanes.iter().filter(|id| !spec.lanes.contains(id)).collect();
        for lane in gone.iter().filter_map(|id| self.lane(id).ok()) {
            self.unsubscribe(destination, &lane, removed);
        }
        for lane in spec.lanes.iter().filter_map(|id| self.lane(id).ok()) {
            if let Some(pair) = lane.board.lock().pairs.get_mut(&destination.name) {
                pair.on_full = spec.on_full;
                pair.turn.notify_one();
            }
        }
        if !gone.is_empty() {
            destination.mark_dirty();
        }
    }

    /// Removes the files of a lane whose writer has ended.
    pub(crate) fn drop_lane(&self, lane: &Lane) {
        let (segments, orphans) = {
            let mut board = lane.board.lock();
            for (_, pair) in std::mem::take(&mut board.pairs) {
                pair.given_up.send_replace(u64::MAX);
                pair.turn.notify_one();
            }
            (std::mem::take(&mut board.segments), board.orphans())
        };
        orphans.iter().for_each(|file| file.close());
        for segment in segments {
            let _ = self.disk.remove(&segment.path);
        }
        let _ = self.disk.remove_dir(&lane.dir);
    }
}
