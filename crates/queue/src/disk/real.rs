//! The operating system's file system behind the [`Disk`] trait, and the lock on the queue's directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};

use super::{Advice, Disk, DiskFile};
use crate::error::QueueError;

/// Files of the operating system.
#[derive(Debug, Default)]
pub(crate) struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let size = entry.metadata().map_or(0, |meta| meta.len());
            out.push((entry.file_name().to_string_lossy().into_owned(), size));
        }
        out.sort();
        Ok(out)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(path)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(&self.0, buf, pos) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn read_cached(&self, buf: &mut [u8], pos: u64) -> Option<usize> {
        // EAGAIN: not in the page cache, or its lock is held. EOPNOTSUPP: this file system cannot tell.
        let parts = &mut [io::IoSliceMut::new(buf)];
        rustix::io::preadv2(&self.0, parts, pos, rustix::io::ReadWriteFlags::NOWAIT).ok()
    }

    fn write_at(&self, parts: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        loop {
            match rustix::io::pwritev(&self.0, parts, pos) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::fdatasync(&self.0)?;
        // Whoever removed it, or the directory it was in, would otherwise not be noticed: writing goes on without an error.
        if rustix::fs::fstat(&self.0)?.st_nlink == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "somebody has removed the file"));
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Such a file grows as it is written; a full disk is then met inside a write, which is handled there.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn advise(&self, advice: Advice) {
        let advice = match advice {
            Advice::Sequential => rustix::fs::Advice::Sequential,
            Advice::Done => rustix::fs::Advice::DontNeed,
        };
        let _ = rustix::fs::fadvise(&self.0, 0, None, advice);
    }
}

/// The flock on `<directory>/LOCK`; released when the last clone is dropped, so a lane that still writes keeps it.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryLock {
    _file: Arc<File>,
}

const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl DirectoryLock {
    /// True if a process uses the directory now. Changes nothing; where it cannot be told, the answer is no.
    pub(crate) fn is_taken(directory: &Path) -> bool {
        let Ok(file) = File::open(directory.join("LOCK")) else {
            return false;
        };
        // Released when the file is closed, at the end of this function.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Takes the lock or says who is in the way. Also warns when the directory cannot keep what it is given.
    pub(crate) fn take(directory: &Path) -> Result<DirectoryLock, QueueError> {
        let path = directory.join("LOCK");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| QueueError::io("open lock file", &path, source))?;
        let mut tries = 0;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                // Whoever looks at a directory holds the lock for an instant.
                Err(rustix::io::Errno::WOULDBLOCK) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(QueueError::Locked { path: directory.to_path_buf() });
                }
                Err(errno) => return Err(QueueError::io("lock", &path, errno.into())),
            }
        }
        warn_of_weak_file_system(directory);
        Ok(DirectoryLock { _file: Arc::new(file) })
    }
}

fn warn_of_weak_file_system(directory: &Path) {
    let Ok(stat) = rustix::fs::statfs(directory) else {
        return;
    };
    let kind = match u64::try_from(stat.f_type).unwrap_or_default() {
        0x0102_1994 | 0x8584_58f6 => "memory (tmpfs): a reboot empties the queue",
        0x6969 => "NFS: a sync there may not be durable and locks may not hold",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB: a sync there may not be durable and locks may not hold",
        _ => return,
    };
    tracing::warn!(directory = %directory.display(), "queue directory is on {kind}; use a local disk");
}
