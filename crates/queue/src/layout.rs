//! Which entries of the queue's directories are its own, by one set of rules for the agent that opens the queue and for whoever
//! only looks. Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::LaneId;
use crate::disk::Disk;
use crate::error::QueueError;

const OWN: [&str; 4] = ["LOCK", "lanes", "cursors", "quarantine"];

/// The lanes that have a directory, and what lies beside them.
pub(crate) struct LaneDirectories {
    pub lanes: Vec<(LaneId, PathBuf)>,
    pub foreign: Vec<PathBuf>,
}

/// What is in the directory `lanes`.
pub(crate) fn lanes(disk: &Arc<dyn Disk>, dir: &Path) -> Result<LaneDirectories, QueueError> {
    let names = names(disk, dir)?;
    let mut out = LaneDirectories { lanes: Vec::new(), foreign: Vec::new() };
    for (name, _) in names {
        let path = dir.join(&name);
        match LaneId::new(&name).ok().filter(|_| disk.list(&path).is_ok()) {
            Some(id) => out.lanes.push((id, path)),
            None => out.foreign.push(path),
        }
    }
    Ok(out)
}

/// The names in a directory; none where it is not there.
pub(crate) fn names(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<(String, u64)>, QueueError> {
    match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| QueueError::io("list directory", dir, source)),
    }
}

/// Entries of the queue's own directory and of `quarantine` that are not its own.
pub(crate) fn strays(disk: &Arc<dyn Disk>, directory: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| disk.list(dir).unwrap_or_default();
    let mut out: Vec<PathBuf> = list(directory)
        .into_iter()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, _)| directory.join(name))
        .collect();
    let quarantine = directory.join("quarantine");
    let copies = list(&quarantine).into_iter();
    out.extend(copies.map(|(name, _)| quarantine.join(name)).filter(|path| !is_copy(disk, path)));
    out
}

/// True for a file that holds a copy of a damaged range.
pub(crate) fn is_copy(disk: &Arc<dyn Disk>, path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "bad") && disk.list(path).is_err()
}
