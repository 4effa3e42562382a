//! What a log line costs on its way from a frame's payload into a body, beside the floor: unpacking, and hashing the body as
//! a signer does.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{Labels, LogBatch, LogBatchView};
use remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    logs::{
        CloudWatchConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol, LokiConfig, Template,
        measure::Encoder,
    },
};
use sha2::Digest;
use url::Url;

const LINES: usize = 4000;

/// Half a megabyte of access log in one stream, as a file's tail makes it.
fn payload() -> (Bytes, usize) {
    let mut batch = LogBatch::new();
    let labels: Labels =
        [("job", "varlogs"), ("filename", "/var/log/nginx/access.log"), ("host", "web-1")].into_iter().collect();
    let stream = batch.stream(&labels).unwrap();
    let (mut state, mut bytes) = (42u64, 0);
    for n in 0..LINES {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state >> 33;
        let line = format!(
            "10.{}.{}.{} - - [14/Nov/2023:22:13:{:02} +0000] \"GET /api/v1/orders/{}?page={} HTTP/1.1\" 200 {} \"-\" \
             \"Mozilla/5.0 (X11; Linux x86_64)\" rt=0.{:03}",
            random % 250,
            random / 250 % 250,
            random / 7 % 250,
            n % 60,
            random % 100_000,
            random % 17,
            random % 50_000,
            random % 1000
        );
        bytes += line.len();
        batch.push(stream, 1_700_000_000_000_000_000 + n as i64 * 1_000_000, line.as_bytes(), &[]).unwrap();
    }
    let mut out = Vec::new();
    batch.encode(&mut out).unwrap();
    (out.into(), bytes)
}

fn encoder(protocol: LogProtocol) -> Encoder {
    let config = DestinationConfig {
        name: "d".into(),
        url: Url::parse("https://bucket.s3.eu-west-1.amazonaws.com/").unwrap(),
        endpoint_url: None,
        protocol: ProtocolConfig::Logs(protocol),
        timeout: Duration::from_secs(1),
        client: net::HttpClientConfig::default(),
        external_labels: Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO, retry_on_http_429: true },
        batching: Batching { max_samples: usize::MAX, max_bytes: usize::MAX, max_age: Duration::ZERO },
        shards: 1,
        max_in_flight_bytes: 1,
        max_age: None,
    };
    Encoder::new(&config).unwrap()
}

fn logs(c: &mut Criterion) {
    let (payload, bytes) = payload();
    let template = |text| Template::parse(text, "h").unwrap();
    let cloudwatch = |gzip| {
        LogProtocol::CloudWatch(CloudWatchConfig {
            log_group: template("/g"),
            log_stream: template("s"),
            create: true,
            retention_days: None,
            gzip,
        })
    };
    let objects = |compression| {
        LogProtocol::Objects(LogObjectsConfig {
            prefix: None,
            format: LogFormat::Json,
            compression,
            storage_class: None,
            expected_bucket_owner: None,
            sse: None,
            sse_kms_key_id: None,
        })
    };
    let mut group = c.benchmark_group(format!("{LINES} lines of {} bytes", bytes / LINES));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("unpack", |b| {
        let mut raw = Vec::new();
        b.iter(|| {
            let view = LogBatchView::decode(&payload).unwrap();
            view.streams[0].unpack(&mut raw).unwrap();
            black_box(raw.len())
        });
    });
    for (name, protocol) in [
        ("loki", LogProtocol::Loki(LokiConfig::default())),
        ("cloudwatch plain", cloudwatch(false)),
        ("cloudwatch gzip", cloudwatch(true)),
        ("s3 plain", objects(LogCompression::None)),
        ("s3 gzip", objects(LogCompression::Gzip)),
        ("s3 zstd", objects(LogCompression::Zstd)),
    ] {
        let encoder = encoder(protocol);
        let mut size = 0;
        encoder.bodies(&payload, |body, _| size += body.len());
        println!("{name}: {size} bytes of body for {bytes} bytes of lines");
        group.bench_function(name, |b| b.iter(|| encoder.bodies(&payload, |body, _| drop(black_box(body)))));
        group.bench_function(format!("{name}, hashed"), |b| {
            b.iter(|| {
                encoder.bodies(&payload, |body, _| {
                    black_box(sha2::Sha256::digest(&body));
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, logs);
criterion_main!(benches);
