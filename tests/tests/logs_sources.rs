//! Sources of lines that are no files: each through the real binary, with kills, reloads and input that is no good.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use e2e::{agent::Agent, free_port, process::until};
use prost::Message;
use sandbox::{Identity, Running, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio_rustls::rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

const KEY_ID: &str = "AKIDEXAMPLE000000003";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);

async fn sandbox() -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

fn keys() -> String {
    format!("{{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}}}")
}

/// An instance that sends lines as JSON, with their labels, to Firehose; `jobs` stand under `scrape_configs`.
fn config(sandbox: &Running, jobs: &str) -> String {
    format!(
        "queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
        - {{name: fh, url: 'https://firehose.us-east-1.amazonaws.com/', endpoint_url: '{}', delivery_stream: lines, format: json, batchwait: 50ms, aws: {}}}
      scrape_configs:
{jobs}",
        sandbox.url(),
        keys()
    )
}

/// Every line that arrived: labels and text, with how often.
fn arrived(sandbox: &Running) -> Vec<(BTreeMap<String, String>, String)> {
    let records = sandbox.records(None, None);
    let read = |text: &str| {
        let value: Value = serde_json::from_str(text.trim_end()).ok()?;
        let labels = value.get("labels")?.as_object()?;
        let labels = labels.iter().map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
        Some((labels, value.get("line")?.as_str()?.to_owned()))
    };
    records.iter().filter(|r| r.destination.starts_with("firehose:")).filter_map(|r| read(&r.text)).collect()
}

fn texts(sandbox: &Running) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for (_, text) in arrived(sandbox) {
        *all.entry(text).or_insert(0) += 1;
    }
    all
}

async fn arrives(agent: &Agent, sandbox: &Running, text: &str) -> Result<BTreeMap<String, String>> {
    until(&format!("the line {text:?}"), PATIENCE, || async {
        arrived(sandbox).into_iter().find(|(_, line)| line == text).map(|(labels, _)| labels)
    })
    .await
    .with_context(|| agent.log())
}

async fn metric(agent: &Agent, series: &str, at_least: f64) -> Result<()> {
    until(&format!("{series} at {at_least}"), PATIENCE, || async {
        agent.metric(series).await.ok().flatten().filter(|value| *value >= at_least).map(drop)
    })
    .await
    .with_context(|| agent.log())
}

async fn targets(agent: &Agent) -> Result<Vec<Value>> {
    let page: Value = serde_json::from_str(&agent.get("/agent/api/v1/logs/targets").await?)?;
    Ok(page.get("data").and_then(Value::as_array).cloned().unwrap_or_default())
}

async fn reload(agent: &Agent, config: &str) -> Result<()> {
    agent.write_config(config)?;
    agent.get("/-/reload").await.map(drop).with_context(|| agent.log())
}

// --- the push API ------------------------------------------------------------

fn push_job(port: u16, more: &str) -> String {
    format!(
        "        - job_name: pushed
          loki_push_api: {{server: {{http_listen_address: 127.0.0.1, http_listen_port: {port}}}, labels: {{via: sigpost}}{more}}}
"
    )
}

async fn push_json(port: u16, lines: &[String]) -> Result<StatusCode> {
    let values: Vec<Value> = lines.iter().map(|line| json!(["1700000000000000000", line])).collect();
    let body = json!({"streams": [{"stream": {"app": "shop"}, "values": values}]});
    let url = format!("http://127.0.0.1:{port}/loki/api/v1/push");
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await?;
    Ok(answer.status())
}

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<PushEntry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PushEntry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<PushTime>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, Message)]
struct PushTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// As Promtail sends it.
async fn push_message(port: u16, labels: &str, line: &str) -> Result<StatusCode> {
    let entry = PushEntry { timestamp: Some(PushTime { seconds: 1_700_000_000, nanos: 5 }), line: line.to_owned() };
    let stream = PushStream { labels: labels.to_owned(), entries: vec![entry], hash: 7 };
    let body = PushRequest { streams: vec![stream] }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&body)?;
    let answer = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/loki/api/v1/push"))
        .header("content-type", "application/x-protobuf")
        .header("user-agent", "promtail/2.9.4")
        .body(body)
        .send()
        .await?;
    Ok(answer.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_push_api_said_yes_to_survives_kills() -> Result<()> {
    let sandbox = sandbox().await?;
    let port = free_port()?;
    let mut agent = Agent::prepare(&config(&sandbox, &push_job(port, "")))?;
    agent.start_ready().await?;
    assert_eq!(push_message(port, "{job=\"a\", host=\"b\"}", "from promtail").await?, 204);
    let labels = arrives(&agent, &sandbox, "from promtail").await?;
    assert_eq!(labels.get("host").map(String::as_str), Some("b"));
    assert_eq!(labels.get("via").map(String::as_str), Some("sigpost"));

    let mut promised = Vec::new();
    for round in 0..3 {
        for request in 0..20 {
            let lines: Vec<String> = (0..50).map(|n| format!("pushed {round} {request} {n}")).collect();
            if push_json(port, &lines).await? == 204 {
                promised.extend(lines);
            }
        }
        // The answer was given, so the disk has them.
        agent.kill_9();
        agent.start_ready().await?;
    }
    assert_eq!(promised.len(), 3 * 20 * 50, "{}", agent.log());
    until("every promised line", PATIENCE, || async {
        let found = texts(&sandbox);
        promised.iter().all(|line| found.contains_key(line)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let page = targets(&agent).await?;
    assert_eq!(page[0]["type"], "Push");
    assert_eq!(page[0]["target_group"], "pushed");
    assert_eq!(page[0]["labels"]["via"], "sigpost");
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_room_tells_senders_to_come_again() -> Result<()> {
    let port = free_port()?;
    let dead = free_port()?;
    let file = format!(
        "queue: {{max_bytes: 16MiB, min_free: 1MiB}}
logs:
  configs:
    - name: default
      clients:
        - {{name: dead, url: 'http://127.0.0.1:{dead}/loki/api/v1/push', queue: {{on_full: hold}}}}
      scrape_configs:
{}",
        push_job(port, "")
    );
    let mut agent = Agent::prepare(&file)?;
    agent.start_ready().await?;
    // Text that does not compress, so that the room ends soon.
    let noise = |seed: u64| -> String {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..700_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b'!' + (state % 90) as u8)
            })
            .filter(|c| !matches!(c, '"' | '\\'))
            .collect()
    };
    let client = reqwest::Client::new();
    let mut refused = None;
    for seed in 1..60 {
        let answer =
            client.post(format!("http://127.0.0.1:{port}/promtail/api/v1/raw")).body(noise(seed)).send().await?;
        if answer.status() != 204 {
            refused = Some((answer.status(), answer.headers().get("retry-after").cloned()));
            break;
        }
    }
    let (status, retry_after) = refused.with_context(|| agent.log())?;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(retry_after.is_some());
    metric(&agent, "sigpost_log_source_faults_total{logs_config=\"default\",source=\"loki_push_api\",job=\"pushed\",reason=\"no_room\"", 1.0).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_to_the_push_api_are_refused_and_hold_up_nobody() -> Result<()> {
    let sandbox = sandbox().await?;
    let port = free_port()?;
    let mut agent = Agent::prepare(&config(&sandbox, &push_job(port, ", use_incoming_timestamp: true")))?;
    agent.start_ready().await?;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    // Heads that never end, and a body that never comes.
    let mut slow = Vec::new();
    for n in 0..50 {
        let mut stream = TcpStream::connect(address)?;
        match n % 2 {
            0 => stream.write_all(b"POST /loki/api/v1/push HTTP/1.1\r\nhost: x\r\n")?,
            _ => stream.write_all(b"GET /ready HTTP/1.1\r\nx-a: ")?,
        }
        slow.push(stream);
    }
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{port}/loki/api/v1/push");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..64 {
        bomb.write_all(&[b' '; 1 << 20])?;
    }
    let bomb = bomb.finish()?;
    let bodies: Vec<(&str, &str, Vec<u8>, u16)> = vec![
        ("application/json", "gzip", bomb, 413),
        ("application/json", "", vec![b'['; 1 << 20], 400),
        ("application/json", "", b"{\"streams\": [{\"stream\": {}, \"values\": [[1]]}]}".to_vec(), 400),
        ("application/x-protobuf", "", vec![0xff; 5000], 400),
        // A snappy head that promises 4 GiB.
        ("application/x-protobuf", "", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
        ("text/html", "", b"hello".to_vec(), 400),
        ("application/json", "zip", b"hello".to_vec(), 400),
        ("application/json", "", vec![b' '; 9 << 20], 413),
    ];
    for (number, (kind, encoding, body, expected)) in bodies.into_iter().enumerate() {
        let mut request = client.post(&url).header("content-type", kind).body(body);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        // A server may answer and hang up before a large body is through.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), expected, "body {number}");
        }
    }
    assert_eq!(push_json(port, &["a good one".to_owned()]).await?, 204);
    arrives(&agent, &sandbox, "a good one").await?;
    let refused =
        "sigpost_log_source_faults_total{logs_config=\"default\",source=\"loki_push_api\",job=\"pushed\",reason=";
    metric(&agent, &format!("{refused}\"bad_request\""), 4.0).await?;
    metric(&agent, &format!("{refused}\"too_large\""), 2.0).await?;
    // Those that never finished are hung up on.
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert_eq!(push_json(port, &["still here".to_owned()]).await?, 204);
    agent.stop()
}

// --- syslog -------------------------------------------------------------------

fn syslog_job(name: &str, port: u16, more: &str) -> String {
    format!(
        "        - job_name: {name}
          syslog: {{listen_address: '127.0.0.1:{port}', labels: {{job: {name}}}{more}}}
          relabel_configs:
            - {{source_labels: [__syslog_message_hostname], target_label: host}}
            - {{source_labels: [__syslog_message_severity], target_label: level}}
          pipeline_stages:
            - replace: {{expression: '(password=\\S+)', replace: 'password=hidden'}}
"
    )
}

const HEAD: &str = "<165>1 2003-10-11T22:14:15.003Z web-1 app 7 ID1 -";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_comes_over_tcp_tls_and_udp_through_stages_and_a_reload() -> Result<()> {
    let sandbox = sandbox().await?;
    let (tcp, tls, udp, new) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let secure = ", tls_config: {cert_file: '{dir}/cert.pem', key_file: '{dir}/key.pem'}";
    let jobs = |renamed: &str| {
        syslog_job("plain", tcp, "").replace("job: plain", &format!("job: {renamed}"))
            + &syslog_job("secure", tls, secure)
            + &syslog_job("strict", new, &secure.replace("'}", "', min_version: TLS13}"))
            + &syslog_job("datagrams", udp, ", listen_protocol: udp")
    };
    let mut agent = Agent::prepare(&config(&sandbox, &jobs("plain")))?;
    fs::write(agent.dir.path().join("cert.pem"), made.cert.pem())?;
    fs::write(agent.dir.path().join("key.pem"), made.signing_key.serialize_pem())?;
    agent.start_ready().await?;

    let mut stream = TcpStream::connect(("127.0.0.1", tcp))?;
    stream.write_all(format!("{HEAD} by tcp password=x1\n").as_bytes())?;
    let labels = arrives(&agent, &sandbox, "by tcp password=hidden").await?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!((label("job"), label("host"), label("level")), (Some("plain"), Some("web-1"), Some("notice")));
    UdpSocket::bind("127.0.0.1:0")?.send_to(format!("{HEAD} by udp").as_bytes(), ("127.0.0.1", udp))?;
    arrives(&agent, &sandbox, "by udp").await?;
    say_by_tls(tls, &TLS12, &made.cert, &format!("{HEAD} by tls\n")).await?;
    arrives(&agent, &sandbox, "by tls").await?;
    assert!(say_by_tls(new, &TLS12, &made.cert, "x").await.is_err(), "it wants TLS 1.3");
    say_by_tls(new, &TLS13, &made.cert, &format!("{HEAD} by newer tls\n")).await?;
    arrives(&agent, &sandbox, "by newer tls").await?;

    // Nonsense is counted, and nobody suffers from it.
    for bytes in [&b"\xff\xfe\x00\x01\x02"[..], b"99999999999 x", b"\x16\x03\x01\x02\x00", &[b'<'; 100_000]] {
        let mut stream = TcpStream::connect(("127.0.0.1", tcp))?;
        // The other side may have hung up already.
        let _ = stream.write_all(bytes);
    }
    metric(&agent, "promtail_syslog_target_parsing_errors_total", 1.0).await?;

    // A port stays open through a reload that changes its job: nobody is refused.
    let hammer = tokio::task::spawn_blocking(move || -> Result<usize> {
        for n in 0..200 {
            let mut stream = TcpStream::connect(("127.0.0.1", tcp))?;
            stream.write_all(format!("{HEAD} during {n}\n").as_bytes())?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(200)
    });
    reload(&agent, &config(&sandbox, &jobs("renamed"))).await?;
    reload(&agent, &config(&sandbox, &jobs("again"))).await?;
    assert_eq!(hammer.await??, 200, "{}", agent.log());
    until("every line of the reload", PATIENCE, || async {
        let found = texts(&sandbox);
        (0..200).all(|n| found.contains_key(&format!("during {n}"))).then_some(())
    })
    .await
    .with_context(|| {
        let found = texts(&sandbox);
        let missing: Vec<usize> = (0..200).filter(|n| !found.contains_key(&format!("during {n}"))).collect();
        format!("missing {missing:?}\n{}", agent.log())
    })?;
    let kinds: Vec<_> = targets(&agent).await?.iter().map(|t| (t["type"].clone(), t["target_group"].clone())).collect();
    assert_eq!(kinds, ["datagrams", "plain", "secure", "strict"].map(|name| ("Syslog".into(), name.into())));

    // A port that cannot be had leaves everything as it was.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let bad = jobs("again") + &syslog_job("taken", taken.local_addr()?.port(), "");
    assert!(reload(&agent, &config(&sandbox, &bad)).await.is_err());
    let mut stream = TcpStream::connect(("127.0.0.1", tcp))?;
    stream.write_all(format!("{HEAD} after a refused reload\n").as_bytes())?;
    assert_eq!(
        arrives(&agent, &sandbox, "after a refused reload").await?.get("job").map(String::as_str),
        Some("again")
    );
    agent.stop()
}

async fn say_by_tls(
    port: u16,
    version: &'static SupportedProtocolVersion,
    certificate: &rcgen::Certificate,
    text: &str,
) -> Result<()> {
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("localhost".try_into()?, stream).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

// --- the journal ---------------------------------------------------------------

/// Writes a `journalctl` for the shell; its arguments go to `calls`.
fn journalctl(directory: &Path, body: &str) -> Result<()> {
    let (path, waiting) = (directory.join("journalctl"), directory.join("journalctl.new"));
    let text = format!("#!/bin/sh\necho \"$@\" >> '{0}/calls'\ncd '{0}'\n{body}\n", directory.display());
    fs::write(&waiting, text)?;
    fs::set_permissions(&waiting, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(waiting, path)?)
}

fn entries(numbers: std::ops::Range<u64>) -> String {
    let entry = |n: u64| {
        // Far ahead: never older than max_age.
        let us = 4_000_000_000_000_000 + n;
        format!(
            "__CURSOR=s=a;i={n};t={us:x}\\n__REALTIME_TIMESTAMP={us}\\n_SYSTEMD_UNIT=u{n}.service\\nMESSAGE=entry {n}\\n\\n"
        )
    };
    format!("printf '{}'", numbers.map(entry).collect::<String>())
}

const JOURNAL_JOB: &str = "        - job_name: journal
          journal: {labels: {job: systemd}, max_age: 12h}
          relabel_configs:
            - {source_labels: [__journal__systemd_unit], target_label: unit}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_gone_on_with_after_its_reader_and_the_agent_die() -> Result<()> {
    let sandbox = sandbox().await?;
    let bin = tempfile::tempdir()?;
    // The first dies in the middle; its successor is asked for what comes behind.
    let body = format!(
        "case \"$*\" in\n*--lines=1*) exit 0;;\n*i=4*) {}; exec sleep 1000;;\n*i=2*) {}; exec sleep 1000;;\n*) {}; echo 'the journal was rotated away' >&2; exit 1;;\nesac",
        entries(4..7),
        entries(2..5),
        entries(0..3),
    );
    journalctl(bin.path(), &body)?;
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut agent = Agent::prepare(&config(&sandbox, JOURNAL_JOB))?.with_env("PATH", &path);
    agent.start_ready().await?;
    let labels = arrives(&agent, &sandbox, "entry 4").await?;
    assert_eq!(labels.get("unit").map(String::as_str), Some("u4.service"));
    assert!(agent.log().contains("the journal was rotated away"), "{}", agent.log());
    metric(
        &agent,
        "sigpost_log_source_faults_total{logs_config=\"default\",source=\"journal\",job=\"journal\",reason=\"restart\"",
        1.0,
    )
    .await?;
    until("the cursor on the page", PATIENCE, || async {
        let page = targets(&agent).await.ok()?;
        let place = page.first()?["details"]["position"].as_str()?.to_owned();
        (page.first()?["type"] == "Journal" && place.contains("i=4;")).then_some(())
    })
    .await
    .with_context(|| agent.log())?;

    agent.kill_9();
    agent.start_ready().await?;
    arrives(&agent, &sandbox, "entry 6").await?;
    agent.stop()?;
    // Firehose may have got twice what it had not confirmed when the agent was killed; the journal was not read twice.
    let calls = fs::read_to_string(bin.path().join("calls"))?;
    let cursors: Vec<&str> =
        calls.lines().filter_map(|call| call.split("--cursor=s=a;").nth(1)?.split(';').next()).collect();
    assert_eq!(cursors, ["i=2", "i=4"], "{calls}");
    let found = texts(&sandbox);
    assert_eq!(found.len(), 7, "{found:?}");
    assert_eq!((found["entry 5"], found["entry 6"]), (1, 1), "{found:?}");
    let positions = fs::read_to_string(agent.dir.path().join("positions.yaml"))?;
    assert!(positions.contains("cursor-journal"), "{positions}");

    // Promtail's position is taken over.
    let mut agent = Agent::prepare(&config(&sandbox, JOURNAL_JOB))?.with_env("PATH", &path);
    fs::write(agent.dir.path().join("positions.yaml"), "positions:\n  cursor-journal: s=a;i=4;t=e35fa931a0004\n")?;
    fs::remove_file(bin.path().join("calls"))?;
    agent.start_ready().await?;
    arrives(&agent, &sandbox, "entry 5").await?;
    let calls = fs::read_to_string(bin.path().join("calls"))?;
    assert!(calls.lines().next().is_some_and(|call| call.contains("--cursor=s=a;i=4;")), "{calls}");
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_journalctl_is_told_and_stops_nothing_else() -> Result<()> {
    let sandbox = sandbox().await?;
    let port = free_port()?;
    let empty = tempfile::tempdir()?;
    let mut agent = Agent::prepare(&config(&sandbox, &(JOURNAL_JOB.to_owned() + &push_job(port, ""))))?
        .with_env("PATH", &empty.path().display().to_string());
    agent.start_ready().await?;
    until("the trouble on the page", PATIENCE, || async {
        let page = targets(&agent).await.ok()?;
        let why = page.first()?["details"]["trouble"].as_str()?.to_owned();
        (page.first()?["ready"] == false && why.contains("install systemd's journalctl")).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    assert_eq!(push_json(port, &["another source".to_owned()]).await?, 204);
    arrives(&agent, &sandbox, "another source").await?;
    agent.stop()
}

/// Five entries from 2096, written by systemd-journal-remote 252.
const JOURNAL: &[u8] = include_bytes!("../../crates/log-receive/tests/data/remote.journal.zst");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_real_journal_are_read() -> Result<()> {
    let is_here = |directory: std::path::PathBuf| directory.join("journalctl").is_file();
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(is_here) {
        println!("not run: there is no journalctl on this machine");
        return Ok(());
    }
    let sandbox = sandbox().await?;
    let job = JOURNAL_JOB.replace("max_age: 12h", "path: '{dir}/journal'");
    let mut agent = Agent::prepare(&config(&sandbox, &job))?;
    fs::create_dir(agent.dir.path().join("journal"))?;
    fs::write(agent.dir.path().join("journal/remote.journal"), zstd::decode_all(JOURNAL)?)?;
    agent.start_ready().await?;
    for line in ["real line 1", "real line 2", "real line 4", "real line 5"] {
        arrives(&agent, &sandbox, line).await?;
    }
    agent.stop()?;
    // Nothing is read again, and nothing is missing.
    agent.start_ready().await?;
    until("the reader's start", PATIENCE, || async {
        let page = targets(&agent).await.ok()?;
        page.first()?["details"]["position"].as_str()?.contains("i=5;").then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    assert_eq!(texts(&sandbox).values().copied().collect::<Vec<_>>(), [1; 5], "{:?}", texts(&sandbox));
    Ok(())
}

// --- the standard input ---------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_standard_input_arrive_and_its_end_ends_nothing() -> Result<()> {
    let sandbox = sandbox().await?;
    let text = config(&sandbox, "        - {job_name: piped, static_configs: [{labels: {job: piped}}]}\n")
        .replace("      clients:", "      target_config: {stdin: true}\n      clients:");
    let agent = Agent::prepare(&text)?;
    let log = fs::File::create(agent.log_path())?;
    let mut child = std::process::Command::new(e2e::peers::sigpost()?)
        .arg(format!("-config.file={}", agent.config_path().display()))
        .arg(format!("-server.http.address=127.0.0.1:{}", agent.port))
        .arg(format!("-metrics.wal-directory={}", agent.dir.path().join("data").display()))
        .stdin(std::process::Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let result = async {
        let mut input = child.stdin.take().context("a pipe")?;
        input.write_all(b"first\nsecond\nwithout an end")?;
        drop(input);
        let labels = arrives(&agent, &sandbox, "without an end").await?;
        assert_eq!(labels.get("job").map(String::as_str), Some("piped"));
        assert_eq!(texts(&sandbox).into_keys().collect::<Vec<_>>(), ["first", "second", "without an end"]);
        assert!(agent.get("/-/ready").await.is_ok());
        Ok(())
    }
    .await;
    child.kill()?;
    child.wait()?;
    result
}

// --- AWS ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_another_instance_wrote_are_read_once() -> Result<()> {
    let sandbox = sandbox().await?;
    let port = free_port()?;
    let job = format!(
        "        - job_name: bucket
          s3: {{bucket: example-bucket, prefix: in/, poll_interval: 200ms, endpoint_url: '{}', labels: {{job: objects}}, aws: {}}}
          relabel_configs: [{{source_labels: [__s3_bucket], target_label: bucket}}]
    - name: writer
      clients:
        - {{name: archive, url: 'https://example-bucket.s3.us-east-1.amazonaws.com/in', endpoint_url: '{}', format: text, batch: {{max_age: 300ms}}, aws: {}}}
      scrape_configs:
{}",
        sandbox.url(),
        keys(),
        sandbox.url(),
        keys(),
        push_job(port, "")
    );
    let mut agent = Agent::prepare(&config(&sandbox, &job))?;
    agent.start_ready().await?;
    let mut expected = Vec::new();
    for round in 0..3 {
        let lines: Vec<String> = (0..200).map(|n| format!("object line {round} {n}")).collect();
        assert_eq!(push_json(port, &lines).await?, 204);
        expected.extend(lines);
        arrives(&agent, &sandbox, &format!("object line {round} 199")).await?;
        // The place was written down with the lines.
        agent.kill_9();
        agent.start_ready().await?;
    }
    until("every line", PATIENCE, || async {
        let found = texts(&sandbox);
        expected.iter().all(|line| found.contains_key(line)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let labels = arrives(&agent, &sandbox, "object line 0 0").await?;
    assert_eq!(labels.get("bucket").map(String::as_str), Some("example-bucket"));
    assert_eq!(push_json(port, &["the last one".to_owned()]).await?, 204);
    arrives(&agent, &sandbox, "the last one").await?;
    metric(&agent, "sigpost_log_source_lines_total{logs_config=\"default\",source=\"s3\",job=\"bucket\"", 1.0).await?;
    agent.stop()
}

/// FilterLogEvents: pages of one event each, of which one comes late.
async fn log_groups() -> Result<SocketAddr> {
    async fn answer(headers: HeaderMap, body: String) -> impl IntoResponse {
        let signed = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_ours = signed.starts_with("AWS4-HMAC-SHA256 ") && signed.contains("/us-east-1/logs/aws4_request");
        let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let asked: Value = serde_json::from_str(&body).unwrap_or_default();
        if !is_ours || target != "Logs_20140328.FilterLogEvents" {
            return (StatusCode::BAD_REQUEST, Json(json!({"__type": "InvalidParameterException"})));
        }
        let (start, end) = (asked["startTime"].as_i64().unwrap_or(0), asked["endTime"].as_i64().unwrap_or(0));
        let page: i64 = asked["nextToken"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
        let at = end - 1000;
        let event = json!({
            "eventId": format!("event-{page}"),
            "timestamp": at.max(start),
            "message": format!("access {page}"),
            "logStreamName": "one",
        });
        let next = (page < 5).then(|| (page + 1).to_string());
        (StatusCode::OK, Json(json!({"events": [event], "nextToken": next})))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    Ok(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_log_groups_arrive_once_through_a_kill() -> Result<()> {
    let sandbox = sandbox().await?;
    let service = log_groups().await?;
    let job = format!(
        "        - job_name: gateway
          aws_api_gateway_access_logs: {{log_groups: [/aws/apigateway/prod], poll_interval: 200ms, endpoint_url: 'http://{service}/', labels: {{job: gateway}}, aws: {}}}
          relabel_configs: [{{source_labels: [__cloudwatch_log_group], target_label: group}}]
",
        keys()
    );
    let mut agent = Agent::prepare(&config(&sandbox, &job))?;
    agent.start_ready().await?;
    let labels = arrives(&agent, &sandbox, "access 5").await?;
    assert_eq!(labels.get("group").map(String::as_str), Some("/aws/apigateway/prod"));
    agent.stop()?;
    agent.start_ready().await?;
    until("a round after the start", PATIENCE, || async {
        let page = targets(&agent).await.ok()?;
        (page.first()?["type"] == "cloudwatch_logs" && page.first()?["ready"] == true).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    assert_eq!(texts(&sandbox).values().copied().collect::<Vec<_>>(), [1; 6], "{:?}\n{}", texts(&sandbox), agent.log());
    Ok(())
}

// --- a cluster ---------------------------------------------------------------------

/// An API server with one pod. Watches are silent.
async fn api_server() -> Result<SocketAddr> {
    async fn answer(uri: axum::http::Uri) -> impl IntoResponse {
        if uri.query().is_some_and(|query| query.contains("watch=1")) {
            std::future::pending::<()>().await;
        }
        let of_this_node = uri.query().is_some_and(|query| query.contains("fieldSelector=spec.nodeName%3Dnode-1"));
        let pod = json!({
            "metadata": {"name": "cart-1", "namespace": "shop", "uid": "uid-1", "labels": {"app": "cart"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "cart:1"}]},
            "status": {"phase": "Running", "podIP": "10.1.0.1"},
        });
        let items = if uri.path() == "/api/v1/pods" && of_this_node { vec![pod] } else { Vec::new() };
        Json(json!({"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items}))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Ok(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_the_pods_of_this_node_are_read() -> Result<()> {
    let sandbox = sandbox().await?;
    let server = api_server().await?;
    let job = format!(
        "        - job_name: pods
          kubernetes_sd_configs: [{{role: pod, api_server: 'http://{server}/'}}]
          pipeline_stages: [{{cri: {{}}}}]
          relabel_configs:
            - {{source_labels: [__meta_kubernetes_pod_label_app], target_label: app}}
            - {{source_labels: [__meta_kubernetes_pod_container_name], target_label: container}}
            - source_labels: [__meta_kubernetes_namespace, __meta_kubernetes_pod_name, __meta_kubernetes_pod_uid]
              separator: _
              target_label: __pod__
            - source_labels: [__pod__, __meta_kubernetes_pod_container_name]
              separator: /
              target_label: __path__
              replacement: '{{dir}}/pods/$1/*.log'
"
    );
    let mut agent = Agent::prepare(&config(&sandbox, &job))?.with_env("HOSTNAME", "node-1");
    let logs = agent.dir.path().join("pods/shop_cart-1_uid-1/main");
    fs::create_dir_all(&logs)?;
    fs::write(logs.join("0.log"), "2023-11-14T22:13:20.000000001Z stdout F from a pod\n")?;
    agent.start_ready().await?;
    let labels = arrives(&agent, &sandbox, "from a pod").await?;
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!((label("app"), label("container"), label("stream")), (Some("cart"), Some("main"), Some("stdout")));
    agent.stop()
}
