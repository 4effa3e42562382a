//! The outgoing side: one reader for each destination and lane, giving claims in the order of the lane.
//!
//! File reads and decompression run on blocking tasks, a megabyte at a time; the future only waits. Keeps true:
//! `next` may be dropped at any await without losing a frame, and a reader that waits has looked at the state first,
//! so no wake-up can be lost.

pub(crate) mod fetch;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use crate::claim::{Claim, Desk};
use crate::cursor::Position;
use crate::error::QueueError;
use crate::lane::now_ms;
use crate::lane::{Durable, LaneState};
use crate::reader::fetch::{Fetch, Fetched, Item, SkipCause};

/// Gives one destination the frames of one lane. There is one at a time for each pair.
pub struct Reader {
    desk: Arc<Desk>,
    durable: watch::Receiver<Durable>,
    fetch: Option<Fetch>,
    filling: Option<JoinHandle<(Fetch, Vec<Item>)>>,
    ready: VecDeque<Item>,
}

enum Next {
    Claim(Claim),
    /// Settled without a claim, or passed by eviction.
    Passed,
    /// The claim window is full.
    Wait,
}

impl Reader {
    pub(crate) fn new(desk: Arc<Desk>, at: Position) -> Reader {
        let durable = desk.lane.durable.subscribe();
        let fetch = Fetch::new(Arc::clone(&desk.lane), Arc::clone(&desk.destination.name), at);
        Reader { desk, durable, fetch: Some(fetch), filling: None, ready: VecDeque::new() }
    }

    /// The next frame: first those given back, then in the order of the lane. Waits for durable data and for room
    /// in the claim window; ends with [`QueueError::Closed`] when the queue closes or the destination goes.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Claim, QueueError> {
        loop {
            let turn: Arc<Notify> = Arc::clone(&self.desk.turn);
            if let Some(claim) = self.taken_back()? {
                return Ok(claim);
            }
            if self.ready.is_empty() {
                if self.filling.is_none() {
                    self.durable.borrow_and_update();
                    if !self.start_filling() {
                        if self.durable.borrow().state == LaneState::Closed {
                            return Err(QueueError::Closed);
                        }
                        tokio::select! {
                            changed = self.durable.changed() => changed.map_err(|_| QueueError::Closed)?,
                            () = turn.notified() => {}
                        }
                        continue;
                    }
                }
                if let Some(filling) = self.filling.as_mut() {
                    let result = filling.await;
                    self.filling = None;
                    match result {
                        Ok((fetch, items)) => {
                            self.fetch = Some(fetch);
                            self.ready.extend(items);
                        }
                        // The task was cancelled with the runtime, or there is a defect in it: begin again at the
                        // newest claim.
                        Err(error) if error.is_panic() => self.restart()?,
                        Err(_) => return Err(QueueError::Closed),
                    }
                }
                continue;
            }
            let mut closing = self.desk.lane.durable.subscribe();
            let closed = closing.wait_for(|cell| cell.state == LaneState::Closed);
            tokio::pin!(closed);
            tokio::select! {
                biased;
                _ = &mut closed => return Err(QueueError::Closed),
                // A claim may come back while this waits for the room that claim takes.
                () = turn.notified() => continue,
                result = self.reserve() => result?,
            }
            match self.pop(self.oldest_ms())? {
                Next::Claim(claim) => return Ok(claim),
                Next::Passed => {}
                Next::Wait => tokio::select! {
                    _ = &mut closed => return Err(QueueError::Closed),
                    () = turn.notified() => {}
                },
            }
        }
    }

    /// The oldest claim that was dropped unsettled.
    fn taken_back(&mut self) -> Result<Option<Claim>, QueueError> {
        let fetched = self.desk.with(|pair| pair.cursor.take_back()).ok_or(QueueError::Closed)?;
        Ok(fetched.map(|fetched| Claim::new(Arc::clone(&self.desk), fetched)))
    }

    fn start_filling(&mut self) -> bool {
        let Some(mut fetch) = self.fetch.take_if(|fetch| fetch.has_more()) else {
            return false;
        };
        let oldest_ms = self.oldest_ms();
        self.filling = Some(tokio::task::spawn_blocking(move || {
            let items = fetch.fill(oldest_ms);
            (fetch, items)
        }));
        true
    }

    fn oldest_ms(&self) -> Option<i64> {
        let age = self.desk.destination.spec.read().max_age?;
        Some(now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    }

    fn restart(&mut self) -> Result<(), QueueError> {
        let at = self.desk.with(|pair| pair.cursor.claimed).ok_or(QueueError::Closed)?;
        self.fetch = Some(Fetch::new(Arc::clone(&self.desk.lane), Arc::clone(&self.desk.destination.name), at));
        Ok(())
    }

    /// Waits for room for the front frame's bytes. A frame larger than the whole room takes all of it.
    async fn reserve(&mut self) -> Result<(), QueueError> {
        let Some(Item::Frame(fetched)) = self.ready.front_mut() else {
            return Ok(());
        };
        if fetched.permit.is_some() {
            return Ok(());
        }
        let limit = self.desk.destination.spec.read().max_in_flight_bytes.clamp(1, u64::from(u32::MAX));
        let wanted = (fetched.payload.len() as u64).clamp(1, limit);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.desk.destination.room.read());
        let permit: OwnedSemaphorePermit = room.acquire_many_owned(wanted).await.map_err(|_| QueueError::Closed)?;
        fetched.permit = Some(permit);
        Ok(())
    }

    fn pop(&mut self, oldest_ms: Option<i64>) -> Result<Next, QueueError> {
        let max_claims = self.desk.destination.spec.read().max_claims.max(1);
        let Some(item) = self.ready.pop_front() else {
            return Ok(Next::Passed);
        };
        let outcome = self.desk.with(|pair| {
            let cursor = &mut pair.cursor;
            if cursor.window_len() >= max_claims {
                return (Next::Wait, Some(item), false);
            }
            let before = cursor.settled;
            let next = match item {
                Item::Skip { end, ingest_ms, cause } => {
                    cursor.skip(end, ingest_ms, |items| cause.tally(items));
                    (Next::Passed, None)
                }
                Item::Frame(fetched) if oldest_ms.is_some_and(|oldest| fetched.meta.ingest_ms < oldest) => {
                    cursor.skip(fetched.end, fetched.meta.ingest_ms, |items| SkipCause::Expired.tally(items));
                    (Next::Passed, None)
                }
                Item::Frame(fetched) => {
                    let meta = &fetched.meta;
                    if cursor.claim(meta.offset, fetched.end, meta.items, meta.ingest_ms) {
                        (Next::Claim(Claim::new(Arc::clone(&self.desk), fetched)), None)
                    } else {
                        (Next::Passed, None)
                    }
                }
            };
            (next.0, next.1, cursor.settled != before)
        });
        let Some((next, put_back, moved)) = outcome else {
            return Err(QueueError::Closed);
        };
        if let Some(item) = put_back {
            self.ready.push_front(item);
        }
        if moved {
            self.desk.destination.mark_dirty();
        }
        Ok(next)
    }

    /// Frames read ahead, for tests that must not wait.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self, now: i64) -> Option<Claim> {
        let age = self.desk.destination.spec.read().max_age;
        let oldest = age.map(|age| now - age.as_millis() as i64);
        loop {
            if let Some(claim) = self.taken_back().ok()? {
                return Some(claim);
            }
            if self.ready.is_empty() {
                let fetch = self.fetch.as_mut()?;
                if !fetch.has_more() {
                    return None;
                }
                self.ready.extend(fetch.fill(oldest));
                continue;
            }
            match self.pop(oldest).ok()? {
                Next::Claim(claim) => return Some(claim),
                Next::Passed => {}
                Next::Wait => return None,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.desk.with(|pair| pair.cursor.has_reader = false);
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} on {})", self.desk.destination.name, self.desk.lane.id)
    }
}

const _: fn() = || {
    fn assert_send<T: Send>() {}
    assert_send::<Reader>();
    assert_send::<Claim>();
    let _ = |fetched: Fetched| fetched;
};
