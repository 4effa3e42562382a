//! docs/reference/metrics.md and what a running agent serves are the same names and types.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, process::until, receiver::Receiver};

/// name -> type, from the tables' first two columns.
fn documented() -> Result<BTreeMap<String, String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md"))?;
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((name.to_owned(), rest.split(" |").next()?.to_owned()))
    };
    Ok(page.lines().filter_map(row).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_described_and_every_description_has_its_metric() -> Result<()> {
    let documented = documented()?;
    assert!(documented.len() > 50, "the tables were not read: {documented:?}");
    let exporter = Exporter::start(20).await?;
    let receiver = Receiver::start(false).await?;
    // Relabelling that drops one series, so that reasons appear; a destination that refuses, so that the others do.
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
  configs:
    - name: default
      remote_write:
        - url: {}
          sigv4: {{region: us-east-1, access_key: AKIDEXAMPLE, secret_key: not-a-secret}}
          metadata_config: {{send_interval: 300ms}}
          write_relabel_configs: [{{source_labels: [__name__], regex: scrape_series_added, action: drop}}]
      scrape_configs:
        - {{job_name: t, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}
",
        receiver.url(),
        exporter.address
    ))?;
    agent.start_ready().await?;
    until("samples to be delivered", Duration::from_secs(20), || async { (receiver.samples() > 60).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    let page = agent.get("/metrics").await?;
    agent.stop()?;

    let served: BTreeMap<String, String> = page
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(n, t)| (n.to_owned(), t.to_owned()))
        .collect();
    for (name, kind) in &served {
        assert_eq!(documented.get(name), Some(kind), "{name} ({kind}) is served and not described so");
    }
    // Rows that need a trouble of their own to appear.
    let rare = [
        "reason",
        "sigpost_credential_expiry_seconds",
        "sigpost_clock_offset_seconds",
        "_sync_failed_",
        "_sync_total",
        "sigpost_secret_",
        "sigpost_vault_token_",
        // Of logs, which this file has none of: see logs_metrics.rs.
        "promtail_",
        "logentry_",
        "sigpost_tail_",
        "sigpost_log_destination_",
        "sigpost_log_source_",
        // Of traces: see otlp_receive.rs and otlp_out.rs.
        "traces_receiver_",
        // Of their processors: see traces_processors.rs and traces_derived.rs.
        "traces_processor_",
        "traces_service_graph_",
        "traces_loadbalancer_",
        "sigpost_otlp_requests_",
        "sigpost_otlp_received_",
        "sigpost_otlp_refused_",
        // Of datagrams: see jaeger_receive.rs.
        "sigpost_receiver_",
        "traces_exporter_",
        "sigpost_otlp_destination_",
        "sigpost_xray_",
    ];
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md"))?;
    for name in documented.keys().filter(|n| !served.contains_key(*n)) {
        let line = text.lines().find(|l| l.contains(&format!("`{name}`"))).unwrap_or_default();
        assert!(rare.iter().any(|r| line.contains(r)), "{name} is described and not served");
    }
    Ok(())
}
