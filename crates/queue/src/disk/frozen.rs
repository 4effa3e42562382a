//! A disk that can be looked at and not changed: every call that would write is refused as on a read-only file system.
//!
//! Keeps true: whoever works through it leaves the directory as it found it, whatever the code above tries.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile};

/// The disk beneath, read-only.
pub(crate) struct FrozenDisk<D>(pub D);

fn refuse<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl<D: Disk> Disk for FrozenDisk<D> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.list(path).map(drop)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        self.0.list(path)
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refuse()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path)
    }

    fn open_write(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        refuse()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refuse()
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.0.space(path)
    }
}
