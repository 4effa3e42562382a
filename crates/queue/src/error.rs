//! What can go wrong at the queue's public face, with the facts a person needs.
//!
//! It does not list damage in files: damage is skipped and counted (see [`crate::Ledger`]), it is never an error of
//! [`crate::Queue::open`].

use std::io;
use std::path::{Path, PathBuf};

use crate::record::ContextKey;

/// Every failure the queue reports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Another process holds the directory's lock.
    #[error("queue directory {} is in use by another process: stop that process or give this one its own directory", path.display())]
    Locked {
        /// The queue directory.
        path: PathBuf,
    },
    /// A file was written by a newer major format than this build reads.
    #[error(
        "{} has queue format {found}, this version reads up to {supported}: install a release that writes format {found}, or move the directory away",
        path.display()
    )]
    Format {
        /// The file that says so.
        path: PathBuf,
        /// Its major version.
        found: u16,
        /// The newest major version this build reads.
        supported: u16,
    },
    /// The directory given to [`crate::inspect`] holds no queue.
    #[error(
        "{} holds no queue: give the agent's data directory, or the directory in it that has lanes/ and cursors/",
        path.display()
    )]
    NoQueue {
        /// The directory as given.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was being done, in words.
        op: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record is larger than a frame may be.
    #[error("record of {size} bytes is larger than the limit of {limit} bytes: split it before appending")]
    TooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The lane has no room now; returned by [`crate::Appender::try_append`] only.
    #[error("lane {lane} has no room: try again later")]
    Full {
        /// The lane's name.
        lane: String,
    },
    /// The queue (or this lane, or this destination) was closed or removed.
    #[error("the queue is closed")]
    Closed,
    /// A name holds characters that are not allowed, or is empty or too long.
    #[error("{what} name {name:?} is not allowed: {why}")]
    Name {
        /// `lane` or `destination`.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// No lane of that name was given to [`crate::Queue::open`] or [`crate::Queue::apply`].
    #[error("no lane named {lane}")]
    UnknownLane {
        /// The name asked for.
        lane: String,
    },
    /// No destination of that name, or it does not read that lane.
    #[error("no destination named {destination} on lane {lane}")]
    UnknownDestination {
        /// The name asked for.
        destination: String,
        /// The lane asked for.
        lane: String,
    },
    /// The destination is configured with `enabled: false`.
    #[error("destination {destination} is paused: enable it to read from it")]
    Paused {
        /// The destination.
        destination: String,
    },
    /// There is already a live reader for this pair.
    #[error("destination {destination} has a reader on lane {lane} already")]
    ReaderTaken {
        /// The destination.
        destination: String,
        /// The lane.
        lane: String,
    },
    /// The record does not name this context.
    #[error("record at offset {offset} names no context {}", hex(key))]
    UnknownContext {
        /// Lane offset of the record.
        offset: u64,
        /// The key asked for.
        key: ContextKey,
    },
    /// The copy of a context that a record names cannot be read: settle the claim as [`crate::Outcome::Damaged`].
    #[error("context at offset {offset} of {} is damaged", path.display())]
    ContextDamaged {
        /// Lane offset of the context.
        offset: u64,
        /// Segment file.
        path: PathBuf,
    },
    /// The record was evicted, or its destination removed, while it was in a claim: its items are in the book.
    #[error("record at offset {offset} was given up by the queue while it was being sent: its contexts are gone")]
    Evicted {
        /// Lane offset of the record.
        offset: u64,
    },
    /// [`crate::Queue::close`] ran out of time; what was appended last may not be durable.
    #[error("the queue did not finish writing before its deadline")]
    Deadline,
}

impl QueueError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        QueueError::Io { op, path: path.to_path_buf(), source }
    }
}

fn hex(key: &ContextKey) -> String {
    key.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
