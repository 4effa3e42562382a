//! Wakes the thread that writes cursor files: a flag and a condition, and each destination's mark that there is something
//! to write.
//!
//! Keeps true: a ring is never lost, whether the thread sleeps, works, or is about to sleep; and what was marked before a
//! write began is in it, or rings again.

use std::sync::Arc;
use std::time::Instant;

use super::sync::{AtomicBool, Condvar, Mutex, Ordering};

/// The bell. Whoever rings does not wait.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    closing: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.state.lock().rung = true;
        self.wake.notify_all();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_all();
    }

    /// Sleeps until somebody rings, or until then. False when it is time to end.
    pub(crate) fn wait(&self, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.rung && !state.closing {
            match until {
                None => self.wake.wait(&mut state),
                Some(until) => {
                    if self.wake.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        state.rung = false;
        !state.closing
    }
}

/// Whether a destination's cursors moved since they were last looked at to be written.
pub(crate) struct Dirt {
    dirty: AtomicBool,
    bell: Arc<Bell>,
}

impl Dirt {
    pub(crate) fn new(bell: Arc<Bell>) -> Dirt {
        Dirt { dirty: AtomicBool::new(false), bell }
    }

    /// Something moved: call it after the move. Many marks ring once.
    pub(crate) fn mark(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// The write failed: there is still something to do, however many marks there were.
    pub(crate) fn restore(&self) {
        self.dirty.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// Call it before looking at what is to be written.
    pub(crate) fn clear(&self) {
        self.dirty.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }
}
