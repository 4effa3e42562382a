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
    foreman::Foreman,
    likeness::{Likeness, kin},
    order::Gate,
    packing::LOOKS_COMPRESSED,
    reader::now_ms,
    record::Record,
    search::{Candidate, Match},
    slot::{Key, Slot},
    tail_file::TailFile,
};

/// What holds nothing but what was read of another file waits so many times longer for that to be cut.
const WHOLE_COPY: u32 = 30;

/// Files at gates from which on an empty one is begun like any other: each is opened in each survey.
const MOST_EMPTY: usize = 512;

/// A path that matches.
pub(crate) struct Found {
    pub job: usize,
    pub target: usize,
    pub rank: u32,
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
}

impl Foreman {
    pub(crate) fn survey(&mut self) {
        let begun = Instant::now();
        self.last_survey_ms = std::mem::replace(&mut self.survey_ms, now_ms());
        self.listings.clear();
        self.unclear.clear();
        self.came.retain(|_, came| {
            came.retain(|came| self.book.is_unread(came.id));
            !came.is_empty()
        });
        self.by_kin.clear();
        self.neighbours.clear();
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            self.note_kin(id);
        }
        let mut directories = BTreeSet::new();
        let found = self.find(&mut directories);
        #[cfg(test)]
        crate::rehearsal::moment("a list");
        // Only for paths that were met before this survey: what lay beside the others is none of ours.
        self.note_names();
        self.meet_paths(&found);
        self.meet_absent();
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
        rest.extend(self.sift_renewed(&found));
        for found in rest {
            self.meet_new(found, &mut aside, &mut held);
        }
        self.aside = aside;
        self.search_lost(false);
        self.search_between(&mut held);
        self.held = held;
        self.line_up();
        for slot in self.slots.values() {
            directories.extend(slot.known.real_path().parent().map(Path::to_owned));
        }
        self.watch.listen(&directories);
        // A list without targets may be of a discovery that could not ask: what it looked up last is looked up again later.
        for job in self.jobs.iter().filter(|job| job.known && !job.targets.is_empty()) {
            // What is still looked for came after that, and may be of a path of which nothing is known.
            let pending = self.lookouts.values().flatten().filter(|lookout| lookout.job == job.name);
            let looked_ms = pending.map(|lookout| lookout.since_ms).fold(self.survey_ms, i64::min);
            let patterns = job.targets.iter().map(|target| target.pattern.as_str());
            self.book.note_looked_up(&job.name, patterns, looked_ms);
        }
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
                (slot.detached, slot.found) = (false, false);
                slot.state = FileState::Following;
                if was_here {
                    self.metrics.rotated("renamed");
                    self.rotated(&key, &known);
                }
            }
        } else if slot.detached {
            (slot.detached, slot.found) = (false, false);
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
                if record.is_unread() {
                    self.note_came(&record, record.seen_ms);
                }
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
                // One that cannot be opened now is still in its place, unless it went since it was found or is another's.
                let is = |device: u64, inode: u64| (device, inode) == (record.device, record.inode);
                let key = (job.name.clone(), record.rank, record.device, record.inode);
                let same = here.get(path).is_some_and(|found| is(found.device, found.inode));
                if same
                    && !self.by_key.contains_key(&key)
                    && fs::metadata(path).is_ok_and(|meta| is(meta.dev(), meta.ino()))
                    && fs::File::open(path).is_err()
                {
                    continue;
                }
                self.book.note(record.id, |record| record.lost_ms = Some(ms));
                lost.push((job.name.clone(), record));
            }
        }
        let now = Instant::now();
        for (name, record) in lost {
            if record.offset > 0 && !record.is_finished() && here.contains_key(Path::new(&record.path)) {
                self.missing.insert(record.id, now);
            }
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
            // Whoever copies may not be done yet.
            Some((_, Match::Shorter)) if wait(held, &self.held) >= self.config.pace.drain => {
                self.metrics.rotated("found");
                let size = candidate.size;
                held.remove(&found.path);
                self.begin(candidate, found, Some(size));
                return;
            }
            // All of it was read: nobody has to wait for it.
            Some((_, Match::Shorter)) => {
                aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
                return;
            }
            Some((_, _)) if wait(held, &self.held) < self.config.pace.suspicion => {
                self.unclear.insert(found.path.clone());
                aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
                return;
            }
            _ => {}
        }
        if candidate.wanted.is_none() && candidate.signature.is_some() {
            if !matches!(self.aside.get(&found.path), Some((_, FileState::Compressed))) {
                tracing::warn!(path = %found.path.display(), "a log file {LOOKS_COMPRESSED}");
            }
            aside.insert(found.path.clone(), (name.to_string(), FileState::Compressed));
            return;
        }
        let likeness = self.likeness(&candidate, &name, found.rank);
        let suspicion = self.config.pace.suspicion;
        let patience = match (candidate.wanted.is_some(), settings.decompression) {
            _ if likeness == Likeness::Copy => Duration::MAX,
            _ if likeness == Likeness::Perhaps => {
                let whole = wait(held, &self.held) >= suspicion && self.is_whole_copy(&candidate, &name, found.rank);
                if whole { suspicion * WHOLE_COPY } else { suspicion }
            }
            (true, Some(packed)) => packed.initial_delay,
            _ => Duration::ZERO,
        };
        if !patience.is_zero() && wait(held, &self.held) < patience {
            if likeness == Likeness::None {
                self.unclear.insert(found.path.clone());
            }
            aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
            return;
        }
        // What was compared is what is there.
        if candidate.file.metadata().map_or(true, |meta| meta.len() != candidate.size) {
            wait(held, &self.held);
            self.unclear.insert(found.path.clone());
            aside.insert(found.path.clone(), (name.to_string(), FileState::Waiting));
            self.survey_soon();
            return;
        }
        held.remove(&found.path);
        self.begin(candidate, found, None);
    }

    /// Files that were cut or written anew, and that are not begun: one that holds what is known of another is met like a
    /// new one, so that a copy made over an older copy is not read again.
    fn sift_renewed<'f>(&mut self, found: &'f [Found]) -> Vec<&'f Found> {
        let mut copies = Vec::new();
        if self.gated.is_empty() {
            return copies;
        }
        let mut seen = HashSet::new();
        for found in found {
            let Some(id) = self.by_key.get(&self.key(found)).copied().filter(|id| self.gated.contains(id)) else {
                continue;
            };
            seen.insert(id);
            let renewed = self.slots.get(&id).is_some_and(|slot| slot.gate.as_ref().is_some_and(|gate| gate.renewed));
            let Some(job) = self.jobs.get(found.job).filter(|_| renewed) else {
                continue;
            };
            let (name, wanted) = (job.name.clone(), job.settings.decompression.map(|packed| packed.format));
            let Ok(Some(candidate)) = Candidate::open(&found.path, wanted) else {
                continue;
            };
            if (candidate.device, candidate.inode) != (found.device, found.inode) {
                continue;
            }
            // Nothing can be told of nothing, and nothing is to be read of it either.
            let is_empty = candidate.size == 0;
            if let Some(gate) = self.slots.get_mut(&id).and_then(|slot| slot.gate.as_mut()) {
                gate.empty = is_empty;
            }
            if !is_empty
                && (self.content_of(&candidate, &name, found.rank).is_some()
                    || self.likeness_but(&candidate, &name, found.rank, Some(id)) != Likeness::None)
            {
                self.drop_slot(id);
                self.book.forget(id);
                copies.push(found);
            }
        }
        // One that has no name any more that matches is looked at by nobody else: its reader finds out what became of it.
        for id in self.gated.iter().filter(|id| !seen.contains(id)) {
            if let Some(gate) = self.slots.get_mut(id).and_then(|slot| slot.gate.as_mut()) {
                gate.empty = false;
            }
        }
        copies
    }

    /// Follows a new file from its beginning, or from where Promtail stood, or from `at`: what is before was read elsewhere.
    fn begin(&mut self, candidate: Candidate, found: &Found, at: Option<u64>) {
        let Some(job) = self.jobs.get(found.job) else {
            return;
        };
        let mut record = Record::fresh(&job.name, found.rank, &found.path, candidate.device, candidate.inode);
        record.packed = candidate.wanted.is_some();
        if let Some(offset) = at.or_else(|| self.book.inherited(&found.path))
            && !record.packed
            && offset <= candidate.size
        {
            take_over(&mut record, &candidate, offset);
        }
        record.seen_ms = now_ms();
        let waited = self.held.get(&found.path).map(|(since, _)| since.elapsed()).unwrap_or_default();
        let waited = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
        // It was not there when its names were looked up last, or has been waiting since.
        let looked_ms = self.looked_up(found).unwrap_or(self.survey_ms).saturating_sub(waited);
        let since_ms = self.seen(&record.job, record.rank, &found.path, looked_ms);
        self.note_came(&record, since_ms);
        self.adopt(candidate, record, found.job, found.target, false, false);
    }

    /// Follows a file from where its record stands.
    pub(crate) fn adopt(
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
        file.upto = candidate.upto;
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
        // What comes into it may be a copy of another.
        let empty = !detached && candidate.size == 0 && record.offset == 0 && self.gated.len() < MOST_EMPTY;
        let gate = if empty { Gate::of_empty() } else { Gate::new() };
        let slot = Slot {
            key: key.clone(),
            place,
            known: record,
            handle: file.handle(),
            file: Some(file),
            again: false,
            detached,
            found: false,
            caught_up: false,
            quiet_since: now,
            pause: self.config.pace.min_poll,
            poll_at: None,
            state,
            size: if done { candidate.size } else { 0 },
            gate: (!done).then_some(gate),
            standing: u64::MAX,
        };
        self.config.readership.begins((key.2, key.3), &slot.place, &self.route, &key.0);
        self.by_key.insert(key, id);
        self.slots.insert(id, slot);
        self.note_kin(id);
        if !done {
            self.open += 1;
            self.gated.insert(id);
        }
    }

    fn note_kin(&mut self, id: u64) {
        let Some(slot) = self.slots.get(&id) else {
            return;
        };
        for (directory, family) in [kin(&slot.place), kin(slot.known.real_path())].into_iter().flatten() {
            self.neighbours.note(&directory, id, &slot.known);
            let ids = self.by_kin.entry((directory, family)).or_default();
            if ids.last() != Some(&id) {
                ids.push(id);
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
                // In an empty one there is nothing to wait for.
                state: match &slot.gate {
                    Some(gate) if !gate.empty => FileState::Waiting,
                    _ => slot.state.clone(),
                },
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
        let states = self.aside.values().map(|(_, state)| state).chain(self.slots.values().map(|slot| &slot.state));
        let unreadable = states.filter(|state| matches!(state, FileState::Failed(_) | FileState::Compressed)).count();
        self.metrics.surveyed(self.slots.len(), unreadable);
        let now = Instant::now();
        self.surveyed = now;
        self.survey_took = now.duration_since(begun);
        let soonest = self.held.values().map(|(since, _)| (since.elapsed() / 2).max(Duration::from_millis(50))).min();
        let limit = self.config.pace.suspicion * 3;
        let is_empty = |gate: &Gate| gate.empty && gate.since.elapsed() < limit;
        let empty = |id: &u64| self.slots.get(id).and_then(|slot| slot.gate.as_ref()).is_some_and(is_empty);
        let soonest = if self.gated.iter().any(empty) { Some(self.config.pace.min_poll) } else { None }
            .into_iter()
            .chain(soonest)
            .min();
        let pause = soonest.unwrap_or(self.config.pace.survey).min(self.config.pace.survey);
        self.survey_at = now + pause.max(self.survey_took * 10).min(self.config.pace.survey.max(self.survey_took * 10));
    }
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
