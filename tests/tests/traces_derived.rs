//! What the real binary makes of spans besides forwarding them: metrics, pairs of services, lines.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    collector::{Collector, post_spans},
    free_port,
    process::until,
    receiver::Receiver,
};
use prost::Message;
use proto::{
    otlp_common::Resource,
    otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, Status},
};

const PATIENCE: Duration = Duration::from_secs(90);

fn config(behind: u16, http: u16, others: &str, processors: &str) -> String {
    format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
{others}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
{processors}
      remote_write: [{{name: spans, endpoint: 'http://127.0.0.1:{behind}', protocol: http, compression: none}}]
"
    )
}

fn of(service: &str, span: Span) -> ResourceSpans {
    let attributes = vec![("service.name", service).into(), ("zone", "z1").into()];
    let resource = Some(Resource { attributes, ..Resource::default() });
    ResourceSpans {
        resource,
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// A client's span in `web` and the server's span of `db` that it caused.
fn call(trace: u8, millis: u64, failed: bool) -> Vec<ResourceSpans> {
    let status = failed.then(|| Status { code: 2, ..Status::default() });
    let client = Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        name: "query".into(),
        kind: 3,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + millis * 1_000_000,
        attributes: vec![("http.method", "POST").into()],
        ..Span::default()
    };
    let server = Span {
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        kind: 2,
        status,
        name: "SELECT".into(),
        ..client.clone()
    };
    vec![of("web", client), of("db", server)]
}

async fn post(port: u16, resource_spans: Vec<ResourceSpans>) -> Result<()> {
    post_spans(port, ExportTraceServiceRequest { resource_spans }.encode_to_vec()).await
}

async fn arrived(what: &str, agent: &Agent, enough: impl Fn() -> bool) -> Result<()> {
    until(what, PATIENCE, || async { enough().then_some(()) }).await.with_context(|| agent.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_metrics_reach_the_metrics_instance_and_its_destinations() -> Result<()> {
    let (collector, behind) = Collector::start().await?;
    let receiver = Receiver::start(true).await?;
    let http = free_port()?;
    let metrics =
        format!("metrics: {{configs: [{{name: m, remote_write: [{{name: out, url: '{}'}}]}}]}}", receiver.url());
    let processors = "      spanmetrics:
        metrics_instance: m
        metrics_flush_interval: 300ms
        latency_histogram_buckets: [100ms, 1s]
        dimensions: [{name: http.method, default: GET}, {name: zone}]
        const_labels: {env: test}
        namespace: ns";
    let mut agent = Agent::prepare(&config(behind, http, &metrics, processors))?;
    agent.start_ready().await?;
    for trace in 1..=3 {
        post(http, call(trace, 500, trace == 3)).await?;
    }
    let labels = |kind: &str| {
        format!(
            "env=\"test\",http_method=\"POST\",operation=\"query\",service_name=\"web\",span_kind=\"{kind}\",status_code=\"STATUS_CODE_UNSET\",zone=\"z1\""
        )
    };
    let last = |series: &str| -> Option<f64> {
        let recorded = receiver.recorded();
        recorded.get(series)?.last_key_value().map(|(_, (bits, _))| f64::from_bits(*bits))
    };
    let calls = format!("ns_traces_spanmetrics_calls_total{{{}}}", labels("SPAN_KIND_CLIENT"));
    arrived("three calls", &agent, || last(&calls) == Some(3.0)).await?;
    let bucket = |le: &str| {
        let labels = labels("SPAN_KIND_CLIENT").replace(",operation", &format!(",le=\"{le}\",operation"));
        last(&format!("ns_traces_spanmetrics_latency_bucket{{{labels}}}"))
    };
    assert_eq!([bucket("100"), bucket("1000"), bucket("+Inf")], [Some(0.0), Some(3.0), Some(3.0)]);
    let sum = format!("ns_traces_spanmetrics_latency_sum{{{}}}", labels("SPAN_KIND_CLIENT"));
    assert_eq!(last(&sum), Some(1500.0));
    arrived("the spans themselves", &agent, || collector.spans().len() == 6).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_metrics_are_served_and_pairs_of_services_counted() -> Result<()> {
    let (collector, behind) = Collector::start().await?;
    let (http, page) = (free_port()?, free_port()?);
    let processors = format!(
        "      spanmetrics: {{handler_endpoint: '127.0.0.1:{page}'}}
      service_graphs: {{enabled: true, wait: 1s}}
      tail_sampling: {{decision_wait: 100ms, policies: [{{type: status_code, status_code: {{status_codes: [ERROR]}}}}]}}"
    );
    let mut agent = Agent::prepare(&config(behind, http, "", &processors))?;
    agent.start_ready().await?;
    post(http, call(1, 30, false)).await?;
    post(http, call(2, 30, true)).await?;
    // A client that nobody answers.
    post(http, call(3, 30, false).into_iter().take(1).collect()).await?;
    let metric = async |series: &str| agent.metric(series).await.ok().flatten();
    let pair = "{traces_config=\"default\",client=\"web\",server=\"db\"}";
    until("the pairs", PATIENCE, || async {
        let requests = metric(&format!("traces_service_graph_request_total{pair}")).await;
        (requests == Some(2.0)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    assert_eq!(metric(&format!("traces_service_graph_request_failed_total{pair}")).await, Some(1.0));
    let seconds =
        "traces_service_graph_request_server_seconds_count{traces_config=\"default\",client=\"web\",server=\"db\"}";
    assert_eq!(metric(seconds).await, Some(2.0));
    let alone = "traces_service_graph_unpaired_spans_total{traces_config=\"default\",client=\"web\",server=\"\"}";
    until("the one alone", PATIENCE, || async { (metric(alone).await == Some(1.0)).then_some(()) }).await?;
    // Before sampling: all spans are counted.
    let served = reqwest::get(format!("http://127.0.0.1:{page}/metrics")).await?.text().await?;
    assert!(served.contains("traces_spanmetrics_calls_total{operation=\"query\",service_name=\"web\",span_kind=\"SPAN_KIND_CLIENT\",status_code=\"STATUS_CODE_UNSET\"} 3"), "{served}");
    assert!(served.contains("le=\"50\"") && served.contains("le=\"+Inf\""), "{served}");
    arrived("the sampled trace", &agent, || collector.spans().len() == 2).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_made_of_spans_reach_the_logs_instance_and_standard_output() -> Result<()> {
    let (collector, behind) = Collector::start().await?;
    let http = free_port()?;
    let logs = format!(
        "logs: {{configs: [{{name: l, clients: [{{name: out, url: 'http://127.0.0.1:{behind}/loki/api/v1/push', batchwait: 100ms, external_labels: {{host: h}}}}]}}]}}"
    );
    let logging = |backend: &str| {
        format!(
            "      automatic_logging:
        {backend}
        roots: true
        span_attributes: [http.method]
        process_attributes: [zone]
        labels: [svc]
        overrides: {{trace_id_key: trace}}"
        )
    };
    let to_instance = logging("backend: logs_instance\n        logs_instance_name: l");
    let mut agent = Agent::prepare(&config(behind, http, &logs, &to_instance))?;
    agent.start_ready().await?;
    post(http, call(7, 30, false)).await?;
    arrived("the line", &agent, || !collector.lines().is_empty()).await?;
    let line = format!("span=query dur=30000000ns http.method=POST svc=web zone=z1 trace={}", "07".repeat(16));
    assert_eq!(
        collector.lines(),
        [(line.clone(), "{host=\"h\", svc=\"web\", traces=\"root\"}".to_owned(), Vec::new())]
    );
    arrived("the spans", &agent, || collector.spans().len() == 2).await?;
    let made = "traces_processor_automatic_logging_lines_total{traces_config=\"default\"}";
    assert_eq!(agent.metric(made).await?, Some(1.0));

    agent.write_config(&config(behind, http, &logs, &logging("backend: stdout")))?;
    let reload = format!("http://127.0.0.1:{}/-/reload", agent.port);
    ensure!(reqwest::Client::new().post(reload).send().await?.status().is_success(), "{}", agent.log());
    post(http, call(8, 30, false)).await?;
    let printed = line.replace(&"07".repeat(16), &"08".repeat(16));
    until("the printed line", PATIENCE, || async { agent.log().lines().any(|l| l == printed).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    agent.stop()
}
