//! OTLP from real clients, through the real binary, to a plain collector: byte for byte, through kills and outages.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::http::StatusCode;
use e2e::{agent::Agent, collector::Collector, free_port, peers, process::until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Ports {
    grpc: u16,
    http: u16,
}

fn agent(collector: u16) -> Result<(Agent, Ports)> {
    let ports = Ports { grpc: free_port()?, http: free_port()? };
    let agent = Agent::prepare(&config(collector, &ports))?;
    Ok((agent, ports))
}

fn config(collector: u16, ports: &Ports) -> String {
    let Ports { grpc, http } = ports;
    format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers:
        otlp:
          protocols:
            grpc: {{endpoint: '127.0.0.1:{grpc}'}}
            http: {{endpoint: '127.0.0.1:{http}'}}
      remote_write:
        - name: collector
          endpoint: http://127.0.0.1:{collector}
          protocol: http
          compression: none
          retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
"
    )
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

/// A request of one span that is called by its number.
fn request(number: u64) -> Vec<u8> {
    let name = format!("span {number} ");
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), field(5, name.as_bytes())].concat();
    field(1, &field(2, &field(2, &span)))
}

async fn post(client: &reqwest::Client, port: u16, body: Vec<u8>) -> Result<StatusCode> {
    let url = format!("http://127.0.0.1:{port}/v1/traces");
    let answer = client.post(url).header("content-type", "application/x-protobuf").body(body).send().await?;
    Ok(answer.status())
}

async fn arrived(what: &str, collector: &Collector, enough: impl Fn(&Collector) -> bool) -> Result<()> {
    until(what, PATIENCE, || async { enough(collector).then_some(()) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_arrives_byte_for_byte_and_the_books_say_so() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    let (mut agent, ports) = agent(port)?;
    agent.start_ready().await?;
    let client = reqwest::Client::new();
    for number in 0..5 {
        ensure!(post(&client, ports.http, request(number)).await? == StatusCode::OK);
        arrived("the request", &collector, |c| c.bodies("/v1/traces").len() == number as usize + 1).await?;
    }
    let bodies: Vec<Vec<u8>> = collector.bodies("/v1/traces").iter().map(|body| body.to_vec()).collect();
    assert_eq!(bodies, (0..5).map(request).collect::<Vec<_>>());
    let malformed = post(&client, ports.http, b"nothing of ours".to_vec()).await?;
    assert_eq!(malformed, StatusCode::BAD_REQUEST);
    let accepted =
        "traces_receiver_accepted_spans_total{traces_config=\"default\",receiver=\"otlp\",transport=\"http\"}";
    let accepted = agent.metric(accepted).await?;
    assert_eq!(accepted, Some(5.0));
    let served = agent.get("/metrics").await?;
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let reference = std::fs::read_to_string(reference)?;
    let (_, ours) = reference.split_once("## Receiving OTLP").context("the reference has no receivers")?;
    let ours = ours.split("\n## ").next().unwrap_or(ours);
    let rows: Vec<&str> = ours.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows.len(), 11, "{rows:?}");
    // Where datagrams come, and where something is translated.
    let elsewhere = ["sigpost_receiver_lost_datagrams_total", "sigpost_otlp_untranslated_items_total"];
    for row in rows.into_iter().filter(|row| !elsewhere.contains(row)) {
        assert!(served.contains(&format!("# TYPE {row} counter")), "{row} is described and not served");
    }
    let page = agent.get("/").await?;
    assert!(page.contains("otlp (grpc)") && page.contains(&format!("127.0.0.1:{}", ports.http)), "{page}");
    agent.stop()
}

async fn sdk(python: &Path, transport: &str, endpoint: &str, packed: bool) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/otlp_send.py");
    let mut command = tokio::process::Command::new(python);
    command.arg(script).args([transport, endpoint, "50"]).args(packed.then_some("gzip"));
    let output = command.env("NO_PROXY", "127.0.0.1").kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.context("the SDK did not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && !said.contains("ailed to export"), "the SDK: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_sends_all_three_signals_over_both_transports() -> Result<()> {
    let Some(python) = peers::python_of_the_sdk()? else { return Ok(()) };
    for (transport, packed) in [("grpc", false), ("http", true), ("grpc", true), ("http", false)] {
        let (collector, port) = Collector::start().await?;
        let (mut agent, ports) = agent(port)?;
        agent.start_ready().await?;
        let endpoint = match transport {
            "grpc" => format!("127.0.0.1:{}", ports.grpc),
            _ => format!("http://127.0.0.1:{}", ports.http),
        };
        sdk(&python, transport, &endpoint, packed).await?;
        all_of_an_sdk(&collector, &format!("over {transport}")).await?;
        agent.stop()?;
    }
    Ok(())
}

/// Everything that the SDKs' scripts send 50 of. `how` is for the message.
async fn all_of_an_sdk(collector: &Collector, how: &str) -> Result<()> {
    for (path, all) in [
        ("/v1/traces", (0..50).map(|n| format!("span-{n}")).collect::<Vec<_>>()),
        ("/v1/logs", (0..50).map(|n| format!("line-{n}")).collect()),
        ("/v1/metrics", vec!["e2e.counter".to_owned(), "e2e.histogram".to_owned()]),
    ] {
        let has_all = |collector: &Collector| {
            let bytes = collector.joined(path);
            all.iter().all(|part| memchr::memmem::find(&bytes, part.as_bytes()).is_some())
        };
        arrived(&format!("{path} {how}"), collector, has_all).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_sdk_sends_all_three_signals_in_every_form() -> Result<()> {
    let Some(node) = peers::find_unless_missing("otel-node")? else { return Ok(()) };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/otlp_send.cjs");
    for form in ["grpc", "proto", "json"] {
        let (collector, port) = Collector::start().await?;
        let (mut agent, ports) = agent(port)?;
        agent.start_ready().await?;
        let to = if form == "grpc" { ports.grpc } else { ports.http };
        let mut command = tokio::process::Command::new(&node);
        command.arg(&script).args([form, &format!("http://127.0.0.1:{to}"), "50"]).env("NO_PROXY", "127.0.0.1");
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.context("the SDK did not end")??;
        ensure!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
        all_of_an_sdk(&collector, &format!("as {form}")).await?;
        agent.stop()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_answered_span() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    let (mut agent, ports) = agent(port)?;
    let answered: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let rounds = std::env::var("SIGPOST_OTLP_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12u64);
    for round in 0..rounds {
        agent.start_ready().await?;
        let done = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (answered, next, done, http) = (answered.clone(), next.clone(), done.clone(), ports.http);
                tokio::spawn(async move {
                    let client = reqwest::Client::new();
                    while !done.load(Ordering::SeqCst) {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if post(&client, http, request(number)).await.is_ok_and(|status| status.is_success()) {
                            answered.lock().unwrap().insert(number);
                        }
                    }
                })
            })
            .collect();
        let wanted = answered.lock().unwrap().len() + 20 + round as usize * 3;
        until("some answers", PATIENCE, || async { (answered.lock().unwrap().len() >= wanted).then_some(()) }).await?;
        agent.kill_9();
        done.store(true, Ordering::SeqCst);
        for sender in senders {
            sender.await?;
        }
    }
    agent.start_ready().await?;
    let answered = answered.lock().unwrap().clone();
    let all = |collector: &Collector| {
        let found: BTreeSet<u64> = collector.numbers("/v1/traces").into_iter().collect();
        answered.is_subset(&found)
    };
    arrived("every answered span", &collector, all).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_spans_arrive_in_the_order_in_which_they_were_accepted() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    collector.down.store(true, Ordering::SeqCst);
    let (mut agent, ports) = agent(port)?;
    agent.start_ready().await?;
    let client = reqwest::Client::new();
    for number in 0..200 {
        ensure!(post(&client, ports.http, request(number)).await? == StatusCode::OK);
    }
    agent.stop()?;
    agent.start_ready().await?;
    for number in 200..400 {
        ensure!(post(&client, ports.http, request(number)).await? == StatusCode::OK);
    }
    assert!(collector.bodies("/v1/traces").is_empty());
    collector.down.store(false, Ordering::SeqCst);
    arrived("all spans", &collector, |c| c.numbers("/v1/traces").len() >= 400).await?;
    assert_eq!(collector.numbers("/v1/traces"), (0..400).collect::<Vec<_>>());
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_moves_receivers_and_refuses_an_address_that_is_taken() -> Result<()> {
    let (collector, port) = Collector::start().await?;
    let (mut agent, ports) = agent(port)?;
    agent.start_ready().await?;
    let client = reqwest::Client::new();
    let reload = |agent: &Agent| format!("http://127.0.0.1:{}/-/reload", agent.port);
    let other = Ports { grpc: ports.grpc, http: free_port()? };
    agent.write_config(&config(port, &other))?;
    ensure!(client.post(reload(&agent)).send().await?.status().is_success(), "{}", agent.log());
    ensure!(post(&client, other.http, request(1)).await? == StatusCode::OK);
    until("the old port to be closed", PATIENCE, || async {
        post(&reqwest::Client::new(), ports.http, request(2)).await.is_err().then_some(())
    })
    .await?;

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let refused = Ports { grpc: ports.grpc, http: taken.local_addr()?.port() };
    agent.write_config(&config(port, &refused))?;
    let answer = client.post(reload(&agent)).send().await?;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let why = answer.text().await?;
    assert!(why.contains("listening on 127.0.0.1") && why.contains("otlp (http)"), "{why}");
    ensure!(post(&client, other.http, request(3)).await? == StatusCode::OK, "the old receivers go on");
    arrived("both spans", &collector, |c| c.numbers("/v1/traces") == [1, 3]).await?;
    agent.stop()
}
