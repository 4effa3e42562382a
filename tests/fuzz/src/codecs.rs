//! The payloads of `model`: series tables, base vectors, metric batches.

use std::sync::Arc;

use model::{
    BaseVector, DecodedTimestamps, ModelError, SERIES_PER_TABLE, SeriesTable, SeriesTableBuilder, decode_batch,
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
            if let DecodedTimestamps::Each(times) = &chunk.timestamps {
                assert_eq!(times.len(), chunk.items());
            }
        }
        // "Memory stays below about forty times the payload": counted in values.
        let values: usize = chunks.iter().map(model::DecodedChunk::items).sum();
        assert!(values <= 8 * data.len() + 64, "{values} values of {} bytes", data.len());
    }
}
