//! What telemetry is: labels, series tables, value batches and their durable encoding. No IO, no async, no clock.
//!
//! A scrape is stored as a *value column* that names the *series tables* it belongs to and the *base vector* its
//! values are coded against. Tables and bases are *contexts*: opaque bytes under a content hash ([`ContextKey`]), made
//! once and written to a segment once, so that a batch costs about two bytes a sample.
//!
//! ```text
//! SeriesTableBuilder -> EncodedTable --+
//! Vec<f64>           -> BaseVector  ---+-> MetricBatch::encode -> bytes -> decode_batch -> DecodedChunk
//!                                      |                                                        |
//!                                      +-> context bytes ------------> SeriesTable::decode <----+
//! ```
//!
//! Invariants:
//! - encode then decode gives back every bit of every value: NaN payloads, negative zero and stale markers included;
//! - decoders take any bytes: they never panic, and never allocate more than a small multiple of what they were given
//!   (or of the stated limits, for compressed contexts);
//! - bytes written by versions 1 and 2 stay readable; `testdata/v1` and `testdata/v2` hold them.
//!
//! Native histograms are batches of their own ([`HistogramBatch`]), so that a reader that does not know them loses nothing else.
//!
//! [`otlp`] counts, checks and cuts OTLP requests, which are kept as they came.
//!
//! Refuses: knowing where bytes come from or go to, parsing text, deciding what is sent.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

mod base;
mod batch;
mod column;
mod decode;
mod envelope;
mod error;
mod family;
mod histogram;
mod key;
mod labels;
mod log;
pub mod otlp;
mod stale;
mod table;
mod wire;

pub use base::BaseVector;
pub use batch::{MetricBatch, MetricChunk, Presence, Timestamps};
pub use decode::{DecodedChunk, DecodedPresence, DecodedSample, DecodedTimestamps, decode_batch};
pub use error::ModelError;
pub use family::{FamilyView, MetricType};
pub use histogram::{Audience, EncodedHistograms, HistogramBatch, HistogramChunk};
pub use key::ContextKey;
pub use labels::Labels;
pub use log::{
    FileMark, LogBatch, LogBatchView, LogEntries, LogEntry, LogStream, MAX_LOG_BATCH, MAX_LOG_LABELS, MAX_LOG_STREAMS,
    SourceMark, read_marks,
};
pub use stale::{NORMAL_NAN_BITS, STALE_NAN_BITS, is_stale, stale_marker};
pub use table::{EncodedTable, SERIES_PER_TABLE, SeriesTable, SeriesTableBuilder};
