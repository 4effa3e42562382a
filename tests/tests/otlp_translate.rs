//! OTLP metrics as samples of remote write, and OTLP logs as lines of Loki, from a real SDK through the real binary.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, collector::Collector, free_port, peers, process::until, receiver::Receiver};
use prost::Message;
use proto::{
    otlp_common::{KeyValue, Resource},
    otlp_metrics::{
        Data, ExportMetricsServiceRequest, ExportMetricsServiceResponse, Gauge, Metric, Number, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum,
    },
};

const PATIENCE: Duration = Duration::from_secs(90);

fn agent(collector: u16, samples: &Receiver, grpc: u16, http: u16) -> Result<Agent> {
    Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
metrics:
  configs:
    - name: other
    - name: mine
      remote_write: [{{name: samples, url: '{}', queue_config: {{min_backoff: 50ms, max_backoff: 200ms}}}}]
logs:
  configs:
    - name: lines
      clients:
        - {{name: loki, url: 'http://127.0.0.1:{collector}/loki/api/v1/push', backoff_config: {{min_period: 50ms, max_period: 200ms}}}}
traces:
  configs:
    - name: default
      receivers:
        otlp:
          metrics_instance: mine
          protocols:
            grpc: {{endpoint: '127.0.0.1:{grpc}'}}
            http: {{endpoint: '127.0.0.1:{http}'}}
      remote_write:
        - name: collector
          endpoint: http://127.0.0.1:{collector}/v1/traces
          protocol: http
          compression: none
          retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
",
        samples.url()
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdks_metrics_are_samples_and_its_records_lines() -> Result<()> {
    let Some(python) = peers::python_of_the_sdk()? else { return Ok(()) };
    for transport in ["grpc", "http"] {
        let (collector, port) = Collector::start().await?;
        let samples = Receiver::start(true).await?;
        let (grpc, http) = (free_port()?, free_port()?);
        let mut agent = agent(port, &samples, grpc, http)?;
        agent.start_ready().await?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/otlp_send.py");
        let endpoint =
            if transport == "grpc" { format!("127.0.0.1:{grpc}") } else { format!("http://127.0.0.1:{http}") };
        let mut command = tokio::process::Command::new(&python);
        command.arg(script).args([transport, &endpoint, "50"]).env("NO_PROXY", "127.0.0.1");
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.context("the SDK did not end")??;
        ensure!(output.status.success(), "the SDK: {}", String::from_utf8_lossy(&output.stderr));
        let job = format!("job=\"sdk-{transport}\"");
        let scope = "otel_scope_name=\"e2e\"";
        let wanted = [
            format!("e2e_counter_total{{{job},{scope}}}"),
            format!("e2e_histogram_count{{{job},{scope}}}"),
            format!("e2e_histogram_sum{{{job},{scope}}}"),
            format!("e2e_histogram_bucket{{{job},le=\"5\",{scope}}}"),
            format!("e2e_histogram_bucket{{{job},le=\"+Inf\",{scope}}}"),
        ];
        // The SDK gives each process an instance of its own.
        let recorded = || -> std::collections::BTreeMap<String, f64> {
            let without = |series: String| match series.split_once("instance=\"") {
                Some((before, rest)) => format!("{before}{}", rest.split_once("\",").map_or("", |(_, rest)| rest)),
                None => series,
            };
            let last = |samples: std::collections::BTreeMap<i64, (u64, u32)>| {
                samples.values().last().map_or(f64::NAN, |(bits, _)| f64::from_bits(*bits))
            };
            samples.recorded().into_iter().map(|(series, samples)| (without(series), last(samples))).collect()
        };
        let all = || async { wanted.iter().all(|series| recorded().contains_key(series)).then_some(()) };
        until("the samples", PATIENCE, all).await.with_context(|| format!("{:?}", samples.recorded().keys()))?;
        let value = |series: &str| recorded()[series];
        assert_eq!((value(&wanted[0]), value(&wanted[2]), value(&wanted[3])), (50.0, 1.5, 1.0));
        assert!(
            samples.recorded().keys().any(
                |series| series.starts_with("target_info{") && series.contains("telemetry_sdk_language=\"python\"")
            )
        );
        until("the lines", PATIENCE, || async { (collector.lines().len() >= 50).then_some(()) }).await?;
        let lines = collector.lines();
        let texts: BTreeSet<&str> = lines.iter().map(|(line, ..)| line.as_str()).collect();
        assert_eq!(
            texts,
            (0..50).map(|n| format!("line-{n}")).collect::<Vec<_>>().iter().map(String::as_str).collect()
        );
        let (_, labels, metadata) = &lines[0];
        assert!(labels.contains(&job) && labels.contains("level=\"info\""), "{labels}");
        assert!(metadata.contains(&("scope_name".to_owned(), "e2e".to_owned())), "{metadata:?}");
        until("the spans", PATIENCE, || async { (collector.spans().len() >= 50).then_some(()) }).await?;
        agent.stop()?;
    }
    Ok(())
}

/// A sum of differences, and a gauge without a value.
fn request(seconds: u64, number: i64) -> Vec<u8> {
    let point = |value| NumberDataPoint { time_unix_nano: seconds * 1_000_000_000, value, ..Default::default() };
    let sum =
        Sum { data_points: vec![point(Some(Number::Int(number)))], aggregation_temporality: 1, is_monotonic: true };
    let metrics = vec![
        Metric { name: "jobs".to_owned(), data: Some(Data::Sum(sum)), ..Default::default() },
        Metric {
            name: "none".to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: vec![point(None)] })),
            ..Default::default()
        },
    ];
    let scope = ScopeMetrics { metrics, ..Default::default() };
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value: Some("svc".into()) }];
    let resource = Some(Resource { attributes, ..Default::default() });
    let group = ResourceMetrics { resource, scope_metrics: vec![scope], ..Default::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_become_sums_partial_success_is_told_and_a_kill_loses_nothing() -> Result<()> {
    let (_collector, port) = Collector::start().await?;
    let samples = Receiver::start(true).await?;
    samples.answer_with(503);
    let (grpc, http) = (free_port()?, free_port()?);
    let mut agent = agent(port, &samples, grpc, http)?;
    agent.start_ready().await?;
    let client = reqwest::Client::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() - 10;
    for at in 0..5 {
        let post = client.post(format!("http://127.0.0.1:{http}/v1/metrics"));
        let answer = post.header("content-type", "application/x-protobuf").body(request(now + at, 3)).send().await?;
        ensure!(answer.status() == 200);
        let told =
            ExportMetricsServiceResponse::decode(answer.bytes().await?)?.partial_success.context("a rejection")?;
        assert_eq!((told.rejected_data_points, told.error_message.as_str()), (1, "not stored, by reason: no_value: 1"));
    }
    let untranslated = "sigpost_otlp_untranslated_items_total{traces_config=\"default\",receiver=\"otlp\",transport=\"http\",reason=\"no_value\"}";
    assert_eq!(agent.metric(untranslated).await?, Some(5.0));
    agent.kill_9();
    samples.answer_with(200);
    agent.start_ready().await?;
    let series = "jobs_total{job=\"svc\"}";
    until("all samples", PATIENCE, || async { (samples.recorded().get(series)?.len() >= 5).then_some(()) }).await?;
    let values: Vec<f64> = samples.recorded()[series].values().map(|(bits, _)| f64::from_bits(*bits)).collect();
    assert_eq!(values, [3.0, 6.0, 9.0, 12.0, 15.0]);
    agent.stop()
}
