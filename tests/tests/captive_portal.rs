//! A login page in place of the service: 200 and HTML to everything. No protocol takes that for a delivery; the data waits.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::any};
use e2e::{agent::Agent, exporter::Exporter, free_port, ledger, process::until};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(120);
const PAGE: &str = "<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body></body></html>";

/// Answers everything with the page, under this content type.
async fn portal(kind: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = move || async move { ([(CONTENT_TYPE, kind)], PAGE).into_response() };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await });
    Ok(format!("http://{address}"))
}

/// Destinations of every protocol at `url`, their names ending in `mark`; metrics, logs, traces.
fn destinations(url: &str, mark: &str) -> [String; 3] {
    let keys = "{region: us-east-1, access_key: AKIDEXAMPLE000000009, secret_key: not-a-real-secret}";
    let entry = |name: &str, more: &str| format!("        - {{name: {name}-{mark}, {more}}}\n");
    let aws = |host: &str, more: &str| {
        format!(
            "url: 'https://{host}.us-east-1.amazonaws.com/', endpoint_url: '{url}', batchwait: 100ms, aws: {keys}, {more}"
        )
    };
    let trace =
        |endpoint: &str, more: &str| format!("endpoint: '{endpoint}', endpoint_url: '{url}', {more}, aws: {keys}");
    let metrics = entry("prometheus", &format!("url: '{url}/api/v1/write'"))
        + &entry(
            "archive",
            &format!(
                "url: '{url}/bucket/p', sigv4: {{service_name: s3, region: us-east-1, access_key: AKIDEXAMPLE000000009, secret_key: not-a-real-secret}}, batch: {{max_age: 1s}}"
            ),
        );
    let logs = entry("loki", &format!("url: '{url}/loki/api/v1/push', batchwait: 100ms"))
        + &entry("cloudwatch", &aws("logs", "log_group: /g, log_stream: s"))
        + &entry("firehose", &aws("firehose", "delivery_stream: lines"))
        + &entry("kinesis", &aws("kinesis", "stream_name: lines"))
        + &entry("otlplogs", &format!("url: '{url}/v1/logs', batchwait: 100ms"));
    let traces = entry("otlp", &format!("endpoint: '{url}', protocol: http"))
        + &entry("xray", &trace("https://xray.us-east-1.amazonaws.com", "format: xray, protocol: http"));
    [metrics, logs, traces]
}

const NAMES: [&str; 9] =
    ["prometheus", "archive", "loki", "cloudwatch", "firehose", "kinesis", "otlplogs", "otlp", "xray"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_page_is_no_delivery_in_any_protocol() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (typed, bare) = (portal("Text/HTML; charset=utf-8").await?, portal("application/octet-stream").await?);
    let [one, other] = [destinations(&typed, "typed"), destinations(&bare, "bare")];
    let receiver = free_port()?;
    let config = format!(
        "queue: {{min_free: 1MiB}}
metrics:
  global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
  configs:
    - name: default
      remote_write:
{}{}      scrape_configs:
        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml'}}
      target_config: {{sync_period: 300ms}}
      clients:
{}{}      scrape_configs:
        - job_name: system
          static_configs: [{{targets: [localhost], labels: {{job: varlogs, __path__: '{{dir}}/app.log'}}}}]
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{receiver}'}}}}}}}}
      remote_write:
{}{}",
        one[0], other[0], exporter.address, one[1], other[1], one[2], other[2]
    );
    let mut agent = Agent::prepare(&config)?;
    fs::write(agent.dir.path().join("app.log"), "one line\nand another\n")?;
    agent.start_ready().await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let span = format!(
        r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"s","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{now}"}}]}}]}}]}}"#
    );
    let sent = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{receiver}/v1/traces"))
        .header("content-type", "application/json")
        .body(span)
        .send()
        .await?;
    assert!(sent.status().is_success(), "{}", sent.text().await?);
    let held = until("every destination to be held", PATIENCE, || async {
        let page = agent.get("/metrics").await.ok()?;
        let held = |name: &str| {
            page.lines().any(|line| {
                line.contains("_held{") && line.contains(&format!("remote_name=\"{name}\"")) && line.ends_with(" 1")
            })
        };
        let missing: Vec<String> = ["typed", "bare"]
            .iter()
            .flat_map(|mark| NAMES.iter().map(move |name| format!("{name}-{mark}")))
            .filter(|name| !held(name))
            .collect();
        missing.is_empty().then_some(())
    })
    .await;
    held.with_context(|| agent.log())?;
    let rows = ledger::of_running(&agent).await?;
    for name in NAMES {
        for mark in ["typed", "bare"] {
            let row = rows.get(&format!("{name}-{mark}")).with_context(|| format!("{name}-{mark}: {rows:?}"))?;
            let lost = row.rejected + row.evicted + row.expired + row.damaged;
            assert!(row.delivered == 0 && lost == 0 && row.pending > 0, "{name}-{mark}: {row:?}");
        }
    }
    assert!(agent.log().contains("web page"), "{}", agent.log());
    agent.stop()
}
