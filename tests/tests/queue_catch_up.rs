//! An outage of an hour's data and the way back: the backlog goes out at full speed while new data flows in, to the sample.
//! `SIGPOST_BACKLOG_SAMPLES` sets the size; the default is an hour of 1,500 series scraped every 15 s.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(300);
const TARGETS: u32 = 20;
const SERIES: usize = 600;

fn backlog() -> u64 {
    std::env::var("SIGPOST_BACKLOG_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(1500 * 240)
}

/// Invariants 1, 5, 7 and 10 over the whole binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hours_backlog_goes_out_while_new_data_flows() -> Result<()> {
    let exporter = Exporter::start(SERIES).await?;
    let (down, up) = (Receiver::start(true).await?, Receiver::start(true).await?);
    down.answer_with(503);
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 64MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n  configs:\n    - name: default\n      remote_write:\n        - {{name: down, url: '{}', queue_config: {{max_backoff: 300ms}}}}\n        - {{name: up, url: '{}', queue_config: {{max_backoff: 300ms}}}}\n{jobs}",
            down.url(),
            up.url()
        )
    };
    let jobs: String = (0..TARGETS)
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect();
    let mut agent = Agent::prepare(&config(&format!("      scrape_configs:\n{jobs}")))?;
    agent.start_ready().await?;
    let before = until("an hour's data to wait", PATIENCE, || async {
        ledger::of_running(&agent)
            .await
            .ok()
            .filter(|rows| rows.get("down").is_some_and(|row| row.pending >= backlog()))
    })
    .await
    .with_context(|| agent.log())?;
    // The outage costs the other destination nothing: it gets all of this while the first one still refuses.
    let beside = until("the other destination to have it all", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        rows.get("up").is_some_and(|row| row.delivered >= before["up"].accepted).then_some(rows)
    })
    .await
    .with_context(|| agent.log())?;
    ensure!(beside["down"].delivered == 0 && beside["down"].evicted == 0, "{beside:?}");
    let bytes = agent.metric("sigpost_queue_pending_bytes{destination=\"down\"").await?;
    println!("{} samples wait in {bytes:?} bytes", before["down"].pending);

    down.answer_with(200);
    let begun = Instant::now();
    // All of the outage, and some rounds that were scraped while it went out.
    let goal = before["down"].accepted + u64::from(TARGETS) * SERIES as u64 * 4;
    let after = until("the backlog to go out while scrapes go on", PATIENCE, || async {
        ledger::of_running(&agent).await.ok().filter(|rows| rows["down"].delivered >= goal)
    })
    .await
    .with_context(|| agent.log())?;
    println!(
        "{} samples delivered in {:.1} s, {} accepted meanwhile; the other one got {}",
        after["down"].delivered,
        begun.elapsed().as_secs_f64(),
        after["down"].accepted - before["down"].accepted,
        after["up"].delivered - before["up"].delivered
    );
    ensure!(after["up"].delivered > before["up"].delivered, "the other destination stood still: {after:?}");

    agent.write_config(&config(""))?;
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    until("everything to be delivered", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        rows.values().all(|row| row.pending == 0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    let (rows, told) = ledger::of_stopped(&agent.dir.path().join("data"))?;
    ensure!(told["sound"] == true, "{told:#}");
    for (name, receiver) in [("down", &down), ("up", &up)] {
        let row = &rows[name];
        println!("{name}: received {} different samples; {row:?}", receiver.distinct());
        ensure!(receiver.distinct() == row.accepted && row.delivered == row.accepted, "{name}: {row:?}");
    }
    // Both got the same samples with the same values, whether they waited for an hour or not.
    let values = |receiver: &Receiver| -> Vec<(String, Vec<(i64, u64)>)> {
        let pairs = |samples: std::collections::BTreeMap<i64, (u64, u32)>| {
            samples.into_iter().map(|(at, (bits, _))| (at, bits)).collect()
        };
        receiver.recorded().into_iter().map(|(series, samples)| (series, pairs(samples))).collect()
    };
    ensure!(values(&down) == values(&up), "the two destinations hold different samples");
    Ok(())
}
