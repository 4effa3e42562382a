//! What one destination makes of a series table: external labels where missing, then its relabel rules.
//!
//! Runs once per table, never per sample. It keeps true: labels stay in name order, and a series without labels is dropped.

use model::{Labels, SeriesTable};
use relabel::Rule;

use super::table::{WireTable, WireTableBuilder};

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
