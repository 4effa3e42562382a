//! What a steady file costs on the whole way from its bytes to the bodies of requests: no allocation for each line. Alone in
//! its process, whose allocator counts.

mod support;

use std::{alloc::System, time::Duration};

use bytes::Bytes;
use model::Labels;
use remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    logs::{
        CloudWatchConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol, LokiConfig, Template,
        measure::Encoder,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::House;
use url::Url;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LINES: usize = 100_000;

fn encoders() -> [(&'static str, Encoder); 3] {
    let template = |text| Template::parse(text, "h").unwrap();
    let protocols = [
        ("loki", LogProtocol::Loki(LokiConfig::default())),
        (
            "cloudwatch",
            LogProtocol::CloudWatch(CloudWatchConfig {
                log_group: template("/sigpost/{job}"),
                log_stream: template("{hostname}{filename}"),
                create: true,
                retention_days: None,
                gzip: true,
            }),
        ),
        (
            "objects",
            LogProtocol::Objects(LogObjectsConfig {
                prefix: None,
                format: LogFormat::Json,
                compression: LogCompression::Gzip,
                storage_class: None,
                expected_bucket_owner: None,
                sse: None,
                sse_kms_key_id: None,
            }),
        ),
    ];
    protocols.map(|(name, protocol)| {
        let config = DestinationConfig {
            name: name.into(),
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
        (name, Encoder::new(&config).unwrap())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_costs_no_allocation_of_its_own_from_its_file_to_a_body() {
    let mut house = House::new("*.log");
    let text: String = (0..LINES).map(|n| format!("{n:09} GET /path/to/something 200 1234\n")).collect();
    // Buffers grow to their size.
    house.append("a.log", &text);
    house.start();
    let size = text.len() as u64;
    let read = |house: &House, bytes: u64| {
        let entry = format!("\"offset\":{bytes},");
        std::fs::read_to_string(&house.config.positions.state_file).is_ok_and(|state| state.contains(&entry))
    };
    house.until("it is warm", |house| read(house, size)).await;
    // From the file into the queue. What waiting for it costs is counted too.
    let region = Region::new(ALLOCATOR);
    house.append("a.log", &text);
    house.until("the rest is read", |house| read(house, 2 * size)).await;
    let change = region.change();
    let taken = change.allocations + change.reallocations;
    println!("file to queue: {taken} allocations for {LINES} lines");
    assert!(taken < LINES / 20, "{taken} allocations for {LINES} lines");

    // From the queue into bodies.
    let frames = house.queue.as_ref().unwrap().scan(&support::lane(), 0).unwrap();
    let frames: Vec<Bytes> = frames.into_iter().map(|(_, payload)| payload).collect();
    // Nobody else allocates meanwhile.
    house.stop().await;
    for (name, encoder) in encoders() {
        // The heads are made at the first time.
        frames.iter().for_each(|frame| encoder.bodies(frame, |_, _| {}));
        let region = Region::new(ALLOCATOR);
        let mut lines = 0;
        frames.iter().for_each(|frame| encoder.bodies(frame, |_, sent| lines += sent));
        let change = region.change();
        let taken = change.allocations + change.reallocations;
        println!("{name}: {taken} allocations for {lines} lines in {} frames", frames.len());
        assert_eq!(lines, 2 * LINES);
        assert!(taken < frames.len() * 100, "{name}: {taken} allocations for {lines} lines");
    }
}
