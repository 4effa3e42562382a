//! Batches through the public face: what is encoded comes back bit for bit.

mod support;

use std::collections::HashMap;

use model::{
    BaseVector, ContextKey, DecodedPresence, DecodedTimestamps, EncodedTable, MetricBatch, MetricChunk, MetricType,
    Presence, STALE_NAN_BITS, SeriesTableBuilder, Timestamps, is_stale, stale_marker,
};
use proptest::prelude::*;
use support::{decode_with, labels, through_bytes};

fn table(series: usize) -> EncodedTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("m", MetricType::Gauge, "", "");
    for index in 0..series {
        builder.push(family, &labels(&[("__name__", "m"), ("i", &index.to_string())])).expect("room");
    }
    builder.build()
}

#[derive(Debug, Clone)]
struct Columns {
    values: Vec<u64>,
    base: Vec<u64>,
    bits: Option<Vec<u64>>,
    times: Vec<i64>,
    common: bool,
}

fn any_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (-5000i32..5000).prop_map(|v| (f64::from(v) / 10.0).to_bits()),
        3 => (0u32..100_000).prop_map(|v| f64::from(v).to_bits()),
        1 => any::<u64>(),
        1 => Just(STALE_NAN_BITS),
        1 => Just((-0.0f64).to_bits()),
    ]
}

fn any_columns() -> impl Strategy<Value = Columns> {
    (0usize..200).prop_flat_map(|len| {
        let bits = proptest::option::of(proptest::collection::vec(any::<u64>(), 0..5));
        (
            proptest::collection::vec(any_bits(), len),
            proptest::collection::vec(any_bits(), 0..220),
            bits,
            proptest::collection::vec(any::<i64>(), len),
            any::<bool>(),
        )
            .prop_map(|(values, base, bits, times, common)| Columns { values, base, bits, times, common })
    })
}

proptest! {
    #[test]
    fn every_sample_comes_back_bit_for_bit(columns in proptest::collection::vec(any_columns(), 0..4), time: i64) {
        let tables: Vec<_> = columns.iter().map(|c| table(c.values.len())).collect();
        let as_floats = |bits: &[u64]| bits.iter().map(|b| f64::from_bits(*b)).collect::<Vec<_>>();
        let bases: Vec<_> = columns.iter().map(|c| BaseVector::new(as_floats(&c.base))).collect();
        let values: Vec<_> = columns.iter().map(|c| as_floats(&c.values)).collect();
        let mut batch = MetricBatch { stream: 1, chunks: Vec::new() };
        let mut expected = Vec::new();
        for (at, columns) in columns.iter().enumerate() {
            batch.chunks.push(MetricChunk {
                table: &tables[at],
                base: &bases[at],
                present: columns.bits.as_deref().map_or(Presence::All, Presence::Bits),
                timestamps: if columns.common { Timestamps::Common(time) } else { Timestamps::Each(&columns.times) },
                values: &values[at],
            });
            for (index, value) in columns.values.iter().enumerate() {
                let present = columns.bits.as_ref().is_none_or(|words| {
                    words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
                });
                if present {
                    let time = if columns.common { time } else { columns.times[index] };
                    expected.push((tables[at].key(), index as u32, time, *value));
                }
            }
        }
        prop_assert_eq!(batch.items() as usize, expected.len());
        let (_, chunks) = through_bytes(&batch);
        let found: Vec<_> = chunks
            .iter()
            .flat_map(|chunk| chunk.samples().map(|s| (chunk.table, s.series, s.timestamp_ms, s.value.to_bits())))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = vec![1];
        framed.extend_from_slice(&bytes);
        for payload in [&bytes, &framed] {
            let _ = decode_with(payload, &HashMap::new());
            let _ = BaseVector::decode(payload);
        }
    }

    #[test]
    fn mutated_batches_decode_or_fail(
        columns in any_columns(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        let table = table(columns.values.len());
        let values: Vec<f64> = columns.values.iter().map(|b| f64::from_bits(*b)).collect();
        let base = BaseVector::new(values.clone());
        let chunk = MetricChunk {
            table: &table,
            base: &base,
            present: columns.bits.as_deref().map_or(Presence::All, Presence::Bits),
            timestamps: Timestamps::Each(&columns.times),
            values: &values,
        };
        let batch = MetricBatch { stream: 1, chunks: vec![chunk] };
        let mut payload = Vec::new();
        batch.encode(&mut payload);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload.truncate(cut.index(payload.len()) + 1);
        if let Ok(chunks) = decode_with(&payload, &batch.contexts().collect()) {
            for chunk in chunks {
                prop_assert_eq!(chunk.indexes().count(), chunk.items());
                prop_assert!(chunk.samples().all(|sample| sample.series < chunk.series));
            }
        }
    }
}

#[test]
fn presence_and_timestamps_take_their_short_forms() {
    let table = table(130);
    let values = vec![1.0; 130];
    let none = BaseVector::none();
    let chunk = |present, timestamps| MetricChunk { table: &table, base: &none, present, timestamps, values: &values };
    let batch = MetricBatch {
        stream: 1,
        chunks: vec![
            chunk(Presence::Bits(&[u64::MAX; 3]), Timestamps::Common(5)),
            chunk(Presence::Bits(&[0, 0b101]), Timestamps::Each(&[7; 130])),
            chunk(Presence::Bits(&[]), Timestamps::Common(5)),
        ],
    };
    assert_eq!(batch.items(), 132);
    let (_, chunks) = through_bytes(&batch);
    assert_eq!(chunks.len(), 2, "a chunk without samples is left out");
    assert_eq!((&chunks[0].present, &chunks[0].timestamps), (&DecodedPresence::All, &DecodedTimestamps::Common(5)));
    assert_eq!(chunks[1].indexes().collect::<Vec<_>>(), [64, 66]);
    assert_eq!(chunks[1].timestamps, DecodedTimestamps::Each(vec![7, 7]));
}

#[test]
fn a_missing_base_is_an_error_of_its_own() {
    let (table, values) = (table(3), vec![1.5, 2.5, 3.5]);
    let base = BaseVector::new(values.clone());
    let chunk = MetricChunk {
        table: &table,
        base: &base,
        present: Presence::All,
        timestamps: Timestamps::Common(1),
        values: &values,
    };
    let batch = MetricBatch { stream: 1, chunks: vec![chunk] };
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let error = decode_with(&payload, &HashMap::new()).expect_err("the base is not there");
    assert!(matches!(error, model::ModelError::MissingContext { key } if key == base.key()));
}

#[test]
fn the_empty_base_is_no_context() {
    let table = table(1);
    let base = BaseVector::new(Vec::new());
    assert!(base.is_none() && base.key() == ContextKey::NONE);
    let chunk = MetricChunk {
        table: &table,
        base: &base,
        present: Presence::All,
        timestamps: Timestamps::Common(1),
        values: &[2.0],
    };
    let batch = MetricBatch { stream: 1, chunks: vec![chunk] };
    assert_eq!(batch.contexts().map(|(key, _)| key).collect::<Vec<_>>(), [table.key()]);
    assert_eq!(through_bytes(&batch).1[0].values, [2.0]);
}

#[test]
fn a_stale_marker_is_one_nan_of_many() {
    assert!(is_stale(stale_marker()) && !is_stale(f64::NAN));
    assert!(!is_stale(f64::from_bits(model::NORMAL_NAN_BITS)));
}
