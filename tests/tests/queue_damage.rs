//! A byte that rots between a kill and the next start, and the command that finds it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::{Agent, command},
    exporter::Exporter,
    ledger,
    process::until,
    receiver::Receiver,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Flips one bit, somewhere in the first half of the oldest segment, so that exactly one record's body is damaged; gives
/// the file's entry in the damage report.
fn rot(data: &std::path::Path) -> Result<Value> {
    let (_, sound) = ledger::of_stopped(data)?;
    ensure!(sound["sound"] == true, "{sound:#}");
    let path = PathBuf::from(
        sound["inspection"]["lanes"][0]["segments"][0]["path"].as_str().context("the lane has a segment")?,
    );
    let pristine = std::fs::read(&path)?;
    let end = sound["inspection"]["lanes"][0]["segments"][0]["end"].as_u64().context("its end")? as usize;
    for step in 1..40 {
        let mut bytes = pristine.clone();
        bytes[128 + end / 2 * step / 40] ^= 0x10;
        std::fs::write(&path, &bytes)?;
        let (_, told) = ledger::of_stopped(data)?;
        let damage = told["damage"].as_array().context("a damage report")?;
        // Other places hit a header, or a context that several records name: those are tried in crate `queue`.
        if let [one] = damage.as_slice()
            && one["fault"] == "body"
            && one["items"].as_u64().unwrap_or(0) > 0
        {
            ensure!(told["sound"] == false);
            ensure!(told["damaged_items"] == one["items"]);
            return Ok(one.clone());
        }
    }
    anyhow::bail!("no place in the first half of {} is in a record's body", path.display())
}

/// Invariant 14 over the whole binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_byte_costs_exactly_its_own_record() -> Result<()> {
    let exporter = Exporter::start(150).await?;
    let receiver = Receiver::start(true).await?;
    receiver.answer_with(503);
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write:\n        - {{name: only, url: '{}', queue_config: {{max_backoff: 300ms}}}}\n{jobs}",
            receiver.url()
        )
    };
    let jobs: String = (0..3)
        .map(|n| {
            format!(
                "        - {{job_name: t{n}, metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
                exporter.address
            )
        })
        .collect();
    let mut agent = Agent::prepare(&config(&format!("      scrape_configs:\n{jobs}")))?;
    let data = agent.dir.path().join("data");
    agent.start_ready().await?;
    until("data on disk", PATIENCE, || async {
        ledger::of_running(&agent).await.ok()?.get("only").filter(|row| row.accepted > 6000).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    // A queue in use can be looked at; nothing stops and nothing is repaired.
    let (code, text) = command(&["queue", "inspect", &data.display().to_string()], &[], &data)?;
    ensure!(code == Some(0) && text.contains("in use by a running process"), "{code:?}: {text}");
    agent.kill_9();
    let (before, _) = ledger::of_stopped(&data)?;

    let damage = rot(&data)?;
    let lost = damage["items"].as_u64().context("items")?;
    let (code, text) = command(&["queue", "verify", &data.display().to_string()], &[], &data)?;
    ensure!(code == Some(1) && text.contains("DAMAGE in 1 places"), "{code:?}: {text}");
    println!("{}", text.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));

    receiver.answer_with(200);
    agent.write_config(&config(""))?;
    agent.start_ready().await?;
    let rows = until("everything else to arrive", PATIENCE, || async {
        ledger::of_running(&agent).await.ok().filter(|rows| rows["only"].pending == 0)
    })
    .await
    .with_context(|| agent.log())?;
    println!("{lost} items lost to one byte; received {}; {:?}", receiver.distinct(), rows["only"]);
    ensure!(rows["only"].accepted == before["only"].accepted, "{before:?} {rows:?}");
    ensure!(rows["only"].damaged == lost && rows["only"].delivered == rows["only"].accepted - lost, "{rows:?}");
    ensure!(receiver.distinct() == rows["only"].delivered, "received {}", receiver.distinct());
    let kept = agent.metric("sigpost_queue_quarantine_bytes").await?;
    ensure!(kept.is_some_and(|bytes| bytes > 0.0), "{kept:?}");
    agent.stop()
}

/// Invariant 14 over the whole binary: the newest file's header rots, then the newest file is cut in half. The first costs nothing;
/// the second what the command says before the start; each is one line in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_header_costs_nothing_and_a_cut_file_what_was_in_it() -> Result<()> {
    let exporter = Exporter::start(150).await?;
    let receiver = Receiver::start(true).await?;
    receiver.answer_with(503);
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write:\n        - {{name: only, url: '{}', queue_config: {{max_backoff: 300ms}}}}\n{jobs}",
            receiver.url()
        )
    };
    let jobs = format!(
        "      scrape_configs:\n        - {{job_name: t, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
        exporter.address
    );
    let mut agent = Agent::prepare(&config(&jobs))?;
    let data = agent.dir.path().join("data");
    let newest = |told: &Value| -> Result<(PathBuf, u64)> {
        let segments = told["inspection"]["lanes"][0]["segments"].as_array().context("segments")?;
        let last = segments.last().context("a segment")?;
        let number = |key: &str| last[key].as_u64().context("a number");
        Ok((PathBuf::from(last["path"].as_str().context("a path")?), number("end")? - number("base")?))
    };
    let mut accepted = 0;
    for start in 1..=2usize {
        agent.start_ready().await?;
        let goal = accepted + 5000;
        until("data on disk", PATIENCE, || async {
            ledger::of_running(&agent).await.ok()?.get("only").filter(|row| row.accepted > goal).map(drop)
        })
        .await
        .with_context(|| agent.log())?;
        agent.kill_9();
        let (rows, sound) = ledger::of_stopped(&data)?;
        accepted = rows["only"].accepted;
        let (path, frames) = newest(&sound)?;
        if start == 1 {
            ensure!(sound["sound"] == true, "{sound:#}");
            let mut bytes = std::fs::read(&path)?;
            bytes[20] ^= 1;
            std::fs::write(&path, bytes)?;
            let (rows, told) = ledger::of_stopped(&data)?;
            ensure!(told["sound"] == false && told["damaged_items"] == 0, "{told:#}");
            ensure!(told["damage"][0]["fault"] == "segment_header" && rows["only"].accepted == accepted, "{told:#}");
        } else {
            std::fs::OpenOptions::new().write(true).open(&path)?.set_len(128 + frames / 2)?;
        }
    }
    let (code, text) = command(&["queue", "verify", &data.display().to_string()], &[], &data)?;
    ensure!(code == Some(1) && text.contains("the end of the log is damaged or gone"), "{code:?}: {text}");
    ensure!(!text.contains("never promised"), "{text}");
    let (before, told) = ledger::of_stopped(&data)?;
    let lost = told["damaged_items"].as_u64().context("items")?;
    ensure!(lost > 0 && told["damage"].as_array().is_some_and(|all| all.iter().any(|one| one["fault"] == "tail")));

    receiver.answer_with(200);
    agent.write_config(&config(""))?;
    agent.start_ready().await?;
    let rows = until("everything else to arrive", PATIENCE, || async {
        ledger::of_running(&agent).await.ok().filter(|rows| rows["only"].pending == 0)
    })
    .await
    .with_context(|| agent.log())?;
    println!("{lost} items lost to a file cut in half; received {}; {:?}", receiver.distinct(), rows["only"]);
    ensure!(rows["only"].accepted == before["only"].accepted, "{before:?} {rows:?}");
    ensure!(rows["only"].damaged == lost && rows["only"].delivered == rows["only"].accepted - lost, "{rows:?}");
    ensure!(receiver.distinct() == rows["only"].delivered, "received {}", receiver.distinct());
    let log = agent.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("damaged")).collect();
    ensure!(
        lines.len() == 2 && lines[0].contains("mended_segments=1"),
        "one line for each start with damage: {lines:#?}"
    );
    ensure!(lines[1].contains(&format!("tail_items={lost}")), "{lines:#?}");
    agent.stop()?;
    // The command of an emptied lane says where its log goes on.
    let (_, text) = command(&["queue", "inspect", &data.display().to_string()], &[], &data)?;
    ensure!(!text.contains("durable to offset 0"), "{text}");
    Ok(())
}

#[test]
fn a_directory_without_a_queue_is_refused_with_a_reason() -> Result<()> {
    let empty = tempfile::tempdir()?;
    for question in ["inspect", "verify"] {
        let (code, text) = command(&["queue", question, "/nonexistent/data"], &[], empty.path())?;
        ensure!(code == Some(1) && text.contains("/nonexistent/data") && text.contains("No such file"), "{text}");
        let (code, text) = command(&["queue", question, &empty.path().display().to_string()], &[], empty.path())?;
        ensure!(code == Some(1) && text.contains("holds no queue"), "{text}");
        let (code, _) = command(&["queue", question], &[], empty.path())?;
        ensure!(code == Some(2));
    }
    Ok(())
}
