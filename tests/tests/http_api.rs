//! The HTTP API of the reference, and targets that misbehave.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::{Router, http::header, routing::get};
use e2e::{agent::Agent, process::until, receiver::Receiver};

async fn targets() -> Result<(std::net::SocketAddr, tokio::task::JoinHandle<()>)> {
    let app = Router::new()
        .route(
            "/good",
            get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], "# TYPE ok gauge\nok 1\n") }),
        )
        .route(
            "/garbage",
            get(|| async {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], "ok 1\n<html>not metrics</html>\n")
            }),
        )
        .route(
            "/huge",
            get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], "x 1\n".repeat(1 << 20)) }),
        )
        .route("/error", get(|| async { (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "ok 1\n") }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_secs(30)).await;
                "ok 1\n"
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((address, tokio::spawn(async move { drop(axum::serve(listener, app).await) })))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_targets_fail_alone_and_the_api_says_how() -> Result<()> {
    let (address, server) = targets().await?;
    let receiver = Receiver::start(true).await?;
    let jobs: String = ["good", "garbage", "huge", "error", "slow"]
        .iter()
        .map(|n| format!("        - {{job_name: {n}, metrics_path: /{n}, body_size_limit: 1MB, static_configs: [{{targets: ['{address}']}}]}}\n"))
        .collect();
    let mut agent = Agent::prepare(&format!(
        "metrics:\n  global: {{scrape_interval: 500ms, scrape_timeout: 400ms}}\n  configs:\n    - name: default\n      remote_write: [{{url: '{}'}}]\n      scrape_configs:\n{jobs}",
        receiver.url()
    ))?;
    agent.start_ready().await?;
    assert_eq!(agent.get("/-/healthy").await?.trim(), "Agent is Healthy.");
    assert_eq!(agent.get("/-/ready").await?.trim(), "Agent is Ready.");

    let up = |job: &str| {
        let key = format!("job=\"{job}\"");
        let recorded = receiver.recorded();
        let (_, samples) = recorded.into_iter().find(|(s, _)| s.starts_with("up{") && s.contains(&key))?;
        samples.last_key_value().map(|(_, (bits, _))| f64::from_bits(*bits))
    };
    until("each target's up to arrive", Duration::from_secs(20), || async {
        ["good", "garbage", "huge", "error", "slow"].iter().all(|j| up(j).is_some()).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    assert_eq!(up("good"), Some(1.0));
    for job in ["garbage", "huge", "error", "slow"] {
        assert_eq!(up(job), Some(0.0), "{job}");
    }
    assert!(
        !receiver.recorded().keys().any(|s| s.starts_with("ok{") && s.contains("job=\"garbage\"")),
        "the good line of a malformed body must be rolled back"
    );

    let instances: serde_json::Value = serde_json::from_str(&agent.get("/agent/api/v1/metrics/instances").await?)?;
    assert_eq!(instances, serde_json::json!({"status": "success", "data": ["default"]}));
    let answer: serde_json::Value = serde_json::from_str(&agent.get("/agent/api/v1/metrics/targets").await?)?;
    let list = answer["data"].as_array().context("a list")?;
    assert_eq!(list.len(), 5);
    let of = |job: &str| list.iter().find(|t| t["target_group"] == job).cloned().unwrap_or_default();
    assert_eq!(of("good")["state"], "up");
    assert_eq!(of("good")["endpoint"], format!("http://{address}/good"));
    assert_eq!(of("good")["labels"]["job"], "good");
    assert!(of("error")["scrape_error"].as_str().context("text")?.contains("500"), "{}", of("error"));
    assert!(of("garbage")["scrape_error"].as_str().context("text")?.contains("line 2"), "{}", of("garbage"));
    assert_eq!(of("slow")["state"], "down");

    let page = agent.get("/metrics").await?;
    for name in [
        "agent_build_info{",
        "process_start_time_seconds ",
        "prometheus_remote_storage_samples_total{",
        "prometheus_target_scrapes_exceeded_body_size_limit_total ",
    ] {
        assert!(page.lines().any(|l| l.starts_with(name)), "{name} is missing in:\n{page}");
    }
    agent.stop()?;
    // One line for each thing a person needs to know and none per scrape.
    let lines = agent.log().lines().count();
    assert!(lines < 40, "{lines} lines of log for a short run:\n{}", agent.log());
    server.abort();
    Ok(())
}
