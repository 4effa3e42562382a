//! Waiting: for messages, for a point in time, and for what the kernel tells of directories.
//!
//! Uses inotify itself instead of a crate: what comes is read at most every [`GAP`], so that a file written a hundred
//! thousand times a second costs forty reads and not a hundred thousand calls. Keeps true: nothing depends on an event;
//! where there are none (network file systems, no watches left, other systems than Linux) files are polled.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Shortest time between two looks at what the kernel has to tell.
const GAP: Duration = Duration::from_millis(25);

/// Wakes a [`Watch`]. State, not an event: a ring before the wait ends the wait.
#[derive(Debug, Clone)]
pub(crate) struct Bell {
    pipe: Arc<OwnedFd>,
    rung: Arc<AtomicBool>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            let _ = rustix::io::write(&*self.pipe, &[1]);
        }
    }
}

/// What happened in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A file's content.
    Content(PathBuf),
    /// Names came, went or moved.
    Names,
}

pub(crate) struct Watch {
    ears: Option<ears::Ears>,
    directories: HashMap<PathBuf, bool>,
    pipe: OwnedFd,
    bell: Bell,
    heard: Instant,
    complained: bool,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let ears = ears::Ears::new().inspect_err(|error| {
            tracing::warn!(%error, "the kernel tells nothing of changes (fs.inotify.max_user_instances?): files are polled");
        });
        Self::with(ears.ok())
    }

    fn with(ears: Option<ears::Ears>) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe()?;
        for end in [&read, &write] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        rustix::io::ioctl_fionbio(&read, true)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        let bell = Bell { pipe: Arc::new(write), rung: Arc::default() };
        let heard = Instant::now();
        Ok(Self { ears, directories: HashMap::new(), pipe: read, bell, heard, complained: false })
    }

    /// One that hears nothing, as on a network file system.
    #[cfg(test)]
    pub(crate) fn deaf() -> io::Result<Self> {
        Self::with(None)
    }

    pub(crate) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Whether changes in a directory are told.
    pub(crate) fn hears(&self, directory: &Path) -> bool {
        self.directories.get(directory).copied().unwrap_or(false)
    }

    /// Watches these directories and no others.
    pub(crate) fn listen(&mut self, wanted: &std::collections::BTreeSet<PathBuf>) {
        let Some(ears) = self.ears.as_mut() else {
            return;
        };
        self.directories.retain(|path, _| {
            let keep = wanted.contains(path);
            if !keep {
                ears.forget(path);
            }
            keep
        });
        for path in wanted {
            // A directory that was removed and made again has another watch: adding is idempotent otherwise.
            let heard = ears.add(path);
            if let Err(error) = &heard
                && !std::mem::replace(&mut self.complained, true)
            {
                tracing::warn!(path = %path.display(), %error, "cannot watch a directory (fs.inotify.max_user_watches?): files there are polled");
            }
            self.directories.insert(path.clone(), heard.unwrap_or(false));
        }
    }

    /// Waits until there is something or `until` has come.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> Vec<Change> {
        let now = Instant::now();
        let listening = self.ears.as_ref().filter(|_| now >= self.heard + GAP);
        let mut until = until;
        if self.ears.is_some() && listening.is_none() {
            until = Some(until.map_or(self.heard + GAP, |until| until.min(self.heard + GAP)));
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(now);
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
        });
        let mut ends = vec![PollFd::new(&self.pipe, PollFlags::IN)];
        if let Some(ears) = listening {
            ends.push(PollFd::from_borrowed_fd(ears.fd(), PollFlags::IN));
        }
        let _ = poll(&mut ends, timeout.as_ref());
        let heard = ends.get(1).is_some_and(|end| !end.revents().is_empty());
        if self.bell.rung.load(Ordering::SeqCst) {
            let mut bytes = [0; 16];
            let _ = rustix::io::read(&self.pipe, &mut bytes);
            self.bell.rung.store(false, Ordering::SeqCst);
        }
        match self.ears.as_mut().filter(|_| heard) {
            Some(ears) => {
                self.heard = Instant::now();
                ears.changes()
            }
            None => Vec::new(),
        }
    }
}

#[cfg(target_os = "linux")]
mod ears {
    //! inotify.

    use std::{
        collections::HashMap,
        ffi::OsStr,
        io,
        mem::MaybeUninit,
        os::{
            fd::{AsFd, BorrowedFd, OwnedFd},
            unix::ffi::OsStrExt,
        },
        path::{Path, PathBuf},
    };

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    use super::Change;

    pub(super) struct Ears {
        fd: OwnedFd,
        by_number: HashMap<i32, PathBuf>,
    }

    /// File systems on which other machines or layers write without our kernel seeing it: NFS, SMB, CIFS, SMB2, FUSE, 9P,
    /// Ceph, AFS, overlay.
    const SILENT: [u32; 9] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f, 0x794c_7630];

    impl Ears {
        pub(super) fn new() -> io::Result<Self> {
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            Ok(Self { fd, by_number: HashMap::new() })
        }

        pub(super) fn fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }

        /// Whether everything that happens there will be told.
        pub(super) fn add(&mut self, path: &Path) -> io::Result<bool> {
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            let number = inotify::add_watch(&self.fd, path, flags)?;
            self.by_number.insert(number, path.to_owned());
            let kind = rustix::fs::statfs(path).map(|stat| stat.f_type);
            Ok(kind.is_ok_and(|kind| !SILENT.iter().any(|silent| i128::from(*silent) == i128::from(kind))))
        }

        pub(super) fn forget(&mut self, path: &Path) {
            let number = self.by_number.iter().find(|(_, held)| *held == path).map(|(number, _)| *number);
            if let Some(number) = number {
                self.by_number.remove(&number);
                let _ = inotify::remove_watch(&self.fd, number);
            }
        }

        /// Everything that can be read without waiting, each thing once.
        pub(super) fn changes(&mut self) -> Vec<Change> {
            let mut out: Vec<Change> = Vec::new();
            let mut buf = [MaybeUninit::uninit(); 16 << 10];
            let mut reader = Reader::new(&self.fd, &mut buf);
            // A flood must not keep us here.
            for _ in 0..4096 {
                let Ok(event) = reader.next() else {
                    break;
                };
                let kind = event.events();
                let change = match (self.by_number.get(&event.wd()), event.file_name()) {
                    (Some(directory), Some(name)) if kind.contains(ReadFlags::MODIFY) => {
                        Change::Content(directory.join(OsStr::from_bytes(name.to_bytes())))
                    }
                    _ => Change::Names,
                };
                if kind.contains(ReadFlags::IGNORED) {
                    self.by_number.remove(&event.wd());
                }
                if out.last() != Some(&change) && !out.iter().rev().take(64).any(|held| *held == change) {
                    out.push(change);
                }
            }
            out
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod ears {
    //! No kernel to listen to.

    use std::{io, os::fd::BorrowedFd, path::Path};

    use super::Change;

    /// There is none.
    pub(super) enum Ears {}

    impl Ears {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }

        pub(super) fn add(&mut self, _: &Path) -> io::Result<bool> {
            match *self {}
        }

        pub(super) fn forget(&mut self, _: &Path) {
            match *self {}
        }

        pub(super) fn changes(&mut self) -> Vec<Change> {
            match *self {}
        }
    }
}
