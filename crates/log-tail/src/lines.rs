//! From bytes to entries of a batch: decoding, stages, limits, timestamps.
//!
//! Keeps true: lines of one file come to their stages (or to the batch, where there are none) with rising times; a line
//! that has no stages to go through costs no allocation.

use std::{ops::Range, sync::Arc};

use model::{Labels, LogBatch};
use stages::{LineGate, Passage};

use crate::{
    Charset, Limits,
    config::{LONGEST_LINE, LONGEST_STAGED_LINE},
    staged::Staged,
    tail_file::is_full,
};

/// What became of some lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub lines: u64,
    pub bytes: u64,
    /// Pieces of lines that were too long for one.
    pub split: u64,
    pub too_long: u64,
    pub truncated: u64,
    /// Zero bytes at the beginning of a file that was truncated under its writer.
    pub holes: u64,
    /// Lines the batch would not take.
    pub refused: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.split += other.split;
        self.too_long += other.too_long;
        self.truncated += other.truncated;
        self.holes += other.holes;
        self.refused += other.refused;
    }
}

impl Limits {
    /// Whether a line goes on, and how much of it.
    fn length(&self, line: &[u8], counts: &mut Counts) -> Option<usize> {
        if self.max_line_size == 0 || line.len() <= self.max_line_size {
            return Some(line.len());
        }
        if !self.truncate {
            counts.too_long += 1;
            return None;
        }
        counts.truncated += 1;
        Some(Charset::Utf8.cut(line, self.max_line_size))
    }

    /// Cuts a line if that is what the limits want. False: it is dropped.
    pub(crate) fn apply(&self, line: &mut String, counts: &mut Counts) -> bool {
        match self.length(line.as_bytes(), counts) {
            Some(length) if length < line.len() => line.truncate(line.floor_char_boundary(length)),
            Some(_) => {}
            None => return false,
        }
        true
    }
}

/// Takes the lines of one file into a batch.
pub(crate) struct Lines<'a> {
    pub batch: &'a mut LogBatch,
    /// Of the file's own labels. Of no use where there are stages: they make labels.
    pub stream: u32,
    pub labels: &'a Labels,
    pub staged: Option<&'a mut Staged>,
    pub gate: Option<&'a Arc<LineGate>>,
    pub charset: Charset,
    pub limits: Limits,
    pub decoded: &'a mut Vec<u8>,
    pub now_ns: i64,
    /// Of the line before.
    pub last_ns: i64,
    /// The limits of the route make the file wait until then.
    pub wait_ns: i64,
    /// What was taken last was the beginning, or the middle, of a line that was too long for one piece.
    pub cut: bool,
    pub counts: Counts,
}

impl Lines<'_> {
    /// Longer lines come in pieces, bytes as stored.
    pub(crate) fn longest(&self) -> usize {
        if self.staged.is_some() { LONGEST_STAGED_LINE } else { LONGEST_LINE }
    }

    /// A piece of a line; `end`: no other is behind it. What a limit said of the first holds for all: the line is dropped
    /// as a whole, or nothing is left behind the place where it was cut.
    pub(crate) fn push_piece(&mut self, raw: &[u8], part: Range<u64>, end: bool) {
        let follows = std::mem::replace(&mut self.cut, !end);
        self.counts.split += u64::from(!end);
        let limit = self.limits.max_line_size;
        if !follows || limit == 0 || limit >= self.longest() {
            self.push(raw, part);
        }
    }

    /// One line, without its end. `part`: where it lies in its file, with its end.
    fn push(&mut self, raw: &[u8], part: Range<u64>) {
        #[cfg(test)]
        crate::mishap::strike(raw);
        let mut line = raw;
        if self.charset != Charset::Utf8 {
            self.charset.decode(raw, self.decoded);
            line = self.decoded;
        }
        self.counts.lines += 1;
        self.last_ns = self.now_ns.max(self.last_ns.saturating_add(1));
        if let Some(staged) = &mut self.staged {
            staged.take(self.labels, self.last_ns, line, part, self.now_ns);
            staged.pour(self.batch, self.now_ns, &mut self.counts);
            return;
        }
        let Some(length) = self.limits.length(line, &mut self.counts) else { return };
        match self.gate.map_or(Passage::Pass, |gate| gate.pass(self.labels, self.now_ns)) {
            Passage::Pass => {}
            Passage::Drop => return,
            Passage::Hold(until_ns) => self.wait_ns = until_ns,
        }
        let line = line.get(..length).unwrap_or(line);
        if self.batch.push(self.stream, self.last_ns, line, &[]).is_err() {
            self.counts.refused += 1;
        }
    }

    /// No more lines now: the batch is full, or the file has to wait.
    pub(crate) fn is_full(&self) -> bool {
        is_full(self.batch.bytes())
            || self.wait_ns > self.now_ns
            || self.staged.as_ref().is_some_and(|staged| staged.is_waiting() || staged.waits(self.now_ns).is_some())
    }
}
