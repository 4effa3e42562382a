//! Telling contents apart: is this file what a record speaks of, does it begin as that one does. Blocking, no state.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{
    Packing,
    family::family,
    record::{Record, hash},
    tail_file::{read_at, skip},
};

/// A file that was opened to see what it is.
pub(crate) struct Candidate {
    pub path: PathBuf,
    pub file: File,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// When it was made, or last written where the file system does not say; ms since the epoch.
    pub born_ms: i64,
    /// What its first bytes say.
    pub signature: Option<Packing>,
    /// Its job's format, if it may be of that.
    pub wanted: Option<Packing>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Same,
    Other,
    /// It cannot be unpacked far enough, perhaps because it is still being written.
    Unclear,
}

impl Candidate {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path, wanted: Option<Packing>) -> io::Result<Option<Self>> {
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let born = meta.created().or_else(|_| meta.modified())?;
        let born_ms = born.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut head = [0; 16];
        let n = read_at(&file, &mut head, 0)?;
        let head = head.get(..n).unwrap_or_default();
        Ok(Some(Self {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            born_ms: i64::try_from(born_ms).unwrap_or(i64::MAX),
            signature: Packing::of(head),
            wanted: wanted.filter(|packing| packing.fits(head)),
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
        let plain = !record.packed && self.plain(record).unwrap_or(false);
        if plain {
            return Match::Same;
        }
        let Some(packing) = self.packing() else {
            return Match::Other;
        };
        let unpacked = File::open(&self.path)
            .and_then(|file| packing.unpack(file))
            .and_then(|mut text| skip(text.as_mut(), record));
        match unpacked {
            Ok(Some(_)) => Match::Same,
            Ok(None) => Match::Other,
            Err(_) => Match::Unclear,
        }
    }

    fn plain(&self, record: &Record) -> io::Result<bool> {
        if self.size < record.offset {
            return Ok(false);
        }
        let part = |from: u64, len: u32| -> io::Result<Option<u64>> {
            let mut bytes = vec![0; len as usize];
            Ok((read_at(&self.file, &mut bytes, from)? == bytes.len()).then(|| hash(&bytes)))
        };
        let tail_at = record.offset.saturating_sub(u64::from(record.tail_len));
        Ok((record.head_len == 0 || part(0, record.head_len)? == Some(record.head))
            && (record.tail_len == 0 || part(tail_at, record.tail_len)? == Some(record.tail)))
    }

    /// Whether it begins as another file does, as far as both go; `limit` bytes are looked at.
    pub(crate) fn begins_as(&self, other: &Path) -> bool {
        let limit = usize::try_from(self.size.min(4096)).unwrap_or(4096);
        let (mut mine, mut theirs) = (vec![0; limit], vec![0; limit]);
        let Ok(other) = File::open(other) else {
            return false;
        };
        let n = read_at(&self.file, &mut mine, 0).unwrap_or(0);
        let m = read_at(&other, &mut theirs, 0).unwrap_or(0);
        n > 0 && m >= n && mine.get(..n) == theirs.get(..n)
    }
}

/// Files in the directory of `path` whose names rotation may have made of it, itself too.
pub(crate) fn siblings(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let wanted = family(&name.to_string_lossy());
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut found: Vec<PathBuf> =
        names.filter(|name| family(&name.to_string_lossy()) == wanted).map(|name| directory.join(name)).collect();
    found.sort();
    found
}

/// Whether rotation may have made one of two paths of the other.
pub(crate) fn related(a: &Path, b: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| family(&name.to_string_lossy()));
    a.parent() == b.parent() && name(a) == name(b)
}
