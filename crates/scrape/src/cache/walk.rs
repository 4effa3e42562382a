//! The walk over a body: recognise a line, else look it up, else parse it.

use model::{FamilyView, ModelError};
use xxhash_rust::xxh3::Xxh3;

use super::{
    IngestFault, Ingested, ScrapeCache,
    admission::show,
    lines::{MAX_TARGET, NONE, Target},
};
use crate::parser::{
    Fault, Format,
    comment::{self, FamilyText},
    sample::{self, Sample},
    series::{self, SeriesText},
};

/// Prometheus refuses samples further ahead than this.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// Boxed, so that a result fits a register on the way that never fails.
pub(super) type Refusal = Box<IngestFault>;

pub(super) struct Walk<'a> {
    cache: &'a mut ScrapeCache,
    body: &'a [u8],
    format: Format,
    pub(super) counts: Ingested,
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
    pub(super) changed: Vec<(u32, usize)>,
    pub(super) families: Vec<FamilyText>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(cache: &'a mut ScrapeCache, body: &'a [u8], format: Format) -> Self {
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

    pub(super) fn run(&mut self) -> Result<(), Refusal> {
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
        let Some(known) = lines.get(line) else {
            return Ok(None);
        };
        let end = at.saturating_add(known.len());
        let Some(text) = self.body.get(at..end) else {
            return Ok(None);
        };
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
                let Ok(sample) = sample::read(self.body, end, self.format) else {
                    return Ok(None);
                };
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
        let Some(target) = self.admit(at, sample)? else {
            return Ok((None, sample.next));
        };
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
        self.read_family();
        let cache = &mut *self.cache;
        let owned;
        let labels = match cache.admission.lend(&self.exposed) {
            Some(labels) => labels,
            None => {
                owned = cache.admission.admit(&self.exposed).map_err(Box::new)?;
                let Some(labels) = &owned else {
                    self.counts.scraped += 1;
                    return Ok(Some(Target::Dropped));
                };
                labels.iter().collect()
            }
        };
        cache.admission.check_limits(&labels).map_err(Box::new)?;
        let hash = cache.newcomers.hash(labels.iter().copied());
        if let Some(slot) = cache.newcomers.find(hash, &cache.chunks) {
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
        let is_member = self.family.owns(self.exposed.name());
        let family = if is_member { self.family.view() } else { FamilyView::default() };
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
        let Target::Slot(slot) = target else {
            return Ok(());
        };
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
            let is_new =
                |time: i64| time != slots.time(place, stamp) && self.cache.extras.last_time(slot) != Some(time);
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
        let family = if self.family.owns(self.exposed.name()) { self.family.clone() } else { FamilyText::default() };
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
        && (!comment::starts(body, end, format) || format.is_open_metrics() && comment::end_mark(body, end).is_some())
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
