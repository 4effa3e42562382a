//! The outgoing side: one reader for each destination and lane, giving claims in the order of the lane.
//!
//! What the kernel hands out of the page cache without waiting is read and checked where the reader stands, 256 KiB at a
//! time: at a catch-up, too, two changes of thread and memory freed by another thread than its own cost more than the
//! reading. Everything else (a device, large frames, damage, the next segment) is read on blocking tasks, a megabyte at a
//! time; the future only waits. Keeps true: `next` may be dropped at any await without losing a frame, and a reader that
//! waits has looked at the state first, so no wake-up can be lost.

pub(crate) mod fetch;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};
use tokio::task::JoinHandle;

use crate::age_clock::AgeClock;
use crate::claim::{Claim, Desk};
use crate::cursor::Position;
use crate::error::QueueError;
use crate::lane::{Durable, LaneState};
use crate::reader::fetch::{Fetch, Fetched, Item, SkipCause};

/// Gives one destination the frames of one lane. There is one at a time for each pair.
pub struct Reader {
    desk: Arc<Desk>,
    durable: watch::Receiver<Durable>,
    fetch: Option<Fetch>,
    filling: Option<JoinHandle<(Fetch, Vec<Item>)>>,
    ready: VecDeque<Item>,
    clock: AgeClock,
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
        Reader { desk, durable, fetch: Some(fetch), filling: None, ready: VecDeque::new(), clock: AgeClock::default() }
    }

    /// The next frame: first those given back, then in the order of the lane. Waits for durable data and for room
    /// in the claim window; ends with [`QueueError::Closed`] when the queue closes or the destination goes.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Result<Claim, QueueError> {
        loop {
            let turn: Arc<Notify> = Arc::clone(&self.desk.turn);
            // What changes after this look ends the wait below.
            self.durable.borrow_and_update();
            if let Some(claim) = self.try_next()? {
                return Ok(claim);
            }
            if !self.ready.is_empty() {
                self.room(&turn).await?;
            } else if self.filling.is_some() || self.start_filling() {
                self.filled().await?;
            } else {
                tokio::select! {
                    changed = self.durable.changed() => changed.map_err(|_| QueueError::Closed)?,
                    () = turn.notified() => {}
                }
            }
        }
    }

    /// The next frame if it can be had at once: given back, read ahead, or just written and still in the page cache.
    /// `None`: perhaps later, or by [`Reader::next`], which also reads what takes waiting.
    pub fn try_next(&mut self) -> Result<Option<Claim>, QueueError> {
        loop {
            if self.durable.borrow().state == LaneState::Closed {
                return Err(QueueError::Closed);
            }
            if let Some(claim) = self.taken_back()? {
                return Ok(Some(claim));
            }
            let oldest_ms = self.oldest_ms();
            if self.ready.is_empty() {
                let items = self.fetch.as_mut().map(|fetch| fetch.fill_cached(oldest_ms)).unwrap_or_default();
                if items.is_empty() {
                    return Ok(None);
                }
                self.ready.extend(items);
            }
            if !self.try_reserve()? {
                return Ok(None);
            }
            match self.pop(oldest_ms)? {
                Next::Claim(claim) => return Ok(Some(claim)),
                Next::Passed => {}
                Next::Wait => return Ok(None),
            }
        }
    }

    /// Takes over what the blocking task has read.
    async fn filled(&mut self) -> Result<(), QueueError> {
        let Some(filling) = self.filling.as_mut() else {
            return Ok(());
        };
        let result = filling.await;
        self.filling = None;
        match result {
            Ok((fetch, items)) => {
                self.fetch = Some(fetch);
                self.ready.extend(items);
                Ok(())
            }
            // The task was cancelled with the runtime, or there is a defect in it: begin again at the newest claim.
            Err(error) if error.is_panic() => self.restart(),
            Err(_) => Err(QueueError::Closed),
        }
    }

    /// Waits until something may have changed for the front frame, which finds no room in the window.
    async fn room(&mut self, turn: &Notify) -> Result<(), QueueError> {
        let mut closing = self.durable.clone();
        let closed = closing.wait_for(|cell| cell.state == LaneState::Closed);
        tokio::select! {
            biased;
            _ = closed => Err(QueueError::Closed),
            // A claim may come back while this waits for the room that claim takes.
            () = turn.notified() => Ok(()),
            result = self.reserve() => result,
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
        Some(self.clock.now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    }

    fn restart(&mut self) -> Result<(), QueueError> {
        let at = self.desk.with(|pair| pair.cursor.claimed).ok_or(QueueError::Closed)?;
        self.fetch = Some(Fetch::new(Arc::clone(&self.desk.lane), Arc::clone(&self.desk.destination.name), at));
        Ok(())
    }

    /// The room, and how much of it the front frame needs; `None` if it needs none or has it. A frame larger than the
    /// whole room takes all of it.
    fn wanted(&self) -> Option<(Arc<Semaphore>, u32)> {
        let Some(Item::Frame(fetched)) = self.ready.front().filter(|item| !item.has_room()) else {
            return None;
        };
        let limit = self.desk.destination.spec.read().max_in_flight_bytes.clamp(1, u64::from(u32::MAX));
        let wanted = fetched.weight().clamp(1, limit);
        Some((Arc::clone(&self.desk.destination.room.read()), u32::try_from(wanted).unwrap_or(u32::MAX)))
    }

    fn keep(&mut self, permit: OwnedSemaphorePermit) {
        if let Some(Item::Frame(fetched)) = self.ready.front_mut() {
            fetched.permit = Some(permit);
        }
    }

    /// Waits for room for the front frame's bytes; with that room, for room in the window, which only a turn brings.
    async fn reserve(&mut self) -> Result<(), QueueError> {
        let Some((room, wanted)) = self.wanted() else {
            return std::future::pending().await;
        };
        let permit = room.acquire_many_owned(wanted).await.map_err(|_| QueueError::Closed)?;
        self.keep(permit);
        Ok(())
    }

    fn try_reserve(&mut self) -> Result<bool, QueueError> {
        let Some((room, wanted)) = self.wanted() else {
            return Ok(true);
        };
        match room.try_acquire_many_owned(wanted) {
            Ok(permit) => {
                self.keep(permit);
                Ok(true)
            }
            Err(TryAcquireError::NoPermits) => Ok(false),
            Err(TryAcquireError::Closed) => Err(QueueError::Closed),
        }
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
                    if cursor.claim(meta.offset, fetched.end, meta.items, meta.ingest_ms, fetched.payload.len() as u64)
                    {
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

    /// The next frame at a given time, reading where it stands whatever that takes; `None` at the durable end or when the
    /// window is full. For tests and fuzz targets, which have no runtime and must not wait.
    pub(crate) fn next_at(&mut self, now: i64) -> Option<Claim> {
        let age = self.desk.destination.spec.read().max_age;
        let oldest = age.map(|age| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        loop {
            if let Some(claim) = self.taken_back().ok()? {
                return Some(claim);
            }
            if self.ready.is_empty() {
                let fetch = self.fetch.as_mut()?;
                self.ready.extend(fetch.fill_cached(oldest));
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
