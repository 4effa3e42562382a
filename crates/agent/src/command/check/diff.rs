//! What a start or reload with a plan does to the queue on disk: who keeps a place, who begins, what is given up.
//!
//! Counts by what `queue::inspect` reads, so a running agent's figures are up to a second old; nothing is changed. Keeps true:
//! what it calls given up is what the queue then books as `removed`.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use config::Plan;
use queue::{CursorInspection, DestinationSpec, LaneId, QueueError};

use crate::house::specs;

/// A destination's place in a lane.
type Place = (LaneId, String);

/// Items and bytes that wait.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    items: u64,
    bytes: u64,
}

pub struct Diff {
    directory: PathBuf,
    in_use: bool,
    stays: BTreeMap<Place, (Waiting, bool)>,
    begins: BTreeMap<Place, bool>,
    goes: BTreeMap<Place, Waiting>,
    unreadable: Vec<PathBuf>,
}

impl Diff {
    /// Errors, for a person: the directory cannot be read.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        let directory = plan.queue.directory.clone();
        let wanted = specs::queue_specs(plan).map_err(|error| error.to_string())?.destinations;
        let (cursors, in_use, unreadable) = match queue::inspect(&directory) {
            Ok(found) => (found.cursors, found.in_use, found.damaged_cursors),
            Err(QueueError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Default::default(),
            Err(error) => return Err(format!("reading what waits in the queue: {error}")),
        };
        Ok(Self::between(directory, &wanted, &cursors, in_use, unreadable))
    }

    fn between(
        directory: PathBuf,
        wanted: &[DestinationSpec],
        cursors: &[CursorInspection],
        in_use: bool,
        unreadable: Vec<PathBuf>,
    ) -> Self {
        let mut begins: BTreeMap<Place, bool> = wanted
            .iter()
            .flat_map(|spec| spec.lanes.iter().map(|lane| ((lane.clone(), spec.name.clone()), spec.enabled)))
            .collect();
        let (mut stays, mut goes) = (BTreeMap::new(), BTreeMap::new());
        for cursor in cursors {
            let row = &cursor.row;
            let place = (row.lane.clone(), row.destination.clone());
            let waiting = Waiting { items: row.pending_items, bytes: row.pending_bytes };
            match begins.remove(&place) {
                Some(enabled) => drop(stays.insert(place, (waiting, enabled))),
                None => drop(goes.insert(place, waiting)),
            }
        }
        Self { directory, in_use, stays, begins, goes, unreadable }
    }

    /// Something that waits would be given up.
    pub fn gives_up(&self) -> bool {
        self.goes.values().any(|waiting| waiting.items > 0)
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_use = if self.in_use { ", in use by a running agent: figures are up to a second old" } else { "" };
        writeln!(f, "# with this file, of what waits in {}{in_use}:", self.directory.display())?;
        for ((lane, name), (waiting, enabled)) in &self.stays {
            let paused = if *enabled { "" } else { "; it is paused (enabled: false), and what comes in waits, too" };
            writeln!(f, "#   {name} on {lane} keeps its place: {waiting}{paused}")?;
        }
        for ((lane, name), enabled) in &self.begins {
            let paused = if *enabled { "" } else { ", paused (enabled: false)" };
            writeln!(f, "#   {name} on {lane} is new and begins with what comes in from then on{paused}")?;
        }
        for ((lane, name), waiting) in &self.goes {
            if waiting.items == 0 {
                writeln!(f, "#   {name} on {lane} goes; nothing waits for it")?;
                continue;
            }
            writeln!(f, "#   {name} on {lane} is GIVEN UP: {waiting}, counted as removed")?;
            let new: Vec<&str> = self.begins.keys().filter(|place| place.0 == *lane).map(|place| &*place.1).collect();
            if !new.is_empty() {
                let new = new.join(", ");
                writeln!(
                    f,
                    "#     a destination is known by its name: if {new} is the same one, call it `name: {name}`"
                )?;
            }
            writeln!(f, "#     to keep what waits, leave it in the file until nothing does")?;
        }
        for path in &self.unreadable {
            writeln!(f, "#   {} cannot be read: its destination begins again at the oldest record", path.display())?;
        }
        if self.stays.is_empty() && self.begins.is_empty() && self.goes.is_empty() {
            writeln!(f, "#   there is no destination")?;
        }
        Ok(())
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.items {
            0 => f.write_str("nothing waits for it"),
            items => write!(f, "{items} items ({} bytes) wait for it", self.bytes),
        }
    }
}
