//! What senders of spans are told when the queue is full, and what is counted, through the real binary.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, collector::Collector, free_port, process::until};
use prost::Message;
use proto::otlp_traces::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span};

const PATIENCE: Duration = Duration::from_secs(120);

/// More than the queue has room for, in requests of [`SPAN`] bytes.
const MOST: usize = 200;
const SPAN: usize = 128 << 10;

fn config(http: u16, behind: u16, queue: &str) -> String {
    format!(
        "queue: {{max_bytes: 16MiB, min_free: 64KiB, shares: {{metrics: 1, logs: 1, traces: 98}}}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      remote_write:
        - {{name: down, endpoint: 'http://127.0.0.1:{behind}', protocol: http, compression: none, retry_on_failure: {{initial_interval: 1s, max_interval: 1s}}{queue}}}
"
    )
}

/// Posts spans named by their number until one is refused; gives the names that were taken, and the refusal.
async fn post(http: u16) -> Result<(BTreeSet<String>, Option<reqwest::Response>)> {
    let client = reqwest::Client::new();
    let mut taken = BTreeSet::new();
    for number in 0..MOST {
        let name = format!("{number:05}{}", "x".repeat(SPAN));
        let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], name: name.clone(), ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        let group = ResourceSpans { scope_spans, ..ResourceSpans::default() };
        let body = ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec();
        let request = client.post(format!("http://127.0.0.1:{http}/v1/traces")).body(body);
        let answer = request.header("content-type", "application/x-protobuf").send().await?;
        if !answer.status().is_success() {
            return Ok((taken, Some(answer)));
        }
        taken.insert(name);
    }
    Ok((taken, None))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_answers_429_and_keeps_what_it_answered_with_success() -> Result<()> {
    let (http, behind) = (free_port()?, free_port()?);
    let mut agent = Agent::prepare(&config(http, behind, ""))?;
    agent.start_ready().await?;
    let (taken, refusal) = post(http).await?;
    let refusal = refusal.context("the queue never said that it is full")?;
    ensure!(refusal.status() == 429, "{}", refusal.status());
    ensure!(refusal.headers().contains_key("retry-after"), "{:?}", refusal.headers());
    ensure!(taken.len() > 40, "{} were taken", taken.len());
    let evicted = "sigpost_queue_evicted_items_total{destination=\"down\"";
    ensure!(agent.metric(evicted).await?.unwrap_or(0.0) == 0.0);
    // Once somebody takes them all of them arrive.
    let (collector, up) = Collector::start().await?;
    agent.write_config(&config(http, up, ""))?;
    let reload = format!("http://127.0.0.1:{}/-/reload", agent.port);
    ensure!(reqwest::Client::new().post(reload).send().await?.status().is_success(), "{}", agent.log());
    until("every span that was answered", PATIENCE, || async { collector.names().is_superset(&taken).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_are_evicted_count_as_failed() -> Result<()> {
    let (http, behind) = (free_port()?, free_port()?);
    let mut agent = Agent::prepare(&config(http, behind, ", queue: {on_full: evict}"))?;
    agent.start_ready().await?;
    let (taken, refusal) = post(http).await?;
    ensure!(refusal.is_none() && taken.len() == MOST, "the oldest goes for the newest");
    let evicted = "sigpost_queue_evicted_items_total{destination=\"down\"";
    let failed = "traces_exporter_send_failed_spans_total{traces_config=\"default\",exporter=\"otlphttp/down\"}";
    until("the same count", PATIENCE, || async {
        let evicted = agent.metric(evicted).await.ok().flatten().filter(|items| *items > 0.0)?;
        (agent.metric(failed).await.ok().flatten() == Some(evicted)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()
}
