//! Keeping the cache as large as the target: dead series and lines leave, small chunks are merged.
//!
//! Runs before a scrape, when nobody holds a batch of the last one any more.

use model::{BaseVector, SeriesTable, SeriesTableBuilder, is_stale};

use super::{
    ScrapeCache,
    chunk::Chunk,
    lines::{NONE, Target},
    newcomers::SMALL,
    slots::Slots,
};

/// Small chunks there may be.
const MAX_SMALL: usize = 8;
/// Lines that may be unused beyond a quarter of those in use.
const SPARE_LINES: usize = 64;

impl ScrapeCache {
    pub(super) fn tidy(&mut self) {
        let small = self.chunks.iter().filter(|chunk| self.is_small(chunk)).count();
        let merge = small > MAX_SMALL;
        if merge || self.chunks.iter().any(|chunk| self.is_decayed(chunk)) {
            self.rebuild_chunks(merge);
        } else if self.lines_current {
            let used = self.lines.seen.count();
            if self.lines.len() > used + used / 4 + SPARE_LINES {
                self.rebuild_lines(Some);
            }
        }
    }

    fn is_small(&self, chunk: &Chunk) -> bool {
        chunk.len() <= SMALL
    }

    fn is_decayed(&self, chunk: &Chunk) -> bool {
        let live = self.slots.known.count_in(chunk.start, chunk.len());
        (chunk.len() - live.min(chunk.len())) * 4 > chunk.len()
    }

    fn rebuild_chunks(&mut self, merge: bool) {
        let mut moved = vec![NONE; self.slots.len()];
        let mut layout = Layout::default();
        let chunks = std::mem::take(&mut self.chunks);
        let (changing, staying): (Vec<_>, Vec<_>) =
            chunks.into_iter().partition(|chunk| self.is_decayed(chunk) || merge && self.is_small(chunk));
        for mut chunk in staying {
            let start = layout.slots.len().next_multiple_of(64);
            for at in 0..chunk.len() {
                layout.move_slot(&self.slots, chunk.start + at, start + at, &mut moved);
            }
            chunk.start = start;
            layout.chunks.push(chunk);
        }
        for chunk in &changing {
            let Some(table) = chunk.series() else {
                continue;
            };
            for at in 0..table.series() {
                if self.slots.known.get(chunk.start + at) {
                    layout.move_series(&self.slots, chunk, &table, at, &mut moved);
                }
            }
        }
        layout.seal();
        self.slots = layout.slots;
        self.slots.shrink();
        self.chunks = layout.chunks;
        let number = |slot: u32| moved.get(slot as usize).copied().filter(|slot| *slot != NONE);
        self.newcomers.renumber(number);
        self.rebuild_lines(number);
    }

    /// Drops the lines of slots that are gone and, if the marks are current, those that the last scrape did not have.
    fn rebuild_lines(&mut self, number: impl Fn(u32) -> Option<u32>) {
        let seen = std::mem::take(&mut self.lines.seen);
        let current = self.lines_current;
        self.lines.rebuild(|line, target| {
            if current && !seen.get(line as usize) {
                return None;
            }
            match target {
                Target::Slot(slot) => number(slot).map(Target::Slot),
                other => Some(other),
            }
        });
    }
}

/// The columns being made.
#[derive(Default)]
struct Layout {
    slots: Slots,
    chunks: Vec<Chunk>,
    builder: SeriesTableBuilder,
    start: usize,
    base: Vec<f64>,
}

impl Layout {
    fn move_slot(&mut self, from: &Slots, old: usize, new: usize, moved: &mut [u32]) {
        self.slots.grow_to(new, 0);
        self.slots.set_value(new, from.values.get(old).copied().unwrap_or(0.0));
        let marks = [
            (&from.known, &mut self.slots.known),
            (&from.tracked, &mut self.slots.tracked),
            (&from.timed, &mut self.slots.timed),
            (&from.described, &mut self.slots.described),
        ];
        for (from, to) in marks {
            if from.get(old) {
                to.set(new);
            }
        }
        if let (Some(place), Ok(new)) = (moved.get_mut(old), u32::try_from(new)) {
            *place = new;
        }
    }

    fn move_series(&mut self, from: &Slots, chunk: &Chunk, table: &SeriesTable, at: usize, moved: &mut [u32]) {
        let mut index = self.push(table, at);
        if index.is_none() {
            self.seal();
            index = self.push(table, at);
        }
        // A series that fitted a table fits an empty one.
        let Some(index) = index else { return };
        if index == 0 {
            self.start = self.slots.len().next_multiple_of(64);
        }
        let old = chunk.start + at;
        self.move_slot(from, old, self.start + index as usize, moved);
        let value = from.values.get(old).copied().filter(|value| !is_stale(*value));
        self.base.push(value.or_else(|| chunk.base.values().get(at).copied()).unwrap_or(0.0));
    }

    fn push(&mut self, table: &SeriesTable, at: usize) -> Option<u32> {
        let family = table.family(at);
        let number = self.builder.family(family.name, family.kind, family.help, family.unit);
        self.builder.push_pairs(number, table.labels(at)).ok()
    }

    fn seal(&mut self) {
        let builder = std::mem::take(&mut self.builder);
        let base = std::mem::take(&mut self.base);
        if !builder.is_empty() {
            self.chunks.push(Chunk::new(self.start, builder.build(), BaseVector::new(base)));
        }
    }
}
