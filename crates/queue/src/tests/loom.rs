//! The cells that threads share, under every order of events that loom can think of: the same source files, compiled a
//! second time with loom's locks.
//!
//! The durable end and the credit are tokio's `watch` and `Semaphore`, which tokio tests in this way itself;
//! `docs/ARCHITECTURE.md` says what that leaves.

// Each copy uses a part of what it has.
#![allow(dead_code, clippy::duplicate_mod)]

#[path = "../bell.rs"]
mod bell;
#[path = "../lane/mailbox.rs"]
mod mailbox;

/// Loom's primitives with the face of those in `crate::sync`.
mod sync {
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(crate) struct Guard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    #[derive(Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    pub(crate) struct Waited;

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            Guard(Some(self.0.lock().expect("no thread panics with a lock")))
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("held")
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held")
        }
    }

    impl Condvar {
        pub(crate) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            let held = guard.0.take().expect("held");
            guard.0 = Some(self.0.wait(held).expect("no thread panics with a lock"));
        }

        /// Time does not pass under loom: a deadline never comes, so nothing may rely on it.
        pub(crate) fn wait_until<T>(&self, guard: &mut Guard<'_, T>, _until: Instant) -> Waited {
            self.wait(guard);
            Waited
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl Waited {
        pub(crate) fn timed_out(&self) -> bool {
            false
        }
    }
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loom::thread;
use tokio::sync::Semaphore;

use self::bell::{Bell, Dirt};
use self::mailbox::Mailbox;
use crate::record::{Codec, Durability, Kind, Record};

fn record(number: u64) -> Record {
    Record {
        kind: Kind::LogBatch,
        codec: Codec::None,
        stream: number,
        items: 1,
        raw_len: 0,
        payload: Bytes::new(),
        contexts: Vec::new(),
    }
}

fn post(mailbox: &Mailbox, credit: &Arc<Semaphore>, number: u64) -> Option<u64> {
    let permit = Arc::clone(credit).try_acquire_owned().expect("room");
    mailbox.post(record(number), Durability::Soon, permit)
}

/// R8: a record that was posted is found by the thread without anybody else's help, also one posted in the instant in
/// which it goes to sleep; tickets follow the order in the box; what was refused was not taken.
#[test]
fn no_post_is_lost_and_tickets_are_in_order() {
    loom::model(|| {
        let mailbox = loom::sync::Arc::new(Mailbox::default());
        let credit = Arc::new(Semaphore::new(2));
        let posters: Vec<_> = (0..2)
            .map(|number| {
                let (mailbox, credit) = (loom::sync::Arc::clone(&mailbox), Arc::clone(&credit));
                thread::spawn(move || post(&mailbox, &credit, number).expect("open"))
            })
            .collect();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            let round = mailbox.wait(None, false);
            assert!(!round.closing);
            taken.extend(round.records);
        }
        let tickets: Vec<u64> = taken.iter().map(|pending| pending.ticket).collect();
        assert_eq!(tickets, [1, 2]);
        for (number, poster) in posters.into_iter().enumerate() {
            let ticket = poster.join().expect("poster");
            let place = taken.iter().position(|pending| pending.record.stream == number as u64).expect("taken");
            assert_eq!(taken[place].ticket, ticket);
        }
        assert_eq!(credit.available_permits(), 0, "the credit stays with what is in memory");
        drop(taken);
        assert_eq!(credit.available_permits(), 2);
    });
}

/// A record is either refused or found by the last rounds of a closing thread: never accepted and forgotten.
#[test]
fn a_post_beside_a_close_is_refused_or_found() {
    loom::model(|| {
        let mailbox = loom::sync::Arc::new(Mailbox::default());
        let credit = Arc::new(Semaphore::new(1));
        let poster = {
            let (mailbox, credit) = (loom::sync::Arc::clone(&mailbox), Arc::clone(&credit));
            thread::spawn(move || post(&mailbox, &credit, 7).is_some())
        };
        let closer = {
            let mailbox = loom::sync::Arc::clone(&mailbox);
            thread::spawn(move || mailbox.close())
        };
        let mut found = 0;
        loop {
            let round = mailbox.wait(None, false);
            found += round.records.len();
            if round.closing && !round.more {
                break;
            }
        }
        closer.join().expect("closer");
        assert_eq!(found, usize::from(poster.join().expect("poster")));
        assert_eq!(credit.available_permits(), 1, "a refused record gives its credit back");
    });
}

/// A poke is seen by a thread that holds back what it has (a full lane), though records lie there.
#[test]
fn a_poke_wakes_a_lane_that_waits_for_room() {
    loom::model(|| {
        let mailbox = loom::sync::Arc::new(Mailbox::default());
        let credit = Arc::new(Semaphore::new(1));
        let other = {
            let (mailbox, credit) = (loom::sync::Arc::clone(&mailbox), Arc::clone(&credit));
            thread::spawn(move || {
                post(&mailbox, &credit, 0).expect("open");
                mailbox.poke();
            })
        };
        let round = mailbox.wait(None, true);
        assert!(round.records.is_empty());
        other.join().expect("other");
        assert_eq!(mailbox.wait(None, false).records.len(), 1);
    });
}

/// What a destination settled is written, whenever the caretaker looks: marks are not lost to a write under way.
#[test]
fn what_moved_is_written_or_rings_again() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let dirt = loom::sync::Arc::new(Dirt::new(Arc::clone(&bell)));
        let cursor = loom::sync::Arc::new(sync::Mutex::new(0u64));
        let settler = {
            let (dirt, cursor) = (loom::sync::Arc::clone(&dirt), loom::sync::Arc::clone(&cursor));
            thread::spawn(move || {
                for _ in 0..2 {
                    *cursor.lock() += 1;
                    dirt.mark();
                }
            })
        };
        let mut written = 0;
        while written < 2 {
            // Loom fails the model if this sleeps for ever.
            assert!(bell.wait(None));
            if dirt.is_set() {
                dirt.clear();
                written = *cursor.lock();
            }
        }
        settler.join().expect("settler");
    });
}

/// A write that failed is tried again although nothing moves any more, and closing ends the wait.
#[test]
fn a_failed_write_rings_and_closing_ends() {
    loom::model(|| {
        let bell = Arc::new(Bell::default());
        let dirt = Dirt::new(Arc::clone(&bell));
        dirt.mark();
        assert!(bell.wait(None) && dirt.is_set());
        dirt.clear();
        dirt.restore();
        assert!(bell.wait(Some(Instant::now() + Duration::from_secs(1))) && dirt.is_set());
        let closer = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || bell.close())
        };
        assert!(!bell.wait(None));
        closer.join().expect("closer");
    });
}
