//! Whose content a file holds: a record's, that of a file that is followed, or nobody's.
//!
//! Looks at contents through [`Candidate`]; changes nothing.

use std::path::{Path, PathBuf};

use crate::{
    family::family,
    foreman::Foreman,
    record::{HEAD, Record},
    search::{Candidate, Match, begin_of, covers, related},
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
        // Copies have any name; but where many files come and go the names decide.
        records.extend(others.into_iter().filter(|record| record.offset >= TELLING).take(LARGE_FAMILY));
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

    /// The same for files of the directory whose names are no kin of the candidate's: only what tells.
    fn beside(&self, candidate: &Candidate, job: &str, rank: u32, kin: &[u64], but: Option<u64>) -> Likeness {
        let directory = candidate.path.parent().and_then(|directory| self.by_directory.get(directory));
        let ids = directory.filter(|ids| ids.len() <= LARGE_FAMILY).into_iter().flatten();
        let others = ids.filter(|id| !kin.contains(id) && but != Some(**id)).filter_map(|id| self.slots.get(id));
        let each = others.filter(|slot| (&*slot.key.0, slot.key.1) == (job, rank) && !slot.known.packed).map(|slot| {
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
