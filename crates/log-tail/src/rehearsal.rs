//! A process that can be stopped anywhere, and a writer whose every step is scripted: real files, a real foreman and real
//! turns, on one thread and without waiting.
//!
//! The *stage* is a directory with a script of steps of a writer. Between two of them, and at the *moments* that production
//! code names (a list was made, a file is opened or was compared, a chunk was read), the process does what the plan says:
//! nothing, a survey, a bite, all there is to do; or it is killed, with what was not durable, and begins again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use discovery::TargetGroup;
use model::{Labels, LogBatchView, LogEntries, SourceMark};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::{
    Book, FileJob, Pace, TailConfig, TailMetrics,
    book::Ticket,
    foreman::{Foreman, Mailbox},
    lines::Counts,
    reader::{Done, Queue, now_ms, now_ns},
    staged::ReadyJob,
    tail_file::{BATCH, Desk, TailFile, Turn},
    watch::Watch,
};

/// What happens to the files at a moment.
type Strike = Box<dyn FnMut(&'static str)>;

/// Lines, the position behind them, and what the book knows them by until they are settled.
type Frame = (Vec<String>, SourceMark, Option<Ticket>);

thread_local! {
    static APPETITE: Cell<usize> = const { Cell::new(BATCH) };
    static MOMENT: RefCell<Option<Strike>> = const { RefCell::new(None) };
}

/// Bytes of a batch that is full.
pub(crate) fn appetite() -> usize {
    APPETITE.get()
}

/// Something may happen to the files now.
pub(crate) fn moment(name: &'static str) {
    let taken = MOMENT.with_borrow_mut(Option::take);
    if let Some(mut strike) = taken {
        strike(name);
        MOMENT.with_borrow_mut(|held| *held = Some(strike));
    }
}

/// What a queue would hold: lines, and the position behind them.
#[derive(Default)]
pub(crate) struct Frames {
    all: Mutex<Vec<Frame>>,
    durable: Mutex<u64>,
}

impl Frames {
    pub(crate) fn durable_end(&self) -> u64 {
        *self.durable.lock()
    }

    pub(crate) fn replay(&self, from: u64) -> Vec<SourceMark> {
        let from = usize::try_from(from).unwrap();
        self.all.lock().iter().skip(from).map(|(_, mark, _)| mark.clone()).collect()
    }

    fn texts(&self) -> Vec<String> {
        self.all.lock().iter().flat_map(|(lines, ..)| lines.clone()).collect()
    }
}

/// What a writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// That many lines to the live file.
    Append(usize),
    /// A name moves to another.
    Move(&'static str, &'static str),
    /// A copy is begun: what lay there is gone.
    Clear(&'static str),
    /// The half of it.
    CopyHalf(&'static str, &'static str),
    /// All of it.
    Copy(&'static str, &'static str),
    /// Another live file, with nothing in it.
    Create,
    /// The live file is cut. Lines since the last copy of it may be lost.
    Cut,
}

/// What the process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Nothing,
    Survey,
    /// A survey, and of each file one batch, of which nothing becomes durable.
    Bite,
    /// The same, and it is durable.
    Meal,
    /// A survey, everything is read, it is durable and written down.
    Settle,
    /// The same, and nothing becomes durable.
    Gorge,
    /// Killed: what is not durable is gone; nothing is done after the start.
    Crash,
    /// Killed, and a survey after the start.
    CrashSurvey,
    CrashBite,
    CrashMeal,
    /// A survey; readers take what is in line, and do nothing with it yet.
    Take,
    /// Readers read what they took, and do not give it back.
    Chew,
    /// Readers give back what they have.
    Return,
    /// What was read is durable, which nobody has heard of.
    Persist,
    /// Half of that.
    PersistHalf,
    /// Everybody heard of it.
    Hear,
    Sync,
    /// As much time passes as a likeness is given, and is noticed.
    Wait,
    /// Longer than any likeness is given.
    WaitLong,
}

pub(crate) const LIVE: &str = "app.log";

struct Writer {
    dir: PathBuf,
    next: usize,
    /// Lines that were written when the last copy of the live file was finished.
    copied: usize,
    /// Lines that nobody promises.
    window: Vec<std::ops::Range<usize>>,
}

pub(crate) fn line(n: usize) -> String {
    format!("{n:06} of {:x} {}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), "x".repeat(n * 31 % 47))
}

impl Writer {
    fn take(&mut self, step: Step) {
        let path = |name: &str| self.dir.join(name);
        match step {
            Step::Append(count) => {
                let text: String = (self.next..self.next + count).map(|n| line(n) + "\n").collect();
                let mut file = OpenOptions::new().create(true).append(true).open(path(LIVE)).unwrap();
                file.write_all(text.as_bytes()).unwrap();
                self.next += count;
            }
            Step::Move(from, to) => drop(fs::rename(path(from), path(to))),
            Step::Create => drop(File::create(path(LIVE)).unwrap()),
            Step::Clear(to) => drop(File::create(path(to)).unwrap()),
            Step::CopyHalf(from, to) => {
                let Ok(text) = fs::read(path(from)) else { return };
                let mut file = File::create(path(to)).unwrap();
                file.write_all(&text[..text.len() / 2]).unwrap();
            }
            Step::Copy(from, to) => {
                let Ok(mut file) = File::open(path(from)) else { return };
                // As `cp` does that has already written the half: the rest comes behind it, in place.
                let mut to = OpenOptions::new().create(true).write(true).truncate(false).open(path(to)).unwrap();
                let mut text = Vec::new();
                file.read_to_end(&mut text).unwrap();
                to.write_all(&text).unwrap();
                to.set_len(text.len() as u64).unwrap();
                if from == LIVE {
                    self.copied = self.next;
                }
            }
            Step::Cut => {
                if let Ok(file) = OpenOptions::new().write(true).open(path(LIVE)) {
                    file.set_len(0).unwrap();
                    self.window.push(self.copied..self.next);
                }
            }
        }
    }
}

struct Process {
    foreman: Foreman,
    /// At readers: not begun, and done and not given back.
    #[allow(clippy::vec_box)] // as they come from the line and go back to it
    taken: Vec<Box<TailFile>>,
    done: Vec<Done>,
}

pub(crate) struct Rehearsal {
    root: tempfile::TempDir,
    config: TailConfig,
    pattern: String,
    frames: Arc<Frames>,
    process: Option<Process>,
    desk: Desk,
    writer: std::rc::Rc<RefCell<Writer>>,
}

/// Lines, by number.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Those that nothing but time brought.
    pub late: Vec<usize>,
    pub missing: Vec<usize>,
    /// Those that came more than once.
    pub doubled: Vec<usize>,
}

/// Nothing is ever decided by the time that passed.
fn patient() -> Pace {
    let long = Duration::from_secs(3600);
    Pace {
        survey: long,
        min_poll: long,
        max_poll: long,
        watched_poll: long,
        drain: long,
        linger: long,
        suspicion: long,
        discovery: long,
        give_up: long * 24,
    }
}

/// Time enough passed.
fn brisk() -> Pace {
    let short = Duration::from_millis(5);
    Pace { survey: short, min_poll: short, drain: short, linger: short * 2, suspicion: short * 2, ..patient() }
}

impl Rehearsal {
    pub(crate) fn new(pattern: &str, appetite: usize) -> Self {
        APPETITE.set(appetite);
        let root = match Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm").unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let dir = root.path().join("logs");
        fs::create_dir(&dir).unwrap();
        let mut config = TailConfig::new("default", root.path().join("positions.json"));
        config.pace = patient();
        let writer = Writer { dir: dir.clone(), next: 0, copied: 0, window: Vec::new() };
        let mut rehearsal = Self {
            root,
            config,
            pattern: dir.join(pattern).display().to_string(),
            frames: Arc::default(),
            process: None,
            desk: Desk::default(),
            writer: std::rc::Rc::new(RefCell::new(writer)),
        };
        rehearsal.start();
        rehearsal
    }

    fn start(&mut self) {
        let book = Book::rehearsed(self.config.positions.clone(), self.frames.clone());
        let metrics = TailMetrics::registered(&mut Registry::default()).of_route("default");
        let watch = Watch::deaf().unwrap();
        let mailbox = Arc::new(Mailbox { messages: Mutex::default(), bell: watch.bell() });
        let jobs = ReadyJob::all(vec![FileJob::new("files")], None, &metrics).unwrap();
        let mut config = self.config.clone();
        config.readership = Arc::default();
        let (config, queue, statuses) = (Arc::new(config), Arc::new(Queue::default()), Arc::default());
        let mut foreman = Foreman::new(config, jobs, book, metrics, queue, mailbox, watch, statuses);
        let labels: Labels = [("__path__", self.pattern.as_str()), ("job", "x")].into_iter().collect();
        let group = TargetGroup { source: "static".into(), targets: vec![Labels::new()], labels };
        foreman.set_groups("files", Arc::new(vec![group]));
        self.process = Some(Process { foreman, taken: Vec::new(), done: Vec::new() });
    }

    fn crash(&mut self) {
        self.process = None;
        let durable = usize::try_from(self.frames.durable_end()).unwrap();
        let mut all = self.frames.all.lock();
        all.truncate(durable);
        all.iter_mut().for_each(|(_, _, ticket)| *ticket = None);
        drop(all);
        self.start();
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    fn survey(&mut self) {
        self.process().foreman.survey();
    }

    /// Every file that waits in line is read, one batch of it. Whether something came.
    fn bite(&mut self, look: bool) -> bool {
        self.give_back();
        self.take(look);
        self.chew();
        self.give_back()
    }

    fn take(&mut self, look: bool) {
        let Process { foreman, taken, .. } = self.process();
        if look {
            for id in foreman.slots.keys().copied().collect::<Vec<_>>() {
                foreman.look(id);
            }
        }
        while let Some(file) = foreman.queue.try_pop() {
            taken.push(file);
        }
    }

    fn give_back(&mut self) -> bool {
        let Process { foreman, done, .. } = self.process();
        let mut any = false;
        for done in done.drain(..) {
            any |= done.read || matches!(done.turn, Turn::Replaced);
            foreman.take_back(done);
        }
        any
    }

    fn chew(&mut self) {
        let frames = self.frames.clone();
        let desk = &mut self.desk;
        let Process { foreman, taken, done } = self.process.as_mut().unwrap();
        for mut file in std::mem::take(taken) {
            let before = file.record.offset;
            let mut counts = Counts::default();
            let turn = file.turn(desk, now_ns(), &mut counts);
            let read = file.record.offset != before;
            if !desk.batch.is_empty() {
                let ticket = foreman.book.begin().unwrap();
                let mark = file.record.mark();
                let mut payload = Vec::new();
                desk.batch.encode(&mut payload).unwrap();
                let mut texts = Vec::new();
                let mut raw = Vec::new();
                for stream in &LogBatchView::decode(&payload).unwrap().streams {
                    stream.unpack(&mut raw).unwrap();
                    texts.extend(LogEntries::new(&raw).map(|entry| entry.unwrap().line.to_owned()));
                }
                frames.all.lock().push((texts, mark, Some(ticket)));
            }
            desk.batch.clear();
            let at_rest = !matches!(turn, Turn::More);
            let looked_ms = now_ms();
            let in_place = !at_rest || file.is_in_place();
            let links = file.metadata().map_or(0, |meta| std::os::unix::fs::MetadataExt::nlink(&meta));
            done.push(Done { file, turn, read, in_place, looked_ms, links });
        }
    }

    fn persist(&mut self, half: bool) {
        let mut durable = self.frames.durable.lock();
        let all = self.frames.all.lock().len() as u64;
        *durable = if half { (*durable + all).div_ceil(2) } else { all };
    }

    fn hear(&mut self) {
        let frames = self.frames.clone();
        let book = self.process().foreman.book.clone();
        let durable = usize::try_from(frames.durable_end()).unwrap();
        for (_, mark, ticket) in frames.all.lock().iter_mut().take(durable) {
            if let Some(ticket) = ticket.take() {
                book.settle(ticket, mark);
            }
        }
    }

    fn make_durable(&mut self) {
        self.persist(false);
        self.hear();
        self.process().foreman.book.sync().unwrap();
    }

    fn gorge(&mut self) {
        let mut idle = 0;
        while idle < 2 {
            self.survey();
            let mut any = self.bite(true);
            while self.bite(false) {
                any = true;
            }
            idle = if any { 0 } else { idle + 1 };
        }
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Survey => self.survey(),
            Act::Bite => {
                self.survey();
                self.bite(true);
            }
            Act::Meal => {
                self.survey();
                self.bite(true);
                self.make_durable();
            }
            Act::Gorge => self.gorge(),
            Act::Settle => {
                self.gorge();
                self.make_durable();
            }
            Act::Crash => self.crash(),
            Act::CrashSurvey => {
                self.crash();
                self.survey();
            }
            Act::CrashBite => {
                self.crash();
                self.act(Act::Bite);
            }
            Act::Take => {
                self.survey();
                self.take(true);
            }
            Act::Chew => self.chew(),
            Act::Return => drop(self.give_back()),
            Act::Persist => self.persist(false),
            Act::PersistHalf => self.persist(true),
            Act::Hear => self.hear(),
            Act::Sync => self.process().foreman.book.sync().unwrap(),
            Act::Wait => {
                let pace = |suspicion| Pace { suspicion, ..patient() };
                let patience = Duration::from_millis(100);
                self.pace(pace(patience));
                self.gorge();
                std::thread::sleep(patience);
                self.gorge();
                self.pace(patient());
            }
            Act::WaitLong => {
                self.pace(brisk());
                self.gorge();
                std::thread::sleep(brisk().suspicion * 40);
                self.gorge();
                self.pace(patient());
            }
            Act::CrashMeal => {
                self.crash();
                self.act(Act::Meal);
            }
        }
    }

    fn pace(&mut self, pace: Pace) {
        let mut config = (*self.process().foreman.config).clone();
        config.pace = pace;
        self.process().foreman.config = Arc::new(config);
    }

    /// Further files beside the live one, of lines that are not counted.
    pub(crate) fn crowd(&self, files: usize) {
        for file in 0..files {
            let text: String = (0..40).map(|n| format!("{n} of the other file {file}, and of no other\n")).collect();
            fs::write(self.root.path().join(format!("logs/other-{file}.log")), text).unwrap();
        }
    }

    pub(crate) fn write(&mut self, step: Step) {
        self.writer.borrow_mut().take(step);
    }

    /// These steps happen at the next moment of that number, counted from now; at the latest when that is asked for.
    pub(crate) fn at_moment(&mut self, number: usize, steps: Vec<Step>) -> std::rc::Rc<Cell<bool>> {
        let (writer, struck) = (self.writer.clone(), std::rc::Rc::new(Cell::new(false)));
        let (done, mut left) = (struck.clone(), number);
        MOMENT.with_borrow_mut(|moment| {
            *moment = Some(Box::new(move |_| {
                if left > 0 {
                    left -= 1;
                } else if !done.replace(true) {
                    steps.iter().for_each(|step| writer.borrow_mut().take(*step));
                }
            }));
        });
        struck
    }

    /// Reads on until nothing more comes; if `to_the_end`, until time has made everything clear as well.
    pub(crate) fn end(mut self, to_the_end: bool) -> Outcome {
        MOMENT.with_borrow_mut(|moment| *moment = None);
        let wanted: Vec<usize> = {
            let writer = self.writer.borrow();
            (0..writer.next).filter(|n| !writer.window.iter().any(|window| window.contains(n))).collect()
        };
        self.chew();
        self.give_back();
        self.act(Act::Settle);
        let late = self.missing(&wanted);
        let mut missing = late.clone();
        if to_the_end || !late.is_empty() {
            self.pace(brisk());
            let begun = Instant::now();
            for mut calm in 0.. {
                std::thread::sleep(brisk().suspicion * 2);
                self.act(Act::Settle);
                missing = self.missing(&wanted);
                if !missing.is_empty() && begun.elapsed() < Duration::from_secs(2) {
                    calm = 0;
                }
                if calm >= 1 {
                    break;
                }
            }
        }
        APPETITE.set(BATCH);
        Outcome { late, missing, doubled: self.doubled() }
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for text in self.frames.texts() {
            *counts.entry(text).or_default() += 1;
        }
        counts
    }

    fn missing(&self, wanted: &[usize]) -> Vec<usize> {
        let counts = self.counts();
        wanted.iter().copied().filter(|n| !counts.contains_key(&line(*n))).collect()
    }

    fn doubled(&self) -> Vec<usize> {
        let counts = self.counts();
        let next = self.writer.borrow().next;
        (0..next).filter(|n| counts.get(&line(*n)).is_some_and(|count| *count > 1)).collect()
    }

    pub(crate) fn files(&self) -> String {
        let mut names: Vec<String> = fs::read_dir(self.root.path().join("logs"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let text = fs::read_to_string(entry.path()).unwrap();
                let first = text.lines().next().unwrap_or_default().get(..6).unwrap_or_default().to_owned();
                format!("{:?} {} from {first}", entry.file_name(), text.lines().count())
            })
            .collect();
        names.sort();
        names.join(", ")
    }
}

mod scripts;
