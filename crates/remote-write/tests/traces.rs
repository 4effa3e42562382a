//! Received requests from a real queue to OTLP over HTTP and gRPC, X-Ray and a bucket, played on loopback.

mod support;
mod traces_support;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use model::otlp::Signal;
use parking_lot::Mutex;
use prost::Message;
use proto::otlp_traces::ExportTraceServiceRequest;
use remote_write::{
    DestinationState,
    traces::{
        OtlpCompression, OtlpDeliveryMetrics, OtlpFormat, OtlpGrpcConfig, OtlpHttpConfig, OtlpObjectsConfig,
        OtlpProtocol, XRayConfig,
    },
};
use serde_json::{Value, json};
use support::{Fake, Reply, Seen, refused, status, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use traces_support::{TraceHouse, config, names, request};

fn http() -> OtlpProtocol {
    OtlpProtocol::Http(OtlpHttpConfig { compression: OtlpCompression::None, ..OtlpHttpConfig::default() })
}

fn stored(fake: &Fake) -> Vec<Seen> {
    fake.seen().into_iter().filter(|seen| seen.status == 200).collect()
}

fn plain(seen: &Seen) -> Vec<u8> {
    match seen.headers.get("content-encoding").map(|coding| coding.as_bytes()) {
        Some(b"gzip") => {
            let mut out = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*seen.raw), &mut out).unwrap();
            out
        }
        Some(b"zstd") => zstd::decode_all(&*seen.raw).unwrap(),
        _ => seen.raw.to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_arrives_byte_for_byte_and_several_as_one() {
    for compression in [OtlpCompression::None, OtlpCompression::Gzip, OtlpCompression::Zstd] {
        let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(200)).await);
        let first = house.append_spans(1, "a", 3).await;
        let protocol = OtlpProtocol::Http(OtlpHttpConfig { compression, ..OtlpHttpConfig::default() });
        let running = house.run(config(&fake.url, protocol));
        house.settled().await;
        let seen = stored(&fake);
        assert_eq!((seen.len(), seen[0].path.as_str(), plain(&seen[0])), (1, "/v1/traces", first), "{compression:?}");
        assert_eq!(seen[0].headers["content-type"], "application/x-protobuf");
        running.stop().await;
        // What gathered while nobody sent goes out in one request.
        let second = house.append_spans(1, "b", 2).await;
        let third = house.append_spans(1, "c", 1).await;
        let mut patient = config(&fake.url, http());
        patient.batching.max_age = Duration::from_millis(500);
        let running = house.run(patient);
        let row = house.settled().await;
        let seen = stored(&fake);
        assert_eq!((seen.len(), plain(&seen[1])), (2, [second, third].concat()));
        assert_eq!(row.delivered, 6);
        assert_eq!(running.status.state(), DestinationState::Healthy);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_goes_to_its_path() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(200)).await);
    house.append_spans(1, "a", 1).await;
    // One resource, scope and record: { 1: { 2: { 2: { 1: time } } } }.
    let record = [0x0a, 13, 0x12, 11, 0x12, 9, 0x09, 1, 0, 0, 0, 0, 0, 0, 0];
    house.append(Signal::Logs, 1, &record).await;
    // A gauge with a point.
    let metric = [0x0a, 17, 0x12, 15, 0x12, 13, 0x2a, 11, 0x0a, 9, 0x19, 1, 0, 0, 0, 0, 0, 0, 0];
    house.append(Signal::Metrics, 1, &metric).await;
    let running = house.run(config(&fake.url, http()));
    assert_eq!(house.settled().await.delivered, 3);
    let paths: BTreeSet<_> = stored(&fake).into_iter().map(|seen| (seen.path.clone(), plain(&seen).len())).collect();
    let expected = [("/v1/logs", 15), ("/v1/metrics", 19)].map(|(path, bytes)| (path.to_owned(), bytes));
    assert!(expected.iter().all(|one| paths.contains(one)), "{paths:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_the_limits_is_cut_and_arrives_whole() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(200)).await);
    house.append_spans(1, "a", 100).await;
    let mut config = config(&fake.url, http());
    config.batching.max_samples = 7;
    let running = house.run(config);
    house.settled().await;
    let all: Vec<Vec<String>> = stored(&fake).iter().map(|seen| names(&plain(seen))).collect();
    assert!(all.iter().all(|names| names.len() <= 7), "{all:?}");
    assert_eq!(all.concat(), (0..100).map(|n| format!("a {n}")).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_span_at_fault_is_found_and_the_others_arrive() {
    let script = |_: usize, seen: &Seen| {
        if names(&plain(seen)).contains(&"b 5".to_owned()) { refused(400, "invalid span") } else { status(200) }
    };
    let (house, fake) = (TraceHouse::new(), Fake::new(script).await);
    house.append_spans(1, "a", 3).await;
    house.append_spans(1, "b", 16).await;
    let running = house.run(config(&fake.url, http()));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (18, 1));
    let arrived: BTreeSet<String> = stored(&fake).iter().flat_map(|seen| names(&plain(seen))).collect();
    assert_eq!(arrived.len(), 18);
    assert_eq!(running.status.snapshot().rejected.get("bad_request"), Some(&1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_not_taken_is_counted() {
    // partial_success { rejected 2, error_message "no" }
    let answer = Reply { status: 200, body: Bytes::from_static(b"\x0a\x06\x08\x02\x12\x02no"), ..Reply::default() };
    let (house, fake) = (TraceHouse::new(), Fake::new(move |_, _| answer.clone()).await);
    house.append_spans(1, "a", 5).await;
    let running = house.run(config(&fake.url, http()));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (3, 2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_is_waited_out_and_refused_credentials_hold_everything() {
    let script = |number: usize, _: &Seen| match number {
        0 => Reply { status: 429, headers: vec![("retry-after", "0".into())], ..Reply::default() },
        1 => status(503),
        2 => status(502),
        3 => status(401),
        4 => status(403),
        _ => status(200),
    };
    let (house, fake) = (TraceHouse::new(), Fake::new(script).await);
    let body = house.append_spans(1, "a", 5).await;
    let running = house.run(config(&fake.url, http()));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (5, 0));
    assert_eq!(plain(&stored(&fake)[0]), body);
    assert_eq!(fake.seen().len(), 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_delivered_at_a_stop_is_delivered_after_it() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(503)).await);
    let body = house.append_spans(1, "a", 5).await;
    let running = house.run(config(&fake.url, http()));
    until("asked", || async { !fake.seen().is_empty() }).await;
    running.stop().await;
    assert_eq!(house.row().pending_items, 5);
    let house = TraceHouse::at(house.close().await);
    fake.follow(|_, _| status(200));
    let running = house.run(config(&fake.url, http()));
    house.settled().await;
    assert_eq!(plain(&stored(&fake)[0]), body);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_received_too_long_ago_are_not_sent() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(200)).await);
    house.append_spans(1, "a", 5).await;
    let mut config = config(&fake.url, http());
    config.max_age = Some(Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let running = house.run(config);
    assert_eq!(house.settled().await.expired, 5);
    assert_eq!(fake.seen().len(), 0);
    running.stop().await;
}

fn xray() -> OtlpProtocol {
    OtlpProtocol::XRay(XRayConfig { annotations: vec!["number".into()], ..XRayConfig::default() })
}

fn documents(seen: &Seen) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&seen.raw).unwrap();
    let list = body["TraceSegmentDocuments"].as_array().unwrap();
    list.iter().map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_segment_documents_fifty_at_a_time() {
    let empty = || refused(200, r#"{"UnprocessedTraceSegments":[]}"#);
    let (house, fake) = (TraceHouse::new(), Fake::new(move |_, _| empty()).await);
    house.append_spans(1, "a", 120).await;
    house.append_spans(1, "b", 10).await;
    // X-Ray has no place for these.
    let record = [0x0a, 13, 0x12, 11, 0x12, 9, 0x09, 1, 0, 0, 0, 0, 0, 0, 0];
    house.append(Signal::Logs, 1, &record).await;
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = OtlpDeliveryMetrics::register(&mut registry).for_instance("main");
    let running = house.run_with(config(&fake.url, xray()), &metrics);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.filtered, row.rejected), (130, 1, 0));
    let seen = fake.seen();
    assert!(seen.iter().all(|seen| seen.path == "/TraceSegments" && documents(seen).len() <= 50));
    let all: Vec<Value> = seen.iter().flat_map(documents).collect();
    assert_eq!(all.len(), 130);
    assert_eq!((&all[0]["name"], &all[7]["annotations"]["number"]), (&json!("shop"), &json!(7)));
    assert!(running.status.snapshot().rejected.is_empty());
    running.stop().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let labels = "{traces_config=\"main\",exporter=\"awsxray/spans\"}";
    for line in [
        format!("traces_exporter_sent_spans_total{labels} 130\n"),
        format!("traces_exporter_send_failed_log_records_total{labels} 0\n"),
        format!("traces_exporter_send_failed_spans_total{labels} 0\n"),
        format!("sigpost_xray_documents_total{labels} 130\n"),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_x_ray_does_not_take_are_booked_and_throttled_ones_sent_again() {
    let script = |number: usize, seen: &Seen| {
        let answer = |place: usize, code: &str| {
            let id = documents(seen)[place]["id"].clone();
            json!({"Id": id, "ErrorCode": code, "Message": "m"})
        };
        let list = match number {
            0 => json!([answer(1, "InvalidTraceId"), answer(4, "ThrottledException")]),
            _ => json!([]),
        };
        refused(200, &json!({"UnprocessedTraceSegments": list}).to_string())
    };
    let (house, fake) = (TraceHouse::new(), Fake::new(script).await);
    house.append_spans(1, "a", 10).await;
    let metrics = OtlpDeliveryMetrics::default();
    let running = house.run_with(config(&fake.url, xray()), &metrics);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (9, 1));
    let seen = fake.seen();
    assert_eq!((seen.len(), documents(&seen[1])), (2, vec![documents(&seen[0])[4].clone()]));
    assert_eq!(running.status.snapshot().rejected.get("invalid_id"), Some(&1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_without_valid_ids_are_lost_alone() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| refused(200, "{}")).await);
    let mut body = request("a", 3);
    body.resource_spans[0].scope_spans[0].spans[1].trace_id = vec![0; 16];
    house.append(Signal::Traces, 1, &body.encode_to_vec()).await;
    let running = house.run(config(&fake.url, xray()));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (2, 1));
    assert_eq!(documents(&fake.seen()[0]).len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_hold_json_lines_and_are_made_the_same_after_a_crash() {
    let (house, fake) = (TraceHouse::new(), Fake::new(|_, _| status(503)).await);
    let bodies = [house.append_spans(1, "a", 2).await, house.append_spans(2, "b", 1).await];
    let protocol =
        || OtlpProtocol::Objects(OtlpObjectsConfig { format: OtlpFormat::JsonLines, ..OtlpObjectsConfig::default() });
    let running = house.run(config(&fake.url, protocol()));
    until("asked", || async { !fake.seen().is_empty() }).await;
    running.stop().await;
    let first = fake.seen()[0].clone();
    let house = TraceHouse::at(house.close().await);
    // It was stored, and the answer was lost.
    fake.follow(|_, _| status(412));
    let running = house.run(config(&fake.url, protocol()));
    assert_eq!(house.settled().await.delivered, 3);
    // Two frames may lie on both sides of a step, and be two objects.
    let objects: std::collections::BTreeMap<String, Bytes> =
        fake.seen().into_iter().filter(|seen| seen.status == 412).map(|seen| (seen.path, seen.raw)).collect();
    assert_eq!(objects.get(&first.path), Some(&first.raw));
    assert!(first.path.starts_with("/traces-default/") && first.path.ends_with(".traces.jsonl.gz"), "{}", first.path);
    let mut lines: Vec<ExportTraceServiceRequest> = Vec::new();
    for object in objects.values() {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&**object), &mut text).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str::<ExportTraceServiceRequest>(line).unwrap()));
    }
    assert_eq!(lines.iter().map(Message::encode_to_vec).collect::<Vec<_>>(), bodies);
    running.stop().await;
}

/// A gRPC server that keeps what it is sent and answers by the number of the request.
async fn grpc(answers: &'static [(&'static str, &'static str)]) -> (url::Url, Arc<Mutex<Vec<(String, Bytes)>>>) {
    let seen: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let serve = move |request: http::Request<Body>| {
        let kept = Arc::clone(&kept);
        async move {
            assert_eq!(
                (request.version(), &request.headers()["content-type"]),
                (http::Version::HTTP_2, &"application/grpc".parse().unwrap())
            );
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let number = kept.lock().len();
            kept.lock().push((path, body));
            let (code, message) = answers[number.min(answers.len() - 1)];
            let trailers = [("grpc-status", code), ("grpc-message", message)]
                .into_iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            let frames = [
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"\0\0\0\0\0"))),
                Ok(http_body::Frame::trailers(trailers)),
            ];
            let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await.unwrap() });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_http_2_alone_is_told_to_be_one_of_grpc() {
    let house = TraceHouse::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    // Servers of gRPC begin with their settings, read what is no preface of HTTP/2, and hang up.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, settings) = ([0; 1024], [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
            let _ = stream.write_all(&settings).await;
            let _ = stream.read(&mut request).await;
            // GOAWAY: a protocol error.
            let _ = stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).await;
        }
    });
    house.append_spans(1, "a", 2).await;
    let running = house.run(config(&url, http()));
    until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
    let told = format!("{:?}", running.status.state());
    assert!(told.contains("write `protocol: grpc`, or the port of OTLP/HTTP (4318)"), "{told}");
    let row = house.row();
    assert_eq!((row.pending_items, row.rejected), (2, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_takes_the_bytes_as_they_came() {
    let house = TraceHouse::new();
    let (url, seen) = grpc(&[("14", "not yet"), ("8", "slower"), ("16", "who"), ("0", "")]).await;
    let body = house.append_spans(1, "a", 4).await;
    let protocol = OtlpProtocol::Grpc(OtlpGrpcConfig { compression: OtlpCompression::None });
    let running = house.run(config(&url, protocol));
    assert_eq!(house.settled().await.delivered, 4);
    let seen = seen.lock().clone();
    assert_eq!(seen.len(), 4);
    for (path, raw) in &seen {
        assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        assert_eq!((raw[0], &raw[5..]), (0, &*body));
    }
    assert_eq!(running.status.state(), DestinationState::Healthy);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_refusals_are_isolated() {
    let house = TraceHouse::new();
    let (url, seen) = grpc(&[("3", "bad"), ("3", "bad"), ("0", "")]).await;
    house.append_spans(1, "a", 2).await;
    let protocol = OtlpProtocol::Grpc(OtlpGrpcConfig { compression: OtlpCompression::Gzip });
    let running = house.run(config(&url, protocol));
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (1, 1));
    assert_eq!(seen.lock().len(), 3, "both, the first alone, the second alone");
    running.stop().await;
}

/// A server of moto's, ended with it.
struct Moto(std::process::Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_takes_the_documents_and_gives_the_traces_back() {
    let Some(peers) = std::env::var_os("PEERS") else {
        println!("skipped: PEERS is not set; `make test` sets it and `make test-deps` fills it");
        return;
    };
    let program = std::path::PathBuf::from(peers).join("bin/moto_server");
    assert!(program.exists(), "{} is missing: run `make test-deps`", program.display());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = std::process::Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _moto = Moto(process);
    until("moto listens", || async { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await;
    let house = TraceHouse::new();
    let body = house.append_spans(1, "a", 3).await;
    let sent = ExportTraceServiceRequest::decode(&*body).unwrap();
    let trace = &sent.resource_spans[0].scope_spans[0].spans[1].trace_id;
    let trace = format!("1-{}-{}", hex::encode(&trace[..4]), hex::encode(&trace[4..]));
    let url: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let mut config = config(&url, xray());
    // It goes by the signature to know which service is meant, and does not verify it unless told to.
    let scope =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/xray/aws4_request, SignedHeaders=host, Signature=0";
    config.client.headers.push(("authorization".into(), net::SecretSource::Inline(net::Secret::new(scope))));
    let running = house.run(config.clone());
    let row = house.settled().await;
    assert_eq!((row.delivered, row.rejected), (3, 0), "{:?}", running.status.snapshot());
    running.stop().await;
    let client = net::Client::new(&config.client, net::ClientOptions::default()).unwrap();
    let asked = http::Request::post(format!("{url}Traces"))
        .header("content-type", "application/json")
        .body(Bytes::from(json!({ "TraceIds": [trace] }).to_string()))
        .unwrap();
    let reply = client.send(asked, Duration::from_secs(20), 1 << 20).await.unwrap();
    let traces: Value = serde_json::from_slice(&reply.body).unwrap();
    let document = traces["Traces"][0]["Segments"][0]["Document"].as_str().unwrap_or_else(|| panic!("{traces}"));
    let document: Value = serde_json::from_str(document).unwrap();
    assert_eq!((&document["name"], &document["trace_id"]), (&json!("shop"), &json!(trace)));
}
