//! The real binary reads a large log file that is written and rotated meanwhile, and is killed with -9 again and again:
//! every line arrives, with the text that was written.
//!
//! `SIGPOST_TAIL_MIB` sets the size (16 if it is not set), `SIGPOST_TAIL_KILLS` the number of kills (6).

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    lines::{LineReceiver, Writer},
    process::until,
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// As logrotate does it, without compression: the file moves to `.1`, what lay there to `.2`.
fn rotate(path: &Path, way: usize) -> Result<()> {
    let older = |n: usize| path.with_extension(format!("log.{n}"));
    for n in (1..8).rev() {
        if older(n).exists() {
            fs::rename(older(n), older(n + 1))?;
        }
    }
    if way.is_multiple_of(2) {
        fs::rename(path, older(1))?;
        File::create(path)?;
    } else {
        fs::copy(path, older(1))?;
        File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_a_large_file_arrives_through_kills_and_rotations() -> Result<()> {
    let (mib, kills) = (number("SIGPOST_TAIL_MIB", 16), number("SIGPOST_TAIL_KILLS", 6).max(1));
    let receiver = LineReceiver::start(true).await?;
    let mut agent = Agent::prepare(&format!(
        "server: {{log_level: warn}}
queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      target_config: {{sync_period: 500ms}}
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 500ms}}
      clients:
        - {{url: 'http://{}/loki/api/v1/push', batchwait: 100ms}}
      scrape_configs:
        - job_name: large
          static_configs:
            - targets: [localhost]
              labels: {{job: large, __path__: '{{dir}}/logs/app.log'}}
",
        receiver.address
    ))?;
    fs::create_dir(agent.dir.path().join("logs"))?;
    let path = agent.dir.path().join("logs/app.log");
    let (mut writer, total) = (Writer::new(), mib << 20);
    // A quarter first, so that it is read in the middle of a large file; the rest while it runs and while it is down.
    let mut written = writer.file(&path, total / 4)?;
    let patience = Duration::from_secs(120 + mib / 2);
    let began = Instant::now();
    for kill in 0..kills {
        agent.start_ready().await?;
        let wanted = receiver.lines() + writer.sum.lines / (kills * 2);
        until("lines to arrive", patience, || async { (receiver.lines() >= wanted).then_some(()) })
            .await
            .with_context(|| format!("kill {kill}: {} of {wanted}\n{}", receiver.lines(), agent.log()))?;
        agent.kill_9();
        if kill % 2 == 1 {
            // Only a file that was met under its name has a remainder to be finished, and this one was.
            rotate(&path, usize::try_from(kill / 2)?)?;
        }
        let mut file = File::options().append(true).open(&path)?;
        written += writer.fill(&mut file, total.saturating_sub(written) / (kills - kill))?;
    }
    agent.start_ready().await?;
    until("every line", patience, || async {
        (receiver.different().is_ok_and(|(found, _)| found.lines >= writer.sum.lines)).then_some(())
    })
    .await
    .with_context(|| format!("{:?} of {:?}\n{}", receiver.different(), writer.sum, agent.log()))?;
    let (found, repeated) = receiver.different().map_err(anyhow::Error::msg)?;
    println!(
        "{} MiB, {} lines, hash {:016x}; {kills} kills; {repeated} lines sent twice; {:.1} s",
        written >> 20,
        found.lines,
        found.hash,
        began.elapsed().as_secs_f64()
    );
    ensure!(found == writer.sum, "{found:?} arrived, {:?} was written", writer.sum);
    // What was on its way is sent again, as it was; nothing is read again.
    ensure!(receiver.read_twice() == 0, "{} lines were read twice", receiver.read_twice());
    ensure!(receiver.refused() == 0, "{} requests could not be read", receiver.refused());
    agent.stop()
}
