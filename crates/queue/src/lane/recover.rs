//! Finding out, at start, what a lane's directory holds. Only the last segment is scanned: the header of each later
//! one states where its predecessor validly ends.
//!
//! It tells what is damaged in its report and writes no log line. Keeps true: no content makes it fail except an intact
//! header of a newer major version (invariant 15), and offsets continue behind everything that any file or cursor has ever
//! named (invariant 4).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LaneId;
use crate::cursor::Position;
use crate::cursor::slot::Slot;
use crate::disk::{Disk, read_full};
use crate::error::QueueError;
use crate::frame::NUMBER_LIMIT;
use crate::lane::{salvage, tail};
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
    /// Bytes at the end that had been promised and are damaged or gone. Where files are gone it is what lay between two
    /// offsets, gaps between segments included.
    pub damaged_tail_bytes: u64,
    /// Items that had been promised to be there, and that somebody still wanted: with those bytes they are lost.
    pub damaged_tail_items: u64,
    /// Items that were lost behind everything that a cursor file or another segment testifies to: an estimate, by the bytes they
    /// took and by what an item took elsewhere in the lane. Zero where nothing was lost there.
    pub estimated_items: u64,
    /// Segment files in which no frame can be read; a copy of their beginning is in quarantine.
    pub damaged_segments: u64,
    /// Segments whose header is damaged and whose frames can be read all the same.
    pub mended_segments: u64,
    /// Segments that the next one names and that are not there.
    pub missing_segments: u64,
    /// Bytes by which segment files are shorter than the next one says they were.
    pub missing_bytes: u64,
    /// Names in the directory that are not segments of this lane; left alone.
    pub foreign: Vec<String>,
}

impl LaneReport {
    /// Something that had been promised is damaged or gone.
    pub fn is_damaged(&self) -> bool {
        let facts = [
            self.damaged_tail_bytes,
            self.damaged_tail_items,
            self.estimated_items,
            self.damaged_segments,
            self.mended_segments,
            self.missing_segments,
            self.missing_bytes,
        ];
        facts.iter().any(|fact| *fact > 0)
    }
}

/// What cursors testify of a lane: nothing before these was never given out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Witness {
    pub offset: u64,
    pub item: u64,
    /// The place before which nobody wants anything any more; `None` if there is no cursor.
    pub wanted: Option<Position>,
}

impl Witness {
    /// The farthest place that the cursors of this lane name, and the nearest.
    pub(crate) fn of<'a>(slots: impl Iterator<Item = &'a Slot>, lane: &str) -> Witness {
        let mut out = Witness::default();
        for cursor in slots.flat_map(|slot| &slot.lanes).filter(|cursor| cursor.lane == lane) {
            out.offset = out.offset.max(cursor.settled.offset).max(cursor.lane_end.offset);
            out.item = out.item.max(cursor.settled.item).max(cursor.lane_end.item);
            let held = out.wanted.unwrap_or(cursor.settled);
            out.wanted = Some(Position {
                offset: held.offset.min(cursor.settled.offset),
                item: held.item.min(cursor.settled.item),
            });
        }
        out
    }
}

/// No log grows to this many bytes: a file with such a name is somebody else's, and must not move the log's end there.
const NAME_LIMIT: u64 = NUMBER_LIMIT / 4;

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

/// A file of which nothing can be read.
struct Lost {
    base: u64,
    /// Lane offset behind its last byte that is not zero.
    written: u64,
    /// Its header holds something: it was whole once, and this is no write that a power cut stopped.
    rotten: bool,
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
            Some(base) if base < NAME_LIMIT && size < NAME_LIMIT => {
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
    let lost = link(disk, dir, &found, witness, quarantine, &mut out);

    let mut end = Position::default();
    if let Some(mut last) = out.segments.last().cloned() {
        let headless = found.iter().any(|file| file.base == last.base && file.header.is_none());
        if headless {
            // Known by its first readable frame only: items before that one are lost, or were never there.
            let before = out.segments.iter().rev().nth(1).map(|segment| tail::summary(disk, segment).item);
            let told = (witness.offset <= last.base).then_some(witness.item).filter(|_| witness.wanted.is_some());
            last.first_item = before.max(told).unwrap_or(last.first_item).min(last.first_item);
        }
        let scanned = tail::scan(disk, &last, witness.offset, &mut out.report)?;
        end = scanned.end;
        out.promised = scanned.promised;
        out.last_ingest_ms = out.last_ingest_ms.max(scanned.last_ingest_ms);
        if let Some(held) = out.segments.last_mut() {
            held.first_item = last.first_item;
            held.end = end.offset;
            held.size = scanned.size;
            if held.end == held.base {
                out.discard.extend(out.segments.pop().map(|empty| empty.path));
                // Nothing in it had been promised: its making was stopped.
                out.report.mended_segments -= u64::from(headless);
                // Its header may be damaged and tell nothing of the times before it.
                if let Some(last) = out.segments.last() {
                    out.last_ingest_ms = out.last_ingest_ms.max(tail::summary(disk, last).ingest_ms);
                }
            }
        }
    }
    out.report.segments = out.segments.len();
    book_end(&lost, end, witness, &out.segments, &mut out.report);
    end.item = end.item.max(witness.item).saturating_add(out.report.estimated_items);
    let offset = end.offset.max(witness.offset).max(names_end);
    out.durable = Position { offset: offset.next_multiple_of(BASE_STEP), item: end.item };
    Ok(out)
}

/// Books what had been promised behind the end of the log and is not there: as exactly as cursor files tell, and behind what they
/// tell by the bytes of files that nobody can read.
fn book_end(lost: &[Lost], end: Position, witness: Witness, segments: &[Segment], report: &mut LaneReport) {
    let Some(wanted) = witness.wanted else { return };
    let items = witness.item.saturating_sub(end.item.max(wanted.item));
    if items > 0 {
        report.damaged_tail_items = items;
        let bytes = witness.offset.saturating_sub(end.offset.max(wanted.offset));
        report.damaged_tail_bytes = report.damaged_tail_bytes.max(bytes);
    }
    let behind = lost.iter().filter(|file| file.base >= end.offset && (file.rotten || witness.offset > file.base));
    let bytes: u64 = behind.map(|file| file.written.saturating_sub(file.base.max(witness.offset))).sum();
    // What an item took in the known part of what is lost, else in the newest segment that can be read, else in the whole lane.
    let here = (items, witness.offset.saturating_sub(end.offset.max(wanted.offset)));
    let newest =
        segments.last().map_or((0, 0), |last| (end.item.saturating_sub(last.first_item), end.offset - last.base));
    let known = [here, newest].into_iter().find(|(items, bytes)| *items > 0 && *bytes > 0);
    let known = known.unwrap_or((witness.item, witness.offset));
    if known.1 > 0 {
        let items = u128::from(bytes) * u128::from(known.0) / u128::from(known.1);
        report.estimated_items = u64::try_from(items).unwrap_or_default().min(NUMBER_LIMIT / 4);
    }
}

fn read_header(disk: &Arc<dyn Disk>, path: &Path, base: u64, lane: &LaneId) -> Result<Readable, QueueError> {
    // What is no file or cannot be opened is left alone. A directory can be opened.
    let file = if disk.list(path).is_ok() { Err(io::ErrorKind::IsADirectory.into()) } else { disk.open(path) };
    let Ok(file) = file else {
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

/// Makes segments of the files: ends from the next header, and where a header is damaged, its nonce too, or from the frames.
/// Gives the files that cannot be read.
fn link(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    found: &[Found],
    witness: Witness,
    quarantine: &Quarantine,
    out: &mut Recovered,
) -> Vec<Lost> {
    let mut lost = Vec::new();
    let wanted = |before: u64| witness.wanted.is_some_and(|wanted| wanted.offset < before);
    for (index, file) in found.iter().enumerate() {
        if file.foreign {
            out.report.foreign.push(file.name.clone());
            continue;
        }
        // A segment before it goes on behind its beginning, as a later one's header states: this is no part of the log.
        if out.segments.last().is_some_and(|before: &Segment| before.end > file.base) {
            out.report.foreign.push(file.name.clone());
            continue;
        }
        let mut later = found.iter().skip(index + 1).filter(|later| !later.foreign);
        let next = later.clone().next();
        let said: Option<Previous> =
            later.find_map(|later| later.header?.previous.filter(|previous| previous.base == file.base));
        let header_len = file.header.map_or(segment::HEADER_SIZE, |header| u64::from(header.header_len));
        let mut end = file.base.saturating_add(file.size.saturating_sub(header_len));
        match (said, next) {
            (Some(said), _) => {
                if wanted(said.end) {
                    out.report.missing_bytes += said.end.saturating_sub(end);
                }
                end = end.min(said.end);
            }
            (None, Some(next)) => end = end.min(next.base),
            (None, None) => {}
        }
        let path = dir.join(&file.name);
        let known = match file.header {
            Some(header) => Some((header.nonce, header.first_item, header.created_ms)),
            None => mend(disk, &path, file.base, said, end).map(|(nonce, item)| (nonce, item, 0)),
        };
        let Some((nonce, first_item, created_ms)) = known else {
            let promised = next.is_some() || witness.offset > file.base;
            lost.extend(inspect(disk, &path, file, promised, quarantine, &mut out.report));
            out.discard.push(path);
            continue;
        };
        // Item numbers only grow; a header that says otherwise is not one of this lane.
        if out.segments.last().is_some_and(|before: &Segment| before.first_item > first_item) {
            out.report.foreign.push(file.name.clone());
            continue;
        }
        out.report.mended_segments += u64::from(file.header.is_none());
        // Somebody wants what is before this one, and the file that it names is not there.
        let named = file.header.and_then(|header| header.previous).filter(|named| wanted(named.end));
        let before = witness.wanted.is_some_and(|wanted| wanted.item < first_item);
        out.report.missing_segments +=
            u64::from(named.is_some_and(|named| before && found.iter().all(|file| file.base != named.base)));
        out.last_ingest_ms = out.last_ingest_ms.max(created_ms);
        let mut size = file.size;
        let kept = (end - file.base).saturating_add(header_len);
        // A power cut can undo the cut that was made at sealing.
        if said.is_some() && size > kept && disk.open_write(&path).and_then(|file| file.set_len(kept)).is_ok() {
            size = kept;
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
    lost
}

/// Nonce and first item of a segment whose header is damaged: the nonce as the next header says, or as a frame proves.
fn mend(disk: &Arc<dyn Disk>, path: &Path, base: u64, said: Option<Previous>, end: u64) -> Option<(u64, u64)> {
    let file = disk.open(path).ok()?;
    let nonce = match said {
        Some(said) => said.nonce,
        None => salvage::nonce(&file, base, end)?,
    };
    let segment = SegmentFile::new(file, base, nonce, segment::HEADER_SIZE);
    match Walk::new(Arc::new(segment), base, end).step_to_frame() {
        Step::Frame { header, .. } | Step::BadBody { header, .. } => Some((nonce, header.first_item)),
        Step::Gap { .. } | Step::End => None,
    }
}

/// A file of which nothing can be read. Mostly it was being created when the power went: its header is zeros then, and
/// nobody was promised anything of it.
fn inspect(
    disk: &Arc<dyn Disk>,
    path: &Path,
    found: &Found,
    promised: bool,
    quarantine: &Quarantine,
    report: &mut LaneReport,
) -> Option<Lost> {
    let file = disk.open(path).ok()?;
    let mut start = vec![0; usize::try_from(found.size.min(RANGE_LIMIT)).unwrap_or_default()];
    let len = read_full(file.as_ref(), &mut start, 0).unwrap_or_default();
    start.truncate(len);
    let view = SegmentFile::new(file, found.base, 0, segment::HEADER_SIZE);
    let end = found.base.saturating_add(found.size.saturating_sub(segment::HEADER_SIZE));
    let written = tail::written_end(&view, found.base, end);
    let rotten = start.iter().take(segment::HEADER_LEN).any(|byte| *byte != 0);
    if !rotten && !promised {
        report.unsynced_discarded_bytes += written - found.base;
        return None;
    }
    if !rotten && written == found.base {
        return None;
    }
    if let Ok(lane) = LaneId::new(&report.lane) {
        quarantine.keep(&lane, found.base, &start);
    }
    report.damaged_segments += 1;
    Some(Lost { base: found.base, written, rotten })
}
