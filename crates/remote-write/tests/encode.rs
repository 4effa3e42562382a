//! The hand-written encoder against prost: the same message, byte for byte.

use model::{Labels, MetricType, SeriesTable, SeriesTableBuilder};
use proptest::prelude::*;
use prost::Message;
use proto::remote_write::{BucketSpan, Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest};
use relabel::{Action, Rule, RuleSource};
use remote_write::{
    Rewrite,
    wire::{
        body::{Body, FamilyText, Snappy, Stamp},
        table::Fate,
    },
};

fn labels() -> impl Strategy<Value = Labels> {
    let name = prop_oneof!["[a-e]", "[a-z_]{1,12}", Just("__name__".to_owned())];
    let value = prop_oneof!["[x-z]", ".{1,8}", "[a-z0-9/]{30,70}"];
    prop::collection::vec((name, value), 1..12).prop_map(|pairs| pairs.into_iter().collect())
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::from_bits(model::STALE_NAN_BITS)),
        Just(f64::NEG_INFINITY),
        (0u32..1000).prop_map(f64::from),
        any::<u64>().prop_map(f64::from_bits)
    ]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), Just(1_700_000_000_123), Just(-1), any::<i64>()]
}

fn table(series: &[Labels]) -> SeriesTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("", MetricType::Unknown, "", "");
    for labels in series {
        builder.push(family, labels).unwrap();
    }
    SeriesTable::decode(builder.build().bytes()).unwrap()
}

fn expected(series: &[Labels], samples: &[(usize, f64, i64)], rewrite: &Rewrite) -> WriteRequest {
    let timeseries = samples.iter().filter_map(|(index, value, timestamp)| {
        let mut labels = series[*index].clone();
        for (name, value) in rewrite.external_labels.iter() {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        let kept = relabel::process(&mut labels, &rewrite.write_relabel) && !labels.is_empty();
        let labels = labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
        let samples = vec![Sample { value: *value, timestamp: *timestamp }];
        kept.then_some(TimeSeries { labels, samples, histograms: Vec::new() })
    });
    WriteRequest { timeseries: timeseries.collect(), ..WriteRequest::default() }
}

fn check(series: &[Labels], samples: &[(usize, f64, i64)], rewrite: &Rewrite) {
    let wire = rewrite.apply(&table(series));
    let mut body = Body::default();
    for (index, value, timestamp) in samples {
        let before = body.len();
        let stamp = Stamp::new(*timestamp);
        match body.put_sample(&wire, *index as u32, *value, &stamp) {
            Fate::Kept(labels) => assert_eq!(body.len() - before, Body::sample_len(labels, *value, &stamp)),
            Fate::Dropped => assert_eq!(body.len(), before),
            Fate::Missing => panic!("series {index} is in the table"),
        }
    }
    let expected = expected(series, samples, rewrite);
    // prost takes -0.0 for the default and leaves it out; we keep its sign. Everything else is the same to the byte.
    let exact = samples.iter().all(|(_, value, _)| value.to_bits() != (-0.0f64).to_bits());
    if exact {
        assert_eq!(body.bytes(), expected.encode_to_vec());
    }
    let decoded = WriteRequest::decode(body.bytes()).unwrap();
    let facts = |request: &WriteRequest| -> Vec<(Vec<Label>, u64, i64)> {
        let fact = |series: &TimeSeries| {
            (series.labels.clone(), series.samples[0].value.to_bits(), series.samples[0].timestamp)
        };
        request.timeseries.iter().map(fact).collect()
    };
    assert_eq!(facts(&decoded), facts(&expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bodies_are_what_prost_would_write(
        series in prop::collection::vec(labels(), 1..30),
        picks in prop::collection::vec((any::<prop::sample::Index>(), value(), time()), 0..60),
        external in prop_oneof![Just(Labels::new()), labels()],
    ) {
        let samples: Vec<_> = picks.iter().map(|(index, value, time)| (index.index(series.len()), *value, *time)).collect();
        check(&series, &samples, &Rewrite { external_labels: external, write_relabel: Vec::new() });
    }

    #[test]
    fn native_histograms_are_what_prost_would_write(
        labels in labels(),
        picks in prop::collection::vec((1u64.., time(), prop::collection::vec(any::<i64>(), 0..40)), 0..10),
    ) {
        let wire = Rewrite::default().apply(&table(std::slice::from_ref(&labels)));
        let (mut body, mut expected) = (Body::default(), WriteRequest::default());
        for (count, timestamp, positive_deltas) in picks {
            let histogram = Histogram {
                count,
                sum: 1.5,
                positive_spans: vec![BucketSpan { offset: -7, length: positive_deltas.len() as u32 }],
                positive_deltas,
                ..Histogram::default()
            };
            let (before, stamp) = (body.len(), Stamp::new(timestamp));
            let bytes = histogram.encode_to_vec();
            let Fate::Kept(length) = body.put_histogram(&wire, 0, &bytes, &stamp) else { panic!("it is kept") };
            prop_assert_eq!(body.len() - before, Body::histogram_len(length, &bytes, &stamp));
            let labels = labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
            let histograms = vec![Histogram { timestamp, ..histogram }];
            expected.timeseries.push(TimeSeries { labels, histograms, ..TimeSeries::default() });
        }
        prop_assert_eq!(body.bytes(), expected.encode_to_vec());
    }

    #[test]
    fn relabelled_bodies_are_what_prost_would_write(
        series in prop::collection::vec(labels(), 1..20),
        picks in prop::collection::vec((any::<prop::sample::Index>(), value(), time()), 0..40),
        external in labels(),
    ) {
        let rule = |action, source: &str, target: &str, regex: &str, replacement: &str| {
            Rule::new(RuleSource {
                source_labels: vec![source.into()],
                target_label: target.into(),
                regex: regex.into(),
                replacement: replacement.into(),
                action,
                ..RuleSource::default()
            })
            .unwrap()
        };
        let rules = vec![
            rule(Action::Drop, "a", "", "x", "$1"),
            rule(Action::Replace, "b", "zone", "(.+)", "z-$1"),
            Rule::new(RuleSource { regex: "c|__name__".into(), action: Action::LabelDrop, ..RuleSource::default() }).unwrap(),
        ];
        let samples: Vec<_> = picks.iter().map(|(index, value, time)| (index.index(series.len()), *value, *time)).collect();
        check(&series, &samples, &Rewrite { external_labels: external, write_relabel: rules });
    }
}

#[test]
fn a_truncated_body_is_as_if_the_rest_had_not_been_written() {
    let series: Vec<Labels> = (0..3).map(|i| [("__name__", format!("m{i}"))].into_iter().collect()).collect();
    let wire = Rewrite::default().apply(&table(&series));
    let (mut one, mut other) = (Body::default(), Body::default());
    one.put_sample(&wire, 0, 1.0, &Stamp::new(1));
    let length = one.len();
    one.put_sample(&wire, 1, 2.0, &Stamp::new(2));
    one.truncate(length);
    one.put_sample(&wire, 2, 3.0, &Stamp::new(3));
    other.put_sample(&wire, 0, 1.0, &Stamp::new(1));
    other.put_sample(&wire, 2, 3.0, &Stamp::new(3));
    assert_eq!(one.bytes(), other.bytes());
}

#[test]
fn metadata_is_what_prost_would_write() {
    let mut body = Body::default();
    body.put_metadata(&FamilyText { name: "http_requests", kind: 1, help: "Requests.", unit: "" });
    body.put_metadata(&FamilyText { name: "up", kind: 0, help: "", unit: "seconds" });
    let metadata = |name: &str, kind: i32, help: &str, unit: &str| MetricMetadata {
        r#type: kind,
        metric_family_name: name.into(),
        help: help.into(),
        unit: unit.into(),
    };
    let expected = WriteRequest {
        metadata: vec![metadata("http_requests", 1, "Requests.", ""), metadata("up", 0, "", "seconds")],
        ..WriteRequest::default()
    };
    assert_eq!(body.bytes(), expected.encode_to_vec());
}

#[test]
fn the_snappy_block_decompresses_to_the_body() {
    let mut snappy = Snappy::default();
    for length in [0, 1, 100, 100_000] {
        let body = vec![7u8; length];
        let block = snappy.compress(&body).unwrap();
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), body);
    }
}
