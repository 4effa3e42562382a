//! Both doors for OTLP: requests go in as they were received and come out as they went in.
//!
//! A payload is a version byte and the protobuf bytes of one export request, unpacked. Nothing is decoded on the way: the
//! receiver counted the items and the queue keeps the count. Keeps true: claims come in the lane's order; a record that
//! cannot be read, or is of a kind that OTLP destinations do not know, is settled as rejected with its exact item count.

use std::time::Duration;

use bytes::Bytes;
use model::otlp::{self, Signal};
use queue::{
    Appender, Claim, Codec, Durability, FrameMeta, Kind, LaneState, Outcome, QueueError, Reader, Reason, Receipt,
    Record,
};

use crate::{IntakeError, OutletError};

/// The first byte of a payload: protobuf follows.
const VERSION: u8 = 1;

/// What the queue stores in one record at most; a larger request has to be cut by who sends it.
pub const MAX_OTLP_REQUEST: usize = (16 << 20) - 64;

/// How long an append waits for the lane's buffer, which empties with each sync. A lane that is full is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request that is being received: what was written to it is stored without being copied again.
#[derive(Debug, Clone)]
pub struct OtlpBuffer {
    bytes: Vec<u8>,
}

impl OtlpBuffer {
    /// Room for `len` bytes of a request without growing.
    pub fn with_capacity(len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len.saturating_add(1));
        bytes.push(VERSION);
        Self { bytes }
    }

    /// The request so far.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(1..).unwrap_or_default()
    }

    /// Bytes of the request so far.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(1)
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends to the request.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for so many more bytes, exactly.
    pub fn reserve(&mut self, more: usize) {
        self.bytes.reserve_exact(more);
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(1);
    }
}

impl std::io::Write for OtlpBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Hands received requests to one lane of the queue. Clones share the lane.
#[derive(Debug, Clone)]
pub struct OtlpIntake {
    appender: Appender,
}

impl OtlpIntake {
    /// An intake into the appender's lane.
    pub fn new(appender: Appender) -> Self {
        Self { appender }
    }

    /// Whether the lane is full, or its disk refuses writes: what was appended last may not become durable for long.
    pub fn is_stalled(&self) -> bool {
        matches!(self.appender.state(), LaneState::Full | LaneState::Failed)
    }

    /// Appends a request whose `items` were counted; durable, and with it to be answered, when the receipt resolves. `stream`
    /// is the unit of order. A lane without room is an error at once ([`IntakeError::is_full`]), so that the client can be
    /// told to come again; only the lane's buffer is waited for, and that for two seconds at most.
    pub async fn append(
        &self,
        signal: Signal,
        request: OtlpBuffer,
        items: u32,
        stream: u64,
    ) -> Result<Receipt, IntakeError> {
        self.put(signal, request, items, stream, Durability::Now).await
    }

    /// The same for what nobody waits for: durable with the lane's next commit.
    pub async fn append_soon(
        &self,
        signal: Signal,
        request: OtlpBuffer,
        items: u32,
        stream: u64,
    ) -> Result<Receipt, IntakeError> {
        self.put(signal, request, items, stream, Durability::Soon).await
    }

    async fn put(
        &self,
        signal: Signal,
        request: OtlpBuffer,
        items: u32,
        stream: u64,
        durability: Durability,
    ) -> Result<Receipt, IntakeError> {
        let raw_len = u32::try_from(request.bytes.len()).unwrap_or(u32::MAX);
        let payload = Bytes::from(request.bytes);
        let record =
            Record { kind: kind(signal), codec: Codec::None, stream, items, raw_len, payload, contexts: Vec::new() };
        let refused = |source| IntakeError::Queue { items, source };
        // The usual case, without a timer.
        if !matches!(self.appender.state(), LaneState::Ok) {
            return self.appender.try_append(record, durability).map_err(refused);
        }
        match self.appender.try_append(record.clone(), durability) {
            Err(full @ QueueError::Full { .. }) => {
                let waiting = self.appender.append(record, durability);
                let waited = tokio::time::timeout(PATIENCE, waiting).await;
                waited.unwrap_or(Err(full)).map_err(refused)
            }
            other => other.map_err(refused),
        }
    }
}

fn kind(signal: Signal) -> Kind {
    match signal {
        Signal::Traces => Kind::OtlpTraces,
        Signal::Metrics => Kind::OtlpMetrics,
        Signal::Logs => Kind::OtlpLogs,
    }
}

fn signal(kind: Kind) -> Option<Signal> {
    match kind {
        Kind::OtlpTraces => Some(Signal::Traces),
        Kind::OtlpMetrics => Some(Signal::Metrics),
        Kind::OtlpLogs => Some(Signal::Logs),
        Kind::MetricBatch | Kind::LogBatch => None,
    }
}

/// One destination's way out of one lane of OTLP.
#[derive(Debug)]
pub struct OtlpOutlet {
    reader: Reader,
    unreadable: u64,
}

/// One request and the duty to settle it. Dropped unsettled, it comes back to the front of its outlet.
#[derive(Debug)]
pub struct OtlpClaim {
    claim: Claim,
    signal: Signal,
}

impl OtlpOutlet {
    /// Wraps a reader.
    pub fn new(reader: Reader) -> Self {
        Self { reader, unreadable: 0 }
    }

    /// Records settled as unreadable so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next request of any signal, waiting for one. Cancel-safe.
    pub async fn next(&mut self) -> Result<OtlpClaim, OutletError> {
        loop {
            let claim = self.reader.next().await.map_err(OutletError::Queue)?;
            if let Some(claim) = self.readable(claim) {
                return Ok(claim);
            }
        }
    }

    fn readable(&mut self, claim: Claim) -> Option<OtlpClaim> {
        let Some(signal) = signal(claim.frame().kind) else {
            let why = "its kind is not known to OTLP destinations";
            self.refuse(claim, Reason::UNKNOWN_KIND, why);
            return None;
        };
        match request(&claim, signal) {
            Ok(()) => Some(OtlpClaim { claim, signal }),
            Err(why) => {
                self.refuse(claim, Reason::UNDECODABLE, &why);
                None
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

fn request(claim: &Claim, signal: Signal) -> Result<(), String> {
    let items = claim.frame().items;
    match claim.payload().split_first() {
        Some((&VERSION, body)) => {
            let found = otlp::count(signal, body).map_err(|error| error.to_string())?;
            let differs = || format!("it holds {found} items and its header says {items}");
            if found == items { Ok(()) } else { Err(differs()) }
        }
        Some((version, _)) => Err(format!("its format {version} is not known here; it was written by a newer release")),
        None => Err("it is empty".to_owned()),
    }
}

impl OtlpClaim {
    /// Where the frame lies and what its header says.
    pub fn frame(&self) -> &FrameMeta {
        self.claim.frame()
    }

    /// What it carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The export request, byte for byte as it was received, after transport decompression. Checked when the claim was made:
    /// its groups can be walked and hold the frame's items.
    pub fn body(&self) -> &[u8] {
        self.claim.payload().get(1..).unwrap_or_default()
    }

    /// The same, sharing the memory.
    pub fn bytes(&self) -> Bytes {
        let payload = self.claim.payload();
        payload.slice(payload.len().min(1)..)
    }

    /// The queue gave this frame up for room while it was claimed: what is sent of it now is sent too late to count.
    pub fn evicted(&self) -> bool {
        self.claim.evicted()
    }

    /// Resolves when [`OtlpClaim::evicted`] becomes true; never, if it does not. Borrows nothing.
    pub fn evicted_wait(&self) -> impl Future<Output = ()> + Send + use<> {
        self.claim.evicted_wait()
    }

    /// Books the frame.
    pub fn settle(self, outcome: Outcome) {
        self.claim.settle(outcome);
    }
}
