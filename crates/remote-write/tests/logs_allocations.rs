//! What a line costs in allocations on its way into a body: nothing.

use std::alloc::System;

use bytes::Bytes;
use model::{Labels, LogBatch};
use remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    logs::{
        CloudWatchConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol, LokiConfig, Template,
        measure::Encoder,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::time::Duration;
use url::Url;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn payload(lines: usize) -> Bytes {
    let mut batch = LogBatch::new();
    let streams: Vec<u32> = (0..4)
        .map(|n| {
            let labels: Labels = [("job", "a".to_owned()), ("filename", format!("/var/log/{n}"))].into_iter().collect();
            batch.stream(&labels).unwrap()
        })
        .collect();
    for n in 0..lines {
        let line = format!("10.0.0.{} - - \"GET /api/v1/orders/{n} HTTP/1.1\" 200 {}", n % 250, n * 7919 % 100_000);
        batch.push(streams[n % 4], n as i64 * 1_000_000, line.as_bytes(), &[]).unwrap();
    }
    let mut out = Vec::new();
    batch.encode(&mut out).unwrap();
    out.into()
}

fn allocations(protocol: LogProtocol, lines: usize) -> usize {
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
    let encoder = Encoder::new(&config).unwrap();
    let payload = payload(lines);
    // The heads are made at the first time.
    encoder.bodies(&payload, |_, _| {});
    let region = Region::new(COUNTING);
    let mut sent = 0;
    encoder.bodies(&payload, |_, lines| sent += lines);
    assert_eq!(sent, lines);
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn a_line_costs_no_allocation() {
    let template = |text| Template::parse(text, "h").unwrap();
    let loki = || LogProtocol::Loki(LokiConfig::default());
    let cloudwatch = || {
        LogProtocol::CloudWatch(CloudWatchConfig {
            log_group: template("/g"),
            log_stream: template("s"),
            create: true,
            retention_days: None,
            gzip: true,
        })
    };
    let objects = || {
        LogProtocol::Objects(LogObjectsConfig {
            prefix: None,
            format: LogFormat::Json,
            compression: LogCompression::Gzip,
            storage_class: None,
            expected_bucket_owner: None,
            sse: None,
            sse_kms_key_id: None,
        })
    };
    let cases: [(&str, &dyn Fn() -> LogProtocol); 3] =
        [("loki", &loki), ("cloudwatch", &cloudwatch), ("objects", &objects)];
    for (name, protocol) in cases {
        let (few, many) = (allocations(protocol(), 1000), allocations(protocol(), 8000));
        // JSON writes a time's whole seconds anew once a second, and buffers of eight times the size grow three times more.
        assert!(many <= few + 60, "{name}: {few} for 1000 lines, {many} for 8000");
    }
    let loki_lines = [1000, 8000].map(|lines| allocations(loki(), lines));
    assert_eq!(loki_lines[0], loki_lines[1], "Loki's bodies do not look at lines");
}
