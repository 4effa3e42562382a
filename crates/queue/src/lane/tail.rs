//! The end of the last segment, found at start: where a write was torn, and what is damaged although it had been synced.
//!
//! Keeps true: what is taken over as durable is on the disk and not only in the page cache, whatever became of the process that
//! wrote it (invariant 17).

use std::io;
use std::sync::Arc;

use crate::cursor::Position;
use crate::disk::{Disk, DiskFile, write_full};
use crate::error::QueueError;
use crate::lane::LaneReport;
use crate::segment::Segment;
use crate::walk::{SegmentFile, Step, Walk};

const BLOCK: u64 = 256 << 10;

/// What the last segment holds.
pub(super) struct Scan {
    pub end: Position,
    pub size: u64,
    pub last_ingest_ms: i64,
    /// Everything before this lane offset had been synced when something behind it was written.
    pub promised: u64,
}

/// What a segment's frames come to.
pub(super) struct Summary {
    /// Number of the item behind the last of them.
    pub item: u64,
    pub ingest_ms: i64,
}

/// Reads all frame headers of a segment.
pub(super) fn summary(disk: &Arc<dyn Disk>, segment: &Segment) -> Summary {
    let mut out = Summary { item: segment.first_item, ingest_ms: segment.created_ms };
    let Ok(file) = disk.open(&segment.path) else { return out };
    let view = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
    let mut walk = Walk::new(Arc::new(view), segment.base, segment.end);
    while let Step::Frame { header, .. } | Step::BadBody { header, .. } = walk.step_to_frame() {
        out.item = out.item.max(header.first_item.saturating_add(u64::from(header.items)));
        out.ingest_ms = out.ingest_ms.max(header.ingest_ms);
    }
    out
}

/// A range without a readable frame, and where the items stood before it.
#[derive(Clone, Copy)]
struct Hole {
    from: u64,
    item: u64,
}

/// Finds the end of the last segment, cuts what is behind it and syncs what is before it.
pub(super) fn scan(
    disk: &Arc<dyn Disk>,
    last: &Segment,
    witness: u64,
    report: &mut LaneReport,
) -> Result<Scan, QueueError> {
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
    let written = holes.last().map_or(seen, |hole| written_end(&walk.segment, hole.from.max(seen), last.end)).max(seen);
    // Where the file ends before that, numbers of items tell whether something is gone.
    if promised > end.offset && promised <= last.end {
        report.damaged_tail_bytes += promised - end.offset;
    }
    report.unsynced_discarded_bytes += written.saturating_sub(promised.max(end.offset));
    let mut size = last.size;
    if writable {
        let kept = end.offset - last.base + last.header_len;
        let unpromised = if promised <= last.base { 0 } else { walk.segment.position(promised) };
        match dirty(file.as_ref(), unpromised, kept).and_then(|()| file.set_len(kept)).and_then(|()| file.sync()) {
            Ok(()) => size = kept,
            Err(error) => {
                tracing::warn!(path = %last.path.display(), %error, "cannot cut and sync the last segment")
            }
        }
    }
    Ok(Scan { end, size, last_ingest_ms, promised })
}

/// Writes bytes of a file to where they are. The process that wrote them may have been killed between a sync that failed and
/// its giving the file up: then their pages are taken for clean, and the next sync would do nothing and report success.
fn dirty(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut block = vec![0; usize::try_from((to - at).min(BLOCK)).unwrap_or_default()];
        let len = crate::disk::read_full(file, &mut block, at)?;
        if len == 0 {
            break;
        }
        block.truncate(len);
        write_full(file, &[&block], at)?;
        at += len as u64;
    }
    Ok(())
}

fn push(holes: &mut Vec<Hole>, hole: Hole) {
    // Neighbouring holes are one; the list stays short whatever the file holds.
    if holes.len() < 4096 {
        holes.push(hole);
    }
}

/// Offset behind the last byte that is not zero, so that reserved space is not taken for lost data.
pub(super) fn written_end(segment: &SegmentFile, from: u64, end: u64) -> u64 {
    let mut at = from;
    let mut last = from;
    while at < end {
        let len = usize::try_from((end - at).min(BLOCK)).unwrap_or_default();
        let bytes = segment.read(at, len);
        if let Some(index) = bytes.iter().rposition(|byte| *byte != 0) {
            last = at + index as u64 + 1;
        }
        at += len as u64;
    }
    last
}
