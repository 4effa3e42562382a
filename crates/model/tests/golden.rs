//! Bytes of format versions 1 and 2, as written by the first releases that had them: they must stay readable.
//!
//! `UPDATE_GOLDEN=1` writes the files anew; that is right only before a release, or for a new version in a new folder.

mod support;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use model::{
    Audience, BaseVector, ContextKey, HistogramBatch, HistogramChunk, MetricBatch, MetricChunk, MetricType, Presence,
    SeriesTable, SeriesTableBuilder, Timestamps, stale_marker,
};
use support::{decode_with, labels};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v1").join(name)
}

fn golden(name: &str, made: &[u8]) -> Vec<u8> {
    golden_at(&path(name), made)
}

fn golden_at(path: &Path, made: &[u8]) -> Vec<u8> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, made).expect("the golden file can be written");
    }
    fs::read(path).expect("the golden file is there")
}

fn table() -> SeriesTableBuilder {
    let mut builder = SeriesTableBuilder::new();
    let requests = builder.family("http_requests", MetricType::Counter, "Requests \u{2713}.", "");
    let unknown = builder.family("", MetricType::Unknown, "", "");
    for code in ["200", "404", "500"] {
        let set = labels(&[("__name__", "http_requests_total"), ("code", code), ("job", "shop")]);
        builder.push(requests, &set).expect("room");
    }
    builder.push(unknown, &labels(&[("__name__", "temperature"), ("job", "shop")])).expect("room");
    builder
}

fn large_table() -> SeriesTableBuilder {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("m", MetricType::Gauge, "A gauge.", "celsius");
    for index in 0..200 {
        builder.push(family, &labels(&[("__name__", "m"), ("sensor", &format!("s{index}"))])).expect("room");
    }
    builder
}

const BASE: [f64; 3] = [100.0, 7.0, 0.25];

fn check_samples(chunks: &[model::DecodedChunk]) {
    let samples: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk.samples().map(|s| (s.series, s.timestamp_ms, s.value.to_bits())))
        .collect();
    let expected = [
        (0, 1_700_000_000_000, 160.0f64),
        (1, 1_700_000_000_000, 7.0),
        (2, 1_700_000_000_000, 0.375),
        (3, 1_700_000_000_000, std::f64::consts::PI),
        (1, 1_700_000_000_001, stale_marker()),
        (3, 1_699_999_999_000, -0.0),
    ];
    assert_eq!(samples, expected.map(|(series, time, value)| (series, time, value.to_bits())));
}

#[test]
fn tables_of_version_1_are_readable() {
    let built = table().build();
    let bytes = golden("table.bin", built.bytes());
    let read = SeriesTable::decode(&bytes).expect("decodes");
    assert_eq!(read.series(), 4);
    assert_eq!(
        read.labels(1).collect::<Vec<_>>(),
        [("__name__", "http_requests_total"), ("code", "404"), ("job", "shop")]
    );
    assert_eq!(read.family(1).help, "Requests \u{2713}.");
    assert_eq!(read.family(1).kind, MetricType::Counter);
    assert!(read.family(3).is_unknown());
    assert_eq!(bytes, &built.bytes()[..], "version 1 is still what is written");

    let large = golden("table-zstd.bin", large_table().build().bytes());
    let read = SeriesTable::decode(&large).expect("decodes");
    assert_eq!(read.series(), 200);
    assert_eq!(read.labels(199).collect::<Vec<_>>(), [("__name__", "m"), ("sensor", "s199")]);
    assert_eq!(read.family(0).unit, "celsius");
}

#[test]
fn batches_of_version_1_are_readable() {
    let (table, base) = (table().build(), BaseVector::new(BASE.to_vec()));
    let first = [160.0, 7.0, 0.375, std::f64::consts::PI];
    let second = [0.0, stale_marker(), 0.0, -0.0];
    let times = [0, 1_700_000_000_001, 0, 1_699_999_999_000];
    let none = BaseVector::none();
    let batch = MetricBatch {
        stream: 9,
        chunks: vec![
            MetricChunk {
                table: &table,
                base: &base,
                present: Presence::All,
                timestamps: Timestamps::Common(1_700_000_000_000),
                values: &first,
            },
            MetricChunk {
                table: &table,
                base: &none,
                present: Presence::Bits(&[0b1010]),
                timestamps: Timestamps::Each(&times),
                values: &second,
            },
        ],
    };
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let stored = golden("batch.bin", &payload);
    let stored_base = Bytes::from(golden("base.bin", base.bytes()));
    assert_eq!(BaseVector::decode(&stored_base).expect("decodes").values(), BASE);
    let contexts = HashMap::from([(ContextKey::of(&stored_base), stored_base)]);
    check_samples(&decode_with(&stored, &contexts).expect("decodes"));
    assert_eq!(stored, payload, "version 1 is still what is written");
}

fn path_v2(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/v2").join(name)
}

#[test]
fn batches_of_version_2_are_readable_and_no_version_1() {
    let table = table().build();
    // A count of 3; empty; a sum of 2.
    let histograms = [vec![8, 3], Vec::new(), vec![0x19, 0, 0, 0, 0, 0, 0, 0, 0x40], vec![8, 4]];
    let times = [1_700_000_000_000, 1_700_000_000_001, 1_699_999_999_000, 0];
    let chunk = HistogramChunk { table: &table, timestamps: &times, histograms: &histograms };
    let batch = HistogramBatch { stream: 9, chunks: vec![chunk] };
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let stored = golden_at(&path_v2("histograms.bin"), &payload);
    assert_eq!(stored, payload, "version 2 is still what is written");
    let chunks = decode_with(&stored, &HashMap::new()).expect("decodes");
    let [chunk] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!((batch.items(), chunk.items(), chunk.audience), (4, 4, Audience::WithHistograms));
    let read: Vec<&[u8]> = (0..4).filter_map(|at| chunk.histograms.get(at)).collect();
    assert_eq!(read, histograms);
    assert_eq!(chunk.histograms.get(4), None);
    assert_eq!(chunk.samples().map(|sample| sample.timestamp_ms).collect::<Vec<_>>(), times);
    for end in 0..payload.len() {
        assert!(decode_with(&payload[..end], &HashMap::new()).is_err(), "{end} of {} bytes", payload.len());
    }

    let (base, values) = (BaseVector::none(), [1.0, 2.0, 3.0, 4.0]);
    let chunk = MetricChunk {
        table: &table,
        base: &base,
        present: Presence::All,
        timestamps: Timestamps::Common(5),
        values: &values,
    };
    let mut payload = Vec::new();
    MetricBatch { stream: 9, chunks: vec![chunk] }.encode_stand_ins(&mut payload);
    let stored = golden_at(&path_v2("stand-ins.bin"), &payload);
    assert_eq!(stored, payload, "version 2 is still what is written");
    let chunks = decode_with(&stored, &HashMap::new()).expect("decodes");
    assert_eq!((chunks[0].values.as_slice(), chunks[0].audience), (&values[..], Audience::WithoutHistograms));
    // All that a release that knows only version 1 looks at.
    let old = fs::read(path("batch.bin")).expect("the golden file is there");
    assert_eq!((stored[0], old[0]), (2, 1));
}
