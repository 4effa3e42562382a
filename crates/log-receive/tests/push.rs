//! What other agents push, over real connections.

mod support;

use std::{io::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use log_receive::{ForwardConfig, PushConfig, PushReceiver};
use model::Labels;
use net::{Client, ClientOptions, HttpClientConfig, Reply, Sockets};
use support::{Store, texts};
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    client: Client,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(store: &Store, change: impl FnOnce(&mut PushConfig)) -> Running {
    start_with(store.forward("loki_push_api", ForwardConfig::new("pushed")), change).await
}

async fn start_with(forward: log_receive::Forward, change: impl FnOnce(&mut PushConfig)) -> Running {
    net::install_crypto_provider();
    let mut config = PushConfig::new("127.0.0.1:0");
    change(&mut config);
    let listening = PushReceiver::listen(&config, &Sockets::default()).unwrap();
    let receiver = PushReceiver::new(config, &listening, forward).unwrap();
    let (address, stop) = (receiver.address(), CancellationToken::new());
    let until = stop.clone();
    let task = tokio::spawn(async move { receiver.run(until).await.unwrap() });
    let client = Client::new(&HttpClientConfig::default(), ClientOptions::default()).unwrap();
    Running { address, client, stop, task }
}

impl Running {
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let mut request = Request::post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        self.client.send(request, Duration::from_secs(30), 1 << 20).await.unwrap()
    }

    async fn json(&self, body: &str) -> Reply {
        self.post("/loki/api/v1/push", &[("content-type", "application/json")], body.to_owned()).await
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// `{app="x"}` with the line `hello` at 7 s, as a `PushRequest`.
const MESSAGE: &[u8] = b"\x0a\x1a\x0a\x09{app=\"x\"}\x12\x0d\x0a\x02\x08\x07\x12\x07hello \x01";

fn snappy(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_stream_lies_in_the_queue_before_it_is_answered() {
    let mut store = Store::open();
    let running = start(&store, |config| {
        config.use_incoming_timestamp = true;
        config.labels = [("agent", "edge"), ("app", "mine")].into_iter().collect();
    })
    .await;
    let message = b"\x0a\x18\x0a\x09{app=\"x\"}\x12\x0b\x0a\x02\x08\x07\x12\x05hello".to_vec();
    let reply =
        running.post("/loki/api/v1/push", &[("content-type", "application/x-protobuf")], snappy(&message)).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", text(&reply));
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["hello"]);
    assert_eq!(lines[0].timestamp_ns, 7_000_000_000);
    assert_eq!(lines[0].labels, [("agent".into(), "edge".into()), ("app".into(), "mine".into())]);

    let headers =
        [("content-type", "application/json; charset=utf-8"), ("content-encoding", "gzip"), ("x-scope-orgid", "t1")];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(br#"{"streams":[{"stream":{"a":"b"},"values":[["5","one",{"k":"v"}],["4","two"]]}]}"#).unwrap();
    let reply = running.post("/loki/api/v1/push", &headers, gzip.finish().unwrap()).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", text(&reply));
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["one", "two"]);
    assert_eq!((lines[0].timestamp_ns, lines[1].timestamp_ns), (5, 4));
    assert_eq!(lines[0].metadata, [("k".into(), "v".into())]);
    assert_eq!(lines[0].label("__tenant_id__"), "t1");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_lines_get_the_configured_labels_and_rising_times() {
    let mut store = Store::open();
    let running = start(&store, |config| config.labels = [("job", "raw")].into_iter().collect()).await;
    let reply = running.post("/promtail/api/v1/raw", &[], "one\r\ntwo\n\nthree").await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["one", "two", "three"]);
    assert!(lines.is_sorted_by(|a, b| a.timestamp_ns < b.timestamp_ns));
    assert!(lines.iter().all(|line| line.label("job") == "raw"));
    let ready = Request::get(format!("http://{}/ready", running.address)).body(Bytes::new()).unwrap();
    assert_eq!(running.client.send(ready, Duration::from_secs(10), 100).await.unwrap().status, StatusCode::OK);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_refused_whole_with_the_reason() {
    let mut store = Store::open();
    let running = start(&store, |config| config.limits.decompressed = 4096).await;
    let proto = [("content-type", "application/x-protobuf")];
    for (headers, body, status, part) in [
        (&proto[..], b"garbage".to_vec(), 400, "snappy"),
        (&proto[..], snappy(&MESSAGE[..MESSAGE.len() - 1]), 400, "protobuf"),
        (&proto[..], snappy(b"\x0a\x04\x0a\x02{}"), 400, "without labels"),
        (&proto[..], snappy(&vec![0u8; 5000]), 413, "4096"),
        (&proto[..], b"\xff\xff\xff\xff\x0f".to_vec(), 413, "4096"),
        (&[("content-type", "text/html")][..], b"x".to_vec(), 400, "text/html"),
        (&[("content-type", "application/json"), ("content-encoding", "gzip")][..], b"x".to_vec(), 400, "gzip"),
        (&[("content-type", "application/json"), ("content-encoding", "br")][..], b"x".to_vec(), 400, "br"),
        (
            &[("content-type", "application/json")][..],
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1","good"],["x","bad"]]}]}"#.to_vec(),
            400,
            "streams[0]: values[1]",
        ),
    ] {
        let reply = running.post("/loki/api/v1/push", headers, body).await;
        assert_eq!(reply.status.as_u16(), status, "{}", text(&reply));
        assert!(text(&reply).contains(part), "{part}: {}", text(&reply));
    }
    // Nothing of the half-good request was taken: the next record is the next good one.
    assert_eq!(running.json(r#"{"streams":[{"stream":{"a":"b"},"values":[["1","after"]]}]}"#).await.status, 204);
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["after"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_room_is_told_and_taken_again_when_there_is_room() {
    let mut store = Store::sized(4 << 20);
    let running = start(&store, |config| config.limits.wait = Duration::from_millis(300)).await;
    let mut seed = 7u64;
    let mut noise = || {
        let mut text = String::new();
        while text.len() < 500_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(&format!("{seed:016x}"));
        }
        text
    };
    let mut taken = 0;
    let refused = loop {
        let body = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["1","{}"]]}}]}}"#, noise());
        let reply = running.json(&body).await;
        if reply.status != 204 {
            break reply;
        }
        taken += 1;
        assert!(taken < 200, "a queue of 4 MiB took {taken} lines of 500 kB");
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", text(&refused));
    assert!(refused.headers.contains_key("retry-after"));
    let (lines, _) = store.lines(taken).await;
    assert_eq!(lines.len(), taken, "what was answered with success is there, in order, before anything else");
    // The refused one may have been on its way already: it is there in full or not at all.
    let small = r#"{"streams":[{"stream":{"a":"b"},"values":[["1","small"]]}]}"#;
    let mut status = StatusCode::TOO_MANY_REQUESTS;
    for _ in 0..100 {
        status = running.json(small).await.status;
        if status == 204 {
            break;
        }
    }
    assert_eq!(status, 204);
    loop {
        let (lines, _) = store.record().await;
        if texts(&lines) == ["small"] {
            break;
        }
        assert!(lines.iter().all(|line| line.text.len() >= 500_000));
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stages_hold_back_is_given_out_before_the_answer() {
    let mut store = Store::open();
    let multiline = stages::config::MultilineConfig { firstline: r"^\S".into(), ..Default::default() };
    let config = stages::PipelineConfig { stages: vec![stages::StageConfig::Multiline(multiline)] };
    let pipeline = stages::Pipeline::new(&config, "pushed", &stages::StageMetrics::unregistered()).unwrap();
    let forward = store.staged("loki_push_api", ForwardConfig::new("pushed"), Some(pipeline));
    let running = start_with(forward, |config| config.labels = [("a", "b")].into_iter().collect::<Labels>()).await;
    assert_eq!(running.post("/promtail/api/v1/raw", &[], "one\n two\nthree").await.status, 204);
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["one\n two", "three"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_see_labels_of_the_stream_and_drop_only_that_stream() {
    let mut store = Store::open();
    let mut config = ForwardConfig::new("pushed");
    let rule = relabel::RuleSource {
        source_labels: vec!["app".into()],
        regex: "secret".into(),
        action: relabel::Action::Drop,
        ..relabel::RuleSource::default()
    };
    config.relabel = vec![relabel::Rule::new(rule).unwrap()];
    let running = start_with(store.forward("loki_push_api", config), |_| {}).await;
    let body = r#"{"streams":[{"stream":{"app":"secret"},"values":[["1","no"]]},
        {"stream":{"__only":"x"},"values":[["1","no"]]},{"stream":{"app":"open","__x":"y"},"values":[["1","yes"]]}]}"#;
    assert_eq!(running.json(body).await.status, 204);
    let (lines, _) = store.record().await;
    assert_eq!(texts(&lines), ["yes"]);
    assert_eq!(lines[0].labels, [("app".into(), "open".into())]);
    running.end().await;
}
