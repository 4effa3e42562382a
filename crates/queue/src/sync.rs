//! Locks and conditions of the cells that several threads share. The cells are compiled twice: with these, and in tests
//! with loom's, which tries every order of events (`tests/loom.rs`).

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use parking_lot::{Condvar, Mutex};
