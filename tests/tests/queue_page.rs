//! The ledger on the page at `/` and on `/metrics`: the same numbers, how far each destination is behind, and what went with
//! a destination that was removed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, free_port, ledger, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(60);

/// The cells of the table row that begins with `name`.
fn row(page: &str, name: &str) -> Option<Vec<String>> {
    let from = page.find("<h2>Ledger")?;
    let line = page[from..].lines().find(|line| line.contains(&format!("<td>{name}</td>")))?;
    let cell = |part: &str| part.split_once('>').map_or("", |(_, rest)| rest).to_owned();
    Some(
        line.split("</td>")
            .filter(|part| part.contains("<td"))
            .map(|part| cell(part.trim_start_matches("<tr>")))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_the_book_and_how_long_each_destination_is_behind() -> Result<()> {
    let exporter = Exporter::start(100).await?;
    let up = Receiver::start(true).await?;
    let dead = format!("http://127.0.0.1:{}/api/v1/write", free_port()?);
    let config = |destinations: &[(&str, &str)], jobs: bool| {
        let destinations: String =
            destinations.iter().map(|(name, url)| format!("        - {{name: {name}, url: '{url}'}}\n")).collect();
        let jobs = if jobs {
            format!(
                "      scrape_configs: [{{job_name: t, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}]\n",
                exporter.address
            )
        } else {
            String::new()
        };
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write:\n{destinations}{jobs}"
        )
    };
    let url = up.url();
    let both = [("up", url.as_str()), ("dead", dead.as_str())];
    let mut agent = Agent::prepare(&config(&both, true))?;
    agent.start_ready().await?;
    until("a backlog of a second", PATIENCE, || async {
        let age = agent.metric("sigpost_queue_cursor_age_seconds{destination=\"dead\"").await.ok()??;
        (age > 1.0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    // Nothing new from here on, so that two pages say the same.
    let reload = async || -> Result<()> {
        let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(())
    };
    agent.write_config(&config(&both, false))?;
    reload().await?;
    // The end of the job may still be on its way: what counts is a page between two equal books.
    let (rows, page) = until("the living one to have everything", PATIENCE, || async {
        // A disk that stalls keeps what came before from being accepted.
        let unsynced = agent.metric("sigpost_queue_lane_oldest_unsynced_timestamp_seconds").await.ok()??;
        let before = ledger::of_running(&agent).await.ok().filter(|rows| rows["up"].pending == 0 && unsynced == 0.0)?;
        let page = agent.get("/").await.ok()?;
        // The last markers of a job come after its last scrape.
        tokio::time::sleep(Duration::from_secs(1)).await;
        (ledger::of_running(&agent).await.ok()? == before).then_some((before, page))
    })
    .await
    .with_context(|| agent.log())?;
    for (name, book) in &rows {
        let cells = row(&page, name).with_context(|| format!("no row of {name} in {page}"))?;
        let columns = [
            book.accepted,
            book.delivered,
            book.filtered,
            book.rejected,
            book.evicted,
            book.expired,
            book.damaged,
            book.pending,
        ];
        ensure!(cells[2..10] == columns.map(|items| items.to_string()), "{name}: {cells:?} {book:?}");
        let behind = name == "dead";
        ensure!(cells[10].is_empty() != behind && cells[11].ends_with(" s") == behind, "{name}: {cells:?}");
    }
    let age =
        async |name: &str| agent.metric(&format!("sigpost_queue_cursor_age_seconds{{destination=\"{name}\"")).await;
    let since = "sigpost_queue_oldest_pending_timestamp_seconds{destination=\"dead\"";
    let since = agent.metric(since).await?.context("the time of the oldest pending item")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    ensure!(age("up").await? == Some(0.0));
    let told = age("dead").await?.context("an age")?;
    ensure!(told >= 1.0 && told >= now - since, "{told} s, but it waits since {since}, and it is {now}");

    agent.write_config(&config(&both[..1], false))?;
    reload().await?;
    let page = agent.get("/").await?;
    ensure!(row(&page, "dead").is_none());
    let removed = ledger::of_running(&agent).await?["dead"].removed;
    ensure!(removed >= rows["dead"].pending && rows["dead"].removed == 0, "{removed} {rows:?}");
    let counted = removed as f64;
    let lines: Vec<_> = agent
        .log()
        .lines()
        .filter(|line| line.contains("destination=dead") && line.contains("pending"))
        .map(str::to_owned)
        .collect();
    ensure!(lines.len() == 1 && lines[0].contains(&format!("items={removed}")), "one line for one removal: {lines:#?}");
    let said = format!("Removed since the start: dead from metrics-default, with {counted} items pending.");
    ensure!(page.contains(&said), "{said} is not in {page}");
    agent.stop()?;
    let (rows, _) = ledger::of_stopped(&agent.dir.path().join("data"))?;
    ensure!(
        up.distinct() == rows["up"].accepted && rows["up"].accepted as f64 == counted,
        "{} {counted} {rows:?}",
        up.distinct()
    );
    Ok(())
}
