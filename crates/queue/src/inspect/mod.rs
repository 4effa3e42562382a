//! Looking at a queue's directory from outside: what is in it and where each destination stands. Read-only.
//!
//! It opens no lanes and repairs nothing; it sees what the next start would see, through the same readers. Keeps true:
//! nothing in the directory changes, and of a queue in use only what is known durable is told.

mod report;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LaneId;
use crate::cursor::slot::{LaneCursor, Slot};
use crate::cursor::{CursorEntry, Position, survey};
use crate::disk::{DirectoryLock, Disk, FrozenDisk, RealDisk};
use crate::error::QueueError;
use crate::frame::KIND_CONTEXT;
use crate::lane::{Recovered, Witness, recover};
use crate::layout;
use crate::ledger::LedgerRow;
use crate::quarantine::Quarantine;
use crate::segment::Segment;
use crate::walk::{SegmentFile, Step, Walk};

pub use report::{CursorInspection, Damage, Fault, Inspection, LaneInspection, SegmentInspection, Verification};

/// What the directory holds. `directory` is the queue's own or the data directory around it. Blocking: reads every
/// segment header and the last segment of each lane.
///
/// Fails if there is no queue, on missing permission, and on files of a newer major format; never on damage.
pub fn inspect(directory: &Path) -> Result<Inspection, QueueError> {
    Ok(Snapshot::take(directory)?.inspection)
}

/// [`inspect`], and then reads every frame of every lane: headers, checksums, numbers, references, compression.
pub fn verify(directory: &Path) -> Result<Verification, QueueError> {
    let snapshot = Snapshot::take(directory)?;
    Ok(verify::verify(snapshot))
}

/// One lane as the next start would find it.
struct LaneView {
    id: LaneId,
    found: Recovered,
    /// Where readers may read to.
    durable: Position,
}

struct Snapshot {
    disk: Arc<dyn Disk>,
    lanes: Vec<LaneView>,
    cursors: Vec<Slot>,
    inspection: Inspection,
}

impl Snapshot {
    fn take(directory: &Path) -> Result<Snapshot, QueueError> {
        let disk: Arc<dyn Disk> = Arc::new(FrozenDisk(RealDisk));
        let directory = resolve(&disk, directory)?;
        let in_use = DirectoryLock::is_taken(&directory);
        let mut inspection = Inspection { directory: directory.clone(), in_use, ..Inspection::default() };
        let cursors = cursors(&disk, &directory.join("cursors"), &mut inspection)?;
        let lanes = lanes(&disk, &directory, &cursors, &mut inspection)?;
        inspection.lanes = lanes.iter().map(lane_row).collect();
        inspection.cursors = rows(&disk, &cursors, &lanes);
        let quarantine = directory.join("quarantine");
        inspection.quarantine = disk.list(&quarantine).unwrap_or_default();
        inspection.quarantine.retain(|(name, _)| layout::is_copy(&disk, &quarantine.join(name)));
        inspection.foreign.extend(layout::strays(&disk, &directory));
        inspection.foreign.sort();
        Ok(Snapshot { disk, lanes, cursors, inspection })
    }
}

/// The queue's own directory.
fn resolve(disk: &Arc<dyn Disk>, given: &Path) -> Result<PathBuf, QueueError> {
    let holds_queue =
        |names: &[(String, u64)]| ["lanes", "cursors"].iter().any(|own| names.iter().any(|(n, _)| n == own));
    let names = disk.list(given).map_err(|source| QueueError::io("read queue directory", given, source))?;
    if holds_queue(&names) {
        return Ok(given.to_path_buf());
    }
    let inner = given.join("queue");
    match disk.list(&inner) {
        Ok(names) if holds_queue(&names) => Ok(inner),
        Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(QueueError::io("read queue directory", &inner, source))
        }
        _ => Err(QueueError::NoQueue { path: given.to_path_buf() }),
    }
}

fn cursors(disk: &Arc<dyn Disk>, dir: &Path, inspection: &mut Inspection) -> Result<Vec<Slot>, QueueError> {
    let mut out: BTreeMap<String, Slot> = BTreeMap::new();
    for (path, entry) in survey(disk, dir)? {
        match entry {
            CursorEntry::Valid(found) => drop(out.insert(found.slot.destination.clone(), found.slot)),
            CursorEntry::Damaged => inspection.damaged_cursors.push(path),
            CursorEntry::Foreign => inspection.foreign.push(path),
            CursorEntry::Draft => {}
        }
    }
    Ok(out.into_values().collect())
}

fn lanes(
    disk: &Arc<dyn Disk>,
    directory: &Path,
    cursors: &[Slot],
    inspection: &mut Inspection,
) -> Result<Vec<LaneView>, QueueError> {
    let dir = directory.join("lanes");
    let held = layout::lanes(disk, &dir)?;
    inspection.foreign.extend(held.foreign);
    let quarantine = Quarantine::open(Arc::clone(disk), directory.join("quarantine"));
    let mut out = Vec::new();
    for (id, path) in held.lanes {
        let witness = Witness::of(cursors.iter(), id.as_str());
        let mut found = recover(disk, &path, &id, witness, &quarantine)?;
        inspection.foreign.extend(found.report.foreign.iter().map(|name| path.join(name)));
        // Of a lane without files, what cursor files know.
        let mut durable = Position { item: found.durable.item, offset: witness.offset };
        if let Some(last) = found.segments.last_mut() {
            if inspection.in_use && found.promised < last.end {
                // What lies behind is written and perhaps not synced yet.
                last.end = found.promised.max(last.base);
                durable.item = item_at(disk, last);
                found.last_ingest_ms = i64::MIN;
            }
            durable.offset = last.end;
        }
        durable.item = durable.item.max(witness.item);
        out.push(LaneView { id, found, durable });
    }
    Ok(out)
}

/// Number of the item at the end of a segment.
fn item_at(disk: &Arc<dyn Disk>, segment: &Segment) -> u64 {
    let mut item = segment.first_item;
    let Ok(file) = disk.open(&segment.path) else { return item };
    let file = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
    let mut walk = Walk::new(Arc::new(file), segment.base, segment.end);
    loop {
        match walk.step() {
            Step::Frame { header, .. } | Step::BadBody { header, .. } => {
                item = item.max(header.first_item.saturating_add(u64::from(header.items)));
            }
            Step::Gap { .. } => {}
            Step::End => return item,
        }
    }
}

fn lane_row(lane: &LaneView) -> LaneInspection {
    let segments = &lane.found.segments;
    let next_items = segments.iter().skip(1).map(|next| next.first_item).chain([lane.durable.item]);
    let rows: Vec<SegmentInspection> = segments
        .iter()
        .zip(next_items)
        .map(|(segment, next_item)| SegmentInspection {
            path: segment.path.clone(),
            base: segment.base,
            end: segment.end,
            first_item: segment.first_item,
            items: next_item.saturating_sub(segment.first_item),
            file_bytes: segment.size,
            created_ms: segment.created_ms,
        })
        .collect();
    LaneInspection {
        lane: lane.id.clone(),
        durable_offset: lane.durable.offset,
        next_item: lane.durable.item,
        oldest_ms: segments.iter().map(|segment| segment.created_ms).find(|ms| *ms > 0),
        newest_ms: Some(lane.found.last_ingest_ms).filter(|ms| *ms > 0),
        unsynced_bytes: lane.found.report.unsynced_discarded_bytes,
        segments: rows,
    }
}

fn rows(disk: &Arc<dyn Disk>, cursors: &[Slot], lanes: &[LaneView]) -> Vec<CursorInspection> {
    let mut out = Vec::new();
    for slot in cursors {
        for cursor in &slot.lanes {
            let Ok(id) = LaneId::new(&cursor.lane) else { continue };
            let lane = lanes.iter().find(|lane| lane.id == id);
            out.push(row(disk, &slot.destination, id, cursor, lane));
        }
    }
    out
}

/// Append time of the first record that a destination at this place would be given.
fn oldest_after(disk: &Arc<dyn Disk>, segments: &[Segment], at: Position) -> Option<i64> {
    for segment in segments.iter().filter(|segment| segment.end > at.offset) {
        let Ok(file) = disk.open(&segment.path) else { continue };
        let file = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
        let mut walk = Walk::new(Arc::new(file), at.offset, segment.end);
        loop {
            match walk.step() {
                Step::Frame { header, .. } | Step::BadBody { header, .. } => {
                    let end = header.first_item.saturating_add(u64::from(header.items));
                    if header.kind != KIND_CONTEXT && end > at.item {
                        return Some(header.ingest_ms);
                    }
                }
                Step::Gap { .. } => {}
                Step::End => break,
            }
        }
    }
    None
}

fn row(
    disk: &Arc<dyn Disk>,
    destination: &str,
    lane: LaneId,
    cursor: &LaneCursor,
    view: Option<&LaneView>,
) -> CursorInspection {
    let segments = view.map(|view| view.found.segments.as_slice()).unwrap_or_default();
    let next_item = view.map_or(cursor.lane_end.item, |view| view.durable.item);
    let pending_items = next_item.saturating_sub(cursor.settled.item);
    let oldest = (pending_items > 0).then(|| oldest_after(disk, segments, cursor.settled)).flatten();
    let counts = cursor.counts.clone();
    CursorInspection {
        start_item: cursor.start_item,
        settled_offset: cursor.settled.offset,
        settled_item: cursor.settled.item,
        row: LedgerRow {
            destination: destination.to_owned(),
            lane,
            accepted: next_item.saturating_sub(cursor.start_item),
            delivered: counts.delivered,
            filtered: counts.filtered,
            rejected: counts.rejected,
            rejected_by: counts.reasons,
            evicted: counts.evicted,
            expired: counts.expired,
            damaged: counts.damaged,
            pending_items,
            pending_bytes: Segment::bytes_after(segments, cursor.settled.offset),
            in_flight_items: 0,
            in_flight_bytes: 0,
            repeats: 0,
            oldest_pending_ms: oldest,
            late_delivered: 0,
        },
    }
}
