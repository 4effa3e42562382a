//! The positions that a lane's log batches carry: read back at start, and let go once their source wrote them down.
//!
//! Does not know what a position means. Keeps true: marks come in the order in which they were appended, from durable
//! frames only.

use model::SourceMark;
use queue::{Kind, LaneId, Queue, QueueError};
use tokio::sync::watch;

/// One lane of logs as its sources see it. Clones are the same lane.
#[derive(Debug, Clone)]
pub struct MarkLane {
    queue: Queue,
    lane: LaneId,
}

impl MarkLane {
    /// The lane must be a marked one (`queue::LaneSpec::marked`), or marks may go before they are read.
    pub fn new(queue: Queue, lane: LaneId) -> Self {
        Self { queue, lane }
    }

    /// Lane offset behind everything durable.
    pub fn durable_end(&self) -> Result<u64, QueueError> {
        self.queue.durable_end(&self.lane)
    }

    /// Gives every mark in frames at and behind `from`, oldest first. Blocking. A batch that cannot be read is passed over.
    pub fn replay(&self, from: u64, mut each: impl FnMut(SourceMark)) -> Result<(), QueueError> {
        for (meta, payload) in self.queue.scan(&self.lane, from)? {
            if meta.kind != Kind::LogBatch {
                continue;
            }
            match model::read_marks(&payload) {
                Ok(marks) => marks.into_iter().for_each(&mut each),
                Err(error) => {
                    tracing::warn!(lane = %self.lane, offset = meta.offset, %error, "a queued batch's positions cannot be read");
                }
            }
        }
        Ok(())
    }

    /// Frames before `offset` are covered by the positions that the sources hold on disk themselves. Blocking.
    pub fn keep_from(&self, offset: u64) -> Result<(), QueueError> {
        self.queue.keep_from(&self.lane, offset)
    }

    /// Changes when the lane had to take room from what it kept: positions are to be written at once.
    pub fn pressed(&self) -> Result<watch::Receiver<u64>, QueueError> {
        self.queue.pressed(&self.lane)
    }
}
