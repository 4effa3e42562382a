//! Where appenders leave records and the lane's thread finds them. A thread with nothing to do sleeps here without a
//! timeout, so an idle lane costs nothing (invariant 25).

use std::collections::VecDeque;
use std::time::Instant;

use super::sync::{Condvar, Mutex};
use crate::lane::{Credit, Pending, now_ms};
use crate::record::{Durability, Record};

/// Largest amount of payload taken at once, bytes.
const ROUND: u64 = 1 << 20;

#[derive(Default)]
struct Inbox {
    pending: VecDeque<Pending>,
    last_ticket: u64,
    poked: bool,
    closing: bool,
}

/// The inbox of one lane.
#[derive(Default)]
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

/// What the thread finds.
pub(crate) struct Round {
    pub records: Vec<Pending>,
    pub more: bool,
    pub closing: bool,
}

impl Mailbox {
    /// Leaves a record; gives its ticket, or nothing when the lane is closing.
    pub(crate) fn post(&self, record: Record, durability: Durability, credit: impl Into<Credit>) -> Option<u64> {
        let mut inbox = self.inbox.lock();
        if inbox.closing {
            return None;
        }
        inbox.last_ticket += 1;
        let ticket = inbox.last_ticket;
        inbox.pending.push_back(Pending {
            record,
            durability,
            ticket,
            posted_ms: now_ms(),
            _credit: Some(credit.into()),
        });
        drop(inbox);
        self.wake.notify_one();
        Some(ticket)
    }

    /// When the oldest record that was not taken out yet was left here, ms since the epoch.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.inbox.lock().pending.front().map(|pending| pending.posted_ms)
    }

    /// Makes the thread look again: room was made or settings changed.
    pub(crate) fn poke(&self) {
        self.inbox.lock().poked = true;
        self.wake.notify_one();
    }

    /// No more records; the thread writes what there is and ends.
    pub(crate) fn close(&self) {
        self.inbox.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for records (unless `hold` says that none are wanted now), a poke, closing, or the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>, hold: bool) -> Round {
        let mut inbox = self.inbox.lock();
        while (hold || inbox.pending.is_empty()) && !inbox.closing && !inbox.poked {
            match deadline {
                None => self.wake.wait(&mut inbox),
                Some(deadline) => {
                    if self.wake.wait_until(&mut inbox, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        inbox.poked = false;
        let mut records = Vec::new();
        let mut bytes = 0;
        while !hold || inbox.closing {
            let Some(next) = inbox.pending.pop_front() else {
                break;
            };
            bytes += next.record.payload.len() as u64;
            records.push(next);
            if bytes >= ROUND {
                break;
            }
        }
        Round { records, more: !inbox.pending.is_empty(), closing: inbox.closing }
    }
}
