//! A batch payload read back. The layout is told in `batch`.

use std::sync::Arc;

use crate::{
    Audience, BaseVector, ContextKey, EncodedHistograms, ModelError,
    batch::{FLAG_BITMAP, FLAG_EACH, FLAG_NO_BASE, VERSION},
    column, histogram,
    wire::Cursor,
};

const PART: &str = "a metric batch";
/// More than any table has series.
const MAX_SERIES: usize = 4096;

/// Samples of the series of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedChunk {
    pub table: ContextKey,
    /// Series the writer's table has. Compare it with the table's own before using indexes.
    pub series: u32,
    pub present: DecodedPresence,
    pub timestamps: DecodedTimestamps,
    /// Of the present series only, in index order; zeros where there are histograms.
    pub values: Vec<f64>,
    pub audience: Audience,
    /// One for each value if the audience is [`Audience::WithHistograms`], else none.
    pub histograms: EncodedHistograms,
}

/// Which series have a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedPresence {
    All,
    /// Series i is bit `i % 64` of word `i / 64`; as many words as the series need, no bit past the last series.
    Bits(Vec<u64>),
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedTimestamps {
    Common(i64),
    /// Of the present series only, in index order.
    Each(Vec<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodedSample {
    /// Series index in the table.
    pub series: u32,
    pub timestamp_ms: i64,
    pub value: f64,
}

impl DecodedChunk {
    /// Number of samples.
    pub fn items(&self) -> usize {
        self.values.len()
    }

    /// Indexes of the present series, ascending.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        let words = match &self.present {
            DecodedPresence::All => &[][..],
            DecodedPresence::Bits(words) => words,
        };
        let all = if matches!(self.present, DecodedPresence::All) { self.series } else { 0 };
        (0..all).chain(words.iter().zip(0u32..).flat_map(|(word, at)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros();
                left &= left - 1;
                Some(at * 64 + bit)
            })
        }))
    }

    pub fn samples(&self) -> impl Iterator<Item = DecodedSample> + '_ {
        self.indexes().zip(&self.values).enumerate().map(|(at, (series, value))| DecodedSample {
            series,
            timestamp_ms: match &self.timestamps {
                DecodedTimestamps::Common(time) => *time,
                DecodedTimestamps::Each(times) => times.get(at).copied().unwrap_or_default(),
            },
            value: *value,
        })
    }
}

/// Decodes a payload made by `MetricBatch::encode`; `base` is asked for each base vector named. Memory stays below
/// about forty times the payload.
///
/// Errors: bytes that are no batch of a known version, and whatever `base` answers.
pub fn decode_batch(
    payload: &[u8],
    base: &mut dyn FnMut(&ContextKey) -> Result<Arc<BaseVector>, ModelError>,
) -> Result<Vec<DecodedChunk>, ModelError> {
    let mut cursor = Cursor::new(payload, PART);
    let audience = match cursor.byte()? {
        VERSION => Audience::All,
        histogram::VERSION => match cursor.byte()? {
            histogram::HISTOGRAMS => Audience::WithHistograms,
            histogram::STAND_INS => Audience::WithoutHistograms,
            _ => return Err(cursor.corrupt("unknown form of values")),
        },
        found => return Err(ModelError::Version { part: PART, found }),
    };
    // A chunk takes at least 20 bytes.
    let limit = payload.len() / 20;
    let count = cursor.count(limit)?;
    let mut chunks = Vec::with_capacity(count);
    for _ in 0..count {
        chunks.push(decode_chunk(&mut cursor, audience, base)?);
    }
    if !cursor.is_empty() {
        return Err(cursor.corrupt("bytes follow the last chunk"));
    }
    Ok(chunks)
}

fn decode_chunk(
    cursor: &mut Cursor<'_>,
    audience: Audience,
    base: &mut dyn FnMut(&ContextKey) -> Result<Arc<BaseVector>, ModelError>,
) -> Result<DecodedChunk, ModelError> {
    let table = ContextKey(cursor.array()?);
    let flags = cursor.byte()?;
    if flags & !(FLAG_BITMAP | FLAG_EACH | FLAG_NO_BASE) != 0 {
        return Err(cursor.corrupt("unknown flags"));
    }
    let base = if flags & FLAG_NO_BASE == 0 { Some(base(&ContextKey(cursor.array()?))?) } else { None };
    let series = cursor.count(MAX_SERIES)?;
    let mut items = series;
    let present = if flags & FLAG_BITMAP == 0 {
        DecodedPresence::All
    } else {
        let words = decode_bitmap(cursor, series)?;
        items = words.iter().map(|word| word.count_ones() as usize).sum();
        DecodedPresence::Bits(words)
    };
    let timestamps = if flags & FLAG_EACH == 0 {
        DecodedTimestamps::Common(cursor.signed()?)
    } else {
        if items > cursor.rest().len() {
            return Err(cursor.truncated());
        }
        let mut previous = 0i64;
        let mut times = Vec::with_capacity(items);
        for _ in 0..items {
            previous = previous.wrapping_add(cursor.signed()?);
            times.push(previous);
        }
        DecodedTimestamps::Each(times)
    };
    let (values, histograms) = if audience == Audience::WithHistograms {
        let histograms = decode_histograms(cursor, items)?;
        (vec![0.0; items], histograms)
    } else {
        let bases = base.as_ref().map_or(&[][..], |base| base.values());
        (decode_values(cursor, series, items, &present, bases)?, EncodedHistograms::default())
    };
    let series = u32::try_from(series).map_err(|_| cursor.corrupt("too many series"))?;
    Ok(DecodedChunk { table, series, present, timestamps, values, audience, histograms })
}

fn decode_histograms(cursor: &mut Cursor<'_>, items: usize) -> Result<EncodedHistograms, ModelError> {
    // A length takes a byte.
    if items > cursor.rest().len() {
        return Err(cursor.truncated());
    }
    let mut histograms = EncodedHistograms::with_capacity(items);
    for _ in 0..items {
        let length = cursor.count_of_rest()?;
        let histogram = cursor.take(length)?;
        histograms.push(histogram).ok_or_else(|| cursor.corrupt("histograms of more than 4 GiB"))?;
    }
    Ok(histograms)
}

fn decode_values(
    cursor: &mut Cursor<'_>,
    series: usize,
    items: usize,
    present: &DecodedPresence,
    bases: &[f64],
) -> Result<Vec<f64>, ModelError> {
    // The kinds alone take a quarter of a byte each.
    if items.div_ceil(4) > cursor.rest().len() {
        return Err(cursor.truncated());
    }
    let mut values: Vec<f64> = Vec::with_capacity(items);
    match present {
        DecodedPresence::All => {
            values.extend_from_slice(bases.get(..series).unwrap_or(bases));
            values.resize(items, 0.0);
        }
        DecodedPresence::Bits(words) => {
            let is_present = |index: &usize| words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1);
            let base = |index: usize| bases.get(index).copied().unwrap_or(0.0);
            values.extend((0..series).filter(is_present).map(base));
        }
    }
    column::decode(cursor, &mut values)?;
    Ok(values)
}

fn decode_bitmap(cursor: &mut Cursor<'_>, series: usize) -> Result<Vec<u64>, ModelError> {
    let bytes = cursor.take(series.div_ceil(8))?;
    if !series.is_multiple_of(8) && bytes.last().is_some_and(|last| last >> (series % 8) != 0) {
        return Err(cursor.corrupt("a presence bit past the last series"));
    }
    Ok(bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            u64::from_le_bytes(word)
        })
        .collect())
}
