//! kill -9 under load with two destinations: after every round what receivers got is what the book says.
//!
//! `SIGPOST_KILL_ROUNDS` sets the number of rounds (50).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(60);

fn rounds() -> u64 {
    std::env::var("SIGPOST_KILL_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(50)
}

/// Invariants 1, 4, 5, 7 over the whole binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_nothing_that_the_book_does_not_name() -> Result<()> {
    let exporter = Exporter::start(300).await?;
    let (fast, slow) = (Receiver::start(true).await?, Receiver::start(true).await?);
    slow.answer_after(Duration::from_millis(400));
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n  configs:\n    - name: default\n      remote_write:\n        - {{name: fast, url: '{}', queue_config: {{max_backoff: 200ms}}}}\n        - {{name: slow, url: '{}', queue_config: {{max_backoff: 200ms}}}}\n{jobs}",
            fast.url(),
            slow.url()
        )
    };
    let jobs: String = (0..4)
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect();
    let jobs = format!("      scrape_configs:\n{jobs}");
    let mut agent = Agent::prepare(&config(&jobs))?;
    let data = agent.dir.path().join("data");
    let mut accepted = 0;
    for round in 0..rounds() {
        agent.start_ready().await?;
        let goal = accepted + 2000 + 700 * (round % 4);
        until("data to be accepted", PATIENCE, || async {
            ledger::of_running(&agent).await.ok()?.get("fast").filter(|row| row.accepted >= goal).map(drop)
        })
        .await
        .with_context(|| agent.log())?;
        // Not always at the same point between two commits.
        tokio::time::sleep(Duration::from_millis(37 * (round % 7))).await;
        agent.kill_9();
        let (rows, told) = ledger::of_stopped(&data)?;
        println!("round {round}: {rows:?}");
        ensure!(told["sound"] == true, "round {round}: {told:#}");
        ensure!(rows["fast"].accepted >= goal, "round {round}: accepted went back: {rows:?}");
        accepted = rows["fast"].accepted;
        for (name, receiver) in [("fast", &fast), ("slow", &slow)] {
            // An answer that the kill cut off makes receivers know more than the book, never less.
            ensure!(receiver.distinct() >= rows[name].delivered, "round {round}: {name}: {rows:?}");
            ensure!(receiver.distinct() <= rows[name].accepted, "round {round}: {name}: {rows:?}");
        }
    }
    slow.answer_after(Duration::ZERO);
    agent.write_config(&config(""))?;
    agent.start_ready().await?;
    until("everything to be delivered", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        rows.values().all(|row| row.pending == 0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let rows = ledger::of_running(&agent).await?;
    agent.stop()?;
    for (name, receiver) in [("fast", &fast), ("slow", &slow)] {
        println!(
            "{name}: {} kills, {} accepted, {} different samples received, {} sent twice; {:?}",
            rounds(),
            rows[name].accepted,
            receiver.distinct(),
            receiver.samples() - receiver.distinct(),
            rows[name]
        );
        ensure!(rows[name].delivered == rows[name].accepted && receiver.distinct() == rows[name].accepted, "{name}");
    }
    Ok(())
}
