//! Whose content a file holds: a record's, that of a file that is followed, or nobody's.
//!
//! Looks at contents through [`Candidate`]; changes nothing.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{
    family::family,
    foreman::Foreman,
    record::{HEAD, Record, hash},
    search::{Candidate, Match, begin_of, covers, related},
    slot::Slot,
};

/// More files than rotation makes of one.
pub(crate) const LARGE_FAMILY: usize = 64;

/// What is less may be alike by chance where names tell nothing, bytes.
const TELLING: u64 = 64;

/// Whether a file holds what a file that is followed holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Likeness {
    None,
    /// For the time being: waits for a while.
    Perhaps,
    /// It is what was made of one that rotated away and is not finished, that waits for older ones, or that was cut and no
    /// reader has seen it: waits until that is over.
    Copy,
}

impl Foreman {
    /// A lost or finished record of the same family whose content this is. `Unclear` if that cannot be told yet.
    pub(crate) fn content_of(&self, candidate: &Candidate, job: &str, rank: u32) -> Option<(Record, Match)> {
        let mut unclear = None;
        let (mut records, mut others) = (Vec::new(), Vec::new());
        for record in self.book.records(job, |record| {
            record.offset > 0
                && record.rank == rank
                && (record.lost_ms.is_some() || record.finished_at.is_some())
                && !self.slots.contains_key(&record.id)
                && (akin(record, &candidate.path) || is_beside(record, &candidate.path))
        }) {
            let near = akin(&record, &candidate.path);
            (if near { &mut records } else { &mut others }).push(record);
        }
        // Copies have any name. Where many files come and go only those that begin alike are compared.
        let begin = Beginning::of(candidate);
        let others = others.into_iter().filter(|record| record.offset >= TELLING && begin.fits(record));
        records.extend(others.take(LARGE_FAMILY));
        for record in records {
            match candidate.holds(&record) {
                Match::Same if beyond(candidate, &record) => {}
                Match::Same => return Some((record, Match::Same)),
                Match::Unclear => unclear = Some((record, Match::Unclear)),
                Match::Other if candidate.is_shorter(&record) => unclear = Some((record, Match::Shorter)),
                Match::Other | Match::Shorter => {}
            }
        }
        unclear
    }

    /// Whether any record, or a file that is followed, says that something of this content was read.
    pub(crate) fn told(&self, candidate: &Candidate, job: &str, rank: u32) -> Match {
        let records =
            self.book.records(job, |record| record.rank == rank && record.offset > 0 && akin(record, &candidate.path));
        let mut told = Match::Other;
        for record in records {
            match candidate.holds(&record) {
                Match::Same if beyond(candidate, &record) => {}
                Match::Same => return Match::Same,
                Match::Unclear => told = Match::Unclear,
                Match::Other if candidate.is_shorter(&record) => return Match::Same,
                Match::Other | Match::Shorter => {}
            }
        }
        // What was read and is not durable yet.
        let slots = kin(&candidate.path).and_then(|kin| self.by_kin.get(&kin)).into_iter().flatten();
        let read = slots.filter_map(|id| self.slots.get(id)).any(|slot| {
            (&*slot.key.0, slot.key.1) == (job, rank)
                && slot.known.offset > 0
                && candidate.holds(&slot.known) == Match::Same
        });
        if read { Match::Same } else { told }
    }

    /// Whether it is, or may be, a copy of a file that is followed.
    pub(crate) fn likeness(&self, candidate: &Candidate, job: &str, rank: u32) -> Likeness {
        self.likeness_but(candidate, job, rank, None)
    }

    /// The same, but for a file that is followed.
    pub(crate) fn likeness_but(&self, candidate: &Candidate, job: &str, rank: u32, but: Option<u64>) -> Likeness {
        let none = Vec::new();
        let kin = kin(&candidate.path).and_then(|kin| self.by_kin.get(&kin)).unwrap_or(&none);
        let beside = self.beside(candidate, job, rank, kin, but);
        let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
        let mine = name(&candidate.path);
        let each = kin.iter().filter(|id| but != Some(**id)).filter_map(|id| self.slots.get(id)).map(|slot| {
            // In a large family (one file for each of many things) only those count whose name the candidate's continues.
            let near = kin.len() <= LARGE_FAMILY || mine.starts_with(&name(&slot.place));
            if !near || *slot.key.0 != *job || slot.key.1 != rank || slot.known.packed {
                return Likeness::None;
            }
            let waits = slot.waits();
            let copy = if waits { Likeness::Copy } else { Likeness::Perhaps };
            if slot.known.offset == 0 && slot.file.is_none() {
                // It is being read for the first time: what of it, is known when it comes back.
                return Likeness::Copy;
            }
            let file = slot.open();
            // What lies there now is not what is known of it: it was cut, and no reader has seen that yet.
            let cut = file.as_deref().is_some_and(|file| !covers(file, &slot.known).unwrap_or(true));
            if slot.known.offset > 0 {
                match candidate.holds(&slot.known) {
                    // Of an original that was cut this is what is left, however long it takes until that is seen.
                    Match::Same if cut => return Likeness::Copy,
                    Match::Same => return copy,
                    Match::Unclear => return Likeness::Perhaps,
                    // Its last lines were written, and read, before the original was cut.
                    Match::Other if cut && candidate.may_be_shorter(&slot.known) => return Likeness::Copy,
                    Match::Other | Match::Shorter => {}
                }
            }
            // It holds less than a line, or what nobody knows yet: that will be read from its beginning.
            let begin = file.as_deref().map(begin_of).unwrap_or_default();
            let unread = cut || slot.known.offset == 0;
            if unread && !begin.is_empty() && candidate.begins_with(&begin) != Some(false) {
                return if cut { Likeness::Copy } else { copy };
            }
            // A copy that is not finished.
            let live = candidate.size == 0 || candidate.grows_to(&slot.known, &begin);
            if live && !slot.detached { Likeness::Perhaps } else { Likeness::None }
        });
        each.max().unwrap_or(Likeness::None).max(beside)
    }

    /// Whether all that is in it is the beginning of a file that is followed, and was read there: as long as that is so, no
    /// line in it is news.
    pub(crate) fn is_whole_copy(&self, candidate: &Candidate, job: &str, rank: u32) -> bool {
        let begin = Beginning::of(candidate);
        if begin.unknown || begin.bytes.len() < HEAD {
            return false;
        }
        let near = self.neighbours.near(&candidate.path, begin.head());
        let slots = near.into_iter().filter_map(|id| self.slots.get(&id));
        let mut slots = slots.filter(|slot| {
            (&*slot.key.0, slot.key.1) == (job, rank)
                && (slot.key.2, slot.key.3) != (candidate.device, candidate.inode)
                && !slot.known.packed
                && slot.known.offset >= candidate.size
                && begin.fits(&slot.known)
        });
        slots.any(|slot| {
            let file = slot.open().filter(|file| covers(file, &slot.known).unwrap_or(false));
            file.is_some_and(|file| candidate.is_beginning_of(&file).unwrap_or(false))
        })
    }

    /// The same for files of the directory whose names are no kin of the candidate's: only what tells.
    fn beside(&self, candidate: &Candidate, job: &str, rank: u32, kin: &[u64], but: Option<u64>) -> Likeness {
        let head = Beginning::of(candidate).head();
        let is_kin = |id: &u64, slot: &Slot| match kin.len() <= LARGE_FAMILY {
            true => kin.contains(id),
            false => akin(&slot.known, &candidate.path) || related(&slot.place, &candidate.path),
        };
        let near = self.neighbours.near(&candidate.path, head).into_iter().filter(|id| but != Some(*id));
        let others = near.filter_map(|id| Some((id, self.slots.get(&id)?)));
        let others = others
            .filter(|(id, slot)| (&*slot.key.0, slot.key.1) == (job, rank) && !slot.known.packed && !is_kin(id, slot));
        let each = others.map(|(_, slot)| {
            if slot.known.offset < TELLING && slot.file.is_none() {
                return Likeness::Copy;
            }
            let file = slot.open();
            let cut = file.as_deref().is_some_and(|file| !covers(file, &slot.known).unwrap_or(true));
            // What will be read of it.
            let begin = file.as_deref().map(begin_of).unwrap_or_default();
            let tells = begin.len() as u64 >= TELLING && candidate.size >= TELLING;
            let unread = (cut || slot.known.offset < TELLING) && tells && candidate.begins_with(&begin) != Some(false);
            let read = slot.known.offset >= TELLING && candidate.holds(&slot.known) == Match::Same;
            // A copy that is not finished, or that lacks what was written since.
            let part = candidate.size >= HEAD as u64 && candidate.may_be_shorter(&slot.known);
            match (unread || read || part, cut || slot.waits()) {
                (false, _) => Likeness::None,
                (true, false) => Likeness::Perhaps,
                (true, true) => Likeness::Copy,
            }
        });
        each.max().unwrap_or(Likeness::None)
    }
}

/// Files that are followed, by directory: which of them are worth a comparison with one beside them. In a directory of many
/// that are those whose head is the same, or of which nothing is known yet, if these are few.
#[derive(Default)]
pub(crate) struct Neighbours {
    all: HashMap<PathBuf, Vec<u64>>,
    unread: HashMap<PathBuf, Vec<u64>>,
    /// By directory and the hash of a whole head.
    heads: HashMap<(PathBuf, u64), Vec<u64>>,
}

impl Neighbours {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn note(&mut self, directory: &Path, id: u64, known: &Record) {
        let ids = self.all.entry(directory.to_owned()).or_default();
        if ids.last() == Some(&id) {
            return;
        }
        ids.push(id);
        if known.offset < TELLING {
            self.unread.entry(directory.to_owned()).or_default().push(id);
        } else if known.head_len as usize == HEAD {
            self.heads.entry((directory.to_owned(), known.head)).or_default().push(id);
        }
    }

    /// Those in the directory of `path` that may hold what a file does whose head is that.
    fn near(&self, path: &Path, head: Option<u64>) -> Vec<u64> {
        let few = |ids: &&Vec<u64>| ids.len() <= LARGE_FAMILY;
        let Some((directory, all)) = path.parent().and_then(|directory| self.all.get_key_value(directory)) else {
            return Vec::new();
        };
        if few(&all) {
            return all.clone();
        }
        let alike = head.and_then(|head| self.heads.get(&(directory.clone(), head))).into_iter().flatten();
        let unread = self.unread.get(directory).filter(few).into_iter().flatten();
        alike.take(LARGE_FAMILY).chain(unread).copied().collect()
    }
}

/// How a file begins that is compared with many records, so that each costs no look at the file.
struct Beginning {
    bytes: Vec<u8>,
    /// Of a compressed file its bytes say nothing.
    unknown: bool,
    whole: u64,
}

impl Beginning {
    fn of(candidate: &Candidate) -> Self {
        let bytes = begin_of(&candidate.file);
        Self { unknown: candidate.packing().is_some(), whole: hash(&bytes), bytes }
    }

    /// Its hash, if there is as much of it as heads have at most.
    fn head(&self) -> Option<u64> {
        (!self.unknown && self.bytes.len() == HEAD).then_some(self.whole)
    }

    /// Whether a record's content begins so.
    fn fits(&self, record: &Record) -> bool {
        let same = |head: &[u8]| match head.len() == self.bytes.len() {
            true => self.whole == record.head,
            false => hash(head) == record.head,
        };
        self.unknown || record.packed || self.bytes.get(..record.head_len as usize).is_some_and(same)
    }
}

/// In one directory with what a record knows.
fn is_beside(record: &Record, path: &Path) -> bool {
    record.real_path().parent() == path.parent() || Path::new(&record.path).parent() == path.parent()
}

/// A short content that nothing more was expected of, and a file that goes on where it ends: another one that begins alike.
fn beyond(candidate: &Candidate, record: &Record) -> bool {
    record.is_finished() && (record.head_len as usize) < HEAD && !candidate.ends_with(record)
}

/// Directory and family of a path.
pub(crate) fn kin(path: &Path) -> Option<(PathBuf, String)> {
    Some((path.parent()?.to_owned(), family(&path.file_name()?.to_string_lossy())))
}

/// Whether rotation may have made a path of what a record knows.
pub(crate) fn akin(record: &Record, path: &Path) -> bool {
    related(record.real_path(), path) || related(Path::new(&record.path), path)
}
