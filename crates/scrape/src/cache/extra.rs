//! Further samples of a series within one scrape, which only explicit timestamps allow.
//!
//! A column has one place for each series, so these go into tables of their own that list a series once for each of
//! its further samples, in the order of the body.

use model::{BaseVector, EncodedTable, Labels, MetricChunk, Presence, SeriesTableBuilder, Timestamps};

use super::chunk::Chunk;

#[derive(Debug, Default)]
pub(super) struct Extras {
    found: Vec<Extra>,
    tables: Vec<ExtraTable>,
    base: BaseVector,
}

#[derive(Debug, Clone, Copy)]
struct Extra {
    slot: u32,
    time: i64,
    value: f64,
}

#[derive(Debug)]
struct ExtraTable {
    table: EncodedTable,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Extras {
    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.tables.clear();
    }

    /// Time of the last sample found, if it is this slot's.
    pub(super) fn last_time(&self, slot: u32) -> Option<i64> {
        self.found.last().filter(|extra| extra.slot == slot).map(|extra| extra.time)
    }

    pub(super) fn add(&mut self, slot: u32, time: i64, value: f64) {
        self.found.push(Extra { slot, time, value });
    }

    /// Makes the tables, once the chunks are final.
    pub(super) fn seal(&mut self, chunks: &[Chunk]) {
        if self.found.is_empty() {
            return;
        }
        // Each chunk's table is decoded once for a run of its samples.
        let mut current = None;
        let mut builder = SeriesTableBuilder::new();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for extra in &self.found {
            let slot = extra.slot as usize;
            let at = chunks.partition_point(|chunk| chunk.start <= slot).checked_sub(1);
            let Some((at, chunk)) = at.and_then(|at| Some((at, chunks.get(at)?))) else {
                continue;
            };
            if current.as_ref().is_none_or(|(known, _)| *known != at) {
                let Some(series) = chunk.series() else {
                    continue;
                };
                current = Some((at, series));
            }
            let Some((_, series)) = &current else {
                continue;
            };
            let index = slot - chunk.start;
            let labels: Labels = series.label_set(index);
            let family = series.family(index);
            let number = builder.family(family.name, family.kind, family.help, family.unit);
            if builder.push(number, &labels).is_err() {
                let full = std::mem::take(&mut builder);
                self.tables.push(ExtraTable {
                    table: full.build(),
                    times: std::mem::take(&mut times),
                    values: std::mem::take(&mut values),
                });
                let number = builder.family(family.name, family.kind, family.help, family.unit);
                if builder.push(number, &labels).is_err() {
                    continue;
                }
            }
            times.push(extra.time);
            values.push(extra.value);
        }
        if !builder.is_empty() {
            self.tables.push(ExtraTable { table: builder.build(), times, values });
        }
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = MetricChunk<'_>> {
        self.tables.iter().map(|extra| MetricChunk {
            table: &extra.table,
            base: &self.base,
            present: Presence::All,
            timestamps: Timestamps::Each(&extra.times),
            values: &extra.values,
        })
    }
}
