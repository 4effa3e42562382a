//! Telling contents apart: is this file what a record speaks of, does it begin as that one does. Blocking, no state.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{
    Packing,
    family::{Making, family, making},
    packing::fill,
    record::{HEAD, Record, hash},
    tail_file::{read_at, skip},
};

/// A file that was opened to see what it is.
pub(crate) struct Candidate {
    pub path: PathBuf,
    pub file: File,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// What its first bytes say.
    pub signature: Option<Packing>,
    /// Its job's format, if it may be of that.
    pub wanted: Option<Packing>,
    /// What of it may be read, bytes.
    pub upto: u64,
}

/// Bytes at the beginning, and at the end, of a large file that is compared with another.
const COMPARED: u64 = 8 << 20;
const COMPARED_AT_ONCE: usize = 64 << 10;

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Same,
    /// What is there was read, and more.
    Shorter,
    Other,
    /// It cannot be unpacked far enough, perhaps because it is still being written.
    Unclear,
}

impl Candidate {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path, wanted: Option<Packing>) -> io::Result<Option<Self>> {
        #[cfg(test)]
        crate::rehearsal::moment("a look");
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let mut head = [0; 16];
        let n = read_at(&file, &mut head, 0)?;
        let head = head.get(..n).unwrap_or_default();
        #[cfg(test)]
        crate::rehearsal::moment("a comparison");
        Ok(Some(Self {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            signature: Packing::of(head),
            wanted: wanted.filter(|packing| packing.fits(head)),
            upto: u64::MAX,
            file,
        }))
    }

    /// How to read it.
    pub(crate) fn packing(&self) -> Option<Packing> {
        self.wanted.or(self.signature)
    }

    pub(crate) fn is(&self, record: &Record) -> bool {
        (self.device, self.inode) == (record.device, record.inode)
    }

    /// Whether what the record covers is in this file, as it is or compressed.
    pub(crate) fn holds(&self, record: &Record) -> Match {
        let plain = !record.packed && self.size >= record.offset && covers(&self.file, record).unwrap_or(false);
        if plain {
            return Match::Same;
        }
        let Some(packing) = self.packing() else {
            return Match::Other;
        };
        let unpacked = File::open(&self.path)
            .and_then(|file| packing.unpack(file))
            .and_then(|mut text| skip(text.as_mut(), record, |_, _| {}));
        match unpacked {
            Ok(Some(_)) => Match::Same,
            Ok(None) => Match::Other,
            Err(_) => Match::Unclear,
        }
    }

    /// Whether it holds, as it is, what the record covers but for the end of that: a copy that was made before the last of it
    /// was written.
    pub(crate) fn is_shorter(&self, record: &Record) -> bool {
        if record.packed || self.packing().is_some() || self.size >= record.offset || record.offset == 0 {
            return false;
        }
        let reached = record.way.iter().rev().find(|(offset, ..)| *offset <= self.size);
        reached.is_some_and(|(offset, tail, tail_len)| {
            let (offset, tail, tail_len) = (*offset, *tail, *tail_len);
            let head_fits = u64::from(record.head_len) <= self.size;
            let earlier = Record { offset, tail, tail_len, ..record.clone() };
            head_fits && covers(&self.file, &earlier).unwrap_or(false)
        })
    }

    /// Whether its text ends where the record does.
    pub(crate) fn ends_with(&self, record: &Record) -> bool {
        let Some(packing) = self.packing() else {
            return self.size == record.offset;
        };
        let mut more = [0];
        let end = File::open(&self.path).and_then(|file| packing.unpack(file)).and_then(|mut text| {
            let held = skip(text.as_mut(), record, |_, _| {})?.is_some();
            Ok(held && fill(text.as_mut(), &mut more)? == 0)
        });
        end.unwrap_or(false)
    }

    /// Whether its text begins with these bytes, as far as both go. `None`: that cannot be told.
    pub(crate) fn begins_with(&self, bytes: &[u8]) -> Option<bool> {
        let mut mine = vec![0; bytes.len()];
        let n = match self.packing() {
            None => read_at(&self.file, &mut mine, 0).ok()?,
            Some(packing) => {
                let mut text = packing.unpack(File::open(&self.path).ok()?).ok()?;
                fill(text.as_mut(), &mut mine).ok()?
            }
        };
        Some(n > 0 && mine.get(..n) == bytes.get(..n))
    }

    /// Whether another file begins with all of it; of a large one the beginning and the end are compared.
    pub(crate) fn is_beginning_of(&self, other: &File) -> io::Result<bool> {
        let (mut mine, mut theirs) = (vec![0; COMPARED_AT_ONCE], vec![0; COMPARED_AT_ONCE]);
        let mut at = 0;
        while at < self.size {
            if at == COMPARED && self.size > 2 * COMPARED {
                at = self.size - COMPARED;
            }
            let want = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(COMPARED_AT_ONCE);
            let (mine, theirs) = (mine.get_mut(..want), theirs.get_mut(..want));
            let (Some(mine), Some(theirs)) = (mine, theirs) else { return Ok(false) };
            if read_at(&self.file, mine, at)? < want || read_at(other, theirs, at)? < want || mine != theirs {
                return Ok(false);
            }
            at += want as u64;
        }
        Ok(true)
    }

    /// Whether it may become, as text that is still being written, what a file that is followed holds, which begins so.
    pub(crate) fn grows_to(&self, record: &Record, begin: &[u8]) -> bool {
        if self.packing().is_some() || self.size > record.offset {
            return false;
        }
        if !begin.is_empty() {
            return self.begins_with(begin) != Some(false);
        }
        // It has just been cut, or cannot be read.
        let head = usize::try_from(self.size).is_ok_and(|size| size >= record.head_len as usize);
        !head || self.begins_as(record).unwrap_or(true)
    }

    /// Whether it may be a copy of what a record covers that was made before the last of it was written.
    pub(crate) fn may_be_shorter(&self, record: &Record) -> bool {
        self.packing().is_none() && self.size < record.offset && self.begins_as(record).unwrap_or(false)
    }

    fn begins_as(&self, record: &Record) -> io::Result<bool> {
        let mut bytes = vec![0; record.head_len as usize];
        Ok(read_at(&self.file, &mut bytes, 0)? == bytes.len() && hash(&bytes) == record.head)
    }
}

/// Whether a file holds, as it is, what a record of plain text covers.
pub(crate) fn covers(file: &File, record: &Record) -> io::Result<bool> {
    let part = |from: u64, len: u32| -> io::Result<Option<u64>> {
        let mut bytes = vec![0; len as usize];
        Ok((read_at(file, &mut bytes, from)? == bytes.len()).then(|| hash(&bytes)))
    };
    let tail_at = record.offset.saturating_sub(u64::from(record.tail_len));
    Ok((record.head_len == 0 || part(0, record.head_len)? == Some(record.head))
        && (record.tail_len == 0 || part(tail_at, record.tail_len)? == Some(record.tail)))
}

/// The first bytes of a file, as many as a head has; none if it cannot be read.
pub(crate) fn begin_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    let n = read_at(file, &mut bytes, 0).unwrap_or(0);
    bytes.truncate(n);
    bytes
}

/// What lies in directories, by family: each is read once, however many ask.
#[derive(Default)]
pub(crate) struct Listings(HashMap<PathBuf, Listing>);

#[derive(Default)]
struct Listing {
    families: HashMap<String, Vec<PathBuf>>,
    inodes: HashMap<u64, PathBuf>,
}

/// Of a larger directory what lies at the end is not found by its inode.
const LARGEST_DIRECTORY: usize = 100_000;

impl Listings {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Files in the directory of `path` whose names rotation may have made of it, itself too.
    pub(crate) fn siblings(&mut self, path: &Path) -> &[PathBuf] {
        let Some((listing, name)) = self.listing(path).zip(path.file_name()) else {
            return &[];
        };
        listing.families.get(&family(&name.to_string_lossy())).map_or(&[], Vec::as_slice)
    }

    /// The file of that inode in the directory of `path`, whatever its name.
    pub(crate) fn of_inode(&mut self, path: &Path, device: u64, inode: u64) -> Option<PathBuf> {
        let found = self.listing(path)?.inodes.get(&inode)?;
        let is = fs::metadata(found).is_ok_and(|meta| (meta.dev(), meta.ino()) == (device, inode));
        is.then(|| found.clone())
    }

    fn listing(&mut self, path: &Path) -> Option<&Listing> {
        let directory = path.parent()?;
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        if !self.0.contains_key(directory) {
            self.0.insert(directory.to_owned(), Listing::of(directory));
        }
        self.0.get(directory)
    }
}

impl Listing {
    fn of(directory: &Path) -> Self {
        let mut listing = Self::default();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let path = directory.join(&name);
            if listing.inodes.len() < LARGEST_DIRECTORY {
                listing.inodes.insert(entry.ino(), path.clone());
            }
            listing.families.entry(family(&name.to_string_lossy())).or_default().push(path);
        }
        listing.families.values_mut().for_each(|names| names.sort());
        listing
    }
}

/// How rotation may have made `name` of `original`, by their names.
pub(crate) fn made_of(original: &Path, name: &Path) -> Option<Making> {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let both = last(original).zip(last(name)).filter(|_| original.parent() == name.parent());
    both.and_then(|(original, name)| making(&original, &name))
}

/// When a file was made (or last written, where the file system does not say), and when it was last written; ms since the
/// epoch.
pub(crate) fn times(meta: &Metadata) -> (i64, i64) {
    let ms = |time: io::Result<std::time::SystemTime>| {
        let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    };
    (ms(meta.created().or_else(|_| meta.modified())), ms(meta.modified()))
}

/// Whether rotation may have made one of two paths of the other.
pub(crate) fn related(a: &Path, b: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| family(&name.to_string_lossy()));
    a.parent() == b.parent() && name(a) == name(b)
}
