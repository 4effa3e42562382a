//! The positions of one route: what is durable, and what may be forgotten by the queue.
//!
//! A position becomes durable with the batch that carries it. The book learns of it when the batch's receipt resolves; from
//! time to time it writes everything down and tells the lane how far its frames are covered (the *floor*). After a kill,
//! what the state file says is brought up to date by the marks in frames at and behind that floor.
//!
//! Keeps true: a frame whose position may not be in the state file lies at or behind the floor. So the floor is taken
//! before anything that was begun and not settled, and before the records are copied.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::SourceMark;
use parking_lot::Mutex;
use pipeline::MarkLane;
use serde::{Deserialize, Serialize};

use crate::{TailError, promtail, record::Record};

/// Where positions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionsConfig {
    /// Our own file.
    pub state_file: PathBuf,
    /// `positions.filename`: read when there is no state file, written for tools.
    pub promtail_file: Option<PathBuf>,
    /// `positions.sync_period`.
    pub sync_period: Duration,
    pub ignore_invalid_yaml: bool,
}

impl PositionsConfig {
    pub fn new(state_file: impl Into<PathBuf>) -> Self {
        Self {
            state_file: state_file.into(),
            promtail_file: None,
            sync_period: Duration::from_secs(10),
            ignore_invalid_yaml: false,
        }
    }
}

/// Records kept at most; the finished ones that were seen longest ago go first.
const MAX_RECORDS: usize = 100_000;

#[derive(Serialize, Deserialize, Default)]
struct Written {
    version: u32,
    /// Lane offset: marks before it are in this file.
    floor: u64,
    files: Vec<Record>,
    /// Positions of sources that are no files, by key.
    #[serde(default)]
    cursors: BTreeMap<String, String>,
    /// By job and pattern, when it was last looked up, ms since the epoch: what came under its names since then is ours.
    #[serde(default)]
    looked: Looked,
}

type Looked = BTreeMap<String, BTreeMap<String, i64>>;

/// Between the beginning of an append and the moment its position is in the book.
#[derive(Debug)]
pub struct Ticket(u64);

#[derive(Default)]
struct Pages {
    records: HashMap<u64, Record>,
    cursors: BTreeMap<String, String>,
    looked: Looked,
    /// What Promtail's file said, by path, until somebody asks for it.
    inherited: BTreeMap<String, String>,
    /// Durable end at the beginning of each append that is not settled.
    outstanding: BTreeMap<u64, u64>,
    next_ticket: u64,
    /// Positions handed over of contents nobody follows now; they become durable soon.
    handed: HashMap<u64, Record>,
}

/// What carries the marks. In a rehearsal no queue does, so that it says itself what is durable.
enum Lane {
    Queue(MarkLane),
    #[cfg(test)]
    Rehearsed(Arc<crate::rehearsal::Frames>),
}

impl Lane {
    fn durable_end(&self) -> Result<u64, TailError> {
        match self {
            Self::Queue(lane) => Ok(lane.durable_end()?),
            #[cfg(test)]
            Self::Rehearsed(frames) => Ok(frames.durable_end()),
        }
    }

    fn replay(&self, from: u64, each: impl FnMut(SourceMark)) -> Result<(), TailError> {
        match self {
            Self::Queue(lane) => Ok(lane.replay(from, each)?),
            #[cfg(test)]
            Self::Rehearsed(frames) => {
                frames.replay(from).into_iter().for_each(each);
                Ok(())
            }
        }
    }

    fn keep_from(&self, floor: u64) -> Result<(), TailError> {
        match self {
            Self::Queue(lane) => Ok(lane.keep_from(floor)?),
            #[cfg(test)]
            Self::Rehearsed(_) => Ok(()),
        }
    }
}

/// The positions of a route. Shared by its sources.
pub struct Book {
    config: PositionsConfig,
    lane: Lane,
    pages: Mutex<Pages>,
    writing: Mutex<()>,
}

impl Book {
    /// Reads what there is: the state file and the marks behind it, or Promtail's file if there is neither. Blocking.
    pub fn open(config: PositionsConfig, lane: MarkLane) -> Result<Arc<Self>, TailError> {
        Self::over(config, Lane::Queue(lane))
    }

    #[cfg(test)]
    pub(crate) fn rehearsed(config: PositionsConfig, frames: Arc<crate::rehearsal::Frames>) -> Arc<Self> {
        Self::over(config, Lane::Rehearsed(frames)).unwrap()
    }

    fn over(config: PositionsConfig, lane: Lane) -> Result<Arc<Self>, TailError> {
        let mut pages = Pages::default();
        let (mut from, mut known) = (0, false);
        if let Some(written) = load(&config.state_file)? {
            known = true;
            from = written.floor;
            let sound = written.files.into_iter().filter(Record::is_sound);
            pages.records = sound.map(|record| (record.id, record)).collect();
            pages.cursors = written.cursors;
            pages.looked = written.looked;
        }
        // A queue that begins anew has nothing that this floor means.
        if from > lane.durable_end()? {
            from = 0;
        }
        lane.replay(from, |mark| {
            known = true;
            pages.take(&mark);
        })?;
        if !known && let Some(path) = &config.promtail_file {
            pages.inherited = promtail::read(path, config.ignore_invalid_yaml)?;
        }
        let book = Arc::new(Self { config, lane, pages: Mutex::new(pages), writing: Mutex::new(()) });
        // The floor must mean something in the queue as it is now before anything is appended.
        book.sync()?;
        Ok(book)
    }

    /// Records of a job that are wanted, the farthest first.
    pub(crate) fn records(&self, job: &str, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        let pages = self.pages.lock();
        let latest = |record: &Record| {
            let Some(later) = pages.handed.get(&record.id).filter(|later| record.is_behind(later)) else {
                return wanted(record).then(|| record.clone());
            };
            let mut record = record.clone();
            record.advance(later);
            wanted(&record).then_some(record)
        };
        let of_job = pages.records.values().filter(|record| record.job == job);
        let mut found: Vec<Record> = of_job.filter_map(latest).collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.offset));
        found
    }

    /// Adds a record whose position needs no batch: a new file, or one taken over from Promtail.
    ///
    /// Of a record that is known, the durable position stays: only a batch may move it.
    pub(crate) fn insert(&self, record: Record) {
        let mut pages = self.pages.lock();
        let mut record = record;
        if let Some(held) = pages.records.get(&record.id) {
            (record.head, record.head_len, record.tail) = (held.head, held.head_len, held.tail);
            (record.tail_len, record.offset) = (held.tail_len, held.offset);
            record.held.clone_from(&held.held);
            record.way.clone_from(&held.way);
        }
        // Somebody follows it again.
        pages.handed.remove(&record.id);
        pages.records.insert(record.id, record);
    }

    /// A record that nothing was read for, and that was a mistake.
    pub(crate) fn forget(&self, id: u64) {
        let mut pages = self.pages.lock();
        pages.handed.remove(&id);
        pages.records.remove(&id);
    }

    /// Where a content stands that is not followed any more, whether that is durable or not yet.
    pub(crate) fn handed(&self, record: Record) {
        let mut pages = self.pages.lock();
        let Pages { handed, records, .. } = &mut *pages;
        handed.retain(|id, later| records.get(id).is_some_and(|record| record.is_behind(later)));
        handed.insert(record.id, record);
    }

    /// Changes what batches do not carry. The position is not to be changed here.
    pub(crate) fn note(&self, id: u64, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.pages.lock().records.get_mut(&id) {
            change(record);
        }
    }

    /// Nothing of a content is durable, and something of it may come.
    pub(crate) fn is_unread(&self, id: u64) -> bool {
        self.pages.lock().records.get(&id).is_some_and(Record::is_unread)
    }

    /// When a pattern of a job was last looked up, ms since the epoch.
    pub(crate) fn looked_up(&self, job: &str, pattern: &str) -> Option<i64> {
        self.pages.lock().looked.get(job)?.get(pattern).copied()
    }

    /// These patterns of a job, and no others, were looked up then.
    pub(crate) fn note_looked_up<'p>(&self, job: &str, patterns: impl Iterator<Item = &'p str>, ms: i64) {
        let patterns = patterns.map(|pattern| (pattern.to_owned(), ms)).collect();
        self.pages.lock().looked.insert(job.to_owned(), patterns);
    }

    /// The cursor of a source that is no file.
    pub fn cursor(&self, key: &str) -> Option<String> {
        let pages = self.pages.lock();
        pages.cursors.get(key).or_else(|| pages.inherited.get(key)).cloned()
    }

    /// What Promtail's file said of a path.
    pub(crate) fn inherited(&self, path: &Path) -> Option<u64> {
        self.pages.lock().inherited.remove(path.to_str()?)?.parse().ok()
    }

    /// Before a batch with marks is appended.
    pub fn begin(&self) -> Result<Ticket, TailError> {
        let mut pages = self.pages.lock();
        let end = self.lane.durable_end()?;
        pages.next_ticket += 1;
        let ticket = pages.next_ticket;
        pages.outstanding.insert(ticket, end);
        Ok(Ticket(ticket))
    }

    /// The batch is durable.
    pub fn settle(&self, ticket: Ticket, mark: &SourceMark) {
        let mut pages = self.pages.lock();
        pages.take(mark);
        pages.outstanding.remove(&ticket.0);
    }

    /// A position moved without a batch, behind everything that was settled before.
    pub(crate) fn moved(&self, mark: &SourceMark) {
        self.pages.lock().take(mark);
    }

    /// The batch was not handed over. (One that was and whose fate is not known is to keep its ticket for ever.)
    pub fn abandon(&self, ticket: Ticket) {
        self.pages.lock().outstanding.remove(&ticket.0);
    }

    /// Changes when positions are to be written at once.
    pub fn pressed(&self) -> Result<tokio::sync::watch::Receiver<u64>, TailError> {
        match &self.lane {
            Lane::Queue(lane) => Ok(lane.pressed()?),
            #[cfg(test)]
            Lane::Rehearsed(_) => Ok(tokio::sync::watch::channel(0).1),
        }
    }

    /// Writes the state file, raises the floor, writes Promtail's file. Blocking.
    pub fn sync(&self) -> Result<(), TailError> {
        let _one = self.writing.lock();
        let (written, entries) = {
            let mut pages = self.pages.lock();
            let end = self.lane.durable_end()?;
            let floor = pages.outstanding.values().copied().fold(end, u64::min);
            pages.trim();
            let mut files: Vec<Record> = pages.records.values().cloned().collect();
            files.sort_by_key(|record| record.id);
            let entries = self.config.promtail_file.is_some().then(|| pages.for_tools());
            let (cursors, looked) = (pages.cursors.clone(), pages.looked.clone());
            (Written { version: 1, floor, files, cursors, looked }, entries)
        };
        let path = &self.config.state_file;
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| TailError::Io { op: "write positions file", path, source }
        };
        let text = serde_json::to_vec(&written).map_err(io::Error::other).map_err(fail(path))?;
        replace(path, &text).map_err(fail(path))?;
        self.lane.keep_from(written.floor)?;
        if let (Some(path), Some(entries)) = (&self.config.promtail_file, entries) {
            replace(path, promtail::render(&entries).as_bytes()).map_err(fail(path))?;
        }
        Ok(())
    }
}

impl Pages {
    fn take(&mut self, mark: &SourceMark) {
        match Record::from_mark(mark) {
            Some(later) => match self.records.get_mut(&later.id) {
                Some(record) => record.advance(&later),
                None => drop(self.records.insert(later.id, later)),
            },
            None => drop(self.cursors.insert(mark.key.clone(), mark.cursor.clone())),
        }
    }

    fn trim(&mut self) {
        let over = self.records.len().saturating_sub(MAX_RECORDS);
        if over == 0 {
            return;
        }
        let done = self.records.values().filter(|record| record.is_finished() || record.lost_ms.is_some());
        let mut done: Vec<(i64, u64)> = done.map(|record| (record.seen_ms, record.id)).collect();
        done.sort_unstable();
        for (_, id) in done.into_iter().take(over) {
            self.records.remove(&id);
        }
    }

    /// One entry for each path that is still what the record knows it as.
    fn for_tools(&self) -> BTreeMap<String, String> {
        let mut newest: BTreeMap<&str, &Record> = BTreeMap::new();
        for record in self.records.values().filter(|record| record.lost_ms.is_none() && !record.is_finished()) {
            let held = newest.entry(&record.path).or_insert(record);
            if record.seen_ms > held.seen_ms {
                *held = record;
            }
        }
        let files = newest.into_iter().map(|(path, record)| (path.to_owned(), record.safe_offset().to_string()));
        let cursors = self.cursors.iter().map(|(key, value)| (key.clone(), value.clone()));
        let waiting = self.inherited.iter().filter(|(key, _)| !key.starts_with('/') || Path::new(key).exists());
        waiting.map(|(key, value)| (key.clone(), value.clone())).chain(cursors).chain(files).collect()
    }
}

/// `None` if there is none, or none that can be used: then the marks in the queue are all there is.
fn load(path: &Path) -> Result<Option<Written>, TailError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TailError::Io { op: "read positions file", path: path.to_owned(), source }),
    };
    match serde_json::from_slice::<Written>(&bytes) {
        Ok(written) if written.version == 1 => Ok(Some(written)),
        other => {
            let aside = path.with_extension("damaged");
            let why = other.err().map_or("its version is not known".to_owned(), |error| error.to_string());
            tracing::error!(path = %path.display(), kept = %aside.display(), %why, "the positions file cannot be used: positions are taken from what is in the queue, and files that have none there are read again");
            let _ = fs::rename(path, &aside);
            Ok(None)
        }
    }
}

/// Replaces a file by rename; readable by its owner only, as Promtail's is.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = directory.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Book({})", self.config.state_file.display())
    }
}
