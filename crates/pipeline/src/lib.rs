//! The two doors of the on-disk queue: sources hand telemetry in through an intake, senders take it out through an outlet.
//!
//! A batch is encoded once, on the way in; it is decoded once per destination, on the way out. In between there are only
//! bytes, counts and keys, which the queue keeps without knowing what they mean.
//!
//! It refuses: to know who scrapes and who sends, to open files or sockets, to decide about a sample (what a destination
//! drops, relabels or refuses is the sender's business), and to lose a record: one that cannot be read is settled as
//! rejected with a reason and counted, and the outlet goes on.
//!
//! - [`MetricIntake`] encodes a `model::MetricBatch` and appends it to a lane.
//! - [`Outlet`] gives [`MetricClaim`]s: the decoded chunks of one frame and the duty to settle it.
//! - [`LogIntake`], [`LogOutlet`] and [`LogClaim`] are the same for log lines.
//! - [`OtlpIntake`], [`OtlpOutlet`] and [`OtlpClaim`] are the same for OTLP requests, which are kept as they were received.
//! - [`BaseVectors`] is the memory of base vectors that all outlets of a process share.
//!
//! Invariants: samples of a frame come out in the order in which they went in; a claim is settled once or comes back;
//! the counts of an outcome sum to the frame's items.

mod bases;
mod cpu;
mod error;
mod intake;
mod logs;
mod marks;
mod otlp;
mod outlet;

pub use bases::BaseVectors;
pub use cpu::off_reactor;
pub use error::{IntakeError, OutletError};
pub use intake::{Compression, MetricIntake};
pub use logs::{LogClaim, LogIntake, LogOutlet};
pub use marks::MarkLane;
pub use otlp::{MAX_OTLP_REQUEST, OtlpBuffer, OtlpClaim, OtlpIntake, OtlpOutlet};
pub use outlet::{MetricClaim, Outlet};
pub use queue::{AgeClock, ContextKey, Durability, FrameMeta, LaneId, Outcome, QueueError, Reason, Receipt};
