//! What is remembered of a target between scrapes, so that the next body is mostly recognised and not parsed.
//!
//! A target answers nearly the same text each time. Per line the cache holds a fingerprint of its series bytes, which
//! line followed it last time, and which column slot its value goes to. A scrape walks the body with a cursor: where
//! the expected line's bytes stand, only the number is read. Anything else is looked up by fingerprint, and what that
//! does not find is parsed, relabelled and given a slot. Both ways end in the same slot, so the result is the same.
//!
//! **Fingerprint or raw bytes.** Length and 96 bits of a seeded XXH3 stand for the bytes: 16 bytes a line instead of
//! the 90 to 110 of the bytes themselves. Measured for lines of 106 bytes (`benches/parse.rs`, group `position`): 12.6
//! against 4.6 ns a line with one target in the processor's caches, 11.5 against 7.1 with a hundred targets in turn,
//! when the copies of the text come from memory; the whole hot path is 34 ns. With a goal of 100 to 130 bytes a series
//! for the whole agent the copies do not fit. The seed is random for each cache, so that no target can prepare
//! two series that look alike; by chance two lines of equal length do with 2^-96.
//!
//! **Memory per active series**, heap of the source side: line 24 B (fingerprint 16, successor 4, slot 4), value 8,
//! base 8 and up to 5 encoded, marks 1, table 2-20 encoded: 46 B measured on the body of `tests/cache_memory.rs`, more where
//! label values do not compress. The hash indexes (about 8 and 30 B) exist only while a target's text changes.
//!
//! **Churn.** Series live in chunks of at most 512, each with its table and base. New series go to the last chunk while
//! it is small, else to a new one; a chunk is rebuilt when a quarter of it is dead, small chunks are merged. Both
//! happen before the next scrape, so the batch that marks a series stale can still name it.
//!
//! What it does not do: fetch, keep time, decide when a target is gone. An error leaves it as it was.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

mod admission;
mod bits;
mod chunk;
mod describe;
mod error;
mod extra;
mod families;
mod ingest;
mod lines;
mod newcomers;
mod output;
mod report;
mod slots;
mod tidy;
mod walk;

use std::sync::Arc;

use model::Labels;
use relabel::Rule;

use self::{
    admission::Admission, chunk::Chunk, extra::Extras, families::Digest, lines::Lines, newcomers::Newcomers,
    report::Report, slots::Slots,
};
use crate::config::Limits;
pub use error::{IngestError, IngestFault};

/// What a scrape job says about the samples of one target.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub metric_relabel: Arc<[Rule]>,
    pub limits: Limits,
    /// Labels of the target after relabelling; those that start with `__` are not put on samples.
    pub target_labels: Labels,
}

/// Counts of one scrape, as the report series want them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ingested {
    /// Samples exposed (`scrape_samples_scraped`).
    pub scraped: u32,
    /// Those left after metric relabelling, repeats included (`scrape_samples_post_metric_relabeling`).
    pub post_relabel: u32,
    /// Series that the previous successful scrape did not have (`scrape_series_added`).
    pub added: u32,
    /// Samples left out because the series already had one at that time in this scrape.
    pub duplicates: u32,
    /// Samples left out because their timestamp is more than ten minutes ahead of the scrape.
    pub out_of_bounds: u32,
}

/// Everything remembered of one target. One owner: the target's scrape loop.
///
/// ```text
/// ingest ok  -> batch(report)      the samples, markers for series that vanished, the report series
/// ingest err -> fail -> batch      markers for everything the previous successful scrape had, the report series
/// end        -> batch              markers for everything, the report series included
/// stop       -> batch              the same, and for series with timestamps of their own
/// ```
#[derive(Debug)]
pub struct ScrapeCache {
    stream: u64,
    admission: Admission,
    lines: Lines,
    slots: Slots,
    chunks: Vec<Chunk>,
    newcomers: Newcomers,
    extras: Extras,
    report: Report,
    /// What the last successful scrape said of its families, and whether it contradicted itself.
    digest: Option<Digest>,
    contradictory: bool,
    /// Runs of comments in it.
    comments: usize,
    phase: Phase,
    /// Timestamp of the scrape being answered, ms.
    stamp: i64,
    /// The lines' marks tell what the last scrape had.
    lines_current: bool,
    by_position: bool,
}

/// What `batch` is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Scraped,
    Failed,
    Ended,
}

impl ScrapeCache {
    /// `stream` names the target in the queue: batches of one stream stay in order.
    pub fn new(stream: u64, config: CacheConfig) -> Self {
        let report = Report::new(&config.target_labels);
        Self {
            stream,
            admission: Admission::new(config),
            lines: Lines::new(fastrand::u64(..)),
            slots: Slots::default(),
            chunks: Vec::new(),
            newcomers: Newcomers::new(fastrand::u64(..)),
            extras: Extras::default(),
            report,
            digest: None,
            contradictory: false,
            comments: 0,
            phase: Phase::Idle,
            stamp: 0,
            lines_current: false,
            by_position: true,
        }
    }

    /// Turns recognition off: every line of every scrape is parsed and relabelled anew. For tests and benches that
    /// compare the two ways.
    pub fn without_recognition(mut self) -> Self {
        self.by_position = false;
        self
    }

    /// Series of the previous successful scrape.
    pub fn series(&self) -> usize {
        self.slots.known.count()
    }

    /// Bytes of heap held, table bytes included.
    pub fn heap_bytes(&self) -> usize {
        self.lines.heap_bytes()
            + self.slots.heap_bytes()
            + self.newcomers.heap_bytes()
            + self.chunks.iter().map(Chunk::heap_bytes).sum::<usize>()
    }
}
