//! What a reload does to a running queue.
//!
//! Keeps true: a destination that stays keeps its position and its claims whatever else changes about it, and nothing
//! that goes is lost without being booked (invariant 22).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{ApplyReport, Removed, Store, check};
use crate::config::{DestinationSpec, LaneSpec, budgets};
use crate::destination::Destination;
use crate::error::QueueError;
use crate::lane::{Lane, Witness, recover};

/// What a reload leaves to the owner of the threads.
pub(crate) struct Reload {
    pub report: ApplyReport,
    /// Lanes that need a writer.
    pub begun: Vec<Arc<Lane>>,
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

    /// Brings the running queue into the shape that is wanted.
    pub(crate) fn apply(&self, lanes: &[LaneSpec], destinations: &[DestinationSpec]) -> Result<Reload, QueueError> {
        check(lanes, destinations)?;
        let _one_at_a_time = self.changing.lock();
        let mut report = ApplyReport::default();
        let mut begun = Vec::new();
        let max_bytes = self.room.read().max_bytes;
        for (spec, budget) in lanes.iter().zip(budgets(max_bytes, lanes)) {
            if !self.lanes.read().contains_key(&spec.id) {
                let dir = self.lanes_dir().join(spec.id.as_str());
                let found = recover(&self.disk, &dir, &spec.id, Witness::default(), &self.quarantine)?;
                self.discard(&found.discard)?;
                begun.push(self.add_lane(spec, budget, found));
                report.added_lanes.push(spec.id.clone());
            }
        }
        self.share(lanes);
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
        Ok(Reload { report, begun, ended })
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
