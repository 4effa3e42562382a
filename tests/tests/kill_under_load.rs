//! kill -9 while scraping and sending: every scrape that was taken in is delivered, in order, with its value.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, process::until, receiver::Receiver};

fn rounds() -> usize {
    std::env::var("SIGPOST_KILL_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(6)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_taken_in_is_lost_over_kills_and_refusals() -> Result<()> {
    let exporter = Exporter::start(200).await?;
    let receiver = Receiver::start(true).await?;
    let jobs: String = (0..4)
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect();
    let mut agent = Agent::prepare(&format!(
        "metrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write:\n        - url: {}\n          queue_config: {{max_backoff: 200ms}}\n      scrape_configs:\n{jobs}",
        receiver.url()
    ))?;

    let mut kills = 0;
    for round in 0..rounds() {
        agent.start_ready().await?;
        // Every other round the far end refuses with what an expired token looks like: the data must wait, not vanish.
        receiver.answer_with(if round % 2 == 1 { 403 } else { 200 });
        tokio::time::sleep(Duration::from_millis(700 + 190 * (round as u64 % 5))).await;
        agent.kill_9();
        kills += 1;
        receiver.answer_with(200);
    }
    agent.start_ready().await?;
    let served: Vec<u64> = (0..4).map(|n| exporter.scrapes_of(n)).collect();
    let settled = now_ms();
    until("everything of before to arrive", Duration::from_secs(40), || async {
        let recorded = receiver.recorded();
        let ups: Vec<_> = recorded.iter().filter(|(s, _)| s.starts_with("up{")).collect();
        (ups.len() == 4 && ups.iter().all(|(_, t)| t.last_key_value().is_some_and(|(t, _)| *t > settled))).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;

    let recorded = receiver.recorded();
    for n in 0..4 {
        let of_job: BTreeMap<_, _> = recorded.iter().filter(|(s, _)| s.contains(&format!("job=\"t{n}\""))).collect();
        let up = of_job.iter().find(|(s, _)| s.starts_with("up{")).context("up of each target")?.1;
        // A kill can catch one scrape of a target between the answer and the queue; every other one must be there.
        let before = up.range(..=settled).count() as u64;
        let asked = served.get(n).copied().unwrap_or(0);
        assert!(
            before + kills >= asked,
            "job t{n}: {asked} scrapes were answered, {before} arrived over {kills} kills\n{}",
            agent.log()
        );
        // Each scrape arrives whole: every data series has a sample at every tick whose scrape succeeded.
        let good: Vec<i64> = up.iter().filter(|(_, (bits, _))| f64::from_bits(*bits) == 1.0).map(|(t, _)| *t).collect();
        let data: Vec<_> = of_job.iter().filter(|(s, _)| s.starts_with("app_")).collect();
        assert_eq!(data.len(), 200, "job t{n}");
        for (series, samples) in data {
            let missing: Vec<_> = good.iter().filter(|t| !samples.contains_key(t)).collect();
            assert!(missing.is_empty(), "{series} has no sample at {missing:?}");
        }
    }
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("not the far future")
}
