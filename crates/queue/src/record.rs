//! What goes in and what comes out: records, frame metadata, outcomes. Plain values, no IO.
//!
//! Nothing here looks inside a payload: a kind is a number and a context is a key with bytes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::config::LaneId;

/// 128-bit name of a context: bytes that several records need to be decoded (for instance a table of series).
///
/// The key must be a function of the bytes (a hash): the lane writes equal keys once per segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextKey(pub [u8; 16]);

/// What a payload is; one byte on disk. Readers reject kinds they do not know with the reason `unknown_kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A batch of samples.
    MetricBatch = 1,
    /// A batch of log lines.
    LogBatch = 2,
    /// OTLP metrics as received.
    OtlpMetrics = 3,
    /// OTLP logs as received.
    OtlpLogs = 4,
    /// OTLP spans as received.
    OtlpTraces = 5,
}

impl Kind {
    /// The kind with this number, if this build knows it.
    pub fn from_u8(number: u8) -> Option<Kind> {
        match number {
            1 => Some(Kind::MetricBatch),
            2 => Some(Kind::LogBatch),
            3 => Some(Kind::OtlpMetrics),
            4 => Some(Kind::OtlpLogs),
            5 => Some(Kind::OtlpTraces),
            _ => None,
        }
    }
}

/// How a payload is compressed on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Stored as it is.
    None = 0,
    /// One zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec with this number, if this build knows it.
    pub fn from_u8(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::None),
            1 => Some(Codec::Zstd),
            _ => None,
        }
    }
}

/// One thing to keep: a payload, what it is, how many items it counts for, and the contexts it needs.
#[derive(Debug, Clone)]
pub struct Record {
    /// What the payload is.
    pub kind: Kind,
    /// How `payload` is compressed.
    pub codec: Codec,
    /// Unit of ordering; frames of one stream are to be delivered in order.
    pub stream: u64,
    /// Samples, lines, spans, points: what the ledger counts.
    pub items: u32,
    /// Size of the payload after decompression, in bytes.
    pub raw_len: u32,
    /// The bytes, compressed by `codec`.
    pub payload: Bytes,
    /// Everything the payload names; the lane writes those the active segment does not hold yet.
    pub contexts: Vec<(ContextKey, Bytes)>,
}

/// When an append is synced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Within `commit_interval` (200 ms).
    Soon,
    /// At once; whoever waits for the receipt waits for one fdatasync.
    Now,
}

/// What the queue knows of a frame without reading its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameMeta {
    /// The lane it is in.
    pub lane: LaneId,
    /// Lane offset: a place in the lane's byte sequence that is never used twice.
    pub offset: u64,
    /// Running number of its first item in the lane.
    pub first_item: u64,
    /// Items in it.
    pub items: u32,
    /// Unit of ordering.
    pub stream: u64,
    /// When it was appended, ms since the epoch, never decreasing within a lane.
    pub ingest_ms: i64,
    /// What the payload is.
    pub kind: Kind,
}

/// Why items were rejected: a short snake_case word, used as a label value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// The payload could not be decompressed or decoded although its checksum is right.
    pub const UNDECODABLE: Reason = Reason::new("undecodable");
    /// The frame's kind is not known to this version.
    pub const UNKNOWN_KIND: Reason = Reason::new("unknown_kind");
    /// The outcome given did not sum to the frame's items.
    pub const UNACCOUNTED: Reason = Reason::new("unaccounted");

    /// A reason from a word known at compile time, which keeps the number of reasons bounded.
    pub const fn new(word: &'static str) -> Reason {
        Reason(Cow::Borrowed(word))
    }

    pub(crate) fn restored(word: String) -> Reason {
        Reason(Cow::Owned(word))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a claim ended. Every item of the frame ends in exactly one column of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All items were accepted by the far side.
    Delivered,
    /// All items were refused for good.
    Rejected(Reason),
    /// Some of each; the numbers sum to the frame's items.
    Mixed {
        /// Accepted by the far side.
        delivered: u32,
        /// Dropped by this destination's own rules.
        filtered: u32,
        /// Refused for good: how many for which reason.
        rejected: Vec<(Reason, u32)>,
        /// Too old.
        expired: u32,
        /// In a part of the frame that cannot be read any more.
        damaged: u32,
    },
    /// Older than this destination wants.
    Expired,
    /// A context the frame needs cannot be read any more.
    Damaged,
}
