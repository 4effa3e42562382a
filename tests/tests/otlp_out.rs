//! Spans through the real binary to AWS's ends as the sandbox plays them: X-Ray documents, signed OTLP, a bucket.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, free_port, process::until};
use prost::Message;
use proto::{
    otlp_common::Resource,
    otlp_traces::{Event, ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, SpanKind},
};
use sandbox::{Identity, RecordState, Running, Sandbox, SandboxConfig};
use serde_json::Value;
use sha2::{Digest, Sha256};

const KEY_ID: &str = "AKIDEXAMPLE000000004";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);

fn config(sandbox: &Running, port: u16) -> String {
    let keys = format!("{{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}}}");
    let url = sandbox.url();
    format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
      remote_write:
        - {{name: xray, endpoint: 'https://xray.us-east-1.amazonaws.com', endpoint_url: '{url}', format: xray, protocol: http, annotations: [order], aws: {keys}}}
        - {{name: otlp, endpoint: 'https://xray.us-east-1.amazonaws.com/v1/traces', endpoint_url: '{url}', protocol: http, compression: gzip, aws: {keys}}}
        - {{name: archive, endpoint: 'https://example-bucket.s3.us-east-1.amazonaws.com/spans', endpoint_url: '{url}', protocol: s3, batch: {{max_age: 1s}}, aws: {keys}}}
"
    )
}

/// A server span and the call it made, which failed.
fn request(number: u8) -> ExportTraceServiceRequest {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let nanos = u64::try_from(now.as_nanos()).unwrap();
    let seconds = u32::try_from(now.as_secs()).unwrap().to_be_bytes();
    let trace_id = [seconds.as_slice(), &[number; 12]].concat();
    let span = |id: u8, kind: SpanKind| Span {
        trace_id: trace_id.clone(),
        span_id: [&[id; 7][..], &[number]].concat(),
        name: "POST /orders".into(),
        kind: kind.into(),
        start_time_unix_nano: nanos,
        end_time_unix_nano: nanos + 20_000_000,
        attributes: vec![("order", i64::from(number)).into(), ("http.request.method", "POST").into()],
        ..Span::default()
    };
    let server = span(1, SpanKind::Server);
    let exception = Event {
        name: "exception".into(),
        attributes: vec![
            ("exception.type", "ValueError").into(),
            ("exception.stacktrace", "Traceback\n  File \"a.py\", line 4, in f\n    g()\nValueError: x\n").into(),
        ],
        ..Event::default()
    };
    let client = Span {
        parent_span_id: server.span_id.clone(),
        attributes: vec![("peer.service", "payments").into(), ("http.response.status_code", 503).into()],
        events: vec![exception],
        ..span(2, SpanKind::Client)
    };
    let scope = ScopeSpans { spans: vec![server, client], ..ScopeSpans::default() };
    let attributes = vec![("service.name", "shop").into(), ("telemetry.sdk.language", "python").into()];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let group = ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn row(sandbox: &Running, destination: &str) -> Option<RecordState> {
    sandbox.state().records.into_iter().find(|row| row.destination == destination)
}

/// As the sandbox adds up what arrived.
fn digest(parts: &[Vec<u8>]) -> u64 {
    let first = |part: &Vec<u8>| u64::from_be_bytes(Sha256::digest(part)[..8].try_into().unwrap());
    parts.iter().map(first).fold(0, u64::wrapping_add)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_is_a_document_for_x_ray_bytes_for_otlp_and_a_line_in_a_bucket() -> Result<()> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    let sandbox = Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?;
    let port = free_port()?;
    let mut agent = Agent::prepare(&config(&sandbox, port))?;
    agent.start_ready().await?;
    let (client, mut spans) = (reqwest::Client::new(), Vec::new());
    for number in 1..=60 {
        let request = request(number);
        spans.extend(request.resource_spans[0].scope_spans[0].spans.iter().map(Message::encode_to_vec));
        let answer = client
            .post(format!("http://127.0.0.1:{port}/v1/traces"))
            .header("content-type", "application/x-protobuf")
            .body(request.encode_to_vec())
            .send()
            .await?;
        ensure!(answer.status() == 200, "{answer:?}");
    }
    let enough = |destination: &'static str| {
        let sandbox = &sandbox;
        async move { row(sandbox, destination).filter(|row| row.records >= 120) }
    };
    let told = || format!("{}\n{:#?}", agent.log(), sandbox.state().recent_refusals);
    let documents = until("documents", PATIENCE, || enough("xray:")).await.with_context(told)?;
    ensure!((documents.records, documents.rejected) == (120, 0), "{documents:?}");
    let otlp = until("spans", PATIENCE, || enough("otlp:/v1/traces")).await.with_context(told)?;
    ensure!((otlp.records, otlp.digest) == (120, digest(&spans)), "the same bytes: {otlp:?}");

    let kept = sandbox.records(Some("xray:"), None);
    let of_order = |order: u64| {
        let parsed = kept.iter().map(|record| serde_json::from_str::<Value>(&record.text).unwrap());
        parsed.filter(move |document| document["annotations"]["order"] == order).collect::<Vec<_>>()
    };
    let [server] = of_order(7).try_into().map_err(|all| anyhow::anyhow!("one server span: {all:?}"))?;
    ensure!((server["name"].as_str(), server.get("type")) == (Some("shop"), None), "{server}");
    let call = kept
        .iter()
        .map(|record| serde_json::from_str::<Value>(&record.text).unwrap())
        .find(|document| document["parent_id"] == server["id"])
        .context("the call is a subsegment of its segment")?;
    ensure!((&call["name"], &call["fault"]) == (&"payments".into(), &true.into()), "{call}");
    let frame = &call["cause"]["exceptions"][0]["stack"][0];
    ensure!((&frame["path"], &frame["line"], &frame["label"]) == (&"a.py".into(), &4.into(), &"f".into()), "{call}");

    let stored = || async {
        let mut found = 0;
        for object in sandbox.objects() {
            let body = sandbox.object(&object.bucket, &object.key)?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*body), &mut text).ok()?;
            let lines = text.lines().map(|line| serde_json::from_str::<ExportTraceServiceRequest>(line).unwrap());
            found += lines.map(|line| line.resource_spans[0].scope_spans[0].spans.len()).sum::<usize>();
        }
        (found >= 120).then_some(found)
    };
    ensure!(until("objects", PATIENCE, stored).await.with_context(told)? == 120, "each span is stored once");
    let page = agent.get("/metrics").await?;
    let described = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md"))?;
    let ours = ["traces_exporter_", "sigpost_otlp_destination_", "sigpost_xray_"];
    let served = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: Vec<_> = served.filter(|(name, _)| ours.iter().any(|prefix| name.starts_with(prefix))).collect();
    ensure!(served.len() >= 14, "{served:?}");
    for (name, kind) in served {
        ensure!(
            described.contains(&format!("| `{name}` | {kind} |")),
            "{name} ({kind}) is served and not described so"
        );
    }
    let sent =
        agent.metric("traces_exporter_sent_spans_total{traces_config=\"default\",exporter=\"awsxray/xray\"}").await?;
    ensure!(sent == Some(120.0), "{sent:?}");
    agent.stop()?;
    Ok(())
}
