//! The payloads of `model`: series tables, base vectors, metric batches, log batches.

use std::sync::Arc;

use model::{
    Audience, BaseVector, DecodedTimestamps, LogBatch, LogBatchView, LogEntries, MAX_LOG_BATCH, ModelError,
    SERIES_PER_TABLE, SeriesTable, SeriesTableBuilder, decode_batch, read_marks,
};

/// As it is, and as the body of an uncompressed context of version 1.
fn both(data: &[u8], look: impl Fn(&[u8])) {
    look(data);
    look(&[&[1, 0], data].concat());
}

/// A series table. What can be read can be built again and shows the same labels and families.
pub fn series_table(data: &[u8]) {
    both(data, |bytes| {
        let Ok(table) = SeriesTable::decode(bytes) else { return };
        assert!(table.heap_bytes() <= 64 * (8 << 20), "{} bytes of heap", table.heap_bytes());
        let mut builder = SeriesTableBuilder::new();
        for at in 0..table.families() {
            let _ = table.family_at(u32::try_from(at).expect("families are few"));
        }
        for index in 0..table.series() {
            let family = table.family(index);
            let number = builder.family(family.name, family.kind, family.help, family.unit);
            match builder.push_pairs(number, table.labels(index)) {
                Ok(at) => assert_eq!(at as usize, index),
                // A reader takes a little more than a writer makes.
                Err(_) => return,
            }
            let set = table.label_set(index);
            assert!(set.len() <= table.labels(index).count());
        }
        assert!(table.series() <= SERIES_PER_TABLE);
        let again = SeriesTable::decode(builder.build().bytes()).expect("what a builder makes can be read");
        assert_eq!(again.series(), table.series());
        for index in 0..table.series() {
            assert!(again.labels(index).eq(table.labels(index)), "labels of series {index} changed");
            let (one, other) = (again.family(index), table.family(index));
            assert_eq!((one.name, one.kind, one.help, one.unit), (other.name, other.kind, other.help, other.unit));
        }
    });
}

/// A base vector. What can be read can be made again, bit by bit.
pub fn base_vector(data: &[u8]) {
    both(data, |bytes| {
        let Ok(base) = BaseVector::decode(bytes) else { return };
        let made = BaseVector::new(base.values().to_vec());
        if base.values().is_empty() {
            assert!(made.is_none());
            return;
        }
        let again = BaseVector::decode(made.bytes()).expect("what was made can be read");
        let bits = |base: &BaseVector| base.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again), bits(&base));
    });
}

/// A metric batch whose base vector, where it names one, has 512 values.
pub fn metric_batch(data: &[u8]) {
    let base = Arc::new(BaseVector::new((0..512).map(|n| f64::from(n) * 1.25).collect()));
    for known in [true, false] {
        let mut asked = 0usize;
        let decoded = decode_batch(data, &mut |key| {
            asked += 1;
            if known { Ok(Arc::clone(&base)) } else { Err(ModelError::MissingContext { key: *key }) }
        });
        assert!(asked <= data.len() / 20 + 1, "a base is asked for more often than chunks fit");
        let Ok(chunks) = decoded else { continue };
        for chunk in &chunks {
            let samples: Vec<_> = chunk.samples().collect();
            assert_eq!(samples.len(), chunk.items());
            assert_eq!(chunk.indexes().count(), chunk.items());
            assert!(samples.iter().all(|s| s.series < chunk.series), "a sample of no series");
            assert!(samples.windows(2).all(|w| w[0].series < w[1].series), "series out of order");
            let natively = chunk.audience == Audience::WithHistograms;
            assert!((0..chunk.items()).all(|at| chunk.histograms.get(at).is_some() == natively));
            assert_eq!(chunk.histograms.get(chunk.items()), None);
            if let DecodedTimestamps::Each(times) = &chunk.timestamps {
                assert_eq!(times.len(), chunk.items());
            }
        }
        // "Memory stays below about forty times the payload": counted in values.
        let values: usize = chunks.iter().map(model::DecodedChunk::items).sum();
        assert!(values <= 8 * data.len() + 64, "{values} values of {} bytes", data.len());
    }
}

/// A log batch, the same behind the right version, and the bytes as the unpacked entries of a stream, which no mutation of a
/// packed one reaches. What can be read can be built again and shows the same lines.
pub fn log_batch(data: &[u8]) {
    entries(data);
    one_log_batch(data);
    one_log_batch(&[&[1], data].concat());
}

/// Walks entries and their metadata; gives their number, and whether all could be read.
fn entries(raw: &[u8]) -> (usize, bool) {
    let mut count = 0;
    for entry in LogEntries::new(raw) {
        let Ok(entry) = entry else { return (count, false) };
        count += 1;
        assert!(entry.line.len() <= raw.len());
        assert!(entry.metadata().count() <= raw.len() / 2, "more metadata than bytes");
    }
    assert!(count <= raw.len() / 2, "{count} entries in {} bytes", raw.len());
    (count, true)
}

fn one_log_batch(data: &[u8]) {
    let marks = read_marks(data);
    let Ok(view) = LogBatchView::decode(data) else { return };
    assert_eq!(marks.expect("marks stand first"), view.marks);
    assert!(view.items() <= MAX_LOG_BATCH as u64, "{} lines", view.items());
    assert!(view.streams.iter().map(|stream| stream.raw_len).sum::<usize>() <= MAX_LOG_BATCH);
    let mut again = LogBatch::new();
    for mark in &view.marks {
        again.mark(mark.clone());
    }
    let (mut raw, mut lines) = (Vec::new(), Vec::new());
    for stream in &view.streams {
        if let Some(places) = stream.places() {
            let places: Vec<u64> = places.take(data.len() + 1).collect();
            assert!(places.len() <= data.len(), "more places than bytes");
            let rising = |w: &[u64]| w[0] < w[1] || w[1] == u64::MAX;
            assert!(places.windows(2).all(rising), "places do not rise");
        }
        if stream.unpack(&mut raw).is_err() {
            continue;
        }
        assert!(raw.len() <= stream.raw_len);
        let (count, whole) = entries(&raw);
        assert_eq!(stream.check(&raw).is_ok(), whole && count == stream.count as usize);
        if !whole {
            continue;
        }
        let number = again.stream(&stream.labels).expect("there is room for what was read");
        for entry in LogEntries::new(&raw).flatten() {
            let metadata: Vec<_> = entry.metadata().collect();
            // What Loki's message may say in many ways is written in one, which may be longer.
            match again.push(number, entry.timestamp_ns, entry.line.as_bytes(), &metadata) {
                Ok(()) => lines.push((number, entry.timestamp_ns, entry.line.to_owned(), owned(&metadata))),
                Err(_) => return,
            }
        }
    }
    let mut bytes = Vec::new();
    again.encode(&mut bytes).expect("what was read can be written");
    let view = LogBatchView::decode(&bytes).expect("what was written can be read");
    assert_eq!(view.items(), lines.len() as u64);
    let mut found = Vec::new();
    for stream in &view.streams {
        stream.unpack(&mut raw).expect("what was packed can be unpacked");
        stream.check(&raw).expect("the head is right");
        let number = again.stream(&stream.labels).expect("it is known");
        let entries = LogEntries::new(&raw).map(|entry| entry.expect("what was written can be read"));
        let places: Vec<u64> = match stream.places() {
            Some(places) => places.collect(),
            None => (0..u64::from(stream.count)).collect(),
        };
        assert_eq!(places.len(), stream.count as usize);
        found.extend(places.into_iter().zip(entries.map(|entry| {
            (number, entry.timestamp_ns, entry.line.to_owned(), owned(&entry.metadata().collect::<Vec<_>>()))
        })));
    }
    found.sort_by_key(|(place, _)| *place);
    assert!(found.into_iter().map(|(_, line)| line).eq(lines), "lines changed when they were written again");
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
