//! Memory for requests that are being taken in, of all receivers of a process together.
//!
//! Keeps true: nobody waits for it. Who gets none is told to come again, and gives back what it had; so a client that
//! stalls can keep others out for the time a request may take, and never for ever.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes that all receivers of a process may hold. Clones are the same.
#[derive(Debug, Clone)]
pub struct BodyRoom {
    left: Arc<AtomicUsize>,
}

impl Default for BodyRoom {
    /// 64 MiB: four of the largest requests, or hundreds of ordinary ones.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl BodyRoom {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Holds nothing yet.
    pub(crate) fn hold(&self) -> Held {
        Held { room: self.clone(), bytes: 0 }
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

/// One request's part of the room; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: BodyRoom,
    bytes: usize,
}

impl Held {
    /// Takes so much more; false, and nothing taken, if there is not that much.
    #[must_use]
    pub(crate) fn more(&mut self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives a part back.
    pub(crate) fn less(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.room.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.less(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let room = BodyRoom::new(100);
        let mut held = room.hold();
        assert!(held.more(70));
        assert!(!held.more(31), "there is not that much");
        assert!(held.more(30));
        held.less(50);
        assert_eq!(room.left(), 50);
        drop(held);
        assert_eq!(room.left(), 100);
    }
}
