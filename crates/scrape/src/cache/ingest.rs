//! Taking a body: all of it or nothing. What the walk found becomes columns, markers and tables.

use model::{SeriesTable, SeriesTableBuilder};

use super::{IngestError, Ingested, Phase, ScrapeCache, describe::Change, families::Families, walk::Walk};
use crate::parser::{Format, comment::FamilyText};

impl ScrapeCache {
    /// Takes a successful answer of the target: `body` decompressed, `scrape_ts` in ms. On success [`batch`] has the
    /// samples and the markers of the series that vanished.
    ///
    /// Errors: a malformed body or one beyond a limit. Nothing of it is kept; call [`fail`] as for any failed scrape.
    ///
    /// [`batch`]: Self::batch
    /// [`fail`]: Self::fail
    pub fn ingest(&mut self, body: &[u8], format: Format, scrape_ts: i64) -> Result<Ingested, IngestError> {
        self.tidy();
        self.begin(scrape_ts);
        let undo = Undo { lines: self.lines.len(), slots: self.slots.len(), chunks: self.chunks.len() };
        let mut walk = Walk::new(self, body, format);
        let outcome = walk.run();
        match outcome {
            Ok(()) => {
                walk.describe();
                // Comments of the next body: mostly as many.
                walk.cache.comments = walk.comments.len();
                let mut counts = walk.counts;
                counts.added = self.count_added();
                self.finish(&undo, body.is_empty());
                Ok(counts)
            }
            Err(fault) => {
                let mut counts = walk.counts;
                counts.added = self.count_added();
                self.roll_back(&undo);
                Err(IngestError { fault: *fault, counts })
            }
        }
    }

    fn begin(&mut self, stamp: i64) {
        self.phase = Phase::Idle;
        self.stamp = stamp;
        self.lines_current = false;
        self.lines.seen.clear();
        self.extras.clear();
        self.slots.now.clear();
        self.slots.untracked.clear();
        self.slots.emitted.clear();
        self.slots.times.fill(stamp);
    }

    fn count_added(&self) -> u32 {
        let words = self.slots.now.words().iter().zip(self.slots.known.words());
        words.map(|(now, known)| (now & !known).count_ones()).sum()
    }

    fn roll_back(&mut self, undo: &Undo) {
        self.newcomers.roll_back(&mut self.chunks, undo.chunks);
        self.lines.truncate(undo.lines);
        self.slots.resize(undo.slots);
        self.slots.now.clear();
        self.slots.times = Vec::new();
        self.extras.clear();
    }

    fn finish(&mut self, undo: &Undo, empty: bool) {
        self.mark_vanished();
        self.extras.seal(&self.chunks);
        if !empty {
            self.slots.known.copy(&self.slots.now);
        }
        let added = self.slots.len().saturating_sub(undo.slots);
        self.lines.settle(self.lines.len().saturating_sub(undo.lines));
        self.newcomers.settle(added, self.slots.len());
        if added > 0 {
            self.slots.shrink();
        }
        self.lines_current = !empty;
        self.phase = Phase::Scraped;
    }

    /// Decides what the batch holds, and what the next one is to miss.
    fn mark_vanished(&mut self) {
        let stamp = self.stamp;
        let slots = &mut self.slots;
        if slots.times.iter().all(|time| *time == stamp) {
            slots.times = Vec::new();
        }
        let mut markers = Vec::new();
        let words = slots.now.words().iter().zip(slots.untracked.words());
        let marks = slots.tracked.words_mut().iter_mut().zip(slots.timed.words_mut()).zip(slots.emitted.words_mut());
        for (((now, untracked), ((tracked, timed), emitted)), word) in words.zip(marks).zip(0u32..) {
            let kept = now & !untracked;
            *timed = now & untracked;
            let vanished = *tracked & !kept;
            *emitted = now | vanished;
            *tracked = kept;
            let mut left = vanished;
            while left != 0 {
                markers.push((word * 64 + left.trailing_zeros(), now >> left.trailing_zeros() & 1 == 1));
                left &= left - 1;
            }
        }
        for (slot, has_sample) in markers {
            if has_sample {
                // It still comes, with a timestamp of its own now: a marker all the same, as Prometheus does.
                self.extras.add(slot, stamp, model::stale_marker());
            } else {
                self.slots.set_value(slot as usize, model::stale_marker());
            }
        }
    }

    /// Rebuilds the tables whose series are described otherwise than before. Indexes and bases
    /// stay. `changes` are in the order of slots.
    pub(super) fn change_families(&mut self, families: &Families, changes: &[Change]) {
        let mut rest = changes;
        for chunk in &mut self.chunks {
            let (mine, behind) = rest.split_at(rest.partition_point(|(slot, _)| (*slot as usize) < chunk.end()));
            rest = behind;
            if mine.is_empty() {
                continue;
            }
            let Some(table) = chunk.series() else {
                continue;
            };
            if let Some(builder) = with_families(&table, chunk.start, mine, families) {
                chunk.table = builder.build();
            }
        }
    }
}

/// The same series with other families; `None` if nothing differs, or if the descriptions do not fit.
fn with_families(
    table: &SeriesTable,
    start: usize,
    changed: &[Change],
    families: &Families,
) -> Option<SeriesTableBuilder> {
    let mut builder = SeriesTableBuilder::new();
    let mut differs = false;
    let mut changed = changed.iter().peekable();
    for at in 0..table.series() {
        let mut family = table.family(at);
        let slot = start + at;
        if let Some((_, number)) = changed.next_if(|(known, _)| *known as usize == slot) {
            let wanted = number.and_then(|number| families.get(number)).map(FamilyText::view).unwrap_or_default();
            differs |= wanted != family;
            family = wanted;
        }
        let number = builder.family(family.name, family.kind, family.help, family.unit);
        builder.push_pairs(number, table.labels(at)).ok()?;
    }
    differs.then_some(builder)
}

/// Sizes before the scrape.
struct Undo {
    lines: usize,
    slots: usize,
    chunks: usize,
}
