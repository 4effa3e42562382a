//! Reading every frame of a directory, and telling exactly where it is damaged.
//!
//! It walks as the readers of destinations do and counts what they would book. Keeps true: every item between the first
//! segment and the durable end is in an intact record or in one entry of damage.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::report::{Damage, Fault, Verification};
use super::{LaneView, Snapshot};
use crate::cursor::slot::Slot;
use crate::disk::{Disk, read_full};
use crate::frame::{self, FrameHeader, KIND_CONTEXT, REF_LEN};
use crate::inflate::Inflater;
use crate::quarantine::RANGE_LIMIT;
use crate::record::{ContextKey, Kind};
use crate::segment::{self, HeaderFault, Segment, SegmentHeader};
use crate::walk::{SegmentFile, Step, Walk};

const MAX_DAMAGE: usize = 10_000;

pub(super) fn verify(snapshot: Snapshot) -> Verification {
    let Snapshot { disk, lanes, cursors, inspection } = snapshot;
    let mut out = Verification::default();
    for path in &inspection.damaged_cursors {
        let bytes = disk.open(path).and_then(|file| file.size()).unwrap_or_default();
        let fault = Fault::Cursor;
        note(
            &mut out,
            Damage {
                lane: None,
                path: path.clone(),
                fault,
                offset: 0,
                position: 0,
                bytes,
                items: None,
                estimated: false,
            },
        );
    }
    for lane in &lanes {
        let reading = Reading {
            disk: &disk,
            lane,
            in_use: inspection.in_use,
            expected: 0,
            open: None,
            lost: None,
            inflater: Inflater::default(),
            out: &mut out,
        };
        reading.run(&cursors);
    }
    out.inspection = inspection;
    out
}

/// Adds an entry; gives its index unless the list is full.
fn note(out: &mut Verification, damage: Damage) -> Option<usize> {
    if out.damage.len() >= MAX_DAMAGE {
        out.more_damage += 1;
        return None;
    }
    out.damage.push(damage);
    Some(out.damage.len() - 1)
}

/// A record without one of its contexts.
struct Orphan {
    offset: u64,
    bytes: u64,
    items: u64,
    lost: Vec<(ContextKey, u64)>,
}

struct Reading<'a> {
    disk: &'a Arc<dyn Disk>,
    lane: &'a LaneView,
    in_use: bool,
    /// Number that the next item should have.
    expected: u64,
    /// The first unreadable range since the last good header: the items found missing next were in it.
    open: Option<usize>,
    /// The newest file of which nothing can be read.
    lost: Option<usize>,
    inflater: Inflater,
    out: &'a mut Verification,
}

impl Reading<'_> {
    fn run(mut self, cursors: &[Slot]) {
        let lane = self.lane;
        let segments = &lane.found.segments;
        for path in &lane.found.discard {
            self.useless(path);
        }
        // Segments go only when every cursor on disk is past them. A queue in use moves while this reads.
        let oldest_wanted = cursors
            .iter()
            .flat_map(|slot| &slot.lanes)
            .filter(|cursor| cursor.lane == lane.id.as_str())
            .map(|cursor| cursor.settled.item)
            .min();
        let first = segments.first().map_or(lane.durable.item, |segment| segment.first_item);
        self.expected = if self.in_use { first } else { oldest_wanted.unwrap_or(first).min(first) };
        let next_items = segments.iter().skip(1).map(|next| next.first_item).chain([lane.durable.item]);
        for (index, (segment, next_item)) in segments.iter().zip(next_items).enumerate() {
            self.reach(segment, segment.base, segment.first_item);
            // What the file holds ends at its last frame; what cursors know beyond it is another loss.
            let last = index + 1 == segments.len();
            self.segment(segment, next_item, last);
        }
        self.tail();
    }

    /// What is missing behind the last frame: that somebody was promised, and what was lost behind that.
    fn tail(mut self) {
        let report = &self.lane.found.report;
        let missing = self.lane.durable.item.saturating_sub(self.expected);
        let estimated = report.estimated_items.min(missing);
        let promised = missing - estimated;
        let path = match self.lane.found.segments.last() {
            Some(last) => last.path.clone(),
            None => PathBuf::new(),
        };
        let end = self.lane.found.segments.last().map_or(0, |last| last.end);
        let is_tail = !self.in_use && (report.damaged_tail_bytes > 0 || report.damaged_tail_items > 0);
        if is_tail || promised > 0 {
            let (fault, bytes) = if is_tail { (Fault::Tail, report.damaged_tail_bytes) } else { (Fault::Missing, 0) };
            let position = self.lane.found.segments.last().map_or(0, Segment::file_len);
            let (lane, items) = (Some(self.lane.id.clone()), Some(promised));
            note(self.out, Damage { lane, path, fault, offset: end, position, bytes, items, estimated: false });
        }
        // They were in files of which nothing can be read.
        if estimated > 0 {
            match self.lost.take().and_then(|index| self.out.damage.get_mut(index)) {
                Some(lost) => (lost.items, lost.estimated) = (Some(estimated), true),
                None => {
                    let (lane, fault, items) = (Some(self.lane.id.clone()), Fault::Tail, Some(estimated));
                    let path = PathBuf::new();
                    let damage =
                        Damage { lane, path, fault, offset: end, position: 0, bytes: 0, items, estimated: true };
                    note(self.out, damage);
                }
            }
        }
    }

    fn damage(
        &mut self,
        segment: &Segment,
        fault: Fault,
        offset: u64,
        bytes: u64,
        items: Option<u64>,
    ) -> Option<usize> {
        let position = offset.saturating_sub(segment.base).saturating_add(segment.header_len);
        let lane = Some(self.lane.id.clone());
        let path = segment.path.clone();
        note(self.out, Damage { lane, path, fault, offset, position, bytes, items, estimated: false })
    }

    /// A good header says which item comes next: what is missing before it was in the unreadable range, if there is one.
    fn reach(&mut self, segment: &Segment, offset: u64, item: u64) {
        let open = self.open.take();
        let missing = item.saturating_sub(self.expected);
        self.expected = self.expected.max(item);
        match open.and_then(|index| self.out.damage.get_mut(index)) {
            Some(range) => range.items = Some(missing),
            None if missing > 0 => {
                self.damage(segment, Fault::Missing, offset, 0, Some(missing));
            }
            None => {}
        }
    }

    /// A file that the start would not use. One without content was being created when the power went.
    fn useless(&mut self, path: &Path) {
        if self.lane.found.report.damaged_segments == 0 {
            return;
        }
        let Ok(file) = self.disk.open(path) else { return };
        let size = file.size().unwrap_or_default();
        let mut start = vec![0; usize::try_from(size.min(RANGE_LIMIT)).unwrap_or_default()];
        let len = read_full(file.as_ref(), &mut start, 0).unwrap_or_default();
        start.truncate(len);
        let damaged = SegmentHeader::decode(&start) == Err(HeaderFault::Damaged);
        if damaged && start.iter().any(|byte| *byte != 0) && !self.in_use {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let offset = segment::parse_name(name).unwrap_or_default();
            let lane = Some(self.lane.id.clone());
            let path = path.to_path_buf();
            let fault = Fault::Segment;
            let damage = Damage { lane, path, fault, offset, position: 0, bytes: size, items: None, estimated: false };
            // The newest: what it held behind the last cursor file is an estimate.
            self.lost = note(self.out, damage).or(self.lost);
        }
    }

    fn segment(&mut self, segment: &Segment, next_item: u64, last: bool) {
        let file = match self.disk.open(&segment.path) {
            Ok(file) => file,
            Err(error) => {
                // Of a queue in use: finished and removed while this ran.
                let gone = self.in_use && error.kind() == io::ErrorKind::NotFound;
                if !gone {
                    let items = next_item.saturating_sub(self.expected);
                    self.damage(segment, Fault::Unreadable, segment.base, segment.file_len(), Some(items));
                }
                self.expected = self.expected.max(next_item);
                return;
            }
        };
        let mut header = [0; segment::HEADER_LEN];
        let len = read_full(file.as_ref(), &mut header, 0).unwrap_or_default();
        if SegmentHeader::decode(header.get(..len).unwrap_or_default()).is_err() {
            let lane = Some(self.lane.id.clone());
            let (path, fault, offset) = (segment.path.clone(), Fault::SegmentHeader, segment.base);
            note(
                self.out,
                Damage {
                    lane,
                    path,
                    fault,
                    offset,
                    position: 0,
                    bytes: segment.header_len,
                    items: Some(0),
                    estimated: false,
                },
            );
        }
        self.out.bytes += segment.end.saturating_sub(segment.base);
        let view = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
        let mut walk = Walk::new(Arc::new(view), segment.base, segment.end);
        let mut contexts: HashMap<u64, ContextKey> = HashMap::new();
        let mut orphans: Vec<Orphan> = Vec::new();
        loop {
            match walk.step() {
                Step::Frame { offset, header, body } => {
                    if !self.number(segment, &header, offset, next_item) {
                        continue;
                    }
                    if header.kind == KIND_CONTEXT {
                        let (keys, _) = frame::decode_refs(&body, 1);
                        if let Some(key) = keys.first().filter(|_| body.len() >= 16) {
                            contexts.insert(offset, *key);
                            self.out.contexts += 1;
                        }
                        continue;
                    }
                    self.expected = header.first_item + u64::from(header.items);
                    orphans.extend(self.record(segment, offset, &header, body, &contexts));
                }
                Step::BadBody { offset, header } => {
                    if !self.number(segment, &header, offset, next_item) {
                        continue;
                    }
                    let items = if header.kind == KIND_CONTEXT { 0 } else { u64::from(header.items) };
                    self.expected = header.first_item + items;
                    self.damage(segment, Fault::Body, offset, header.span(), Some(items));
                }
                Step::Gap { from, to } => {
                    let index = self.damage(segment, Fault::Header, from, to - from, None);
                    self.open = self.open.or(index);
                }
                Step::End => break,
            }
        }
        // Another copy of a context in the same segment is as good as the one that is named.
        let copies: HashSet<ContextKey> = contexts.into_values().collect();
        for orphan in orphans {
            if orphan.lost.iter().all(|(key, _)| copies.contains(key)) {
                self.out.frames += 1;
                self.out.items += orphan.items;
            } else if let Some((_, context)) = orphan.lost.iter().find(|(key, _)| !copies.contains(key)) {
                let fault = Fault::Context { context: *context };
                self.damage(segment, fault, orphan.offset, orphan.bytes, Some(orphan.items));
            }
        }
        if !last || self.open.is_some() {
            self.reach(segment, segment.end, next_item);
        }
    }

    /// Checks a frame's numbers against its neighbours', as readers do.
    fn number(&mut self, segment: &Segment, header: &FrameHeader, offset: u64, next_item: u64) -> bool {
        let end = header.first_item.saturating_add(u64::from(header.items));
        if header.first_item < self.expected || end > next_item {
            self.damage(segment, Fault::Numbers, offset, header.span(), None);
            return false;
        }
        self.reach(segment, offset, header.first_item);
        true
    }

    /// Gives the record back if a context that it names is not where it should be.
    fn record(
        &mut self,
        segment: &Segment,
        offset: u64,
        header: &FrameHeader,
        body: Bytes,
        contexts: &HashMap<u64, ContextKey>,
    ) -> Option<Orphan> {
        let items = u64::from(header.items);
        let (keys, offsets) = frame::decode_refs(&body, header.contexts);
        if Kind::from_u8(header.kind).is_none() {
            self.out.unknown_kinds += 1;
        } else {
            let refs = usize::from(header.contexts) * REF_LEN;
            if self.inflater.payload(header, body.slice(refs.min(body.len())..)).is_none() {
                self.damage(segment, Fault::Compression, offset, header.span(), Some(items));
                return None;
            }
        }
        let named = keys.into_iter().zip(offsets);
        let lost: Vec<(ContextKey, u64)> = named.filter(|(key, at)| contexts.get(at) != Some(key)).collect();
        if !lost.is_empty() {
            return Some(Orphan { offset, bytes: header.span(), items, lost });
        }
        self.out.frames += 1;
        self.out.items += items;
        None
    }
}
