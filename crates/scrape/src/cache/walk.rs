//! The walk over a body: recognise a line, else look it up, else parse it.

use model::{FamilyView, ModelError};

use super::{
    IngestFault, Ingested, ScrapeCache,
    admission::show,
    families::{Digest, Mark},
    lines::{NONE, Target},
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
    pub(super) cache: &'a mut ScrapeCache,
    pub(super) body: &'a [u8],
    pub(super) format: Format,
    pub(super) counts: Ingested,
    /// Samples that went past the repeats check; `sample_limit` counts these.
    appended: u64,
    /// Of all comments.
    pub(super) digest: Digest,
    /// Offsets of the comments that say something.
    pub(super) comments: Vec<usize>,
    /// What the last of them says of the family it names last, and whether it was read.
    family: FamilyText,
    family_is_read: bool,
    pub(super) exposed: SeriesText,
    /// Scratch for the labels of exemplars, which are checked and passed over.
    pub(super) exemplar: SeriesText,
    /// New slots, with their place in `given`.
    pub(super) fresh: Vec<(u32, usize)>,
    pub(super) given: Vec<Given>,
    /// The families of those, each as often as it changed.
    pub(super) given_families: Vec<FamilyText>,
    /// Samples there may be.
    limit: u64,
}

/// New series of one name that were described alike, by the comments before them.
pub(super) struct Given {
    pub(super) name: String,
    /// Its place in `given_families`.
    pub(super) family: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(cache: &'a mut ScrapeCache, body: &'a [u8], format: Format) -> Self {
        Self {
            body,
            format,
            counts: Ingested::default(),
            appended: 0,
            digest: Digest::new(format.is_open_metrics()),
            comments: Vec::with_capacity(cache.comments),
            family: FamilyText::default(),
            family_is_read: true,
            exposed: SeriesText::default(),
            exemplar: SeriesText::default(),
            fresh: Vec::new(),
            given: Vec::new(),
            given_families: Vec::new(),
            limit: cache.admission.config.limits.most_samples(),
            cache,
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
        let (found, limit) = (self.appended, self.limit);
        match found > limit {
            false => Ok(()),
            true if self.cache.admission.config.limits.samples == 0 => {
                Err(Box::new(IngestFault::TooManySamples { found, limit }))
            }
            true => Err(Box::new(IngestFault::SampleLimit { found, limit })),
        }
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
                let Ok(sample) = sample::read(self.body, end, self.format, &mut self.exemplar) else {
                    return Ok(None);
                };
                lines.seen.set(line as usize);
                self.take(target, sample)?;
                Ok(Some(sample.next))
            }
        }
    }

    fn stand_behind(&mut self, comment: usize, mark: u32, is_read: bool) {
        if mark != 0 {
            self.comments.push(comment);
            self.digest.add(mark);
            self.family_is_read = is_read;
        }
    }

    /// A run of comments that was not expected here. Returns its line, if lines are kept, and where the next starts.
    fn read_comment(&mut self, at: usize, next: u32) -> Result<(Option<u32>, usize), Refusal> {
        let mut mark = Mark::default();
        let family = &mut self.family;
        let end = comment::read(self.body, at, self.format, &mut |statement| {
            mark.hear(statement);
            family.follow(statement);
        })
        .map_err(|fault| self.explain(fault))?;
        let mark = mark.bits();
        self.stand_behind(at, mark, true);
        let line = self.line(at, end, Target::Comment(mark), next)?;
        Ok((line, end))
    }

    /// A sample that was not expected here.
    fn read_sample(&mut self, at: usize, next: u32) -> Result<(Option<u32>, usize), Refusal> {
        if self.cache.by_position
            && let Some(end) = series::end(self.body, at, self.format)
            && let Ok(sample) = sample::read(self.body, end, self.format, &mut self.exemplar)
        {
            let text = self.body.get(at..end).unwrap_or_default();
            let fingerprint = self.cache.lines.fingerprint(text);
            if let Some(line) = self.cache.lines.find(fingerprint)
                && let Some(target) = self.cache.lines.get(line).map(|line| line.target())
                && !matches!(target, Target::Comment(_))
            {
                self.take(target, sample)?;
                return Ok((Some(line), sample.next));
            }
        }
        let end = self.exposed.read(self.body, at, self.format).map_err(|fault| self.explain(fault))?;
        let sample =
            sample::read(self.body, end, self.format, &mut self.exemplar).map_err(|fault| self.explain(fault))?;
        let Some(target) = self.admit(sample)? else {
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
    fn admit(&mut self, sample: Sample) -> Result<Option<Target>, Refusal> {
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
            self.take(Target::Slot(slot), sample)?;
            return Ok(Some(Target::Slot(slot)));
        }
        if self.appended >= self.limit {
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
        let name = self.exposed.name();
        let is_other = self.given_families.last().is_none_or(|last| last.view() != family);
        if is_other {
            self.given_families.push(if is_member { self.family.clone() } else { FamilyText::default() });
        }
        if is_other || self.given.last().is_none_or(|given| given.name != name) {
            self.given.push(Given { name: name.to_owned(), family: self.given_families.len() - 1 });
        }
        self.fresh.push((slot, self.given.len() - 1));
        self.take(Target::Slot(slot), sample)?;
        Ok(Some(Target::Slot(slot)))
    }

    /// One sample of a line that is known.
    #[inline]
    fn take(&mut self, target: Target, sample: Sample) -> Result<(), Refusal> {
        self.counts.scraped += 1;
        let Target::Slot(slot) = target else {
            return Ok(());
        };
        self.counts.post_relabel += 1;
        let place = slot as usize;
        let config = &self.cache.admission.config;
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
        if self.appended > self.limit {
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

    /// Makes `family` what the comments in force say.
    fn read_family(&mut self) {
        if self.family_is_read {
            return;
        }
        self.family_is_read = true;
        self.family.clear();
        let family = &mut self.family;
        if let Some(at) = self.comments.last() {
            // Comments that were recognised were once read without a fault.
            let _ = comment::read(self.body, *at, self.format, &mut |statement| family.follow(statement));
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
