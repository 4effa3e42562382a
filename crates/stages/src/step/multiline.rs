//! `multiline`: lines from one that looks like a first line up to the next become one, joined by newlines.
//!
//! Blocks are kept for each label set. Lines before the first such line pass as they are. A block ends with the next first
//! line, with `max_lines`, when nothing came for `max_wait_time`, or with [`MAX_BLOCK_BYTES`]. It has the time, labels and
//! extracted values of its first line; so have lines that come after a block that ended early.
//!
//! Keeps true: at most [`MAX_STREAMS`] label sets of one source, and [`MAX_BYTES`] in all blocks of all sources of a job
//! together; beyond that, blocks end early.

use std::{ops::Range, sync::Arc};

use hashbrown::HashMap;
use model::Labels;
use regex::Regex;

use super::pattern;
use crate::{Entry, Parts, StageError, config::MultilineConfig, error::Place, room::Room};

pub const MAX_BLOCK_BYTES: usize = 4 << 20;
pub const MAX_BYTES: usize = 64 << 20;
pub const MAX_STREAMS: usize = 10_000;

const DEFAULT_WAIT_NS: i64 = 3_000_000_000;
const DEFAULT_LINES: u64 = 128;

#[derive(Debug)]
pub(crate) struct Multiline {
    first_line: Arc<Regex>,
    max_wait_ns: i64,
    max_lines: u64,
    blocks: HashMap<Labels, Block, foldhash::fast::RandomState>,
    /// In all blocks.
    room: Room,
    /// No block ends by waiting before this.
    next_ns: Option<i64>,
    arrivals: u64,
}

#[derive(Debug)]
struct Block {
    /// The first line's entry; its text is kept in `text`.
    start: Entry,
    text: String,
    /// Of `text`.
    parts: Parts,
    lines: u64,
    /// When the last line came.
    last_ns: i64,
    /// Blocks are flushed in the order they were begun.
    arrival: u64,
}

impl Block {
    fn end(&mut self) -> Option<Entry> {
        self.lines = 0;
        let parts = std::mem::take(&mut self.parts);
        // A block of empty lines has no text; Promtail does not send it either.
        if self.text.is_empty() {
            return None;
        }
        Some(Entry { line: std::mem::take(&mut self.text), parts, ..self.start.clone() })
    }
}

impl Multiline {
    pub fn new(config: &MultilineConfig, place: &Place) -> Result<Self, StageError> {
        Ok(Self {
            first_line: Arc::new(pattern(&config.firstline, place, "firstline")?.regex().clone()),
            max_wait_ns: config
                .max_wait_time
                .map_or(DEFAULT_WAIT_NS, |wait| i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX)),
            max_lines: config.max_lines.unwrap_or(DEFAULT_LINES),
            blocks: HashMap::default(),
            room: Room::default(),
            next_ns: None,
            arrivals: 0,
        })
    }

    /// The same for another source.
    pub fn twin(&self) -> Self {
        Self {
            first_line: Arc::clone(&self.first_line),
            max_wait_ns: self.max_wait_ns,
            max_lines: self.max_lines,
            blocks: HashMap::default(),
            room: self.room.twin(),
            next_ns: None,
            arrivals: 0,
        }
    }

    /// Calls `each` with every part of the source that is in a block.
    pub fn held(&self, each: &mut dyn FnMut(&Range<u64>)) {
        self.blocks.values().flat_map(|block| block.parts.iter()).for_each(each);
    }

    /// Takes a line; `out` gets the blocks that end by it.
    pub fn push(&mut self, mut entry: Entry, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        let is_first = self.first_line.is_match(&entry.line);
        let line = std::mem::take(&mut entry.line);
        let parts = std::mem::take(&mut entry.parts);
        self.arrivals += 1;
        let Some(block) = self.blocks.get_mut(&entry.labels) else {
            if !is_first {
                (entry.line, entry.parts) = (line, parts);
                out(entry);
                return;
            }
            if self.blocks.len() >= MAX_STREAMS {
                self.make_room(out);
            }
            self.room.take(line.len());
            let block = Block { text: line, parts, lines: 1, last_ns: now_ns, arrival: self.arrivals, start: entry };
            let labels = block.start.labels.clone();
            self.blocks.insert(labels.clone(), block);
            self.after_push(&labels, now_ns, out);
            return;
        };
        let mut ended = None;
        if is_first || block.text.len() + line.len() > MAX_BLOCK_BYTES {
            self.room.give(block.text.len());
            ended = block.end();
        }
        let labels = if is_first {
            block.start = entry;
            block.arrival = self.arrivals;
            block.start.labels.clone()
        } else {
            entry.labels
        };
        let before = block.text.len();
        if before > 0 {
            block.text.push('\n');
            block.text.push_str(&line);
        } else {
            block.text = line;
        }
        self.room.take(block.text.len() - before);
        block.parts.append(parts);
        block.lines += 1;
        block.last_ns = now_ns;
        if let Some(ended) = ended {
            out(ended);
        }
        self.after_push(&labels, now_ns, out);
    }

    /// Ends the block if it is full, and others if all of them together are too large.
    fn after_push(&mut self, labels: &Labels, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        let due = now_ns.saturating_add(self.max_wait_ns);
        self.next_ns = Some(self.next_ns.map_or(due, |next| next.min(due)));
        if let Some(block) = self.blocks.get_mut(labels)
            && block.lines == self.max_lines
        {
            self.room.give(block.text.len());
            if let Some(ended) = block.end() {
                out(ended);
            }
        }
        if self.room.used() > MAX_BYTES {
            self.flush_where(|_| true, out);
        }
    }

    /// Forgets label sets without a block; if all have one, ends all.
    fn make_room(&mut self, out: &mut dyn FnMut(Entry)) {
        self.blocks.retain(|_, block| block.lines > 0);
        if self.blocks.len() >= MAX_STREAMS {
            self.flush_where(|_| true, out);
            self.blocks.clear();
        }
    }

    /// When [`Multiline::flush_due`] may have something to do.
    pub fn deadline(&self) -> Option<i64> {
        self.next_ns
    }

    /// Ends blocks that waited long enough.
    pub fn flush_due(&mut self, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        if self.next_ns.is_none_or(|next| next > now_ns) {
            return;
        }
        let wait = self.max_wait_ns;
        self.flush_where(|block| block.last_ns.saturating_add(wait) <= now_ns, out);
    }

    /// Ends all blocks.
    pub fn flush(&mut self, out: &mut dyn FnMut(Entry)) {
        self.flush_where(|_| true, out);
    }

    fn flush_where(&mut self, ends: impl Fn(&Block) -> bool, out: &mut dyn FnMut(Entry)) {
        let mut ended: Vec<(u64, Entry)> = Vec::new();
        let mut next_ns: Option<i64> = None;
        for block in self.blocks.values_mut().filter(|block| block.lines > 0) {
            if ends(block) {
                self.room.give(block.text.len());
                ended.extend(block.end().map(|entry| (block.arrival, entry)));
            } else {
                let due = block.last_ns.saturating_add(self.max_wait_ns);
                next_ns = Some(next_ns.map_or(due, |next| next.min(due)));
            }
        }
        self.next_ns = next_ns;
        ended.sort_by_key(|(arrival, _)| *arrival);
        for (_, entry) in ended {
            out(entry);
        }
    }
}
