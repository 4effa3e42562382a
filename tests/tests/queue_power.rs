//! Power cuts, simulated on the real files of the real binary: what no sync vouches for is lost, torn or gone, in any mix.
//!
//! A cut is kill -9 and then what a disk may do: everything before the durable end that the agent itself told stays, and
//! behind it sectors keep zeros, the file is shorter, or a file that was just created is not there; the cursor slot that is
//! written next is torn. The lost directory syncs and lying fdatasyncs of a real disk are in crate `queue`'s simulated one.
//! `SIGPOST_POWER_ROUNDS` sets the number of cuts (6), `SIGPOST_SEED` the seed, which is printed.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until, receiver::Receiver};

const PATIENCE: Duration = Duration::from_secs(60);
const HEADER: u64 = 128;
const SECTOR: u64 = 512;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// xorshift64: enough to choose what is lost, and the same again from the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// What the frames behind a place in a segment say was synced when they were written, by docs/queue-format.md.
fn vouched_for(bytes: &[u8], mut at: usize) -> u64 {
    let mut newest = 0;
    while let Some(frame) = bytes.get(at..at + 64).filter(|frame| frame.starts_with(&[0xf7, b'S', b'Q', 0x1b])) {
        let word = |from: usize| frame[from..from + 8].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        newest = newest.max(word(48));
        at += 64 + (word(8) as u32 as usize).next_multiple_of(8);
    }
    newest
}

/// Takes from a lane's files what lies behind `durable`, or behind the later durable end that a frame vouches for. Gives the bytes that had been written there.
fn cut_lane(lane: &Path, durable: u64, chance: &mut Chance) -> Result<u64> {
    let mut taken = 0;
    for entry in fs::read_dir(lane)? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        let base = u64::from_str_radix(name, 16).with_context(|| format!("{name} is no lane offset"))?;
        let mut bytes = fs::read(&path)?;
        // Nothing in it is durable, so its name need not be either.
        if base >= durable && chance.below(2) == 0 {
            taken += bytes.iter().filter(|byte| **byte != 0).count() as u64;
            fs::remove_file(&path)?;
            continue;
        }
        let from = if base >= durable {
            0
        } else {
            // Some commits went by since that end was told.
            let told = (HEADER + durable - base).min(bytes.len() as u64);
            told.max(HEADER + vouched_for(&bytes, told as usize).saturating_sub(base)).min(bytes.len() as u64)
        };
        // The rest of the file is reserved and was never written.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        if written <= from {
            continue;
        }
        let before = bytes[from as usize..].iter().filter(|byte| **byte != 0).count() as u64;
        match chance.below(3) {
            0 => bytes.truncate((from + chance.below(written - from)) as usize),
            1 => bytes[from as usize..].fill(0),
            _ => {
                // In any order: a later sector may have made it and an earlier one not.
                let mut start = from;
                while start < written {
                    let end = (start + 1).next_multiple_of(SECTOR).min(written);
                    if chance.below(2) == 0 {
                        bytes[start as usize..end as usize].fill(0);
                    }
                    start = end;
                }
            }
        }
        let after = bytes.get(from as usize..).unwrap_or_default().iter().filter(|byte| **byte != 0).count() as u64;
        taken += before - after;
        fs::write(&path, bytes)?;
    }
    Ok(taken)
}

/// Tears the slot of each cursor file that would be written next.
fn tear_cursors(cursors: &Path, chance: &mut Chance) -> Result<()> {
    for entry in fs::read_dir(cursors)? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        let half = bytes.len() / 2;
        let generation = |at: usize| -> Result<u64> {
            Ok(u64::from_le_bytes(bytes.get(at + 16..at + 24).context("two slots")?.try_into()?))
        };
        let older = if generation(0)? < generation(half)? { 0 } else { half };
        let torn = chance.below(half as u64) as usize;
        bytes[older + torn..older + half].fill(0xa5);
        fs::write(&path, bytes)?;
    }
    Ok(())
}

/// Invariants 1, 2, 3, 4, 6, 19 over the whole binary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_take_nothing_that_was_told_to_be_durable_and_nothing_twice() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = number("SIGPOST_SEED").unwrap_or(now.as_nanos() as u64) | 1;
    let rounds = number("SIGPOST_POWER_ROUNDS").unwrap_or(6);
    println!("seed {seed}, {rounds} cuts");
    let mut chance = Chance(seed);
    let exporter = Exporter::start(300).await?;
    let receivers = [("one", Receiver::start(true).await?), ("two", Receiver::start(true).await?)];
    let config = |jobs: &str| {
        let destinations: String = receivers
            .iter()
            .map(|(name, receiver)| {
                format!("        - {{name: {name}, url: '{}', queue_config: {{max_backoff: 200ms}}}}\n", receiver.url())
            })
            .collect();
        format!(
            "queue: {{max_bytes: 16MiB, min_free: 1MiB}}\nmetrics:\n  global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n  configs:\n    - name: default\n      remote_write:\n{destinations}{jobs}"
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
    let mut lost = 0;
    for round in 0..rounds {
        receivers.iter().for_each(|(_, receiver)| receiver.answer_with(200));
        agent.start_ready().await?;
        let wait = |what: &'static str, wanted: fn(&ledger::Row, &ledger::Row) -> bool, since: ledger::Ledger| {
            let agent = &agent;
            async move {
                let look = || async {
                    let rows = ledger::of_running(agent).await.ok()?;
                    let all = ["one", "two"].iter().all(|name| {
                        rows.get(*name).is_some_and(|row| wanted(row, &since.get(*name).cloned().unwrap_or_default()))
                    });
                    all.then_some(rows)
                };
                until(what, PATIENCE, look).await.with_context(|| agent.log())
            }
        };
        let begun = ledger::of_running(&agent).await?;
        let some = wait("some deliveries", |row, since| row.delivered >= since.delivered + 2400, begun).await?;
        // From here on nothing arrives: what the cut takes, nobody has seen.
        receivers.iter().for_each(|(_, receiver)| receiver.answer_with(503));
        wait("a backlog", |row, since| row.accepted >= since.accepted + 2400 && row.pending > 0, some).await?;
        tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
        let told = ledger::of_running(&agent).await?;
        let durable = agent.metric("sigpost_queue_lane_durable_offset_bytes{lane=\"metrics-default\"}").await?;
        let durable = durable.context("the lane's durable end")? as u64;
        // Some of what is written behind it is synced, and some is not.
        wait("more to be written", |row, since| row.accepted > since.accepted, told.clone()).await?;
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        agent.kill_9();
        let queue = data.join("queue");
        let taken = cut_lane(&queue.join("lanes/metrics-default"), durable, &mut chance)?;
        tear_cursors(&queue.join("cursors"), &mut chance)?;
        lost += taken;
        let (rows, verified) = ledger::of_stopped(&data)?;
        println!("round {round}: durable to {durable}, {taken} written bytes behind it taken; {:?}", rows["one"]);
        ensure!(verified["sound"] == true, "round {round}: a torn write is no damage: {verified:#}");
        for (name, receiver) in &receivers {
            let (row, told) = (&rows[*name], &told[*name]);
            ensure!(row.accepted >= told.accepted, "round {round}: {name} had {told:?} and has {row:?}");
            ensure!(receiver.distinct() <= row.accepted, "round {round}: {name} got what is not there: {row:?}");
        }
    }
    ensure!(lost > 0, "no cut took anything: this shows nothing");
    receivers.iter().for_each(|(_, receiver)| receiver.answer_with(200));
    agent.write_config(&config(""))?;
    agent.start_ready().await?;
    until("everything to be delivered", PATIENCE, || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        rows.values().all(|row| row.pending == 0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    let (rows, verified) = ledger::of_stopped(&data)?;
    ensure!(verified["sound"] == true, "{verified:#}");
    for (name, receiver) in &receivers {
        let row = &rows[*name];
        println!(
            "{name}: {rounds} cuts, {lost} bytes lost, received {} different samples; {row:?}",
            receiver.distinct()
        );
        ensure!(receiver.distinct() == row.accepted && row.delivered == row.accepted && row.damaged == 0, "{name}");
    }
    Ok(())
}
