//! Searches beside paths: what is left of contents that are not in their place any more, and contents that came into a
//! path and rotated away again between two looks.
//!
//! Keeps true: what was read of a content is never read again; "last looked at" moves on only when a search is over.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{
    family::Making,
    foreman::Foreman,
    likeness::Likeness,
    reader::now_ms,
    record::Record,
    search::{Candidate, Match, made_of, times},
    slot::{Came, Key, Lookout, Met},
    survey::Found,
};

/// The coarse clock that file systems stamp with lags behind.
const CLOCK_SLACK_MS: i64 = 100;

/// Every search may meet names that move while it looks: one alone finds nothing out.
const SEARCHES: u32 = 3;

/// When a path was last seen of which these are the records: what came and is not read yet came after that.
fn last_seen(records: &[Record]) -> Option<i64> {
    let (unread, read): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.is_unread());
    let met_ms = read.iter().map(|record| record.seen_ms).max();
    let came_ms = unread.iter().map(|record| record.seen_ms).min();
    [met_ms, came_ms].into_iter().flatten().min()
}

/// Records by rank and path.
type ByPath = HashMap<(u32, String), Vec<Record>>;

impl Foreman {
    /// The path of a content leads to another one now.
    pub(crate) fn rotated(&mut self, key: &Key, known: &Record) {
        let was = vec![(key.2, key.3)];
        let (path, real) = (PathBuf::from(&known.path), known.real_path().to_owned());
        self.look_out(key.0.clone(), key.1, path, real, known.seen_ms, was);
        self.survey_soon();
    }

    /// Looks for what came into a path since then, for a while.
    pub(crate) fn look_out(
        &mut self,
        job: Arc<str>,
        rank: u32,
        path: PathBuf,
        real: PathBuf,
        since_ms: i64,
        was: Vec<(u64, u64)>,
    ) {
        let pace = &self.config.pace;
        let until = Instant::now() + pace.survey * 2 + pace.suspicion;
        let lookouts = self.lookouts.entry(path).or_default();
        let same = |held: &&mut Lookout| held.job == job && held.rank == rank && held.real == real;
        match lookouts.iter_mut().find(same) {
            Some(held) => {
                held.since_ms = held.since_ms.min(since_ms);
                held.until = until;
                held.searches = 0;
                held.was.extend(was);
                held.was.sort_unstable();
                held.was.dedup();
            }
            None => lookouts.push(Lookout { job, rank, real, since_ms, was, until, searches: 0 }),
        }
    }

    /// When a path was seen, if it was seen then: while something that came before is looked for, or is followed and
    /// nothing of it is durable, no later than that came.
    pub(crate) fn seen(&self, job: &str, rank: u32, path: &Path, ms: i64) -> i64 {
        let pending = self.lookouts.get(path).into_iter().flatten();
        let pending = pending.filter(|lookout| *lookout.job == *job && lookout.rank == rank);
        let ms = pending.map(|lookout| lookout.since_ms).fold(ms, i64::min);
        let came = self.came.get(path).into_iter().flatten();
        let came = came.filter(|came| *came.job == *job && came.rank == rank && self.book.is_unread(came.id));
        came.map(|came| came.since_ms).fold(ms, i64::min)
    }

    /// A content came into a path that was last looked at then.
    pub(crate) fn note_came(&mut self, record: &Record, since_ms: i64) {
        let came = self.came.entry(PathBuf::from(&record.path)).or_default();
        came.retain(|came| came.id != record.id);
        came.push(Came { id: record.id, job: Arc::from(record.job.as_str()), rank: record.rank, since_ms });
        // Its device and inode find it again even where clocks do not.
        self.sync_soon();
    }

    /// Paths that match for the first time since the start, and were read before it: what came into them meanwhile, and
    /// rotated away again, is looked for.
    pub(crate) fn meet_paths(&mut self, found: &[Found]) {
        let now = Instant::now();
        let mut known: HashMap<Arc<str>, ByPath> = HashMap::new();
        for found in found {
            let Some(name) = self.jobs.get(found.job).map(|job| job.name.clone()) else {
                continue;
            };
            let key = (name.clone(), found.rank, found.path.clone());
            let real = || fs::canonicalize(&found.path).unwrap_or_else(|_| found.path.clone());
            if let Some(met) = self.met.get_mut(&key) {
                met.last = now;
                continue;
            }
            let real = real();
            self.met.insert(key, Met { real: real.clone(), last: now });
            let by_path = known.entry(name.clone()).or_insert_with(|| {
                let mut by_path = ByPath::new();
                for record in self.book.records(&name, |_| true) {
                    by_path.entry((record.rank, record.path.clone())).or_default().push(record);
                }
                by_path
            });
            let records = by_path.remove(&(found.rank, found.path.to_string_lossy().into_owned())).unwrap_or_default();
            let looked_ms = if records.is_empty() { self.looked_up(found) } else { last_seen(&records) };
            let Some(since_ms) = looked_ms else {
                continue;
            };
            let was: Vec<(u64, u64)> = records.iter().map(|record| (record.device, record.inode)).collect();
            let before: BTreeSet<PathBuf> = records.iter().map(|record| record.real_path().to_owned()).collect();
            for real in before.into_iter().chain([real]) {
                self.look_out(name.clone(), found.rank, found.path.clone(), real, since_ms, was.clone());
            }
        }
        let keep = self.config.pace.linger;
        self.met.retain(|_, met| met.last + keep > now);
    }

    /// The same for paths at which nothing lies: those of which records know, and those that a pattern names alone. What came
    /// there meanwhile may be gone again.
    pub(crate) fn meet_absent(&mut self) {
        let now = Instant::now();
        let (mut alone, mut known) = (Vec::new(), Vec::new());
        for job in self.jobs.iter().filter(|job| job.known) {
            for target in job.targets.iter() {
                let Some(path) = target.pattern.literal().filter(|path| target.wants(path)) else {
                    continue;
                };
                let looked_ms = self.book.looked_up(&job.name, target.pattern.as_str());
                alone.push((job.name.clone(), path.to_owned(), looked_ms));
            }
            if !self.recall {
                continue;
            }
            let mut by_path = ByPath::new();
            for record in self.book.records(&job.name, |_| true) {
                by_path.entry((record.rank, record.path.clone())).or_default().push(record);
            }
            let wanted = |path: &str| job.targets.iter().any(|target| target.wants(Path::new(path)));
            known.extend(
                by_path.into_iter().filter(|((_, path), _)| wanted(path)).map(|(at, of)| (job.name.clone(), at, of)),
            );
        }
        self.recall = false;
        for (name, (rank, path), records) in known {
            let key = (name.clone(), rank, PathBuf::from(&path));
            let (Some(newest), Some(since_ms)) = (records.iter().max_by_key(|r| r.seen_ms), last_seen(&records)) else {
                continue;
            };
            if self.met.contains_key(&key) {
                continue;
            }
            let real = newest.real_path().to_owned();
            let was = records.iter().map(|record| (record.device, record.inode)).collect();
            self.met.insert(key, Met { real: real.clone(), last: now });
            self.look_out(name, rank, PathBuf::from(path), real, since_ms, was);
        }
        for (name, path, looked_ms) in alone {
            let key = (name.clone(), 0, path.clone());
            if let Some(met) = self.met.get_mut(&key) {
                met.last = now;
                continue;
            }
            self.met.insert(key, Met { real: path.clone(), last: now });
            if let Some(since_ms) = looked_ms {
                self.look_out(name, 0, path.clone(), path, since_ms, Vec::new());
            }
        }
    }

    /// When the pattern of a file was last looked up: if nothing is known of its path, it came since.
    pub(crate) fn looked_up(&self, found: &Found) -> Option<i64> {
        let job = self.jobs.get(found.job)?;
        self.book.looked_up(&job.name, job.targets.get(found.target)?.pattern.as_str())
    }

    /// Where names came, went or moved since the last survey, something may have come into a path and gone, if nothing lies
    /// there or nothing was read of what does. (What was read and is gone shows by its absence.)
    pub(crate) fn note_names(&mut self) {
        let since_ms = self.last_survey_ms - CLOCK_SLACK_MS;
        let mut moved: HashMap<PathBuf, bool> = HashMap::new();
        let mut paths = Vec::new();
        let sure: HashSet<(&str, u32, &Path)> = self
            .slots
            .values()
            .filter(|slot| !slot.detached && slot.known.offset > 0)
            .map(|slot| (&*slot.key.0, slot.key.1, slot.place.as_path()))
            .collect();
        for ((name, rank, path), met) in &self.met {
            if sure.contains(&(&**name, *rank, path.as_path())) {
                continue;
            }
            let Some(directory) = met.real.parent() else {
                continue;
            };
            let changed = moved
                .entry(directory.to_owned())
                .or_insert_with(|| fs::metadata(directory).is_ok_and(|meta| times(&meta).1 >= since_ms));
            if *changed {
                paths.push((name.clone(), *rank, path.clone(), met.real.clone()));
            }
        }
        for (name, rank, path, real) in paths {
            self.look_out(name, rank, path, real, self.last_survey_ms, Vec::new());
        }
    }

    /// Looks for what lost records cover among siblings: by device and inode, or by content.
    pub(crate) fn search_lost(&mut self, by_inode: bool) {
        let oldest = now_ms() - i64::try_from(self.config.pace.give_up.as_millis()).unwrap_or(i64::MAX);
        for at in 0..self.jobs.len() {
            let Some(job) = self.jobs.get(at) else {
                continue;
            };
            let lost = |record: &Record| {
                record.lost_ms.is_some() && !record.is_finished() && !self.slots.contains_key(&record.id)
            };
            for record in self.book.records(&job.name, lost) {
                let Some(lost_ms) = record.lost_ms else {
                    continue;
                };
                if lost_ms < oldest {
                    tracing::warn!(path = %record.path, offset = record.offset, "what was left of a log file was not found and is given up");
                    self.metrics.rotated("given_up");
                    self.book.note(record.id, |record| record.finished_at = Some(record.offset));
                    continue;
                }
                self.search_one(at, &record, by_inode);
                self.tell_missing(&record);
            }
        }
    }

    /// Says once that what may be left of a content is nowhere beside its path.
    fn tell_missing(&mut self, record: &Record) {
        let patience = self.config.pace.suspicion;
        let overdue = self.missing.get(&record.id).is_some_and(|since| since.elapsed() >= patience);
        if self.slots.contains_key(&record.id) {
            self.missing.remove(&record.id);
        } else if overdue && self.missing.remove(&record.id).is_some() {
            tracing::warn!(path = %record.path, offset = record.offset, "another content is in the place of a log file, and neither that file nor, under a name that rotation gives, a copy of it is beside it: what was written behind this offset is missing unless it comes back; rotate within the directory, and copy to a name such as app.log.1");
            self.metrics.rotated("not_found");
        }
    }

    fn search_one(&mut self, at: usize, record: &Record, by_inode: bool) {
        let Some(job) = self.jobs.get(at) else {
            return;
        };
        let Some(target) = job.targets.iter().position(|target| target.wants(Path::new(&record.path))) else {
            return;
        };
        let wanted = job.settings.decompression.map(|packed| packed.format);
        let name = job.name.clone();
        let mut paths = self.listings.siblings(record.real_path()).to_vec();
        // What is known by device and inode, and by what was read of it, is ours whatever it is called now.
        if by_inode && record.offset > 0 {
            let anywhere = self.listings.of_inode(record.real_path(), record.device, record.inode);
            paths.extend(anywhere.filter(|path| !paths.contains(path)));
        }
        for path in paths {
            let is = || fs::metadata(&path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (record.device, record.inode));
            if by_inode && !is() {
                continue;
            }
            let Ok(Some(candidate)) = Candidate::open(&path, wanted) else {
                continue;
            };
            if self.by_key.contains_key(&(name.clone(), record.rank, candidate.device, candidate.inode)) {
                continue;
            }
            // Without a content to compare, device and inode must do, and that nobody else knows the content or wants the file.
            let same = record.offset > 0
                || (candidate.is(record)
                    && made_of(record.real_path(), &path).is_some()
                    && !self.is_wanted(&path, &name)
                    && self.told(&candidate, &name, record.rank) == Match::Other
                    && self.likeness(&candidate, &name, record.rank) == Likeness::None);
            if same && candidate.holds(record) == Match::Same {
                tracing::info!(path = %record.path, found = %path.display(), offset = record.offset, "finishing a log file that rotated away");
                self.metrics.rotated("found");
                if record.is_unread() {
                    self.note_came(record, record.seen_ms);
                }
                self.adopt(candidate, record.clone(), at, target, true, false);
                return;
            }
        }
    }

    /// Whether another job than this one wants a path, here or in another route.
    fn is_wanted(&self, path: &Path, but: &str) -> bool {
        let others = self.jobs.iter().filter(|job| *job.name != *but);
        others.flat_map(|job| job.targets.iter()).any(|target| target.wants(path))
            || self.config.readership.is_wanted(path, &self.route)
    }

    /// Whether a file beside `real` is another application's, or another path's, or was read.
    fn is_strange(&self, candidate: &Candidate, making: &Making, job: &str, rank: u32, real: &Path) -> bool {
        let key = (candidate.device, candidate.inode);
        // What others follow, and what was in a place of theirs, is theirs.
        let followed = self
            .slots
            .values()
            .any(|slot| (slot.key.2, slot.key.3) == key && (!slot.detached || slot.known.real_path() != real));
        // What was found here before and has grown since is written by somebody who has not rotated it.
        let grew = |record: &Record| (record.device, record.inode, record.rank) == (key.0, key.1, rank);
        let mut grown = self.book.records(job, |record| record.offset > 0 && grew(record)).into_iter();
        if followed
            || self.is_wanted(&candidate.path, job)
            || grown.any(|record| candidate.holds(&record) == Match::Same)
        {
            return true;
        }
        let live = match making {
            Making::Behind { live } => {
                let live = real.with_file_name(live);
                return live != real && self.is_wanted(&live, job);
            }
            Making::Amid { live } => live,
        };
        // It may be a live file, or what rotation made of one, or what was rotated. That one was not written after the file
        // that lies in its place now was made.
        let live = real.with_file_name(live);
        let met = || self.met.keys().any(|(_, _, path)| *path == live);
        let elsewhere = live != candidate.path && (live.exists() || self.is_wanted(&live, job) || met());
        let made = fs::metadata(real).and_then(|meta| meta.created());
        let written = candidate.file.metadata().and_then(|meta| meta.modified());
        elsewhere || !matches!((made, written), (Ok(made), Ok(written)) if written <= made)
    }

    /// Looks for contents that came into a path and rotated away again between two looks.
    pub(crate) fn search_between(&mut self, held: &mut HashMap<PathBuf, (Instant, u64)>) {
        let now = Instant::now();
        self.lookouts.retain(|_, lookouts| {
            lookouts.retain(|lookout| lookout.until > now || lookout.searches < SEARCHES);
            lookouts.iter_mut().for_each(|lookout| lookout.searches = lookout.searches.saturating_add(1));
            !lookouts.is_empty()
        });
        let pending =
            self.lookouts.iter().flat_map(|(path, lookouts)| lookouts.iter().map(move |lookout| (path, lookout)));
        let lookouts: Vec<_> = pending
            .map(|(path, l)| (l.job.clone(), l.rank, path.clone(), l.real.clone(), l.since_ms, l.was.clone()))
            .collect();
        let mut put_off: HashSet<PathBuf> = HashSet::new();
        for (name, rank, path, real, seen_ms, was) in lookouts {
            let since_ms = seen_ms - CLOCK_SLACK_MS;
            let Some(at) = self.jobs.iter().position(|job| job.name == name) else {
                continue;
            };
            let Some(job) = self.jobs.get(at) else {
                continue;
            };
            let Some(target) = job.targets.iter().position(|target| target.wants(&path)) else {
                continue;
            };
            let wanted = job.settings.decompression.map(|packed| packed.format);
            for sibling in self.listings.siblings(&real).to_vec() {
                let Some(making) = made_of(&real, &sibling) else {
                    continue;
                };
                // What came into the path was made there since, or it is one that lay there and was cut.
                let news = fs::metadata(&sibling).is_ok_and(|meta| {
                    let (born_ms, written_ms) = times(&meta);
                    let key = (name.clone(), rank, meta.dev(), meta.ino());
                    let renewed = was.contains(&(meta.dev(), meta.ino()));
                    meta.is_file()
                        && meta.len() > 0
                        && written_ms >= since_ms
                        && (born_ms >= since_ms || renewed)
                        && !self.by_key.contains_key(&key)
                });
                let Ok(Some(candidate)) = (if news { Candidate::open(&sibling, wanted) } else { Ok(None) }) else {
                    continue;
                };
                let Some(job) = self.jobs.get(at) else {
                    continue;
                };
                let matches = job.targets.iter().any(|target| target.wants(&sibling));
                let known = self.by_key.contains_key(&(name.clone(), rank, candidate.device, candidate.inode));
                let own = candidate.signature.is_none() || candidate.wanted.is_some();
                if known || (matches && own) || candidate.size == 0 {
                    continue;
                }
                // Other jobs say what is theirs before anything is taken that may be.
                if self.awaits_jobs() {
                    self.unclear.insert(path.clone());
                    put_off.insert(path.clone());
                    continue;
                }
                if self.is_strange(&candidate, &making, &name, rank, &real) {
                    continue;
                }
                if self.told(&candidate, &name, rank) != Match::Other {
                    continue;
                }
                let likeness = self.likeness(&candidate, &name, rank);
                if likeness != Likeness::None {
                    let (since, size) = self.held.get(&sibling).copied().unwrap_or((now, candidate.size));
                    let since = if size == candidate.size { since } else { now };
                    held.insert(sibling.clone(), (since, candidate.size));
                    if likeness == Likeness::Copy || since.elapsed() < self.config.pace.suspicion {
                        put_off.insert(path.clone());
                        continue;
                    }
                }
                if candidate.file.metadata().map_or(true, |meta| meta.len() != candidate.size) {
                    put_off.insert(path.clone());
                    self.unclear.insert(path.clone());
                    self.survey_soon();
                    continue;
                }
                tracing::info!(path = %path.display(), found = %sibling.display(), "reading a log file that came and rotated away between two looks");
                self.metrics.rotated("found");
                let mut record = Record::fresh(&name, rank, &path, candidate.device, candidate.inode);
                record.real = Some(real.to_string_lossy().into_owned()).filter(|real| *real != record.path);
                record.packed = candidate.packing().is_some();
                // The path itself was not seen: others may have come before or after it.
                record.seen_ms = seen_ms;
                record.lost_ms = Some(now_ms());
                self.note_came(&record, seen_ms);
                let id = record.id;
                let amid = matches!(making, Making::Amid { .. });
                let upto = if amid { candidate.size } else { u64::MAX };
                self.adopt(Candidate { upto, ..candidate }, record, at, target, true, false);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.found = true;
                }
            }
        }
        // However long it takes until it is clear what a file is, it is not forgotten.
        let until = now + self.config.pace.survey * 2 + self.config.pace.suspicion;
        for path in put_off {
            for lookout in self.lookouts.get_mut(&path).into_iter().flatten() {
                lookout.until = until;
                lookout.searches = 0;
            }
        }
    }
}
