//! The walk over a body: recognise, else look up, else parse. All or nothing.

use super::{
    IngestError, IngestFault, Ingested, Phase, ScrapeCache,
    admission::show,
    lines::{MAX_TARGET, NONE, Target},
    slots::NO_CONTEXT,
};
use crate::parser::{
    Fault, Format,
    comment::{self, FamilyText},
    sample::{self, Sample},
    series::{self, SeriesText},
};
use model::{ModelError, SeriesTable, SeriesTableBuilder};
use xxhash_rust::xxh3::Xxh3;

/// Prometheus refuses samples further ahead than this.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

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
        let (mut counts, families, changed) = (walk.counts, walk.families, walk.changed);
        counts.added = self.count_added();
        match outcome {
            Ok(()) => {
                self.newcomers.seal(&mut self.chunks, &self.slots);
                self.change_families(&families, &changed);
                self.finish(&undo, body.is_empty());
                Ok(counts)
            }
            Err(fault) => {
                for (slot, _) in &changed {
                    if let Some(context) = self.slots.contexts.get_mut(*slot as usize) {
                        *context = NO_CONTEXT;
                    }
                }
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
            self.slots.known = self.slots.now.clone();
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
        let marks = slots.tracked.words_mut().iter_mut().zip(slots.emitted.words_mut());
        for (((now, untracked), (tracked, emitted)), word) in words.zip(marks).zip(0u32..) {
            let kept = now & !untracked;
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

    /// Rebuilds the tables whose series are described otherwise than before. Indexes and bases stay.
    fn change_families(&mut self, families: &[FamilyText], changed: &[(u32, usize)]) {
        if changed.is_empty() {
            return;
        }
        let mut changed = changed.to_vec();
        changed.sort_by_key(|(slot, _)| *slot);
        let mut rest = changed.as_slice();
        for chunk in &mut self.chunks {
            let (mine, behind) = rest.split_at(rest.partition_point(|(slot, _)| (*slot as usize) < chunk.end()));
            rest = behind;
            if mine.is_empty() {
                continue;
            }
            let Some(table) = chunk.series() else { continue };
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
    changed: &[(u32, usize)],
    families: &[FamilyText],
) -> Option<SeriesTableBuilder> {
    let mut builder = SeriesTableBuilder::new();
    let mut differs = false;
    for at in 0..table.series() {
        let mut family = table.family(at);
        // The last word on a slot counts; there is one unless a body names a series twice.
        let slot = start + at;
        let run = changed.partition_point(|(known, _)| *known as usize <= slot);
        let latest = run.checked_sub(1).and_then(|last| changed.get(last));
        if let Some((_, number)) = latest.filter(|(known, _)| *known as usize == slot) {
            let wanted = families.get(*number).map(FamilyText::view).unwrap_or_default();
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

/// Boxed, so that a result fits a register on the way that never fails.
type Refusal = Box<IngestFault>;

struct Walk<'a> {
    cache: &'a mut ScrapeCache,
    body: &'a [u8],
    format: Format,
    counts: Ingested,
    /// Samples that went past the repeats check; `sample_limit` counts these.
    appended: u64,
    /// Of the comments in force.
    mark: u32,
    family: FamilyText,
    /// Offset of the comments in force, and whether `family` holds them.
    comment: Option<usize>,
    family_is_read: bool,
    exposed: SeriesText,
    /// Slots whose comments are others than before, with their family's place in `families`.
    changed: Vec<(u32, usize)>,
    families: Vec<FamilyText>,
}

impl<'a> Walk<'a> {
    fn new(cache: &'a mut ScrapeCache, body: &'a [u8], format: Format) -> Self {
        Self {
            cache,
            body,
            format,
            counts: Ingested::default(),
            appended: 0,
            mark: 0,
            family: FamilyText::default(),
            comment: None,
            family_is_read: false,
            exposed: SeriesText::default(),
            changed: Vec::new(),
            families: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Refusal> {
        let (mut at, mut previous, mut expected) = (0, NONE, self.cache.lines.first);
        let mut ended = !self.format.is_open_metrics() || self.body.is_empty();
        while at < self.body.len() {
            if let Some(next) = self.recognise(at, expected)? {
                at = next;
                previous = expected;
                expected = self.successor(expected);
                continue;
            }
            if self.format.is_open_metrics()
                && let Some(end) = comment::end_mark(self.body, at)
            {
                if end != self.body.len() {
                    return Err(self.explain(Fault::new(end, "expected nothing after # EOF")));
                }
                ended = true;
                break;
            }
            // A line that vanished: the one after it is met.
            let second = self.successor(expected);
            let (line, next) = match self.recognise(at, second)? {
                Some(next) => (Some(second), next),
                None if comment::starts(self.body, at, self.format) => self.read_comment(at, expected)?,
                None => self.read_sample(at, expected)?,
            };
            at = next;
            if let Some(line) = line {
                self.cache.lines.link(previous, line);
                self.cache.lines.seen.set(line as usize);
                previous = line;
                expected = self.successor(line);
            }
        }
        if !ended {
            return Err(self.explain(Fault::new(self.body.len(), "the body does not end with # EOF")));
        }
        let limit = self.cache.admission.config.limits.samples;
        if limit > 0 && self.appended > limit {
            return Err(Box::new(IngestFault::SampleLimit { found: self.appended, limit }));
        }
        Ok(())
    }

    #[inline]
    fn successor(&self, line: u32) -> u32 {
        self.cache.lines.get(line).map_or(NONE, |line| line.next)
    }

    /// The hot path: if `line` stands at `at`, takes it and returns where the next one starts.
    #[inline]
    fn recognise(&mut self, at: usize, line: u32) -> Result<Option<usize>, Refusal> {
        let lines = &mut self.cache.lines;
        let Some(known) = lines.get(line) else { return Ok(None) };
        let end = at.saturating_add(known.len());
        let Some(text) = self.body.get(at..end) else { return Ok(None) };
        match known.target() {
            Target::Comment(mark) => {
                if !is_whole_comment(self.body, at, end, self.format) || !lines.is_text_of(known, text) {
                    return Ok(None);
                }
                lines.seen.set(line as usize);
                self.stand_behind(at, mark, false);
                Ok(Some(end))
            }
            target => {
                if !matches!(self.body.get(end), Some(b' ' | b'\t')) || !lines.is_text_of(known, text) {
                    return Ok(None);
                }
                // What is no value might be labels behind a blank, or a fault: the long way tells.
                let Ok(sample) = sample::read(self.body, end, self.format) else { return Ok(None) };
                lines.seen.set(line as usize);
                self.take(target, sample, at)?;
                Ok(Some(sample.next))
            }
        }
    }

    fn stand_behind(&mut self, comment: usize, mark: u32, is_read: bool) {
        self.comment = Some(comment);
        self.mark = mark;
        self.family_is_read = is_read;
    }

    /// A run of comments that was not expected here. Returns its line, if lines are kept, and where the next starts.
    fn read_comment(&mut self, at: usize, next: u32) -> Result<(Option<u32>, usize), Refusal> {
        let end = comment::read(self.body, at, self.format, &mut self.family).map_err(|fault| self.explain(fault))?;
        let mark = mark_of(&self.family);
        self.stand_behind(at, mark, true);
        let line = self.line(at, end, Target::Comment(mark), next)?;
        Ok((line, end))
    }

    /// A sample that was not expected here.
    fn read_sample(&mut self, at: usize, next: u32) -> Result<(Option<u32>, usize), Refusal> {
        if self.cache.by_position
            && let Some(end) = series::end(self.body, at, self.format)
            && let Ok(sample) = sample::read(self.body, end, self.format)
        {
            let text = self.body.get(at..end).unwrap_or_default();
            let fingerprint = self.cache.lines.fingerprint(text);
            if let Some(line) = self.cache.lines.find(fingerprint)
                && let Some(target) = self.cache.lines.get(line).map(|line| line.target())
                && !matches!(target, Target::Comment(_))
            {
                self.take(target, sample, at)?;
                return Ok((Some(line), sample.next));
            }
        }
        let end = self.exposed.read(self.body, at, self.format).map_err(|fault| self.explain(fault))?;
        let sample = sample::read(self.body, end, self.format).map_err(|fault| self.explain(fault))?;
        let Some(target) = self.admit(at, sample)? else { return Ok((None, sample.next)) };
        let line = self.line(at, end, target, next)?;
        Ok((line, sample.next))
    }

    /// The line of `at..end`, added if there is none. Nothing is kept when recognition is off.
    fn line(&mut self, at: usize, end: usize, target: Target, next: u32) -> Result<Option<u32>, Refusal> {
        if !self.cache.by_position {
            return Ok(None);
        }
        let lines = &mut self.cache.lines;
        let fingerprint = lines.fingerprint(self.body.get(at..end).unwrap_or_default());
        if let Some(line) = lines.find(fingerprint)
            && lines.get(line).is_some_and(|line| line.target() == target)
        {
            return Ok(Some(line));
        }
        lines.add(fingerprint, target, next).map(Some).ok_or_else(|| Box::new(IngestFault::TooManySeries))
    }

    /// Labels, relabelling, limits; then the sample is taken. `None` if the sample limit leaves no place for it.
    fn admit(&mut self, at: usize, sample: Sample) -> Result<Option<Target>, Refusal> {
        let Some(labels) = self.cache.admission.admit(&self.exposed).map_err(Box::new)? else {
            self.counts.scraped += 1;
            return Ok(Some(Target::Dropped));
        };
        let hash = self.cache.admission.hash(labels.iter());
        let cache = &mut *self.cache;
        if let Some(slot) = cache.newcomers.find(hash, &cache.chunks, &mut cache.admission) {
            self.take(Target::Slot(slot), sample, at)?;
            return Ok(Some(Target::Slot(slot)));
        }
        let limit = cache.admission.config.limits.samples;
        if limit > 0 && self.appended >= limit {
            self.counts.scraped += 1;
            self.counts.post_relabel += 1;
            self.appended += 1;
            return Ok(None);
        }
        self.read_family();
        let family = if self.family.owns(self.exposed.name()) { self.family.view() } else { Default::default() };
        let cache = &mut *self.cache;
        let slot = cache
            .newcomers
            .place(hash, &labels, family, &mut cache.chunks, &mut cache.slots, cache.stamp)
            .map_err(|error| {
                Box::new(match error {
                    ModelError::TableFull => IngestFault::TooManySeries,
                    _ => IngestFault::TooLarge { series: show(&labels) },
                })
            })?;
        if let Some(context) = cache.slots.contexts.get_mut(slot as usize) {
            *context = self.mark;
        }
        self.take(Target::Slot(slot), sample, at)?;
        Ok(Some(Target::Slot(slot)))
    }

    /// One sample of a line that is known, at `at`.
    #[inline]
    fn take(&mut self, target: Target, sample: Sample, at: usize) -> Result<(), Refusal> {
        self.counts.scraped += 1;
        let Target::Slot(slot) = target else { return Ok(()) };
        if self.cache.slots.contexts.get(slot as usize) != Some(&self.mark) {
            self.change_family(slot, at)?;
        }
        self.counts.post_relabel += 1;
        let place = slot as usize;
        let config = &self.cache.admission.config;
        let limit = config.limits.samples;
        let time = sample.timestamp.filter(|_| config.honor_timestamps);
        let slots = &mut self.cache.slots;
        let repeats = slots.now.get(place);
        if repeats {
            let stamp = self.cache.stamp;
            let is_new = |time: i64| time != slots.time(place, stamp) && self.cache.extras.last_time(slot) != Some(time);
            if !time.is_some_and(is_new) {
                self.counts.duplicates += 1;
                return Ok(());
            }
        }
        self.appended += 1;
        if limit > 0 && self.appended > limit {
            return Ok(());
        }
        if let Some(time) = time {
            if time > self.cache.stamp.saturating_add(MAX_AHEAD_MS) {
                self.counts.out_of_bounds += 1;
                return Ok(());
            }
            if repeats {
                self.cache.extras.add(slot, time, sample.value);
                return Ok(());
            }
            slots.set_time(place, time, self.cache.stamp);
            if !config.track_timestamps_staleness {
                slots.untracked.set(place);
            }
        }
        slots.now.set(place);
        slots.set_value(place, sample.value);
        Ok(())
    }

    /// The comments before a known series are others than they were.
    #[cold]
    fn change_family(&mut self, slot: u32, at: usize) -> Result<(), Refusal> {
        self.exposed.read(self.body, at, self.format).map_err(|fault| self.explain(fault))?;
        self.read_family();
        let family =
            if self.family.owns(self.exposed.name()) { self.family.clone() } else { FamilyText::default() };
        // Samples of one family come together.
        if self.families.last() != Some(&family) {
            self.families.push(family);
        }
        self.changed.push((slot, self.families.len() - 1));
        if let Some(context) = self.cache.slots.contexts.get_mut(slot as usize) {
            *context = self.mark;
        }
        Ok(())
    }

    /// Makes `family` what the comments in force say.
    fn read_family(&mut self) {
        if self.family_is_read {
            return;
        }
        self.family_is_read = true;
        // Comments that were recognised were once read without a fault.
        let read = self.comment.map(|at| comment::read(self.body, at, self.format, &mut self.family));
        if !matches!(read, Some(Ok(_))) {
            self.family = FamilyText::default();
        }
    }

    #[cold]
    fn explain(&self, fault: Fault) -> Refusal {
        Box::new(IngestFault::Parse(fault.explain(self.body)))
    }
}

/// Whether a run of comments at `at` ends at `end`.
#[inline]
fn is_whole_comment(body: &[u8], at: usize, end: usize, format: Format) -> bool {
    if end == body.len() {
        return true;
    }
    end > at
        && body.get(end - 1) == Some(&b'\n')
        && (!comment::starts(body, end, format)
            || format.is_open_metrics() && comment::end_mark(body, end).is_some())
}

/// 30 bits that stand for what comments say, 0 for nothing. Two descriptions that share them by chance would only keep
/// a changed description from being noticed.
fn mark_of(family: &FamilyText) -> u32 {
    if family.name.is_empty() {
        return 0;
    }
    let mut hash = Xxh3::new();
    for part in [&family.name, &family.help, &family.unit] {
        hash.update(part.as_bytes());
        hash.update(&[0xff, family.kind.number()]);
    }
    let mark = u32::try_from(hash.digest() & u64::from(MAX_TARGET)).unwrap_or(0);
    mark.max(1)
}
