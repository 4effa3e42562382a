//! What a batch costs to write and to read: the value column alone is nearly all of it.

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{
    BaseVector, EncodedTable, Labels, MetricBatch, MetricChunk, MetricType, Presence, SERIES_PER_TABLE, SeriesTable,
    SeriesTableBuilder, Timestamps, decode_batch,
};

fn table() -> EncodedTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family("container_network_receive_bytes_total", MetricType::Counter, "Cumulative count.", "");
    for at in 0..SERIES_PER_TABLE {
        let labels: Labels = series_labels(at).into_iter().collect();
        let _ = builder.push(family, &labels);
    }
    builder.build()
}

fn series_labels(at: usize) -> [(&'static str, String); 6] {
    [
        ("__name__", format!("container_network_{}_total", at % 20)),
        ("container", "main".into()),
        ("instance", "10.0.0.1:9100".into()),
        ("job", "cadvisor".into()),
        ("namespace", "shop".into()),
        ("pod", format!("cart-{:06x}", at / 20)),
    ]
}

/// Counters and gauges of several shapes, `round` scrapes after the start.
fn values(round: u32) -> Vec<f64> {
    (0..SERIES_PER_TABLE as u32)
        .map(|at| {
            let (at, round) = (f64::from(at), f64::from(round));
            match at as u32 % 6 {
                0 | 1 => at,
                2 => 1e6 + at * 1000.0 + round * (at % 97.0),
                3 => (100_000.0 + at * 13.0 + round * 1499.0) / 100.0,
                4 => 8e10 + at * 1_000_003.0 + round * 123_457.0,
                _ => (at * 7919.0 + round * 104_729.0) % 10_000.0,
            }
        })
        .collect()
}

fn codec(c: &mut Criterion) {
    let table = table();
    let base = Arc::new(BaseVector::new(values(0)));
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(SERIES_PER_TABLE as u64));
    for (name, values) in [
        ("mixed", values(4)),
        ("constant", values(0)),
        ("full precision", (0..SERIES_PER_TABLE as u32).map(|at| f64::from(at + 2).sqrt()).collect()),
    ] {
        let batch = MetricBatch {
            stream: 1,
            chunks: vec![MetricChunk {
                table: &table,
                base: &base,
                present: Presence::All,
                timestamps: Timestamps::Common(1_700_000_000_000),
                values: &values,
            }],
        };
        let mut out = Vec::new();
        batch.encode(&mut out);
        println!("{name}: {:.2} B a sample", out.len() as f64 / SERIES_PER_TABLE as f64);
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| {
                out.clear();
                batch.encode(&mut out);
                out.len()
            });
        });
        let mut payload = Vec::new();
        batch.encode(&mut payload);
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode_batch(&payload, &mut |_| Ok(Arc::clone(&base))).map(|chunks| chunks.len()));
        });
    }
    println!("table: {:.1} B a series", table.bytes().len() as f64 / SERIES_PER_TABLE as f64);
    let sets: Vec<Labels> = (0..SERIES_PER_TABLE).map(|at| series_labels(at).into_iter().collect()).collect();
    group.bench_function("build table", |b| {
        b.iter(|| {
            let mut builder = SeriesTableBuilder::new();
            let family = builder.family("m", MetricType::Counter, "h", "");
            for labels in &sets {
                let _ = builder.push(family, labels);
            }
            builder.build()
        });
    });
    group.bench_function("decode table", |b| b.iter(|| SeriesTable::decode(table.bytes()).map(|table| table.series())));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
