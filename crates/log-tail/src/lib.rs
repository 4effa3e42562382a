//! Reads log files: every byte once into the queue, through rotation, truncation and kills.
//!
//! [`Tail::spawn`] runs one route. Each [`FileJob`] gets the groups that discovery found; relabelling makes patterns and
//! labels of them; the *foreman* (a thread) looks which files match and who they are; a few *reader* threads take turns at
//! the files that have something new, cut lines and append batches to the route's lane. Each batch carries the position
//! behind it, so position and lines become durable in one write; the [`Book`] remembers them, and writes its own state
//! file and Promtail's positions file now and then.
//!
//! A file is not its path. What is known of a *content* is a *record*: device and inode of the file it lay in last, a
//! hash of its head (what was read of the first 1024 bytes of text), a hash of the 64 bytes before the position, the
//! position, the path it was met under, and when it was last seen there. The rules, in the order in which they are asked:
//!
//! 1. *Same file.* A file whose device and inode a record names is that content if head and tail say so; inodes are given
//!    out again, so they prove nothing alone. Both are compared again with each read (the tail in the call that reads on, the
//!    head behind it), so a file that was cut or written anew begins at its beginning as another content, even if it has outgrown the old
//!    position.
//! 2. *Same content.* What a record covers that is not in its place any more is looked for among the siblings of its path
//!    (names that rotation may have made of one another), by device and inode first, then by content: as it is, or as what a
//!    compressed file unpacks to. One that head and tail name is found by device and inode under any name in
//!    the directory. The first that holds head and tail is read on from the position; a copy that lacks the end of what was read is
//!    read on from its own end. A file that was written anew in place is asked the same before it is read from its beginning. A content of less than 1024
//!    bytes that nothing more was expected of must also end there: many files begin with the same words.
//! 3. *No record.* A file that matches and that no record knows is new, and is read from its beginning, unless it may be a
//!    copy. While it holds what a live file holds (or begins as one of which nothing is known yet) it waits: for `suspicion`
//!    if the original is in its place, until that is finished if it has rotated away, until a reader has seen it if it was cut.
//!    Its size must be what it was when it was compared. One in which there is nothing yet is asked when something is. One
//!    that lacks the end of what was read waits for that, and nobody for it; one that holds nothing else than the beginning of
//!    what was read of a file that is followed waits thirty times `suspicion`.
//! 4. *Between two looks.* A content that came into a path and rotated away again before anybody looked lies in a sibling
//!    that does not match, or that was compressed. It is read if no record covers any part of it, its name was made of the
//!    path's, it was last written since the path was last looked at, and it was made since then or is a file that lay there.
//!    What a target of another job or route wants, or lay in its place, is that job's; one whose discovery has not
//!    spoken is waited for, for a while. Before the ending (`app-20260131.log`) only a
//!    date or a number of three digits counts, and only if nobody wrote it since the path's present file was made. It is read
//!    to its end, and not followed: behind the ending for `drain` longer, before it as long as it was.
//!    Such siblings are looked for after every change of a path's content, at the first look after a start, and while nothing
//!    of the path was read; "last looked at" stays what it was until that search is over and something of every content that
//!    came meanwhile is durable, also across a kill. A path of which nothing is known was last looked at when its pattern was.
//! 5. A record of which nothing was read fits every content; it names a file only if no other record and no live file does.
//!
//! Of contents that rotation made of one another the older is read first: what a survey takes up waits at a gate until older
//! ones of its path or its names were read as far as they went then. Times of the last write tell the age, then numbers and dates
//! in names; where nothing does, files are read side by side. A path's own name is the newest.
//!
//! Routes know nothing of one another but their [`Readership`]: what each wants, so that none takes another's file for a rotated
//! one of its own, and who reads what, so that two who read the same are told of. A file that several want is read by each.
//!
//! What cannot be known: two contents that agree in all that was read of them are one content to these rules (a file that was
//! cut and written anew with exactly the bytes that were read of it, and more, is read on); what rotated away before a
//! pattern was looked up for the first time is not ours; what came and rotated away between two looks is missed if another
//! name than rotation makes of its path was given to it, or if nobody ever met its path, which a wildcard matches, and no file
//! lies there afterwards; a copy made by `copytruncate` lacks what was written between its copying and its cutting.
//!
//! Lines of a job with stages go through a pipeline that their file has to itself. What stages hold back was read and is not in
//! the queue: the position that a batch carries names those lines by place. After a kill they alone are read again, and
//! nothing of what was sent around them. They go on when the file is cut, gone or done, and at a stop. A stop also reads
//! to its end what nobody can open again: a file that was removed, or moved out of its directory.
//!
//! Refuses: to send anything, to keep lines in memory that no stage holds back (a partial line waits in its file; of held lines
//! a job has 64 MiB at most), to read what it does not know to
//! be new: a sibling that looks like a copy of a live file waits until it is clear which one it is.
//!
//! Invariants: memory depends on the number of readers and of files, not on their sizes; one file that cannot be read does
//! not stop another; when the queue has no room, reading stops where it is; notifications only save time, polling is what
//! is relied upon.

mod book;
mod config;
mod error;
mod family;
mod foreman;
mod glob;
mod homecoming;
mod likeness;
mod lines;
mod lookout;
mod metrics;
#[cfg(test)]
mod mishap;
mod order;
mod packing;
mod promtail;
mod reader;
mod readership;
mod record;
#[cfg(test)]
mod rehearsal;
mod search;
mod slot;
mod staged;
mod status;
mod survey;
mod tail;
mod tail_file;
mod target;
mod text;
mod watch;

// What tests outside use, for those that need a hand inside.
#[cfg(test)]
extern crate self as log_tail;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use book::{Book, PositionsConfig};
pub use config::{Decompression, FileJob, Limits, Pace, TailConfig};
pub use error::TailError;
pub use glob::Pattern;
pub use metrics::TailMetrics;
pub use packing::{LOOKS_COMPRESSED, Packing};
pub use readership::Readership;
pub use status::{FileState, FileStatus};
pub use tail::{Groups, Tail};
pub use target::Target;
pub use text::Charset;
