//! Who is read when: owns every file that rests, hands those with something new to the readers, and follows what becomes
//! of their paths. One thread; files at readers are theirs until they come back.
//!
//! Keeps true: a file is at one reader at a time; a path that leads elsewhere ends nothing, its old file is read on until
//! nothing more can come.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use discovery::TargetGroup;
use parking_lot::Mutex;

use crate::{
    Book, FileState, FileStatus, TailConfig, Target,
    likeness::Neighbours,
    metrics::RouteMetrics,
    reader::{Done, Hours, Queue},
    search::Listings,
    slot::{Came, Key, Lookout, Met, Slot},
    staged::ReadyJob,
    target::Dropped,
    watch::{Bell, Change, Watch},
};

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
    pub neighbours: Neighbours,
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
    /// Those that wait at their gates for a file, by that.
    pub behind: HashMap<u64, Vec<u64>>,
    /// Files that wait at their gates.
    pub gated: BTreeSet<u64>,
    /// Files that will turn out to be contents of their own, and paths that such a file may have come into. (What looks like a
    /// copy is none of them: what it may be a copy of must not wait for it.)
    pub unclear: HashSet<PathBuf>,
    /// Files that match and are not read, and why.
    pub aside: HashMap<PathBuf, (String, FileState)>,
    pub statuses: Arc<Mutex<Vec<FileStatus>>>,
    pub polls: BinaryHeap<Reverse<(Instant, u64)>>,
    pub survey_at: Instant,
    pub survey_took: Duration,
    pub surveyed: Instant,
    sync_at: Instant,
    synced: Instant,
    sync_took: Duration,
    pub open: usize,
    pub unpacking: Option<u64>,
    pub to_unpack: VecDeque<u64>,
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
            neighbours: Neighbours::default(),
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
            behind: HashMap::new(),
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

    /// Files whose stages hold lines back go to the readers once more, and those that nobody can open again; of these the
    /// older ones first.
    fn end(self) {
        let mut slots: Vec<Slot> = self.slots.into_values().collect();
        slots.sort_by_key(|slot| slot.standing);
        for file in slots.into_iter().filter_map(|slot| slot.file).filter(|file| file.holds() || file.is_orphan()) {
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

    pub(crate) fn set_groups(&mut self, name: &str, groups: Arc<Vec<TargetGroup>>) {
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

    pub(crate) fn sync_soon(&mut self) {
        self.sync_at = self.sync_at.min(self.synced + (self.sync_took * 10).max(Duration::from_millis(20)));
    }
}
