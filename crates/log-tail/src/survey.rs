//! A survey: which files match now, which of them are known, and what became of those that are not where they were.
//!
//! In order: files that are known by device and inode go on; records whose file is not in its place are lost; files that
//! hold what a lost record covers go on from there; the rest is new, unless it looks like a copy of a live sibling. At last
//! lost records, and what came and went between two looks, are searched among siblings that do not match.

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
    foreman::{Foreman, Key, Slot},
    reader::now_ms,
    record::Record,
    search::{Candidate, Match, related, siblings},
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

/// The coarse clock that file systems stamp with lags behind.
const CLOCK_SLACK_MS: i64 = 100;

impl Foreman {
    pub(crate) fn survey(&mut self) {
        let begun = Instant::now();
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
        let matched: HashSet<u64> = found.iter().filter_map(|found| self.meet_known(found)).collect();
        self.note_absent(&matched);
        let mut aside = HashMap::new();
        let mut held = HashMap::new();
        let before: Vec<&Found> = found.iter().filter(|found| !self.by_key.contains_key(&self.key(found))).collect();
        // By device and inode first, whatever their names: contents are compared with what is left.
        let mut rest = Vec::new();
        for found in before {
            if !self.resume(found, &mut aside) {
                rest.push(found);
            }
        }
        self.note_lost(&found);
        rest.retain(|found| !aside.contains_key(&found.path));
        for found in rest {
            self.meet_new(found, &mut aside, &mut held);
        }
        self.aside = aside;
        self.search_lost();
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
                // The reader that looks finds out, and drains it.
                if matches!(slot.state, FileState::Done) {
                    self.drop_slot(id);
                } else {
                    self.look(id);
                }
            }
        }
    }

    /// A file whose device and inode a record names, and whose content is what that record covers.
    fn resume(&mut self, found: &Found, aside: &mut HashMap<PathBuf, (String, FileState)>) -> bool {
        let Some(job) = self.jobs.get(found.job) else {
            return true;
        };
        let records = self.book.records(&job.name, |record| {
            (record.device, record.inode, record.rank) == (found.device, found.inode, found.rank)
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
                let pace = &self.config.pace;
                self.rotations.push(crate::foreman::Rotation {
                    job: job.name.clone(),
                    rank: record.rank,
                    path: path.to_owned(),
                    real: record.real_path().to_owned(),
                    since_ms: record.seen_ms,
                    until: Instant::now() + pace.survey * 2 + pace.suspicion,
                });
            }
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
            Ok(None) => return,
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
        let suspicious = self.looks_live(&candidate, &name, found.rank);
        let patience = match (candidate.wanted.is_some(), settings.decompression) {
            _ if suspicious => self.config.pace.suspicion,
            (true, Some(packed)) => packed.initial_delay,
            _ => Duration::ZERO,
        };
        if !patience.is_zero() && wait(held, &self.held) < patience {
            aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
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
                Match::Same => return Some((record, Match::Same)),
                Match::Unclear => unclear = Some((record, Match::Unclear)),
                Match::Other => {}
            }
        }
        unclear
    }

    /// Whether it may be a copy that is being made of a file that is followed.
    fn looks_live(&self, candidate: &Candidate, job: &str, rank: u32) -> bool {
        let Some(kin) = kin(&candidate.path).and_then(|kin| self.by_kin.get(&kin)) else {
            return false;
        };
        let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let mine = name(&candidate.path);
        kin.iter().filter_map(|id| self.slots.get(id)).any(|slot| {
            // In a large family (one file for each of many things) only those count whose name the candidate's continues.
            let near = kin.len() <= LARGE_FAMILY || mine.starts_with(&name(&slot.place));
            if !near || *slot.key.0 != *job || slot.key.1 != rank || slot.known.packed {
                return false;
            }
            if candidate.packing().is_some() {
                return slot.known.offset > 0 && candidate.holds(&slot.known) != Match::Other;
            }
            // It is being read for the first time: what of it, is known when it comes back.
            if slot.file.is_none() && slot.known.offset == 0 {
                return true;
            }
            if candidate.size == 0 {
                return !slot.detached && slot.place.exists();
            }
            // The second holds when the original has been truncated since, which nobody has seen yet.
            (candidate.begins_as(&slot.place) && !slot.detached)
                || (slot.known.offset > 0 && candidate.holds(&slot.known) == Match::Same)
        })
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
            record.seen_ms = now_ms();
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

    /// Looks for what lost records cover among siblings that do not match.
    fn search_lost(&mut self) {
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
                self.search_one(at, &record);
            }
        }
    }

    fn search_one(&mut self, at: usize, record: &Record) {
        let Some(job) = self.jobs.get(at) else {
            return;
        };
        let Some(target) = job.targets.iter().position(|target| target.wants(Path::new(&record.path))) else {
            return;
        };
        let wanted = job.settings.decompression.map(|packed| packed.format);
        let name = job.name.clone();
        for path in siblings(record.real_path()) {
            let Ok(Some(candidate)) = Candidate::open(&path, wanted) else {
                continue;
            };
            if self.by_key.contains_key(&(name.clone(), record.rank, candidate.device, candidate.inode)) {
                continue;
            }
            // Without a content to compare, device and inode must do.
            let same = candidate.is(record) || record.offset > 0;
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
        self.rotations.retain(|rotation| rotation.until > now);
        let rotations: Vec<_> = self
            .rotations
            .iter()
            .map(|r| (r.job.clone(), r.rank, r.path.clone(), r.real.clone(), r.since_ms))
            .collect();
        for (name, rank, path, real, since_ms) in rotations {
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
            for sibling in siblings(&real) {
                let Some(job) = self.jobs.get(at) else {
                    continue;
                };
                let matches = job.targets.iter().any(|target| target.wants(&sibling));
                let Ok(Some(candidate)) = Candidate::open(&sibling, wanted) else {
                    continue;
                };
                let known = self.by_key.contains_key(&(name.clone(), rank, candidate.device, candidate.inode));
                if known || (matches && candidate.signature.is_none()) || sibling == real {
                    continue;
                }
                if candidate.size == 0 {
                    continue;
                }
                let records = self.book.records(&name, |record| {
                    record.rank == rank && (record.offset > 0 || candidate.is(record)) && akin(record, &sibling)
                });
                let told: Vec<Match> = records.iter().map(|record| candidate.holds(record)).collect();
                if told.contains(&Match::Same) || told.contains(&Match::Unclear) {
                    continue;
                }
                // The very file that was followed, truncated and written anew before it rotated away, is old and yet new.
                let renewed = records.iter().any(|record| candidate.is(record) && record.seen_ms >= since_ms);
                if candidate.born_ms < since_ms - CLOCK_SLACK_MS && !renewed {
                    continue;
                }
                if self.looks_live(&candidate, &name, rank) {
                    let (since, size) = self.held.get(&sibling).copied().unwrap_or((now, candidate.size));
                    let since = if size == candidate.size { since } else { now };
                    held.insert(sibling.clone(), (since, candidate.size));
                    if since.elapsed() < self.config.pace.suspicion {
                        continue;
                    }
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
