//! One destination's series tables, as it sends them: made once per table, kept while they are used.
//!
//! It reads no disk (the caller brings the bytes). It keeps true: at most `max_bytes` are held; a table unused for
//! `max_idle` goes.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use model::{Audience, ContextKey, ModelError, SeriesTable};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    metadata::MetadataBook,
    wire::{
        rewrite::Rewrite,
        table::{WireTable, WireTableBuilder},
    },
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct WireTables {
    rewrite: Rewrite,
    /// Whether native histograms are sent, and not what stands in for them.
    native_histograms: bool,
    families: Option<Arc<MetadataBook>>,
    cache: Mutex<Cache>,
    max_bytes: usize,
    max_idle: Duration,
}

#[derive(Debug, Default)]
struct Cache {
    tables: HashMap<ContextKey, Entry>,
    bytes: usize,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    table: Arc<WireTable>,
    last_used: Instant,
}

impl WireTables {
    pub(crate) fn new(
        rewrite: Rewrite,
        native_histograms: bool,
        families: Option<Arc<MetadataBook>>,
        max_bytes: usize,
        max_idle: Duration,
    ) -> Self {
        Self { rewrite, native_histograms, families, cache: Mutex::default(), max_bytes, max_idle }
    }

    /// Whether this destination sends samples for this audience.
    pub(crate) fn takes(&self, audience: Audience) -> bool {
        match audience {
            Audience::All => true,
            Audience::WithHistograms => self.native_histograms,
            Audience::WithoutHistograms => !self.native_histograms,
        }
    }

    /// A table that drops every series.
    pub(crate) fn of_nothing(series: u32) -> Arc<WireTable> {
        let mut table = WireTableBuilder::new();
        for _ in 0..series {
            table.add_series(None::<[u32; 0]>);
        }
        Arc::new(table.build())
    }

    pub(crate) fn get(&self, key: &ContextKey) -> Option<Arc<WireTable>> {
        let mut cache = self.cache.lock();
        let entry = cache.tables.get_mut(key)?;
        entry.last_used = Instant::now();
        Some(Arc::clone(&entry.table))
    }

    /// The same for several.
    pub(crate) fn get_all<'k>(&self, keys: impl Iterator<Item = &'k ContextKey>) -> Vec<Option<Arc<WireTable>>> {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        let find = |key| {
            let entry = cache.tables.get_mut(key)?;
            entry.last_used = now;
            Some(Arc::clone(&entry.table))
        };
        keys.map(find).collect()
    }

    /// Decodes, rewrites and remembers a table.
    pub(crate) fn make(&self, key: ContextKey, bytes: &[u8]) -> Result<Arc<WireTable>, ModelError> {
        let decoded = SeriesTable::decode(bytes)?;
        let table = Arc::new(self.rewrite.apply(&decoded));
        if let Some(families) = &self.families {
            families.note(&decoded, &table);
        }
        let now = Instant::now();
        let mut cache = self.cache.lock();
        cache.bytes += table.memory();
        if let Some(old) = cache.tables.insert(key, Entry { table: Arc::clone(&table), last_used: now }) {
            cache.bytes -= old.table.memory();
        }
        let stale = cache.swept.is_none_or(|at| now - at >= self.max_idle / 4);
        if stale || cache.bytes > self.max_bytes {
            cache.sweep(now, self.max_idle, self.max_bytes);
        }
        Ok(table)
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.cache.lock().bytes
    }
}

impl Cache {
    fn sweep(&mut self, now: Instant, max_idle: Duration, max_bytes: usize) {
        self.swept = Some(now);
        self.tables.retain(|_, entry| now - entry.last_used < max_idle);
        self.bytes = self.tables.values().map(|entry| entry.table.memory()).sum();
        if self.bytes <= max_bytes {
            return;
        }
        // Down to three quarters, so that the sort is paid once in many tables.
        let mut uses: Vec<(Instant, ContextKey)> =
            self.tables.iter().map(|(key, entry)| (entry.last_used, *key)).collect();
        uses.sort_unstable();
        for (_, key) in uses {
            if self.bytes <= max_bytes / 4 * 3 {
                break;
            }
            if let Some(entry) = self.tables.remove(&key) {
                self.bytes -= entry.table.memory();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, MetricType, SeriesTableBuilder};

    use super::*;

    fn encoded(seed: u32) -> model::EncodedTable {
        let mut builder = SeriesTableBuilder::new();
        let family = builder.family("m", MetricType::Counter, "help", "");
        for index in 0..100 {
            let labels: Labels = [("__name__", "m".to_owned()), ("i", format!("{seed}-{index}"))].into_iter().collect();
            builder.push(family, &labels).unwrap();
        }
        builder.build()
    }

    fn make(tables: &WireTables, seed: u32) -> ContextKey {
        let encoded = encoded(seed);
        tables.make(encoded.key(), encoded.bytes()).unwrap();
        encoded.key()
    }

    #[test]
    fn they_stay_within_their_bytes_and_forget_the_longest_unused() {
        let tables = WireTables::new(Rewrite::default(), false, None, 30_000, Duration::from_secs(600));
        let first = make(&tables, 0);
        for seed in 1..100 {
            make(&tables, seed);
            assert!(tables.memory() <= 30_000);
            assert!(tables.get(&first).is_some(), "it is used all the time");
        }
        assert!(tables.get(&encoded(1).key()).is_none());
    }

    #[test]
    fn a_table_unused_for_long_goes_with_the_next_new_one() {
        let tables = WireTables::new(Rewrite::default(), false, None, usize::MAX, Duration::ZERO);
        let first = make(&tables, 0);
        make(&tables, 1);
        assert!(tables.get(&first).is_none());
    }

    #[test]
    fn bytes_that_are_no_table_are_an_error() {
        let tables = WireTables::new(Rewrite::default(), false, None, usize::MAX, Duration::from_secs(1));
        assert!(tables.make(ContextKey::NONE, b"no table").is_err());
        assert_eq!(tables.memory(), 0);
    }
}
