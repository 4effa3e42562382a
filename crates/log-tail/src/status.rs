//! What can be seen of each file from outside.

use std::path::PathBuf;

/// How a file is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// Read as it grows.
    Following,
    /// It rotated away or was deleted; what is left of it is read.
    Draining,
    /// A compressed file that was read to its end.
    Done,
    /// It may be a copy of a live file, or is not finished by its writer: waits until that is clear. Or older files are read first.
    Waiting,
    /// It is compressed, and its job has no `decompression` for it.
    Compressed,
    /// It cannot be opened or read; tried again.
    Failed(String),
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    pub job: String,
    /// As in the label `filename`.
    pub path: String,
    /// Where it lies now.
    pub place: PathBuf,
    pub state: FileState,
    /// Bytes of text handed to the queue.
    pub offset: u64,
    /// Bytes of the file when it was last looked at.
    pub size: u64,
}
