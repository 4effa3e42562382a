//! `docker_sd_configs` of logs: the output of containers of a stand-in engine behind a local socket, through the real binary.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    path::Path as FilePath,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use e2e::{agent::Agent, process::until};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio::sync::watch;

const KEY_ID: &str = "AKIDEXAMPLE000000003";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);
/// 2026-01-31 12:00:00 UTC.
const BEGIN_NS: i64 = 1_769_860_800_000_000_000;

#[derive(Clone)]
struct Container {
    name: &'static str,
    running: bool,
    terminal: bool,
    /// Which output, when, what.
    log: Vec<(bool, i64, String)>,
}

/// An engine as its API shows it.
#[derive(Clone)]
struct Engine {
    containers: Arc<Mutex<BTreeMap<String, Container>>>,
    changed: watch::Sender<u64>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Engine {
    fn start(socket: &FilePath) -> Result<Self> {
        let engine = Self { containers: Arc::default(), changed: watch::Sender::new(0), asked: Arc::default() };
        let app = Router::new()
            .route("/containers/json", get(list))
            .route("/networks", get(networks))
            .route("/containers/{id}/json", get(inspect))
            .route("/containers/{id}/logs", get(logs))
            .route("/events", get(events))
            .with_state(engine.clone());
        let listener = tokio::net::UnixListener::bind(socket)?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(engine)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Container>)) {
        change(&mut self.containers.lock().unwrap());
        self.changed.send_modify(|count| *count += 1);
    }

    fn create(&self, id: &str, name: &'static str, terminal: bool) {
        let container = Container { name, running: true, terminal, log: Vec::new() };
        self.change(|all| drop(all.insert(id.to_owned(), container)));
    }

    /// One message a millisecond; several at the same time where `crowded`.
    fn write(&self, id: &str, is_error: bool, text: &str, crowded: bool) {
        self.change(|all| {
            let log = &mut all.get_mut(id).unwrap().log;
            let last = log.last().map_or(BEGIN_NS, |(_, ns, _)| *ns);
            log.push((is_error, if crowded { last } else { last + 1_000_000 }, text.to_owned()));
        });
    }

    fn end(&self, id: &str) {
        self.change(|all| all.get_mut(id).unwrap().running = false);
    }
}

async fn list(State(engine): State<Engine>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    engine.asked.lock().unwrap().push(query.get("filters").cloned().unwrap_or_default());
    let all = query.get("all").is_some_and(|all| all == "1");
    let containers = engine.containers.lock().unwrap();
    let listed = containers.iter().filter(|(_, container)| all || container.running);
    let entry = |(id, container): (&String, &Container)| {
        json!({
            "Id": id, "Names": [format!("/{}", container.name)], "Created": 1, "Labels": {"com.example/app": "shop"},
            "State": if container.running { "running" } else { "exited" },
            "Ports": [{"PrivatePort": 8080, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
            "HostConfig": {"NetworkMode": "bridge"},
            "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n1", "IPAddress": "172.17.0.2"}}},
        })
    };
    Json(Value::Array(listed.map(entry).collect()))
}

async fn networks() -> Json<Value> {
    Json(json!([{"Id": "n1", "Name": "bridge", "Scope": "local", "Internal": false, "Ingress": false, "Labels": null}]))
}

async fn inspect(State(engine): State<Engine>, Path(id): Path<String>) -> Response {
    match engine.containers.lock().unwrap().get(&id) {
        Some(c) => Json(json!({"Config": {"Tty": c.terminal}, "State": {"Running": c.running}})).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"message": format!("No such container: {id}")}))).into_response(),
    }
}

/// As the engine does it: frames of one message each, or bare lines of a terminal, the time in front.
async fn logs(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let (seconds, nanos) = query["since"].split_once('.').unwrap();
    let since: i64 = seconds.parse::<i64>().unwrap() * 1_000_000_000 + nanos.parse::<i64>().unwrap();
    assert_eq!((query["follow"].as_str(), query["timestamps"].as_str(), nanos.len()), ("1", "1", 9));
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let mut changed = engine.changed.subscribe();
        let mut sent = 0;
        loop {
            let found = engine.containers.lock().unwrap().get(&id).cloned();
            let Some(container) = found else { return };
            for (is_error, ns, text) in container.log.iter().skip(sent).filter(|(_, ns, _)| *ns >= since) {
                let time = jiff::Timestamp::from_nanosecond(i128::from(*ns)).unwrap();
                let text = format!("{time:.9} {text}");
                let mut piece = Vec::new();
                if !container.terminal {
                    piece.extend([if *is_error { 2 } else { 1 }, 0, 0, 0]);
                    piece.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                }
                piece.extend(text.as_bytes());
                if sender.send(piece.into()).await.is_err() {
                    return;
                }
            }
            sent = container.log.len();
            if !container.running {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                changed = changed.changed() => if changed.is_err() { return },
            }
        }
    });
    let stream = futures(move |cx| pieces.poll_recv(cx).map(|piece| piece.map(Ok)));
    Response::new(Body::new(stream))
}

async fn events(State(engine): State<Engine>) -> Response {
    let mut changed = engine.changed.subscribe();
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        while changed.changed().await.is_ok() && sender.send(Bytes::from_static(b"{}\n")).await.is_ok() {}
    });
    Response::new(Body::new(futures(move |cx| pieces.poll_recv(cx).map(|piece| piece.map(Ok)))))
}

type Polled = std::task::Poll<Option<Result<Bytes, std::convert::Infallible>>>;

/// A body whose pieces a function gives.
fn futures<F: FnMut(&mut std::task::Context<'_>) -> Polled + Send + 'static>(poll: F) -> Pieces<F> {
    Pieces(poll)
}

struct Pieces<F>(F);

impl<F: FnMut(&mut std::task::Context<'_>) -> Polled + Unpin> hyper::body::Body for Pieces<F> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        (self.0)(cx).map(|piece| piece.map(|piece| piece.map(hyper::body::Frame::data)))
    }
}

async fn sandbox() -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

fn config(sandbox: &Running, socket: &FilePath) -> String {
    format!(
        "queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
        - name: archive
          url: https://example-bucket.s3.us-east-1.amazonaws.com/logs
          endpoint_url: '{}'
          format: json
          batch: {{max_age: 1s}}
          aws: {{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}}}
      scrape_configs:
        - job_name: containers
          docker_sd_configs:
            - host: unix://{}
              refresh_interval: 1s
              filters: [{{name: label, values: [com.example/app=shop]}}]
          relabel_configs:
            - {{source_labels: [__meta_docker_container_name], regex: /(.*), target_label: container}}
            - {{source_labels: [__meta_docker_container_log_stream], target_label: stream}}
            - {{source_labels: [__meta_docker_container_label_com_example_app], target_label: app}}
            - {{source_labels: [__meta_docker_network_name], target_label: network}}
            - {{source_labels: [__address__], target_label: address}}
            - {{source_labels: [container], regex: silent, action: drop}}
",
        sandbox.url(),
        socket.display()
    )
}

/// Every line that arrived, as `container/stream text`: in objects, which are written once whatever is killed.
fn arrived(sandbox: &Running) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for object in sandbox.objects() {
        let body = sandbox.object(&object.bucket, &object.key).context("a listed object can be read")?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut text)?;
        for line in text.lines() {
            let value: Value = serde_json::from_str(line)?;
            let label = |name: &str| value["labels"][name].as_str().unwrap_or_default().to_owned();
            assert_eq!((label("app"), label("network")), ("shop".to_owned(), "bridge".to_owned()));
            assert_eq!(label("address"), "172.17.0.2:8080");
            let line = value["line"].as_str().context("a line")?;
            all.push(format!("{}/{} {line}", label("container"), label("stream")));
        }
    }
    Ok(all)
}

async fn expect(agent: &Agent, sandbox: &Running, expected: &[String]) -> Result<()> {
    let mut expected = expected.to_vec();
    expected.sort();
    let last = Mutex::new(Vec::new());
    let result = until("every line of every container", PATIENCE, || async {
        let mut found = arrived(sandbox).ok()?;
        found.sort();
        let same = found == expected;
        *last.lock().unwrap() = found;
        same.then_some(())
    })
    .await;
    result.with_context(|| format!("{:#?}\nexpected {expected:#?}\n{}", last.lock().unwrap(), agent.log()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_of_containers_comes_once_through_kills_restarts_and_their_ends() -> Result<()> {
    let sandbox = sandbox().await?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("docker.sock");
    let engine = Engine::start(&socket)?;
    engine.create("aaa", "web", false);
    engine.create("bbb", "tty", true);
    engine.create("ccc", "silent", false);
    engine.create("ddd", "before", false);
    engine.write("ddd", false, "ended before anybody looked\n", false);
    engine.end("ddd");
    engine.write("aaa", false, "one\n", false);
    engine.write("aaa", true, "two\n", true);
    engine.write("aaa", false, "a line that the engine ", false);
    engine.write("aaa", true, "three\n", false);
    engine.write("aaa", false, "took apart\n", false);
    engine.write("bbb", false, "from a terminal\r\n", false);
    engine.write("ccc", false, "dropped by a rule\n", false);
    let mut agent = Agent::prepare(&config(&sandbox, &socket))?;
    agent.start_ready().await?;
    let mut expected: Vec<String> = [
        "web/stdout one",
        "web/stderr two",
        "web/stderr three",
        "web/stdout a line that the engine took apart",
        "tty/stdout from a terminal",
    ]
    .map(str::to_owned)
    .to_vec();
    expect(&agent, &sandbox, &expected).await?;

    // Another comes, and half of a line is there when the process is killed.
    engine.create("eee", "late", false);
    engine.write("eee", false, "late one\n", false);
    expected.push("late/stdout late one".to_owned());
    expect(&agent, &sandbox, &expected).await?;
    engine.write("aaa", false, "half of one ", false);
    for round in 0..3 {
        agent.kill_9();
        // Several of the same time, of which one was read; and a container that ends meanwhile.
        for n in 0..20 {
            if round > 0 || n > 0 {
                let text = format!("round {round} line {n}");
                engine.write("aaa", n % 3 == 0, &format!("{text}\n"), n % 2 == 0);
                if n % 3 == 0 {
                    expected.push(format!("web/stderr {text}"));
                } else if round == 0 && n == 1 {
                    expected.push(format!("web/stdout half of one {text}"));
                } else {
                    expected.push(format!("web/stdout {text}"));
                }
            }
        }
        if round == 1 {
            engine.write("eee", false, "late two\n", true);
            engine.write("eee", true, "without an end", false);
            engine.end("eee");
            expected.extend(["late/stdout late two", "late/stderr without an end"].map(str::to_owned));
        }
        agent.start_ready().await?;
        expect(&agent, &sandbox, &expected).await?;
    }
    // Once the positions file says so too, nothing is read a second time.
    engine.change(|all| {
        let container = all.get_mut("eee").unwrap();
        container.running = true;
        let last = container.log.last().unwrap().1;
        container.log.push((false, last + 1_000_000, "started again\n".to_owned()));
    });
    expected.push("late/stdout started again".to_owned());
    expect(&agent, &sandbox, &expected).await?;
    let positions = || std::fs::read_to_string(agent.config_path().with_file_name("positions.yaml"));
    until("the positions file has the container", PATIENCE, || async {
        positions().ok().filter(|text| text.contains("cursor-aaa")).map(drop)
    })
    .await?;
    let lines = agent.metric("promtail_docker_target_entries_total").await?;
    assert!(lines.is_some_and(|lines| lines >= 1.0), "{lines:?}");
    let filters = engine.asked.lock().unwrap().clone();
    assert!(filters.iter().all(|asked| asked == r#"{"label":{"com.example/app=shop":true}}"#), "{filters:?}");
    agent.stop()?;
    Ok(())
}

/// An engine that is away is told of, and its containers are followed when it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_comes_later_is_waited_for() -> Result<()> {
    let sandbox = sandbox().await?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("docker.sock");
    let mut agent = Agent::prepare(&config(&sandbox, &socket))?;
    agent.start_ready().await?;
    until("the trouble is told", PATIENCE, || async {
        let page: Value = serde_json::from_str(&agent.get("/agent/api/v1/logs/targets").await.ok()?).ok()?;
        page.to_string().contains("docker.sock").then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let engine = Engine::start(&socket)?;
    engine.create("aaa", "web", false);
    engine.write("aaa", false, "one\n", false);
    expect(&agent, &sandbox, &["web/stdout one".to_owned()]).await?;
    agent.stop()?;
    Ok(())
}
