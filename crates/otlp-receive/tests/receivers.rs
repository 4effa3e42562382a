//! Requests over real sockets, into a real queue and out of it.

use std::{io::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::otlp::Signal;
use net::{Pem, Sockets};
use otlp_receive::{BodyRoom, Cors, ListenTls, OtlpMetrics, Prepared, ReceiverConfig, Signals, Speech};
use pipeline::{OtlpIntake, OtlpOutlet, Outcome};
use prometheus_client::registry::Registry;
use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, Queue, QueueConfig};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const GRPC_TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A queue with one lane and one destination, and endpoints that feed it.
struct House {
    _directory: tempfile::TempDir,
    queue: Queue,
    lane: LaneId,
    registry: Registry,
    metrics: OtlpMetrics,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl House {
    fn new() -> Self {
        Self::with(64 << 20, OnFull::Evict)
    }

    fn with(max_bytes: u64, on_full: OnFull) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lane = LaneId::new("traces-default").unwrap();
        let config = QueueConfig {
            max_bytes,
            min_free: MinFree::NONE,
            commit_interval: Duration::from_millis(5),
            ..QueueConfig::new(directory.path())
        };
        let destination = DestinationSpec { on_full, ..DestinationSpec::new("tempo", vec![lane.clone()]) };
        let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![destination]).unwrap();
        let mut registry = Registry::default();
        let metrics = OtlpMetrics::register(&mut registry);
        let (stop, running) = (CancellationToken::new(), Vec::new());
        Self { _directory: directory, queue, lane, registry, metrics, stop, running }
    }

    fn open(&mut self, config: ReceiverConfig, accepts: Signals, room: BodyRoom) -> SocketAddr {
        let prepared = Prepared::new(config, &Sockets::default()).unwrap();
        let address = prepared.address();
        let intake = OtlpIntake::new(self.queue.appender(&self.lane).unwrap());
        let opened = prepared.open("default", intake, accepts, room, &self.metrics);
        let stop = self.stop.clone();
        self.running.push(tokio::spawn(async move { opened.run(stop).await.unwrap() }));
        address
    }

    fn serve(&mut self, config: ReceiverConfig) -> SocketAddr {
        self.open(config, Signals::ALL, BodyRoom::default())
    }

    /// What comes out of the queue next.
    async fn next(&self) -> (Signal, Vec<u8>) {
        let mut outlet = OtlpOutlet::new(self.queue.reader("tempo", &self.lane).unwrap());
        let claim = outlet.next().await.unwrap();
        let found = (claim.signal(), claim.body().to_vec());
        claim.settle(Outcome::Delivered);
        found
    }

    fn exposition(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn grpc() -> ReceiverConfig {
    ReceiverConfig::grpc("127.0.0.1:0")
}

fn http() -> ReceiverConfig {
    ReceiverConfig::http("127.0.0.1:0")
}

/// A field of wire type 2.
fn field(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut len = body.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(body);
    out
}

/// A request of spans, each with a name of so many bytes.
fn spans(count: usize, name: usize) -> Vec<u8> {
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), field(5, &vec![b'x'; name])].concat();
    field(1, &field(2, &field(2, &span).repeat(count)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Status, headers, body, trailers.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.get(name).or_else(|| self.trailers.get(name));
        found.map_or("", |value| value.to_str().unwrap())
    }
}

async fn send_by<B>(address: SocketAddr, request: Request<B>, version_2: bool) -> Answer
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let response = if version_2 {
        let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers }
}

async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = Request::post(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send_by(address, request.body(Full::new(Bytes::copy_from_slice(body))).unwrap(), false).await
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A unary call with one message.
async fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)], packed: bool, message: &[u8]) -> Answer {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    call_raw(address, path, headers, &[&[u8::from(packed)][..], &length, message].concat()).await
}

async fn call_raw(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send_by(address, request.body(Full::new(Bytes::copy_from_slice(body))).unwrap(), true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_requests_come_out_of_the_queue_as_they_were_before_packing() {
    let mut house = House::new();
    let address = house.serve(http());
    let sent = spans(3, 2000);
    let zstd = zstd::stream::encode_all(&sent[..], 1).unwrap();
    for (encoding, body) in [("", sent.clone()), ("gzip", gzip(&sent)), ("zstd", zstd), ("identity", sent.clone())] {
        let headers: &[(&str, &str)] =
            if encoding.is_empty() { &[PROTOBUF] } else { &[PROTOBUF, ("content-encoding", encoding)] };
        let answer = post(address, "/v1/traces", headers, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{encoding}: {:?}", answer.body);
        assert_eq!((answer.header("content-type"), answer.body.len()), ("application/x-protobuf", 0), "{encoding}");
        assert_eq!(house.next().await, (Signal::Traces, sent.clone()), "{encoding}");
    }
    // Without a span there is nothing to store, and nothing wrong.
    assert_eq!(post(address, "/v1/traces", &[PROTOBUF], b"").await.status, StatusCode::OK);
    let told = house.exposition();
    let labels = r#"{traces_config="default",receiver="otlp",transport="http"}"#;
    assert!(told.contains(&format!("traces_receiver_accepted_spans_total{labels} 12")), "{told}");
    assert!(told.contains(&format!("sigpost_otlp_requests_total{labels} 5")), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_translated_and_answered_in_json() {
    let mut house = House::new();
    let address = house.serve(http());
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;
    let answer = post(address, "/v1/logs", &[("content-type", "application/json; charset=utf-8")], json).await;
    assert_eq!((answer.status, answer.header("content-type"), &answer.body[..]), (StatusCode::OK, JSON.1, &b"{}"[..]));
    let (signal, message) = house.next().await;
    let record = field(2, &field(5, &field(1, b"hello")));
    assert_eq!((signal, message), (Signal::Logs, field(1, &field(2, &record))));
    let answer = post(address, "/v1/logs", &[JSON], br#"{"resourceLogs":7}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(status["code"], 3);
    assert!(status["message"].as_str().unwrap().contains("reading logs as JSON: this number"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_calls_come_out_of_the_queue_as_they_were_before_packing() {
    let mut house = House::new();
    let address = house.serve(grpc());
    let sent = spans(2, 3000);
    let zstd = zstd::stream::encode_all(&sent[..], 1).unwrap();
    for (encoding, packed, body) in [
        ("identity", false, sent.clone()),
        ("gzip", true, gzip(&sent)),
        ("zstd", true, zstd),
        ("gzip", false, sent.clone()),
    ] {
        let answer = call(address, GRPC_TRACES, &[("grpc-encoding", encoding)], packed, &body).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "0"), "{encoding} {packed}");
        assert_eq!((answer.header("content-type"), &answer.body[..]), ("application/grpc", &[0; 5][..]));
        assert_eq!(house.next().await, (Signal::Traces, sent.clone()), "{encoding} {packed}");
    }
    let record = field(1, &field(2, &field(2, &field(3, b"INFO"))));
    assert_eq!(call(address, GRPC_LOGS, &[], false, &record).await.header("grpc-status"), "0");
    assert_eq!(house.next().await, (Signal::Logs, record));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_in_the_clients_own_terms() {
    let mut house = House::new();
    let small = ReceiverConfig { max_request: 10_000, ..http() };
    let http = house.open(small, Signals { logs: false, ..Signals::ALL }, BodyRoom::default());
    let grpc = house.open(
        ReceiverConfig { max_request: 10_000, ..grpc() },
        Signals { logs: false, ..Signals::ALL },
        BodyRoom::default(),
    );
    let whole = spans(1, 10);
    let cut = &whole[..whole.len() - 1];
    for (path, headers, body, status, code, words) in [
        ("/v1/traces", vec![PROTOBUF], cut, 400, 3, "reading a traces request: the bytes end too early"),
        ("/v1/traces", vec![PROTOBUF], b"not protobuf", 400, 3, "reading "),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "gzip")], b"plain", 400, 3, "not whole gzip"),
        ("/v1/traces", vec![PROTOBUF, ("content-encoding", "br")], &whole, 415, 12, "compression \"br\""),
        ("/v1/logs", vec![PROTOBUF], &whole, 404, 12, "forwards no logs"),
        ("/v1/trace", vec![PROTOBUF], &whole, 404, 12, "OTLP is posted to /v1/traces"),
        ("/v1/traces", vec![PROTOBUF], &spans(1, 20_000), 413, 8, "larger than 10000 bytes"),
        (
            "/v1/traces",
            vec![PROTOBUF, ("content-encoding", "gzip")],
            &gzip(&spans(1, 1 << 20)),
            413,
            8,
            "larger than 10000 bytes",
        ),
    ] {
        let answer = post(http, path, &headers, body).await;
        let status_message: Vec<_> = model::otlp::fields(&answer.body).map(Result::unwrap).collect();
        let text = String::from_utf8_lossy(status_message[1].bytes().unwrap()).into_owned();
        assert_eq!(answer.status, status, "{text}");
        assert_eq!(status_message[0].value, model::otlp::Value::Varint(code), "{text}");
        assert!(text.contains(words), "{text}");
        assert_eq!(answer.header("retry-after"), "", "{text}: sending it again does not help");
    }
    let answer = post(http, "/v1/traces", &[("content-type", "text/plain")], &whole).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "text/plain; charset=utf-8")
    );
    let get = Request::get("/v1/traces").header("host", "x").header(PROTOBUF.0, PROTOBUF.1);
    let answer = send_by(http, get.body(Full::new(Bytes::new())).unwrap(), false).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));

    let wrong_length = [&[0, 0, 0, 0, 9][..], &whole].concat();
    for (path, headers, body, code, words) in [
        (GRPC_TRACES, vec![], [&[0, 0, 0, 0, cut.len() as u8][..], cut].concat(), "3", "the bytes end too early"),
        (GRPC_TRACES, vec![], wrong_length, "3", "one message is wanted"),
        (GRPC_TRACES, vec![], vec![0, 0], "3", "ends within the head"),
        (GRPC_TRACES, vec![], vec![1, 0, 0, 0, 1, 7], "3", "no grpc-encoding says how"),
        (GRPC_TRACES, vec![], vec![7, 0, 0, 0, 1, 7], "3", "not one of gRPC"),
        (GRPC_TRACES, vec![("grpc-encoding", "snappy")], vec![0; 5], "12", "compression \"snappy\""),
        (GRPC_LOGS, vec![], vec![0; 5], "12", "forwards no logs"),
        ("/a.b.C/Export", vec![], vec![0; 5], "12", "/a.b.C/Export is not known"),
        (GRPC_TRACES, vec![], vec![0; 10_006], "8", "larger than 10000 bytes"),
    ] {
        let answer = call_raw(grpc, path, &headers, &body).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, code), "{words}");
        assert!(answer.header("grpc-message").contains(words), "{}", answer.header("grpc-message"));
        assert_ne!(answer.header("grpc-status-details-bin"), "");
    }
    let answer = post(grpc, "/v1/traces", &[PROTOBUF], &whole).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{:?}", answer.body);
    let words = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(words.contains("4318") && words.contains("protocol to grpc"), "{words}");
    let answer = call_raw(http, GRPC_TRACES, &[], &whole).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, "12"));
    let words = answer.header("grpc-message");
    assert!(words.contains("4317") && words.contains("http/protobuf"), "{words}");
    let told = house.exposition();
    assert!(told.contains(r#"transport="http",reason="malformed"} 3"#), "{told}");
    assert!(told.contains(r#"transport="grpc",reason="too_large"} 1"#), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_a_whole_request_before_reading_gets_the_refusal_and_no_broken_connection() {
    use std::io::{Read, Write};
    let mut house = House::new();
    let small = ReceiverConfig { max_request: 10_000, ..http() };
    let address = house.open(small, Signals::ALL, BodyRoom::default());
    for (path, length) in [("/v1/traces", 17 << 20), ("/nowhere", 3 << 20)] {
        let answer = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            let piece = vec![b' '; 1 << 20];
            for _ in 0..length >> 20 {
                stream.write_all(&piece)?;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        let answer = answer.await.unwrap().unwrap();
        let code = if path == "/nowhere" { "404" } else { "413" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_memory_and_a_full_queue_are_told_with_a_time_to_come_again() {
    use tokio::io::AsyncWriteExt;
    let mut house = House::new();
    let http = house.open(http(), Signals::ALL, BodyRoom::new(400_000));
    let answer = post(http, "/v1/traces", &[PROTOBUF], &spans(1, 400_000)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::PAYLOAD_TOO_LARGE, ""), "at no time");
    assert!(String::from_utf8_lossy(&answer.body).contains("300000 bytes of memory"), "{:?}", answer.body);
    let middling = spans(1, 130_000);
    assert_eq!(post(http, "/v1/traces", &[PROTOBUF], &middling).await.status, StatusCode::OK);
    // Other clients hold most of the room, and stall.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = TcpStream::connect(http).await.unwrap();
        let head = format!("POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\n", PROTOBUF.1);
        other.write_all(format!("{head}content-length: 140000\r\n\r\n").as_bytes()).await.unwrap();
        other.write_all(&vec![0; 130_000]).await.unwrap();
        others.push(other);
    }
    let crowded = async {
        loop {
            let answer = post(http, "/v1/traces", &[PROTOBUF], &middling).await;
            if answer.status != StatusCode::OK {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), crowded).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"), "not now");

    let mut house = House::with(4 << 20, OnFull::Hold);
    let address = house.serve(grpc());
    let message = spans(1000, 200);
    let mut answers = Vec::new();
    let refused = loop {
        let answer = call(address, GRPC_TRACES, &[], false, &message).await;
        if answer.header("grpc-status") != "0" {
            break answer;
        }
        answers.push(answer);
        assert!(answers.len() < 100, "4 MiB do not hold that");
    };
    assert_eq!(refused.header("grpc-status"), "8");
    assert!(refused.header("grpc-message").contains("full"), "{}", refused.header("grpc-message"));
    let details = refused.header("grpc-status-details-bin");
    let details = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, details).unwrap();
    assert!(String::from_utf8_lossy(&details).contains("google.rpc.RetryInfo"));
    assert!(house.exposition().contains("traces_receiver_refused_spans_total"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_certificate_of_ours_get_no_further_than_the_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut of_authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = of_authority.self_signed(&authority_key).unwrap();
    let authority = rcgen::Issuer::from_params(&of_authority, &authority_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate, key)
    };
    let (server, server_key) = issue("localhost");
    let (client, client_key) = issue("client");
    let put = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = ListenTls {
        cert: Pem::File(put("server.pem", server.pem())),
        key: Pem::File(put("server.key", server_key.serialize_pem())),
        client_ca: Some(put("ca.pem", authority_certificate.pem())),
        versions: net::TlsVersions::default(),
    };
    let mut house = House::new();
    let address = house.serve(ReceiverConfig { tls: Some(tls), ..grpc() });

    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority_certificate.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let chain = vec![client.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
    let known = builder().with_client_auth_cert(chain, key).unwrap();
    let stranger = builder().with_no_client_auth();
    let talk = |mut config: rustls::ClientConfig| async move {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await?;
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let message = spans(1, 10);
        let body = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
        let request = Request::post(format!("https://localhost{GRPC_TRACES}"))
            .header("content-type", "application/grpc")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        let body = response.into_body().collect().await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(body.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned())
    };
    assert_eq!(talk(known).await.unwrap(), "0");
    assert!(talk(stranger).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_are_told_which_pages_may_send() {
    let mut house = House::new();
    let mut config = http();
    if let Speech::Http { cors, .. } = &mut config.speech {
        *cors = Some(Cors {
            allowed_origins: vec!["https://*.example.com".to_owned()],
            allowed_headers: Vec::new(),
            max_age: Duration::from_secs(60),
        });
    }
    let address = house.serve(config);
    let asks = Request::options("/v1/traces")
        .header("host", "x")
        .header("origin", "https://shop.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = send_by(address, asks.body(Full::new(Bytes::new())).unwrap(), false).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example.com");
    assert_eq!(answer.header("access-control-max-age"), "60");
    let from = |origin| [PROTOBUF, ("origin", origin)];
    let answer = post(address, "/v1/traces", &from("https://shop.example.com"), &spans(1, 1)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("access-control-allow-origin")),
        (200, "https://shop.example.com")
    );
    let answer = post(address, "/v1/traces", &from("https://evil.example"), &spans(1, 1)).await;
    assert_eq!(answer.header("access-control-allow-origin"), "", "the browser keeps the answer from the page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_is_answered_when_the_receiver_stops_and_later_ones_find_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut house = House::new();
    let address = house.serve(http());
    let body = spans(1, 100_000);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        PROTOBUF.1,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // Said by the receiver when it begins to read the body (RFC 9110 section 10.1.1), so the request is under way.
    let mut said = [0; 25];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body[..50_000]).await.unwrap();
    house.stop.cancel();
    stream.write_all(&body[50_000..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(house.next().await, (Signal::Traces, body));
    for running in house.running.drain(..) {
        running.await.unwrap();
    }
    assert!(TcpStream::connect(address).await.is_err());
}

/// The head of a frame of HTTP/2, and its payload.
async fn frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    use tokio::io::AsyncReadExt;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

#[tokio::test]
async fn grpc_says_how_many_streams_it_takes_and_closes_what_is_silent() {
    use tokio::io::AsyncWriteExt;
    let mut house = House::new();
    let mut config = grpc();
    config.http2.max_concurrent_streams = 17;
    config.http2.keep_alive_interval = Duration::from_millis(50);
    config.http2.keep_alive_timeout = Duration::from_millis(50);
    let address = house.serve(config);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The preface, and settings of nothing.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut streams, mut asked) = (None, false);
    while let Ok((kind, payload)) = frame(&mut stream).await {
        match kind {
            4 => streams = streams.or(payload.chunks(6).find(|s| s[..2] == [0, 3]).map(|s| s[5])),
            6 => asked = true,
            _ => {}
        }
    }
    assert_eq!((streams, asked), (Some(17), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_would_take_a_hundred_times_their_bytes_to_read_are_refused() {
    let mut house = House::new();
    let http = house.serve(http());
    // Two bytes for each span.
    let empty = |spans: usize| field(1, &field(2, &[2 << 3 | 2, 0].repeat(spans)));
    let answer = post(http, "/v1/traces", &[PROTOBUF], &empty(2_000_000)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::PAYLOAD_TOO_LARGE, ""));
    assert!(String::from_utf8_lossy(&answer.body).contains("bytes of memory"), "{:?}", answer.body);
    assert_eq!(post(http, "/v1/traces", &[PROTOBUF], &empty(1000)).await.status, StatusCode::OK);
    // Ordinary spans are taken up to the limit of bytes.
    let name = "x".repeat(380);
    let span = field(2, &[field(1, &[1; 16]), field(2, &[2; 8]), field(5, name.as_bytes())].concat());
    let ordinary = field(1, &field(2, &span.repeat(32_000)));
    assert!(ordinary.len() > 12 << 20);
    assert_eq!(post(http, "/v1/traces", &[PROTOBUF], &ordinary).await.status, StatusCode::OK);
}
