//! What a sample costs on its way into a body: protobuf, snappy, SHA-256; prost for comparison.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{Labels, MetricType, SeriesTable, SeriesTableBuilder};
use prost::Message;
use proto::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use remote_write::{
    Rewrite,
    wire::{
        body::{Body, Snappy, Stamp},
        table::WireTable,
    },
};
use sha2::Digest;

const TABLES: usize = 8;
const SERIES: usize = 250;
const TIME: i64 = 1_700_000_000_123;

/// Series as exporters have them: a few label shapes, every series with the target's labels.
fn series() -> Vec<Vec<Labels>> {
    let one = |table: usize, index: usize| {
        let mut labels = Labels::new();
        labels.set(
            "__name__",
            &format!("http_server_request_duration_seconds_{}", ["bucket", "count", "sum"][index % 3]),
        );
        labels.set("instance", &format!("10.0.{table}.17:9100"));
        labels.set("job", "kubernetes-pods");
        labels.set("namespace", "production");
        labels.set("pod", &format!("checkout-7d9c6b5f4d-{table:05}"));
        labels.set("method", ["GET", "POST", "PUT"][index % 3]);
        labels.set("status", ["200", "404", "500"][index / 3 % 3]);
        labels.set("path", &format!("/api/v1/orders/{}", index / 9));
        if index.is_multiple_of(3) {
            labels.set("le", &format!("{}", (index / 3) as f64 * 0.005));
        }
        labels
    };
    (0..TABLES).map(|table| (0..SERIES).map(|index| one(table, index)).collect()).collect()
}

fn decoded(series: &[Vec<Labels>]) -> Vec<SeriesTable> {
    let table = |series: &Vec<Labels>| {
        let mut builder = SeriesTableBuilder::new();
        let family =
            builder.family("http_server_request_duration_seconds", MetricType::Histogram, "Duration.", "seconds");
        for labels in series {
            builder.push(family, labels).unwrap();
        }
        SeriesTable::decode(builder.build().bytes()).unwrap()
    };
    series.iter().map(table).collect()
}

fn write(body: &mut Body, tables: &[WireTable], values: &[f64]) {
    body.clear();
    let stamp = Stamp::new(TIME);
    let mut values = values.iter();
    for table in tables {
        for (index, value) in (0..SERIES as u32).zip(values.by_ref()) {
            body.put_sample(table, index, *value, &stamp);
        }
    }
}

fn encode(c: &mut Criterion) {
    let series = series();
    let rewrite = Rewrite {
        external_labels: [("cluster", "eu-west-1a"), ("region", "eu-west-1")].into_iter().collect(),
        ..Rewrite::default()
    };
    let decoded = decoded(&series);
    let tables: Vec<WireTable> = decoded.iter().map(|table| rewrite.apply(table)).collect();
    let values: Vec<f64> = (0..TABLES * SERIES).map(|i| (i as f64) * 17.25).collect();
    let samples = (TABLES * SERIES) as u64;
    let mut body = Body::default();
    write(&mut body, &tables, &values);
    let memory: usize = tables.iter().map(WireTable::memory).sum();
    let (mut snappy, block) = (Snappy::default(), Snappy::default().compress(body.bytes()).unwrap());
    println!(
        "{} B/sample raw, {:.1} B/sample snappy, {:.1} B/series of tables",
        body.len() as u64 / samples,
        block.len() as f64 / samples as f64,
        memory as f64 / samples as f64
    );

    let mut group = c.benchmark_group("remote-write");
    group.throughput(Throughput::Elements(samples));
    group.bench_function("protobuf", |b| b.iter(|| write(black_box(&mut body), &tables, &values)));
    group.bench_function("snappy", |b| b.iter(|| snappy.compress(black_box(body.bytes())).unwrap()));
    group.bench_function("sha256", |b| b.iter(|| sha2::Sha256::digest(black_box(&block))));
    group.bench_function("table", |b| {
        b.iter(|| decoded.iter().map(|table| rewrite.apply(black_box(table)).memory()).sum::<usize>())
    });
    group.bench_function("prost", |b| {
        b.iter(|| {
            let mut request = WriteRequest::default();
            for (labels, value) in series.iter().flatten().zip(&values) {
                let labels =
                    labels.iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
                let samples = vec![Sample { value: *value, timestamp: TIME }];
                request.timeseries.push(TimeSeries { labels, samples, histograms: Vec::new() });
            }
            request.encode_to_vec()
        });
    });
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
