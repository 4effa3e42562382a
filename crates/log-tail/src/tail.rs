//! The face: starting a route, changing it, ending it.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, JoinHandle},
};

use discovery::TargetGroup;
use parking_lot::Mutex;
use pipeline::LogIntake;
use stages::LineGate;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Book, FileJob, FileStatus, TailConfig, TailError, TailMetrics,
    foreman::{Foreman, Mailbox, Message},
    metrics::RouteMetrics,
    reader::{Hours, Queue, Reader, settle},
    staged::ReadyJob,
    watch::Watch,
};

/// The list that discovery publishes.
pub type Groups = watch::Receiver<Arc<Vec<TargetGroup>>>;

/// A route's files, read until it is dropped. Dropping ends it as a crash would; see [`Tail::shutdown`].
pub struct Tail {
    mailbox: Arc<Mailbox>,
    queue: Arc<Queue>,
    book: Arc<Book>,
    statuses: Arc<Mutex<Vec<FileStatus>>>,
    gate: Option<Arc<LineGate>>,
    metrics: RouteMetrics,
    threads: Vec<JoinHandle<()>>,
    settling: Option<tokio::task::JoinHandle<()>>,
    /// By job: what follows its discovery.
    followers: Arc<Mutex<HashMap<String, CancellationToken>>>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Tail {
    /// Starts reading. Each job's files come with the first list of its groups. Must be called within a runtime. Blocking:
    /// opens nothing but threads.
    pub fn spawn(
        config: TailConfig,
        jobs: Vec<(FileJob, Groups)>,
        intake: LogIntake,
        book: Arc<Book>,
        metrics: &Arc<TailMetrics>,
    ) -> Result<Self, TailError> {
        let runtime = Handle::current();
        let stop = CancellationToken::new();
        let watch = Watch::new().map_err(TailError::Thread)?;
        let mailbox = Arc::new(Mailbox { messages: Mutex::default(), bell: watch.bell() });
        let queue = Arc::new(Queue::default());
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let metrics = metrics.of_route(&config.route);
        let (settler, settling) = mpsc::unbounded_channel();
        let mut tail = Self {
            mailbox: mailbox.clone(),
            queue: queue.clone(),
            book: book.clone(),
            statuses: statuses.clone(),
            gate: config.gate.clone(),
            metrics: metrics.clone(),
            threads: Vec::new(),
            settling: Some(runtime.spawn(settle(book.clone(), settling))),
            followers: Arc::default(),
            stop: stop.clone(),
            runtime: runtime.clone(),
        };
        for _ in 0..config.readers.max(1) {
            let reader = Reader {
                queue: queue.clone(),
                intake: intake.clone(),
                book: book.clone(),
                settler: settler.clone(),
                metrics: metrics.clone(),
                runtime: runtime.clone(),
                stop: stop.clone(),
            };
            let mailbox = mailbox.clone();
            tail.start("tail-reader", move || reader.run(|done| mailbox.post(Message::Done(done))))?;
        }
        drop(settler);
        let (settings, groups): (Vec<FileJob>, Vec<Groups>) = jobs.into_iter().unzip();
        let settings = ReadyJob::all(settings, config.gate.as_ref(), &metrics)?;
        for (job, groups) in settings.iter().zip(groups) {
            tail.follow(&job.job_name, groups);
        }
        tail.sync_under_pressure(book.pressed()?);
        let config = Arc::new(config);
        let foreman = Foreman::new(config, settings, book, metrics, queue, mailbox, watch, statuses);
        tail.start("tail-foreman", move || foreman.run())?;
        Ok(tail)
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), TailError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(TailError::Thread)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Follows a job's discovery. A job that is told of again follows the new list and no longer the old one.
    pub fn follow(&self, job: &str, mut groups: Groups) {
        let (mailbox, followers, name) = (self.mailbox.clone(), self.followers.clone(), job.to_owned());
        let mine = self.stop.child_token();
        {
            let mut followers = followers.lock();
            if let Some(before) = followers.insert(name.clone(), mine.clone()) {
                before.cancel();
            }
        }
        self.runtime.spawn(async move {
            // An empty list that was never published is what a discovery begins with, and says nothing.
            let mut spoken = groups.has_changed().unwrap_or(true) || !groups.borrow().is_empty();
            loop {
                let list = groups.borrow_and_update().clone();
                if std::mem::replace(&mut spoken, true) {
                    // Under the lock, so that a list of a follower that was replaced never comes after its successor's.
                    let _others = followers.lock();
                    if mine.is_cancelled() {
                        return;
                    }
                    mailbox.post(Message::Groups { job: name.clone(), groups: list });
                }
                tokio::select! {
                    () = mine.cancelled() => return,
                    changed = groups.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    fn sync_under_pressure(&self, mut pressed: watch::Receiver<u64>) {
        let (mailbox, stop) = (self.mailbox.clone(), self.stop.clone());
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = pressed.changed() => if changed.is_err() { return },
                }
                mailbox.post(Message::Sync);
            }
        });
    }

    /// Changes the jobs; those of the same name keep their files and targets. New ones are to be followed with
    /// [`follow`](Self::follow). On error nothing changes.
    pub fn apply(&self, jobs: Vec<FileJob>) -> Result<(), TailError> {
        let jobs = ReadyJob::all(jobs, self.gate.as_ref(), &self.metrics)?;
        self.mailbox.post(Message::Jobs(jobs));
        Ok(())
    }

    /// Every file as the last survey left it, by job and path.
    pub fn files(&self) -> Vec<FileStatus> {
        self.statuses.lock().clone()
    }

    /// Writes positions down soon.
    pub fn sync(&self) {
        self.mailbox.post(Message::Sync);
    }

    /// Ends reading, lets go of what stages hold back, waits until what was read is durable, and writes positions down.
    pub async fn shutdown(mut self) -> Result<(), TailError> {
        self.end(false).await;
        let book = self.book.clone();
        match tokio::task::spawn_blocking(move || book.sync()).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }

    /// Ends reading at once, writing nothing down: what a crash would leave. For tests.
    #[doc(hidden)]
    pub async fn kill(mut self) {
        self.end(true).await;
    }

    async fn end(&mut self, at_once: bool) {
        self.queue.restrict(if at_once { Hours::Closed } else { Hours::Ending });
        self.mailbox.post(Message::Stop);
        // What is being appended may finish, unless the queue has no room.
        if at_once {
            self.stop.cancel();
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        tokio::select! {
            _ = joined => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(5)), if !at_once => self.stop.cancel(),
        }
        self.stop.cancel();
        self.queue.restrict(Hours::Closed);
        if let Some(settling) = self.settling.take() {
            if at_once {
                settling.abort();
            }
            let _ = settling.await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stop.cancel();
        self.queue.restrict(Hours::Closed);
        self.mailbox.post(Message::Stop);
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tail({} files)", self.statuses.lock().len())
    }
}
