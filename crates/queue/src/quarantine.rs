//! Copies of damaged ranges for people to look at: at most 16 MiB in all, the oldest go first.
//!
//! It is a courtesy: its failures never stop a reader.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::LaneId;
use crate::disk::{Disk, write_full};

const LIMIT: u64 = 16 << 20;

/// The largest copy of one range, bytes.
pub(crate) const RANGE_LIMIT: u64 = 1 << 20;

/// The directory `quarantine`.
pub(crate) struct Quarantine {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Mutex<VecDeque<(String, u64)>>,
}

impl Quarantine {
    /// Knows the files that are there; the directory is made when it is first needed.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Quarantine {
        let files = disk.list(&dir).unwrap_or_default();
        Quarantine {
            disk,
            dir,
            files: Mutex::new(files.into_iter().filter(|(name, _)| name.ends_with(".bad")).collect()),
        }
    }

    /// Keeps a copy of `bytes`, once for each place.
    pub(crate) fn keep(&self, lane: &LaneId, offset: u64, bytes: &[u8]) {
        let name = format!("{lane}-{offset:016x}.bad");
        if let Err(error) = self.store(&name, bytes) {
            tracing::debug!(%error, name, "cannot keep a copy of a damaged range");
        }
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.lock().iter().map(|(_, size)| size).sum()
    }

    fn store(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files.lock();
        if files.iter().any(|(held, _)| held == name) {
            return Ok(());
        }
        self.disk.create_dir(&self.dir)?;
        let size = bytes.len() as u64;
        let mut total: u64 = files.iter().map(|(_, size)| size).sum();
        while total.saturating_add(size) > LIMIT {
            let Some((oldest, freed)) = files.pop_front() else {
                break;
            };
            let _ = self.disk.remove(&self.dir.join(oldest));
            total = total.saturating_sub(freed);
        }
        let path = self.dir.join(name);
        let file = self.disk.create(&path)?;
        files.push_back((name.to_owned(), size));
        write_full(file.as_ref(), &[bytes], 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    /// Damage without end must not fill the disk: the newest copies stay, and a place is copied once.
    #[test]
    fn copies_are_bounded_and_the_oldest_go_first() {
        let sim = SimDisk::new(1, 1 << 30);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let quarantine = Quarantine::open(Arc::clone(&disk), PathBuf::from("/q/quarantine"));
        let lane = LaneId::new("lane").expect("a good name");
        let copy = vec![1; usize::try_from(RANGE_LIMIT).expect("small")];
        for offset in 0..40 {
            quarantine.keep(&lane, offset, &copy);
            quarantine.keep(&lane, offset, &copy);
            let used = sim.used(std::path::Path::new("/q/quarantine"));
            assert!(used <= LIMIT && used == quarantine.bytes(), "{used}");
        }
        let names: Vec<String> =
            disk.list(std::path::Path::new("/q/quarantine")).expect("list").into_iter().map(|(name, _)| name).collect();
        let expected: Vec<String> = (24..40).map(|offset| format!("lane-{offset:016x}.bad")).collect();
        assert_eq!(names, expected);
        // The next process knows what is there.
        assert_eq!(Quarantine::open(disk, PathBuf::from("/q/quarantine")).bytes(), LIMIT);
    }
}
