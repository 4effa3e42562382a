//! The systemd journal, read through `journalctl`: no libsystemd, and no end without a word.
//!
//! The child follows the journal in the export format. Keeps true: an entry's cursor goes into the queue with its line; a
//! child that ends or hangs is told, counted and started again behind the last entry; a missing program is a state that is
//! looked at again, not an end.

mod child;
mod entry;
mod export;
mod place;
mod reader;

pub use reader::{JournalConfig, JournalReader};
