//! Spans of real Zipkin clients, through the real binary, to a collector of OTLP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    collector::{Collector, old_client, text},
    free_port,
    process::until,
};
use flate2::{Compression, write::GzEncoder};

const PATIENCE: Duration = Duration::from_secs(90);

fn agent(collector: u16, zipkin: u16) -> Result<Agent> {
    Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers:
        zipkin: {{endpoint: '127.0.0.1:{zipkin}'}}
      remote_write:
        - name: collector
          endpoint: http://127.0.0.1:{collector}
          protocol: http
          compression: none
          retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zipkins_clients_are_understood() -> Result<()> {
    for kind in ["zipkin-json", "zipkin-proto", "zipkin-v1", "py-zipkin"] {
        let (collector, port) = Collector::start().await?;
        let zipkin = free_port()?;
        let mut agent = agent(port, zipkin)?;
        agent.start_ready().await?;
        let Some(said) = old_client(kind, zipkin).await? else { return Ok(()) };
        ensure!(!said.contains("rror"), "{kind}: {said}");
        until("all spans", PATIENCE, || async { (collector.spans().len() >= 31).then_some(()) }).await?;
        let spans = collector.spans();
        assert_eq!(spans.len(), 31, "{kind}");
        let (_, root) = spans.iter().find(|(_, span)| span.name == "root").context("the root")?;
        for (resource, span) in &spans {
            assert_eq!(text(resource, "service.name"), Some("e2e-spans"), "{kind}");
            assert_eq!(span.trace_id, root.trace_id, "{kind}");
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0, "{kind}");
            if span.name != "root" {
                assert_eq!(span.parent_span_id, root.span_id, "{kind}");
            }
        }
        for number in 0..30 {
            assert!(spans.iter().any(|(_, span)| span.name == format!("span-{number}")), "{kind}: span-{number}");
        }
        assert_eq!(root.status.as_ref().map(|status| status.code), Some(2), "{kind}: {root:?}");
        assert!(root.events.iter().any(|event| event.name.contains("an event")), "{kind}: {root:?}");
        if kind != "zipkin-v1" {
            assert_eq!(root.kind, 2, "{kind}");
        }
        let accepted =
            "traces_receiver_accepted_spans_total{traces_config=\"default\",receiver=\"zipkin\",transport=\"http\"}";
        assert_eq!(agent.metric(accepted).await?, Some(31.0), "{kind}");
        agent.stop()?;
    }
    Ok(())
}

fn span(number: u32) -> String {
    format!(
        r#"[{{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"{number:016x}","name":"span {number} ","timestamp":{},
        "duration":10,"kind":"SERVER","localEndpoint":{{"serviceName":"shop"}}}}]"#,
        1_700_000_000_000_000u64
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_with_202_survives_a_kill_and_the_rest_is_told() -> Result<()> {
    use std::io::Write;
    let (collector, port) = Collector::start().await?;
    collector.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let zipkin = free_port()?;
    let mut agent = agent(port, zipkin)?;
    agent.start_ready().await?;
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{zipkin}/api/v2/spans");
    let post = |body: Vec<u8>| client.post(&url).header("content-type", "application/json").body(body).send();
    for number in 1..=20 {
        ensure!(post(span(number).into_bytes()).await?.status() == 202);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(span(21).as_bytes())?;
    let body = packed.finish()?;
    let answer = client.post(&url).header("content-encoding", "gzip").body(body).send().await?;
    assert_eq!(answer.status(), 202);
    let answer = post(b"[{\"traceId\":\"1\"}]".to_vec()).await?;
    assert_eq!(answer.status(), 400);
    let why = answer.text().await?;
    assert!(why.contains("missing field `id`"), "{why}");
    let answer = client.post(format!("http://127.0.0.1:{zipkin}/v1/traces")).body("[]").send().await?;
    assert_eq!(answer.status(), 404);
    agent.kill_9();
    collector.down.store(false, std::sync::atomic::Ordering::SeqCst);
    agent.start_ready().await?;
    until("all spans", PATIENCE, || async { (collector.numbers("/v1/traces").len() >= 21).then_some(()) }).await?;
    assert_eq!(collector.numbers("/v1/traces"), (1..=21).collect::<Vec<_>>());
    agent.stop()
}
