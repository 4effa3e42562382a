//! Memory for requests that are being taken in, of all receivers of a process together.
//!
//! Keeps true: nobody waits for it. Who gets none is told to come again, and gives back what it had; so a client that
//! stalls can keep others out for the time a request may take, and never for ever. Who asks for more than one request may have is
//! told never to come again: it would find no room at any time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::refusal::Refusal;

/// Bytes that all receivers of a process may hold. Clones are the same.
#[derive(Debug, Clone)]
pub struct BodyRoom {
    left: Arc<AtomicUsize>,
    /// What one request may have, bytes.
    each: usize,
}

impl Default for BodyRoom {
    /// 64 MiB: four of the largest requests, or hundreds of ordinary ones.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl BodyRoom {
    /// So many bytes; one request may have three quarters of them.
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), each: bytes / 4 * 3 }
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
    /// Takes so much more. [`Refusal::Heavy`]: one request may not have that much; [`Refusal::Crowded`]: there is not that much
    /// now. Nothing is taken then.
    pub(crate) fn more(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.bytes.saturating_add(bytes) > self.room.each {
            return Err(Refusal::Heavy { limit: self.room.each });
        }
        let take = |left: usize| left.checked_sub(bytes);
        let taken = self.room.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Refusal::Crowded)?;
        self.bytes += bytes;
        Ok(())
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
        let (mut held, mut other) = (room.hold(), room.hold());
        held.more(70).unwrap();
        assert_eq!(held.more(6), Err(Refusal::Heavy { limit: 75 }), "nobody gets that much");
        assert_eq!(other.more(31), Err(Refusal::Crowded), "there is not that much now");
        other.more(30).unwrap();
        held.less(50);
        assert_eq!(room.left(), 50);
        drop((held, other));
        assert_eq!(room.left(), 100);
    }
}
