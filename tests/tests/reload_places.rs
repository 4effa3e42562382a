//! What a file that renames, pauses or leaves out a destination does to what waits for it: told before, booked after.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::{Agent, command},
    exporter::Exporter,
    process::until,
    receiver::Receiver,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One job, and a destination for each name and further lines of it.
fn config(exporter: &Exporter, destinations: &[(&str, &Receiver, &str)]) -> String {
    let destinations: String = destinations
        .iter()
        .map(|(name, receiver, more)| {
            let url = receiver.url();
            format!("        - {{name: {name}, url: '{url}', queue_config: {{min_backoff: 50ms, max_backoff: 100ms}}{more}}}\n")
        })
        .collect();
    format!(
        "metrics:\n  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\n  configs:\n    - name: default\n      \
         remote_write:\n{destinations}      scrape_configs:\n        - {{job_name: t0, metrics_path: /t/0/metrics, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        exporter.address
    )
}

async fn reload(agent: &Agent, config: &str) -> Result<()> {
    agent.write_config(config)?;
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    let status = answer.status();
    ensure!(status == 200, "{status}: {}", answer.text().await?);
    Ok(())
}

/// A column of the book.
async fn book(agent: &Agent, column: &str, name: &str) -> Result<f64> {
    let series = format!("sigpost_queue_{column}_items{}", if column == "pending" { "" } else { "_total" });
    let page = agent.get("/metrics").await?;
    let of_it = page.lines().filter(|line| line.starts_with(&series) && line.contains(&format!("\"{name}\"")));
    Ok(of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn diff(agent: &Agent, config: &str) -> Result<(Option<i32>, String)> {
    let file = agent.dir.path().join("next.yaml");
    std::fs::write(&file, config)?;
    let data = format!("-metrics.wal-directory={}", agent.dir.path().join("data").display());
    let (code, printed) = command(&["check", "--diff", &data, &file.display().to_string()], &[], agent.dir.path())?;
    let from = printed.find("# with this file").with_context(|| printed.clone())?;
    Ok((code, printed[from..].to_owned()))
}

/// The number before ` items (`, in the line that contains `what`.
fn items(text: &str, what: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.contains(what)).with_context(|| format!("{what:?} in {text}"))?;
    let (before, _) = line.split_once(" items (").with_context(|| line.to_owned())?;
    Ok(before.rsplit(' ').next().unwrap_or_default().parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_destination_is_another_one_and_check_says_so_before() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (alive, dead) = (Receiver::start(true).await?, Receiver::start(true).await?);
    dead.answer_with(503);
    let before = config(&exporter, &[("alive", &alive, ""), ("old", &dead, "")]);
    let after = config(&exporter, &[("alive", &alive, ""), ("new", &dead, "")]);
    let mut agent = Agent::prepare(&before)?;

    let (code, told) = diff(&agent, &before)?;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("old on metrics-default is new and begins with what comes in"), "{told}");

    agent.start_ready().await?;
    until("a backlog", PATIENCE, || async { (book(&agent, "pending", "old").await.ok()? >= 100.0).then_some(()) })
        .await?;

    // Beside the running agent: at most what its own book says a moment later.
    let (code, told) = diff(&agent, &after)?;
    let waiting = items(&told, "old on metrics-default is GIVEN UP")?;
    assert_eq!(code, Some(3), "{told}");
    assert!(waiting > 0.0 && waiting <= book(&agent, "pending", "old").await?, "{told}");
    assert!(
        told.contains("in use by a running agent") && told.contains("if new is the same one, call it `name: old`"),
        "{told}"
    );
    assert!(told.contains("alive on metrics-default keeps its place"), "{told}");

    agent.kill_9();
    let (code, told) = diff(&agent, &before)?;
    assert_eq!(code, Some(0), "{told}");
    let kept = items(&told, "old on metrics-default keeps its place")?;
    let (code, told) = diff(&agent, &after)?;
    assert_eq!(code, Some(3), "{told}");
    assert_eq!(items(&told, "old on metrics-default is GIVEN UP")?, kept, "{told}");

    // And so it is.
    agent.write_config(&after)?;
    agent.start_ready().await?;
    assert_eq!(book(&agent, "removed", "old").await?, kept, "{}", agent.log());
    assert!(agent.log().contains("no longer configured; what was pending for it is given up"), "{}", agent.log());

    // The same by a reload: what was pending of the new one is booked, and the other one goes on.
    until("a backlog", PATIENCE, || async { (book(&agent, "pending", "new").await.ok()? >= 100.0).then_some(()) })
        .await?;
    let seen = alive.samples();
    reload(&agent, &config(&exporter, &[("alive", &alive, ""), ("newest", &dead, "")])).await?;
    assert!(book(&agent, "removed", "new").await? >= 100.0);
    until("samples at the other one", PATIENCE, || async { (alive.samples() > seen).then_some(()) }).await?;
    agent.kill_9();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_destination_keeps_what_waits_through_reloads_and_restarts() -> Result<()> {
    let exporter = Exporter::start(20).await?;
    let (alive, paused) = (Receiver::start(true).await?, Receiver::start(true).await?);
    let on = config(&exporter, &[("alive", &alive, ""), ("paused", &paused, "")]);
    let off = config(&exporter, &[("alive", &alive, ""), ("paused", &paused, ", enabled: false")]);
    let mut agent = Agent::prepare(&on)?;
    agent.start_ready().await?;
    until("samples at both", PATIENCE, || async { (alive.samples() > 40 && paused.samples() > 40).then_some(()) })
        .await?;

    reload(&agent, &off).await?;
    let page = agent.get("/").await?;
    assert!(page.contains("2 destinations") && page.contains("enabled: false; what comes in waits"), "{page}");
    let asked = paused.requests();
    until("a backlog", PATIENCE, || async { (book(&agent, "pending", "paused").await.ok()? >= 60.0).then_some(()) })
        .await?;
    agent.kill_9();
    let (code, told) = diff(&agent, &off)?;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("it is paused (enabled: false)"), "{told}");
    let kept = items(&told, "paused on metrics-default keeps its place")?;
    assert!(kept >= 60.0, "{told}");

    agent.write_config(&off)?;
    agent.start_ready().await?;
    until("more of it", PATIENCE, || async {
        (book(&agent, "pending", "paused").await.ok()? > kept + 40.0).then_some(())
    })
    .await?;
    assert_eq!(paused.requests(), asked, "a paused destination was sent to");

    reload(&agent, &on).await?;
    until("everything at both", PATIENCE, || async {
        let behind = book(&agent, "pending", "paused").await.ok()?;
        (behind < 40.0 && paused.samples() + 60 >= alive.samples()).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    // Series by series: what the one got after its first second, the other one got, too.
    let (ours, theirs) = (paused.recorded(), alive.recorded());
    for (series, times) in &theirs {
        let mine = ours.get(series).with_context(|| series.clone())?;
        assert!(times.keys().all(|at| mine.contains_key(at)), "{series}");
    }
    Ok(())
}
