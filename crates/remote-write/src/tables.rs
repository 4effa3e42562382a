//! One destination's series tables, as it sends them: made once per table, kept while they are used.
//!
//! It reads no disk (the caller brings the bytes). It keeps true: at most `max_bytes` are held; a table unused for
//! `max_idle` goes.

use std::{sync::Arc, time::Duration};

use hashbrown::HashMap;
use model::{ContextKey, Labels, ModelError, SeriesTable};
use parking_lot::Mutex;
use relabel::Rule;
use tokio::time::Instant;

use crate::{
    metadata::MetadataBook,
    wire::table::{WireTable, WireTableBuilder},
};

/// What a destination does to every series.
#[derive(Debug, Clone, Default)]
pub struct Rewrite {
    /// Added where missing.
    pub external_labels: Labels,
    /// Then these.
    pub write_relabel: Vec<Rule>,
}

impl Rewrite {
    /// Makes a table as this destination sends it.
    pub fn apply(&self, table: &SeriesTable) -> WireTable {
        if self.write_relabel.is_empty() { self.merged(table) } else { self.relabelled(table) }
    }

    /// Pair ids are merged with the external labels; no text is looked at but names.
    fn merged(&self, table: &SeriesTable) -> WireTable {
        let mut builder = WireTableBuilder::new();
        for (_, id) in (0..table.pairs()).zip(0u16..=u16::MAX) {
            let (name, value) = table.pair(id);
            builder.add_pair(name, value);
        }
        let external: Vec<(&str, u32)> =
            self.external_labels.iter().map(|(name, value)| (name, builder.add_pair(name, value))).collect();
        let mut ids: Vec<u32> = Vec::new();
        for series in 0..table.series() {
            ids.clear();
            let mut external = external.iter().peekable();
            for &id in table.series_pairs(series) {
                let (name, _) = table.pair(id);
                while let Some((_, extra)) = external.next_if(|(extra, _)| *extra < name) {
                    ids.push(*extra);
                }
                external.next_if(|(extra, _)| *extra == name);
                ids.push(u32::from(id));
            }
            ids.extend(external.map(|(_, extra)| *extra));
            builder.add_series((!ids.is_empty()).then_some(ids.iter().copied()));
        }
        builder.build()
    }

    fn relabelled(&self, table: &SeriesTable) -> WireTable {
        let mut builder = WireTableBuilder::new();
        for series in 0..table.series() {
            let mut labels: Labels = self.external_labels.clone();
            for &id in table.series_pairs(series) {
                let (name, value) = table.pair(id);
                labels.set(name, value);
            }
            let kept = relabel::process(&mut labels, &self.write_relabel) && !labels.is_empty();
            let ids: Vec<u32> = labels.iter().map(|(name, value)| builder.intern(name, value)).collect();
            builder.add_series(kept.then_some(ids));
        }
        builder.build()
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct WireTables {
    rewrite: Rewrite,
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
    pub(crate) fn new(rewrite: Rewrite, families: Option<Arc<MetadataBook>>, max_bytes: usize, max_idle: Duration) -> Self {
        Self { rewrite, families, cache: Mutex::default(), max_bytes, max_idle }
    }

    pub(crate) fn get(&self, key: &ContextKey) -> Option<Arc<WireTable>> {
        let mut cache = self.cache.lock();
        let entry = cache.tables.get_mut(key)?;
        entry.last_used = Instant::now();
        Some(Arc::clone(&entry.table))
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
        let mut uses: Vec<(Instant, ContextKey)> = self.tables.iter().map(|(key, entry)| (entry.last_used, *key)).collect();
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
