//! Series met for the first time: which slot they get, and whether they are not an old series in other words.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{BaseVector, FamilyView, ModelError, SeriesTableBuilder};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{chunk::Chunk, lines::MAX_TARGET, slots::Slots};

/// A chunk of fewer series is reopened for newcomers, so that steady growth does not leave a trail of tiny chunks.
pub(super) const SMALL: usize = 128;
/// Scrapes without a newcomer after which the index is given back.
const CALM: u8 = 4;

#[derive(Debug)]
pub(super) struct Newcomers {
    seed: u64,
    scratch: Vec<u8>,
    /// Slot by hash of the stored labels; made when first asked for.
    index: Option<HashMap<u64, u32, FixedState>>,
    calm: u8,
    open: Option<Open>,
    /// The chunk that was taken back into `open`, as it was.
    reopened: Option<Chunk>,
}

/// The chunk being made.
#[derive(Debug)]
struct Open {
    builder: SeriesTableBuilder,
    start: usize,
    /// Empty for a new chunk.
    base: BaseVector,
}

impl Newcomers {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, scratch: Vec::new(), index: None, calm: 0, open: None, reopened: None }
    }

    /// Two label sets with the same hash are taken for the same series; the seed keeps that from being arranged.
    pub(super) fn hash<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
        hash(labels, self.seed, &mut self.scratch)
    }

    /// The slot that has these labels already.
    pub(super) fn find(&mut self, hash: u64, chunks: &[Chunk]) -> Option<u32> {
        self.calm = 0;
        let (seed, scratch) = (self.seed, &mut self.scratch);
        let index = self.index.get_or_insert_with(|| {
            let len = chunks.iter().map(Chunk::len).sum();
            let mut index = HashMap::with_capacity_and_hasher(len, FixedState::default());
            for chunk in chunks {
                let Some(table) = chunk.series() else {
                    continue;
                };
                for at in 0..table.series() {
                    if let Ok(slot) = u32::try_from(chunk.start + at) {
                        index.insert(self::hash(table.labels(at), seed, scratch), slot);
                    }
                }
            }
            index
        });
        index.get(&hash).copied()
    }

    /// Gives a series a slot. It must not have one: see [`find`](Self::find).
    pub(super) fn place(
        &mut self,
        hash: u64,
        labels: &[(&str, &str)],
        family: FamilyView<'_>,
        chunks: &mut Vec<Chunk>,
        slots: &mut Slots,
        stamp: i64,
    ) -> Result<u32, ModelError> {
        let push = |open: &mut Open| -> Result<usize, ModelError> {
            let number = open.builder.family(family.name, family.kind, family.help, family.unit);
            open.builder.push_pairs(number, labels.iter().copied()).map(|at| open.start + at as usize)
        };
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(reopen(chunks, slots, &mut self.reopened)),
        };
        let slot = match push(open) {
            Err(ModelError::TableFull) => {
                self.seal(chunks, slots);
                push(self.open.insert(fresh(slots)))?
            }
            other => other?,
        };
        let number = u32::try_from(slot).ok().filter(|slot| *slot <= MAX_TARGET).ok_or(ModelError::TableFull)?;
        slots.grow_to(slot, stamp);
        if let Some(index) = &mut self.index {
            index.insert(hash, number);
        }
        Ok(number)
    }

    /// Closes the chunk being made.
    pub(super) fn seal(&mut self, chunks: &mut Vec<Chunk>, slots: &Slots) {
        let Some(open) = self.open.take().filter(|open| !open.builder.is_empty()) else {
            return;
        };
        let mut chunk = Chunk::new(open.start, open.builder.build(), open.base);
        // A base that covers little of the chunk saves little.
        if chunk.base.values().len() * 2 < chunk.len() {
            chunk.base = chunk.new_base(slots);
        }
        chunks.push(chunk);
    }

    /// After a successful scrape that added `added` series to `known` ones.
    pub(super) fn settle(&mut self, added: usize, known: usize) {
        self.reopened = None;
        self.calm = self.calm.saturating_add(1);
        if self.calm > CALM || added * 4 > known {
            self.index = None;
        }
    }

    /// Undoes a scrape that began with `len` chunks.
    pub(super) fn roll_back(&mut self, chunks: &mut Vec<Chunk>, len: usize) {
        if self.open.take().is_none() && self.reopened.is_none() && chunks.len() == len {
            return;
        }
        self.index = None;
        match self.reopened.take() {
            Some(chunk) => {
                chunks.truncate(len.saturating_sub(1));
                chunks.push(chunk);
            }
            None => chunks.truncate(len),
        }
    }

    /// Slots moved: `moved` gives the new number of an old slot, if it still exists.
    pub(super) fn renumber(&mut self, moved: impl Fn(u32) -> Option<u32>) {
        if let Some(index) = &mut self.index {
            index.retain(|_, slot| match moved(*slot) {
                Some(number) => {
                    *slot = number;
                    true
                }
                None => false,
            });
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.scratch.capacity() + self.index.as_ref().map_or(0, |index| index.capacity() * 17)
    }
}

fn hash<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>, seed: u64, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    for (name, value) in labels {
        for part in [name, value] {
            scratch.extend_from_slice(part.as_bytes());
            scratch.push(0xff);
        }
    }
    xxh3_64_with_seed(scratch, seed)
}

/// The last chunk, if it is small and there is nothing behind it; else a new one.
fn reopen(chunks: &mut Vec<Chunk>, slots: &Slots, reopened: &mut Option<Chunk>) -> Open {
    let Some(last) = chunks.pop_if(|last| last.len() < SMALL && last.end() == slots.len()) else {
        return fresh(slots);
    };
    let Some(table) = last.series() else {
        chunks.push(last);
        return fresh(slots);
    };
    let mut builder = SeriesTableBuilder::new();
    for at in 0..table.series() {
        let family = table.family(at);
        let number = builder.family(family.name, family.kind, family.help, family.unit);
        if builder.push_pairs(number, table.labels(at)).is_err() {
            // Its own series fit once, so they fit again.
            chunks.push(last);
            return fresh(slots);
        }
    }
    let open = Open { builder, start: last.start, base: last.base.clone() };
    *reopened = Some(last);
    open
}

fn fresh(slots: &Slots) -> Open {
    Open { builder: SeriesTableBuilder::new(), start: slots.len().next_multiple_of(64), base: BaseVector::none() }
}
