//! What an inspection and a verification tell. Plain values.

use std::path::PathBuf;

use crate::config::LaneId;
use crate::ledger::LedgerRow;

/// A queue's directory as the next start would find it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The queue's own directory.
    pub directory: PathBuf,
    /// A process holds the lock: numbers are of a moment, and only what is known durable is told.
    pub in_use: bool,
    /// One for each lane, by name.
    pub lanes: Vec<LaneInspection>,
    /// One for each destination and lane, from the cursor files: of a queue in use up to a second old.
    pub cursors: Vec<CursorInspection>,
    /// Names and sizes (bytes) of the copies of damaged ranges.
    pub quarantine: Vec<(String, u64)>,
    /// Cursor files without a valid slot.
    pub damaged_cursors: Vec<PathBuf>,
    /// Entries that are not the queue's own, by name.
    pub foreign: Vec<PathBuf>,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneInspection {
    /// Its name.
    pub lane: LaneId,
    /// Lane offset behind the last frame that readers may see. Without a segment: where the log ends as far as a cursor file
    /// knows.
    pub durable_offset: u64,
    /// Number of the next item.
    pub next_item: u64,
    /// When the oldest segment was begun, ms since the epoch.
    pub oldest_ms: Option<i64>,
    /// When the newest frame was appended, ms since the epoch; not told of a queue in use.
    pub newest_ms: Option<i64>,
    /// Bytes behind the durable end: a torn write, or (in use) what is not known synced yet. No loss of anything promised.
    pub unsynced_bytes: u64,
    /// Its files, oldest first.
    pub segments: Vec<SegmentInspection>,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInspection {
    /// The file.
    pub path: PathBuf,
    /// Lane offset of its first frame.
    pub base: u64,
    /// Lane offset behind its last frame.
    pub end: u64,
    /// Number of its first item.
    pub first_item: u64,
    /// Items from there to the next segment's first, readable or not.
    pub items: u64,
    /// Size of the file, space reserved included.
    pub file_bytes: u64,
    /// When it was created, ms since the epoch; 0 if its header is damaged.
    pub created_ms: i64,
}

/// One destination's position in one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorInspection {
    /// Number of the item at which the destination began.
    pub start_item: u64,
    /// Everything below this lane offset is accounted for.
    pub settled_offset: u64,
    /// The item at that place.
    pub settled_item: u64,
    /// The book; nothing is in flight in it.
    pub row: LedgerRow,
}

/// What reading everything came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// What the directory holds.
    pub inspection: Inspection,
    /// Records that are intact, with every context they name.
    pub frames: u64,
    /// Items in them.
    pub items: u64,
    /// Contexts that are intact.
    pub contexts: u64,
    /// Bytes of segments read.
    pub bytes: u64,
    /// Intact records of a kind that this build does not know; a reader would reject them.
    pub unknown_kinds: u64,
    /// What is damaged, in the order of the lanes; at most 10,000 entries.
    pub damage: Vec<Damage>,
    /// Entries beyond those.
    pub more_damage: u64,
}

impl Verification {
    /// Nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Items in damaged ranges, where their number is known.
    pub fn damaged_items(&self) -> u64 {
        self.damage.iter().filter_map(|damage| damage.items).sum()
    }
}

/// One damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The lane; `None` for a cursor file.
    pub lane: Option<LaneId>,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
    /// Lane offset where it begins.
    pub offset: u64,
    /// The same place in the file, bytes from its start.
    pub position: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Items that cannot be read because of it; `None` where their number is not known.
    pub items: Option<u64>,
    /// `items` is an estimate, by the bytes that were lost. Readers book it all the same.
    pub estimated: bool,
}

/// What is wrong at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No valid frame header in this range.
    Header,
    /// A frame's header is intact and its body is not.
    Body,
    /// A record names a context at this lane offset that is damaged or not there.
    Context {
        /// Lane offset of the context.
        context: u64,
    },
    /// A frame is intact, but its item numbers do not fit its neighbours'.
    Numbers,
    /// A payload with a good checksum cannot be decompressed.
    Compression,
    /// A segment's header is damaged; its frames can be read with what the next segment says, or what they say themselves.
    SegmentHeader,
    /// A segment's header is damaged, and so are all its frames.
    Segment,
    /// A segment cannot be opened.
    Unreadable,
    /// Items between two places are in no file.
    Missing,
    /// The end of the log is damaged or gone although it had been synced.
    Tail,
    /// A cursor file without a valid slot: its destination would begin at the oldest record.
    Cursor,
}

impl Fault {
    /// A short word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Header => "header",
            Fault::Body => "body",
            Fault::Context { .. } => "context",
            Fault::Numbers => "numbers",
            Fault::Compression => "compression",
            Fault::SegmentHeader => "segment_header",
            Fault::Segment => "segment",
            Fault::Unreadable => "unreadable",
            Fault::Missing => "missing",
            Fault::Tail => "tail",
            Fault::Cursor => "cursor",
        }
    }
}
