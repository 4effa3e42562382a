//! What lies in the directory of cursor files, by one set of rules for the agent that opens the queue and for whoever only looks.
//!
//! Changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{Newest, is_no_file, newest};
use crate::disk::Disk;
use crate::error::QueueError;
use crate::layout;

/// One entry.
pub(crate) enum CursorEntry {
    /// The newest valid slot.
    Valid(Newest),
    /// A file under a cursor file's name, and neither slot is valid.
    Damaged,
    /// What a write that was under way left.
    Draft,
    /// Not the queue's: another name, a directory, a link to nothing, a second file of the same destination.
    Foreign,
}

/// The entries by name.
pub(crate) fn survey(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<(PathBuf, CursorEntry)>, QueueError> {
    let list = || layout::names(disk, dir);
    let mut destinations = BTreeSet::new();
    let mut out = Vec::new();
    for (name, _) in list()? {
        let path = dir.join(&name);
        if !name.ends_with(".cur") || disk.list(&path).is_ok() {
            let draft = name.ends_with(".cur.tmp") && disk.list(&path).is_err();
            out.push((path, if draft { CursorEntry::Draft } else { CursorEntry::Foreign }));
            continue;
        }
        let entry = match disk.open(&path) {
            Ok(file) => match newest(file.as_ref(), &path)? {
                Some(found) if destinations.insert(found.slot.destination.clone()) => CursorEntry::Valid(found),
                Some(_) => CursorEntry::Foreign,
                None => CursorEntry::Damaged,
            },
            Err(error) if is_no_file(&error) => {
                // Its destination may have been removed while this ran.
                if list()?.iter().all(|(held, _)| *held != name) {
                    continue;
                }
                CursorEntry::Foreign
            }
            Err(source) => return Err(QueueError::io("read cursor file", &path, source)),
        };
        out.push((path, entry));
    }
    Ok(out)
}
