//! Reload: all or nothing, positions kept, what did not change keeps running.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(exporter: &Exporter, url: &str, jobs: &[u32], extra: &str) -> String {
    let jobs: String = jobs
        .iter()
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect();
    format!(
        "metrics:\n  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\n  configs:\n    - name: default\n      remote_write:\n        - name: kept\n          url: {url}\n{extra}      scrape_configs:\n{jobs}"
    )
}

async fn reload(agent: &Agent) -> Result<(u16, String)> {
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

fn ups(receiver: &Receiver, job: &str) -> usize {
    let key = format!("job=\"{job}\"");
    receiver.recorded().iter().filter(|(s, _)| s.starts_with("up{") && s.contains(&key)).map(|(_, t)| t.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_keeps_its_position_when_its_address_changes() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (dead, alive) = (Receiver::start(true).await?, Receiver::start(true).await?);
    dead.answer_with(403);
    let mut agent = Agent::prepare(&config(&exporter, &dead.url(), &[0], ""))?;
    agent.start_ready().await?;
    until("some scrapes and a refusal", PATIENCE, || async {
        (exporter.scrapes_of(0) >= 5 && dead.requests() >= 1).then_some(())
    })
    .await?;
    let before = exporter.scrapes_of(0);

    agent.write_config(&config(&exporter, &alive.url(), &[0], "          remote_timeout: 7s\n"))?;
    let (status, text) = reload(&agent).await?;
    assert_eq!(status, 200, "{text}");
    until("the backlog at the new address", PATIENCE, || async { (ups(&alive, "t0") as u64 > before).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    assert_eq!(dead.samples(), 0);
    assert_eq!(agent.metric("agent_config_last_load_successful").await?, Some(1.0));
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing_and_says_why() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let receiver = Receiver::start(true).await?;
    let mut agent = Agent::prepare(&config(&exporter, &receiver.url(), &[0], ""))?;
    agent.start_ready().await?;
    until("a scrape", PATIENCE, || async { (ups(&receiver, "t0") >= 1).then_some(()) }).await?;

    agent.write_config("metrics:\n  configs:\n    - name: default\n      scrape_configz: []\n")?;
    let (status, text) = reload(&agent).await?;
    assert_eq!(status, 400);
    assert!(text.contains("scrape_configz") && text.contains(":4:"), "{text}");
    assert_eq!(agent.metric("agent_config_last_load_successful").await?, Some(0.0));
    let seen = ups(&receiver, "t0");
    until("scraping to go on", PATIENCE, || async { (ups(&receiver, "t0") >= seen + 2).then_some(()) }).await?;

    // A certificate that cannot be read is found before anything is touched.
    agent.write_config(&config(
        &exporter,
        &receiver.url(),
        &[0, 1],
        "          tls_config: {ca: not a certificate}\n",
    ))?;
    let (status, text) = reload(&agent).await?;
    assert_eq!(status, 400, "{text}");
    assert_eq!(exporter.scrapes_of(1), 0, "a job of a refused file ran");
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_adds_and_removes_jobs_and_destinations() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (one, two) = (Receiver::start(true).await?, Receiver::start(true).await?);
    let mut agent = Agent::prepare(&config(&exporter, &one.url(), &[0, 1], ""))?;
    agent.start_ready().await?;
    until("both jobs", PATIENCE, || async { (ups(&one, "t0") >= 1 && ups(&one, "t1") >= 1).then_some(()) }).await?;

    let second = format!("        - name: second\n          url: {}\n", two.url());
    agent.write_config(&config(&exporter, &one.url(), &[1, 2], &second))?;
    agent.process()?.signal("HUP")?;
    until("the new job at both destinations", PATIENCE, || async {
        (ups(&one, "t2") >= 2 && ups(&two, "t2") >= 2).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    // The removed job ends with staleness markers, two ticks later.
    until("the removed job's markers", PATIENCE, || async {
        let recorded = one.recorded();
        let up = recorded.iter().find(|(s, _)| s.starts_with("up{") && s.contains("job=\"t0\""))?.1;
        (up.last_key_value()?.1.0 == 0x7ff0_0000_0000_0002).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    // The job that stayed was scraped all along: no marker, no second target.
    let recorded = one.recorded();
    let up = recorded.iter().find(|(s, _)| s.starts_with("up{") && s.contains("job=\"t1\"")).context("t1")?.1;
    assert!(up.values().all(|(bits, _)| f64::from_bits(*bits) == 1.0), "{up:?}");
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_gives_up_nothing_in_the_queue() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let receiver = Receiver::start(true).await?;
    receiver.answer_with(503);
    let good = config(&exporter, &receiver.url(), &[0], "");
    let mut agent = Agent::prepare(&good)?;
    agent.start_ready().await?;
    until("some scrapes", PATIENCE, || async { (exporter.scrapes_of(0) >= 4).then_some(()) }).await?;
    agent.kill_9();
    let asked = exporter.scrapes_of(0);

    // Another destination, and one that cannot be built: the old one's data must outlive the attempt.
    let bad = good
        .replace("name: kept", "name: other")
        .replace("      scrape_configs:", "          tls_config: {ca: not a certificate}\n      scrape_configs:");
    agent.write_config(&bad)?;
    agent.start()?;
    assert_eq!(agent.process()?.wait(PATIENCE)?.code(), Some(1), "{}", agent.log());

    agent.write_config(&good)?;
    receiver.answer_with(200);
    agent.start_ready().await?;
    until("everything of before", PATIENCE, || async { (ups(&receiver, "t0") as u64 > asked).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_end_with_a_stop_only_where_that_is_asked_for() -> Result<()> {
    for asked in [true, false] {
        let exporter = Exporter::start(20).await?;
        let receiver = Receiver::start(true).await?;
        let text = config(&exporter, &receiver.url(), &[0], "");
        let more = format!("      write_stale_on_shutdown: {asked}\n      scrape_configs:\n");
        let mut agent = Agent::prepare(&text.replacen("      scrape_configs:\n", &more, 1))?;
        agent.start_ready().await?;
        until("scrapes", PATIENCE, || async { (ups(&receiver, "t0") >= 3).then_some(()) })
            .await
            .with_context(|| agent.log())?;
        agent.stop()?;
        let recorded = receiver.recorded();
        let ends = recorded.values().filter_map(|samples| Some(samples.last_key_value()?.1.0));
        let marked = ends.filter(|bits| *bits == 0x7ff0_0000_0000_0002).count();
        let wanted = if asked { recorded.len() } else { 0 };
        assert_eq!(marked, wanted, "write_stale_on_shutdown: {asked}; {} series\n{}", recorded.len(), agent.log());
    }
    Ok(())
}
