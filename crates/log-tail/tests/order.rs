//! Contents that rotation made of one another are read in the order in which they were written.

mod support;

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::House;

fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n} of this test, {}", "with some text behind it ".repeat(3))).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `app.log.1` becomes `app.log.2` and so on, and `app.log` makes room.
fn shift(house: &House, copy: bool) {
    let name = |n: usize, ending: &str| format!("app.log.{n}{ending}");
    for n in (1..30).rev() {
        for ending in ["", ".gz"] {
            if house.path(&name(n, ending)).exists() {
                house.rename(&name(n, ending), &name(n + 1, ending));
            }
        }
    }
    match copy {
        true => house.copy_truncate("app.log", "app.log.1"),
        false => house.rename("app.log", "app.log.1"),
    }
}

/// They come, each once, in this order.
async fn expect_in_order(house: &House, expected: &[String]) {
    house.expect_all(expected).await;
    let found = house.texts();
    let wrong = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(at) = wrong {
        panic!("entry {at} is {:.40} instead of {:.40}", found[at], expected[at]);
    }
}

/// More than two batches each, so that files that were read side by side would be seen to be.
const LONG: usize = 14_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_rotations_while_the_agent_is_down_are_read_oldest_first() {
    for pattern in ["app.log", "app.log*"] {
        for stop in [false, true] {
            let mut house = House::new(pattern);
            let all = lines(0, 10 + 5 * LONG);
            house.append("app.log", text(&all[..10]));
            house.start();
            house.expect_all(&all[..10]).await;
            match stop {
                true => house.stop().await,
                false => house.kill().await,
            }
            for n in 0..5 {
                if n > 0 {
                    shift(&house, false);
                }
                house.append("app.log", text(&all[10 + n * LONG..10 + (n + 1) * LONG]));
            }
            house.start();
            expect_in_order(&house, &all).await;
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_rotation_made_before_anybody_looked_are_read_oldest_first() {
    let mut house = House::new("app.log*");
    let all = lines(0, 4 * LONG);
    for n in 0..4 {
        if n > 0 {
            shift(&house, false);
        }
        house.append("app.log", text(&all[n * LONG..(n + 1) * LONG]));
    }
    house.start();
    expect_in_order(&house, &all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_in_names_tell_the_order_where_times_do_not() {
    for (older, newer) in [("app.log-20260130", "app.log-20260131"), ("app.log-20260131-1", "app.log-20260131-2")] {
        let mut house = House::new("app.log*");
        let all = lines(0, 3 * LONG);
        // Written the wrong way round, and then given one time.
        house.append("app.log", text(&all[2 * LONG..]));
        house.append(newer, text(&all[LONG..2 * LONG]));
        house.append(older, text(&all[..LONG]));
        let when = fs::metadata(house.path(newer)).unwrap().modified().unwrap();
        for name in ["app.log", newer, older] {
            fs::File::options().append(true).open(house.path(name)).unwrap().set_modified(when).unwrap();
        }
        house.start();
        expect_in_order(&house, &all).await;
        house.stop().await;
    }
}

/// The writer goes on in the rotated file for a while, and there is much of it: the new file waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_rotated_away_with_much_unread_is_finished_before_its_successor() {
    for pattern in ["app.log", "app.log*"] {
        for copy in [false, true] {
            let mut house = House::new(pattern);
            let all = lines(0, 10 + 3 * LONG);
            house.append("app.log", text(&all[..10]));
            house.start();
            house.expect_all(&all[..10]).await;
            house.append("app.log", text(&all[10..10 + 2 * LONG]));
            shift(&house, copy);
            house.append("app.log", text(&all[10 + 2 * LONG..]));
            expect_in_order(&house, &all).await;
            house.stop().await;
        }
    }
}

/// What cannot be read holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_file_that_is_damaged_does_not_hold_up_the_newer_one() {
    let mut house = House::new("app.log*");
    let gzip = log_tail::Packing::Gzip;
    house.job.decompression = Some(log_tail::Decompression { format: gzip, initial_delay: Default::default() });
    house.append("app.log.1", text(&lines(0, 50)));
    house.compress("app.log.1");
    let whole = fs::read(house.path("app.log.1.gz")).unwrap();
    fs::write(house.path("app.log.1.gz"), &whole[..20]).unwrap();
    house.append("app.log", "new\n");
    house.start();
    house.until("the newer file was read", |house| house.texts().contains(&"new".to_owned())).await;
    house.stop().await;
}

/// Files whose names differ by a number, written side by side, are no generations of one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_written_side_by_side_do_not_wait_for_one_another() {
    let mut house = House::new("worker-*.log");
    let all = lines(0, 4);
    house.append("worker-1.log", text(&all[..1]));
    house.append("worker-2.log", text(&all[1..2]));
    house.append("worker-1.log", text(&all[2..3]));
    house.append("worker-2.log", text(&all[3..]));
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Rename,
    CopyTruncate,
    /// `gzip` of the newest rotated file; it keeps the time or does not.
    Compress(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..200).prop_map(Step::Write),
        1 => (6000usize..9000).prop_map(Step::Write),
        3 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        2 => any::<bool>().prop_map(Step::Compress),
    ]
}

async fn run(pattern: &str, steps: &[Step]) {
    let mut house = House::new(pattern);
    let mut all = lines(0, 20);
    house.append("app.log", text(&all));
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
    for step in steps {
        let written = fs::metadata(house.path("app.log")).is_ok_and(|meta| meta.len() > 0);
        match step {
            Step::Write(count) => {
                let more = lines(all.len(), all.len() + count);
                house.append("app.log", text(&more));
                all.extend(more);
            }
            Step::Rename if written => shift(&house, false),
            Step::CopyTruncate if written => shift(&house, true),
            Step::Compress(keep) if house.path("app.log.1").exists() => {
                let when = fs::metadata(house.path("app.log.1")).unwrap().modified().unwrap();
                house.compress("app.log.1");
                if *keep {
                    fs::File::options()
                        .append(true)
                        .open(house.path("app.log.1.gz"))
                        .unwrap()
                        .set_modified(when)
                        .unwrap();
                }
            }
            _ => {}
        }
    }
    house.start();
    expect_in_order(&house, &all).await;
    house.stop().await;
}

/// `TAIL_CASES` sets the number of cases (6 if it is not set).
#[test]
fn whatever_rotated_while_the_agent_was_down_comes_in_the_order_of_writing() {
    let cases = std::env::var("TAIL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let pattern = prop_oneof![Just("app.log"), Just("app.log*")];
    let result = TestRunner::new(config).run(&(pattern, prop::collection::vec(step(), 1..25)), |(pattern, steps)| {
        let runs = std::panic::catch_unwind(|| runtime.block_on(run(pattern, &steps)));
        runs.map_err(|error| TestCaseError::fail(error.downcast_ref::<String>().cloned().unwrap_or_default()))
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A file that waits for what is left of its predecessor has not been read: what becomes of it meanwhile costs and doubles nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_waits_for_its_predecessor_may_rotate_and_be_compressed_meanwhile() {
    use stages::{GateRate, LineGate, StageMetrics};
    for pattern in ["app.log", "app.log*"] {
        for decompression in [false, true] {
            let mut house = House::new(pattern);
            if decompression {
                let (format, initial_delay) = (log_tail::Packing::Gzip, Default::default());
                house.job.decompression = Some(log_tail::Decompression { format, initial_delay });
            }
            let all = lines(0, 330);
            house.append("app.log", text(&all[..10]));
            house.start();
            house.expect_all(&all[..10]).await;
            house.kill().await;
            // The old one takes about two seconds, many surveys.
            let rate = GateRate { per_second: 100.0, burst: 1, drop: false };
            house.config.gate = Some(LineGate::new(Some(rate), 0, StageMetrics::unregistered()).into());
            house.append("app.log", text(&all[10..200]));
            shift(&house, false);
            house.append("app.log", text(&all[200..300]));
            house.start();
            house.until("the old file is being read", |house| house.texts().len() > 20).await;
            shift(&house, false);
            house.append("app.log", text(&all[300..]));
            assert!(house.texts().len() < 200, "it was read too soon for this test");
            house.compress("app.log.1");
            expect_in_order(&house, &all).await;
            tokio::time::sleep(house.config.pace.suspicion * 2).await;
            house.expect_all(&all).await;
            house.stop().await;
        }
    }
}
