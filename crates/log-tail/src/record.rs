//! What is remembered of one content of one file, and how a batch carries it.
//!
//! A record belongs to what was written, not to a path: it has a number of its own, drawn when the content was first seen,
//! and follows the content through renaming, copying and compression. Truncation ends it; what comes then has another.

use std::{fmt::Write, path::Path};

use model::{FileMark, SourceMark};
use serde::{Deserialize, Serialize};

/// Bytes of the beginning that the head's hash covers at most.
pub(crate) const HEAD: usize = 1024;
/// Bytes before the position that the tail's hash covers at most.
pub(crate) const TAIL: usize = 64;

/// Earlier positions that are remembered, the denser the nearer they are.
const WAYPOINTS: usize = 6;

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
    /// Bytes of text that were read.
    pub offset: u64,
    /// What of them is not in the queue: lines that stages held back when this was written, `start..end`, rising. They are
    /// read again when the file is taken up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<(u64, u64)>,
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
    /// Earlier positions, rising, each with hash and length of what lay before it: by them a copy that lacks the end of what was
    /// read is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<(u64, u64, u32)>,
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
            held: Vec::new(),
            packed: false,
            seen_ms: 0,
            lost_ms: None,
            finished_at: None,
            packed_size: 0,
            way: Vec::new(),
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished_at == Some(self.offset) && self.held.is_empty()
    }

    /// Nothing of it was read, and something may be.
    pub(crate) fn is_unread(&self) -> bool {
        self.offset == 0 && !self.is_finished()
    }

    /// Everything before this is in the queue.
    pub(crate) fn safe_offset(&self) -> u64 {
        self.held.first().map_or(self.offset, |(start, _)| *start)
    }

    /// Whether `later` says something else of the position, and was said later.
    pub(crate) fn is_behind(&self, later: &Self) -> bool {
        (self.offset, &self.held) != (later.offset, &later.held) && self.offset <= later.offset
    }

    /// The path that rotation works on.
    pub(crate) fn real_path(&self) -> &Path {
        Path::new(self.real.as_deref().unwrap_or(&self.path))
    }

    /// As a batch carries it. Behind the job: when it was last seen in its place, where links lead, and earlier positions.
    pub(crate) fn mark(&self) -> SourceMark {
        let packed = u8::from(self.packed);
        SourceMark {
            key: self.path.clone(),
            cursor: format!(
                "{:016x}.{:016x}.{}.{packed}{}.{}.{}\0{:x}\0{}\0{}",
                self.id,
                self.tail,
                self.tail_len,
                held_text(&self.held, self.offset),
                self.rank,
                self.job,
                self.seen_ms,
                self.real.as_deref().unwrap_or_default(),
                way_text(&self.way),
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
        let file = mark.file.filter(|file| file.head_len as usize <= HEAD)?;
        let mut parts = mark.cursor.splitn(6, '.');
        let id = u64::from_str_radix(parts.next()?, 16).ok()?;
        let tail = u64::from_str_radix(parts.next()?, 16).ok()?;
        let tail_len = parts.next()?.parse().ok().filter(|len| *len as usize <= TAIL)?;
        let (packed, held) = parts.next()?.split_at_checked(1)?;
        let (packed, held) = (packed == "1", held_of(held, file.offset)?);
        let rank = parts.next()?.parse().ok()?;
        let mut rest = parts.next()?.split('\0');
        let job = rest.next()?;
        let seen_ms = rest.next().and_then(|ms| i64::from_str_radix(ms, 16).ok()).unwrap_or_default();
        let real = rest.next().filter(|real| !real.is_empty()).map(str::to_owned);
        let way = rest.next().map(|text| way_of(text, file.offset)).unwrap_or_default();
        Some(Self {
            id,
            head: file.head,
            head_len: file.head_len,
            tail,
            tail_len,
            offset: file.offset,
            held,
            packed,
            seen_ms,
            real,
            way,
            ..Self::fresh(job, rank, Path::new(&mark.key), file.device, file.inode)
        })
    }

    /// What is written of it can be.
    pub(crate) fn is_sound(&self) -> bool {
        let lengths = (self.head_len as usize, self.tail_len as usize);
        lengths.0 <= HEAD
            && lengths.1 <= TAIL
            && self.held.iter().all(|(start, end)| start <= end && *end <= self.offset)
    }

    /// Takes over a later position of the same content; what only the book knows stays.
    pub(crate) fn advance(&mut self, later: &Self) {
        *self = Self {
            real: later.real.clone().or(self.real.take()),
            seen_ms: self.seen_ms.max(later.seen_ms),
            lost_ms: self.lost_ms,
            finished_at: self.finished_at,
            packed_size: self.packed_size,
            way: match later.way.is_empty() {
                true => self.way_to(later.offset),
                false => later.way.clone(),
            },
            ..later.clone()
        };
    }

    /// Notes earlier positions before the position moves on: the present one, or where nothing was read before, some within
    /// `new`, which is what is read now.
    pub(crate) fn pass(&mut self, new: &[u8]) {
        let offset = self.offset + new.len() as u64;
        if self.offset == 0 {
            let halves = std::iter::successors(Some(new.len() / 2), |at| Some(at / 2));
            let points = halves.take_while(|at| *at >= HEAD).filter_map(|at| {
                let tail = new.get(at.saturating_sub(TAIL)..at)?;
                Some((at as u64, hash(tail), u32::try_from(tail.len()).ok()?))
            });
            self.way = points.collect();
            self.way.reverse();
        }
        self.way = self.way_to(offset);
    }

    /// The way with the present position in it, for a later one.
    fn way_to(&mut self, offset: u64) -> Vec<(u64, u64, u32)> {
        let mut way = std::mem::take(&mut self.way);
        if self.offset > 0 && self.offset < offset && way.last().is_none_or(|last| last.0 < self.offset) {
            way.push((self.offset, self.tail, self.tail_len));
        }
        while way.len() > WAYPOINTS {
            // Without which the distances still grow most evenly with how far back they lie.
            let spread = |at: &usize| {
                let place = |at: usize| way.get(at).map_or(offset, |point| point.0);
                let (before, after) = (at.checked_sub(1).map_or(0, place), place(at + 1));
                let back = offset.saturating_sub(before).max(1);
                u128::from(after.saturating_sub(before)) * 1_000_000 / u128::from(back)
            };
            let least = (0..way.len()).min_by_key(spread).unwrap_or_default();
            way.remove(least);
        }
        way
    }
}

/// For each earlier position where it lies, the hash of what lay before it, and of how many bytes.
fn way_text(way: &[(u64, u64, u32)]) -> String {
    let mut text = String::new();
    for (offset, tail, tail_len) in way {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{offset:x}-{tail:x}-{tail_len:x}");
    }
    text
}

/// None at all if any of them cannot be one.
fn way_of(text: &str, offset: u64) -> Vec<(u64, u64, u32)> {
    let mut before = 0;
    let points = text.split(',').map(|point| {
        let mut parts = point.splitn(3, '-').map(|part| u64::from_str_radix(part, 16).ok());
        let at = parts.next()??;
        let (tail, tail_len) = (parts.next()??, u32::try_from(parts.next()??).ok()?);
        let sound = std::mem::replace(&mut before, at) < at && at < offset && tail_len as usize <= TAIL;
        (sound && u64::from(tail_len) <= at).then_some((at, tail, tail_len))
    });
    points.take(WAYPOINTS + 1).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// `h` and, for each stretch, how far before the position it begins and how long it is; nothing if there is none.
fn held_text(held: &[(u64, u64)], offset: u64) -> String {
    let mut text = String::new();
    for (start, end) in held {
        let lead = if text.is_empty() { 'h' } else { ',' };
        let _ = write!(text, "{lead}{:x}-{:x}", offset.saturating_sub(*start), end.saturating_sub(*start));
    }
    text
}

fn held_of(text: &str, offset: u64) -> Option<Vec<(u64, u64)>> {
    let Some(text) = text.strip_prefix('h') else {
        return text.is_empty().then(Vec::new);
    };
    let mut held: Vec<(u64, u64)> = Vec::new();
    for part in text.split(',') {
        let (back, len) = part.split_once('-')?;
        let start = offset.checked_sub(u64::from_str_radix(back, 16).ok()?)?;
        let end = start.checked_add(u64::from_str_radix(len, 16).ok()?).filter(|end| *end <= offset)?;
        if held.last().is_some_and(|(_, before)| *before > start) || start == end {
            return None;
        }
        held.push((start, end));
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_the_record_it_came_from() {
        let mut record = Record::fresh("a.job with.dots", 3, Path::new("/var/log/x.log"), 7, 8);
        (record.head, record.head_len, record.tail, record.tail_len) = (1, 1024, u64::MAX, 64);
        (record.offset, record.packed, record.seen_ms) = (99, true, 1_700_000_000_000);
        record.real = Some("/data/x.1.log".to_owned());
        assert_eq!(Record::from_mark(&record.mark()), Some(record.clone()));
        record.way = vec![(10, 5, 10), (70, u64::MAX, 64)];
        assert_eq!(Record::from_mark(&record.mark()), Some(record.clone()));
        record.held = vec![(3, 10), (40, 99)];
        assert_eq!(Record::from_mark(&record.mark()), Some(record.clone()));
        assert_eq!((record.safe_offset(), record.is_finished()), (3, false));
    }

    #[test]
    fn earlier_positions_of_which_one_cannot_be_are_left_out() {
        for text in ["", "5", "5-1", "5-1-1,4-1-1", "64-1-1", "5-1-41", "5-1-6", "g-1-1", "5-1-1-1"] {
            assert_eq!(way_of(text, 100), Vec::new(), "{text}");
        }
        assert_eq!(way_of("5-1-5,63-2-40", 100), [(5, 1, 5), (99, 2, 64)]);
    }

    #[test]
    fn of_what_is_read_first_some_positions_are_noted() {
        let mut record = Record::fresh("job", 0, Path::new("/var/log/x.log"), 7, 8);
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        record.pass(&text);
        assert!(!record.way.is_empty() && record.way.len() <= WAYPOINTS);
        for (at, tail, tail_len) in &record.way {
            let at = usize::try_from(*at).unwrap();
            assert_eq!(*tail, hash(&text[at - *tail_len as usize..at]));
        }
        assert!(record.way.iter().any(|point| point.0 < 100_000) && record.way.iter().any(|point| point.0 > 300_000));
    }

    #[test]
    fn marks_of_other_sources_are_left_alone() {
        for cursor in ["", "x", "1.2.3", "1.2.65.0.0.job", "g.2.3.0.0.j", "1.2.3.0h1-2.0.j", "1.2.3.0x.0.j"] {
            let mark = SourceMark { key: "k".into(), cursor: cursor.into(), file: Some(FileMark::default()) };
            assert_eq!(Record::from_mark(&mark), None, "{cursor}");
        }
        assert_eq!(Record::from_mark(&SourceMark::default()), None);
    }
}
