//! What both transports do with a request once its bytes are there: check it, make it durable, count it.
//!
//! Keeps true: `Ok` means fdatasync has returned for what was sent; a request without an item is answered and not stored.

use std::time::Duration;

use model::otlp::{Signal, check};
use pipeline::{OtlpIntake, off_reactor};

use crate::{
    body::Arrived,
    config::Signals,
    metrics::ReceiverCounts,
    refusal::Refusal,
    room::{BodyRoom, Held},
    unpack::{Packing, unpack},
};

/// More bytes than this take about a millisecond to check or unpack.
const LONG: usize = 256 << 10;

/// How often a request that waits for the disk looks whether the lane is full by now, and how many times. It is in memory
/// then and may be stored in the end all the same; the client is told to send it again.
const SYNC_LOOK: Duration = Duration::from_secs(1);
const SYNC_LOOKS: u32 = 20;

/// What the requests of one endpoint share.
#[derive(Debug)]
pub(crate) struct Door {
    pub intake: OtlpIntake,
    pub accepts: Signals,
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
        if self.accepts.has(signal) { Ok(()) } else { Err(Refusal::NotTaken(signal)) }
    }

    /// Unpacks, checks and stores. Gives the number of items.
    pub(crate) async fn take(
        &self,
        signal: Signal,
        arrived: Arrived,
        packing: Packing,
        writing: Writing,
    ) -> Result<u32, Refusal> {
        let Arrived { mut bytes, mut held, .. } = arrived;
        if packing != Packing::None {
            let long = bytes.len() > LONG / 8;
            let packed = bytes.capacity();
            bytes = off_reactor(long, || unpack(bytes.body(), packing, self.max_request, &mut held))?;
            held.less(packed);
        }
        if writing == Writing::Json {
            bytes = off_reactor(bytes.len() > LONG / 8, || self.translated(signal, bytes.body(), &mut held))?;
        }
        let size = bytes.len();
        let items = off_reactor(size > LONG, || check(signal, bytes.body()));
        let items = items.map_err(|error| Refusal::malformed(&error))?;
        if items > 0 {
            self.store(signal, bytes, items).await.inspect_err(|_| self.counts.refused_items(signal, items))?;
        }
        drop(held);
        self.counts.accepted(signal, items, size);
        Ok(items)
    }

    fn translated(&self, signal: Signal, json: &[u8], held: &mut Held) -> Result<pipeline::OtlpBuffer, Refusal> {
        // Protobuf is never longer than the JSON it says the same as, but for numbers of one digit.
        if !held.more(json.len()) {
            return Err(Refusal::Crowded);
        }
        let message = crate::json::translate(signal, json).map_err(Refusal::Malformed)?;
        if message.len() > self.max_request {
            return Err(Refusal::TooLarge { limit: self.max_request });
        }
        let mut bytes = pipeline::OtlpBuffer::with_capacity(message.len());
        bytes.extend(&message);
        Ok(bytes)
    }

    async fn store(&self, signal: Signal, request: pipeline::OtlpBuffer, items: u32) -> Result<(), Refusal> {
        // One stream for each signal: what was accepted first is sent first.
        let stream = signal as u64;
        let receipt = self.intake.append(signal, request, items, stream).await.map_err(|error| {
            if error.is_full() {
                Refusal::QueueFull
            } else if error.is_closed() {
                Refusal::Stopping
            } else {
                Refusal::TooLarge { limit: pipeline::MAX_OTLP_REQUEST }
            }
        })?;
        let mut durable = std::pin::pin!(receipt.durable());
        for _ in 0..SYNC_LOOKS {
            match tokio::time::timeout(SYNC_LOOK, &mut durable).await {
                Ok(durable) => return durable.map_err(|_| Refusal::Stopping),
                Err(_) if self.intake.is_stalled() => break,
                Err(_) => {}
            }
        }
        Err(Refusal::QueueFull)
    }
}
