//! The two-slot file of one destination: the newest valid slot counts, the other is overwritten next.
//!
//! Keeps true: a torn write leaves the other slot, so at most one write is lost (invariant 19).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cursor::slot::{self, Slot, SlotFault};
use crate::disk::{Disk, DiskFile, read_full, write_full};
use crate::error::QueueError;
use crate::fields::fnv64;

const MAX_FILE: u64 = 4 << 20;

/// An open cursor file.
pub(crate) struct CursorFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    slot_size: usize,
    generation: u64,
    removed: bool,
}

/// The destination's name as a file name: everything but `A-Z a-z 0-9 _ . -` as `%XX`, long names cut and hashed.
pub(crate) fn file_name(destination: &str) -> String {
    let mut name = String::new();
    for byte in destination.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    if name.len() > 160 {
        name.truncate(140);
        name.push_str(&format!("-{:016x}", fnv64(destination.as_bytes())));
    }
    name.push_str(".cur");
    name
}

/// What a cursor file says.
pub(crate) struct Newest {
    pub slot: Slot,
    pub generation: u64,
    pub slot_size: usize,
}

/// There is something else than a file, or nothing.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::IsADirectory | io::ErrorKind::NotFound)
}

/// Reads both slots and gives the newer of the valid ones.
pub(crate) fn newest(file: &dyn DiskFile, path: &Path) -> Result<Option<Newest>, QueueError> {
    let size = file.size().map_err(|source| QueueError::io("read cursor file", path, source))?.min(MAX_FILE);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    // A position is too dear to be given up for one failed read.
    let len = (0..3).find_map(|_| read_full(file, &mut bytes, 0).ok()).unwrap_or_default();
    bytes.truncate(len);
    // The first slot may be the torn one; then the second says the size from half of the file.
    let half = bytes.len() / 2;
    let sizes = [slot::stated_size(&bytes), slot::stated_size(bytes.get(half..).unwrap_or_default())];
    let mut best: Option<Newest> = None;
    let mut newer = None;
    for slot_size in sizes.into_iter().flatten() {
        for start in [0, slot_size] {
            let Some(part) = bytes.get(start..start.saturating_add(slot_size).min(bytes.len())) else {
                continue;
            };
            match slot::open(part) {
                Ok((generation, slot)) if best.as_ref().is_none_or(|held| generation > held.generation) => {
                    best = Some(Newest { slot, generation, slot_size });
                }
                Err(SlotFault::Newer { major }) => newer = Some(major),
                Ok(_) | Err(SlotFault::Damaged) => {}
            }
        }
    }
    match newer {
        Some(found) => Err(QueueError::Format { path: path.to_path_buf(), found, supported: slot::FORMAT_MAJOR }),
        None => Ok(best),
    }
}

impl CursorFile {
    /// A file to be written for the first time by [`CursorFile::write`].
    /// Where a directory has its name, another name serves: what counts is the name inside.
    pub(crate) fn fresh(disk: Arc<dyn Disk>, directory: &Path, destination: &str) -> CursorFile {
        let name = file_name(destination);
        let mut path = directory.join(&name);
        let mut number = 2;
        while number < 100 && disk.list(&path).is_ok() {
            // No destination's own name has a plus sign.
            path = directory.join(format!("{}+{number}.cur", name.trim_end_matches(".cur")));
            number += 1;
        }
        CursorFile { disk, path, file: None, slot_size: 0, generation: 0, removed: false }
    }

    /// An existing file, of which this is the newest valid slot.
    pub(crate) fn adopt(disk: &Arc<dyn Disk>, path: &Path, found: &Newest) -> Result<CursorFile, QueueError> {
        let file = disk.open_write(path).map_err(|source| QueueError::io("open cursor file", path, source))?;
        Ok(CursorFile {
            disk: Arc::clone(disk),
            path: path.to_path_buf(),
            file: Some(file),
            slot_size: found.slot_size,
            generation: found.generation,
            removed: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the slot that is not the newest and syncs. After a failure the next write goes to a new file, because
    /// a file whose sync failed is not trusted again.
    pub(crate) fn write(&mut self, content: &Slot) -> io::Result<()> {
        // A write that was under way when the destination was removed must not bring the file back.
        if self.removed {
            return Ok(());
        }
        let content = content.content();
        let generation = self.generation.saturating_add(1);
        if let Some(file) = &self.file
            && let Some(bytes) = slot::seal(&content, generation, self.slot_size)
        {
            let pos = if generation.is_multiple_of(2) { 0 } else { self.slot_size as u64 };
            let result = write_full(file.as_ref(), &[&bytes], pos).and_then(|()| file.sync());
            match result {
                Ok(()) => {
                    self.generation = generation;
                    return Ok(());
                }
                Err(_) => self.file = None,
            }
        }
        self.rewrite(&content, generation.saturating_add(1))
    }

    fn rewrite(&mut self, content: &[u8], generation: u64) -> io::Result<()> {
        let size = slot::slot_size(content.len());
        let bytes = slot::seal(content, generation, size).ok_or(io::ErrorKind::InvalidInput)?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(".tmp");
        let draft = PathBuf::from(draft);
        match self.disk.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = match (self.disk.create(&draft), self.path.parent()) {
            // Somebody has removed the directory.
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(parent)?;
                self.disk.create(&draft)?
            }
            (other, _) => other?,
        };
        let empty = vec![0; size];
        let pair: [&[u8]; 2] = if generation.is_multiple_of(2) { [&bytes, &empty] } else { [&empty, &bytes] };
        write_full(file.as_ref(), &pair, 0)?;
        file.sync()?;
        self.disk.rename(&draft, &self.path)?;
        if let Some(parent) = self.path.parent() {
            self.disk.sync_dir(parent)?;
        }
        self.file = Some(file);
        self.slot_size = size;
        self.generation = generation;
        Ok(())
    }

    /// Removes the file.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        self.removed = true;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    /// A destination that goes while its file is being written: the write that comes last does not bring it back.
    #[test]
    fn a_removed_file_stays_removed_whatever_is_written_afterwards() {
        let sim = SimDisk::new(1, 1 << 20);
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let directory = Path::new("/q/cursors");
        disk.create_dir(directory).expect("directory");
        let slot = Slot { destination: "gone".to_owned(), lanes: Vec::new() };
        let mut file = CursorFile::fresh(Arc::clone(&disk), directory, "gone");
        file.write(&slot).expect("write");
        assert_eq!(disk.list(directory).expect("list").len(), 1);
        file.remove().expect("remove");
        file.write(&slot).expect("nothing is done");
        assert!(disk.list(directory).expect("list").is_empty());
        file.remove().expect("it is not there");
    }
}
