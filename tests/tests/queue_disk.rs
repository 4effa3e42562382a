//! A file system that somebody else fills, and then frees again. Needs root for a small tmpfs; where that is not permitted
//! the simulated disk of crate `queue` (`a_full_disk_stalls_the_lane_until_there_is_space`) is the proof.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(60);
const SIZE: &str = "24m";

/// A tmpfs, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "none"]).arg(at).output();
        match out {
            Ok(out) if out.status.success() => Ok(Self(at.to_owned())),
            Ok(out) => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Writes until there is no space.
fn fill(path: &Path) -> Result<u64> {
    let mut file = std::fs::File::create(path)?;
    let mut total = 0;
    for size in [1 << 20, 1 << 12] {
        let block = vec![0xaa; size];
        while file.write_all(&block).is_ok() {
            total += size as u64;
        }
    }
    Ok(total)
}

/// Invariants 13 and 20 over the whole binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_others_fill_and_free_loses_nothing_that_was_accepted() -> Result<()> {
    let exporter = Exporter::start(500).await?;
    let (down, up) = (Receiver::start(true).await?, Receiver::start(true).await?);
    down.answer_with(503);
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 64KiB, shares: {{metrics: 1, logs: 98, traces: 1}}}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write:\n        - {{name: down, url: '{}', queue_config: {{max_backoff: 300ms}}, queue: {{on_full: hold}}}}\n        - {{name: up, url: '{}', queue_config: {{max_backoff: 300ms}}, queue: {{on_full: hold}}}}\n{jobs}",
            down.url(),
            up.url()
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
    let mut agent = Agent::prepare(&config(&format!("      scrape_configs:\n{jobs}")))?;
    let data = agent.dir.path().join("data");
    let _small = match Small::mount(&data) {
        Ok(small) => small,
        Err(why) => {
            println!("SKIPPED: a tmpfs cannot be mounted here ({why})");
            return Ok(());
        }
    };
    agent.start_ready().await?;
    until("data on disk", PATIENCE, || async {
        ledger::of_running(&agent).await.ok()?.get("up").filter(|row| row.delivered > 1000).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    let filler = data.join("somebody-elses.file");
    println!("filled with {} bytes of somebody else", fill(&filler)?);
    state(&agent, "full").await?;
    let full = ledger::of_running(&agent).await?;
    println!("full: {full:?}");
    // It is the disk that is full and not the budget, which has room for a second segment.
    let figure = async |name: &str| agent.metric(name).await.map(|found| found.unwrap_or_default());
    let (bytes, budget) = (figure("sigpost_queue_lane_bytes").await?, figure("sigpost_queue_lane_budget_bytes").await?);
    ensure!(bytes > 0.0 && bytes * 2.0 <= budget + 8192.0, "{bytes} of {budget}");
    ensure!(full["down"].evicted == 0 && full["up"].evicted == 0, "{full:?}");

    std::fs::remove_file(&filler)?;
    down.answer_with(200);
    state(&agent, "ok").await?;
    until("data to flow again", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        rows.values().all(|row| row.delivered >= full["up"].accepted + 3000).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
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
    let (rows, told) = ledger::of_stopped(&data)?;
    ensure!(told["sound"] == true, "{told:#}");
    for (name, receiver) in [("down", &down), ("up", &up)] {
        let row = &rows[name];
        println!("{name}: received {} different samples; {row:?}", receiver.distinct());
        ensure!(receiver.distinct() == row.accepted && row.delivered == row.accepted && row.evicted == 0, "{rows:?}");
    }
    Ok(())
}

/// The same where the queue may evict: a dead destination's requests hold records of what is evicted, and neither
/// intake nor the other destination waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_evicts_from_a_dead_destination_and_nothing_waits_for_its_requests() -> Result<()> {
    let exporter = Exporter::start(1000).await?;
    let (dead, up) = (Receiver::start(false).await?, Receiver::start(true).await?);
    // It takes requests and never answers.
    dead.answer_after(Duration::from_secs(3600));
    // The budget has room for many segments of 164 KiB, the disk for two.
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 64KiB, shares: {{metrics: 2, logs: 97, traces: 1}}}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_flush_deadline: 1s\n      remote_write:\n        - {{name: dead, url: '{}', remote_timeout: 1h}}\n        - {{name: up, url: '{}'}}\n{jobs}",
            dead.url(),
            up.url()
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
    let mut agent = Agent::prepare(&config(&format!("      scrape_configs:\n{jobs}")))?
        .with_flag("-server.graceful-shutdown-timeout=4s");
    let data = agent.dir.path().join("data");
    let _small = match Small::mount(&data) {
        Ok(small) => small,
        Err(why) => {
            println!("SKIPPED: a tmpfs cannot be mounted here ({why})");
            return Ok(());
        }
    };
    agent.start_ready().await?;
    until("data on disk", PATIENCE, || async {
        ledger::of_running(&agent).await.ok()?.get("up").filter(|row| row.delivered > 1000).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    // Everything but the room for one more segment.
    let filler = data.join("somebody-elses.file");
    let filled = fill(&filler)?;
    let file = std::fs::File::options().write(true).open(&filler)?;
    file.set_len(filled - (220 << 10))?;
    let before = ledger::of_running(&agent).await?;
    let rows = until("many evictions while the other destination goes on", PATIENCE * 2, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        let evicted = rows["dead"].evicted > before["dead"].evicted + 250_000;
        (evicted && rows["up"].delivered > before["up"].delivered + 150_000).then_some(rows)
    })
    .await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            let now = ledger::of_running(&agent).await;
            return Err(error).with_context(|| format!("{now:?}\n{}", agent.log()));
        }
    };
    println!("evicted from the dead one while its requests were open: {rows:?}");
    ensure!(!agent.log().contains("appends wait"), "{}", agent.log());
    let refused = agent.metric("sigpost_scrape_refused_samples_total").await?;
    ensure!(refused == Some(0.0), "refused samples: {refused:?}");
    for row in rows.values() {
        ensure!(row.damaged == 0 && row.rejected == 0, "{rows:?}");
    }
    agent.write_config(&config(""))?;
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    ensure!(answer.status().is_success(), "{}", answer.text().await?);
    let last = until("everything to be delivered to the living one", PATIENCE, || async {
        ledger::of_running(&agent).await.ok().filter(|rows| rows["up"].pending == 0)
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    let (rows, told) = ledger::of_stopped(&data)?;
    println!("up: received {} different samples; {rows:?}", up.distinct());
    ensure!(told["sound"] == true, "{told:#}");
    // On a slow machine the living one may be a segment behind; then what it lost is in the book as well.
    // The end of the jobs may have been told after the last look.
    let arrived = rows["up"].delivered + last["up"].late_delivered;
    ensure!(up.distinct() == arrived && rows["up"].delivered + rows["up"].evicted == rows["up"].accepted, "{rows:?}");
    ensure!(rows["dead"].delivered == 0 && rows["dead"].accepted == rows["up"].accepted, "{rows:?}");
    Ok(())
}

/// Invariant 20 where the disk refuses for another reason than want of room: the state says so, `/-/ready` is red, and both
/// recover without anybody's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_write_makes_the_agent_unready_until_it_can() -> Result<()> {
    let exporter = Exporter::start(50).await?;
    let up = Receiver::start(true).await?;
    let config = |jobs: &str| {
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n  configs:\n    - name: default\n      remote_write: [{{name: up, url: '{}'}}]\n{jobs}",
            up.url()
        )
    };
    let mut agent = Agent::prepare(&config(""))?;
    agent.start_ready().await?;
    let reload = async || -> Result<()> {
        let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
        ensure!(answer.status().is_success(), "{}", answer.text().await?);
        Ok(())
    };
    // No file of the lane is open yet: its first one cannot be made, because something else has the directory's name.
    let lane = agent.dir.path().join("data/queue/lanes/metrics-default");
    std::fs::remove_dir(&lane)?;
    std::fs::write(&lane, "in the way")?;
    let job =
        format!("      scrape_configs: [{{job_name: t, static_configs: [{{targets: ['{}']}}]}}]\n", exporter.address);
    agent.write_config(&config(&job))?;
    reload().await?;
    state(&agent, "failed").await?;
    let ready = async || -> Result<u16> {
        Ok(reqwest::get(format!("http://127.0.0.1:{}/-/ready", agent.port)).await?.status().as_u16())
    };
    ensure!(ready().await? == 503);
    let rows = ledger::of_running(&agent).await?;
    ensure!(rows["up"].accepted == 0, "{rows:?}");
    std::fs::remove_file(&lane)?;
    state(&agent, "ok").await?;
    ensure!(ready().await? == 200);
    agent.write_config(&config(""))?;
    reload().await?;
    until("something to be delivered", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        (rows["up"].accepted > 0 && rows["up"].pending == 0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    // What waited for the disk may become durable in several commits: a stop lets all of them out.
    agent.stop()?;
    let (rows, _) = ledger::of_stopped(&agent.dir.path().join("data"))?;
    ensure!(up.distinct() == rows["up"].accepted && rows["up"].delivered == rows["up"].accepted, "{rows:?}");
    Ok(())
}

async fn state(agent: &Agent, wanted: &str) -> Result<()> {
    let series = format!("sigpost_queue_lane_state{{lane=\"metrics-default\",state=\"{wanted}\"}}");
    let what = format!("the lane to be {wanted}");
    let seen = until(&what, PATIENCE, || async { (agent.metric(&series).await.ok()? == Some(1.0)).then_some(()) });
    seen.await.with_context(|| agent.log())
}
