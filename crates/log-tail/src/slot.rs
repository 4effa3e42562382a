//! What the foreman knows of a file that is followed, of paths that were met, and of what came into them.
//!
//! Plain words; who changes them is the [`Foreman`](crate::foreman::Foreman).

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use crate::{FileState, order::Gate, record::Record, tail_file::TailFile};

/// Job, rank, device, inode: one file as one job reads it.
pub(crate) type Key = (Arc<str>, u32, u64, u64);

/// A file that is followed.
pub(crate) struct Slot {
    pub key: Key,
    pub place: PathBuf,
    /// The record as it came back last.
    pub known: Record,
    /// At rest here, or at a reader.
    pub file: Option<Box<TailFile>>,
    /// The file's, wherever it is.
    pub handle: Weak<File>,
    /// Something happened while it was at a reader.
    pub again: bool,
    /// Its path leads elsewhere, or nowhere.
    pub detached: bool,
    /// It was found beside its path: who writes to it for longer than a rotation takes is a stranger.
    pub found: bool,
    /// It was read to its end once.
    pub caught_up: bool,
    pub quiet_since: Instant,
    pub pause: Duration,
    pub poll_at: Option<Instant>,
    pub state: FileState,
    /// As stored.
    pub size: u64,
    /// It was taken up and is not begun.
    pub gate: Option<Gate>,
    /// See [`Foreman::line_up`].
    pub standing: u64,
}

impl Slot {
    /// What looks like it is a copy until it was read: it rotated away, whether a reader has seen that yet or not, or it waits
    /// for older ones and may do so.
    pub(crate) fn waits(&self) -> bool {
        let is = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == (self.key.2, self.key.3);
        self.detached || self.gate.is_some() || !std::fs::metadata(&self.place).is_ok_and(is)
    }

    /// The file as it is now, if it is open or still in its place.
    pub(crate) fn open(&self) -> Option<Arc<File>> {
        self.handle.upgrade().or_else(|| {
            let file = File::open(&self.place).ok()?;
            let meta = file.metadata().ok()?;
            ((meta.dev(), meta.ino()) == (self.key.2, self.key.3)).then(|| Arc::new(file))
        })
    }
}

/// A path that may have led to other contents than those that were met: they are looked for among its siblings.
pub(crate) struct Lookout {
    pub job: Arc<str>,
    pub rank: u32,
    pub real: PathBuf,
    /// When the path was last looked at: what came into it since was made and written since.
    pub since_ms: i64,
    /// Device and inode of files that lay there: they may have been cut and written anew.
    pub was: Vec<(u64, u64)>,
    pub until: Instant,
    /// How often that was searched: a thread that was held up must not forget what it had no time for.
    pub searches: u32,
}

/// A content that came into a path, and of which nothing is durable yet.
pub(crate) struct Came {
    pub id: u64,
    pub job: Arc<str>,
    pub rank: u32,
    /// When the path was last looked at without it.
    pub since_ms: i64,
}

/// A path that matched, as one job reads it.
pub(crate) struct Met {
    pub real: PathBuf,
    pub last: Instant,
}
