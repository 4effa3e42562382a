//! Log lines from a real queue to AWS' own services, played on loopback.

mod logs_support;
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use logs_support::{LogHouse, config, gunzipped, now_ns, template};
use parking_lot::Mutex;
use prost::Message;
use proto::otlp_logs::ExportLogsServiceRequest;
use remote_write::{
    DestinationConfig, DestinationState,
    logs::{
        CloudWatchConfig, FirehoseConfig, KinesisConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol,
        OtlpLogsConfig,
    },
};
use serde_json::{Value, json};
use support::{Fake, Reply, Seen, refused, status, until};

fn target(seen: &Seen) -> String {
    let target = seen.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default().to_owned()
}

fn json_of(seen: &Seen) -> Value {
    let gzip = seen.headers.get("content-encoding").is_some_and(|coding| coding == "gzip");
    let body = if gzip { gunzipped(&seen.raw) } else { seen.raw.to_vec() };
    serde_json::from_slice(&body).unwrap()
}

fn aws_error(code: &str, message: &str) -> Reply {
    refused(400, &json!({"__type": code, "message": message}).to_string())
}

fn cloudwatch(fake: &Fake, create: bool) -> DestinationConfig {
    let protocol = CloudWatchConfig {
        log_group: template("/sigpost/{job}"),
        log_stream: template("{hostname}{filename}"),
        create,
        retention_days: Some(14),
        gzip: true,
    };
    config(&fake.url, LogProtocol::CloudWatch(protocol))
}

/// CloudWatch Logs as its reference describes it: groups and streams have to be there, and a request is taken whole or not.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    streams: BTreeMap<String, Vec<String>>,
    retention: BTreeMap<String, u64>,
    events: BTreeMap<(String, String), Vec<(i64, String)>>,
}

impl Logs {
    fn answer(&self, seen: &Seen) -> Reply {
        let body = json_of(seen);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (group, stream) = (text("logGroupName"), text("logStreamName"));
        let mut state = self.0.lock();
        match target(seen).as_str() {
            "CreateLogGroup" => match state.streams.contains_key(&group) {
                true => aws_error("ResourceAlreadyExistsException", "The specified log group already exists"),
                false => {
                    state.streams.insert(group, Vec::new());
                    status(200)
                }
            },
            "CreateLogStream" => match state.streams.get_mut(&group) {
                None => aws_error("ResourceNotFoundException", "The specified log group does not exist."),
                Some(streams) => {
                    streams.push(stream);
                    status(200)
                }
            },
            "PutRetentionPolicy" => {
                state.retention.insert(group, body["retentionInDays"].as_u64().unwrap());
                status(200)
            }
            "PutLogEvents" => {
                let Some(streams) = state.streams.get(&group) else {
                    return aws_error("ResourceNotFoundException", "The specified log group does not exist.");
                };
                if !streams.contains(&stream) {
                    return aws_error("ResourceNotFoundException", "The specified log stream does not exist.");
                }
                let events: Vec<(i64, String)> = body["logEvents"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|e| (e["timestamp"].as_i64().unwrap(), e["message"].as_str().unwrap().to_owned()))
                    .collect();
                let span = events.last().unwrap().0 - events[0].0;
                if !events.is_sorted_by_key(|(at, _)| *at) || span > 86_400_000 || events.len() > 10_000 {
                    return aws_error(
                        "InvalidParameterException",
                        "Log events in a single PutLogEvents request must be in chronological order.",
                    );
                }
                if events.iter().any(|(_, text)| text.contains("poison")) {
                    return aws_error("InvalidParameterException", "1 validation error detected");
                }
                state.events.entry((group, stream)).or_default().extend(events);
                refused(200, "{\"nextSequenceToken\":\"1\"}")
            }
            other => panic!("{other}"),
        }
    }

    fn texts(&self, group: &str, stream: &str) -> Vec<String> {
        let state = self.0.lock();
        let events = state.events.get(&(group.to_owned(), stream.to_owned()));
        events.map(|events| events.iter().map(|(_, text)| text.clone()).collect()).unwrap_or_default()
    }
}

async fn logs() -> (Logs, Fake) {
    let logs = Logs::default();
    let fake = Fake::new({
        let logs = logs.clone();
        move |_, seen| logs.answer(seen)
    })
    .await;
    (logs, fake)
}

#[tokio::test]
async fn groups_and_streams_are_made_and_lines_arrive_in_order_of_time() {
    let (logs, fake) = logs().await;
    let house = LogHouse::new();
    let at = now_ns();
    let x = [("job", "varlogs"), ("filename", "/var/log/x")];
    let y = [("job", "varlogs"), ("filename", "/var/log/y")];
    house
        .append(1, &[(&x, at + 2_000_000, "late"), (&y, at, ""), (&x, at, "early"), (&x, at + 2_000_000, "later")])
        .await;
    house
        .append(2, &[(&[("job", "other")], at - 3 * 86_400_000_000_000, "old"), (&[("job", "other")], at, "new")])
        .await;
    let running = house.run(cloudwatch(&fake, true));
    let row = house.settled().await;
    assert_eq!(row.delivered, 6);
    assert_eq!(logs.texts("/sigpost/varlogs", "host-1/var/log/x"), ["early", "late", "later"]);
    assert_eq!(logs.texts("/sigpost/varlogs", "host-1/var/log/y"), [" "]);
    assert_eq!(logs.texts("/sigpost/other", "host-1"), ["old", "new"], "a span of three days is two requests");
    assert_eq!(logs.0.lock().retention.values().copied().collect::<Vec<_>>(), [14, 14]);
    running.stop().await;
}

#[tokio::test]
async fn without_create_a_missing_group_holds_the_destination_until_it_is_there() {
    let (logs, fake) = logs().await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 3).await;
    let running = house.run(cloudwatch(&fake, false));
    until("held", || async {
        matches!(running.status.state(), DestinationState::Held { why } if why.contains("create: true"))
    })
    .await;
    logs.0.lock().streams.insert("/sigpost/a".into(), vec!["host-1".into()]);
    let row = house.settled().await;
    assert_eq!((row.delivered, logs.texts("/sigpost/a", "host-1").len()), (3, 3));
    running.stop().await;
}

#[tokio::test]
async fn a_poisoned_event_is_lost_alone_and_order_is_kept() {
    let (logs, fake) = logs().await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 50).await;
    house.append_run(1, &[("job", "a")], "poison", 50, 1).await;
    house.append_run(1, &[("job", "a")], "n", 51, 50).await;
    let running = house.run(cloudwatch(&fake, true));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (100, 1));
    let expected: Vec<String> = (0..101).filter(|n| *n != 50).map(|n| format!("n {n}")).collect();
    assert_eq!(logs.texts("/sigpost/a", "host-1"), expected);
    running.stop().await;
}

#[tokio::test]
async fn what_the_service_does_not_keep_is_booked_by_reason_and_not_sent_again() {
    let fake = Fake::new(|_, _| {
        refused(200, r#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":2,"expiredLogEventEndIndex":3,"tooNewLogEventStartIndex":9}}"#)
    })
    .await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let running = house.run(cloudwatch(&fake, true));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected, fake.seen().len()), (6, 4, 1));
    // All of them lay in one frame.
    let booked: Vec<_> = row.rejected_by.iter().map(|(reason, lines)| (reason.as_str(), *lines)).collect();
    assert_eq!(booked, [("retention", 1), ("too_new", 1), ("too_old", 2)]);
    let rejected = running.status.snapshot().rejected;
    assert_eq!(rejected.into_iter().collect::<Vec<_>>(), [("retention", 1), ("too_new", 1), ("too_old", 2)]);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &running.registry).unwrap();
    // Four lines of three bytes.
    let dropped = text.lines().find(|line| line.contains("dropped_bytes_total{")).unwrap_or(&text);
    assert!(dropped.ends_with(" 12"), "{dropped}");
    running.stop().await;
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let (logs, fake) = logs().await;
    fake.follow({
        let logs = logs.clone();
        move |number, seen| {
            if number < 3 { aws_error("ThrottlingException", "Rate exceeded") } else { logs.answer(seen) }
        }
    });
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let running = house.run(cloudwatch(&fake, true));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (10, 0));
    running.stop().await;
}

/// The texts of a request's records.
fn records(seen: &Seen) -> Vec<String> {
    let body = json_of(seen);
    let data = |record: &Value| STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
    body["Records"].as_array().unwrap().iter().map(|r| String::from_utf8(data(r)).unwrap()).collect()
}

#[tokio::test]
async fn failed_records_of_firehose_are_sent_again_alone() {
    let fake = Fake::new(|number, seen| {
        let count = records(seen).len();
        let fails = |at: usize| number < 2 && at % 2 == 1;
        let entry = |at: usize| {
            if fails(at) {
                json!({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."})
            } else {
                json!({"RecordId": "r"})
            }
        };
        let entries: Vec<Value> = (0..count).map(entry).collect();
        let failed = (0..count).filter(|at| fails(*at)).count();
        refused(200, &json!({"FailedPutCount": failed, "RequestResponses": entries}).to_string())
    })
    .await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let config = config(
        &fake.url,
        LogProtocol::Firehose(FirehoseConfig { delivery_stream: "d".into(), format: LogFormat::Text }),
    );
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (10, 0));
    let sent: Vec<Vec<String>> = fake.seen().iter().map(records).collect();
    let texts = |numbers: &[u32]| numbers.iter().map(|n| format!("n {n}\n")).collect::<Vec<_>>();
    assert_eq!(sent, [texts(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), texts(&[1, 3, 5, 7, 9]), texts(&[3, 7])]);
    running.stop().await;
}

#[tokio::test]
async fn failed_records_of_kinesis_are_sent_again_alone() {
    let fake = Fake::new(|number, seen| {
        let count = records(seen).len();
        let entry = |at: usize| {
            if number == 0 && at == 2 {
                json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"})
            } else {
                json!({"SequenceNumber": "1", "ShardId": "s"})
            }
        };
        let entries: Vec<Value> = (0..count).map(entry).collect();
        refused(200, &json!({"FailedRecordCount": u64::from(number == 0), "Records": entries}).to_string())
    })
    .await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 4).await;
    let protocol =
        KinesisConfig { stream_name: "s".into(), partition_key: Some(template("{job}")), format: LogFormat::Json };
    let running = house.run(config(&fake.url, LogProtocol::Kinesis(protocol)));
    let row = house.settled().await;
    assert_eq!(row.delivered, 4);
    let seen = fake.seen();
    assert_eq!(seen.iter().map(|s| records(s).len()).collect::<Vec<_>>(), [4, 1]);
    assert!(records(&seen[1])[0].contains("\"line\":\"n 2\""));
    assert_eq!(json_of(&seen[1])["Records"][0]["PartitionKey"], "a");
    running.stop().await;
}

fn objects(fake: &Fake) -> DestinationConfig {
    let protocol = LogObjectsConfig {
        prefix: Some(template("{job}")),
        format: LogFormat::Text,
        compression: LogCompression::Gzip,
        storage_class: None,
        expected_bucket_owner: None,
        sse: None,
        sse_kms_key_id: None,
    };
    let mut url = fake.url.clone();
    url.set_path("/bucket/base/");
    config(&url, LogProtocol::Objects(protocol))
}

#[tokio::test]
async fn objects_hold_lines_as_they_came_and_are_never_stored_twice() {
    // The second answer gets lost on its way, after the object was stored.
    let stored: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let fake = Fake::new({
        let stored = Arc::clone(&stored);
        move |number, seen| {
            assert_eq!((seen.method.as_str(), &seen.headers["if-none-match"]), ("PUT", &"*".parse().unwrap()));
            let mut stored = stored.lock();
            if stored.contains_key(&seen.path) {
                return status(412);
            }
            stored.insert(seen.path.clone(), String::from_utf8(gunzipped(&seen.raw)).unwrap());
            if number == 1 { Reply { close: true, status: 200, ..Reply::default() } } else { status(200) }
        }
    })
    .await;
    let house = LogHouse::new();
    let at = now_ns();
    let (a, b, z) = ([("job", "a"), ("f", "1")], [("job", "a"), ("f", "2")], [("job", "z")]);
    house.append(1, &[(&a, at, "1"), (&b, at, "2"), (&z, at, "z"), (&a, at, "3"), (&b, at, "4")]).await;
    let running = house.run(objects(&fake));
    let row = house.settled().await;
    assert_eq!(row.delivered, 5);
    let stored = stored.lock().clone();
    let found: Vec<(String, String)> =
        stored.into_iter().map(|(path, text)| (path.split('/').take(5).collect::<Vec<_>>().join("/"), text)).collect();
    assert_eq!(
        found,
        [
            ("/bucket/base/a/logs-default".to_owned(), "1\n2\n3\n4\n".to_owned()),
            ("/bucket/base/z/logs-default".to_owned(), "z\n".to_owned())
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn a_restart_makes_the_same_objects_again() {
    let fake = Fake::new(|_, _| Reply { hang: true, ..Reply::default() }).await;
    let house = LogHouse::new();
    for source in 0..5 {
        house.append_run(source, &[("job", "a")], &format!("s{source}"), 0, 10).await;
    }
    let running = house.run(objects(&fake));
    until("a first object is under way", || async { !fake.seen().is_empty() }).await;
    running.stop().await;
    let first = fake.seen()[0].clone();
    let house = LogHouse::at(house.close().await);
    fake.follow(|_, _| status(200));
    let running = house.run(objects(&fake));
    let row = house.settled().await;
    assert_eq!(row.delivered, 50);
    let again = fake.seen()[1].clone();
    assert_eq!((first.path, first.raw), (again.path, again.raw));
    running.stop().await;
}

#[tokio::test]
async fn otlp_gets_records_and_says_how_many_it_did_not_take() {
    let fake = Fake::new(|_, _| {
        // partial_success { rejected_log_records: 2 }
        Reply { status: 200, body: axum::body::Bytes::from_static(&[0x0a, 0x02, 0x08, 0x02]), ..Reply::default() }
    })
    .await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let mut url = fake.url.clone();
    url.set_path("/v1/logs");
    let protocol = OtlpLogsConfig {
        log_group: Some(template("/g/{job}")),
        log_stream: Some(template("{hostname}")),
        create: false,
        retention_days: None,
        gzip: true,
    };
    let mut config = config(&url, LogProtocol::Otlp(protocol));
    config.batching.max_age = Duration::from_millis(1);
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (8, 2));
    let seen = fake.seen();
    assert_eq!((seen.len(), seen[0].path.as_str()), (1, "/v1/logs"));
    assert_eq!(
        (&seen[0].headers["x-aws-log-group"], &seen[0].headers["x-aws-log-stream"]),
        (&"/g/a".parse().unwrap(), &"host-1".parse().unwrap())
    );
    let message = ExportLogsServiceRequest::decode(&*gunzipped(&seen[0].raw)).unwrap();
    assert_eq!(message.resource_logs[0].scope_logs[0].log_records.len(), 10);
    running.stop().await;
}

#[tokio::test]
async fn relabelling_drops_streams_and_addresses_do_not_wait_for_each_other() {
    let (logs, fake) = logs().await;
    fake.follow({
        let logs = logs.clone();
        move |_, seen| {
            if json_of(seen)["logGroupName"] == "/sigpost/stuck" {
                Reply { hang: true, ..Reply::default() }
            } else {
                logs.answer(seen)
            }
        }
    });
    let house = LogHouse::new();
    let at = now_ns();
    house
        .append(1, &[(&[("job", "stuck")], at, "s"), (&[("job", "free")], at, "f"), (&[("job", "gone")], at, "g")])
        .await;
    let mut config = cloudwatch(&fake, true);
    let source = relabel::RuleSource {
        source_labels: vec!["job".into()],
        regex: "gone".into(),
        action: relabel::Action::Drop,
        ..relabel::RuleSource::default()
    };
    config.write_relabel = vec![relabel::Rule::new(source).unwrap()];
    let running = house.run(config.clone());
    until("the free one arrives", || async { logs.texts("/sigpost/free", "host-1") == ["f"] }).await;
    running.stop().await;
    let house = LogHouse::at(house.close().await);
    fake.follow({
        let logs = logs.clone();
        move |_, seen| logs.answer(seen)
    });
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.filtered), (2, 1));
    assert_eq!(logs.texts("/sigpost/stuck", "host-1"), ["s"]);
    running.stop().await;
}
