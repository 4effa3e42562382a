//! Buffers for scraped bodies, shared by all targets, and the limit on how many are read into samples at once.
//!
//! Keeps true: what is kept while nothing is scraped is bounded, whatever the number of targets; at most as many bodies
//! are parsed at once as there are cores; few bodies larger than `LARGE` are read at once. Other fetching is not limited:
//! a thousand targets that do not answer must not keep the others waiting.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Limits;

/// A body above this is read only by turns: many at once would take the memory of the machine. In bytes.
pub(crate) const LARGE: u64 = 16 << 20;
/// Limit of a body, in bytes after decompression, when its job sets none: what answers more than this is rarely an exporter,
/// and a process with other work to do should not find out how much more.
pub const BODY_LIMIT: u64 = 64 << 20;
/// How many large bodies are read at once.
const LARGE_TURNS: usize = 2;
/// Buffers kept for the next scrape.
const SPARE: usize = 16;
/// A larger buffer is given back to the allocator instead of kept.
const SPARE_BYTES: usize = 4 << 20;

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
    spare: Mutex<Vec<Vec<u8>>>,
    parsing: Semaphore,
    large: Semaphore,
}

impl Default for Bodies {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Shared {
                spare: Mutex::default(),
                parsing: Semaphore::new(cores),
                large: Semaphore::new(LARGE_TURNS),
            }),
        }
    }
}

impl Bodies {
    /// An empty buffer, usually with room already. One for a `large` body has all the room that it needs without a limit
    /// of its own: memory is used only as far as it is written to, growing by copies would need it twice, and what is
    /// reserved at once goes back to the system at once.
    pub(crate) fn take(&self, large: bool) -> Body {
        let bytes = if large {
            let mut bytes = Vec::new();
            // Without it the buffer grows as it is written.
            let _ = bytes.try_reserve_exact(usize::try_from(BODY_LIMIT).unwrap_or(0));
            bytes
        } else {
            self.shared.spare.lock().pop().unwrap_or_default()
        };
        Body { bytes, shared: self.shared.clone() }
    }

    /// Waits for a turn to parse. Parsing may leave the reactor by `block_in_place`, which costs a thread for as long; the
    /// turns keep that to the number of cores.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed; if it were, parsing without a turn would be right.
        self.shared.parsing.acquire().await.ok()
    }

    /// Waits for a turn to read a large body.
    pub(crate) async fn large_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.shared.large.acquire().await.ok()
    }
}

/// A buffer on loan.
pub(crate) struct Body {
    bytes: Vec<u8>,
    shared: Arc<Shared>,
}

impl Deref for Body {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Body {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() == 0 || bytes.capacity() > SPARE_BYTES {
            return;
        }
        let mut spare = self.shared.spare.lock();
        if spare.len() < SPARE {
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_small_buffers_are_kept() {
        let bodies = Bodies::default();
        let mut many: Vec<Body> = (0..100).map(|_| bodies.take(false)).collect();
        for body in &mut many {
            body.extend_from_slice(&[0; 100]);
        }
        drop(many);
        assert_eq!(bodies.shared.spare.lock().len(), SPARE);
        let mut again = bodies.take(false);
        assert!(again.is_empty() && again.capacity() >= 100);
        again.reserve(SPARE_BYTES + 1);
        drop(again);
        assert_eq!(bodies.shared.spare.lock().len(), SPARE - 1);
    }

    #[test]
    fn a_large_buffer_neither_grows_nor_stays() {
        let bodies = Bodies::default();
        let mut large = bodies.take(true);
        let room = large.capacity();
        assert!(room as u64 >= BODY_LIMIT && room as u64 <= BODY_LIMIT + 4096);
        large.resize(LARGE as usize + 1, 0);
        assert_eq!(large.capacity(), room);
        drop(large);
        assert!(bodies.shared.spare.lock().is_empty());
    }
}
