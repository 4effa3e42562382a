//! What sources need of a lane that holds their positions: its durable end, a look at what it holds whoever has read it,
//! and the floor below which it may forget.
//!
//! Knows no destinations and settles nothing. Keeps true: a scan gives durable frames only, in order, past damage; the
//! floor only rises.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::config::LaneId;
use crate::error::QueueError;
use crate::frame::{FrameHeader, KIND_CONTEXT, REF_LEN};
use crate::inflate::Inflater;
use crate::lane::Lane;
use crate::queue::Queue;
use crate::record::{FrameMeta, Kind};
use crate::segment::Segment;
use crate::walk::{SegmentFile, Step, Walk};

impl Queue {
    /// Lane offset behind the last durable frame. Everything whose receipt has resolved lies before it.
    pub fn durable_end(&self, lane: &LaneId) -> Result<u64, QueueError> {
        Ok(self.lane(lane)?.durable.borrow().offset)
    }

    /// The durable frames at and behind a lane offset, whatever destinations made of them. Blocking.
    pub fn scan(&self, lane: &LaneId, from: u64) -> Result<Scan, QueueError> {
        let lane = self.lane(lane)?;
        let segments = lane.board.lock().segments.iter().filter(|segment| segment.end > from).cloned().collect();
        Ok(Scan { lane, from, segments, walk: None, inflater: Inflater::default() })
    }

    /// Segments of a marked lane ([`LaneSpec::marked`](crate::LaneSpec::marked)) that hold frames at or behind `offset`
    /// stay although every destination is past them, until this is called with a higher offset. Before the first call
    /// everything stays. Only want of room takes them: see [`pressed`](Self::pressed). Blocking: may unlink.
    pub fn keep_from(&self, lane: &LaneId, offset: u64) -> Result<(), QueueError> {
        let lane = self.lane(lane)?;
        {
            let mut board = lane.board.lock();
            board.floor = board.floor.max(offset);
        }
        if lane.reclaim() > 0 && lane.state() != crate::LaneState::Ok {
            lane.mailbox.poke();
        }
        Ok(())
    }

    /// Counts how often segments above the floor were taken for room: on a change, sources write their positions down and
    /// raise the floor.
    pub fn pressed(&self, lane: &LaneId) -> Result<watch::Receiver<u64>, QueueError> {
        Ok(self.lane(lane)?.pressed.subscribe())
    }
}

/// Walks the durable frames of a lane as they were when it began. What cannot be read is passed over.
pub struct Scan {
    lane: Arc<Lane>,
    from: u64,
    segments: VecDeque<Segment>,
    walk: Option<Walk>,
    inflater: Inflater,
}

impl Iterator for Scan {
    type Item = (FrameMeta, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(walk) = self.walk.as_mut() else {
                let segment = self.segments.pop_front()?;
                match self.lane.disk.open(&segment.path) {
                    Ok(file) => {
                        let file = SegmentFile::new(file, segment.base, segment.nonce, segment.header_len);
                        self.walk = Some(Walk::new(Arc::new(file), segment.base, segment.end));
                    }
                    Err(error) => {
                        tracing::warn!(path = %segment.path.display(), %error, "cannot open a segment to look for positions in it");
                    }
                }
                continue;
            };
            match walk.step() {
                Step::Frame { offset, header, body } if offset >= self.from && header.kind != KIND_CONTEXT => {
                    if let Some(frame) = self.frame(offset, &header, &body) {
                        return Some(frame);
                    }
                }
                Step::End => self.walk = None,
                Step::Frame { .. } | Step::BadBody { .. } | Step::Gap { .. } => {}
            }
        }
    }
}

impl Scan {
    fn frame(&mut self, offset: u64, header: &FrameHeader, body: &Bytes) -> Option<(FrameMeta, Bytes)> {
        let kind = Kind::from_u8(header.kind)?;
        let refs = usize::from(header.contexts).saturating_mul(REF_LEN);
        let payload = self.inflater.payload(header, body.slice(refs.min(body.len())..))?;
        let meta = FrameMeta {
            lane: self.lane.id.clone(),
            offset,
            first_item: header.first_item,
            items: header.items,
            stream: header.stream,
            ingest_ms: header.ingest_ms,
            kind,
        };
        Some((meta, payload))
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scan({} from {})", self.lane.id, self.from)
    }
}
