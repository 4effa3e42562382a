//! The incoming side: handing records to a lane, and learning when they are durable.
//!
//! Keeps true: at most `credit_bytes` of payload and contexts wait in memory for one lane, whatever the disk does
//! (invariant 13).

use std::sync::Arc;

use tokio::sync::{TryAcquireError, watch};

use crate::error::QueueError;
use crate::frame::{MAX_RAW, MAX_STORED, REF_LEN};
use crate::lane::{Credit, Durable, Lane, LaneState};
use crate::record::{Codec, Durability, Record};

/// Appends to one lane. Clones share the lane's credit.
#[derive(Clone)]
pub struct Appender {
    pub(crate) lane: Arc<Lane>,
}

impl Appender {
    /// Hands a record over. Waits while the lane has no room or its credit is used up; dropping the future then
    /// hands nothing over. The record is in memory when this returns and durable when the receipt says so.
    pub async fn append(&self, record: Record, durability: Durability) -> Result<Receipt, QueueError> {
        let (record, own) = self.check(record)?;
        let mut durable = self.lane.durable.subscribe();
        let state = durable.wait_for(|cell| matches!(cell.state, LaneState::Ok | LaneState::Closed)).await;
        if state.map_err(|_| QueueError::Closed)?.state == LaneState::Closed {
            return Err(QueueError::Closed);
        }
        let credit = loop {
            let (cost, all) = self.cost(&record, own);
            let permit = Arc::clone(&self.lane.credit).acquire_many_owned(cost).await;
            let permit = permit.map_err(|_| QueueError::Closed)?;
            if let Some(credit) = self.lane.contexts.hold(&record, permit, all) {
                break credit;
            }
        };
        self.post(record, durability, credit, durable)
    }

    /// The same without waiting: [`QueueError::Full`] when it would have to.
    pub fn try_append(&self, record: Record, durability: Durability) -> Result<Receipt, QueueError> {
        let (record, own) = self.check(record)?;
        let full = || QueueError::Full { lane: self.lane.id.as_str().to_owned() };
        match self.lane.state() {
            LaneState::Ok => {}
            LaneState::Closed => return Err(QueueError::Closed),
            LaneState::Full | LaneState::Failed => return Err(full()),
        }
        let credit = loop {
            let (cost, all) = self.cost(&record, own);
            let permit = Arc::clone(&self.lane.credit).try_acquire_many_owned(cost).map_err(|error| match error {
                TryAcquireError::Closed => QueueError::Closed,
                TryAcquireError::NoPermits => full(),
            })?;
            if let Some(credit) = self.lane.contexts.hold(&record, permit, all) {
                break credit;
            }
        };
        self.post(record, durability, credit, self.lane.durable.subscribe())
    }

    /// Whether the lane takes records now.
    pub fn state(&self) -> LaneState {
        self.lane.state()
    }

    fn post(
        &self,
        record: Record,
        durability: Durability,
        credit: Credit,
        durable: watch::Receiver<Durable>,
    ) -> Result<Receipt, QueueError> {
        let ticket = self.lane.mailbox.post(record, durability, credit).ok_or(QueueError::Closed)?;
        Ok(Receipt { durable, ticket })
    }

    /// The credit to ask for, and whether that is all there is: a record that needs more is taken when nothing else is there.
    fn cost(&self, record: &Record, own: u64) -> (u32, bool) {
        let wanted = own.saturating_add(self.lane.contexts.missing(record));
        let cost = u32::try_from(wanted.min(self.lane.credit_bytes)).unwrap_or(u32::MAX);
        (cost, wanted >= self.lane.credit_bytes)
    }

    /// Checks the limits of the format and gives the bytes that the record itself costs.
    fn check(&self, mut record: Record) -> Result<(Record, u64), QueueError> {
        let stored_limit = u64::from(MAX_STORED);
        let too_large = |size, limit| Err(QueueError::TooLarge { size, limit });
        if record.contexts.len() > usize::from(u16::MAX) {
            return too_large(record.contexts.len() as u64, u64::from(u16::MAX));
        }
        let body = (record.payload.len() + record.contexts.len() * REF_LEN) as u64;
        if body > stored_limit {
            return too_large(body, stored_limit);
        }
        let contexts: u64 = record.contexts.iter().map(|(_, bytes)| bytes.len() as u64 + 16).sum();
        if contexts > stored_limit {
            return too_large(contexts, stored_limit);
        }
        if record.codec == Codec::None {
            record.raw_len = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
        }
        if record.raw_len > MAX_RAW {
            return too_large(u64::from(record.raw_len), u64::from(MAX_RAW));
        }
        Ok((record, body + 128))
    }
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Appender({})", self.lane.id)
    }
}

/// Tells when one record is durable. Dropping it changes nothing.
#[derive(Debug)]
pub struct Receipt {
    durable: watch::Receiver<Durable>,
    ticket: u64,
}

impl Receipt {
    /// Waits until the record survives a power cut. [`QueueError::Closed`]: the lane ended before that.
    pub async fn durable(mut self) -> Result<(), QueueError> {
        let ticket = self.ticket;
        let cell = self.durable.wait_for(|cell| cell.ticket >= ticket || cell.state == LaneState::Closed).await;
        match cell {
            Ok(cell) if cell.ticket >= ticket => Ok(()),
            Ok(_) | Err(_) => Err(QueueError::Closed),
        }
    }

    /// True if the record is durable now.
    pub fn is_durable(&self) -> bool {
        self.durable.borrow().ticket >= self.ticket
    }
}
