//! What both transports do with a request once its bytes are there: check it, make it durable, count it.
//!
//! Keeps true: `Ok` means fdatasync has returned for what was sent; a request without an item is answered and not stored.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use model::otlp::{Signal, check, footprint};
use pipeline::{IntakeError, OtlpBuffer, OtlpIntake, Receipt, off_reactor};

use crate::{
    body::Arrived,
    config::Signals,
    elsewhere::{Elsewhere, Taken},
    metrics::ReceiverCounts,
    refusal::Refusal,
    room::{BodyRoom, Held},
    sheaf::Cut,
    unpack::{Packing, unpack},
};

/// More bytes than this take about a millisecond to check or unpack.
pub(crate) const LONG: usize = 256 << 10;

/// How often a request that waits for the disk looks whether the lane is full by now, and how many times. It is in memory
/// then and may be stored in the end all the same; the client is told to send it again.
const SYNC_LOOK: Duration = Duration::from_secs(1);
const SYNC_LOOKS: u32 = 20;

/// Where requests go, which may change while they are received. Clones change together.
#[derive(Debug, Clone)]
pub(crate) struct Way(Arc<RwLock<OtlpIntake>>);

impl Way {
    pub(crate) fn new(intake: OtlpIntake) -> Self {
        Self(Arc::new(RwLock::new(intake)))
    }

    pub(crate) fn now(&self) -> OtlpIntake {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn turn_to(&self, intake: OtlpIntake) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = intake;
    }
}

/// What the requests of one endpoint share.
#[derive(Debug)]
pub(crate) struct Door {
    pub intake: Way,
    pub accepts: Signals,
    pub elsewhere: Elsewhere,
    pub room: BodyRoom,
    pub counts: ReceiverCounts,
    pub max_request: usize,
    pub request_time: Duration,
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    Protobuf,
    Json,
}

impl Door {
    /// Whether somebody takes this signal.
    pub(crate) fn admits(&self, signal: Signal) -> Result<(), Refusal> {
        if self.accepts.has(signal) || self.elsewhere.takes(signal) { Ok(()) } else { Err(Refusal::NotTaken(signal)) }
    }

    /// Unpacks, checks and stores. Tells what cannot be stored and never will be.
    pub(crate) async fn take(
        &self,
        signal: Signal,
        arrived: Arrived,
        packing: Packing,
        writing: Writing,
    ) -> Result<Taken, Refusal> {
        let Arrived { mut bytes, mut held, .. } = self.unpacked(arrived, packing)?;
        if writing == Writing::Json {
            bytes = off_reactor(bytes.len() > LONG / 8, || self.translated(signal, bytes.body(), &mut held))?;
        }
        let size = bytes.len();
        let items = off_reactor(size > LONG, || check(signal, bytes.body()));
        let items = items.map_err(|error| Refusal::malformed(&error))?;
        if signal == Signal::Traces && size > LONG {
            off_reactor(true, || readable(bytes.body(), items))?;
        }
        let mut taken = Taken::default();
        if items > 0 && self.elsewhere.takes(signal) {
            let told = self.elsewhere.take(signal, bytes.body(), &mut held).await;
            taken = told.inspect_err(|_| self.counts.refused_items(signal, items))?;
            self.counts.untranslated(&taken);
        } else if items > 0 {
            self.store(signal, bytes, items).await.inspect_err(|_| self.counts.refused_items(signal, items))?;
        }
        drop(held);
        let rejected = u32::try_from(taken.rejected).unwrap_or(u32::MAX);
        self.counts.accepted(signal, items.saturating_sub(rejected), size);
        Ok(taken)
    }

    /// Undoes a request's compression.
    pub(crate) fn unpacked(&self, arrived: Arrived, packing: Packing) -> Result<Arrived, Refusal> {
        if packing == Packing::None {
            return Ok(arrived);
        }
        let Arrived { bytes, mut held, head } = arrived;
        let (long, packed) = (bytes.len() > LONG / 8, bytes.capacity());
        let bytes = off_reactor(long, || unpack(bytes.body(), packing, self.max_request, &mut held))?;
        held.less(packed);
        Ok(Arrived { bytes, held, head })
    }

    /// Stores what a request of `size` bytes was translated to. All of it is on disk when this is `Ok`.
    pub(crate) async fn keep(&self, cuts: Vec<Cut>, size: usize) -> Result<(), Refusal> {
        let spans = cuts.iter().map(|cut| cut.spans).sum();
        let mut receipts = Vec::with_capacity(cuts.len());
        for cut in cuts {
            let receipt = self.append(Signal::Traces, cut.request, cut.spans).await;
            receipts.push(receipt.inspect_err(|_| self.counts.refused_items(Signal::Traces, spans))?);
        }
        for receipt in receipts {
            self.durable(receipt).await.inspect_err(|_| self.counts.refused_items(Signal::Traces, spans))?;
        }
        self.counts.accepted(Signal::Traces, spans, size);
        Ok(())
    }

    /// The same for datagrams, which nobody waits for.
    pub(crate) async fn keep_soon(&self, cuts: Vec<Cut>, size: usize) -> Result<(), Refusal> {
        let spans = cuts.iter().map(|cut| cut.spans).sum();
        for cut in cuts {
            let stream = Signal::Traces as u64;
            let receipt = self.intake.now().append_soon(Signal::Traces, cut.request, cut.spans, stream).await;
            receipt.map_err(refused).inspect_err(|_| self.counts.refused_items(Signal::Traces, spans))?;
        }
        self.counts.accepted(Signal::Traces, spans, size);
        Ok(())
    }

    fn translated(&self, signal: Signal, json: &[u8], held: &mut Held) -> Result<OtlpBuffer, Refusal> {
        // Protobuf is hardly ever more than half of the JSON it says the same as; messages within messages are there twice while
        // they are written, and all of it once more to be stored.
        held.more(2 * json.len())?;
        let message = crate::json::translate(signal, json).map_err(Refusal::Malformed)?;
        if message.len() > self.max_request {
            return Err(Refusal::TooLarge { limit: self.max_request });
        }
        let mut bytes = OtlpBuffer::with_capacity(message.len());
        bytes.extend(&message);
        Ok(bytes)
    }

    async fn store(&self, signal: Signal, request: OtlpBuffer, items: u32) -> Result<(), Refusal> {
        let receipt = self.append(signal, request, items).await?;
        self.durable(receipt).await
    }

    async fn append(&self, signal: Signal, request: OtlpBuffer, items: u32) -> Result<Receipt, Refusal> {
        // One stream for each signal: what was accepted first is sent first.
        self.intake.now().append(signal, request, items, signal as u64).await.map_err(refused)
    }

    async fn durable(&self, receipt: Receipt) -> Result<(), Refusal> {
        let mut durable = std::pin::pin!(receipt.durable());
        for _ in 0..SYNC_LOOKS {
            match tokio::time::timeout(SYNC_LOOK, &mut durable).await {
                Ok(durable) => return durable.map_err(|_| Refusal::Stopping),
                Err(_) if self.intake.now().is_stalled() => break,
                Err(_) => {}
            }
        }
        Err(Refusal::QueueFull)
    }
}

/// What spans of one request may take in memory once somebody decodes them, bytes. A request of ordinary spans takes eight times its
/// own size; one of empty spans a hundred times.
const MOST_DECODED: usize = 192 << 20;

/// What a decoded span takes besides its fields.
const SPAN: usize = 256;

/// Refuses what nobody further on could decode within bounds.
fn readable(request: &[u8], spans: u32) -> Result<(), Refusal> {
    let of_spans = usize::try_from(spans).unwrap_or(usize::MAX).saturating_mul(SPAN);
    let needed = footprint(Signal::Traces, request).saturating_add(of_spans);
    if needed > MOST_DECODED { Err(Refusal::Heavy { limit: MOST_DECODED }) } else { Ok(()) }
}

/// What a client is told of an intake's error.
pub(crate) fn refused(error: IntakeError) -> Refusal {
    if error.is_full() {
        Refusal::QueueFull
    } else if error.is_closed() {
        Refusal::Stopping
    } else {
        Refusal::TooLarge { limit: pipeline::MAX_OTLP_REQUEST }
    }
}
