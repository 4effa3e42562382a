//! What senders of spans are told when the queue is full, and what is counted, through the real binary.

use std::{collections::BTreeSet, ops::Range, sync::atomic::Ordering, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, collector::Collector, free_port, ledger, process::until};
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
    post_some(http, 0..MOST).await
}

async fn post_some(http: u16, numbers: Range<usize>) -> Result<(BTreeSet<String>, Option<reqwest::Response>)> {
    let client = reqwest::Client::new();
    let mut taken = BTreeSet::new();
    for number in numbers {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_destinations_only_those_that_lag_lose_what_is_evicted() -> Result<()> {
    let http = free_port()?;
    let ((alive, to_alive), (late, to_late)) = (Collector::start().await?, Collector::start().await?);
    late.down.store(true, Ordering::SeqCst);
    let one = |name: &str, port: u16| {
        format!(
            "        - {{name: {name}, endpoint: 'http://127.0.0.1:{port}', protocol: http, compression: none, retry_on_failure: {{initial_interval: 100ms, max_interval: 1s}}}}\n"
        )
    };
    let mut agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 16MiB, min_free: 64KiB, shares: {{metrics: 1, logs: 1, traces: 98}}}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      remote_write:
{}{}{}",
        one("alive", to_alive),
        one("late", to_late),
        one("dead", free_port()?)
    ))?;
    agent.start_ready().await?;
    // Nobody says what happens when the lane is full: with several destinations the oldest goes.
    let mut all = BTreeSet::new();
    for from in (0..MOST).step_by(20) {
        let (taken, refusal) = post_some(http, from..from + 20).await?;
        ensure!(refusal.is_none() && taken.len() == 20, "{refusal:?}");
        all.extend(taken);
        until("the destination that lives", PATIENCE, || async { alive.names().is_superset(&all).then_some(()) })
            .await
            .with_context(|| agent.log())?;
    }
    let accepted = MOST as u64;
    let settled = || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (rows["alive"].pending == 0).then_some(rows)
    };
    let rows = until("the book of the one that lives", PATIENCE, settled).await?;
    ensure!((rows["alive"].delivered, rows["alive"].evicted) == (accepted, 0), "{rows:?}");
    for name in ["late", "dead"] {
        let row = &rows[name];
        ensure!(row.evicted > 0 && row.pending > 0 && row.evicted + row.pending == accepted, "{rows:?}");
    }
    // What was not evicted arrives: the newest, without a gap.
    late.down.store(false, Ordering::SeqCst);
    let settled = || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (rows["late"].pending == 0).then_some(rows)
    };
    let rows = until("the one that was late", PATIENCE, settled).await.with_context(|| agent.log())?;
    ensure!(rows["late"].delivered + rows["late"].evicted == accepted, "{rows:?}");
    let newest = all.iter().skip(usize::try_from(rows["late"].evicted)?).cloned().collect::<BTreeSet<_>>();
    ensure!(late.names().is_superset(&newest), "{} of {}", late.names().len(), newest.len());
    ensure!(rows["dead"].evicted + rows["dead"].pending == accepted, "{rows:?}");
    agent.stop()
}
