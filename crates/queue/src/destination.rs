//! One destination: its settings, its cursor file, the room for its claims.
//!
//! Lock order: a destination's file, then a lane's board; never the other way round.

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::bell::{Bell, Dirt};
use crate::config::DestinationSpec;
use crate::cursor::CursorFile;
use crate::cursor::slot::{LaneCursor, Slot};
use crate::lane::Lane;

/// One destination.
pub(crate) struct Destination {
    pub name: Arc<str>,
    pub spec: RwLock<DestinationSpec>,
    /// Room for decompressed bytes in claims, in bytes.
    pub room: RwLock<Arc<Semaphore>>,
    pub file: Mutex<CursorFile>,
    pub lanes: RwLock<Vec<Weak<Lane>>>,
    /// A cursor moved.
    pub dirt: Dirt,
    /// The log grew behind what the file says of it.
    news: Dirt,
    /// When that is to be written, if no cursor moves before.
    news_due: Mutex<Option<Instant>>,
    /// Before this the caretaker does not write the file again.
    due: Mutex<Instant>,
}

impl Destination {
    pub(crate) fn new(spec: DestinationSpec, file: CursorFile, caretaker: Arc<Bell>) -> Destination {
        Destination {
            name: Arc::from(spec.name.as_str()),
            room: RwLock::new(room_for(&spec)),
            spec: RwLock::new(spec),
            file: Mutex::new(file),
            lanes: RwLock::new(Vec::new()),
            dirt: Dirt::new(Arc::clone(&caretaker)),
            news: Dirt::new(caretaker),
            news_due: Mutex::new(None),
            due: Mutex::new(Instant::now()),
        }
    }

    /// Takes over changed settings; the position stays.
    pub(crate) fn configure(&self, spec: DestinationSpec) {
        let mut held = self.spec.write();
        if held.max_in_flight_bytes != spec.max_in_flight_bytes {
            *self.room.write() = room_for(&spec);
        }
        *held = spec;
    }

    /// Notes that a cursor moved; the caretaker writes it within its interval.
    pub(crate) fn mark_dirty(&self) {
        self.dirt.mark();
    }

    /// Notes that a lane's log grew. The file says so within the caretaker's interval, and later writes do not wait for that.
    pub(crate) fn mark_news(&self) {
        self.news.mark();
    }

    /// Writes the cursor file if it changed and the last write is an interval ago, whatever other destinations do. Gives
    /// when it is to be looked at again, if there is something to write.
    pub(crate) fn tend(&self, now: Instant, interval: Duration) -> (io::Result<()>, Option<Instant>) {
        if !self.dirt.is_set() {
            if !self.news.is_set() {
                return (Ok(()), None);
            }
            let at = *self.news_due.lock().get_or_insert(now + interval);
            if at > now {
                return (Ok(()), Some(at));
            }
            return (self.sync(), None);
        }
        let mut due = self.due.lock();
        if *due > now {
            return (Ok(()), Some(*due));
        }
        *due = now + interval;
        let result = self.sync();
        let again = result.is_err().then_some(*due);
        (result, again)
    }

    /// Writes the cursor file and syncs it; afterwards the segments below the written offsets may go.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut file = self.file.lock();
        self.dirt.clear();
        self.news.clear();
        *self.news_due.lock() = None;
        let lanes: Vec<Arc<Lane>> = self.lanes.read().iter().filter_map(Weak::upgrade).collect();
        let mut slot = Slot { destination: self.name.to_string(), lanes: Vec::with_capacity(lanes.len()) };
        for lane in &lanes {
            let board = lane.board.lock();
            let Some(pair) = board.pairs.get(&self.name) else {
                continue;
            };
            slot.lanes.push(LaneCursor {
                lane: lane.id.as_str().to_owned(),
                start_item: pair.cursor.start_item,
                settled: pair.cursor.settled,
                counts: pair.cursor.counts.clone(),
                lane_end: board.durable,
                claimed: pair.cursor.claimed.offset,
            });
        }
        if let Err(error) = file.write(&slot) {
            self.dirt.restore();
            return Err(error);
        }
        for written in &slot.lanes {
            let Some(lane) = lanes.iter().find(|lane| lane.id.as_str() == written.lane) else {
                continue;
            };
            let mut board = lane.board.lock();
            if let Some(pair) = board.pairs.get_mut(&self.name) {
                pair.cursor.durable_offset = pair.cursor.durable_offset.max(written.settled.offset);
            }
        }
        Ok(())
    }
}

fn room_for(spec: &DestinationSpec) -> Arc<Semaphore> {
    let bytes = spec.max_in_flight_bytes.clamp(1, u64::from(u32::MAX));
    Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS)))
}
