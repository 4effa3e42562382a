//! Ten minutes of three destinations - fast, slow, dead - against the real binary: flat memory, and a book that explains
//! every item. `make soak`; `--seconds N` for another length.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::{
    agent::Agent,
    exporter::Exporter,
    free_port,
    ledger::{self, Ledger},
    process::until,
    receiver::Receiver,
    usage,
};

const TARGETS: u32 = 20;
const SERIES: usize = 500;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The slow destination answers after this.
const SLOW: Duration = Duration::from_millis(700);
/// Anonymous memory may grow by this between the middle third and the last: 1 MiB is half a byte for each sample that goes
/// through in a third of ten minutes, and what glibc's allocator and the kernel's accounting move by on their own stays below
/// a third of it. File pages are the program's own text and come as it is used, so they do not count.
const GROWTH_LIMIT: u64 = 1 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    match soak().await {
        Ok(problems) if problems.is_empty() => {
            println!("\nOK: every item is explained");
            ExitCode::SUCCESS
        }
        Ok(problems) => {
            for problem in problems {
                println!("FAILED: {problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("FAILED: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn seconds() -> Result<u64> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => Ok(600),
        (Some("--seconds"), Some(number)) => number.parse().context("--seconds takes a whole number"),
        _ => bail!("usage: soak [--seconds N]"),
    }
}

async fn soak() -> Result<Vec<String>> {
    let length = Duration::from_secs(seconds()?);
    let exporter = Exporter::start(SERIES).await?;
    // Counting only: remembering ten minutes of samples would be the test's own leak.
    let (fast, slow) = (Receiver::start(false).await?, Receiver::start(false).await?);
    slow.answer_after(SLOW);
    let dead = format!("http://127.0.0.1:{}/api/v1/write", free_port()?);
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB, shares: {{metrics: 1, logs: 1, traces: 6}}}}\nmetrics:\n  global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n  configs:\n    - name: soak\n      remote_write:\n        - {{name: fast, url: '{}'}}\n        - {{name: slow, url: '{}', queue: {{shards: 1}}}}\n        - {{name: dead, url: '{dead}', queue: {{max_in_flight_bytes: 1MiB}}}}\n{jobs}",
            fast.url(),
            slow.url()
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
    let pid = agent.pid().context("the agent runs")?;
    println!(
        "{length:?} with {TARGETS} targets of {SERIES} series a second; slow answers after {SLOW:?}, dead refuses\n"
    );
    println!(
        "  time s   RSS MiB  anon MiB  CPU s   lane MiB   fast pending   slow pending   dead pending   dead evicted  unexplained"
    );

    let start = Instant::now();
    let mut ticks = tokio::time::interval(SAMPLE_EVERY.min(length / 4).max(Duration::from_secs(1)));
    // Anonymous bytes.
    let mut memory = Vec::new();
    let mut problems = Vec::new();
    let mut last_fast = 0;
    while start.elapsed() < length {
        ticks.tick().await;
        let rows = book(&agent, &mut problems).await?;
        let used = usage::of(pid).context("the agent ended")?;
        let lane = agent.metric("sigpost_queue_lane_bytes").await?.unwrap_or_default();
        let of = |name: &str| rows.get(name).cloned().unwrap_or_default();
        println!(
            "{:>8} {:>9.1} {:>9.1} {:>6.1} {:>10.2} {:>14} {:>14} {:>14} {:>14} {:>12}",
            start.elapsed().as_secs(),
            mib(used.rss_bytes),
            mib(used.anonymous_bytes),
            used.cpu_seconds,
            lane / f64::from(1 << 20),
            of("fast").pending,
            of("slow").pending,
            of("dead").pending,
            of("dead").evicted,
            rows.values().map(ledger::Row::unexplained).sum::<i64>(),
        );
        if start.elapsed() > SAMPLE_EVERY && of("fast").delivered <= last_fast {
            problems.push(format!("the fast destination stood still at {last_fast} items"));
        }
        last_fast = of("fast").delivered;
        memory.push(used.anonymous_bytes);
    }

    slow.answer_after(Duration::ZERO);
    agent.write_config(&config(""))?;
    let reload = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    if !reload.status().is_success() {
        bail!("reload: {}", reload.text().await?);
    }
    let settled = until("fast and slow to have everything", Duration::from_secs(300), || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (rows.get("fast")?.pending == 0 && rows.get("slow")?.pending == 0).then_some(rows)
    });
    let running = settled.await?;
    agent.stop()?;
    let (rows, told) = ledger::of_stopped(&agent.dir.path().join("data"))?;
    if told["sound"] != true {
        problems.push(format!("the queue's files are damaged: {:#}", told["damage"]));
    }

    println!(
        "\n{:>12} {:>12} {:>12} {:>10} {:>10} {:>12} {:>12} {:>12}",
        "destination", "accepted", "delivered", "rejected", "damaged", "evicted", "pending", "received"
    );
    let receivers = [("fast", Some(&fast)), ("slow", Some(&slow)), ("dead", None)];
    for (name, receiver) in receivers {
        let row = rows.get(name).with_context(|| format!("{name} is not in the book"))?;
        let received = receiver.map_or(0, Receiver::samples);
        println!(
            "{name:>12} {:>12} {:>12} {:>10} {:>10} {:>12} {:>12} {received:>12}",
            row.accepted, row.delivered, row.rejected, row.damaged, row.evicted, row.pending
        );
        // Without kills nothing is sent twice, so what a receiver counted is what the book says it took.
        let late = running.get(name).map_or(0, |row| row.late_delivered);
        let missing = (row.delivered + late).cast_signed() - received.cast_signed();
        if missing != 0 {
            problems.push(format!("{name}: {missing} items are delivered by the book and did not arrive"));
        }
        if row.rejected + row.damaged + row.expired + row.filtered > 0 {
            problems.push(format!("{name}: nothing should have been refused, damaged or dropped: {row:?}"));
        }
    }
    // The first third fills buffers, caches and the lane; from then on every segment written evicts another. A minute shows
    // start-up and no leak.
    let steady = length >= Duration::from_secs(300);
    if steady && rows["dead"].evicted == 0 {
        problems.push("nothing was evicted: the lane never filled, and this was no steady state".to_owned());
    }
    let third = memory.len() / 3;
    if third > 1 {
        let (middle, late) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
        println!(
            "\nanonymous memory: median {:.2} MiB in the middle third, {:.2} MiB in the last",
            mib(middle),
            mib(late)
        );
        if steady && late > middle + GROWTH_LIMIT {
            problems.push(format!("memory grew by more than {:.1} MiB", mib(GROWTH_LIMIT)));
        }
    }
    Ok(problems)
}

/// The book now; one that does not balance is a problem and not an end.
async fn book(agent: &Agent, problems: &mut Vec<String>) -> Result<Ledger> {
    let found = ledger::of_running_unchecked(agent).await?;
    for (name, row) in &found {
        if row.unexplained() != 0 {
            problems.push(format!("{name}: {} items are unexplained: {row:?}", row.unexplained()));
        }
    }
    Ok(found)
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
