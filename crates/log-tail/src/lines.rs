//! From bytes to entries of a batch: decoding, limits, timestamps.
//!
//! Keeps true: timestamps of one file rise strictly, and in the fast path a line costs no allocation.

use model::LogBatch;

use crate::{Charset, Limits};

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

/// Takes the lines of one file into a batch.
pub(crate) struct Lines<'a> {
    pub batch: &'a mut LogBatch,
    pub stream: u32,
    pub charset: Charset,
    pub limits: Limits,
    pub decoded: &'a mut Vec<u8>,
    pub now_ns: i64,
    /// Of the line before.
    pub last_ns: i64,
    pub counts: Counts,
}

impl Lines<'_> {
    /// One line, without its end.
    pub(crate) fn push(&mut self, raw: &[u8]) {
        let mut line = raw;
        if self.charset != Charset::Utf8 {
            self.charset.decode(raw, self.decoded);
            line = self.decoded;
        }
        self.counts.lines += 1;
        let limit = self.limits.max_line_size;
        if limit > 0 && line.len() > limit {
            if !self.limits.truncate {
                self.counts.too_long += 1;
                return;
            }
            self.counts.truncated += 1;
            line = line.get(..Charset::Utf8.cut(line, limit)).unwrap_or(line);
        }
        self.last_ns = self.now_ns.max(self.last_ns.saturating_add(1));
        if self.batch.push(self.stream, self.last_ns, line, &[]).is_err() {
            self.counts.refused += 1;
        }
    }
}
