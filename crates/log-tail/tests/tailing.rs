//! One file at a time, through the face: what is read, with which labels, and that it is read once.

mod support;

use std::fs;

use support::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_come_once_with_labels_and_rising_times() {
    let mut house = House::new("*.log");
    house.append("a.log", "one\ntwo\r\n\nthree");
    house.start();
    house.expect(&["one", "two\r", ""]).await;
    house.append("a.log", " and more\nfour\n");
    house.expect(&["one", "two\r", "", "three and more", "four"]).await;
    let lines = house.lines();
    assert!(lines.windows(2).all(|pair| pair[0].timestamp_ns < pair[1].timestamp_ns));
    let filename = house.path("a.log").display().to_string();
    let labels = lines[0].labels.iter().collect::<Vec<_>>();
    assert_eq!(labels, [("filename", filename.as_str()), ("job", "varlogs")]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_is_read_from_its_beginning_and_others_are_left_alone() {
    let mut house = House::new("{a,b}*.log");
    house.start();
    house.append("other.log", "no\n");
    house.append("a1.log", "yes\n");
    house.expect(&["yes"]).await;
    house.append("b.log", "also\n");
    house.expect(&["yes", "also"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_kill_lose_and_repeat_nothing() {
    let mut house = House::new("*.log");
    house.start();
    house.append("a.log", "one\ntwo\n");
    house.expect(&["one", "two"]).await;
    house.stop().await;
    house.append("a.log", "three\n");
    house.start();
    house.expect(&["one", "two", "three"]).await;
    house.kill().await;
    house.append("a.log", "four\n");
    house.start();
    house.expect(&["one", "two", "three", "four"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_state_file_positions_are_found_in_the_queue() {
    let mut house = House::new("*.log");
    house.config.positions.sync_period = std::time::Duration::from_secs(3600);
    house.start();
    house.append("a.log", "one\ntwo\n");
    house.expect(&["one", "two"]).await;
    house.kill().await;
    fs::remove_file(&house.config.positions.state_file).unwrap();
    house.append("a.log", "three\n");
    house.start();
    house.expect(&["one", "two", "three"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_followed_anew_has_one_follower() {
    let mut house = House::new("a.log");
    house.append("a.log", "one\n");
    house.append("b.log", "two\n");
    house.append("c.log", "three\n");
    house.start();
    house.expect(&["one"]).await;
    let before = house.follow("b.log");
    house.expect(&["one", "two"]).await;
    // Nobody listens there any more.
    before.closed().await;
    assert!(before.send(std::sync::Arc::new(vec![house.group("c.log")])).is_err());
    house.append("a.log", "not wanted\n");
    house.append("b.log", "four\n");
    house.expect(&["one", "two", "four"]).await;
    house.stop().await;
}
