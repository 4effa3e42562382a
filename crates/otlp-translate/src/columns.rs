//! Samples in columns, as the queue keeps them.
//!
//! Keeps true: a series is in a batch once (a second point of it begins another batch); a batch has samples of one resource.

use std::collections::HashSet;

use model::{
    BaseVector, EncodedTable, Labels, MetricBatch, MetricChunk, MetricType, ModelError, Presence, SeriesTableBuilder,
    Timestamps,
};

/// Tables in one batch at most: what the queue takes in one record.
const MOST_CHUNKS: usize = 4;

/// Samples of one resource: owns what a `model::MetricBatch` borrows.
#[derive(Debug)]
pub struct SampleBatch {
    stream: u64,
    chunks: Vec<Column>,
    base: BaseVector,
}

#[derive(Debug)]
struct Column {
    table: EncodedTable,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl SampleBatch {
    /// For the queue.
    pub fn borrowed(&self) -> MetricBatch<'_> {
        let chunks = self.chunks.iter().map(|column| MetricChunk {
            table: &column.table,
            base: &self.base,
            present: Presence::All,
            timestamps: Timestamps::Each(&column.times),
            values: &column.values,
        });
        MetricBatch { stream: self.stream, chunks: chunks.collect() }
    }

    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.chunks.iter().map(|column| column.values.len()).sum()
    }
}

/// A metric's family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family<'a> {
    pub name: &'a str,
    pub kind: MetricType,
    pub help: &'a str,
    pub unit: &'a str,
}

/// Samples of one resource on their way into batches.
#[derive(Debug)]
pub(crate) struct Columns {
    stream: u64,
    done: Vec<SampleBatch>,
    chunks: Vec<Column>,
    table: SeriesTableBuilder,
    times: Vec<i64>,
    values: Vec<f64>,
    seen: HashSet<Labels>,
}

impl Columns {
    pub(crate) fn new(stream: u64) -> Self {
        Self {
            stream,
            done: Vec::new(),
            chunks: Vec::new(),
            table: SeriesTableBuilder::new(),
            times: Vec::new(),
            values: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Adds a sample. False: its labels are more than a series may have.
    pub(crate) fn push(&mut self, family: Family<'_>, labels: Labels, time: i64, value: f64) -> bool {
        if self.seen.contains(&labels) {
            self.close_batch();
        }
        for _ in 0..2 {
            let number = self.table.family(family.name, family.kind, family.help, family.unit);
            match self.table.push(number, &labels) {
                Ok(_) => {
                    self.times.push(time);
                    self.values.push(value);
                    self.seen.insert(labels);
                    return true;
                }
                Err(ModelError::TableFull) => self.close_table(),
                Err(_) => return false,
            }
        }
        false
    }

    pub(crate) fn finish(mut self) -> Vec<SampleBatch> {
        self.close_batch();
        self.done
    }

    fn close_table(&mut self) {
        let table = std::mem::take(&mut self.table);
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        if !values.is_empty() {
            self.chunks.push(Column { table: table.build(), times, values });
        }
        if self.chunks.len() >= MOST_CHUNKS {
            self.close_chunks();
        }
    }

    fn close_batch(&mut self) {
        self.close_table();
        self.close_chunks();
        self.seen.clear();
    }

    fn close_chunks(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        if !chunks.is_empty() {
            self.done.push(SampleBatch { stream: self.stream, chunks, base: BaseVector::none() });
        }
    }
}
