//! Reading frames for one destination: segment after segment, past damage, up to the durable end. Blocking.
//!
//! It settles nothing: it says what lies there, and the claim or skip that follows does the booking. Keeps true:
//! never a byte beyond the durable end (invariant 3), and every item between two frames is in exactly one of them or
//! in a skip.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::cursor::{Position, Tally};
use crate::disk::Advice;
use crate::frame::{self, FrameHeader, KIND_CONTEXT, REF_LEN};
use crate::inflate::Inflater;
use crate::lane::Lane;
use crate::quarantine::RANGE_LIMIT;
use crate::record::{Codec, ContextKey, FrameMeta, Kind, Reason};
use crate::walk::{BLOCK_PART, SegmentFile, Step, Walk};

/// Decompressed bytes read ahead of the claims.
const AHEAD_BYTES: usize = 1 << 20;
/// Frames read ahead of the claims.
const AHEAD_FRAMES: usize = 512;

/// Bytes, stored or decompressed, that are read where the reader stands instead of on a blocking task: about 0.1 ms.
const CACHED_BYTES: u64 = 256 << 10;

/// A frame with its payload.
pub(crate) struct Fetched {
    pub meta: FrameMeta,
    pub end: Position,
    pub payload: Bytes,
    pub keys: Vec<ContextKey>,
    pub offsets: Vec<u64>,
    pub segment: Arc<SegmentFile>,
    pub path: Arc<PathBuf>,
    pub limit: u64,
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Why items are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SkipCause {
    Damaged,
    Expired,
    Rejected(Reason),
}

impl SkipCause {
    pub(crate) fn tally(&self, items: u64) -> Tally {
        match self {
            SkipCause::Damaged => Tally::damaged(items),
            SkipCause::Expired => Tally::expired(items),
            SkipCause::Rejected(reason) => Tally::rejected(items, reason.clone()),
        }
    }
}

/// What lies next in the lane.
pub(crate) enum Item {
    Frame(Box<Fetched>),
    Skip { end: Position, ingest_ms: i64, cause: SkipCause },
}

impl Fetched {
    /// Bytes that it keeps in memory: payload and references.
    pub(crate) fn weight(&self) -> u64 {
        (self.payload.len() + self.keys.len() * REF_LEN) as u64
    }
}

impl Item {
    /// True if it takes no more of the claims' room than it has.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Item::Frame(fetched) => fetched.permit.is_some(),
            Item::Skip { .. } => true,
        }
    }
}

/// The place of one reader.
pub(crate) struct Fetch {
    lane: Arc<Lane>,
    destination: Arc<str>,
    at: Position,
    walk: Option<(Walk, Arc<PathBuf>)>,
    inflater: Inflater,
    /// The last frame was larger than what is read where the reader stands: the next one will be, too.
    large: bool,
}

/// Where the current segment may be read to.
struct Bounds {
    base: u64,
    end: Position,
}

impl Fetch {
    pub(crate) fn new(lane: Arc<Lane>, destination: Arc<str>, at: Position) -> Fetch {
        Fetch { lane, destination, at, walk: None, inflater: Inflater::default(), large: false }
    }

    /// True if there is something behind this reader's place.
    pub(crate) fn has_more(&self) -> bool {
        let board = self.lane.board.lock();
        let claimed = board.pairs.get(&self.destination).map_or(self.at, |pair| pair.cursor.claimed);
        let at = if claimed.offset > self.at.offset { claimed } else { self.at };
        board.segment_at(at.offset).is_some() || at.item < board.durable.item
    }

    /// Reads on without waiting for a device: a little, in the segment that is open, as far as it is in the page cache and
    /// sound. Everything else is left to [`Fetch::fill`].
    pub(crate) fn fill_cached(&mut self, oldest_ms: Option<i64>) -> Vec<Item> {
        let mut out = Vec::new();
        let Some(bounds) = self.stay() else {
            return out;
        };
        // What is left of the last block, else the next one.
        self.frames_in_block(&bounds, oldest_ms, &mut out);
        if out.is_empty() && !self.large && self.walk.as_mut().is_some_and(|(walk, _)| walk.load_cached(CACHED_BYTES)) {
            self.frames_in_block(&bounds, oldest_ms, &mut out);
        }
        out
    }

    fn frames_in_block(&mut self, bounds: &Bounds, oldest_ms: Option<i64>, out: &mut Vec<Item>) {
        let mut room = usize::try_from(CACHED_BYTES).unwrap_or_default();
        while let Some((walk, path)) = self.walk.as_mut()
            && let Some((offset, header, body)) = walk.step_in_block(room)
        {
            let (end, segment, path) = (walk.at, Arc::clone(&walk.segment), Arc::clone(path));
            if self.number(&header, offset, end, bounds, out) {
                let taken = self.frame(offset, end, header, body, segment, path, bounds, oldest_ms, out);
                room = room.saturating_sub(taken);
            }
        }
    }

    /// The bounds of the segment that is open, if this place is still in it.
    fn stay(&mut self) -> Option<Bounds> {
        let (walk, _) = self.walk.as_mut()?;
        let board = self.lane.board.lock();
        let claimed = board.pairs.get(&self.destination)?.cursor.claimed;
        let index = board.segment_at(self.at.offset).filter(|_| claimed.offset <= self.at.offset)?;
        let here = board.segments.get(index).is_some_and(|segment| segment.base == walk.segment.base);
        let end = board.end_of(index).filter(|_| here)?;
        walk.extend(end.offset);
        Some(Bounds { base: walk.segment.base, end })
    }

    /// Reads on: about 1 MiB of payload, or up to the durable end.
    pub(crate) fn fill(&mut self, oldest_ms: Option<i64>) -> Vec<Item> {
        let mut out = Vec::new();
        let mut bytes = 0;
        while bytes < AHEAD_BYTES && out.len() < AHEAD_FRAMES {
            let Some(bounds) = self.enter(&mut out) else {
                break;
            };
            let Some((walk, path)) = self.walk.as_mut() else {
                break;
            };
            let path = Arc::clone(path);
            let step = walk.step();
            if walk.segment.is_closed() && !matches!(step, Step::Frame { .. }) {
                // Evicted while this read it: its items are booked, and zeros are no damage.
                self.walk = None;
                continue;
            }
            match step {
                Step::Frame { offset, header, body } => {
                    let end = walk.at;
                    let segment = Arc::clone(&walk.segment);
                    if !self.number(&header, offset, end, &bounds, &mut out) {
                        continue;
                    }
                    bytes += self.frame(offset, end, header, body, segment, path, &bounds, oldest_ms, &mut out);
                }
                Step::BadBody { offset, header } => {
                    let end = walk.at;
                    self.damage(offset, end);
                    if !self.number(&header, offset, end, &bounds, &mut out) || header.kind == KIND_CONTEXT {
                        continue;
                    }
                    self.skip(
                        Position { offset: end, item: header.first_item + u64::from(header.items) },
                        header.ingest_ms,
                        SkipCause::Damaged,
                        &mut out,
                    );
                }
                // How many items it held, the next frame or segment tells.
                Step::Gap { from, to } => self.damage(from, to),
                Step::End => self.skip_to_end(&bounds, &mut out),
            }
        }
        out
    }

    /// Opens the segment that holds this place, or the next one. None at the durable end.
    fn enter(&mut self, out: &mut Vec<Item>) -> Option<Bounds> {
        loop {
            let (segment, end) = {
                let board = self.lane.board.lock();
                let claimed = board.pairs.get(&self.destination)?.cursor.claimed;
                if claimed.offset > self.at.offset {
                    // Evicted behind our back.
                    self.at = claimed;
                    self.walk = None;
                }
                let Some(index) = board.segment_at(self.at.offset) else {
                    let end = board.durable;
                    drop(board);
                    // A cursor file knows of items that no file holds any more: the end of the log has vanished, as the
                    // start has told.
                    if self.at.item < end.item && self.at.offset <= end.offset {
                        self.skip(end, i64::MIN, SkipCause::Damaged, out);
                    }
                    return None;
                };
                let end = board.end_of(index)?;
                if let Some((walk, _)) = self.walk.as_mut()
                    && board.segments.get(index).is_some_and(|segment| segment.base == walk.segment.base)
                {
                    walk.extend(end.offset);
                    return Some(Bounds { base: walk.segment.base, end });
                }
                (board.segments.get(index)?.clone(), end)
            };
            self.walk = None;
            if segment.base > self.at.offset || segment.first_item > self.at.item {
                let start =
                    Position { offset: segment.base.max(self.at.offset), item: segment.first_item.max(self.at.item) };
                // Segments before it are missing, as the start has told.
                if start.item > self.at.item && start.offset == segment.base {
                    self.skip(start, segment.created_ms, SkipCause::Damaged, out);
                }
                if start.offset == segment.base {
                    self.at = start;
                }
            }
            let bounds = Bounds { base: segment.base, end };
            match self.lane.disk.open(&segment.path) {
                Ok(file) => {
                    if segment.sealed {
                        file.advise(Advice::Sequential);
                    }
                    let file = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
                    let Some(file) = self.lane.board.lock().opened(file) else {
                        continue;
                    };
                    let walk = Walk::new(file, self.at.offset, end.offset);
                    self.walk = Some((walk, Arc::new(segment.path)));
                    return Some(bounds);
                }
                Err(error) => {
                    let gone = self.lane.board.lock().segments.iter().all(|held| held.base != segment.base);
                    if gone {
                        continue;
                    }
                    if self.lane.is_new_damage(self.at.offset) {
                        self.lane.board.lock().stats.damaged_ranges += 1;
                        tracing::error!(path = %segment.path.display(), %error, "cannot open a segment: its items are counted as damaged");
                    }
                    self.skip_to_end(&bounds, out);
                }
            }
        }
    }

    /// Checks a frame's numbers against what is known and books what is missing before it. False: not to be used.
    fn number(&mut self, header: &FrameHeader, offset: u64, end: u64, bounds: &Bounds, out: &mut Vec<Item>) -> bool {
        let last = header.first_item.saturating_add(u64::from(header.items));
        if header.first_item < self.at.item || last > bounds.end.item {
            // A frame that does not fit is as lost as one that cannot be read; the next number closes the sum. One
            // that lies wholly before our place was settled before (a cursor may stand inside a hole).
            self.at.offset = end;
            return false;
        }
        if header.first_item > self.at.item {
            self.skip(Position { offset, item: header.first_item }, header.ingest_ms, SkipCause::Damaged, out);
        }
        self.at.offset = end;
        true
    }

    #[allow(clippy::too_many_arguments)] // the parts of one frame, used once
    fn frame(
        &mut self,
        offset: u64,
        end: u64,
        header: FrameHeader,
        body: Bytes,
        segment: Arc<SegmentFile>,
        path: Arc<PathBuf>,
        bounds: &Bounds,
        oldest_ms: Option<i64>,
        out: &mut Vec<Item>,
    ) -> usize {
        if header.kind == KIND_CONTEXT {
            return 0;
        }
        let end = Position { offset: end, item: header.first_item + u64::from(header.items) };
        if oldest_ms.is_some_and(|oldest| header.ingest_ms < oldest) {
            self.skip(end, header.ingest_ms, SkipCause::Expired, out);
            return 0;
        }
        let Some(kind) = Kind::from_u8(header.kind) else {
            if let Some(frames) = self.lane.rejects.add(1) {
                tracing::warn!(lane = %self.lane.id, offset, kind = header.kind, frames, "frames of unknown kind are rejected: they were written by a newer version");
            }
            self.skip(end, header.ingest_ms, SkipCause::Rejected(Reason::UNKNOWN_KIND), out);
            return 0;
        };
        let refs = usize::from(header.contexts) * REF_LEN;
        let Some(payload) = self.inflater.payload(&header, body.slice(refs.min(body.len())..)) else {
            if let Some(frames) = self.lane.rejects.add(1) {
                tracing::error!(lane = %self.lane.id, offset, frames, "frames with a good checksum cannot be decompressed and are rejected");
            }
            self.lane.quarantine.keep(&self.lane.id, offset, &body);
            self.skip(end, header.ingest_ms, SkipCause::Rejected(Reason::UNDECODABLE), out);
            return 0;
        };
        // A small payload that was not compressed is a part of the block it was read in, and would keep all of it in memory for
        // as long as somebody works on it.
        let whole = header.codec != Codec::None as u8 || payload.len() >= BLOCK_PART;
        let payload = if whole { payload } else { Bytes::copy_from_slice(&payload) };
        let (keys, offsets) = frame::decode_refs(&body, header.contexts);
        let size = payload.len();
        self.large = size as u64 >= CACHED_BYTES;
        self.at = end;
        out.push(Item::Frame(Box::new(Fetched {
            meta: FrameMeta {
                lane: self.lane.id.clone(),
                offset,
                first_item: header.first_item,
                items: header.items,
                stream: header.stream,
                ingest_ms: header.ingest_ms,
                kind,
            },
            end,
            payload,
            keys,
            offsets,
            segment,
            path,
            limit: bounds.end.offset,
            permit: None,
        })));
        size
    }

    fn skip(&mut self, end: Position, ingest_ms: i64, cause: SkipCause, out: &mut Vec<Item>) {
        self.at = end;
        out.push(Item::Skip { end, ingest_ms, cause });
    }

    /// The segment is read to its end: what its numbers promise and its frames did not show is lost.
    fn skip_to_end(&mut self, bounds: &Bounds, out: &mut Vec<Item>) {
        let end = Position { offset: bounds.end.offset.max(self.at.offset), item: bounds.end.item.max(self.at.item) };
        // Bytes without items (a trailing context, damage without items) must not keep the segment from going.
        if end.item > self.at.item || end.offset > self.at.offset {
            self.skip(end, i64::MIN, SkipCause::Damaged, out);
        }
        self.at = end;
        if self.walk.as_ref().is_some_and(|(walk, _)| walk.segment.base == bounds.base)
            && self.is_sealed(bounds.base)
            && let Some((walk, _)) = self.walk.take()
            && self.is_alone_in(bounds)
        {
            // A long catch-up must not push everything else out of the machine's page cache.
            walk.segment.file().iter().for_each(|file| file.advise(Advice::Done));
        }
    }

    /// No other destination is reading in this segment now; one that is before it comes much later.
    fn is_alone_in(&self, bounds: &Bounds) -> bool {
        let within = |offset: u64| (bounds.base..bounds.end.offset).contains(&offset);
        let board = self.lane.board.lock();
        board.pairs.iter().all(|(name, pair)| *name == self.destination || !within(pair.cursor.claimed.offset))
    }

    fn is_sealed(&self, base: u64) -> bool {
        self.lane.board.lock().segments.iter().find(|segment| segment.base == base).is_none_or(|segment| segment.sealed)
    }

    /// Counts an unreadable range and keeps a copy of its beginning, when the first destination meets it.
    fn damage(&mut self, from: u64, to: u64) {
        if !self.lane.is_new_damage(from) {
            return;
        }
        self.lane.board.lock().stats.damaged_ranges += 1;
        let bytes = to.saturating_sub(from);
        if let Some(bytes) = self.lane.damages.add(bytes) {
            tracing::error!(lane = %self.lane.id, offset = from, bytes, "skipping damaged bytes: their items are counted as damaged, a copy is in quarantine");
        }
        if let Some((walk, _)) = &self.walk {
            let len = usize::try_from(bytes.min(RANGE_LIMIT)).unwrap_or_default();
            let copy = walk.segment.read(from, len);
            self.lane.quarantine.keep(&self.lane.id, from, &copy);
        }
    }
}
