//! Objects of a bucket that verifies signatures, and of a queue's notices.

#[path = "support/cloud.rs"]
mod cloud;
mod support;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws::{CredentialSource, IdentityConfig, IdentityContext};
use axum::response::IntoResponse;
use bytes::Bytes;
use cloud::{Fake, access, client, error, json};
use http::{Request, StatusCode};
use log_receive::{CloudAccess, ForwardConfig, NewObjects, ReceiveError, S3Config, S3Reader, SourceState, SqsConfig};
use net::{Secret, SecretSource};
use sandbox::{Running as Bucket, Sandbox, SandboxConfig};
use serde_json::{Value, json as value};
use support::{Store, texts, until};
use tokio_util::sync::CancellationToken;

async fn bucket() -> (Bucket, CloudAccess) {
    net::install_crypto_provider();
    let config = SandboxConfig::default();
    let example = config.identities[0].clone();
    let bucket = Sandbox::start(config).await.unwrap();
    let inline = |text: &str| SecretSource::Inline(Secret::new(text));
    let identity = IdentityConfig {
        region: Some("us-east-1".into()),
        service: Some("s3".into()),
        source: CredentialSource::Static {
            access_key: inline(&example.access_key_id),
            secret_key: inline(example.secret_access_key.expose()),
            session_token: None,
        },
        ..IdentityConfig::default()
    };
    let url = bucket.url().parse().unwrap();
    let authorize = aws::identity(&identity, &url, "s3", "logs", &IdentityContext::new("host").unwrap()).unwrap();
    (bucket, CloudAccess { client: client(), authorize, timeout: Duration::from_secs(10) })
}

async fn put(bucket: &Bucket, access: &CloudAccess, key: &str, body: Vec<u8>) {
    let mut request = Request::put(format!("{}/logs/{key}", bucket.url().trim_end_matches('/')))
        .header("content-encoding", "gzip")
        .body(Bytes::from(body))
        .unwrap();
    access.authorize.authorize(&mut request).await.unwrap();
    let reply = access.client.send(request, Duration::from_secs(10), 1 << 20).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), ReceiveError>>,
    state: SourceState,
}

fn start(
    store: &Store,
    config: S3Config,
    access: CloudAccess,
    queue: Option<CloudAccess>,
    cursor: Option<&str>,
) -> Running {
    let mut forwarding = ForwardConfig::new("objects");
    let rule = relabel::RuleSource {
        source_labels: vec!["__s3_key".into()],
        target_label: "key".into(),
        ..relabel::RuleSource::default()
    };
    forwarding.relabel = vec![relabel::Rule::new(rule).unwrap()];
    let forward = store.forward("s3", forwarding);
    let state = forward.state();
    let reader = S3Reader::new(config, access, queue, forward, cursor).unwrap();
    let stop = CancellationToken::new();
    Running { task: tokio::spawn(reader.run(stop.clone())), stop, state }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn listing(endpoint: &str) -> S3Config {
    S3Config {
        endpoint: Some(endpoint.parse().unwrap()),
        prefix: "in/".into(),
        objects: NewObjects::List {
            interval: Duration::from_millis(50),
            sorted_keys: false,
            start_after: String::new(),
            start_back: None,
            overlap: Duration::from_secs(3600),
        },
        ..S3Config::new("logs", "us-east-1")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_every_packing_are_read_once_also_by_the_next_process() {
    let mut store = Store::open();
    let (bucket, access) = bucket().await;
    put(&bucket, &access, "in/a.zst", zstd::encode_all(&b"a1\r\na2"[..], 1).unwrap()).await;
    put(&bucket, &access, "in/b%20%2B%C3%BC.gz", gzip("b1\nb2\n")).await;
    put(&bucket, &access, "in/c.txt", b"c1\n".to_vec()).await;
    put(&bucket, &access, "out/d.txt", b"not wanted\n".to_vec()).await;
    let running = start(&store, listing(&bucket.url()), access.clone(), None, None);
    let (lines, _) = store.lines(5).await;
    assert_eq!(texts(&lines), ["a1", "a2", "b1", "b2", "c1"]);
    assert_eq!(lines[2].label("key"), "in/b +ü.gz");
    // A smaller key that comes later is found too.
    put(&bucket, &access, "in/0.txt", b"late\n".to_vec()).await;
    let (lines, marks) = store.lines(1).await;
    assert_eq!(texts(&lines), ["late"]);
    running.end().await;

    put(&bucket, &access, "in/e.txt", b"e1\n".to_vec()).await;
    assert_eq!(marks[0].key, "s3-objects");
    let running = start(&store, listing(&bucket.url()), access, None, Some(&marks[0].cursor));
    assert_eq!(texts(&store.lines(1).await.0), ["e1"]);
    running.end().await;
    bucket.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_object_gives_what_it_has_and_stops_no_other() {
    let mut store = Store::open();
    let (bucket, access) = bucket().await;
    let mut broken = gzip(&"first line\n".repeat(20_000));
    broken.truncate(broken.len() - 20);
    put(&bucket, &access, "in/a.gz", broken).await;
    put(&bucket, &access, "in/b.gz", gzip("good\n")).await;
    let running = start(&store, listing(&bucket.url()), access, None, None);
    let mut all = Vec::new();
    while all.last().map(String::as_str) != Some("good") {
        all.extend(store.record().await.0.into_iter().map(|line| line.text));
    }
    assert!(all.iter().rev().skip(1).all(|line| line == "first line"));
    running.end().await;
    bucket.stop().await;
}

/// A place that knows ranges, and a queue, in one.
struct Place {
    text: &'static str,
    messages: Vec<Value>,
    gone: AtomicBool,
    failures: AtomicUsize,
}

impl Place {
    async fn start(self) -> Fake {
        Fake::start(move |name, body, headers| match name {
            "ReceiveMessage" => {
                assert_eq!(body["MaxNumberOfMessages"], 10);
                if self.gone.swap(true, Ordering::SeqCst) {
                    return json(&value!({}));
                }
                json(&value!({"Messages": self.messages}))
            }
            "DeleteMessageBatch" => json(&value!({"Successful": [{"Id": "0"}], "Failed": []})),
            "ChangeMessageVisibility" => json(&value!({})),
            path if path.contains("missing") => error(404, "NoSuchKey"),
            _ if self.failures.load(Ordering::SeqCst) > 0 => {
                self.failures.fetch_sub(1, Ordering::SeqCst);
                error(503, "SlowDown")
            }
            _ => {
                let range = headers["range"].to_str().unwrap().trim_start_matches("bytes=");
                let (from, to) = range.split_once('-').unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                let total = self.text.len();
                if from > 0 {
                    assert_eq!(headers["if-match"], "\"e\"");
                }
                if from >= total {
                    return error(416, "InvalidRange");
                }
                let piece = &self.text[from..total.min(to + 1)];
                let place = format!("bytes {from}-{}/{total}", from + piece.len() - 1);
                (StatusCode::PARTIAL_CONTENT, [("content-range", place), ("etag", "\"e\"".into())], piece)
                    .into_response()
            }
        })
        .await
    }
}

fn message(id: &str, body: &str, receives: u32) -> Value {
    value!({"MessageId": id, "ReceiptHandle": id, "Body": body, "Attributes": {"ApproximateReceiveCount": receives.to_string()}})
}

fn created(key: &str, region: &str) -> String {
    value!({"Records": [{"eventName": "ObjectCreated:Put", "awsRegion": region,
        "s3": {"bucket": {"name": "logs"}, "object": {"key": key}}}]})
    .to_string()
}

fn long_text() -> &'static str {
    let text: String = (0..500).map(|n| format!("line {n}\n")).collect();
    Box::leak(text.into_boxed_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noticed_objects_are_fetched_in_pieces_and_their_messages_deleted_when_durable() {
    let mut store = Store::open();
    let fake = Place {
        text: long_text(),
        messages: vec![
            message("test", r#"{"Event":"s3:TestEvent"}"#, 1),
            message("poison", &created("x", "us-east-1"), 11),
            message("unknown", "hello", 1),
            message("elsewhere", &created("x", "eu-west-1"), 1),
            message("gone", &created("missing", "us-east-1"), 1),
            message("good", &created("dir/a+b", "us-east-1"), 2),
        ],
        gone: AtomicBool::new(false),
        failures: AtomicUsize::new(2),
    }
    .start()
    .await;
    let mut sqs = SqsConfig::new(fake.url().join("123456789012/notices").unwrap());
    sqs.wait = Duration::ZERO;
    let config = S3Config {
        endpoint: Some(fake.url()),
        objects: NewObjects::Queue(sqs),
        piece: 1024,
        ..S3Config::new("", "us-east-1")
    };
    let running = start(&store, config, access(), Some(access()), None);
    let (lines, _) = store.lines(500).await;
    assert_eq!(lines.len(), 500);
    assert!(lines.iter().enumerate().all(|(n, line)| line.text == format!("line {n}")));
    assert_eq!(lines[0].label("key"), "dir/a b");
    let deleted = || -> Vec<String> {
        let asked = fake.asked_for("DeleteMessageBatch");
        asked.iter().map(|a| a["Entries"][0]["ReceiptHandle"].as_str().unwrap().to_owned()).collect()
    };
    until("the last message's end", || deleted().contains(&"good".to_owned())).await;
    assert_eq!(deleted(), ["test", "gone", "good"]);
    let (asked, _) = fake.asked().into_iter().find(|(name, _)| name.contains("dir")).unwrap();
    assert_eq!(asked, "/logs/dir/a%20b");
    until("the trouble with the other region", || {
        running.state.status().trouble.is_none() && !fake.asked_for("ReceiveMessage").is_empty()
    })
    .await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_held_on_to_while_its_object_is_read() {
    let store = Store::open();
    let fake = Place {
        text: "x\n",
        messages: vec![message("slow", &created("a", "us-east-1"), 1)],
        gone: AtomicBool::new(false),
        // More than one round's attempts, with their waits.
        failures: AtomicUsize::new(1000),
    }
    .start()
    .await;
    let mut sqs = SqsConfig::new(fake.url().join("1/notices").unwrap());
    sqs.visibility = Duration::from_secs(2);
    sqs.wait = Duration::ZERO;
    let config =
        S3Config { endpoint: Some(fake.url()), objects: NewObjects::Queue(sqs), ..S3Config::new("logs", "us-east-1") };
    let running = start(&store, config, access(), Some(access()), None);
    let held = Arc::new(fake.clone());
    until("a longer hold, or the end of the attempts", || {
        !held.asked_for("ChangeMessageVisibility").is_empty() || running.state.status().trouble.is_some()
    })
    .await;
    assert!(fake.asked_for("DeleteMessageBatch").is_empty());
    until("the trouble", || running.state.status().trouble.is_some_and(|(why, _)| why.contains("SlowDown"))).await;
    assert!(fake.asked_for("DeleteMessageBatch").is_empty(), "a message whose object was not read stays");
    running.end().await;
}
