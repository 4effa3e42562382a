//! Memory for lines that are held back, shared by all sources of a job.
//!
//! Keeps true: what one source took is given back when it lets go of its lines, or ends.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One source's share.
#[derive(Debug, Default)]
pub(crate) struct Room {
    all: Arc<AtomicUsize>,
    mine: usize,
}

impl Room {
    /// The share of another source.
    pub fn twin(&self) -> Self {
        Self { all: Arc::clone(&self.all), mine: 0 }
    }

    pub fn take(&mut self, bytes: usize) {
        self.mine += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn give(&mut self, bytes: usize) {
        let bytes = bytes.min(self.mine);
        self.mine -= bytes;
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that all sources hold.
    pub fn used(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give(self.mine);
    }
}
