//! What is remembered of one content of one file, and how a batch carries it.
//!
//! A record belongs to what was written, not to a path: it has a number of its own, drawn when the content was first seen,
//! and follows the content through renaming, copying and compression. Truncation ends it; what comes then has another.

use std::path::Path;

use model::{FileMark, SourceMark};
use serde::{Deserialize, Serialize};

/// Bytes of the beginning that the head's hash covers at most.
pub(crate) const HEAD: usize = 1024;
/// Bytes before the position that the tail's hash covers at most.
pub(crate) const TAIL: usize = 64;

/// The hash of heads and tails.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// A position in a content, and what tells that content from others. Hashes cover only what lies before the position, as
/// text: of a compressed file, what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: u64,
    pub job: String,
    /// Counts the targets of the job that claim the same file.
    #[serde(default)]
    pub rank: u32,
    /// Where it lay when it was first seen: what `filename` says.
    pub path: String,
    /// The same with links followed, if that is another path.
    #[serde(default)]
    pub real: Option<String>,
    pub device: u64,
    pub inode: u64,
    pub head: u64,
    pub head_len: u32,
    pub tail: u64,
    pub tail_len: u32,
    /// Bytes of text that are in the queue.
    pub offset: u64,
    /// It lies compressed.
    #[serde(default)]
    pub packed: bool,
    /// When it was last seen in its place, ms since the epoch.
    #[serde(default)]
    pub seen_ms: i64,
    /// It is not in its place any more, since then (ms since the epoch): what is behind the position is looked for.
    #[serde(default)]
    pub lost_ms: Option<i64>,
    /// Nothing more is expected behind this offset.
    #[serde(default)]
    pub finished_at: Option<u64>,
    /// Size of the compressed file that ended at `finished_at`.
    #[serde(default)]
    pub packed_size: u64,
}

impl Record {
    /// Nothing of it was read yet.
    pub(crate) fn fresh(job: &str, rank: u32, path: &Path, device: u64, inode: u64) -> Self {
        Self {
            id: fastrand::u64(1..),
            job: job.to_owned(),
            rank,
            path: path.to_string_lossy().into_owned(),
            real: None,
            device,
            inode,
            head: 0,
            head_len: 0,
            tail: 0,
            tail_len: 0,
            offset: 0,
            packed: false,
            seen_ms: 0,
            lost_ms: None,
            finished_at: None,
            packed_size: 0,
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished_at == Some(self.offset)
    }

    /// The path that rotation works on.
    pub(crate) fn real_path(&self) -> &Path {
        Path::new(self.real.as_deref().unwrap_or(&self.path))
    }

    /// As a batch carries it.
    pub(crate) fn mark(&self) -> SourceMark {
        let packed = u8::from(self.packed);
        SourceMark {
            key: self.path.clone(),
            cursor: format!(
                "{:016x}.{:016x}.{}.{packed}.{}.{}",
                self.id, self.tail, self.tail_len, self.rank, self.job
            ),
            file: Some(FileMark {
                device: self.device,
                inode: self.inode,
                head: self.head,
                head_len: self.head_len,
                offset: self.offset,
            }),
        }
    }

    /// What a batch carried; `None` for marks of other sources.
    pub(crate) fn from_mark(mark: &SourceMark) -> Option<Self> {
        let file = mark.file?;
        let mut parts = mark.cursor.splitn(6, '.');
        let id = u64::from_str_radix(parts.next()?, 16).ok()?;
        let tail = u64::from_str_radix(parts.next()?, 16).ok()?;
        let tail_len = parts.next()?.parse().ok().filter(|len| *len as usize <= TAIL)?;
        let packed = parts.next()? == "1";
        let rank = parts.next()?.parse().ok()?;
        let job = parts.next()?;
        Some(Self {
            id,
            head: file.head,
            head_len: file.head_len,
            tail,
            tail_len,
            offset: file.offset,
            packed,
            ..Self::fresh(job, rank, Path::new(&mark.key), file.device, file.inode)
        })
    }

    /// Takes over a later position of the same content; what only the book knows stays.
    pub(crate) fn advance(&mut self, later: &Self) {
        *self = Self {
            real: later.real.clone().or(self.real.take()),
            seen_ms: self.seen_ms.max(later.seen_ms),
            lost_ms: self.lost_ms,
            finished_at: self.finished_at,
            packed_size: self.packed_size,
            ..later.clone()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_the_record_it_came_from() {
        let mut record = Record::fresh("a.job with.dots", 3, Path::new("/var/log/x.log"), 7, 8);
        (record.head, record.head_len, record.tail, record.tail_len) = (1, 1024, u64::MAX, 64);
        (record.offset, record.packed) = (99, true);
        assert_eq!(Record::from_mark(&record.mark()), Some(record));
    }

    #[test]
    fn marks_of_other_sources_are_left_alone() {
        for cursor in ["", "x", "1.2.3", "1.2.65.0.0.job", "g.2.3.0.0.j"] {
            let mark = SourceMark { key: "k".into(), cursor: cursor.into(), file: Some(FileMark::default()) };
            assert_eq!(Record::from_mark(&mark), None, "{cursor}");
        }
        assert_eq!(Record::from_mark(&SourceMark::default()), None);
    }
}
