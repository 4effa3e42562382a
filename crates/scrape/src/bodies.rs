//! The memory that scraped bodies may take, all targets together.
//!
//! Keeps true: bodies in flight and buffers kept for the next ones take at most [`SHARED`], whatever the number of targets;
//! besides them there is one very large body at a time (see [`Turns`]), of at most its job's limit. Half of what is shared is
//! for reliable targets, those whose last fetch succeeded. At most as many bodies are parsed at once as there are cores. A
//! request that waits for its answer costs nothing here: a thousand targets that say nothing keep nobody waiting.
//!
//! Nobody waits for shared memory: a body that gets none gives back what it has, and only then waits for the turn to be read
//! as a very large one is. So no two can wait for each other, and while memory is not short all this is one addition under
//! a lock for each doubling of a buffer.

use std::sync::Arc;

use net::BodyBuffer;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    Limits,
    turns::{Recall, Turn, Turns},
};

/// A body above this is read only by turns. In bytes.
pub(crate) const LARGE: usize = 16 << 20;
/// Limit of a body, in bytes after decompression, when its job sets none: what answers more than this is rarely an exporter,
/// and a process with other work to do should not find out how much more.
pub const BODY_LIMIT: u64 = 64 << 20;
/// What all bodies that are not very large may take.
const SHARED: usize = 48 << 20;
/// Buffers kept for the next scrape, how large one may be, and all of them.
const SPARE: usize = 16;
const SPARE_BYTES: usize = 2 << 20;
const ALL_SPARE_BYTES: usize = 8 << 20;
/// The first room a body asks for.
const FIRST: usize = 16 << 10;
/// Address space of a body that will not be kept. Above 32 MiB glibc maps memory of its own for it: it is used as far as it
/// is written to, growing copies nothing, and it goes back to the system at once. Smaller ones, once freed, are torn up
/// by others and stay.
const MAPPED: usize = 33 << 20;

/// How large a body of a job with these limits may be: what it sets, higher or lower, else [`BODY_LIMIT`].
pub(crate) fn limit_of(limits: &Limits) -> u64 {
    if limits.body_size == 0 { BODY_LIMIT } else { limits.body_size }
}

/// One for the process, or at least for many targets.
#[derive(Debug, Clone)]
pub struct Bodies {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    parsing: Semaphore,
    turns: Turns,
}

/// Who has how much of what is shared.
#[derive(Debug, Default)]
struct Ledger {
    /// By bodies in flight.
    held: usize,
    /// The part of it held for targets that are not reliable.
    doubtful: usize,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Ledger {
    fn grant(&mut self, bytes: usize, reliable: bool) -> bool {
        if self.held + bytes > SHARED || !reliable && self.doubtful + bytes > SHARED / 2 {
            return false;
        }
        self.held += bytes;
        self.doubtful += if reliable { 0 } else { bytes };
        if self.held + self.spare_bytes > SHARED {
            self.spare = Vec::new();
            self.spare_bytes = 0;
        }
        true
    }

    fn take_back(&mut self, bytes: usize, reliable: bool) {
        self.held -= bytes;
        self.doubtful -= if reliable { 0 } else { bytes };
    }

    /// A buffer of an earlier scrape, granted.
    fn reuse(&mut self, reliable: bool) -> Option<Vec<u8>> {
        let spare = self.spare.pop()?;
        self.spare_bytes -= spare.capacity();
        self.grant(spare.capacity(), reliable).then_some(spare)
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        let after = self.spare_bytes + buffer.capacity();
        let fits = after <= ALL_SPARE_BYTES && self.held + after <= SHARED;
        if fits && (1..=SPARE_BYTES).contains(&buffer.capacity()) && self.spare.len() < SPARE {
            self.spare_bytes = after;
            self.spare.push(buffer);
        }
    }
}

impl Default for Bodies {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Shared {
                ledger: Mutex::default(),
                parsing: Semaphore::new(cores),
                turns: Turns::default(),
            }),
        }
    }
}

impl Bodies {
    /// An empty body, which takes memory as it arrives. `reliable`: the target's last fetch succeeded.
    pub(crate) fn body(&self, reliable: bool) -> Body {
        Body { bytes: Vec::new(), granted: 0, reliable, turn: None, refusal: None, shared: self.shared.clone() }
    }

    /// Waits for a turn to parse. Parsing may leave the reactor by `block_in_place`, which costs a thread for as long; the
    /// turns keep that to the number of cores.
    pub(crate) async fn parsing_turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed; if it were, parsing without a turn would be right.
        self.shared.parsing.acquire().await.ok()
    }
}

/// Why a body got no more room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is larger than [`LARGE`].
    Large,
    /// The memory for bodies is in use.
    Short,
}

/// A body on its way, and what it holds of the memory for bodies.
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Bytes that count as shared: the capacity of `bytes` up to [`SPARE_BYTES`], what may be written to above, nothing if
    /// there is a turn.
    granted: usize,
    reliable: bool,
    turn: Option<Turn>,
    refusal: Option<Refusal>,
    shared: Arc<Shared>,
}

impl Body {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why it got no more room, if it asked for more than there was.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Gives back what it holds and waits for the turn of very large bodies, which it then has as long as it lives.
    pub(crate) async fn wait_for_turn(&mut self) -> Recall {
        self.give_back();
        self.refusal = None;
        let (turn, recall) = self.shared.turns.take(self.reliable).await;
        self.turn = Some(turn);
        // All the room that it needs without a limit of its own, as for `MAPPED`. Without it the buffer grows as it is
        // written.
        let _ = self.bytes.try_reserve_exact(usize::try_from(BODY_LIMIT).unwrap_or(0));
        recall
    }

    fn give_back(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let granted = std::mem::take(&mut self.granted);
        if granted > 0 {
            let mut ledger = self.shared.ledger.lock();
            ledger.take_back(granted, self.reliable);
            ledger.keep(bytes);
        }
    }
}

impl BodyBuffer for Body {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn make_room(&mut self, more: usize, most: usize) -> bool {
        if self.turn.is_some() {
            return self.bytes.make_room(more, most);
        }
        let needed = self.bytes.len().saturating_add(more);
        if needed <= self.granted {
            return true;
        }
        if needed > LARGE {
            self.refusal = Some(Refusal::Large);
            return false;
        }
        let mut ledger = self.shared.ledger.lock();
        if self.granted == 0
            && let Some(spare) = ledger.reuse(self.reliable)
        {
            self.granted = spare.capacity();
            self.bytes = spare;
        }
        let wanted = needed.max(self.granted * 2).clamp(FIRST, LARGE);
        if needed <= self.granted {
            return true;
        }
        if !ledger.grant(wanted - self.granted, self.reliable) {
            self.refusal = Some(Refusal::Short);
            return false;
        }
        drop(ledger);
        self.granted = wanted;
        if wanted > self.bytes.capacity() {
            let room = if wanted > SPARE_BYTES { MAPPED } else { wanted };
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        true
    }

    /// As Prometheus, which undoes nothing else; the decoder of zstd alone could take 8 MiB.
    fn decompresses(&self, encoding: &str) -> bool {
        encoding == "gzip"
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 64 << 20;

    fn grown(bodies: &Bodies, bytes: usize, reliable: bool) -> Body {
        let mut body = bodies.body(reliable);
        assert!(body.make_room(bytes, MOST));
        body
    }

    fn held(bodies: &Bodies) -> (usize, usize, usize) {
        let ledger = bodies.shared.ledger.lock();
        assert_eq!(ledger.spare_bytes, ledger.spare.iter().map(Vec::capacity).sum::<usize>());
        assert!(ledger.held + ledger.spare_bytes <= SHARED);
        (ledger.held, ledger.doubtful, ledger.spare_bytes)
    }

    #[test]
    fn few_small_buffers_are_kept_and_used_again() {
        let bodies = Bodies::default();
        let many: Vec<Body> = (0..100).map(|_| grown(&bodies, 100, false)).collect();
        assert_eq!(held(&bodies), (100 * FIRST, 100 * FIRST, 0));
        drop(many);
        assert_eq!(held(&bodies), (0, 0, SPARE * FIRST));
        let mut again = grown(&bodies, 100, true);
        assert_eq!(held(&bodies), (FIRST, 0, (SPARE - 1) * FIRST));
        assert!(again.make_room(SPARE_BYTES + 1, MOST));
        drop(again);
        assert_eq!(held(&bodies), (0, 0, (SPARE - 1) * FIRST));
    }

    #[test]
    fn a_body_without_a_byte_holds_nothing() {
        let bodies = Bodies::default();
        drop(grown(&bodies, 100, true));
        let silent: Vec<Body> = (0..1000).map(|_| bodies.body(false)).collect();
        assert_eq!(held(&bodies), (0, 0, FIRST));
        drop(silent);
        assert_eq!(held(&bodies), (0, 0, FIRST));
    }

    #[test]
    fn all_bodies_together_stay_within_what_is_shared_and_half_of_it_is_for_reliable_targets() {
        let bodies = Bodies::default();
        let fill = |reliable| {
            let mut all = Vec::new();
            loop {
                let mut body = bodies.body(reliable);
                if !body.make_room(LARGE / 2, MOST) {
                    assert_eq!(body.refusal(), Some(Refusal::Short));
                    return all;
                }
                all.push(body);
            }
        };
        let doubtful = fill(false);
        assert_eq!(held(&bodies), (SHARED / 2, SHARED / 2, 0));
        let others = [grown(&bodies, LARGE, true), grown(&bodies, 2 * SPARE_BYTES, true)];
        let mut last = grown(&bodies, SPARE_BYTES, true);
        drop(grown(&bodies, SPARE_BYTES, true));
        assert_eq!(held(&bodies), (SHARED - SPARE_BYTES, SHARED / 2, SPARE_BYTES));
        assert!(last.make_room(2 * SPARE_BYTES, MOST));
        assert_eq!(held(&bodies), (SHARED, SHARED / 2, 0), "what was spare made way");
        assert!(fill(true).is_empty());
        drop((doubtful, last, others));
        let (left, _, spare) = held(&bodies);
        assert!(left == 0 && spare <= ALL_SPARE_BYTES);
    }

    #[tokio::test]
    async fn a_large_body_needs_the_turn_and_holds_nothing_while_it_waits() {
        let bodies = Bodies::default();
        let mut first = grown(&bodies, LARGE, true);
        assert!(first.bytes.capacity() >= MAPPED && !first.make_room(LARGE + 1, MOST));
        assert_eq!(first.refusal(), Some(Refusal::Large));
        first.wait_for_turn().await;
        assert_eq!((held(&bodies), first.refusal()), ((0, 0, 0), None));
        let room = first.bytes.capacity();
        assert!(room as u64 >= BODY_LIMIT && room as u64 <= BODY_LIMIT + 4096);
        first.bytes.resize(LARGE + 1, 0);
        assert!(first.make_room(LARGE, MOST) && first.bytes.capacity() == room, "it does not grow");

        let mut second = grown(&bodies, 1000, true);
        let mut waiting = std::pin::pin!(second.wait_for_turn());
        assert!(futures_poll(waiting.as_mut()).is_none());
        assert_eq!(held(&bodies).0, 0);
        drop(first);
        waiting.await;
    }

    /// Polls once.
    fn futures_poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }
}
