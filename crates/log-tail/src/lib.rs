//! Reads log files: every byte once into the queue, through rotation, truncation and kills.
//!
//! [`Tail::spawn`] runs one route. Each [`FileJob`] gets the groups that discovery found; relabelling makes patterns and
//! labels of them; the *foreman* (a thread) looks which files match and who they are; a few *reader* threads take turns at
//! the files that have something new, cut lines and append batches to the route's lane. Each batch carries the position
//! behind it, so position and lines become durable in one write; the [`Book`] remembers them, and writes its own state
//! file and Promtail's positions file now and then.
//!
//! A file is not its path. It is known by device, inode, a hash of its head (what was read of the first 1024 bytes) and a
//! hash of the 64 bytes before the position. So a renamed file goes on where it stood, a copy made by `copytruncate` is
//! finished from where the original stood, a truncated file begins anew even if it has outgrown the old position, and a
//! rotated file is recognised after it was compressed.
//!
//! Refuses: to send anything, to keep lines in memory (a partial line waits in its file), to read what it does not know to
//! be new: a sibling that looks like a copy of a live file waits until it is clear which one it is.
//!
//! Invariants: memory depends on the number of readers and of files, not on their sizes; one file that cannot be read does
//! not stop another; when the queue has no room, reading stops where it is; notifications only save time, polling is what
//! is relied upon.

mod book;
mod config;
mod error;
mod family;
mod foreman;
mod glob;
mod lines;
mod metrics;
mod packing;
mod promtail;
mod reader;
mod record;
mod search;
mod status;
mod survey;
mod tail;
mod tail_file;
mod target;
mod text;
mod watch;

pub use book::{Book, PositionsConfig};
pub use config::{Decompression, FileJob, Limits, Pace, TailConfig};
pub use error::TailError;
pub use glob::Pattern;
pub use metrics::TailMetrics;
pub use packing::Packing;
pub use status::{FileState, FileStatus};
pub use tail::{Groups, Tail};
pub use target::Target;
pub use text::Charset;
