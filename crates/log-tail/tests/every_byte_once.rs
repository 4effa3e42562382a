//! Every byte once into the queue: random writers, rotations of every kind, truncations, stops and kills.
//!
//! `TAIL_CASES` sets the number of cases (6 if it is not set), `TAIL_SHRINK` how often a failure is tried smaller (each try
//! takes seconds).

mod support;

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::House;

#[derive(Debug, Clone)]
enum Step {
    /// That many lines to the file.
    Write(usize),
    /// The first part of a line; the next write ends it.
    Half,
    Rename,
    CopyTruncate,
    /// Copies over the newest rotated file, in place, and cuts the original that many milliseconds later.
    CopyOver(u64),
    /// To a name without a number: renamed, or copied (over the one before) and cut.
    SetAside {
        copy: bool,
    },
    /// Compresses the newest rotated file.
    Compress,
    /// Once everything was read: away with it, and begin another.
    DeleteRecreate,
    /// Away with it while that many lines of it are unread, and a stop.
    DeleteUnread(usize),
    CatchUp,
    Kill,
    Stop,
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..60).prop_map(Step::Write),
        1 => (500usize..4000).prop_map(Step::Write),
        2 => Just(Step::Half),
        3 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        2 => prop_oneof![Just(0u64), 0u64..300].prop_map(Step::CopyOver),
        1 => any::<bool>().prop_map(|copy| Step::SetAside { copy }),
        1 => Just(Step::Compress),
        1 => Just(Step::DeleteRecreate),
        1 => (1usize..2000).prop_map(Step::DeleteUnread),
        1 => Just(Step::CatchUp),
        2 => Just(Step::Kill),
        1 => Just(Step::Stop),
        2 => (0u64..60).prop_map(Step::Pause),
    ]
}

struct Writer {
    house: House,
    written: Vec<String>,
    /// What stands in the file without its end.
    half: String,
    /// Whether the newest rotated file may still be compressed.
    rotated: bool,
}

impl Writer {
    fn line(&self) -> String {
        let n = self.written.len();
        format!("{n} {:x} {}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15), "x".repeat(n * 31 % 97))
    }

    fn end_half(&mut self) {
        if !self.half.is_empty() {
            let rest = "end of it\n";
            self.house.append("app.log", rest);
            self.written.push(format!("{}{}", self.half, rest.trim_end()));
            self.half.clear();
        }
    }

    fn write(&mut self, count: usize) {
        self.end_half();
        let mut text = String::new();
        for _ in 0..count {
            let line = self.line();
            text.push_str(&line);
            text.push('\n');
            self.written.push(line);
        }
        self.house.append("app.log", text);
    }

    /// `app.log.2` away, `.1` to `.2`: two generations are kept, but only what was read may go.
    async fn shift(&mut self) {
        if self.house.path("app.log.3").exists() {
            self.catch_up().await;
            fs::remove_file(self.house.path("app.log.3")).unwrap();
        }
        for n in [2, 1] {
            for ending in ["", ".gz"] {
                let from = self.house.path(&format!("app.log.{n}{ending}"));
                if from.exists() {
                    fs::rename(from, self.house.path(&format!("app.log.{}{ending}", n + 1))).unwrap();
                }
            }
        }
        let packed = self.house.path("app.log.3.gz");
        if packed.exists() {
            self.catch_up().await;
            fs::remove_file(packed).unwrap();
        }
        self.rotated = true;
    }

    /// What lies there is lost by that: only when it was read.
    async fn copy_over(&mut self, to: &str, gap: u64) {
        if self.house.path(to).exists() {
            self.catch_up().await;
        }
        let from = self.house.path("app.log");
        fs::copy(&from, self.house.path(to)).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(gap)).await;
        fs::File::options().write(true).open(from).unwrap().set_len(0).unwrap();
        self.rotated = true;
    }

    async fn catch_up(&mut self) {
        if self.house.tail.is_none() {
            self.house.start();
        }
        let expected = self.written.clone();
        self.house.expect_all(&expected).await;
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Write(count) => self.write(count),
            Step::Half => {
                if self.half.is_empty() {
                    self.half = format!("{} half ", self.line());
                    self.house.append("app.log", &self.half);
                }
            }
            Step::Rename => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    self.shift().await;
                    self.house.rename("app.log", "app.log.1");
                }
            }
            Step::CopyTruncate => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    self.shift().await;
                    self.house.copy_truncate("app.log", "app.log.1");
                }
            }
            Step::CopyOver(gap) => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    self.copy_over("app.log.1", gap).await;
                }
            }
            Step::SetAside { copy: true } => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    self.copy_over("app.log.old", 0).await;
                }
            }
            Step::SetAside { copy: false } => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    // What lies there already goes: only when it was read.
                    if self.house.path("app.log.old").exists() {
                        self.catch_up().await;
                    }
                    self.house.rename("app.log", "app.log.old");
                }
            }
            Step::Compress => {
                let from = self.house.path("app.log.1");
                if std::mem::take(&mut self.rotated) && from.exists() {
                    self.house.compress("app.log.1");
                }
            }
            Step::DeleteRecreate => {
                if self.house.path("app.log").exists() {
                    self.end_half();
                    self.catch_up().await;
                    fs::remove_file(self.house.path("app.log")).unwrap();
                    self.write(1);
                }
            }
            Step::DeleteUnread(count) => {
                // Only one that is followed can be read without a name.
                self.write(1);
                self.catch_up().await;
                self.write(count);
                fs::remove_file(self.house.path("app.log")).unwrap();
                self.house.stop().await;
            }
            Step::CatchUp => {
                self.end_half();
                self.catch_up().await;
            }
            Step::Kill => {
                self.house.kill().await;
                self.house.start();
            }
            Step::Stop => self.house.stop().await,
            Step::Pause(ms) => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
        }
    }
}

async fn run(pattern: &str, steps: Vec<Step>) {
    let mut writer = Writer { house: House::new(pattern), written: Vec::new(), half: String::new(), rotated: false };
    if pattern.contains('*') {
        // Behind a wildcard a path is known when it was met: what rotated before that, and left nothing behind, is nobody's.
        writer.write(1);
        writer.catch_up().await;
    } else {
        // The promise begins with the first look that was written down: whatever comes under the name from then on is
        // ours, whether anybody looks while it lies there or not.
        writer.house.start();
        writer.house.until("the pattern was looked up", |house| house.has_looked()).await;
    }
    for step in steps {
        writer.take(step).await;
    }
    writer.end_half();
    writer.catch_up().await;
    writer.house.kill().await;
    writer.catch_up().await;
    // Long enough for whatever is held back to be read a second time.
    tokio::time::sleep(writer.house.config.pace.suspicion * 2).await;
    writer.catch_up().await;
    writer.house.stop().await;
}

#[test]
fn every_byte_comes_once_through_rotations_and_kills() {
    let cases = std::env::var("TAIL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let shrink = std::env::var("TAIL_SHRINK").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrink, ..Config::default() };
    let pattern = prop_oneof![Just("app.log"), Just("app.log*")];
    let result = TestRunner::new(config).run(&(pattern, prop::collection::vec(step(), 1..40)), |(pattern, steps)| {
        runtime.block_on(run(pattern, steps));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Sequences that once lost lines or doubled them, one time in hundreds. `TAIL_ROUNDS` sets how often each is run (2 if it is
/// not set).
#[test]
fn sequences_that_once_failed_lose_and_double_nothing() {
    use Step::{CatchUp, Compress, CopyTruncate, Half, Kill, Pause, Rename, Write};
    let rounds: usize = std::env::var("TAIL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let sequences = [
        ("app.log", vec![Kill, Rename, Half, Write(47), Rename, Write(2), Rename, Write(6), Write(53), Kill, Rename]),
        ("app.log", vec![Rename, Write(8), Kill, Rename, Write(1)]),
        // The copy was taken for a file of its own: its original had been cut, and that was seen too late.
        ("app.log*", vec![Write(30), Rename, Write(57), Pause(28), Write(14), CopyTruncate, Half, Write(68), CatchUp]),
        // A name moved between the look at the directory and the opening of the file.
        (
            "app.log*",
            vec![CopyTruncate, Write(48), CopyTruncate, Compress, Write(60), CatchUp, Kill, Rename, Pause(24), Half],
        ),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for round in 0..rounds {
        for (number, (pattern, steps)) in sequences.iter().enumerate() {
            // How long each step takes decides what is seen of it: pauses of very different lengths.
            let longest = [0, 0, 5, 30, 150, 400][round % 6];
            let pause = || Step::Pause(fastrand::u64(0..=longest));
            let steps: Vec<Step> = match longest {
                0 => steps.clone(),
                _ => steps.iter().flat_map(|step| [step.clone(), pause()]).collect(),
            };
            println!("round {round} of sequence {number}: {steps:?}");
            runtime.block_on(run(pattern, steps));
        }
    }
}
