//! Finding out, at start, what a lane's directory holds. Only the last segment is scanned: the header of each later
//! one states where its predecessor validly ends.
//!
//! Keeps true: no content makes it fail except an intact header of a newer major version (invariant 15), and offsets
//! continue behind everything that any file or cursor has ever named (invariant 4).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LaneId;
use crate::cursor::Position;
use crate::cursor::slot::Slot;
use crate::disk::{Disk, read_full};
use crate::error::QueueError;
use crate::frame::NUMBER_LIMIT;
use crate::quarantine::{Quarantine, RANGE_LIMIT};
use crate::segment::{self, BASE_STEP, FORMAT_MAJOR, HeaderFault, Previous, Segment, SegmentHeader};
use crate::walk::{SegmentFile, Step, Walk};

/// What the start found in one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// Name of the lane.
    pub lane: String,
    /// Segment files taken over.
    pub segments: usize,
    /// Bytes at the end that were written but never promised to anyone, and were cut off.
    pub unsynced_discarded_bytes: u64,
    /// Bytes at the end that had been promised and are damaged; how many items they held is not known.
    pub damaged_tail_bytes: u64,
    /// Segment files whose header is damaged beyond help; a copy of their beginning is in quarantine.
    pub damaged_segments: u64,
    /// Names in the directory that are not segments of this lane; left alone.
    pub foreign: Vec<String>,
}

/// What cursors testify of a lane: nothing before these was never given out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Witness {
    pub offset: u64,
    pub item: u64,
}

impl Witness {
    /// The farthest place that the cursors of this lane name.
    pub(crate) fn of<'a>(slots: impl Iterator<Item = &'a Slot>, lane: &str) -> Witness {
        let mut out = Witness::default();
        for cursor in slots.flat_map(|slot| &slot.lanes).filter(|cursor| cursor.lane == lane) {
            out.offset = out.offset.max(cursor.settled.offset).max(cursor.lane_end.offset);
            out.item = out.item.max(cursor.settled.item).max(cursor.lane_end.item);
        }
        out
    }
}

/// A lane as found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub segments: Vec<Segment>,
    pub durable: Position,
    pub last_ingest_ms: i64,
    /// Everything in the last segment before this lane offset had been synced when something behind it was written.
    pub promised: u64,
    /// Files without use. They go once the cursor files testify to the offsets their names testify to now.
    pub discard: Vec<PathBuf>,
    pub report: LaneReport,
}

struct Found {
    name: String,
    base: u64,
    size: u64,
    header: Option<SegmentHeader>,
    /// Intact, but of another lane or place.
    foreign: bool,
}

enum Readable {
    Yes(SegmentHeader),
    No,
    Foreign,
}

/// Reads the lane's directory.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    lane: &LaneId,
    witness: Witness,
    quarantine: &Quarantine,
) -> Result<Recovered, QueueError> {
    disk.create_dir(dir).map_err(|source| QueueError::io("create lane directory", dir, source))?;
    let names = disk.list(dir).map_err(|source| QueueError::io("list lane directory", dir, source))?;
    let mut out = Recovered { last_ingest_ms: i64::MIN, ..Recovered::default() };
    out.report.lane = lane.as_str().to_owned();
    let mut found = Vec::new();
    for (name, size) in names {
        match segment::parse_name(&name) {
            Some(base) if size < NUMBER_LIMIT => {
                let (header, foreign) = match read_header(disk, &dir.join(&name), base, lane)? {
                    Readable::Yes(header) => (Some(header), false),
                    Readable::No => (None, false),
                    Readable::Foreign => (None, true),
                };
                found.push(Found { name, base, size, header, foreign });
            }
            _ => out.report.foreign.push(name),
        }
    }
    found.sort_by_key(|file| file.base);
    // Every name counts as a witness, also those of files that turn out to be useless.
    let names_end = found.iter().map(|file| file.base.saturating_add(file.size)).max().unwrap_or_default();
    link(disk, dir, &found, quarantine, &mut out);

    let scanned = match out.segments.last().cloned() {
        Some(last) => scan_last(disk, &last, witness.offset, &mut out.report)?,
        None => Scan::default(),
    };
    let mut end = scanned.end;
    if let Some(last) = out.segments.last_mut() {
        last.end = end.offset;
        last.size = scanned.size;
        if last.end == last.base {
            out.discard.extend(out.segments.pop().map(|empty| empty.path));
        }
    }
    out.report.segments = out.segments.len();
    out.last_ingest_ms = out.last_ingest_ms.max(scanned.last_ingest_ms);
    out.promised = scanned.promised;
    end.item = end.item.max(witness.item);
    let offset = end.offset.max(witness.offset).max(names_end);
    out.durable = Position { offset: offset.next_multiple_of(BASE_STEP), item: end.item };
    Ok(out)
}

fn read_header(disk: &Arc<dyn Disk>, path: &Path, base: u64, lane: &LaneId) -> Result<Readable, QueueError> {
    // What cannot be opened is left alone.
    let Ok(file) = disk.open(path) else {
        return Ok(Readable::Foreign);
    };
    let mut bytes = [0; segment::HEADER_LEN];
    let len = read_full(file.as_ref(), &mut bytes, 0).unwrap_or_default();
    match SegmentHeader::decode(bytes.get(..len).unwrap_or_default()) {
        Ok(header) if header.base == base && header.lane_hash == segment::lane_hash(lane) => Ok(Readable::Yes(header)),
        Err(HeaderFault::Newer { major }) => {
            Err(QueueError::Format { path: path.to_path_buf(), found: major, supported: FORMAT_MAJOR })
        }
        Ok(_) => Ok(Readable::Foreign),
        Err(HeaderFault::Damaged) => Ok(Readable::No),
    }
}

/// Makes segments of the files: ends from the next header, and where a header is damaged, its nonce too.
fn link(disk: &Arc<dyn Disk>, dir: &Path, found: &[Found], quarantine: &Quarantine, out: &mut Recovered) {
    for (index, file) in found.iter().enumerate() {
        if file.foreign {
            out.report.foreign.push(file.name.clone());
            continue;
        }
        let next = found.get(index + 1);
        let said: Option<Previous> = next
            .and_then(|next| next.header)
            .and_then(|header| header.previous)
            .filter(|previous| previous.base == file.base);
        let header_len = file.header.map_or(segment::HEADER_SIZE, |header| u64::from(header.header_len));
        let mut end = file.base.saturating_add(file.size.saturating_sub(header_len));
        if let Some(next) = next {
            end = end.min(next.base);
        }
        if let Some(said) = said {
            end = end.min(said.end);
        }
        let path = dir.join(&file.name);
        let known = match (file.header, said) {
            (Some(header), _) => Some((header.nonce, header.first_item, header.created_ms)),
            (None, Some(said)) => first_item(disk, &path, file.base, said.nonce, end).map(|item| (said.nonce, item, 0)),
            (None, None) => None,
        };
        let Some((nonce, first_item, created_ms)) = known else {
            inspect(disk, &path, file, quarantine, &mut out.report);
            out.discard.push(path);
            continue;
        };
        // Item numbers only grow; a header that says otherwise is not one of this lane.
        if out.segments.last().is_some_and(|before: &Segment| before.first_item > first_item) {
            out.report.foreign.push(file.name.clone());
            continue;
        }
        out.last_ingest_ms = out.last_ingest_ms.max(created_ms);
        let mut size = file.size;
        let wanted = (end - file.base).saturating_add(header_len);
        // A power cut can undo the cut that was made at sealing.
        if said.is_some() && size > wanted && disk.open_write(&path).and_then(|file| file.set_len(wanted)).is_ok() {
            size = wanted;
        }
        out.segments.push(Segment {
            path,
            base: file.base,
            end,
            first_item,
            nonce,
            header_len,
            created_ms,
            size,
            sealed: true,
        });
    }
}

/// A file whose nonce nobody knows can never be read. Mostly it was being created when the power went.
fn inspect(disk: &Arc<dyn Disk>, path: &Path, found: &Found, quarantine: &Quarantine, report: &mut LaneReport) {
    let Ok(file) = disk.open(path) else { return };
    let mut start = vec![0; usize::try_from(found.size.min(RANGE_LIMIT)).unwrap_or_default()];
    let len = read_full(file.as_ref(), &mut start, 0).unwrap_or_default();
    start.truncate(len);
    if start.iter().any(|byte| *byte != 0) {
        let lane = LaneId::new(&report.lane);
        if let Ok(lane) = lane {
            quarantine.keep(&lane, found.base, &start);
        }
        report.damaged_segments += 1;
        tracing::error!(path = %path.display(), bytes = found.size, "segment header is damaged: the segment is lost, its items are counted as damaged");
    }
}

/// Number of the first item in a segment whose header is damaged.
fn first_item(disk: &Arc<dyn Disk>, path: &Path, base: u64, nonce: u64, end: u64) -> Option<u64> {
    let file = disk.open(path).ok()?;
    let segment = SegmentFile::new(file, base, nonce, segment::HEADER_SIZE);
    let mut walk = Walk::new(Arc::new(segment), base, end);
    loop {
        match walk.step() {
            Step::Frame { header, .. } | Step::BadBody { header, .. } => {
                return Some(header.first_item);
            }
            Step::Gap { .. } => {}
            Step::End => return None,
        }
    }
}

#[derive(Default)]
struct Scan {
    end: Position,
    size: u64,
    last_ingest_ms: i64,
    promised: u64,
}

/// A range without a readable frame, and where the items stood before it.
#[derive(Clone, Copy)]
struct Hole {
    from: u64,
    item: u64,
}

/// Finds the end of the last segment, cuts what is behind it and syncs what is before it.
fn scan_last(disk: &Arc<dyn Disk>, last: &Segment, witness: u64, report: &mut LaneReport) -> Result<Scan, QueueError> {
    let fail = |op| move |source| QueueError::io(op, &last.path, source);
    // A read-only file system must not keep the agent from delivering what is there.
    let (file, writable) = match disk.open_write(&last.path) {
        Ok(file) => (file, true),
        Err(_) => (disk.open(&last.path).map_err(fail("open segment"))?, false),
    };
    let view = SegmentFile::new(Arc::clone(&file), last.base, last.nonce, last.header_len);
    let mut walk = Walk::new(Arc::new(view), last.base, last.end);
    let mut end = Position { offset: last.base, item: last.first_item };
    let mut promised = witness;
    let mut last_ingest_ms = i64::MIN;
    let mut holes: Vec<Hole> = Vec::new();
    loop {
        match walk.step() {
            Step::Frame { offset, header, .. } => {
                // Out of order numbers are not ours: as good as unreadable.
                if header.first_item < end.item || header.durable_before > offset {
                    push(&mut holes, Hole { from: offset, item: end.item });
                    continue;
                }
                end = Position { offset: walk.at, item: header.first_item + u64::from(header.items) };
                promised = promised.max(header.durable_before);
                last_ingest_ms = last_ingest_ms.max(header.ingest_ms);
            }
            // Its item count is intact, but whether it was promised only a later frame can tell.
            Step::BadBody { offset, header } => {
                push(&mut holes, Hole { from: offset, item: end.item });
                promised = promised.max(header.durable_before.min(offset));
            }
            Step::Gap { from, .. } => push(&mut holes, Hole { from, item: end.item }),
            Step::End => break,
        }
    }
    // The first hole behind everything promised is where a power cut stopped the write: nobody was told of what lies
    // behind it. Holes before that are damage, and readers book them.
    let seen = end.offset;
    if let Some(torn) = holes.iter().find(|hole| hole.from >= promised && hole.from < seen) {
        end = Position { offset: torn.from, item: torn.item };
    }
    let written = holes.last().map_or(seen, |hole| written_end(&mut walk, hole.from.max(seen), last.end)).max(seen);
    if promised > end.offset && promised <= last.end {
        let bytes = promised - end.offset;
        report.damaged_tail_bytes += bytes;
        tracing::error!(path = %last.path.display(), bytes, "the end of the log is damaged although it had been synced");
        report.unsynced_discarded_bytes += written.saturating_sub(promised);
    } else {
        report.unsynced_discarded_bytes += written.saturating_sub(end.offset);
    }
    let mut size = last.size;
    if writable {
        let wanted = end.offset - last.base + last.header_len;
        match file.set_len(wanted).and_then(|()| file.sync()) {
            Ok(()) => size = wanted,
            Err(error) => {
                tracing::warn!(path = %last.path.display(), %error, "cannot cut and sync the last segment")
            }
        }
    }
    Ok(Scan { end, size, last_ingest_ms, promised })
}

fn push(holes: &mut Vec<Hole>, hole: Hole) {
    // Neighbouring holes are one; the list stays short whatever the file holds.
    if holes.len() < 4096 {
        holes.push(hole);
    }
}

/// Offset behind the last byte that is not zero, so that reserved space is not taken for lost data.
fn written_end(walk: &mut Walk, from: u64, end: u64) -> u64 {
    const BLOCK: u64 = 256 << 10;
    let mut at = from;
    let mut last = from;
    while at < end {
        let len = usize::try_from((end - at).min(BLOCK)).unwrap_or_default();
        let bytes = walk.segment.read(at, len);
        if let Some(index) = bytes.iter().rposition(|byte| *byte != 0) {
            last = at + index as u64 + 1;
        }
        at += len as u64;
    }
    last
}
