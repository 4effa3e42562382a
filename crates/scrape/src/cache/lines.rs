//! The lines of a body in the order of the last scrape: fingerprint, successor, and what the line stands for.
//!
//! Entries are never moved while a scrape runs; new ones are appended, so undoing a scrape is cutting the tail off.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::bits::Bits;

/// No line.
pub(super) const NONE: u32 = u32::MAX;
/// Slots and context marks have 30 bits.
pub(super) const MAX_TARGET: u32 = (1 << 30) - 1;
/// Scrapes without a surprise after which the index is given back.
const CALM: u8 = 4;

/// Length and 96 bits of a seeded hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    low: u64,
    high: u32,
    len: u32,
}

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A sample; its value goes to this slot.
    Slot(u32),
    /// A sample that metric relabelling drops.
    Dropped,
    /// A run of comment lines; the mark of the family it names, 0 for none.
    Comment(u32),
}

const TAG_DROPPED: u32 = 1 << 30;
const TAG_COMMENT: u32 = 2 << 30;

#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    fingerprint: Fingerprint,
    /// The line that came after this one last time.
    pub(super) next: u32,
    target: u32,
}

impl Line {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.fingerprint.len as usize
    }

    #[inline]
    pub(super) fn target(&self) -> Target {
        match self.target & !MAX_TARGET {
            0 => Target::Slot(self.target),
            TAG_DROPPED => Target::Dropped,
            _ => Target::Comment(self.target & MAX_TARGET),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lines {
    seed: u64,
    entries: Vec<Line>,
    /// Met in the last scrape.
    pub(super) seen: Bits,
    pub(super) first: u32,
    /// By fingerprint; made when first asked for.
    index: Option<HashTable<u32>>,
    calm: u8,
}

impl Lines {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, entries: Vec::new(), seen: Bits::default(), first: NONE, index: None, calm: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn get(&self, line: u32) -> Option<&Line> {
        self.entries.get(line as usize)
    }

    pub(super) fn fingerprint(&self, text: &[u8]) -> Fingerprint {
        let hash = xxh3_128_with_seed(text, self.seed);
        // Cut on purpose: 96 bits are kept.
        #[allow(clippy::cast_possible_truncation)]
        let (low, high) = (hash as u64, (hash >> 64) as u32);
        Fingerprint { low, high, len: u32::try_from(text.len()).unwrap_or(u32::MAX) }
    }

    /// Whether `text`, of the line's length, is the line's text.
    #[inline]
    pub(super) fn is_text_of(&self, line: &Line, text: &[u8]) -> bool {
        self.fingerprint(text) == line.fingerprint
    }

    /// The line of this text, wherever it stood.
    pub(super) fn find(&mut self, fingerprint: Fingerprint) -> Option<u32> {
        let entries = &self.entries;
        let index = self.index.get_or_insert_with(|| {
            let mut index = HashTable::with_capacity(entries.len());
            for (line, number) in entries.iter().zip(0u32..) {
                index.insert_unique(line.fingerprint.low, number, |n| low_of(entries, *n));
            }
            index
        });
        self.calm = 0;
        let is_it = |number: &u32| entries.get(*number as usize).is_some_and(|line| line.fingerprint == fingerprint);
        index.find(fingerprint.low, is_it).copied()
    }

    /// Adds a line behind all others. `None` if there are too many.
    pub(super) fn add(&mut self, fingerprint: Fingerprint, target: Target, next: u32) -> Option<u32> {
        let target = match target {
            Target::Slot(slot) if slot <= MAX_TARGET => slot,
            Target::Dropped => TAG_DROPPED,
            Target::Comment(mark) => TAG_COMMENT | mark & MAX_TARGET,
            Target::Slot(_) => return None,
        };
        let number = u32::try_from(self.entries.len()).ok().filter(|number| *number < NONE)?;
        self.entries.push(Line { fingerprint, next, target });
        self.seen.resize(self.entries.len());
        if let Some(index) = &mut self.index {
            let entries = &self.entries;
            index.insert_unique(fingerprint.low, number, |n| low_of(entries, *n));
        }
        Some(number)
    }

    /// Remembers that `next` came after `line`, or first of all.
    #[inline]
    pub(super) fn link(&mut self, line: u32, next: u32) {
        match self.entries.get_mut(line as usize) {
            Some(line) => line.next = next,
            None => self.first = next,
        }
    }

    /// Takes back what was added behind the first `len` lines.
    pub(super) fn truncate(&mut self, len: usize) {
        if self.entries.len() > len {
            self.entries.truncate(len);
            self.seen.resize(len);
            self.index = None;
        }
    }

    /// After a scrape: gives the index back when it was for a first load, or has not been needed for a while.
    pub(super) fn settle(&mut self, added: usize) {
        self.calm = self.calm.saturating_add(1);
        if self.calm > CALM || added * 4 > self.entries.len() {
            self.index = None;
            if added > 0 {
                self.entries.shrink_to_fit();
            }
        }
    }

    /// Keeps the lines that `keep` gives a target, renumbers the rest.
    pub(super) fn rebuild(&mut self, mut keep: impl FnMut(u32, Target) -> Option<Target>) {
        let mut numbers = vec![NONE; self.entries.len()];
        let mut kept = Vec::new();
        for (at, line) in self.entries.iter().enumerate() {
            let number = u32::try_from(at).unwrap_or(NONE);
            let Some(target) = keep(number, line.target()) else {
                continue;
            };
            if let Some(slot) = numbers.get_mut(at) {
                *slot = u32::try_from(kept.len()).unwrap_or(NONE);
            }
            let target = match target {
                Target::Slot(slot) => slot & MAX_TARGET,
                Target::Dropped => TAG_DROPPED,
                Target::Comment(mark) => TAG_COMMENT | mark & MAX_TARGET,
            };
            kept.push(Line { target, ..*line });
        }
        // Where a successor is gone, the one after it; a few steps, since the guess is only a guess.
        let follow = |mut line: u32| {
            for _ in 0..64 {
                let Some(number) = numbers.get(line as usize) else {
                    return NONE;
                };
                if *number != NONE {
                    return *number;
                }
                line = self.entries.get(line as usize).map_or(NONE, |line| line.next);
            }
            NONE
        };
        for line in &mut kept {
            line.next = follow(line.next);
        }
        self.first = follow(self.first);
        kept.shrink_to_fit();
        self.entries = kept;
        self.seen.clear();
        self.seen.resize(self.entries.len());
        self.index = None;
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Line>()
            + self.seen.heap_bytes()
            + self.index.as_ref().map_or(0, |index| index.capacity() * 5)
    }
}

fn low_of(entries: &[Line], number: u32) -> u64 {
    entries.get(number as usize).map_or(0, |line| line.fingerprint.low)
}
