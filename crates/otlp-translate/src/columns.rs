//! Samples in columns, as the queue keeps them.
//!
//! Values are samples or native histograms, which go into batches of their own. Keeps true: a series is in a batch once (a second point of it begins another batch); a batch has samples of one resource.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use model::{
    BaseVector, EncodedTable, HistogramBatch, HistogramChunk, Labels, MetricBatch, MetricChunk, MetricType, ModelError,
    Presence, SeriesTableBuilder, Timestamps,
};

/// Tables in one batch at most: what the queue takes in one record.
const MOST_CHUNKS: usize = 4;

/// Bytes of native histograms after which a batch is full, well below what a record holds.
const MOST_BYTES: usize = 2 << 20;

/// Values of one resource: owns what a `model::MetricBatch` borrows, or a `model::HistogramBatch`.
#[derive(Debug)]
pub struct Batch<V> {
    stream: u64,
    chunks: Vec<Column<V>>,
    base: BaseVector,
}

/// Samples of one resource.
pub type SampleBatch = Batch<f64>;

/// Native histograms of one resource.
pub type NativeBatch = Batch<Vec<u8>>;

#[derive(Debug)]
struct Column<V> {
    table: EncodedTable,
    times: Vec<i64>,
    values: Vec<V>,
}

impl NativeBatch {
    /// For the queue.
    pub fn borrowed(&self) -> HistogramBatch<'_> {
        let chunks = self.chunks.iter().map(|column| HistogramChunk {
            table: &column.table,
            timestamps: &column.times,
            histograms: &column.values,
        });
        HistogramBatch { stream: self.stream, chunks: chunks.collect() }
    }
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

/// What a column holds.
pub(crate) trait Value {
    /// Bytes that it takes in a record, where they matter.
    fn bytes(&self) -> usize;

    /// The same for the same value.
    fn mark(&self) -> u64;
}

impl Value for f64 {
    fn bytes(&self) -> usize {
        0
    }

    fn mark(&self) -> u64 {
        self.to_bits()
    }
}

impl Value for Vec<u8> {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// What one request says, so that it does not contradict itself.
#[derive(Debug, Default)]
pub(crate) struct Said {
    series: HashMap<Labels, Points>,
    batches: u64,
}

#[derive(Debug)]
struct Points {
    /// The batch of the last one.
    batch: u64,
    /// Its time and [`Value::mark`].
    first: (i64, u64),
    more: HashMap<i64, u64>,
}

impl Said {
    fn next_batch(&mut self) -> u64 {
        self.batches += 1;
        self.batches
    }
}

/// Why a value is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Its labels are more than a series may have.
    TooLarge,
    /// The same request has another value of the series at that time.
    Conflict,
}

/// Values of one resource on their way into batches.
#[derive(Debug)]
pub(crate) struct Columns<V> {
    stream: u64,
    done: Vec<Batch<V>>,
    chunks: Vec<Column<V>>,
    table: SeriesTableBuilder,
    times: Vec<i64>,
    values: Vec<V>,
    /// Of the batch under way.
    bytes: usize,
    batch: u64,
}

impl<V: Value> Columns<V> {
    pub(crate) fn new(stream: u64, said: &mut Said) -> Self {
        Self {
            stream,
            done: Vec::new(),
            chunks: Vec::new(),
            table: SeriesTableBuilder::new(),
            times: Vec::new(),
            values: Vec::new(),
            bytes: 0,
            batch: said.next_batch(),
        }
    }

    /// Adds a value. What was said before, at that time and of that series, is not said again.
    pub(crate) fn push(
        &mut self,
        said: &mut Said,
        family: Family<'_>,
        labels: Labels,
        time: i64,
        value: V,
    ) -> Result<(), NotTaken> {
        let point = (time, value.mark());
        let known = said.series.get(&labels);
        if let Some(known) = known {
            let (first, mark) = &known.first;
            if let Some(mark) = if *first == time { Some(mark) } else { known.more.get(&time) } {
                return if *mark == point.1 { Ok(()) } else { Err(NotTaken::Conflict) };
            }
        }
        if known.is_some_and(|known| known.batch == self.batch) || self.bytes > MOST_BYTES {
            self.close_batch(said);
        }
        for _ in 0..2 {
            let number = self.table.family(family.name, family.kind, family.help, family.unit);
            match self.table.push(number, &labels) {
                Ok(_) => {
                    self.times.push(time);
                    self.bytes += value.bytes();
                    self.values.push(value);
                    match said.series.get_mut(&labels) {
                        Some(points) => {
                            points.batch = self.batch;
                            points.more.insert(point.0, point.1);
                        }
                        None => {
                            let points = Points { batch: self.batch, first: point, more: HashMap::new() };
                            said.series.insert(labels, points);
                        }
                    }
                    return Ok(());
                }
                Err(ModelError::TableFull) => self.close_table(),
                Err(_) => return Err(NotTaken::TooLarge),
            }
        }
        Err(NotTaken::TooLarge)
    }

    pub(crate) fn finish(mut self) -> Vec<Batch<V>> {
        self.close_table();
        self.close_chunks();
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

    fn close_batch(&mut self, said: &mut Said) {
        self.close_table();
        self.close_chunks();
        self.batch = said.next_batch();
    }

    fn close_chunks(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        if !chunks.is_empty() {
            self.bytes = 0;
            self.done.push(Batch { stream: self.stream, chunks, base: BaseVector::none() });
        }
    }
}
