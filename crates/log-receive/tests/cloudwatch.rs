//! Log groups read from a scripted CloudWatch Logs.

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cloud::{Fake, access, error, json};
use log_receive::{CloudWatchConfig, CloudWatchReader, ForwardConfig, LogGroups, ReceiveError, SourceState};
use serde_json::{Value, json as value};
use support::{Store, texts, until};
use tokio_util::sync::CancellationToken;

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn event(id: u32, at: i64, message: &str) -> Value {
    value!({"eventId": id.to_string(), "timestamp": at, "ingestionTime": at, "message": message, "logStreamName": "s"})
}

fn config(fake: &Fake, groups: LogGroups) -> CloudWatchConfig {
    CloudWatchConfig {
        poll_interval: Duration::from_millis(20),
        request_interval: Duration::from_millis(1),
        ..CloudWatchConfig::new(fake.url(), "us-east-1", groups)
    }
}

struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), ReceiveError>>,
    state: SourceState,
}

fn start(store: &Store, config: CloudWatchConfig, positions: BTreeMap<String, String>) -> Running {
    let mut forwarding = ForwardConfig::new("cw");
    let rule = relabel::RuleSource {
        regex: "__cloudwatch_(.+)".into(),
        action: relabel::Action::LabelMap,
        ..relabel::RuleSource::default()
    };
    forwarding.relabel = vec![relabel::Rule::new(rule).unwrap()];
    let forward = store.forward("cloudwatch_logs", forwarding);
    let state = forward.state();
    let reader = CloudWatchReader::new(config, access(), forward, move |key| positions.get(key).cloned()).unwrap();
    let stop = CancellationToken::new();
    Running { task: tokio::spawn(reader.run(stop.clone())), stop, state }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_events_taken_once_and_late_ones_found() {
    let mut store = Store::open();
    let rounds = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rounds);
    let base = now_ms() - 60_000;
    let fake = Fake::start(move |name, body, _| {
        assert_eq!(name, "FilterLogEvents");
        match body["nextToken"].as_str() {
            // A page may be empty and not be the last one.
            None => json(&value!({"events": [], "nextToken": "t1"})),
            Some("t1") => {
                json(&value!({"events": [event(1, base, "one"), event(2, base + 1, "two\n")], "nextToken": "t2"}))
            }
            Some(_) => {
                let late = counted.fetch_add(1, Ordering::SeqCst) > 1;
                let events = if late { vec![event(3, base - 5000, "late")] } else { vec![] };
                json(&value!({"events": events}))
            }
        }
    })
    .await;
    let running = start(&store, config(&fake, LogGroups::Names(vec!["/app".into()])), BTreeMap::new());
    let (lines, marks) = store.lines(3).await;
    assert_eq!(texts(&lines), ["one", "two", "late"]);
    assert_eq!(lines[0].timestamp_ns, base * 1_000_000);
    assert_eq!(lines[0].label("log_group"), "/app");
    assert_eq!((lines[0].label("log_stream"), lines[0].label("region")), ("s", "us-east-1"));
    let rounds_before = rounds.load(Ordering::SeqCst);
    until("two more rounds", || rounds.load(Ordering::SeqCst) > rounds_before + 2).await;
    running.end().await;
    for asked in fake.asked_for("FilterLogEvents") {
        assert!(asked["startTime"].as_i64().unwrap() <= now_ms() - 299_000, "the overlap: {asked}");
    }

    // Another process goes on from the mark: nothing a second time.
    let mark = marks.into_iter().find(|mark| mark.key == "cloudwatch-cw-/app").unwrap();
    let positions = [(mark.key, mark.cursor)].into_iter().collect();
    let again = Fake::start(move |_, _, _| {
        json(&value!({"events": [event(1, base, "one"), event(2, base + 1, "two"), event(4, base + 2, "new")]}))
    })
    .await;
    let running = start(&store, config(&again, LogGroups::Names(vec!["/app".into()])), positions);
    assert_eq!(texts(&store.lines(1).await.0), ["new"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_prefix_are_found_and_one_in_trouble_stops_no_other() {
    let mut store = Store::open();
    let throttled = Arc::new(AtomicUsize::new(0));
    let fake =
        Fake::start(move |name, body, _| match (name, body["nextToken"].as_str(), body["logGroupName"].as_str()) {
            ("DescribeLogGroups", None, _) => {
                json(&value!({"logGroups": [{"logGroupName": "/a/bad"}], "nextToken": "n"}))
            }
            ("DescribeLogGroups", _, _) => json(&value!({"logGroups": [{"logGroupName": "/a/good"}]})),
            (_, _, Some("/a/bad")) => error(400, "ResourceNotFoundException"),
            _ if throttled.fetch_add(1, Ordering::SeqCst) == 0 => error(400, "ThrottlingException"),
            _ => json(&value!({"events": [event(1, now_ms(), "fine")]})),
        })
        .await;
    let running = start(&store, config(&fake, LogGroups::Prefix("/a/".into())), BTreeMap::new());
    let (lines, _) = store.lines(1).await;
    assert_eq!(lines[0].label("log_group"), "/a/good");
    until("the trouble", || {
        running
            .state
            .status()
            .trouble
            .is_some_and(|(why, _)| why.contains("/a/bad") && why.contains("ResourceNotFound"))
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_absence_is_caught_up_with_window_by_window() {
    let store = Store::open();
    let fake = Fake::start(|_, _, _| json(&value!({"events": []}))).await;
    let mut config = config(&fake, LogGroups::Names(vec!["/app".into()]));
    config.start_back = Duration::from_secs(10 * 3600);
    config.poll_interval = Duration::from_secs(3600);
    let running = start(&store, config, BTreeMap::new());
    until("ten windows", || fake.asked().len() >= 10).await;
    running.end().await;
    let asked = fake.asked_for("FilterLogEvents");
    let starts: BTreeSet<i64> = asked.iter().map(|a| a["startTime"].as_i64().unwrap()).collect();
    assert!(starts.len() >= 10, "{asked:?}");
    for one in &asked {
        let length = one["endTime"].as_i64().unwrap() - one["startTime"].as_i64().unwrap();
        assert!(length <= 3_600_000 + 300_000, "{one}");
    }
}
