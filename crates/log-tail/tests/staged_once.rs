//! Every line once into the queue where stages hold lines back: blocks and unfinished lines through rotations and kills.
//!
//! `TAIL_CASES` sets the number of cases of each property (4 if it is not set).

mod support;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stages::{
    GateRate, LineGate, StageConfig, StageMetrics,
    config::{CriConfig, LimitConfig, MultilineConfig, RegexConfig},
};
use support::{House, PATIENCE};

/// Lines begin with their stream; a block with `START` behind it.
fn blocks(wait: Duration) -> Vec<StageConfig> {
    vec![
        StageConfig::Regex(RegexConfig { expression: "^(?P<stream>[ab]) ".into(), source: None }),
        StageConfig::Labels(vec![("stream".into(), None)]),
        StageConfig::Multiline(MultilineConfig {
            firstline: "^[ab] START".into(),
            max_wait_time: Some(wait),
            max_lines: Some(7),
        }),
    ]
}

const FOREVER: Duration = Duration::from_secs(3600);

fn house(stages: Vec<StageConfig>) -> House {
    let mut house = House::new("app.log");
    house.job.stages.stages = stages;
    house
}

/// The lines that entries were put together from.
fn parts(house: &House, end: char) -> Vec<String> {
    let texts = house.texts();
    texts.iter().flat_map(|text| text.split(end)).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Waits until exactly these parts came.
async fn expect_parts(house: &House, expected: &[String], end: char) {
    let count = |all: &[String]| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        all.iter().for_each(|part| *counts.entry(part.clone()).or_default() += 1);
        counts
    };
    let (wanted, begun) = (count(expected), Instant::now());
    loop {
        let found = count(&parts(house, end));
        if found == wanted {
            return;
        }
        let often = |part: &String, in_: &BTreeMap<String, i64>| in_.get(part).copied().unwrap_or(0);
        let surplus: Vec<_> = found.iter().filter(|(part, n)| often(part, &wanted) < **n).take(20).collect();
        let missing: Vec<_> = wanted.iter().filter(|(part, n)| often(part, &found) < **n).take(20).collect();
        assert!(
            surplus.is_empty() && begun.elapsed() < PATIENCE,
            "surplus {surplus:#?}\nmissing {missing:#?}\nfiles {:#?}",
            house.files()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn position(house: &House) -> Option<u64> {
    house.files().first().map(|file| file.offset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_blocks_loses_and_repeats_nothing() {
    let mut house = house(blocks(FOREVER));
    house.start();
    house.append("app.log", "a START 1\na one\nb START 2\nb two\nb START 3\na three\n");
    house.expect(&["b START 2\nb two"]).await;
    house.kill().await;
    house.start();
    house.append("app.log", "a four\na START 5\nb five\n");
    house.expect(&["b START 2\nb two", "a START 1\na one\na three\na four"]).await;
    house.kill().await;
    house.start();
    house.append("app.log", "b START 6\n");
    house.expect(&["b START 2\nb two", "a START 1\na one\na three\na four", "b START 3\nb five"]).await;
    house.stop().await;
    // A stop lets go of what is held.
    house.config.pace.survey = FOREVER;
    house.start();
    let all = ["b START 2\nb two", "a START 1\na one\na three\na four", "b START 3\nb five", "a START 5", "b START 6"];
    house.expect(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_lines_are_found_in_the_copy_of_a_file_that_was_cut_while_nobody_looked() {
    for rounds in 0..5 {
        let mut house = house(blocks(FOREVER));
        house.start();
        let text = "a START 1\na one\nb START 2\n";
        house.append("app.log", text);
        house.until("it is read", |house| position(house) == Some(text.len() as u64)).await;
        // The position becomes durable with a line, and with it what is held.
        house.append("app.log", "b START 3\n");
        house.expect(&["b START 2"]).await;
        house.kill().await;
        // At any moment of the start that follows.
        if rounds == 0 {
            house.copy_truncate("app.log", "app.log.1");
        }
        house.start();
        if rounds > 0 {
            tokio::time::sleep(Duration::from_millis(rounds - 1)).await;
            house.copy_truncate("app.log", "app.log.1");
        }
        house.job.stages.stages = blocks(Duration::from_millis(20));
        house
            .until("the rest is found", |house| {
                house.files().iter().any(|file| file.place == house.path("app.log.1")) || house.texts().len() > 1
            })
            .await;
        house.kill().await;
        house.start();
        expect_parts(&house, &["b START 2", "a START 1", "a one", "b START 3"].map(str::to_owned), '\n').await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_goes_on_when_nothing_came_for_long_enough() {
    let mut house = house(blocks(Duration::from_millis(50)));
    house.start();
    house.append("app.log", "a START 1\na one\n");
    house.expect(&["a START 1\na one"]).await;
    let lines = house.lines();
    assert_eq!(lines[0].labels.get("stream"), Some("a"));
    assert_eq!(lines[0].labels.get("job"), Some("varlogs"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_of_a_file_that_is_cut_or_deleted_goes_on() {
    let mut house = house(blocks(FOREVER));
    house.start();
    let size = |text: &str| text.len() as u64;
    let first = "a START 1\na one\n";
    house.append("app.log", first);
    house.until("it is read", |house| position(house) == Some(size(first))).await;
    fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
    house.expect(&["a START 1\na one"]).await;
    let second = "a START 2\nb START 3\n";
    house.append("app.log", second);
    house.until("it is read", |house| position(house) == Some(size(second))).await;
    fs::remove_file(house.path("app.log")).unwrap();
    house.expect(&["a START 1\na one", "a START 2", "b START 3"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_container_lines_survive_a_kill_whole() {
    let mut house = house(vec![StageConfig::Cri(CriConfig::default())]);
    house.config.positions.promtail_file = Some(house.root.path().join("positions.yaml"));
    house.start();
    let line =
        |stream: &str, flag: &str, text: &str| format!("2024-01-01T00:00:00.000000001Z {stream} {flag} {text}\n");
    house.append("app.log", line("stdout", "F", "whole"));
    let held = fs::metadata(house.path("app.log")).unwrap().len();
    house.append("app.log", line("stdout", "P", "one, "));
    house.append("app.log", line("stderr", "F", "in between"));
    house.append("app.log", line("stdout", "P", "two, "));
    let all = fs::metadata(house.path("app.log")).unwrap().len();
    house.until("it is read", |house| position(house) == Some(all)).await;
    // Promtail would go on from here, and lose nothing either.
    let wanted = format!("app.log: \"{held}\"");
    let positions = house.config.positions.promtail_file.clone().unwrap();
    house.until("it is told", |_| fs::read_to_string(&positions).is_ok_and(|text| text.contains(&wanted))).await;
    house.kill().await;
    house.start();
    house.append("app.log", line("stdout", "F", "three"));
    house.expect(&["whole", "in between", "one, two, three"]).await;
    assert!(house.lines().iter().all(|line| line.timestamp_ns == 1_704_067_200_000_000_001));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_lines_of_a_compressed_file_are_read_again_after_a_kill() {
    let mut house = house(blocks(FOREVER));
    house.pattern = "*.gz".into();
    house.job.decompression =
        Some(log_tail::Decompression { format: log_tail::Packing::Gzip, initial_delay: Duration::ZERO });
    // The first of two lines passes and the next makes the file wait: the rest is not read before the kill.
    house.job.stages.stages.push(StageConfig::Limit(LimitConfig { rate: 0.001, burst: 1, ..LimitConfig::default() }));
    let lines: Vec<String> = (0..6).flat_map(|n| [format!("a START {n}"), format!("b START {n}")]).collect();
    house.append("app.log", lines.join("\n") + "\n");
    house.compress("app.log");
    house.start();
    house.expect(&["a START 0", "b START 0"]).await;
    house.kill().await;
    house.job.stages.stages.pop();
    house.start();
    let all: Vec<&str> = lines.iter().map(String::as_str).collect();
    house.expect(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_does_not_drop_makes_the_file_wait() {
    let stage = LimitConfig { rate: 0.001, burst: 3, ..LimitConfig::default() };
    let mut house = house(vec![StageConfig::Limit(stage)]);
    house.start();
    let lines: Vec<String> = (0..8).map(|n| format!("line {n}")).collect();
    house.append("app.log", lines.join("\n") + "\n");
    // One more than the burst: the line that exceeds it passes and makes the next wait.
    house.expect(&["line 0", "line 1", "line 2", "line 3"]).await;
    house.append("app.log", "line 8\n");
    let surveys = |house: &House| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &house.metrics).unwrap();
        let of =
            |line: &str| line.strip_prefix("sigpost_tail_surveys_total{logs_config=\"default\"} ")?.parse::<u64>().ok();
        text.lines().find_map(of).unwrap_or(0)
    };
    let before = surveys(&house);
    house.until("it was looked at again", |house| surveys(house) >= before + 3).await;
    house.expect(&["line 0", "line 1", "line 2", "line 3"]).await;
    house.stop().await;
    house.job.stages.stages.clear();
    house.start();
    let all: Vec<String> = (0..9).map(|n| format!("line {n}")).collect();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_route_count_what_they_drop_and_lose_nothing_else() {
    let metrics = StageMetrics::unregistered();
    let rate = |drop| GateRate { per_second: 0.001, burst: 2, drop };
    for (drop, staged, expected) in [(true, false, 2), (true, true, 2), (false, false, 3), (false, true, 3)] {
        let stages = if staged { vec![StageConfig::Decolorize] } else { Vec::new() };
        let mut house = house(stages);
        house.config.gate = Some(LineGate::new(Some(rate(drop)), 0, metrics.clone()).into());
        house.append("app.log", "line 0\nline 1\nline 2\nline 3\nline 4\n");
        house.start();
        let all = ["line 0", "line 1", "line 2", "line 3", "line 4"];
        house.expect(&all[..expected]).await;
        house.until("it is read as far as it goes", |house| position(house) == Some(if drop { 35 } else { 21 })).await;
        house.kill().await;
        house.config.gate = None;
        house.start();
        let rest = if drop { &all[..2] } else { &all[..] };
        house.expect(rest).await;
        house.stop().await;
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// That many lines, each of one of two streams, a third of them first lines; seeded.
    Write(usize, u64),
    Rename,
    CopyTruncate,
    CatchUp,
    Kill,
    Stop,
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..12, any::<u64>()).prop_map(|(count, seed)| Step::Write(count, seed)),
        1 => (500usize..4000, any::<u64>()).prop_map(|(count, seed)| Step::Write(count, seed)),
        2 => Just(Step::Rename),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::CatchUp),
        4 => Just(Step::Kill),
        1 => Just(Step::Stop),
        3 => (0u64..40).prop_map(Step::Pause),
    ]
}

struct Writer {
    house: House,
    written: Vec<String>,
    /// Container lines instead of blocks.
    cri: bool,
    /// Streams whose last container line waits for its rest.
    open: [bool; 2],
    /// Number of the first line of what is in the file now, until one of its lines came out.
    unseen: usize,
}

impl Writer {
    fn end(&self) -> char {
        if self.cri { '>' } else { '\n' }
    }

    fn line(&mut self, random: u64) -> String {
        let n = self.written.len();
        let stream = (random % 2) as usize;
        if !self.cri {
            let line = format!("{} {}{n}", ["a", "b"][stream], if random.is_multiple_of(3) { "START " } else { "" });
            self.written.push(line.clone());
            return line + "\n";
        }
        self.open[stream] = random.is_multiple_of(3);
        let (name, flag) = (["stdout", "stderr"][stream], if self.open[stream] { "P" } else { "F" });
        self.written.push(format!("<{n}"));
        format!("2024-01-01T00:00:00Z {name} {flag} <{n}>\n")
    }

    fn write(&mut self, count: usize, seed: u64) {
        let mut random = seed | 1;
        let mut text = String::new();
        for _ in 0..count {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            text += &self.line(random >> 20);
        }
        self.house.append("app.log", text);
    }

    /// Container lines that wait for their rest get it: nothing else lets them go on.
    fn close(&mut self) {
        for stream in 0..2 {
            if self.open[stream] {
                // Not divisible by three, and of this stream.
                let text = self.line([2, 1][stream]);
                self.house.append("app.log", text);
            }
        }
    }

    async fn catch_up(&mut self) {
        if self.house.tail.is_none() {
            self.house.start();
        }
        self.close();
        expect_parts(&self.house, &self.written, self.end()).await;
    }

    /// Waits until a line of what is in the file now came out: contents that nobody saw before they rotated away are the
    /// matter of tests/every_byte_once.rs.
    async fn met(&mut self) {
        self.close();
        if self.unseen >= self.written.len() {
            return;
        }
        if self.house.tail.is_none() {
            self.house.start();
        }
        let (end, fresh) = (self.end(), self.written[self.unseen..].to_vec());
        self.house.until("a line came out", |house| parts(house, end).iter().any(|part| fresh.contains(part))).await;
        self.unseen = usize::MAX;
    }

    /// Makes way for the next rotated file; what goes was read.
    async fn shift(&mut self) {
        self.met().await;
        if self.house.path("app.log.3").exists() {
            self.catch_up().await;
            fs::remove_file(self.house.path("app.log.3")).unwrap();
        }
        for n in [2, 1] {
            let from = self.house.path(&format!("app.log.{n}"));
            if from.exists() {
                fs::rename(from, self.house.path(&format!("app.log.{}", n + 1))).unwrap();
            }
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Write(count, seed) => self.write(count, seed),
            Step::Rename if self.house.path("app.log").exists() => {
                self.shift().await;
                self.house.rename("app.log", "app.log.1");
                self.unseen = self.written.len();
            }
            Step::CopyTruncate if self.house.path("app.log").exists() => {
                self.shift().await;
                self.house.copy_truncate("app.log", "app.log.1");
                self.unseen = self.written.len();
            }
            Step::Rename | Step::CopyTruncate => {}
            Step::CatchUp => self.catch_up().await,
            Step::Kill => {
                self.house.kill().await;
                self.house.start();
            }
            Step::Stop => self.house.stop().await,
            Step::Pause(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
    }
}

async fn run(cri: bool, steps: Vec<Step>) {
    let stages = match cri {
        true => vec![StageConfig::Cri(CriConfig::default())],
        false => blocks(Duration::from_millis(60)),
    };
    let mut writer = Writer { house: house(stages), written: Vec::new(), cri, open: [false; 2], unseen: 0 };
    writer.write(3, 7);
    // A content that nobody saw under its path before it rotated away is nobody's.
    writer.catch_up().await;
    for step in steps {
        writer.take(step).await;
    }
    writer.catch_up().await;
    writer.house.kill().await;
    writer.catch_up().await;
    // Long enough for whatever waits to be read a second time.
    tokio::time::sleep(writer.house.config.pace.suspicion * 2).await;
    writer.catch_up().await;
    writer.house.stop().await;
}

fn property(cri: bool) {
    let cases = std::env::var("TAIL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let shrink = std::env::var("TAIL_SHRINK").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: shrink, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..40), |steps| {
        runtime.block_on(run(cri, steps));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn every_line_of_a_block_comes_once_through_rotations_and_kills() {
    property(false);
}

#[test]
fn every_part_of_a_container_line_comes_once_through_rotations_and_kills() {
    property(true);
}
