//! A disk that loses power, for tests: a page cache over durable pages, names that need a directory sync, and faults
//! on demand. Everything random comes from one seed.
//!
//! What it models: unsynced pages survive a cut or not, page by page, whole or torn at a sector; a failed fdatasync
//! marks its pages clean (ext4, xfs), so that the next one succeeds without having written them; unsynced names
//! survive as a prefix of the directory's operations; short writes; no space; read errors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What is to go wrong next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// The next this many syncs of segment files fail.
    pub failing_syncs: u32,
    /// The next this many writes fail with EIO.
    pub failing_writes: u32,
    /// The next this many reads fail with EIO.
    pub failing_reads: u32,
    /// Writes are cut short at random.
    pub short_writes: bool,
    /// Only this suffix is hit by failing syncs and writes; empty hits all.
    pub only: &'static str,
}

#[derive(Debug, Default, Clone)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    resized: bool,
    path: PathBuf,
    /// Open files: their space is taken until the last one is closed, whatever became of the name.
    handles: usize,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// Unsynced changes of names, in order, by directory.
    pending: BTreeMap<PathBuf, Vec<NameChange>>,
    dirs: BTreeSet<PathBuf>,
    next_id: u64,
    capacity: u64,
    operations: u64,
    largest_read: usize,
}

/// Something that happens once, at the next call of a kind: another thread's work, at the worst moment.
pub(crate) type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

fn happen(meanwhile: &Meanwhile) {
    let work = meanwhile.lock().take();
    if let Some(work) = work {
        work();
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    /// After a file was opened and before its opener has it.
    pub on_open: Meanwhile,
    /// Before a read.
    pub on_read: Meanwhile,
    state: Arc<Mutex<State>>,
    random: Arc<Mutex<fastrand::Rng>>,
    pub faults: Arc<Mutex<Faults>>,
}

struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Some(content) = self.disk.state.lock().files.get_mut(&self.id) {
            content.handles -= 1;
        }
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64, capacity: u64) -> SimDisk {
        let state = State { capacity, ..State::default() };
        SimDisk {
            state: Arc::new(Mutex::new(state)),
            random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            faults: Arc::default(),
            on_open: Arc::default(),
            on_read: Arc::default(),
        }
    }

    /// Files that are open now.
    pub(crate) fn open_files(&self) -> usize {
        self.state.lock().files.values().map(|content| content.handles).sum()
    }

    /// Takes the power away. Open files are to be dropped first.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state.lock();
        let mut random = self.random.lock();
        for content in state.files.values_mut() {
            if content.resized && random.bool() {
                content.durable.resize(content.cached.len(), 0);
            }
            let dirty = std::mem::take(&mut content.dirty);
            for page in dirty {
                let start = page * PAGE;
                let stop = (start + PAGE).min(content.cached.len()).min(content.durable.len());
                if start >= stop {
                    continue;
                }
                match random.u8(0..4) {
                    0 | 1 => content.durable[start..stop].copy_from_slice(&content.cached[start..stop]),
                    2 => {
                        // Torn: some sectors made it.
                        for sector in (start..stop).step_by(SECTOR) {
                            let end = (sector + SECTOR).min(stop);
                            if random.bool() {
                                content.durable[sector..end].copy_from_slice(&content.cached[sector..end]);
                            }
                        }
                    }
                    _ => {}
                }
            }
            content.cached = content.durable.clone();
            content.resized = false;
        }
        let pending = std::mem::take(&mut state.pending);
        for changes in pending.into_values() {
            let survive = random.usize(0..=changes.len());
            for change in changes.into_iter().take(survive) {
                apply(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        let named: BTreeSet<u64> = state.names.values().copied().collect();
        state.files.retain(|id, _| named.contains(id));
        *self.faults.lock() = Faults::default();
    }

    /// Bytes in files under `dir`.
    pub(crate) fn used(&self, dir: &Path) -> u64 {
        let state = self.state.lock();
        state
            .names
            .iter()
            .filter(|(path, _)| path.starts_with(dir))
            .map(|(_, id)| state.files[id].cached.len() as u64)
            .sum()
    }

    /// Changes bytes of a file behind everybody's back, on the medium and in the cache.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let Some(id) = state.names.get(path).copied() else {
            return;
        };
        let content = state.files.get_mut(&id).expect("a named file");
        change(&mut content.cached);
        content.durable = content.cached.clone();
        content.dirty.clear();
    }

    /// The longest buffer that anybody wanted filled so far, bytes: what a file made its reader allocate.
    pub(crate) fn largest_read(&self) -> usize {
        self.state.lock().largest_read
    }

    /// Calls that write or sync so far.
    pub(crate) fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub(crate) fn set_capacity(&self, capacity: u64) {
        self.state.lock().capacity = capacity;
    }

    fn change_name(state: &mut State, change: NameChange) {
        let dir = match &change {
            NameChange::Add(path, _) | NameChange::Remove(path) | NameChange::Rename(path, ..) => path.parent(),
        };
        let dir = dir.expect("a parent").to_path_buf();
        apply(&mut state.names, change.clone());
        state.pending.entry(dir).or_default().push(change);
        state.operations += 1;
    }

    fn fault(&self, path: &Path, pick: impl FnOnce(&mut Faults) -> &mut u32) -> io::Result<()> {
        let mut faults = self.faults.lock();
        if !path.to_string_lossy().ends_with(faults.only) {
            return Ok(());
        }
        let left = pick(&mut faults);
        if *left > 0 {
            *left -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: NameChange) {
    match change {
        NameChange::Add(path, id) => {
            names.insert(path, id);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
        NameChange::Rename(from, to, id) => {
            names.remove(&from);
            names.insert(to, id);
        }
    }
}

fn total(state: &State) -> u64 {
    let named: BTreeSet<u64> = state.names.values().copied().collect();
    let takes_space = |id: &u64, content: &Content| content.handles > 0 || named.contains(id);
    state.files.iter().filter(|(id, content)| takes_space(id, content)).map(|(_, held)| held.cached.len() as u64).sum()
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.dirs.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.state.lock();
        if !state.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |child: &Path| child.file_name().map(|name| name.to_string_lossy().into_owned());
        let files = state.names.iter().filter(|(file, _)| file.parent() == Some(path));
        let files = files.filter_map(|(file, id)| Some((name(file)?, state.files[id].cached.len() as u64)));
        let dirs = state.dirs.iter().filter(|dir| dir.parent() == Some(path)).filter_map(|dir| Some((name(dir)?, 0)));
        Ok(files.chain(dirs).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_none_or(|parent| !state.dirs.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.next_id += 1;
        let id = state.next_id;
        state.files.insert(id, Content { path: path.to_path_buf(), handles: 1, ..Content::default() });
        SimDisk::change_name(&mut state, NameChange::Add(path.to_path_buf(), id));
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let id = state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        state.files.get_mut(&id).expect("a named file").handles += 1;
        drop(state);
        happen(&self.on_open);
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        SimDisk::change_name(&mut state, NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.names.keys().any(|name| name.starts_with(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.dirs.remove(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        SimDisk::change_name(&mut state, NameChange::Rename(from.to_path_buf(), to.to_path_buf(), id));
        state.files.get_mut(&id).expect("a named file").path = to.to_path_buf();
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operations += 1;
        for change in state.pending.remove(path).unwrap_or_default() {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<(u64, u64)> {
        let state = self.state.lock();
        Ok((state.capacity.saturating_sub(total(&state)), state.capacity))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], pos: u64) -> io::Result<usize> {
        happen(&self.disk.on_read);
        let mut state = self.disk.state.lock();
        state.largest_read = state.largest_read.max(buf.len());
        let content = &state.files[&self.id];
        self.disk.fault(&content.path, |faults| &mut faults.failing_reads)?;
        let pos = usize::try_from(pos).expect("small").min(content.cached.len());
        let count = buf.len().min(content.cached.len() - pos);
        buf[..count].copy_from_slice(&content.cached[pos..pos + count]);
        Ok(count)
    }

    fn read_cached(&self, buf: &mut [u8], pos: u64) -> Option<usize> {
        let (cached, short) = {
            let mut random = self.disk.random.lock();
            (random.u8(0..4) > 0, random.u8(0..8) == 0)
        };
        let count = cached.then(|| self.read_at(buf, pos).ok()).flatten()?;
        Some(if short { count / 2 } else { count })
    }

    fn write_at(&self, parts: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        state.operations += 1;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk.fault(&state.files[&self.id].path, |faults| &mut faults.failing_writes)?;
        if self.disk.faults.lock().short_writes && bytes.len() > 1 {
            let keep = self.disk.random.lock().usize(1..bytes.len());
            bytes.truncate(keep);
        }
        let free = state.capacity.saturating_sub(total(&state));
        let content = state.files.get_mut(&self.id).expect("an open file");
        let start = usize::try_from(pos).expect("small");
        let stop = start + bytes.len();
        if stop > content.cached.len() {
            if (stop - content.cached.len()) as u64 > free {
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.cached.resize(stop, 0);
            content.resized = true;
        }
        content.cached[start..stop].copy_from_slice(&bytes);
        content.dirty.extend(start / PAGE..=(stop - 1) / PAGE);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.operations += 1;
        let content = state.files.get_mut(&self.id).expect("an open file");
        let dirty = std::mem::take(&mut content.dirty);
        self.disk.fault(&content.path, |faults| &mut faults.failing_syncs)?;
        content.durable.resize(content.cached.len(), 0);
        content.resized = false;
        for page in dirty {
            let start = page * PAGE;
            let stop = (start + PAGE).min(content.cached.len());
            if start < stop {
                content.durable[start..stop].copy_from_slice(&content.cached[start..stop]);
            }
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let size = self.size()?;
        if len <= size {
            return Ok(());
        }
        let mut state = self.disk.state.lock();
        state.operations += 1;
        if len - size > state.capacity.saturating_sub(total(&state)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = state.files.get_mut(&self.id).expect("an open file");
        content.cached.resize(usize::try_from(len).expect("small"), 0);
        content.resized = true;
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.operations += 1;
        let content = state.files.get_mut(&self.id).expect("an open file");
        content.cached.resize(usize::try_from(len).expect("small"), 0);
        content.resized = true;
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[&self.id].cached.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_a_power_cut_and_what_was_not_may_not() {
        let mut lost = false;
        for seed in 0..50 {
            let disk = SimDisk::new(seed, 1 << 20);
            disk.create_dir(Path::new("/d")).expect("dir");
            let file = disk.create(Path::new("/d/f")).expect("create");
            super::super::write_full(file.as_ref(), &[&[1; 100]], 0).expect("write");
            file.sync().expect("sync");
            disk.sync_dir(Path::new("/d")).expect("sync");
            super::super::write_full(file.as_ref(), &[&[2; 100]], 100).expect("write");
            disk.cut_power();
            let file = disk.open(Path::new("/d/f")).expect("the name was synced");
            let mut bytes = [0; 200];
            let len = super::super::read_full(file.as_ref(), &mut bytes, 0).expect("read");
            assert!(len >= 100 && bytes[..100] == [1; 100], "seed {seed}");
            lost |= bytes[100..] != [2; 100];
        }
        assert!(lost);
    }

    #[test]
    fn a_failed_sync_marks_pages_clean() {
        for seed in 0..20 {
            let disk = SimDisk::new(seed, 1 << 20);
            disk.create_dir(Path::new("/d")).expect("dir");
            let file = disk.create(Path::new("/d/f")).expect("create");
            disk.sync_dir(Path::new("/d")).expect("sync");
            super::super::write_full(file.as_ref(), &[&[1; 100]], 0).expect("write");
            disk.faults.lock().failing_syncs = 1;
            assert!(file.sync().is_err());
            file.sync().expect("the second sync lies");
            disk.cut_power();
            let file = disk.open(Path::new("/d/f")).expect("open");
            let mut bytes = [0; 100];
            super::super::read_full(file.as_ref(), &mut bytes, 0).expect("read");
            assert_eq!(bytes, [0; 100], "seed {seed}");
        }
    }
}
