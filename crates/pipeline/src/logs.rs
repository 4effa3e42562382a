//! Both doors for log batches: in, and out as streams that are still packed.
//!
//! A batch is compressed by its encoder, stream by stream, so the queue stores it as it is, and a sender that speaks snappy
//! copies it as it is. Keeps true: claims come in the lane's order; a record that cannot be read, or is of a kind that log
//! destinations do not know, is settled as rejected with its exact item count, and the next one is given.

use bytes::Bytes;
use model::{LogBatch, LogBatchView, ModelError};
use queue::{Appender, Claim, Codec, Durability, FrameMeta, Kind, Outcome, Reader, Reason, Receipt, Record};

use crate::{IntakeError, OutletError, off_reactor};

/// Compressing this takes about a millisecond.
const LONG: usize = 256 << 10;

/// Hands log batches of one lane to the queue. Clones share the lane.
#[derive(Debug, Clone)]
pub struct LogIntake {
    appender: Appender,
}

impl LogIntake {
    /// An intake into the appender's lane.
    pub fn new(appender: Appender) -> Self {
        Self { appender }
    }

    /// Encodes and appends; the batch is not cleared. `stream` is the unit of order: one source, one number. Resolves when
    /// the queue has taken the bytes over (they outlive this process from then on); the receipt resolves when they outlive a
    /// power cut. Waits while the lane has no room: sources push back by not reading on.
    pub async fn append(
        &self,
        batch: &mut LogBatch,
        stream: u64,
        durability: Durability,
    ) -> Result<Receipt, IntakeError> {
        let items = batch.items();
        let long = batch.bytes() > LONG;
        let record = off_reactor(long, || record(batch, stream))
            .map_err(|error| IntakeError::Encode { items, why: error.to_string() })?;
        self.appender.append(record, durability).await.map_err(|source| IntakeError::Queue { items, source })
    }
}

fn record(batch: &mut LogBatch, stream: u64) -> Result<Record, ModelError> {
    let mut payload = Vec::with_capacity(256 + batch.bytes() / 4);
    batch.encode(&mut payload)?;
    let too_long =
        |_| ModelError::TooLarge { part: "a log batch", found: payload.len() as u64, limit: u64::from(u32::MAX) };
    let raw_len = u32::try_from(payload.len()).map_err(too_long)?;
    let payload = Bytes::from(payload);
    let items = batch.items();
    Ok(Record { kind: Kind::LogBatch, codec: Codec::None, stream, items, raw_len, payload, contexts: Vec::new() })
}

/// One destination's way out of one lane of logs.
#[derive(Debug)]
pub struct LogOutlet {
    reader: Reader,
    unreadable: u64,
}

/// The lines of one frame and the duty to settle it. Dropped unsettled, it comes back to the front of its outlet.
#[derive(Debug)]
pub struct LogClaim {
    claim: Claim,
}

impl LogOutlet {
    /// Wraps a reader.
    pub fn new(reader: Reader) -> Self {
        Self { reader, unreadable: 0 }
    }

    /// Records settled as unreadable so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next frame of lines, waiting for one. Cancel-safe.
    pub async fn next(&mut self) -> Result<LogClaim, OutletError> {
        loop {
            let claim = self.reader.next().await.map_err(OutletError::Queue)?;
            if claim.frame().kind != Kind::LogBatch {
                let why = "its kind is not known to log destinations";
                self.refuse(claim, Reason::UNKNOWN_KIND, why);
                continue;
            }
            match readable(&claim) {
                Ok(()) => return Ok(LogClaim { claim }),
                Err(why) => self.refuse(claim, Reason::UNDECODABLE, &why),
            }
        }
    }

    fn refuse(&mut self, claim: Claim, reason: Reason, why: &str) {
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
        claim.settle(Outcome::Rejected(reason));
    }
}

fn readable(claim: &Claim) -> Result<(), String> {
    let items = claim.frame().items;
    let found = LogBatchView::decode(claim.payload()).map_err(|error| error.to_string())?.items();
    if found == u64::from(items) { Ok(()) } else { Err(format!("it holds {found} lines and its header says {items}")) }
}

impl LogClaim {
    /// Where the frame lies and what its header says.
    pub fn frame(&self) -> &FrameMeta {
        self.claim.frame()
    }

    /// The payload as stored.
    pub fn payload(&self) -> &Bytes {
        self.claim.payload()
    }

    /// Its streams, still packed. Their number and heads were checked when the claim was made; entries are checked by
    /// whoever unpacks them.
    pub fn batch(&self) -> Result<LogBatchView<'_>, ModelError> {
        LogBatchView::decode(self.claim.payload())
    }

    /// The queue gave this frame up for room while it was claimed: what is sent of it now is sent too late to count.
    pub fn evicted(&self) -> bool {
        self.claim.evicted()
    }

    /// Resolves when [`LogClaim::evicted`] becomes true; never, if it does not. Borrows nothing.
    pub fn evicted_wait(&self) -> impl Future<Output = ()> + Send + use<> {
        self.claim.evicted_wait()
    }

    /// Books the frame.
    pub fn settle(self, outcome: Outcome) {
        self.claim.settle(outcome);
    }
}
