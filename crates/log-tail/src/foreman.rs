//! Who is read when: owns every file that rests, hands those with something new to the readers, and follows what becomes
//! of their paths. One thread; files at readers are theirs until they come back.
//!
//! Keeps true: a file is at one reader at a time; a path that leads elsewhere ends nothing, its old file is read on until
//! nothing more can come.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque},
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use discovery::TargetGroup;
use parking_lot::Mutex;

use crate::{
    Book, FileState, FileStatus, TailConfig, Target,
    metrics::RouteMetrics,
    order::Gate,
    reader::{Done, Hours, Queue, now_ms, now_ns},
    record::Record,
    search::Listings,
    staged::ReadyJob,
    tail_file::{TailFile, Turn},
    target::Dropped,
    watch::{Bell, Change, Watch},
};

/// Job, rank, device, inode: one file as one job reads it.
pub(crate) type Key = (Arc<str>, u32, u64, u64);

/// What the foreman is told.
pub(crate) enum Message {
    Done(Done),
    Groups {
        job: String,
        groups: Arc<Vec<TargetGroup>>,
    },
    Jobs(Vec<ReadyJob>),
    /// Positions are to be written now.
    Sync,
    Stop,
}

/// Where messages are left.
pub(crate) struct Mailbox {
    pub messages: Mutex<VecDeque<Message>>,
    pub bell: Bell,
}

impl Mailbox {
    pub(crate) fn post(&self, message: Message) {
        self.messages.lock().push_back(message);
        self.bell.ring();
    }
}

pub(crate) struct Job {
    pub settings: Arc<ReadyJob>,
    pub name: Arc<str>,
    pub groups: Arc<Vec<TargetGroup>>,
    pub targets: Arc<Vec<Target>>,
    /// Discovery has spoken.
    pub known: bool,
    /// Since when that is waited for.
    pub since: Instant,
    /// It was told that nobody waits for it any more.
    pub given_up: bool,
}

/// A file that is followed.
pub(crate) struct Slot {
    pub key: Key,
    pub place: PathBuf,
    /// The record as it came back last.
    pub known: Record,
    /// At rest here, or at a reader.
    pub file: Option<Box<TailFile>>,
    /// The file's, wherever it is.
    pub handle: Weak<File>,
    /// Something happened while it was at a reader.
    pub again: bool,
    /// Its path leads elsewhere, or nowhere.
    pub detached: bool,
    /// It was found beside its path: who writes to it for longer than a rotation takes is a stranger.
    pub found: bool,
    /// It was read to its end once.
    pub caught_up: bool,
    pub quiet_since: Instant,
    pub pause: Duration,
    pub poll_at: Option<Instant>,
    pub state: FileState,
    /// As stored.
    pub size: u64,
    /// It was taken up and is not begun.
    pub gate: Option<Gate>,
    /// See [`Foreman::line_up`].
    pub standing: u64,
}

impl Slot {
    /// What looks like it is a copy until it was read: it rotated away, whether a reader has seen that yet or not, or it waits
    /// for older ones and may do so.
    pub(crate) fn waits(&self) -> bool {
        let is = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == (self.key.2, self.key.3);
        self.detached || self.gate.is_some() || !std::fs::metadata(&self.place).is_ok_and(is)
    }

    /// The file as it is now, if it is open or still in its place.
    pub(crate) fn open(&self) -> Option<Arc<File>> {
        self.handle.upgrade().or_else(|| {
            let file = File::open(&self.place).ok()?;
            let meta = file.metadata().ok()?;
            ((meta.dev(), meta.ino()) == (self.key.2, self.key.3)).then(|| Arc::new(file))
        })
    }
}

/// A path that may have led to other contents than those that were met: they are looked for among its siblings.
pub(crate) struct Lookout {
    pub job: Arc<str>,
    pub rank: u32,
    pub real: PathBuf,
    /// When the path was last looked at: what came into it since was made and written since.
    pub since_ms: i64,
    /// Device and inode of files that lay there: they may have been cut and written anew.
    pub was: Vec<(u64, u64)>,
    pub until: Instant,
    /// How often that was searched: a thread that was held up must not forget what it had no time for.
    pub searches: u32,
}

/// A content that came into a path, and of which nothing is durable yet.
pub(crate) struct Came {
    pub id: u64,
    pub job: Arc<str>,
    pub rank: u32,
    /// When the path was last looked at without it.
    pub since_ms: i64,
}

/// A path that matched, as one job reads it.
pub(crate) struct Met {
    pub real: PathBuf,
    pub last: Instant,
}

pub(crate) struct Foreman {
    pub config: Arc<TailConfig>,
    pub route: Arc<str>,
    /// Drawn for this tail.
    tail: u64,
    pub book: Arc<Book>,
    pub metrics: RouteMetrics,
    pub queue: Arc<Queue>,
    pub mailbox: Arc<Mailbox>,
    pub watch: Watch,
    pub jobs: Vec<Job>,
    pub slots: HashMap<u64, Slot>,
    pub by_key: HashMap<Key, u64>,
    pub by_place: HashMap<PathBuf, Vec<u64>>,
    /// By directory and family.
    pub by_kin: HashMap<(PathBuf, String), Vec<u64>>,
    pub by_directory: HashMap<PathBuf, Vec<u64>>,
    /// By path.
    pub lookouts: HashMap<PathBuf, Vec<Lookout>>,
    /// By path. After a kill only the time leads to them: "last looked at" must not pass it.
    pub came: HashMap<PathBuf, Vec<Came>>,
    /// By job, rank and path.
    pub met: HashMap<(Arc<str>, u32, PathBuf), Met>,
    /// Targets changed: the paths that records know are looked at once, whether something lies there or not.
    pub recall: bool,
    pub listings: Listings,
    /// When this survey and the one before began, ms since the epoch.
    pub survey_ms: i64,
    pub last_survey_ms: i64,
    /// Files that wait until it is clear what they are: since when, and the size they had.
    pub held: HashMap<PathBuf, (Instant, u64)>,
    /// Given out last.
    pub standing: u64,
    /// Contents whose place is another's since this process looked, and since when: what is left of them is looked for.
    pub missing: HashMap<u64, Instant>,
    /// Patterns that are none, once told.
    told_patterns: HashSet<String>,
    /// Files that wait at their gates.
    pub gated: BTreeSet<u64>,
    /// Files that will turn out to be contents of their own, and paths that such a file may have come into. (What looks like a
    /// copy is none of them: what it may be a copy of must not wait for it.)
    pub unclear: HashSet<PathBuf>,
    /// Files that match and are not read, and why.
    pub aside: HashMap<PathBuf, (String, FileState)>,
    pub statuses: Arc<Mutex<Vec<FileStatus>>>,
    polls: BinaryHeap<Reverse<(Instant, u64)>>,
    pub survey_at: Instant,
    pub survey_took: Duration,
    pub surveyed: Instant,
    sync_at: Instant,
    synced: Instant,
    sync_took: Duration,
    pub open: usize,
    unpacking: Option<u64>,
    to_unpack: VecDeque<u64>,
}

impl Foreman {
    #[allow(clippy::too_many_arguments)] // the parts of one foreman, used once
    pub(crate) fn new(
        config: Arc<TailConfig>,
        jobs: Vec<ReadyJob>,
        book: Arc<Book>,
        metrics: RouteMetrics,
        queue: Arc<Queue>,
        mailbox: Arc<Mailbox>,
        watch: Watch,
        statuses: Arc<Mutex<Vec<FileStatus>>>,
    ) -> Self {
        let now = Instant::now();
        let mut foreman = Self {
            route: Arc::from(config.route.as_str()),
            tail: fastrand::u64(1..),
            sync_at: now + config.positions.sync_period,
            synced: now,
            sync_took: Duration::ZERO,
            config,
            book,
            metrics,
            queue,
            mailbox,
            watch,
            jobs: Vec::new(),
            slots: HashMap::new(),
            by_key: HashMap::new(),
            by_place: HashMap::new(),
            by_kin: HashMap::new(),
            by_directory: HashMap::new(),
            lookouts: HashMap::new(),
            came: HashMap::new(),
            met: HashMap::new(),
            recall: true,
            listings: Listings::default(),
            survey_ms: 0,
            last_survey_ms: 0,
            held: HashMap::new(),
            standing: 0,
            missing: HashMap::new(),
            told_patterns: HashSet::new(),
            gated: BTreeSet::new(),
            unclear: HashSet::new(),
            aside: HashMap::new(),
            statuses,
            polls: BinaryHeap::new(),
            survey_at: now,
            survey_took: Duration::ZERO,
            surveyed: now,
            open: 0,
            unpacking: None,
            to_unpack: VecDeque::new(),
        };
        foreman.set_jobs(jobs);
        foreman
    }

    /// Until told to stop.
    pub(crate) fn run(mut self) {
        loop {
            let messages = std::mem::take(&mut *self.mailbox.messages.lock());
            for message in messages {
                match message {
                    Message::Done(done) => self.take_back(done),
                    Message::Groups { job, groups } => self.set_groups(&job, groups),
                    Message::Jobs(jobs) => self.set_jobs(jobs),
                    Message::Sync => self.sync(),
                    Message::Stop => return self.end(),
                }
            }
            let now = Instant::now();
            if self.survey_at <= now {
                self.survey();
            }
            if self.sync_at <= now {
                self.sync();
            }
            self.poll(now);
            let next = self.polls.peek().map(|Reverse((at, _))| *at);
            let until = [Some(self.survey_at), Some(self.sync_at), next].into_iter().flatten().min();
            for change in self.watch.wait(until) {
                self.heard(change);
            }
        }
    }

    /// Files whose stages hold lines back go to the readers once more.
    fn end(self) {
        for file in self.slots.into_values().filter_map(|slot| slot.file).filter(|file| file.holds()) {
            self.queue.push(file);
        }
        self.queue.restrict(Hours::LastCall);
        self.config.readership.leave(&self.route, self.tail);
    }

    fn set_jobs(&mut self, jobs: Vec<ReadyJob>) {
        let mut before = std::mem::take(&mut self.jobs);
        for settings in jobs {
            let known = before.iter().position(|job| *job.name == *settings.job_name).map(|at| before.swap_remove(at));
            let (groups, known, since) =
                known.map_or_else(|| (Arc::default(), false, Instant::now()), |job| (job.groups, job.known, job.since));
            let name = Arc::from(settings.job_name.as_str());
            let (settings, targets) = (Arc::new(settings), Arc::default());
            self.jobs.push(Job { settings, name, groups, targets, known, since, given_up: false });
        }
        self.make_targets();
    }

    fn set_groups(&mut self, name: &str, groups: Arc<Vec<TargetGroup>>) {
        if let Some(job) = self.jobs.iter_mut().find(|job| *job.name == *name) {
            job.groups = groups;
            job.known = true;
        }
        self.make_targets();
    }

    /// Whether a job may still say that a file is its own. Who is silent for too long is not waited for.
    pub(crate) fn awaits_jobs(&mut self) -> bool {
        let patience = self.config.pace.discovery;
        let mut awaited = false;
        for job in self.jobs.iter_mut().filter(|job| !job.known) {
            if job.since.elapsed() < patience {
                awaited = true;
            } else if !std::mem::replace(&mut job.given_up, true) {
                tracing::warn!(job = %job.name, "discovery has not said yet which log files this job wants: files that rotated beside those of other jobs are not kept for it any longer");
            }
        }
        awaited || self.config.readership.is_silent(&self.route, patience)
    }

    fn make_targets(&mut self) {
        let mut reasons = Vec::new();
        for job in &mut self.jobs {
            let (targets, dropped) = Target::all(&job.groups, &job.settings.relabel, &self.config.hostname);
            job.targets = Arc::new(targets);
            for dropped in dropped {
                reasons.push(dropped.word());
                if let Dropped::BadPattern(why) = dropped
                    && self.told_patterns.insert(why.clone())
                {
                    tracing::warn!(job = %job.name, why, "a target of log files is not read");
                }
            }
        }
        self.metrics.targets(self.jobs.iter().map(|job| job.targets.len()).sum(), &reasons);
        let silent = self.jobs.iter().filter(|job| !job.known).map(|job| job.since).max();
        let targets = self.jobs.iter().map(|job| job.targets.clone()).collect();
        self.config.readership.publish(&self.route, self.tail, targets, silent);
        self.recall = true;
        self.survey_at = Instant::now();
    }

    fn sync(&mut self) {
        let begun = Instant::now();
        if let Err(error) = self.book.sync() {
            tracing::warn!(%error, "positions of log files cannot be written down: trying again; the queue keeps what covers them");
        }
        self.synced = Instant::now();
        self.sync_took = self.synced.duration_since(begun);
        self.sync_at = self.synced + self.config.positions.sync_period;
    }

    fn heard(&mut self, change: Change) {
        match change {
            Change::Names => self.survey_soon(),
            Change::Content(path) => {
                if let Some(ids) = self.by_place.get(&path) {
                    for id in ids.clone() {
                        self.look(id);
                    }
                } else if self.held.contains_key(&path) || self.aside.contains_key(&path) {
                    self.survey_soon();
                }
            }
        }
    }

    /// A survey as soon as they do not take up the thread.
    pub(crate) fn survey_soon(&mut self) {
        let gap = (self.survey_took * 10).max(Duration::from_millis(20));
        self.survey_at = self.survey_at.min(self.surveyed + gap);
    }

    /// Has a reader look at a file, now or when it comes back.
    pub(crate) fn look(&mut self, id: u64) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Some(gate) = &slot.gate {
            // Something is in it now.
            if gate.empty {
                self.survey_soon();
            }
            return;
        }
        let Some(mut file) = slot.file.take() else {
            slot.again = true;
            return;
        };
        if file.packing.is_some() && self.unpacking.is_some_and(|other| other != id) {
            slot.file = Some(file);
            if !self.to_unpack.contains(&id) {
                self.to_unpack.push_back(id);
            }
            return;
        }
        if file.packing.is_some() {
            self.unpacking = Some(id);
        }
        if file.is_open() {
            self.open = self.open.saturating_sub(1);
        }
        slot.poll_at = None;
        slot.again = false;
        if !slot.detached {
            file.place.clone_from(&slot.place);
        }
        self.queue.push(file);
    }

    fn poll(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.polls.peek().copied() {
            if at > now {
                break;
            }
            self.polls.pop();
            // Others are of looks that were overtaken.
            if self.slots.get(&id).is_some_and(|slot| slot.poll_at == Some(at)) {
                self.look(id);
            }
        }
    }

    fn take_back(&mut self, done: Done) {
        let Done { mut file, turn, read, in_place, looked_ms, links } = done;
        let id = file.record.id;
        let now = Instant::now();
        if self.unpacking == Some(id) && !matches!(turn, Turn::More) {
            self.unpacking = None;
        }
        if file.ending {
            // It was let go of, and has let go of its lines. Another may have taken its place since.
            self.unpack_next();
            return;
        }
        let Some(slot) = self.slots.get_mut(&id) else {
            // It is not wanted any more.
            self.book.handed(file.record.clone());
            self.unpack_next();
            return;
        };
        let seen_ms = slot.known.seen_ms;
        slot.known = file.record.clone();
        slot.known.seen_ms = seen_ms;
        slot.size = file.size;
        slot.handle = file.handle();
        if read && !(slot.found && slot.caught_up) {
            slot.quiet_since = now;
        }
        slot.caught_up |= matches!(turn, Turn::Idle);
        let found = slot.found;
        // A look that was asked for since may find more.
        let over = match turn {
            Turn::More | Turn::Waits(_) => false,
            Turn::Idle => !slot.again,
            Turn::Replaced | Turn::Ended | Turn::Packed | Turn::Failed(_) => true,
        };
        let offset = file.record.offset;
        let last = std::mem::take(&mut file.last);
        match turn {
            Turn::More => {
                file.last = last;
                slot.file = Some(file);
                self.open += 1;
                self.look(id);
            }
            Turn::Waits(until_ns) => {
                file.last = last;
                let at = instant_of(until_ns).max(now + Duration::from_millis(1));
                slot.file = Some(file);
                slot.poll_at = Some(at);
                self.open += 1;
                self.polls.push(Reverse((at, id)));
            }
            Turn::Idle => self.rest(file, read, in_place.then_some(looked_ms), links, now),
            Turn::Replaced if found || slot.detached => {
                // What came into it is for those who look beside the path again.
                slot.file = Some(file);
                let (key, known, ms) = (slot.key.clone(), slot.known.clone(), now_ms());
                self.book.note(id, |record| record.lost_ms = record.lost_ms.or(Some(ms)));
                self.rotated(&key, &known);
                self.drop_slot(id);
            }
            Turn::Replaced => self.replaced(file, now),
            Turn::Ended => {
                let (offset, size) = (file.record.offset, file.size);
                self.book.note(id, |record| {
                    record.finished_at = Some(offset);
                    record.packed_size = size;
                });
                file.close();
                slot.state = match file.damage.take() {
                    None => FileState::Done,
                    Some(error) => {
                        tracing::warn!(path = %slot.place.display(), %error, offset, "a compressed log file is damaged or unfinished: what could be unpacked was read");
                        FileState::Failed(format!("it is damaged or unfinished, read as far as it goes: {error}"))
                    }
                };
                slot.file = Some(file);
                if slot.detached {
                    self.drop_slot(id);
                }
            }
            Turn::Packed => {
                // It was empty or unfinished when it was met. The next survey says what it is.
                self.drop_slot(id);
                self.book.forget(id);
                self.survey_soon();
            }
            Turn::Failed(error) => self.failed(file, &error, now),
        }
        self.passed(id, offset, over);
        self.unpack_next();
    }

    fn unpack_next(&mut self) {
        while self.unpacking.is_none()
            && let Some(id) = self.to_unpack.pop_front()
        {
            self.look(id);
        }
    }

    /// A file was read as far as it goes. `seen_ms`: when it was seen in its place, if it was.
    fn rest(&mut self, mut file: Box<TailFile>, read: bool, seen_ms: Option<i64>, links: u64, now: Instant) {
        let id = file.record.id;
        let pace = self.config.pace;
        let pending_ms = self.seen(&file.record.job, file.record.rank, Path::new(&file.record.path), i64::MAX);
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let quiet = now.duration_since(slot.quiet_since);
        let mut rotation = None;
        if let Some(ms) = seen_ms.filter(|_| !slot.detached) {
            let ms = ms.min(pending_ms);
            slot.state = FileState::Following;
            slot.known.seen_ms = ms;
            self.book.note(id, |record| record.seen_ms = ms);
            let heard = slot.place.parent().is_some_and(|parent| self.watch.hears(parent))
                && slot.known.real_path().parent().is_some_and(|parent| self.watch.hears(parent));
            let longest = if heard { pace.watched_poll.max(pace.max_poll) } else { pace.max_poll };
            slot.pause = if read { pace.min_poll } else { (slot.pause * 2).min(longest) };
            if self.open >= self.config.max_open {
                file.close();
            }
        } else if !slot.detached {
            slot.detached = true;
            slot.state = FileState::Draining;
            slot.quiet_since = now;
            slot.pause = pace.min_poll;
            self.metrics.rotated(if links == 0 { "deleted" } else { "renamed" });
            rotation = Some((slot.key.clone(), slot.known.clone()));
        } else if quiet >= pace.drain {
            let limit = if links == 0 || slot.found { pace.drain } else { pace.linger };
            if file.waiting > 0 || file.holds() {
                file.last = true;
                slot.file = Some(file);
                self.open += 1;
                self.look(id);
                return;
            }
            if quiet >= limit {
                let (offset, ms) = (file.record.offset, now_ms());
                self.book.note(id, |record| {
                    record.finished_at = Some(offset);
                    record.lost_ms.get_or_insert(ms);
                });
                self.drop_slot(id);
                return;
            }
            slot.pause = (slot.pause * 2).min((pace.drain / 2).max(pace.min_poll));
        } else {
            slot.pause = (slot.pause * 2).min((pace.drain / 2).max(pace.min_poll));
        }
        let again = slot.again;
        let at = file.due_ns().map_or(now + slot.pause, |due| instant_of(due).clamp(now, now + slot.pause));
        if file.is_open() {
            self.open += 1;
        }
        slot.file = Some(file);
        if again {
            self.look(id);
        } else {
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        }
        if let Some((key, known)) = rotation {
            self.rotated(&key, &known);
        }
    }

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

    fn sync_soon(&mut self) {
        self.sync_at = self.sync_at.min(self.synced + (self.sync_took * 10).max(Duration::from_millis(20)));
    }

    /// Another content in the same file.
    fn replaced(&mut self, mut file: Box<TailFile>, now: Instant) {
        let old = file.record.id;
        let Some(mut slot) = self.slots.remove(&old) else {
            return;
        };
        let ms = now_ms();
        tracing::info!(path = %file.record.path, offset = file.record.offset, "a log file was truncated or written anew: reading it from its beginning");
        self.metrics.rotated("truncated");
        self.book.handed(file.record.clone());
        self.book.note(old, |record| record.lost_ms = Some(ms));
        let known = slot.known.clone();
        let (job, rank, device, inode) = slot.key.clone();
        let mut record = Record::fresh(&job, rank, Path::new(&known.path), device, inode);
        record.real.clone_from(&known.real);
        // Something may have come and gone since the path was seen last.
        record.seen_ms = known.seen_ms;
        record.packed = file.packing.is_some();
        self.book.insert(record.clone());
        let id = record.id;
        file.begin_anew(record.clone());
        slot.known = record;
        slot.quiet_since = now;
        slot.file = Some(file);
        self.open += 1;
        self.by_key.insert(slot.key.clone(), id);
        for ids in self.by_place.values_mut() {
            for held in ids.iter_mut().filter(|held| **held == old) {
                *held = id;
            }
        }
        let (key, fresh) = (slot.key.clone(), slot.known.clone());
        // What is left of the content before may lie in a copy: the next survey sees.
        slot.gate = Some(Gate::of_renewed());
        slot.standing = u64::MAX;
        self.gated.insert(id);
        self.slots.insert(id, slot);
        self.note_came(&fresh, known.seen_ms);
        self.rotated(&key, &known);
    }

    fn failed(&mut self, mut file: Box<TailFile>, error: &std::io::Error, now: Instant) {
        let id = file.record.id;
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if error.kind() == std::io::ErrorKind::NotFound {
            // It was closed, and is not in its place any more: looked for among its siblings.
            let ms = now_ms();
            self.book.note(id, |record| record.lost_ms = Some(ms));
            let (key, known) = (slot.key.clone(), slot.known.clone());
            self.metrics.rotated("missed");
            self.rotated(&key, &known);
            self.drop_slot(id);
            return;
        }
        let told = FileState::Failed(error.to_string());
        if slot.state != told {
            tracing::warn!(path = %slot.place.display(), %error, "a log file cannot be read: trying again");
        }
        slot.state = told;
        slot.size = file.metadata().map_or(file.size, |meta| meta.len());
        let packed = file.packing.is_some();
        if !slot.detached {
            file.close();
        } else if file.is_open() {
            self.open += 1;
        }
        // Unless it grows: then it is met anew.
        let salvage = packed && !std::mem::replace(&mut file.salvage, true);
        slot.file = Some(file);
        if salvage {
            let at = now + self.config.pace.suspicion;
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        } else if !packed {
            slot.pause = (slot.pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(10));
            let at = now + slot.pause;
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        }
    }

    /// Ends following a file; its record stays in the book.
    pub(crate) fn drop_slot(&mut self, id: u64) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        let mut known = slot.known.clone();
        if let Some(mut file) = slot.file {
            if file.is_open() {
                self.open = self.open.saturating_sub(1);
            }
            if file.holds() {
                // A reader brings them into the queue.
                known.held.clear();
                file.ending = true;
                self.queue.push(file);
            }
        }
        self.book.handed(known);
        if self.by_key.get(&slot.key) == Some(&id) {
            self.by_key.remove(&slot.key);
        }
        if self.unpacking == Some(id) {
            self.unpacking = None;
        }
        self.config.readership.ends((slot.key.2, slot.key.3), &self.route, &slot.key.0);
        self.gated.remove(&id);
        self.passed(id, u64::MAX, true);
        let path = &slot.known.path;
        if !self.slots.values().any(|other| other.known.path == *path) {
            self.metrics.forget(path);
        }
    }
}

/// When the wall clock will say this.
fn instant_of(ns: i64) -> Instant {
    // A little late rather than a little early, which would be a second look.
    let left = u64::try_from(ns.saturating_sub(now_ns())).unwrap_or(0).saturating_add(1_000_000);
    Instant::now() + Duration::from_nanos(left.min(3_600_000_000_000))
}
