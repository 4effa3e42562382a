//! The way out: claims of one lane for one destination, decoded.
//!
//! It decides nothing about samples. It keeps true: claims come in the lane's order; a record that cannot be read, or is of
//! a kind that this outlet does not know, is settled as rejected with its exact item count, and the next one is given.

use std::sync::Arc;

use bytes::Bytes;
use model::{BaseVector, DecodedChunk, ModelError};
use queue::{Claim, FrameMeta, Kind, Outcome, QueueError, Reader, Reason};

use crate::{BaseVectors, OutletError, off_reactor};

/// One destination's way out of one lane.
#[derive(Debug)]
pub struct Outlet {
    reader: Reader,
    bases: BaseVectors,
    unreadable: u64,
}

/// The samples of one frame and the duty to settle it. Dropped unsettled, it comes back to the front of its outlet.
#[derive(Debug)]
pub struct MetricClaim {
    claim: Claim,
    /// In the order of the frame.
    pub chunks: Vec<DecodedChunk>,
}

/// Why a frame gives no samples.
enum Unreadable {
    Payload(String),
    Context(QueueError),
}

/// About a millisecond of decoding.
const LONG: u32 = 50_000;

impl Outlet {
    /// Wraps a reader; `bases` is best shared by all outlets of the process.
    pub fn new(reader: Reader, bases: BaseVectors) -> Self {
        Self { reader, bases, unreadable: 0 }
    }

    /// Records settled as unreadable so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next frame of metrics, waiting for one. Cancel-safe.
    pub async fn next(&mut self) -> Result<MetricClaim, OutletError> {
        loop {
            let claim = self.reader.next().await.map_err(OutletError::Queue)?;
            let frame = claim.frame();
            if frame.kind != Kind::MetricBatch {
                self.refuse(
                    claim,
                    Outcome::Rejected(Reason::UNKNOWN_KIND),
                    "its kind is not known to metric destinations",
                );
                continue;
            }
            match self.decode(&claim) {
                Ok(chunks) => return Ok(MetricClaim { claim, chunks }),
                // The queue gave it up meanwhile, and has booked it.
                Err(Unreadable::Context(QueueError::Evicted { .. })) => {}
                Err(Unreadable::Payload(why)) => self.refuse(claim, Outcome::Rejected(Reason::UNDECODABLE), &why),
                Err(Unreadable::Context(why)) => self.refuse(claim, Outcome::Damaged, &why.to_string()),
            }
        }
    }

    fn decode(&self, claim: &Claim) -> Result<Vec<DecodedChunk>, Unreadable> {
        let items = claim.frame().items;
        let remembered = |key: &model::ContextKey| self.bases.get(key).ok_or(ModelError::MissingContext { key: *key });
        let decoded = off_reactor(items > LONG, || model::decode_batch(claim.payload(), &mut |key| remembered(key)));
        let chunks = match decoded {
            Ok(chunks) => chunks,
            // All that have to be read are read in one go.
            Err(ModelError::MissingContext { .. }) => off_reactor(true, || self.decode_with_disk(claim))?,
            Err(error) => return Err(Unreadable::Payload(error.to_string())),
        };
        let found: u64 = chunks.iter().map(|chunk| chunk.items() as u64).sum();
        if found != u64::from(items) {
            return Err(Unreadable::Payload(format!("it holds {found} samples and its header says {items}")));
        }
        Ok(chunks)
    }

    fn decode_with_disk(&self, claim: &Claim) -> Result<Vec<DecodedChunk>, Unreadable> {
        let mut read_error = None;
        let decoded = model::decode_batch(claim.payload(), &mut |key| self.base(claim, key, &mut read_error));
        match (decoded, read_error) {
            (Ok(chunks), _) => Ok(chunks),
            (Err(_), Some(error)) => Err(Unreadable::Context(error)),
            (Err(error), None) => Err(Unreadable::Payload(error.to_string())),
        }
    }

    fn base(
        &self,
        claim: &Claim,
        key: &model::ContextKey,
        error: &mut Option<QueueError>,
    ) -> Result<Arc<BaseVector>, ModelError> {
        if let Some(vector) = self.bases.get(key) {
            return Ok(vector);
        }
        let bytes = claim.context(&queue::ContextKey(key.0)).map_err(|e| {
            *error = Some(e);
            ModelError::MissingContext { key: *key }
        })?;
        let vector = Arc::new(BaseVector::decode(&bytes)?);
        self.bases.put(&vector);
        Ok(vector)
    }

    fn refuse(&mut self, claim: Claim, outcome: Outcome, why: &str) {
        self.unreadable += 1;
        // The first, the second, the fourth, ...: a whole backlog of them is a few lines.
        if self.unreadable.is_power_of_two() {
            let (frame, unreadable) = (claim.frame(), self.unreadable);
            tracing::warn!(
                lane = %frame.lane,
                offset = frame.offset,
                items = frame.items,
                unreadable,
                "a queued record cannot be read and is given up: {why}"
            );
        }
        claim.settle(outcome);
    }
}

impl MetricClaim {
    /// Where the frame lies and what its header says.
    pub fn frame(&self) -> &FrameMeta {
        self.claim.frame()
    }

    /// The payload as stored, decompressed.
    pub fn payload(&self) -> &Bytes {
        self.claim.payload()
    }

    /// The encoded series table under `key`. Reads the disk: see [`off_reactor`].
    pub fn table_bytes(&self, key: &model::ContextKey) -> Result<Bytes, QueueError> {
        self.claim.context(&queue::ContextKey(key.0))
    }

    /// True once the queue took the frame from this destination (a full lane, a removed destination) and booked it: sending it
    /// is no duty any more.
    pub fn evicted(&self) -> bool {
        self.claim.evicted()
    }

    /// Resolves when [`MetricClaim::evicted`] becomes true; never, if it does not. Borrows nothing.
    pub fn evicted_wait(&self) -> impl Future<Output = ()> + Send + use<> {
        self.claim.evicted_wait()
    }

    /// Books the frame.
    pub fn settle(self, outcome: Outcome) {
        self.claim.settle(outcome);
    }
}
