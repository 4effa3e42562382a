//! Notices that files changed, cheaply: one `stat` each, no content kept.
//!
//! Does not watch; whoever holds the stamps asks. Keeps true: replacing, truncating, rewriting, removing or creating one
//! of the files, or who may read it, gives a different stamp (kubelet swaps symlinks, so the inode behind the link is what
//! is compared).

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::hung_disk::READERS;

/// The longest that a look is waited for: it may happen where others wait.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// What a set of files looked like at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileStamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// The last change of anything, permissions and owner included.
    changed: (i64, i64),
}

impl FileStamps {
    /// Looks at the files now. A file that cannot be read has a stamp too (that of absence).
    pub fn take<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self(paths.into_iter().map(|path| (path.as_ref().to_owned(), stamp(path.as_ref()))).collect())
    }

    /// True when any of the files differs from what this stamp saw.
    pub fn changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| stamp(path) != *seen)
    }

    /// Looks at the same files again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::take(self.0.iter().map(|(path, _)| path))
    }

    /// True when no file is looked at, so that nothing can ever change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A file whose disk hangs is as good as absent: reading it tells why.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = READERS.read(path, LOOK_PATIENCE, |path| std::fs::metadata(path)).ok()?;
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        length: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_and_a_created_file_are_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "1").unwrap();
        let stamps = FileStamps::take([&a, &b]);
        assert!(!stamps.changed());

        std::fs::write(dir.path().join("new"), "2").unwrap();
        std::fs::rename(dir.path().join("new"), &a).unwrap();
        assert!(stamps.changed());

        let stamps = stamps.again();
        assert!(!stamps.changed());
        std::fs::write(&b, "").unwrap();
        assert!(stamps.changed());
    }

    #[test]
    fn a_file_that_may_be_read_now_is_a_change() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "1").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        let stamps = FileStamps::take([&path]);
        // The clock of file times ticks slower than this test runs.
        let again = || std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !stamps.changed() && std::time::Instant::now() < deadline {
            again();
        }
        assert!(stamps.changed());
    }
}
