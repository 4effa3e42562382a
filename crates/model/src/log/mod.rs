//! Log lines as they lie in the queue: streams of entries, compressed once, in the form that Loki takes.
//!
//! An entry is the protobuf `EntryAdapter` of Loki's push API; a stream's entries are one snappy block. Snappy blocks join
//! without being packed anew (lengths added, elements in a row), so a sender to Loki copies bytes, and every other sender
//! unpacks and walks them. Measured against zstd columns, on access-log lines of 200 bytes: see `docs/performance.md`.
//!
//! Does not know where lines come from. Keeps true: within a stream, entries come out in the order in which they went in;
//! across streams, [`LogStream::places`] tells it.

mod batch;
mod entry;
mod mark;
mod view;

pub use batch::LogBatch;
pub use entry::{LogEntries, LogEntry};
pub use mark::{FileMark, SourceMark};
pub use view::{LogBatchView, LogStream, read_marks};

/// Bytes of entries before compression in one batch at most: a record of the queue takes 16 MiB.
pub const MAX_LOG_BATCH: usize = 12 << 20;
/// Label sets in one batch at most.
pub const MAX_LOG_STREAMS: usize = 65_536;
/// Labels of one set at most.
pub const MAX_LOG_LABELS: usize = 4096;
const VERSION: u8 = 1;
