//! Reading a file whose disk may hang, such as one of a network that is away.
//!
//! The system gives no end to such a read, so it goes on a thread of its own and is waited for only so long. Keeps true: one read of a
//! path at a time, so that a path that hangs costs one thread however often it is asked for; who asks for it again is told at once.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// The longest that a read is waited for. Disks of networks that work answer within a second; a start or a reload may have to wait
/// for this once per path.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that wait for the next read, so that secrets that are read at each scrape do not start one each time.
const MOST_IDLE: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Reads that are under way, with when they began, and threads that have none.
#[derive(Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    busy: HashMap<PathBuf, Instant>,
    idle: Vec<SyncSender<Job>>,
}

/// Those of the process.
pub(crate) static READERS: std::sync::LazyLock<Readers> = std::sync::LazyLock::new(Readers::default);

impl Readers {
    /// What `read` gives for `path`. `TimedOut` after `patience`, counted from when the read that is under way began.
    pub(crate) fn read<T: Send + 'static>(
        &'static self,
        path: &Path,
        patience: Duration,
        read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let began = Instant::now();
        let mut state = self.state.lock();
        while let Some(since) = state.busy.get(path) {
            let until = *since + patience;
            if self.freed.wait_until(&mut state, until).timed_out() && state.busy.contains_key(path) {
                return Err(hangs(patience));
            }
        }
        state.busy.insert(path.to_owned(), began);
        let idle = state.idle.pop();
        drop(state);
        let (answer, answered) = sync_channel(1);
        let owned = path.to_owned();
        let job: Job = Box::new(move || {
            let done = Done { readers: self, path: &owned };
            let result = read(&owned);
            // Free before the answer: who got one may ask again at once.
            drop(done);
            let _ = answer.send(result);
        });
        if let Err(error) = self.hand_over(idle, job) {
            self.free(path);
            return Err(error);
        }
        match answered.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(hangs(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("reading it broke off")),
        }
    }

    fn hand_over(&'static self, idle: Option<SyncSender<Job>>, job: Job) -> io::Result<()> {
        let job = match idle {
            None => job,
            Some(thread) => match thread.send(job) {
                Ok(()) => return Ok(()),
                Err(refused) => refused.0,
            },
        };
        let (next, jobs) = sync_channel(1);
        let work = move || self.work(job, &next, &jobs);
        std::thread::Builder::new().name("sigpost-file".to_owned()).spawn(work).map(drop)
    }

    fn work(&self, first: Job, next: &SyncSender<Job>, jobs: &Receiver<Job>) {
        let mut job = first;
        loop {
            // A panic is told to who waits, by the answer's end that is dropped; the thread is as good as before.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            let mut state = self.state.lock();
            if state.idle.len() >= MOST_IDLE {
                return;
            }
            state.idle.push(next.clone());
            drop(state);
            match jobs.recv() {
                Ok(another) => job = another,
                Err(_) => return,
            }
        }
    }

    fn free(&self, path: &Path) {
        self.state.lock().busy.remove(path);
        self.freed.notify_all();
    }
}

/// Frees the path, also where reading it broke off.
struct Done<'a> {
    readers: &'a Readers,
    path: &'a Path,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.readers.free(self.path);
    }
}

fn hangs(patience: Duration) -> io::Error {
    let what = format!(
        "its disk has not answered for {} s; is it on a network that is away, or on a disk that fails? It is tried again",
        patience.as_secs_f32()
    );
    io::Error::new(io::ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn readers() -> &'static Readers {
        Box::leak(Box::default())
    }

    #[test]
    fn a_disk_that_hangs_costs_one_thread_and_one_wait() {
        let readers = readers();
        let patience = Duration::from_millis(300);
        let (wake, hung) = sync_channel::<()>(0);
        let path = Path::new("/mnt/away/token");
        let error = readers.read(path, patience, move |_| hung.recv().map_err(io::Error::other)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("disk has not answered"), "{error}");
        // The second asker is told without a read of its own.
        let reads = std::sync::Arc::new(AtomicUsize::new(0));
        let count = |path: &'static Path| {
            let reads = std::sync::Arc::clone(&reads);
            readers.read(path, patience, move |_| Ok(reads.fetch_add(1, Ordering::Relaxed) + 1))
        };
        assert_eq!(count(path).unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Others are read meanwhile.
        assert_eq!(count(Path::new("/etc/token")).unwrap(), 1);
        // It is read again once the disk is back.
        wake.send(()).unwrap();
        while readers.state.lock().busy.contains_key(path) {
            std::thread::yield_now();
        }
        assert_eq!(count(path).unwrap(), 2);
    }

    #[test]
    fn threads_are_used_again_and_few_wait() {
        let readers = readers();
        let path = Path::new("/etc/token");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let id = readers.read(path, PATIENCE, |_| Ok(std::thread::current().id())).unwrap();
            seen.insert(id);
        }
        assert!(seen.len() <= 20, "{} threads", seen.len());
        assert!(readers.state.lock().idle.len() <= MOST_IDLE);
    }

    #[test]
    fn a_read_that_breaks_off_is_an_error_and_frees_the_path() {
        let readers = readers();
        let path = Path::new("/etc/token");
        let error = readers.read::<()>(path, PATIENCE, |_| panic!("on purpose")).unwrap_err();
        assert!(error.to_string().contains("broke off"), "{error}");
        assert_eq!(readers.read(path, PATIENCE, |_| Ok(7)).unwrap(), 7);
    }
}
