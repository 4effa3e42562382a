//! A survey: which files match now, which of them are known, and what became of those that are not where they were.
//!
//! In order: files that are known by device and inode go on; records whose file is not in its place are lost, and are
//! searched by device and inode among siblings; files that hold what a lost record covers go on from there; the rest is new,
//! unless it looks like a copy of a live sibling. At last lost records are searched by content, and what came into a path
//! and went between two looks is searched among siblings that do not match.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    FileState, FileStatus, Packing,
    family::family,
    foreman::{Foreman, Key, Met, Slot},
    reader::now_ms,
    record::{HEAD, Record},
    search::{Candidate, Match, made_of, related, times},
    tail_file::TailFile,
};

/// A path that matches.
struct Found {
    job: usize,
    target: usize,
    rank: u32,
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
}

/// More files than rotation makes of one.
const LARGE_FAMILY: usize = 64;

/// Whether a file holds what a file that is followed holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    None,
    /// For the time being: waits for a while.
    Perhaps,
    /// It is what was made of one that rotated away and is not finished: waits until that is.
    Copy,
}

/// The coarse clock that file systems stamp with lags behind.
const CLOCK_SLACK_MS: i64 = 100;

impl Foreman {
    pub(crate) fn survey(&mut self) {
        let begun = Instant::now();
        self.last_survey_ms = std::mem::replace(&mut self.survey_ms, now_ms());
        self.listings.clear();
        self.by_kin.clear();
        for (id, slot) in &self.slots {
            for kin in [kin(&slot.place), kin(slot.known.real_path())].into_iter().flatten() {
                let ids = self.by_kin.entry(kin).or_default();
                if ids.last() != Some(id) {
                    ids.push(*id);
                }
            }
        }
        let mut directories = BTreeSet::new();
        let found = self.find(&mut directories);
        // Only for paths that were met before this survey: what lay beside the others is none of ours.
        self.note_names();
        self.meet_paths(&found);
        let matched: HashSet<u64> = found.iter().filter_map(|found| self.meet_known(found)).collect();
        self.note_absent(&matched);
        let mut aside = HashMap::new();
        let mut held = HashMap::new();
        let before: Vec<&Found> = found.iter().filter(|found| !self.by_key.contains_key(&self.key(found))).collect();
        // By device and inode first, whatever their names: contents are compared with what is left.
        // Those of which something was read come before the others: they say what they are.
        let mut rest = before;
        for unread in [false, true] {
            let mut left = Vec::new();
            for found in rest {
                if !self.resume(found, &mut aside, unread) {
                    left.push(found);
                }
            }
            rest = left;
        }
        self.note_lost(&found);
        self.search_lost(true);
        rest.retain(|found| !aside.contains_key(&found.path));
        for found in rest {
            self.meet_new(found, &mut aside, &mut held);
        }
        self.aside = aside;
        self.search_lost(false);
        self.search_between(&mut held);
        self.held = held;
        for slot in self.slots.values() {
            directories.extend(slot.known.real_path().parent().map(Path::to_owned));
        }
        self.watch.listen(&directories);
        self.finish_survey(begun);
    }

    fn key(&self, found: &Found) -> Key {
        let name = self.jobs.get(found.job).map(|job| job.name.clone()).unwrap_or_else(|| Arc::from(""));
        (name, found.rank, found.device, found.inode)
    }

    /// Every match of every target.
    fn find(&self, directories: &mut BTreeSet<PathBuf>) -> Vec<Found> {
        let mut all = Vec::new();
        for (job, settings) in self.jobs.iter().enumerate() {
            let mut claims: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
            for (target, wanted) in settings.targets.iter().enumerate() {
                for path in wanted.list(directories) {
                    let Ok(meta) = fs::metadata(&path) else {
                        continue;
                    };
                    let (device, inode) = (meta.dev(), meta.ino());
                    let claimed = claims.entry((device, inode)).or_default();
                    let rank = claimed.iter().position(|held| *held == target).unwrap_or_else(|| {
                        claimed.push(target);
                        claimed.len() - 1
                    });
                    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
                    all.push(Found { job, target, rank, path, device, inode, size: meta.len() });
                }
            }
        }
        all
    }

    /// Paths that match for the first time since the start, and were read before it: what came into them meanwhile, and
    /// rotated away again, is looked for.
    fn meet_paths(&mut self, found: &[Found]) {
        let now = Instant::now();
        let mut known: HashMap<Arc<str>, HashMap<(u32, String), Vec<Record>>> = HashMap::new();
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
                let mut by_path: HashMap<(u32, String), Vec<Record>> = HashMap::new();
                for record in self.book.records(&name, |_| true) {
                    by_path.entry((record.rank, record.path.clone())).or_default().push(record);
                }
                by_path
            });
            let Some(records) = by_path.remove(&(found.rank, found.path.to_string_lossy().into_owned())) else {
                continue;
            };
            let since_ms = records.iter().map(|record| record.seen_ms).max().unwrap_or_default();
            let was: Vec<(u64, u64)> = records.iter().map(|record| (record.device, record.inode)).collect();
            let before: BTreeSet<PathBuf> = records.iter().map(|record| record.real_path().to_owned()).collect();
            for real in before.into_iter().chain([real]) {
                self.look_out(name.clone(), found.rank, found.path.clone(), real, since_ms, was.clone());
            }
        }
        let keep = self.config.pace.linger;
        self.met.retain(|_, met| met.last + keep > now);
    }

    /// Where names came, went or moved since the last survey, something may have come into a path and gone, if nothing lies
    /// there or nothing was read of what does. (What was read and is gone shows by its absence.)
    fn note_names(&mut self) {
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
            let changed = moved.entry(directory.to_owned()).or_insert_with(|| {
                fs::metadata(directory).is_ok_and(|meta| times(&meta).1 >= since_ms)
            });
            if *changed {
                paths.push((name.clone(), *rank, path.clone(), met.real.clone()));
            }
        }
        for (name, rank, path, real) in paths {
            self.look_out(name, rank, path, real, self.last_survey_ms, Vec::new());
        }
    }

    /// A file that is followed. Its new name, if it has one, is where it lies from now on.
    fn meet_known(&mut self, found: &Found) -> Option<u64> {
        let id = *self.by_key.get(&self.key(found))?;
        let slot = self.slots.get_mut(&id)?;
        // Nobody holds it open, so its inode may have become another file's: who it is, its content is to say again.
        let closed = slot.file.as_ref().is_some_and(|file| file.packing.is_some() && !file.is_open());
        if closed && found.size != slot.size {
            self.drop_slot(id);
            return None;
        }
        if slot.place != found.path {
            let stays =
                fs::metadata(&slot.place).is_ok_and(|meta| (meta.dev(), meta.ino()) == (found.device, found.inode));
            if !stays || slot.detached {
                let (key, known, was_here) = (slot.key.clone(), slot.known.clone(), !slot.detached);
                slot.place.clone_from(&found.path);
                slot.detached = false;
                slot.state = FileState::Following;
                if was_here {
                    self.metrics.rotated("renamed");
                    self.rotated(&key, &known);
                }
            }
        } else if slot.detached {
            slot.detached = false;
            slot.state = FileState::Following;
        }
        let slot = self.slots.get_mut(&id)?;
        // What a reload changed.
        if let Some(file) = slot.file.as_mut()
            && let Some(job) = self.jobs.get(found.job)
            && let Some(target) = job.targets.get(found.target)
        {
            if !Arc::ptr_eq(&file.job, &job.settings) {
                file.job = job.settings.clone();
            }
            if !target.covers(&file.labels) {
                file.labels = target.labels_of(&slot.known.path);
            }
        }
        Some(id)
    }

    /// Files that matched and do not now: gone from their place, or not wanted any more.
    fn note_absent(&mut self, matched: &HashSet<u64>) {
        let absent: Vec<u64> =
            self.slots.iter().filter(|(id, slot)| !slot.detached && !matched.contains(id)).map(|(id, _)| *id).collect();
        for id in absent {
            let Some(slot) = self.slots.get(&id) else {
                continue;
            };
            let (_, _, device, inode) = slot.key;
            let in_place = fs::metadata(&slot.place).is_ok_and(|meta| (meta.dev(), meta.ino()) == (device, inode));
            let wanted = self.jobs.iter().any(|job| {
                job.name == slot.key.0
                    && (!job.known || job.targets.iter().any(|t| t.wants(Path::new(&slot.known.path))))
            });
            if !wanted {
                self.drop_slot(id);
            } else if !in_place {
                // Whoever comes into its place now was not seen there before; a start must not take it for seen either.
                let (key, known) = (slot.key.clone(), slot.known.clone());
                let done = matches!(slot.state, FileState::Done);
                let (path, real) = (PathBuf::from(&known.path), known.real_path().to_owned());
                self.look_out(key.0, key.1, path, real, known.seen_ms, vec![(key.2, key.3)]);
                // The reader that looks finds out, and drains it.
                if done {
                    self.drop_slot(id);
                } else {
                    self.look(id);
                }
            }
        }
    }

    /// A file whose device and inode a record names, and whose content is what that record covers. `unread`: records of
    /// which nothing was read; they fit every content, so it must not be another's.
    fn resume(&mut self, found: &Found, aside: &mut HashMap<PathBuf, (String, FileState)>, unread: bool) -> bool {
        let Some(job) = self.jobs.get(found.job) else {
            return true;
        };
        let records = self.book.records(&job.name, |record| {
            (record.device, record.inode, record.rank) == (found.device, found.inode, found.rank)
                && (record.offset == 0) == unread
                && !self.slots.contains_key(&record.id)
        });
        if records.is_empty() {
            return false;
        }
        let candidate = match Candidate::open(&found.path, job.settings.decompression.map(|packed| packed.format)) {
            Ok(Some(candidate)) => candidate,
            Ok(None) => return true,
            Err(error) => {
                aside.insert(found.path.clone(), (job.name.to_string(), FileState::Failed(error.to_string())));
                return true;
            }
        };
        for record in records.into_iter().filter(|record| candidate.is(record)) {
            let name = &record.job;
            if unread
                && (candidate.signature.is_some() && !record.packed
                    || self.told(&candidate, name, record.rank) != Match::Other
                    || self.likeness(&candidate, name, record.rank) != Likeness::None)
            {
                continue;
            }
            let done = record.packed && record.is_finished() && record.packed_size == candidate.size;
            if done || candidate.holds(&record) == Match::Same {
                self.adopt(candidate, record, found.job, found.target, false, done);
                return true;
            }
        }
        false
    }

    /// Records whose place is empty or another's, now that everything in its place was met.
    fn note_lost(&mut self, found: &[Found]) {
        let here: HashMap<&Path, &Found> = found.iter().map(|found| (found.path.as_path(), found)).collect();
        let ms = now_ms();
        let mut lost = Vec::new();
        for job in &self.jobs {
            if !job.known {
                continue;
            }
            let unmet = |record: &Record| record.lost_ms.is_none() && !self.slots.contains_key(&record.id);
            for record in self.book.records(&job.name, unmet) {
                let path = Path::new(&record.path);
                if !job.targets.iter().any(|target| target.wants(path)) {
                    continue;
                }
                // One that cannot be opened now is still in its place.
                let same = here.get(path).is_some_and(|f| (f.device, f.inode) == (record.device, record.inode));
                if same && fs::File::open(path).is_err() {
                    continue;
                }
                self.book.note(record.id, |record| record.lost_ms = Some(ms));
                lost.push((job.name.clone(), record));
            }
        }
        for (name, record) in lost {
            let (path, real) = (PathBuf::from(&record.path), record.real_path().to_owned());
            let was = vec![(record.device, record.inode)];
            self.look_out(name, record.rank, path, real, record.seen_ms, was);
        }
    }

    /// A file that no record names.
    fn meet_new(
        &mut self,
        found: &Found,
        aside: &mut HashMap<PathBuf, (String, FileState)>,
        held: &mut HashMap<PathBuf, (Instant, u64)>,
    ) {
        let Some(job) = self.jobs.get(found.job) else {
            return;
        };
        let (settings, name) = (job.settings.clone(), job.name.clone());
        let candidate = match Candidate::open(&found.path, settings.decompression.map(|packed| packed.format)) {
            Ok(Some(candidate)) => candidate,
            Ok(None) => {
                let why = "it is a pipe, a socket or a device and not a file";
                if !self.aside.contains_key(&found.path) {
                    tracing::warn!(path = %found.path.display(), "a path of log files is not read: {why}");
                }
                aside.insert(found.path.clone(), (name.to_string(), FileState::Failed(why.to_owned())));
                return;
            }
            Err(error) => {
                if !self.aside.contains_key(&found.path) {
                    tracing::warn!(path = %found.path.display(), %error, "a log file cannot be opened: trying again");
                }
                aside.insert(found.path.clone(), (name.to_string(), FileState::Failed(error.to_string())));
                return;
            }
        };
        let found = &Found { device: candidate.device, inode: candidate.inode, path: found.path.clone(), ..*found };
        if self.by_key.contains_key(&self.key(found)) {
            return;
        }
        let wait = |held: &mut HashMap<PathBuf, (Instant, u64)>, all: &HashMap<PathBuf, (Instant, u64)>| {
            let now = Instant::now();
            let (since, size) = all.get(&found.path).copied().unwrap_or((now, candidate.size));
            // A file that still changes begins its time anew.
            let since = if size == candidate.size { since } else { now };
            held.insert(found.path.clone(), (since, candidate.size));
            since.elapsed()
        };
        match self.content_of(&candidate, &name, found.rank) {
            Some((record, Match::Same)) => {
                self.metrics.rotated("found");
                self.adopt(candidate, record, found.job, found.target, false, false);
                return;
            }
            Some((_, _)) if wait(held, &self.held) < self.config.pace.suspicion => {
                aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
                return;
            }
            _ => {}
        }
        if candidate.wanted.is_none() && candidate.signature.is_some() {
            aside.insert(found.path.clone(), (name.to_string(), FileState::Compressed));
            return;
        }
        let likeness = self.likeness(&candidate, &name, found.rank);
        let patience = match (candidate.wanted.is_some(), settings.decompression) {
            _ if likeness == Likeness::Copy => Duration::MAX,
            _ if likeness == Likeness::Perhaps => self.config.pace.suspicion,
            (true, Some(packed)) => packed.initial_delay,
            _ => Duration::ZERO,
        };
        if !patience.is_zero() && wait(held, &self.held) < patience {
            aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
            return;
        }
        // What was compared is what is there.
        if candidate.file.metadata().map_or(true, |meta| meta.len() != candidate.size) {
            wait(held, &self.held);
            aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
            self.survey_soon();
            return;
        }
        held.remove(&found.path);
        self.begin(candidate, found);
    }

    /// A lost or finished record of the same family whose content this is. `Unclear` if that cannot be told yet.
    fn content_of(&self, candidate: &Candidate, job: &str, rank: u32) -> Option<(Record, Match)> {
        let mut unclear = None;
        let records = self.book.records(job, |record| {
            record.offset > 0
                && record.rank == rank
                && (record.lost_ms.is_some() || record.finished_at.is_some())
                && !self.slots.contains_key(&record.id)
                && akin(record, &candidate.path)
        });
        for record in records {
            match candidate.holds(&record) {
                Match::Same if beyond(candidate, &record) => {}
                Match::Same => return Some((record, Match::Same)),
                Match::Unclear => unclear = Some((record, Match::Unclear)),
                Match::Other => {}
            }
        }
        unclear
    }

    /// Whether any record says that something of this content was read.
    fn told(&self, candidate: &Candidate, job: &str, rank: u32) -> Match {
        let records = self
            .book
            .records(job, |record| record.rank == rank && record.offset > 0 && akin(record, &candidate.path));
        let mut told = Match::Other;
        for record in records {
            match candidate.holds(&record) {
                Match::Same if beyond(candidate, &record) => {}
                Match::Same => return Match::Same,
                Match::Unclear => told = Match::Unclear,
                Match::Other => {}
            }
        }
        told
    }

    /// Whether it is, or may be, a copy of a file that is followed.
    fn likeness(&self, candidate: &Candidate, job: &str, rank: u32) -> Likeness {
        let Some(kin) = kin(&candidate.path).and_then(|kin| self.by_kin.get(&kin)) else {
            return Likeness::None;
        };
        let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let mine = name(&candidate.path);
        let each = kin.iter().filter_map(|id| self.slots.get(id)).map(|slot| {
            // In a large family (one file for each of many things) only those count whose name the candidate's continues.
            let near = kin.len() <= LARGE_FAMILY || mine.starts_with(&name(&slot.place));
            if !near || *slot.key.0 != *job || slot.key.1 != rank || slot.known.packed {
                return Likeness::None;
            }
            let copy = if slot.detached { Likeness::Copy } else { Likeness::Perhaps };
            if slot.known.offset == 0 {
                let Some(file) = &slot.file else {
                    // It is being read for the first time: what of it, is known when it comes back.
                    return Likeness::Copy;
                };
                // It holds less than a line.
                let begin = file.begin();
                if !begin.is_empty() && candidate.begins_with(&begin) != Some(false) {
                    return copy;
                }
            } else {
                // This also holds when the original has been truncated since, which nobody has seen yet.
                match candidate.holds(&slot.known) {
                    Match::Same => return copy,
                    Match::Unclear => return Likeness::Perhaps,
                    Match::Other => {}
                }
            }
            // A copy that is not finished.
            let live = candidate.size == 0 || candidate.grows_to(&slot.known, slot.file.as_deref());
            if live && !slot.detached { Likeness::Perhaps } else { Likeness::None }
        });
        each.max().unwrap_or(Likeness::None)
    }

    /// Follows a new file from its beginning, or from where Promtail stood.
    fn begin(&mut self, candidate: Candidate, found: &Found) {
        let Some(job) = self.jobs.get(found.job) else {
            return;
        };
        let mut record = Record::fresh(&job.name, found.rank, &found.path, candidate.device, candidate.inode);
        record.packed = candidate.wanted.is_some();
        if let Some(offset) = self.book.inherited(&found.path)
            && !record.packed
            && offset <= candidate.size
        {
            take_over(&mut record, &candidate, offset);
        }
        record.seen_ms = now_ms();
        self.adopt(candidate, record, found.job, found.target, false, false);
    }

    /// Follows a file from where its record stands.
    fn adopt(
        &mut self,
        candidate: Candidate,
        mut record: Record,
        job: usize,
        target: usize,
        detached: bool,
        done: bool,
    ) {
        let Some((job, target)) = self.jobs.get(job).and_then(|job| Some((job, job.targets.get(target)?))) else {
            return;
        };
        let real = fs::canonicalize(&candidate.path).ok().filter(|real| *real != candidate.path);
        if !detached {
            record.seen_ms = self.seen(&record.job, record.rank, Path::new(&record.path), self.survey_ms);
            record.real = real.map(|real| real.to_string_lossy().into_owned());
            record.lost_ms = None;
        }
        (record.device, record.inode) = (candidate.device, candidate.inode);
        // A plain file that begins like a compressed one is read as what its record says it is.
        let as_plain = !record.packed && candidate.holds(&Record { packed: false, ..record.clone() }) == Match::Same;
        let packing: Option<Packing> = match (candidate.packing(), record.offset, as_plain) {
            (None, _, _) => None,
            (Some(packing), 0, _) => Some(packing).filter(|_| record.packed || detached),
            (Some(packing), _, _) => Some(packing).filter(|_| record.packed || candidate.signature.is_some()),
        };
        record.packed = packing.is_some();
        self.book.insert(record.clone());
        let key: Key = (job.name.clone(), record.rank, record.device, record.inode);
        let labels = target.labels_of(&record.path);
        let place = candidate.path.clone();
        let mut file = Box::new(TailFile::new(record.clone(), place.clone(), job.settings.clone(), labels, packing));
        file.hold(candidate.file);
        let (id, now) = (record.id, Instant::now());
        let state = match (done, detached) {
            (true, _) => FileState::Done,
            (_, true) => FileState::Draining,
            _ => FileState::Following,
        };
        if done {
            file.close();
        }
        let slot = Slot {
            key: key.clone(),
            place,
            known: record,
            file: Some(file),
            again: false,
            detached,
            quiet_since: now,
            pause: self.config.pace.min_poll,
            poll_at: None,
            state,
            size: if done { candidate.size } else { 0 },
        };
        self.by_key.insert(key, id);
        for kin in [kin(&slot.place), kin(slot.known.real_path())].into_iter().flatten() {
            let ids = self.by_kin.entry(kin).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.slots.insert(id, slot);
        if !done {
            self.look(id);
        }
    }

    /// Looks for what lost records cover among siblings: by device and inode, or by content.
    fn search_lost(&mut self, by_inode: bool) {
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
            }
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
        for path in self.listings.siblings(record.real_path()).to_vec() {
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
            // Without a content to compare, device and inode must do, and that nobody else knows the content.
            let same = record.offset > 0
                || (candidate.is(record)
                    && self.told(&candidate, &name, record.rank) == Match::Other
                    && self.likeness(&candidate, &name, record.rank) == Likeness::None);
            if same && candidate.holds(record) == Match::Same {
                tracing::info!(path = %record.path, found = %path.display(), offset = record.offset, "finishing a log file that rotated away");
                self.metrics.rotated("found");
                self.adopt(candidate, record.clone(), at, target, true, false);
                return;
            }
        }
    }

    /// Looks for contents that came into a path and rotated away again between two looks.
    fn search_between(&mut self, held: &mut HashMap<PathBuf, (Instant, u64)>) {
        let now = Instant::now();
        self.lookouts.retain(|_, lookouts| {
            lookouts.retain(|lookout| lookout.until > now);
            !lookouts.is_empty()
        });
        let pending = self.lookouts.iter().flat_map(|(path, lookouts)| lookouts.iter().map(move |lookout| (path, lookout)));
        let lookouts: Vec<_> = pending
            .map(|(path, l)| {
                (l.job.clone(), l.rank, path.clone(), l.real.clone(), l.since_ms - CLOCK_SLACK_MS, l.was.clone())
            })
            .collect();
        let mut put_off: HashSet<PathBuf> = HashSet::new();
        for (name, rank, path, real, since_ms, was) in lookouts {
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
                if !made_of(&real, &sibling) {
                    continue;
                }
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
                if known || (matches && candidate.signature.is_none()) || candidate.size == 0 {
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
                    self.survey_soon();
                    continue;
                }
                tracing::info!(path = %path.display(), found = %sibling.display(), "reading a log file that came and rotated away between two looks");
                self.metrics.rotated("found");
                let mut record = Record::fresh(&name, rank, &path, candidate.device, candidate.inode);
                record.real = Some(real.to_string_lossy().into_owned()).filter(|real| *real != record.path);
                record.packed = candidate.packing().is_some();
                record.seen_ms = now_ms();
                record.lost_ms = Some(now_ms());
                self.adopt(candidate, record, at, target, true, false);
            }
        }
        // However long it takes until it is clear what a file is, it is not forgotten.
        let until = now + self.config.pace.survey * 2 + self.config.pace.suspicion;
        for path in put_off {
            for lookout in self.lookouts.get_mut(&path).into_iter().flatten() {
                lookout.until = until;
            }
        }
    }

    fn finish_survey(&mut self, begun: Instant) {
        self.by_place.clear();
        for (id, slot) in &self.slots {
            self.by_place.entry(slot.place.clone()).or_default().push(*id);
            if slot.known.real.is_some() {
                self.by_place.entry(slot.known.real_path().to_owned()).or_default().push(*id);
            }
        }
        let mut statuses: Vec<FileStatus> = self
            .slots
            .values()
            .map(|slot| FileStatus {
                job: slot.key.0.to_string(),
                path: slot.known.path.clone(),
                place: slot.place.clone(),
                state: slot.state.clone(),
                offset: slot.known.offset,
                size: slot.size,
            })
            .collect();
        statuses.extend(self.aside.iter().map(|(path, (job, state))| FileStatus {
            job: job.clone(),
            path: path.to_string_lossy().into_owned(),
            place: path.clone(),
            state: state.clone(),
            offset: 0,
            size: 0,
        }));
        statuses.sort_by(|a, b| (&a.job, &a.path).cmp(&(&b.job, &b.path)));
        *self.statuses.lock() = statuses;
        let unreadable = self.aside.values().filter(|(_, state)| matches!(state, FileState::Failed(_))).count();
        self.metrics.surveyed(self.slots.len(), unreadable);
        let now = Instant::now();
        self.surveyed = now;
        self.survey_took = now.duration_since(begun);
        let soonest = self.held.values().map(|(since, _)| (since.elapsed() / 2).max(Duration::from_millis(50))).min();
        let pause = soonest.unwrap_or(self.config.pace.survey).min(self.config.pace.survey);
        self.survey_at = now + pause.max(self.survey_took * 10).min(self.config.pace.survey.max(self.survey_took * 10));
    }
}

/// A short content that nothing more was expected of, and a file that goes on where it ends: another one that begins alike.
fn beyond(candidate: &Candidate, record: &Record) -> bool {
    record.is_finished() && (record.head_len as usize) < HEAD && !candidate.ends_with(record)
}

/// Directory and family of a path.
fn kin(path: &Path) -> Option<(PathBuf, String)> {
    Some((path.parent()?.to_owned(), family(&path.file_name()?.to_string_lossy())))
}

/// Whether rotation may have made a path of what a record knows.
fn akin(record: &Record, path: &Path) -> bool {
    related(record.real_path(), path) || related(Path::new(&record.path), path)
}

/// Takes over a position that came without identity.
fn take_over(record: &mut Record, candidate: &Candidate, offset: u64) {
    use crate::record::{HEAD, TAIL, hash};
    use crate::tail_file::read_at;
    let len = |limit: usize| usize::try_from(offset).unwrap_or(limit).min(limit);
    let (mut head, mut tail) = (vec![0; len(HEAD)], vec![0; len(TAIL)]);
    let at = offset - tail.len() as u64;
    let whole = |result: std::io::Result<usize>, len: usize| result.is_ok_and(|n| n == len);
    if whole(read_at(&candidate.file, &mut head, 0), head.len())
        && whole(read_at(&candidate.file, &mut tail, at), tail.len())
    {
        record.offset = offset;
        (record.head, record.head_len) = (hash(&head), u32::try_from(head.len()).unwrap_or_default());
        (record.tail, record.tail_len) = (hash(&tail), u32::try_from(tail.len()).unwrap_or_default());
    }
}
