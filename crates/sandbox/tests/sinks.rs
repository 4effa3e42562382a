//! Log, trace and stream endpoints as senders meet them: limits, rejections, failures of single records, signatures.

mod support;

use std::{
    io::{Read, Write},
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sandbox::{Fault, Identity, Outcome, Partial, Running, SandboxConfig};
use serde_json::{Value, json};
use support::{Answer, Signer, client, send, start};

const USER: &str = "arn:aws:iam::000000000000:user/sandbox";

async fn cloud() -> Running {
    let limited = Identity::user("AKIDLIMITED", "hush").allowing(["aps:*"]);
    start(SandboxConfig { record: true, identities: vec![Identity::example(), limited], ..SandboxConfig::default() })
        .await
}

async fn post(
    running: &Running,
    signer: Option<&Signer>,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let mut request = http::Request::post(format!("{}{path}", running.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    if let Some(signer) = signer {
        signer.sign(&mut request);
    }
    send(&client(), request).await.unwrap()
}

async fn call(running: &Running, service: &str, target: &str, body: &Value) -> Answer {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
    post(running, Some(&Signer::new(service)), "/", &headers, body.to_string()).await
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

async fn log_call(running: &Running, operation: &str, body: Value) -> Answer {
    call(running, "logs", &format!("Logs_20140328.{operation}"), &body).await
}

async fn log_place(running: &Running) {
    json_of(&log_call(running, "CreateLogGroup", json!({ "logGroupName": "/a/b" })).await);
    json_of(&log_call(running, "CreateLogStream", json!({ "logGroupName": "/a/b", "logStreamName": "s" })).await);
}

fn put(events: &[(i64, &str)]) -> Value {
    let events: Vec<Value> = events.iter().map(|(at, text)| json!({ "timestamp": at, "message": text })).collect();
    json!({ "logGroupName": "/a/b", "logStreamName": "s", "logEvents": events })
}

#[tokio::test]
async fn log_events_are_stored_in_groups_that_were_created() {
    let running = cloud().await;
    let now = now_ms();
    let lost = log_call(&running, "PutLogEvents", put(&[(now, "x")])).await;
    assert_eq!((lost.status, lost.header("x-amzn-errortype")), (400, "ResourceNotFoundException"));
    assert!(lost.body.contains("The specified log group does not exist."), "{}", lost.body);
    log_place(&running).await;
    let again = log_call(&running, "CreateLogGroup", json!({ "logGroupName": "/a/b" })).await;
    assert_eq!(again.header("x-amzn-errortype"), "ResourceAlreadyExistsException");
    json_of(&log_call(&running, "PutRetentionPolicy", json!({ "logGroupName": "/a/b", "retentionInDays": 7 })).await);
    let odd = log_call(&running, "PutRetentionPolicy", json!({ "logGroupName": "/a/b", "retentionInDays": 8 })).await;
    assert_eq!(odd.header("x-amzn-errortype"), "InvalidParameterException");
    let groups = json_of(&log_call(&running, "DescribeLogGroups", json!({ "logGroupNamePrefix": "/a" })).await);
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7);
    let streams = json_of(&log_call(&running, "DescribeLogStreams", json!({ "logGroupName": "/a/b" })).await);
    assert_eq!(streams["logStreams"][0]["logStreamName"], "s");

    let answer = json_of(&log_call(&running, "PutLogEvents", put(&[(now, "one"), (now, "two"), (now + 1, "ü")])).await);
    assert_eq!(answer.get("rejectedLogEventsInfo"), None);
    // The same, compressed.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(put(&[(now, "three")]).to_string().as_bytes()).unwrap();
    let headers = [("x-amz-target", "Logs_20140328.PutLogEvents"), ("content-encoding", "gzip")];
    assert_eq!(post(&running, Some(&Signer::new("logs")), "/", &headers, gzip.finish().unwrap()).await.status, 200);

    let state = running.state();
    let row = &state.records[0];
    assert_eq!((row.destination.as_str(), row.caller_arn.as_str()), ("logs:/a/b:s", USER));
    assert_eq!((row.records, row.bytes, row.last_timestamp_ms), (4, 13, now + 1));
    let lines: Vec<String> =
        running.records(Some("logs:/a/b:s"), Some(USER)).into_iter().map(|line| line.text).collect();
    assert_eq!(lines, ["one", "two", "ü", "three"]);
}

#[tokio::test]
async fn events_outside_the_window_are_rejected_inside_a_200() {
    let running = cloud().await;
    log_place(&running).await;
    const HOUR: i64 = 3_600_000;
    let now = now_ms();
    let events = [
        (now - 15 * 24 * HOUR, "old"),
        (now - HOUR, "a"),
        (now, "b"),
        (now + 3 * HOUR, "new"),
        (now + 4 * HOUR, "newer"),
    ];
    let answer = json_of(&log_call(&running, "PutLogEvents", put(&events)).await);
    let wanted = json!({ "tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3 });
    assert_eq!(answer["rejectedLogEventsInfo"], wanted);
    json_of(&log_call(&running, "PutRetentionPolicy", json!({ "logGroupName": "/a/b", "retentionInDays": 1 })).await);
    let answer = json_of(&log_call(&running, "PutLogEvents", put(&[(now - 25 * HOUR, "old"), (now, "c")])).await);
    assert_eq!(answer["rejectedLogEventsInfo"], json!({ "expiredLogEventEndIndex": 1 }));
    let row = &running.state().records[0];
    assert_eq!((row.records, row.rejected), (3, 4));
}

#[tokio::test]
async fn whole_batches_outside_the_limits_are_refused() {
    let running = cloud().await;
    log_place(&running).await;
    let now = now_ms();
    let many = vec![(now, "x"); 10_001];
    let large = "x".repeat(1_048_576 - 25);
    let most = "x".repeat(1_048_576 - 26);
    for (events, words) in [
        (&[][..], "Member must have length from 1 to 10000"),
        (&many, "Member must have length from 1 to 10000"),
        (&[(now, large.as_str())], "Upload too large: 1048577 bytes exceeds limit of 1048576"),
        (&[(now, "b"), (now - 1, "a")], "must be in chronological order"),
        (&[(now - 90_000_000, "a"), (now, "b")], "cannot span more than 24 hours"),
        (&[(now, "")], "greater than or equal to 1"),
        (&[(-1, "x")], "greater than or equal to 0"),
    ] {
        let answer = log_call(&running, "PutLogEvents", put(events)).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, "InvalidParameterException"), "{words}");
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    assert_eq!(running.state().records_total, 0);
    json_of(&log_call(&running, "PutLogEvents", put(&[(now, &most)])).await);
    json_of(&log_call(&running, "PutLogEvents", put(&vec![(now, "x"); 10_000])).await);
    assert_eq!(running.state().records_total, 10_001);
}

#[tokio::test]
async fn single_records_of_firehose_and_kinesis_fail_on_command() {
    let running = cloud().await;
    let data = |text: &str| BASE64_STANDARD.encode(text);
    let records: Vec<Value> =
        ["a", "b", "c"].iter().map(|text| json!({ "Data": data(text), "PartitionKey": text })).collect();
    let partial =
        |service: &str| Fault::outcome(service, Outcome::Partial(Partial { every: 2, code: "InternalFailure".into() }));
    running.fault(partial("firehose"));
    running.fault(partial("kinesis"));
    let body = json!({ "DeliveryStreamName": "d", "Records": records });
    let answer = json_of(&call(&running, "firehose", "Firehose_20150804.PutRecordBatch", &body).await);
    assert_eq!(answer["FailedPutCount"], 2);
    assert_eq!(answer["RequestResponses"][0]["ErrorCode"], "InternalFailure");
    assert!(answer["RequestResponses"][1]["RecordId"].is_string());
    let body = json!({ "StreamName": "k", "Records": records });
    let answer = json_of(&call(&running, "kinesis", "Kinesis_20131202.PutRecords", &body).await);
    assert_eq!(
        (&answer["FailedRecordCount"], &answer["Records"][2]["ErrorCode"]),
        (&json!(2), &json!("InternalFailure"))
    );
    assert!(answer["Records"][1]["SequenceNumber"].is_string());
    let texts: Vec<String> = running.records(None, None).into_iter().map(|record| record.text).collect();
    assert_eq!(texts, ["b", "b"]);

    let one = |data: &str| vec![json!({ "Data": data, "PartitionKey": "k" })];
    let many = vec![json!({ "Data": "", "PartitionKey": "k" }); 501];
    let big = BASE64_STANDARD.encode(vec![0u8; 1_024_001]);
    let five: Vec<Value> = vec![json!({ "Data": BASE64_STANDARD.encode(vec![0u8; 1_000_000]) }); 5];
    for (service, target, stream, records, code) in [
        ("firehose", "Firehose_20150804.PutRecordBatch", "DeliveryStreamName", many.clone(), "ValidationException"),
        ("firehose", "Firehose_20150804.PutRecordBatch", "DeliveryStreamName", one(&big), "ValidationException"),
        ("firehose", "Firehose_20150804.PutRecordBatch", "DeliveryStreamName", five, "InvalidArgumentException"),
        ("firehose", "Firehose_20150804.PutRecordBatch", "DeliveryStreamName", one("!"), "SerializationException"),
        ("kinesis", "Kinesis_20131202.PutRecords", "StreamName", many, "ValidationException"),
        ("kinesis", "Kinesis_20131202.PutRecords", "StreamName", vec![json!({ "Data": "" })], "ValidationException"),
    ] {
        let answer = call(&running, service, target, &json!({ stream: "d", "Records": records })).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, code), "{}", answer.body);
    }
}

#[tokio::test]
async fn segments_are_rejected_one_by_one() {
    let running = cloud().await;
    let segment = json!({
        "trace_id": "1-58406520-a006649127e371903a2de979", "id": "6b55dcc497934f1a", "name": "web",
        "start_time": 1.5, "end_time": 2.5
    });
    let without = |name: &str| {
        let mut changed = segment.clone();
        changed.as_object_mut().unwrap().remove(name);
        changed.to_string()
    };
    let documents = vec![
        segment.to_string(),
        "nonsense".to_owned(),
        without("name"),
        without("trace_id"),
        without("end_time"),
        "x".repeat(65_537),
    ];
    let body = json!({ "TraceSegmentDocuments": documents });
    let signer = Signer::new("xray");
    let answer = json_of(&post(&running, Some(&signer), "/TraceSegments", &[], body.to_string()).await);
    let codes: Vec<&str> = answer["UnprocessedTraceSegments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["ErrorCode"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["JSONFormatError", "MissingParam", "InvalidTraceId", "MissingParam", "SegmentTooLarge"]);
    assert_eq!((running.state().records[0].records, running.state().records[0].rejected), (1, 5));
    let many = json!({ "TraceSegmentDocuments": vec![segment.to_string(); 51] });
    let answer = post(&running, Some(&signer), "/TraceSegments", &[], many.to_string()).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, "InvalidRequestException"));
}

/// An export request of so many records, each with this content.
fn export(count: usize, record: &[u8]) -> Vec<u8> {
    let scope: Vec<u8> = (0..count).flat_map(|_| message(2, record)).collect();
    message(1, &message(2, &scope))
}

#[tokio::test]
async fn otlp_is_signed_counted_and_held_to_aws_limits() {
    let running = cloud().await;
    log_place(&running).await;
    let proto = ("content-type", "application/x-protobuf");
    let (group, stream) = (("x-aws-log-group", "/a/b"), ("x-aws-log-stream", "s"));
    let logs = Signer::new("logs");
    let record = message(5, b"body");
    let answer = post(&running, Some(&logs), "/v1/logs", &[proto, group, stream], export(3, &record)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(running.state().records[0].destination, "logs:/a/b:s");
    assert_eq!(running.state().records[0].records, 3);
    let json = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "name": "a" }, { "name": "b" }] }] }] });
    let as_json = ("content-type", "application/json");
    let answer = post(&running, Some(&Signer::new("xray")), "/v1/traces", &[as_json], json.to_string()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    // A metric with a gauge of two points.
    let gauge = message(5, &[message(1, b""), message(1, b"")].concat());
    running.fault(Fault::outcome("otlp-metrics", Outcome::Partial(Partial { every: 2, code: String::new() })));
    let answer = post(&running, Some(&Signer::new("monitoring")), "/v1/metrics", &[proto], export(2, &gauge)).await;
    // partial_success { rejected_data_points: 2, ... }
    assert_eq!((answer.status, &answer.body.as_bytes()[2..4]), (200, &[0x08, 2][..]));
    let plain = post(&running, None, "/plain/v1/logs", &[proto], export(1, &record)).await;
    assert_eq!(plain.status, 200);

    for (signer, path, headers, body, status) in [
        (None, "/v1/logs", &[proto, group, stream][..], export(1, &record), 403),
        (Some(Signer::new("xray")), "/v1/logs", &[proto, group, stream], export(1, &record), 403),
        (
            Some(Signer { secret: "x".into(), ..logs.clone() }),
            "/v1/logs",
            &[proto, group, stream],
            export(1, &record),
            403,
        ),
        (Some(logs.clone()), "/v1/logs", &[proto, group], export(1, &record), 400),
        (Some(logs.clone()), "/v1/logs", &[proto, group, ("x-aws-log-stream", "none")], export(1, &record), 400),
        (Some(logs.clone()), "/v1/logs", &[group, stream], export(1, &record), 415),
        (Some(logs.clone()), "/v1/logs", &[proto, group, stream], b"\x0a\xff\xff".to_vec(), 400),
        (Some(logs.clone()), "/v1/logs", &[proto, group, stream], export(10_001, b""), 413),
        (Some(Signer::new("xray")), "/v1/traces", &[proto], export(1, &message(5, &vec![0; 5_000_001])), 413),
        (Some(Signer::new("monitoring")), "/v1/metrics", &[proto], export(501, &gauge), 400),
    ] {
        let answer = post(&running, signer.as_ref(), path, headers, body).await;
        assert_eq!(answer.status, status, "{path} {headers:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_plain_collector_takes_zstd_and_aws_does_not() {
    let running = cloud().await;
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    let body = export(3, &message(5, b"body"));
    let packed = zstd::encode_all(&*body, 3).unwrap();
    let answer = post(&running, None, "/plain/v1/traces", &headers, packed.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(running.records(Some("otlp:/plain/v1/traces"), None).len(), 3);
    let answer = post(&running, Some(&Signer::new("xray")), "/v1/traces", &headers, packed.clone()).await;
    assert!(answer.status == 400 && answer.body.contains("AWS takes gzip"), "{} {}", answer.status, answer.body);
    // Torn, no zstd at all, and a few bytes that would become 256 MiB.
    let bomb = zstd::encode_all(std::io::repeat(0).take(256 << 20), 3).unwrap();
    let mut wide = zstd::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(27).unwrap();
    wide.include_contentsize(false).unwrap();
    wide.write_all(&body).unwrap();
    let torn = packed[..packed.len() - 3].to_vec();
    for (body, status) in [(torn, 400), (b"no zstd".to_vec(), 400), (bomb, 413), (wide.finish().unwrap(), 400)] {
        let answer = post(&running, None, "/plain/v1/traces", &headers, body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn loki_takes_both_formats_and_verifies_a_signature_that_is_there() {
    let running = cloud().await;
    let stamp = [&[0x08][..], &[0xe8, 0x07]].concat(); // 1000 s
    let entry = [message(1, &stamp), message(2, b"line one")].concat();
    let push = message(1, &[message(1, b"{job=\"a\"}"), message(2, &entry)].concat());
    let body = snap::raw::Encoder::new().compress_vec(&push).unwrap();
    let headers = [("content-type", "application/x-protobuf")];
    assert_eq!(post(&running, None, "/loki/api/v1/push", &headers, body.clone()).await.status, 204);
    let json = json!({ "streams": [{ "stream": { "job": "a" }, "values": [["2000000000000", "line two"]] }] });
    let as_json = [("content-type", "application/json")];
    let gateway = Signer::new("execute-api");
    let answer = post(&running, Some(&gateway), "/prod/loki/api/v1/push", &as_json, json.to_string()).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    let lines: Vec<(i64, String, String)> =
        running.records(None, None).into_iter().map(|line| (line.timestamp_ms, line.text, line.caller_arn)).collect();
    assert_eq!(
        lines,
        [(1_000_000, "line one".to_owned(), String::new()), (2_000_000, "line two".to_owned(), USER.to_owned())]
    );
    let wrong = Signer { secret: "wrong".into(), ..Signer::new("aps") };
    assert_eq!(post(&running, Some(&wrong), "/loki/api/v1/push", &headers, body).await.status, 403);
    assert_eq!(post(&running, None, "/loki/api/v1/push", &headers, b"\xff".to_vec()).await.status, 400);
    assert_eq!(post(&running, None, "/loki/api/v1/push", &as_json, b"{}".to_vec()).await.status, 400);
}

#[tokio::test]
async fn a_gateway_passes_on_what_is_signed_for_it() {
    let running = cloud().await;
    let gateway = Signer::new("execute-api");
    let mut request = support::remote_write(&format!("{}/prod/api/v1/write", running.url()), "up", &[(1, 1.0)]);
    gateway.sign(&mut request);
    assert_eq!(send(&client(), request).await.unwrap().status, 200);
    assert_eq!(running.samples_of(USER)[0].destination, "execute-api:/prod/api/v1/write");
    let wrong = Signer { secret: "wrong".into(), ..gateway.clone() };
    for (signer, path, words) in [
        (&wrong, "/prod/api/v1/write", "The Canonical String"),
        (&gateway, "/prod/other", "Missing Authentication Token"),
        (
            &Signer { key: "AKIDLIMITED".into(), secret: "hush".into(), ..gateway.clone() },
            "/prod/api/v1/write",
            "is not authorized to perform: execute-api:Invoke on resource: \
             arn:aws:execute-api:us-east-1:000000000000:sandbox/prod/POST/api/v1/write because",
        ),
    ] {
        let answer = post(&running, Some(signer), path, &[], Vec::new()).await;
        assert!(answer.status == 403 && answer.body.contains(words), "{path}: {} {}", answer.status, answer.body);
    }
}

#[tokio::test]
async fn every_sink_refuses_a_wrong_signature_a_changed_body_and_a_missing_permission() {
    let running = cloud().await;
    for (service, target, path, status) in [
        ("logs", "Logs_20140328.PutLogEvents", "/", 400),
        ("firehose", "Firehose_20150804.PutRecordBatch", "/", 400),
        ("kinesis", "Kinesis_20131202.PutRecords", "/", 400),
        ("xray", "", "/TraceSegments", 403),
        ("logs", "", "/v1/logs", 403),
        ("xray", "", "/v1/traces", 403),
        ("monitoring", "", "/v1/metrics", 403),
    ] {
        let headers: &[(&str, &str)] = if target.is_empty() { &[] } else { &[("x-amz-target", target)] };
        let wrong = Signer { secret: "wrong".into(), ..Signer::new(service) };
        let answer = post(&running, Some(&wrong), path, headers, "{}").await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, "InvalidSignatureException"), "{path}");
        assert!(answer.body.contains("The Canonical String for this request should have been"), "{}", answer.body);
        let limited = Signer { key: "AKIDLIMITED".into(), secret: "hush".into(), ..Signer::new(service) };
        let answer = post(&running, Some(&limited), path, headers, "{}").await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, "AccessDeniedException"), "{path}");
        let mut request = http::Request::post(format!("{}{path}", running.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(b"{}".to_vec()).unwrap();
        Signer::new(service).sign(&mut request);
        request.body_mut().push(b' ');
        let answer = send(&client(), request).await.unwrap();
        assert_eq!(answer.header("x-amzn-errortype"), "InvalidSignatureException", "{path}");
        let eastern = Signer { region: String::new(), ..Signer::new(service) };
        let answer = post(&running, Some(&eastern), path, headers, "{}").await;
        assert!(answer.body.contains("Credential should be scoped to a valid region"), "{path}: {}", answer.body);
    }
    assert_eq!((running.state().verified, running.state().records_total), (0, 0));
}

#[tokio::test]
async fn each_service_is_throttled_in_its_own_words() {
    let running = cloud().await;
    for (service, name, target, path, status, code) in [
        ("aps", "aps", "", "/workspaces/ws/api/v1/remote_write", 429, "ThrottlingException"),
        ("logs", "logs", "Logs_20140328.PutLogEvents", "/", 400, "ThrottlingException"),
        ("firehose", "firehose", "Firehose_20150804.PutRecordBatch", "/", 500, "ServiceUnavailableException"),
        ("kinesis", "kinesis", "Kinesis_20131202.PutRecords", "/", 400, "ProvisionedThroughputExceededException"),
        ("xray", "xray", "", "/TraceSegments", 429, "ThrottledException"),
        ("monitoring", "otlp-metrics", "", "/v1/metrics", 429, "ThrottlingException"),
    ] {
        running.fault(Fault::outcome(name, Outcome::Throttle));
        let headers: &[(&str, &str)] = if target.is_empty() { &[] } else { &[("x-amz-target", target)] };
        let answer = post(&running, Some(&Signer::new(service)), path, headers, "{}").await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, code), "{name}");
    }
    running.fault(Fault::outcome("sts", Outcome::Throttle));
    let answer = support::sts(&running, Some(&Signer::new("sts")), &[("Action", "GetCallerIdentity")]).await;
    assert!(answer.status == 400 && answer.body.contains("<Code>Throttling</Code>"), "{}", answer.body);
    running.fault(Fault::outcome("s3", Outcome::Throttle));
    let mut put = http::Request::put(format!("{}/bucket/k", running.url())).body(Vec::new()).unwrap();
    Signer::new("s3").sign(&mut put);
    let answer = send(&client(), put).await.unwrap();
    assert!(answer.status == 503 && answer.body.contains("<Code>SlowDown</Code>"), "{}", answer.body);
    assert_eq!(running.state().faulted, 8);
}
