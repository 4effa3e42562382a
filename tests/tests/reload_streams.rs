//! Reload does all that the file says, or nothing; what it does not touch goes on as if nothing had happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{ConnectInfo, Path, State},
    http::header,
    routing::get,
};
use e2e::{agent::Agent, process::until, receiver::Receiver};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What one target was asked: how often, and over which connections.
#[derive(Debug, Clone, Default)]
struct Asked {
    scrapes: u64,
    connections: BTreeSet<u16>,
}

type Book = Arc<Mutex<BTreeMap<String, Asked>>>;

async fn answer(
    State(book): State<Book>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    let mut book = book.lock().expect("no test panics while holding it");
    let asked = book.entry(name).or_default();
    asked.scrapes += 1;
    asked.connections.insert(from.port());
    // A counter that tells which scrape a sample comes from.
    let body = format!("# TYPE asked_total counter\nasked_total {}\n", asked.scrapes);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
}

struct Scene {
    book: Book,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
    /// Destinations of the two routes.
    quiet: Receiver,
    changing: Receiver,
}

impl Scene {
    async fn start() -> Result<Self> {
        let book = Book::default();
        let app = Router::new().route("/{name}", get(answer)).with_state(Arc::clone(&book));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { drop(axum::serve(listener, service).await) });
        Ok(Self { book, address, server, quiet: Receiver::start(true).await?, changing: Receiver::start(true).await? })
    }

    /// Two routes; `first` always has the same job, the second one's jobs and destination settings are given.
    fn config(&self, jobs: &[&str], settings: &str) -> String {
        let job = |name: &str| {
            format!(
                "        - {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{}']}}]}}\n",
                self.address
            )
        };
        let jobs: String = jobs.iter().map(|name| job(name)).collect();
        format!(
            "metrics:
  global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
  configs:
    - name: first
      remote_write: [{{name: quiet, url: '{}'}}]
      scrape_configs:
{}    - name: second
      remote_write: [{{name: changing, url: '{}'{settings}}}]
      scrape_configs:
{jobs}",
            self.quiet.url(),
            job("steady"),
            self.changing.url(),
        )
    }

    fn asked(&self, name: &str) -> Asked {
        self.book.lock().expect("no test panics while holding it").get(name).cloned().unwrap_or_default()
    }

    /// Waits until the steady target and `others` were asked `more` times more.
    async fn until_asked(&self, more: u64, others: &[&str], agent: &Agent) -> Result<()> {
        let all: Vec<(&str, u64)> =
            others.iter().chain(&["steady"]).map(|name| (*name, self.asked(name).scrapes + more)).collect();
        until("more scrapes", PATIENCE, || async {
            all.iter().all(|(name, wanted)| self.asked(name).scrapes >= *wanted).then_some(())
        })
        .await
        .with_context(|| agent.log())
    }
}

/// Samples of `metric` and `job`, in order of time: value's bits. What waits when a destination's rules change is sent under
/// the new ones, so a sample of the job may carry the label that a rule adds; no time comes twice.
fn series(receiver: &Receiver, metric: &str, job: &str) -> Vec<u64> {
    let key = format!("job=\"{job}\"");
    let mut found = std::collections::BTreeMap::new();
    for (name, samples) in receiver.recorded() {
        if name.starts_with(&format!("{metric}{{")) && name.contains(&key) {
            for (at, (bits, _)) in samples {
                assert_eq!(found.insert(at, bits), None, "{metric} of {job} came twice for {at}");
            }
        }
    }
    found.into_values().collect()
}

async fn reload(agent: &Agent, config: &str) -> Result<(u16, String)> {
    agent.write_config(config)?;
    let answer = reqwest::Client::new().post(format!("http://127.0.0.1:{}/-/reload", agent.port)).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_one_route_leaves_the_others_streams_without_a_gap() -> Result<()> {
    let scene = Scene::start().await?;
    let mut agent = Agent::prepare(&scene.config(&["a"], ""))?;
    agent.start_ready().await?;
    scene.until_asked(2, &["a"], &agent).await?;
    // Jobs come and go, limits and the destination's settings change, rules are added; each time the second route is new.
    let changes: [(&[&str], &str); 6] = [
        (&["a", "b"], ""),
        (&["b"], ", remote_timeout: 7s"),
        (&["b", "c"], ", write_relabel_configs: [{target_label: added, replacement: x}]"),
        (&["c"], ", queue_config: {max_samples_per_send: 17}"),
        (&["a"], ", headers: {x-tenant: one}"),
        (&["a", "b", "c"], ""),
    ];
    for (jobs, settings) in changes {
        let (status, text) = reload(&agent, &scene.config(jobs, settings)).await?;
        assert_eq!(status, 200, "{text}");
        scene.until_asked(2, jobs, &agent).await?;
    }
    agent.stop()?;

    let steady = scene.asked("steady");
    assert_eq!(steady.connections.len(), 1, "the untouched target's loop was started again: {steady:?}");
    // Each scrape that was answered is there, in order and once, and nothing marks an end in between.
    let mut counts = series(&scene.quiet, "asked_total", "steady");
    // The stop itself may be told as an end.
    if counts.last() == Some(&STALE) {
        counts.pop();
    }
    let counts: Vec<f64> = counts.into_iter().map(f64::from_bits).collect();
    let expected: Vec<f64> = (1..=steady.scrapes).map(|n| n as f64).collect();
    assert_eq!(counts, expected, "a scrape is missing, or a marker is in between\n{}", agent.log());
    // And the second route did change: its jobs ended with markers and came back.
    let a = series(&scene.changing, "asked_total", "a");
    let end = a.iter().position(|bits| *bits == STALE);
    assert!(end.is_some_and(|end| end > 0 && end + 1 < a.len()), "it neither ended nor came back: {a:?}");
    let changed = scene.changing.recorded();
    assert!(changed.keys().any(|s| s.contains("added=\"x\"") && s.contains("job=\"c\"")), "{:?}", changed.keys());
    scene.server.abort();
    Ok(())
}

/// The addresses of all targets, as the API lists them.
async fn targets(agent: &Agent) -> Result<BTreeSet<String>> {
    let answer: Value = serde_json::from_str(&agent.get("/agent/api/v1/metrics/targets").await?)?;
    Ok(answer["data"].as_array().context("a list")?.iter().map(|t| t["endpoint"].to_string()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_run_change_nothing_at_all() -> Result<()> {
    let scene = Scene::start().await?;
    let good = scene.config(&["a"], "");
    let mut agent = Agent::prepare(&good)?.with_flag("-config.enable-read-api");
    agent.start_ready().await?;
    scene.until_asked(2, &["a"], &agent).await?;
    let shown = agent.get("/-/config").await?;
    let before = targets(&agent).await?;

    // What is right in each of these files would be seen at once: another job, another destination, no first route.
    let with_new = scene.config(&["a", "new"], "");
    let other = scene.config(&["new"], "").replace("name: quiet", "name: elsewhere");
    let bad = [
        ("not YAML", format!("{with_new}  broken: [\n")),
        ("an unknown key", with_new.replace("job_name: new,", "job_name: new, no_such_key: 1,")),
        ("a bad duration", with_new.replace("job_name: new,", "job_name: new, scrape_interval: 1 fortnight,")),
        ("a name that is there twice", with_new.replace("name: second", "name: first")),
        ("a certificate that cannot be read", scene.config(&["new"], ", tls_config: {ca: not a certificate}")),
        (
            "a secret's file that is missing",
            other.replace("{name: changing,", "{name: changing, tls_config: {ca_file: /nonexistent/ca.pem},"),
        ),
    ];
    for (what, text) in &bad {
        let (status, said) = reload(&agent, text).await?;
        assert_eq!(status, 400, "{what}: {said}");
        assert!(!said.is_empty(), "{what}");
        assert_eq!(agent.metric("agent_config_last_load_successful").await?, Some(0.0), "{what}");
        assert_eq!(agent.get("/-/config").await?, shown, "{what}");
        assert_eq!(targets(&agent).await?, before, "{what}");
        scene.until_asked(2, &["a"], &agent).await.with_context(|| format!("after {what}"))?;
    }
    assert_eq!(scene.asked("new").scrapes, 0, "a job of a refused file ran");
    let (status, said) = reload(&agent, &good).await?;
    assert_eq!(status, 200, "{said}");
    assert_eq!(agent.metric("agent_config_last_load_successful").await?, Some(1.0));
    agent.stop()?;
    scene.server.abort();
    Ok(())
}
