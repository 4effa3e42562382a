//! The write-ahead queue of an agent: bytes in, bytes out, nothing lost silently.
//!
//! One directory holds several *lanes*, each an append-only log of segment files with its own writer thread. Each
//! *destination* reads the lanes it subscribes to at its own pace, from a position that moves only when it says what
//! became of what it took.
//!
//! ```text
//! Appender::append(Record) -> Receipt::durable()         Queue::reader(destination, lane) -> Reader::next() -> Claim
//!         \-> lane thread -> segment files -> durable end --------------------/        Claim::settle(Outcome) -> cursor file
//! ```
//!
//! What it refuses:
//! - to look inside a payload: it stores kinds, counts and bytes;
//! - to show a reader anything that a power cut could still take away;
//! - to lose an item without a column in the [`Ledger`]: delivered, filtered, rejected, evicted, expired or damaged; what is
//!   none of these is pending, and goes to [`Ledger::removed`] with its destination;
//! - to fail or to wipe anything because of damaged files: damage is skipped, counted and kept for inspection;
//! - to trust a file again whose sync failed.
//!
//! A reader that keeps up reads what was just written where it stands ([`Reader::try_next`]); everything else is read on
//! blocking tasks. A claim whose frame is evicted says so ([`Claim::evicted_wait`]), and its file is closed at once.
//!
//! Appends are durable within `commit_interval` ([`Durability::Soon`]) or when the receipt resolves
//! ([`Durability::Now`]). Delivery is at least once; after a crash at most the open claims and one cursor interval are
//! sent again. The file format is described in `docs/queue-format.md`.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        missing_docs
    )
)]

mod age_clock;
mod appender;
mod bell;
mod claim;
mod config;
mod cursor;
mod destination;
mod disk;
mod error;
mod fields;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod inflate;
mod inspect;
mod lane;
mod layout;
mod ledger;
mod quarantine;
mod queue;
mod reader;
mod record;
mod segment;
mod source;
mod store;
mod sync;
mod throttle;
mod walk;

pub use age_clock::AgeClock;
pub use appender::{Appender, Receipt};
pub use claim::Claim;
pub use config::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, QueueConfig, StartAt};
pub use error::QueueError;
pub use inspect::{
    CursorInspection, Damage, Fault, Inspection, LaneInspection, SegmentInspection, Verification, inspect, verify,
};
pub use lane::{LaneReport, LaneState, LaneStats};
pub use ledger::{LaneRow, Ledger, LedgerRow};
pub use queue::{CloseReport, Queue};
pub use reader::Reader;
pub use record::{Codec, ContextKey, Durability, FrameMeta, Kind, Outcome, Reason, Record};
pub use source::Scan;
pub use store::{ApplyReport, OpenReport, Removed};

#[cfg(test)]
mod tests;
