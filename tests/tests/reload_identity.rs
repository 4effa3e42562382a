//! A destination gets another address and other credentials by a reload, and goes on where it stood: every sample since the
//! first scrape arrives once, signed by the new key, and the book names no other end.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};

const PATIENCE: Duration = Duration::from_secs(60);
const OLD: (&str, &str) = ("AKIDOLD0000000000001", "old-secret-MARKER-not-a-real-one");
const NEW: (&str, &str) = ("AKIDNEW0000000000001", "new-secret-MARKER-not-a-real-one");

/// Plays AMP for one key only.
async fn cloud((id, secret): (&str, &str)) -> Result<Running> {
    let identities = vec![Identity::user(id, secret)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

fn config(exporter: &Exporter, url: &str, (id, secret): (&str, &str)) -> String {
    format!(
        "queue: {{min_free: 1MiB}}
metrics:
  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
  configs:
    - name: default
      remote_write:
        - name: kept
          url: {url}
          sigv4: {{region: us-east-1, service_name: aps, access_key: {id}, secret_key: {secret}}}
      scrape_configs:
        - job_name: node
          metrics_path: /t/0/metrics
          static_configs: [{{targets: ['{}']}}]
",
        exporter.address
    )
}

fn write_url(cloud: &Running, workspace: &str) -> String {
    format!("http://{}/workspaces/{workspace}/api/v1/remote_write", cloud.address())
}

async fn reload(agent: &Agent) -> Result<()> {
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "reload: {status}: {}", answer.text().await?);
    Ok(())
}

/// Timestamps of `up` that arrived.
fn ups(cloud: &Running) -> BTreeSet<i64> {
    cloud.samples(None, Some("up")).iter().flat_map(|d| d.samples.iter().map(|s| s.timestamp_ms)).collect()
}

/// Invariant 22.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_address_and_other_credentials_by_reload_keep_the_position() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (refusing, taking) = (cloud(OLD).await?, cloud(NEW).await?);
    // The key that the first place knows not: everything waits.
    let mut agent = Agent::prepare(&config(&exporter, &write_url(&refusing, "ws-OLD"), (OLD.0, NEW.1)))?;
    agent.start_ready().await?;
    until("a backlog behind a refusal", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (exporter.scrapes_of(0) >= 5 && rows.get("kept")?.pending > 0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let waiting = ledger::of_running(&agent).await?["kept"].clone();
    ensure!(waiting.delivered == 0 && waiting.accepted == waiting.pending, "{waiting:?}");

    agent.write_config(&config(&exporter, &write_url(&taking, "ws-NEW"), NEW))?;
    reload(&agent).await?;
    until("the backlog at the new place", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (rows.get("kept")?.delivered > waiting.accepted).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;

    let (rows, told) = ledger::of_stopped(agent.dir.path().join("data").as_path())?;
    let kept = &rows["kept"];
    ensure!(rows.len() == 1 && kept.delivered == kept.accepted && kept.pending == 0, "{rows:?}\n{told}");
    let received: u64 = taking.samples(None, None).iter().map(|d| d.samples.len() as u64).sum();
    assert_eq!(received, kept.accepted, "what arrived at the new place, and what was taken in");
    assert!(ups(&refusing).is_empty(), "the old place took something");
    assert!(ups(&taking).len() as u64 >= exporter.scrapes_of(0).saturating_sub(1), "scrapes are missing");
    let log = agent.log();
    for secret in [OLD.1, NEW.1] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    Ok(())
}
