//! Destinations share the queue and nothing else: one that is dead, slow or behind costs the others nothing, and each
//! one's book says where every sample is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    exporter::Exporter,
    free_port,
    ledger::{self, Ledger},
    process::until,
    receiver::Receiver,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How full the disk of whoever runs the tests is must not matter.
const ROOM: &str = "queue: {min_free: 1MiB}\n";

fn jobs(exporter: &Exporter, targets: u32) -> String {
    (0..targets)
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect()
}

/// `destinations` are (name, url); `jobs` may be empty; `head` is put before everything.
fn config(head: &str, destinations: &[(&str, &str)], instance: &str, jobs: &str) -> String {
    let destinations: String = destinations
        .iter()
        .map(|(name, url)| format!("        - {{name: {name}, url: '{url}', queue_config: {{max_backoff: 300ms}}}}\n"))
        .collect();
    let jobs = if jobs.is_empty() { String::new() } else { format!("      scrape_configs:\n{jobs}") };
    format!(
        "{head}metrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n{instance}      remote_write:\n{destinations}{jobs}"
    )
}

async fn reload(agent: &Agent) -> Result<()> {
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "reload: {status}: {}", answer.text().await?);
    Ok(())
}

/// Waits until `wanted` holds of the book on `/metrics`, which must balance each time it is looked at.
async fn book(agent: &Agent, what: &str, wanted: impl Fn(&Ledger) -> bool) -> Result<Ledger> {
    let found = until(what, PATIENCE, || async {
        match ledger::of_running(agent).await {
            Ok(rows) if wanted(&rows) => Some(Ok(rows)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    });
    match found.await {
        Ok(found) => found,
        Err(error) => {
            let now = ledger::of_running(agent).await;
            Err(error).with_context(|| format!("{now:?}\n{}", agent.log()))
        }
    }
}

/// Invariant 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_destination_keeps_receiving_beside_a_slow_and_a_dead_one() -> Result<()> {
    let exporter = Exporter::start(100).await?;
    let (fast, slow) = (Receiver::start(true).await?, Receiver::start(true).await?);
    slow.answer_after(Duration::from_secs(1));
    let dead = format!("http://127.0.0.1:{}/api/v1/write", free_port()?);
    let (fast_url, slow_url) = (fast.url(), slow.url());
    let all = [("fast", fast_url.as_str()), ("slow", slow_url.as_str()), ("dead", dead.as_str())];
    let mut agent = Agent::prepare(&config(ROOM, &all, "", &jobs(&exporter, 3)))?;
    agent.start_ready().await?;

    let mut rounds = 0;
    while rounds < 3 {
        // The fast one gets what is scraped from here on, while the others have not got what was scraped before.
        let before = ledger::of_running(&agent).await?;
        let accepted = before.get("fast").map_or(0, |row| row.accepted);
        let rows = book(&agent, "the fast destination to receive", |rows| {
            rows.get("fast").is_some_and(|row| row.delivered >= accepted + 1000)
        })
        .await?;
        ensure!(rows["dead"].delivered == 0 && rows["dead"].pending == rows["dead"].accepted, "{rows:?}");
        rounds += 1;
    }
    agent.write_config(&config(ROOM, &all, "", ""))?;
    reload(&agent).await?;
    let rows = book(&agent, "both living destinations to have everything", |rows| {
        rows["fast"].pending == 0 && rows["slow"].pending == 0
    })
    .await?;
    println!("on /metrics: {rows:?}");
    agent.stop()?;

    let (rows, told) = ledger::of_stopped(agent.dir.path().join("data").as_path())?;
    ensure!(told["sound"] == true, "{told:#}");
    for (name, receiver) in [("fast", &fast), ("slow", &slow)] {
        println!("{name}: received {} different samples; {:?}", receiver.distinct(), rows[name]);
        ensure!(receiver.distinct() == rows[name].delivered && rows[name].delivered == rows[name].accepted, "{rows:?}");
    }
    println!("dead: {:?}", rows["dead"]);
    ensure!(
        rows["dead"].pending == rows["dead"].accepted && rows["dead"].accepted == rows["fast"].accepted,
        "{rows:?}"
    );
    Ok(())
}

/// The time from a scrape to the arrival of its samples: the median of at least forty requests.
async fn median_delay(receiver: &Receiver, what: &str) -> Result<i64> {
    receiver.take_delays();
    let mut delays = Vec::new();
    until(what, PATIENCE, || {
        delays.extend(receiver.take_delays());
        std::future::ready((delays.len() >= 40).then_some(()))
    })
    .await?;
    delays.sort_unstable();
    Ok(delays[delays.len() / 2])
}

/// Invariant 10, in time. What is compared is of one run on one machine, and the margin is half of what the slow one takes
/// to answer: a fast one that waited for it, or for a turn behind it, would be above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delay_of_a_fast_destination_is_the_same_beside_a_slow_and_a_dead_one() -> Result<()> {
    const SLOW: Duration = Duration::from_secs(3);
    let exporter = Exporter::start(100).await?;
    let (fast, slow) = (Receiver::start(true).await?, Receiver::start(true).await?);
    slow.answer_after(SLOW);
    let dead = format!("http://127.0.0.1:{}/api/v1/write", free_port()?);
    let (fast_url, slow_url) = (fast.url(), slow.url());
    let all = [("fast", fast_url.as_str()), ("slow", slow_url.as_str()), ("dead", dead.as_str())];
    let mut agent = Agent::prepare(&config(ROOM, &all[..1], "", &jobs(&exporter, 3)))?;
    agent.start_ready().await?;
    until("the first request", PATIENCE, || std::future::ready((fast.requests() > 5).then_some(()))).await?;
    let alone = median_delay(&fast, "requests to the fast destination alone").await?;

    agent.write_config(&config(ROOM, &all, "", &jobs(&exporter, 3)))?;
    reload(&agent).await?;
    book(&agent, "the slow one to be behind and the dead one too", |rows| {
        let behind = |name: &str| rows.get(name).is_some_and(|row| row.pending > 1000);
        behind("slow") && behind("dead")
    })
    .await?;
    slow.take_delays();
    let beside = median_delay(&fast, "requests to the fast destination beside the others").await?;
    let mut late = slow.take_delays();
    late.sort_unstable();
    let late = late.get(late.len() / 2).copied().context("the slow destination received something")?;
    println!("fast, alone: {alone} ms; beside a slow and a dead one: {beside} ms; slow: {late} ms (medians)");
    let margin = i64::try_from(SLOW.as_millis() / 2)?;
    ensure!(beside < alone + margin, "{alone} ms became {beside} ms");
    ensure!(late >= alone + margin, "the slow one is not slow ({late} ms), so this shows nothing");
    agent.stop()
}

/// Invariants 11 and 12, and the first: what a full lane takes from the dead destination is counted to the sample.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_evicts_from_the_dead_destination_only_and_counts_it() -> Result<()> {
    let exporter = Exporter::start(1500).await?;
    let (fast, late) = (Receiver::start(true).await?, Receiver::start(true).await?);
    late.answer_with(503);
    // A hundredth of the least that may be configured: 164 KiB, two segments.
    let head = "queue: {max_bytes: 16MiB, min_free: 1MiB, shares: {metrics: 1, logs: 98, traces: 1}}\n";
    let (fast_url, late_url) = (fast.url(), late.url());
    let all = [("fast", fast_url.as_str()), ("late", late_url.as_str())];
    // A round a second: what the lane holds is then some seconds, more than a living destination falls behind on a machine
    // that does other things as well.
    let config = |jobs: &str| config(head, &all, "", jobs).replace("250ms", "1s");
    let mut agent = Agent::prepare(&config(&jobs(&exporter, 4)))?;
    agent.start_ready().await?;
    book(&agent, "evictions", |rows| rows.get("late").is_some_and(|row| row.evicted > 20_000)).await?;

    // What a worker holds of evicted records it may still deliver (`late_delivered`); after a restart nothing is held.
    agent.stop()?;
    late.answer_with(200);
    agent.write_config(&config(""))?;
    agent.start_ready().await?;
    let rows = book(&agent, "the destination that came back to catch up", |rows| {
        rows["fast"].pending == 0 && rows["late"].pending == 0
    })
    .await?;
    println!("on /metrics: {rows:?}");
    ensure!(rows["late"].late_delivered == 0, "{rows:?}");
    agent.stop()?;

    let (rows, told) = ledger::of_stopped(agent.dir.path().join("data").as_path())?;
    ensure!(told["sound"] == true, "{told:#}");
    println!("fast: received {}; {:?}", fast.distinct(), rows["fast"]);
    println!("late: received {}; {:?}", late.distinct(), rows["late"]);
    ensure!(rows["fast"].evicted == 0 && fast.distinct() == rows["fast"].accepted, "{rows:?}");
    ensure!(rows["late"].accepted == rows["fast"].accepted, "{rows:?}");
    // What it did not get is what was evicted, no more and no less.
    let (distinct, row) = (late.distinct(), &rows["late"]);
    ensure!(distinct == row.delivered && distinct == row.accepted - row.evicted, "received {distinct}: {row:?}");
    ensure!(row.evicted > 0 && row.delivered > 0, "{row:?}");
    // And it is the newest that it got.
    let newest = |receiver: &Receiver| receiver.recorded().values().filter_map(|s| s.keys().next_back().copied()).max();
    ensure!(newest(&late) == newest(&fast));
    Ok(())
}

/// Invariant 21.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_beside_a_destination_that_does_not_answer_and_loses_nothing() -> Result<()> {
    let exporter = Exporter::start(100).await?;
    let (fast, slow) = (Receiver::start(true).await?, Receiver::start(true).await?);
    slow.answer_after(Duration::from_secs(600));
    let (fast_url, slow_url) = (fast.url(), slow.url());
    let all = [("fast", fast_url.as_str()), ("slow", slow_url.as_str())];
    let instance = "      remote_flush_deadline: 1s\n";
    let mut agent = Agent::prepare(&config(ROOM, &all, instance, &jobs(&exporter, 3)))?
        .with_flag("-server.graceful-shutdown-timeout=4s");
    agent.start_ready().await?;
    book(&agent, "data for both", |rows| {
        rows.get("fast").is_some_and(|row| row.delivered > 1000) && slow.requests() > 0
    })
    .await?;
    // Fails if it is not gone long before the answer would come.
    agent.stop()?;
    let data = agent.dir.path().join("data");
    let (stopped, told) = ledger::of_stopped(&data)?;
    println!("after SIGTERM: {stopped:?}");
    ensure!(told["sound"] == true && told["inspection"]["in_use"] == false, "{told:#}");
    ensure!(stopped["slow"].delivered == 0 && stopped["slow"].pending == stopped["slow"].accepted, "{stopped:?}");
    ensure!(stopped["fast"].pending == 0 && fast.distinct() == stopped["fast"].accepted, "{stopped:?}");

    slow.answer_after(Duration::ZERO);
    agent.write_config(&config(ROOM, &all, instance, ""))?;
    agent.start_ready().await?;
    let rows = book(&agent, "what was pending", |rows| rows["slow"].pending == 0).await?;
    println!("on /metrics after the restart: {rows:?}");
    ensure!(rows["slow"].accepted == stopped["slow"].accepted && rows["slow"].delivered == rows["slow"].accepted);
    ensure!(slow.distinct() == rows["slow"].accepted, "received {}: {rows:?}", slow.distinct());
    agent.stop()
}
