//! Series tables through the public face.

mod support;

use model::{ContextKey, Labels, MetricType, ModelError, SERIES_PER_TABLE, SeriesTable, SeriesTableBuilder};
use proptest::prelude::*;
use support::labels;

fn any_labels() -> impl Strategy<Value = Labels> {
    proptest::collection::vec(("[a-e_]{1,3}", "\\PC{0,6}"), 0..8).prop_map(|pairs| pairs.into_iter().collect())
}

fn any_family() -> impl Strategy<Value = (String, MetricType, String, String)> {
    ("[a-c]{0,2}", 0u8..8, "\\PC{0,9}", "(seconds|bytes|)")
        .prop_map(|(name, kind, help, unit)| (name, MetricType::from_number(kind).expect("in range"), help, unit))
}

fn sample_table() -> model::EncodedTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("http_requests", MetricType::Counter, "Requests served.", "");
    for code in 0..300 {
        let code = code.to_string();
        let set = labels(&[("__name__", "http_requests_total"), ("code", &code), ("instance", "a:1"), ("job", "j")]);
        builder.push(family, &set).expect("room");
    }
    builder.build()
}

proptest! {
    #[test]
    fn a_table_reads_back_as_it_was_built(series in proptest::collection::vec((any_family(), any_labels()), 0..60)) {
        let mut builder = SeriesTableBuilder::new();
        for (index, ((name, kind, help, unit), set)) in series.iter().enumerate() {
            let family = builder.family(name, *kind, help, unit);
            prop_assert_eq!(builder.push(family, set).expect("room") as usize, index);
        }
        let encoded = builder.build();
        prop_assert_eq!(encoded.key(), ContextKey::of(encoded.bytes()));
        let table = SeriesTable::decode(encoded.bytes()).expect("decodes");
        prop_assert_eq!(table.series(), series.len());
        prop_assert_eq!(encoded.series() as usize, series.len());
        for (index, ((name, kind, help, unit), set)) in series.iter().enumerate() {
            prop_assert_eq!(&table.label_set(index), set);
            let family = table.family(index);
            prop_assert_eq!((family.name, family.kind, family.help, family.unit), (&**name, *kind, &**help, &**unit));
        }
        let mut pairs: Vec<_> = (0..table.pairs()).map(|pair| table.pair(pair as u16)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        prop_assert_eq!(pairs.len(), table.pairs(), "a pair is held twice");
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = SeriesTable::decode(&bytes);
        let mut framed = vec![1, 0];
        framed.extend_from_slice(&bytes);
        let _ = SeriesTable::decode(&framed);
    }

    #[test]
    fn mutated_tables_decode_or_fail(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
        compressed: bool,
    ) {
        let mut bytes = if compressed {
            sample_table().bytes().to_vec()
        } else {
            // Few series do not compress well enough to be compressed.
            let mut builder = SeriesTableBuilder::new();
            let family = builder.family("m", MetricType::Gauge, "h", "u");
            builder.push(family, &labels(&[("a", "1"), ("b", "2")])).expect("room");
            builder.push(family, &labels(&[("a", "1"), ("b", "3")])).expect("room");
            builder.build().bytes().to_vec()
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(table) = SeriesTable::decode(&bytes) {
            for index in 0..table.series() {
                let names: Vec<_> = table.labels(index).map(|(name, _)| name).collect();
                prop_assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
                let _ = table.family(index);
            }
        }
    }
}

#[test]
fn a_builder_refuses_more_series_than_a_table_takes() {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("", MetricType::Unknown, "", "");
    for index in 0..SERIES_PER_TABLE {
        builder.push(family, &labels(&[("i", &index.to_string())])).expect("room");
    }
    let before = builder.len();
    assert!(matches!(builder.push(family, &labels(&[("i", "x")])), Err(ModelError::TableFull)));
    assert_eq!(builder.len(), before);
    assert_eq!(SeriesTable::decode(builder.build().bytes()).expect("decodes").series(), SERIES_PER_TABLE);
}

#[test]
fn a_series_beyond_any_table_is_refused_and_does_no_harm() {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("", MetricType::Unknown, "", "");
    let huge = "x".repeat(3 << 20);
    assert!(matches!(builder.push(family, &labels(&[("a", &huge)])), Err(ModelError::SeriesTooLarge { .. })));
    assert!(matches!(builder.push(family + 1, &labels(&[("a", "b")])), Err(ModelError::UnknownFamily(1))));
    builder.push(family, &labels(&[("a", "b")])).expect("room");
    assert_eq!(builder.build().series(), 1);
}

#[test]
fn large_texts_fill_a_table_before_its_count_does() {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("", MetricType::Unknown, "", "");
    let mut pushed = 0;
    for index in 0..SERIES_PER_TABLE {
        let value = format!("{index}{}", "y".repeat(100_000));
        match builder.push(family, &labels(&[("a", &value)])) {
            Ok(_) => pushed += 1,
            Err(error) => {
                assert!(matches!(error, ModelError::TableFull));
                break;
            }
        }
    }
    assert!((10..100).contains(&pushed));
    assert_eq!(SeriesTable::decode(builder.build().bytes()).expect("decodes").series(), pushed);
}

#[test]
fn equal_content_has_an_equal_key_and_a_small_table() {
    let (a, b) = (sample_table(), sample_table());
    assert_eq!(a.key(), b.key());
    assert!(a.bytes().len() < 300 * 20, "{} bytes", a.bytes().len());
}

#[test]
fn a_later_version_is_named_as_such() {
    let mut bytes = sample_table().bytes().to_vec();
    bytes[0] = 2;
    assert!(matches!(SeriesTable::decode(&bytes), Err(ModelError::Version { found: 2, .. })));
}

#[test]
fn a_stated_size_beyond_the_limit_is_refused_before_memory_is_taken() {
    // zstd, 1 GiB stated.
    let bytes = [1, 1, 0x80, 0x80, 0x80, 0x80, 0x04, 0x28, 0xb5, 0x2f, 0xfd];
    assert!(matches!(SeriesTable::decode(&bytes), Err(ModelError::TooLarge { .. })));
}

#[test]
fn a_family_with_more_text_than_a_table_has_place_for_is_unknown_and_the_table_reads_back() {
    let mut builder = SeriesTableBuilder::new();
    let long = "h".repeat(9 << 20);
    let one = builder.family("a", MetricType::Gauge, &long, "");
    builder.push(one, &[("__name__", "a")].into_iter().collect()).unwrap();
    let full = (0..).find(|at| {
        let family = builder.family("b", MetricType::Gauge, &format!("{at:060000}"), "");
        builder.push(family, &[("__name__", "b"), ("at", &at.to_string())].into_iter().collect()).is_err()
    });
    assert!(full.is_some_and(|at| at < SERIES_PER_TABLE), "text fills it, and not the number of series");
    let table = SeriesTable::decode(builder.build().bytes()).unwrap();
    assert!(table.family(0).is_unknown());
    assert_eq!(table.family(table.series() - 1).help.len(), 60_000);
}
