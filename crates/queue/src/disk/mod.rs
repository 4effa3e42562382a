//! What the queue asks of a file system, as a trait: the real one, and in tests a simulated one that loses power.
//!
//! All calls block; callers run on the lanes' own threads or on blocking tasks, never on the reactor.

mod frozen;
mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub(crate) use frozen::FrozenDisk;
pub(crate) use real::{DirectoryLock, RealDisk};

/// Directories and names.
pub(crate) trait Disk: Send + Sync {
    /// Makes the directory and its parents, mode 0700; fine if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and sizes of the regular files and directories in `path`.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>>;
    /// A new file, mode 0600, for reading and writing; fails if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Replaces `to` by `from` in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes created and renamed names durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free and total bytes of the file system.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// What is going to happen to a file's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// They are read from front to back.
    Sequential,
    /// They are not needed any more.
    Done,
}

/// One open file.
pub(crate) trait DiskFile: Send + Sync {
    /// Reads at most `buf.len()` bytes at `pos`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize>;
    /// The same, but never waiting for a device: gives what is in memory, or `None` if that cannot be told or read.
    fn read_cached(&self, _buf: &mut [u8], _pos: u64) -> Option<usize> {
        None
    }
    /// Writes some of `parts` at `pos`; may write less than asked.
    fn write_at(&self, parts: &[IoSlice<'_>], pos: u64) -> io::Result<usize>;
    /// fdatasync.
    fn sync(&self) -> io::Result<()>;
    /// Reserves space and sets the size to at least `len`. Does nothing where the file system cannot.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Size in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Tells the page cache what to expect. A hint: without effect where the system knows none.
    fn advise(&self, _advice: Advice) {}
}

/// Reads until `buf` is full or the file ends; gives the bytes read.
pub(crate) fn read_full(file: &dyn DiskFile, mut buf: &mut [u8], mut pos: u64) -> io::Result<usize> {
    let mut total = 0;
    while !buf.is_empty() {
        let count = file.read_at(buf, pos)?;
        if count == 0 {
            break;
        }
        total += count;
        pos += count as u64;
        buf = buf.get_mut(count..).unwrap_or_default();
    }
    Ok(total)
}

/// Writes all of `parts`, in groups the system accepts; a write of zero bytes is an error.
pub(crate) fn write_full(file: &dyn DiskFile, parts: &[&[u8]], mut pos: u64) -> io::Result<()> {
    const GROUP: usize = 512;
    for group in parts.chunks(GROUP) {
        let mut slices: Vec<IoSlice<'_>> =
            group.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let count = file.write_at(rest, pos)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            pos += count as u64;
            IoSlice::advance_slices(&mut rest, count);
        }
    }
    Ok(())
}
