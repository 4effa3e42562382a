//! The log as a person and a machine read it: every line parses, no secret is in any, and trouble is told once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    http::{StatusCode, header},
    routing::{get, post},
};
use e2e::{agent::Agent, exporter::Exporter, process::until};
use sandbox::{Identity, Sandbox, SandboxConfig};

const PATIENCE: Duration = Duration::from_secs(40);
/// Part of every secret of these tests, whichever way it reaches the agent.
const MARKER: &str = "MARKERsecret";

/// One line's fields.
type Fields = BTreeMap<String, String>;

fn json(line: &str) -> Result<Fields> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    let object = value.as_object().context("not an object")?;
    Ok(object.iter().map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect())
}

/// `key=value` pairs with one blank between them; a value is bare, or a JSON string.
fn logfmt(line: &str) -> Result<Fields> {
    let mut fields = Fields::new();
    let mut rest = line;
    loop {
        let (key, after) = rest.split_once('=').with_context(|| format!("no = in {rest:?}"))?;
        if key.is_empty() || key.contains([' ', '"']) {
            bail!("{key:?} is no key");
        }
        let mut value = serde_json::Deserializer::from_str(after).into_iter::<String>();
        let (text, end) = if after.starts_with('"') {
            let text = value.next().context("a string")??;
            (text, value.byte_offset())
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), end)
        };
        if fields.insert(key.to_owned(), text).is_some() {
            bail!("{key} is there twice");
        }
        match after[end..].strip_prefix(' ') {
            Some(more) => rest = more,
            None if end == after.len() => return Ok(fields),
            None => bail!("no blank after {key}"),
        }
    }
}

/// A run that says a lot: wrong keys, refused and dead destinations, failing targets, flags without effect, reloads.
async fn eventful(format: &str, parse: fn(&str) -> Result<Fields>) -> Result<()> {
    let sandbox = Sandbox::start(SandboxConfig {
        identities: vec![Identity::user("AKIDEXAMPLE000000003", "another-one")],
        ..SandboxConfig::default()
    })
    .await?;
    let exporter = Exporter::start(5).await?;
    let config = |extra: &str| {
        format!(
            "server: {{log_level: debug, log_format: {format}}}
metrics:
  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
  configs:
    - name: default
      remote_write:
        - name: wrong-key
          url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-EXAMPLE/api/v1/remote_write?token={MARKER}0
          endpoint_url: {}
          sigv4: {{region: us-east-1, access_key: AKIDEXAMPLE000000003, secret_key: {MARKER}1}}
        - name: nobody-there
          url: http://user:{MARKER}2@127.0.0.1:1/api/v1/write
          headers: {{x-api-key: {MARKER}3}}
          queue_config: {{max_backoff: 200ms}}
        - name: no-token
          url: http://127.0.0.1:1/api/v1/write
          oauth2: {{client_id: me, client_secret: {MARKER}4, token_url: 'http://127.0.0.1:1/token?key={MARKER}5'}}
      scrape_configs:
        - job_name: good
          metrics_path: /t/0/metrics
          basic_auth: {{username: me, password: {MARKER}6}}
          static_configs: [{{targets: ['{}']}}]
        - job_name: gone
          bearer_token: {MARKER}7
          params: {{key: [{MARKER}8]}}
          static_configs: [{{targets: ['127.0.0.1:1']}}]
{extra}",
            sandbox.url(),
            exporter.address
        )
    };
    let mut agent = Agent::prepare(&config(""))?
        .with_flag("-server.grpc.address=127.0.0.1:9091")
        .with_flag("-enable-features=extra-scrape-metrics,something-new")
        .with_flag("-config.expand-env")
        .with_env("TEST_SECRET", &format!("{MARKER}9"));
    agent.start_ready().await?;
    until("each destination to be in trouble", PATIENCE, || async {
        let log = agent.log();
        ["wrong-key", "nobody-there", "no-token"].iter().all(|name| log.contains(name)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    for (extra, status) in [
        ("        - {job_name: x, scrape_intervall: ${TEST_SECRET}}\n", 400),
        ("        - {job_name: x, basic_auth: {username: a, password: ${TEST_SECRET}}, bearer_token: b}\n", 400),
        ("        - {job_name: x, basic_auth: {username: a, password: [${TEST_SECRET}]}}\n", 400),
        ("        - {job_name: \"two\\nlines level=error\", static_configs: [{targets: ['127.0.0.1:1']}]}\n", 200),
    ] {
        agent.write_config(&config(extra))?;
        let url = format!("http://127.0.0.1:{}/-/reload", agent.port);
        let answer = reqwest::Client::new().post(url).send().await?;
        assert_eq!(answer.status(), status, "{extra}");
        let text = answer.text().await?;
        assert!(!text.contains(MARKER), "{text}");
    }
    agent.stop()?;

    let log = agent.log();
    let mut levels = BTreeMap::<String, u32>::new();
    for line in log.lines() {
        let fields = parse(line).with_context(|| format!("this line does not parse: {line}"))?;
        let of = |key: &str| fields.get(key).cloned().with_context(|| format!("{key} is missing in: {line}"));
        let ts = of("ts")?;
        assert!(ts.len() == 24 && ts.ends_with('Z') && ts.as_bytes()[10] == b'T', "{line}");
        assert!(!of("msg")?.is_empty(), "{line}");
        *levels.entry(of("level")?).or_default() += 1;
    }
    for level in ["info", "warn", "error"] {
        assert!(levels.contains_key(level), "{levels:?}");
    }
    let known = ["debug", "info", "warn", "error"];
    assert!(levels.keys().all(|level| known.contains(&level.as_str())), "{levels:?}");
    let leak = log.lines().find(|line| line.contains(MARKER));
    assert!(leak.is_none(), "a secret is in the log: {leak:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_a_json_log_is_an_object_and_holds_no_secret() -> Result<()> {
    eventful("json", json).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_a_logfmt_log_parses_and_holds_no_secret() -> Result<()> {
    eventful("logfmt", logfmt).await
}

#[test]
fn the_readers_of_these_tests_refuse_what_is_broken() {
    assert!(logfmt("a=1 b=\"x y\\n\" c=").is_ok());
    for broken in ["", "a", "a=1 b", "a=\"x", "a=\"x\"b=1", "a=1  b=2", "a=1 a=2", "two words=1"] {
        assert!(logfmt(broken).is_err(), "{broken:?}");
    }
    assert!(json("[1]").is_err() && json("{\"a\":1").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_destination_is_told_once_however_often_it_refuses() -> Result<()> {
    let refusing = Arc::new(AtomicBool::new(true));
    let requests = Arc::new(AtomicU64::new(0));
    let app = Router::new().route(
        "/api/v1/write",
        post({
            let (refusing, requests) = (Arc::clone(&refusing), Arc::clone(&requests));
            move || async move {
                let n = requests.fetch_add(1, Ordering::SeqCst);
                if !refusing.load(Ordering::SeqCst) {
                    return (StatusCode::OK, String::new());
                }
                // As AWS does it, no two refusals are the same bytes.
                let body = format!(
                    "{{\"message\":\"User is not authorized to do this\",\"RequestId\":\"2f1c{n:04}-77aa-4be1-9c3d-0000{n:08}\"}}"
                );
                (StatusCode::FORBIDDEN, body)
            }
        }),
    );
    let app = app.route("/metrics", get(|| async { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], "a 1\n") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
    let jobs: String = (0..5)
        .map(|n| format!("        - {{job_name: j{n}, static_configs: [{{targets: ['{address}']}}]}}\n"))
        .collect();
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
  configs:
    - name: default
      remote_write:
        - name: refusing
          url: http://{address}/api/v1/write
          queue_config: {{min_shards: 4, max_shards: 4, max_samples_per_send: 10}}
      scrape_configs:
{jobs}"
    ))?;
    agent.start_ready().await?;
    until("several refusals", PATIENCE, || async { (requests.load(Ordering::SeqCst) >= 3).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    refusing.store(false, Ordering::SeqCst);
    until("the destination to take data", PATIENCE, || async {
        agent.log().contains("destination answers").then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    // Everything that waited goes out now; that is no reason for a line either.
    until("the backlog to be sent", PATIENCE, || async {
        let waits = agent.metric("sigpost_queue_pending_items{").await.ok().flatten();
        waits.is_some_and(|items| items < 200.0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;

    let log = agent.log();
    let lines: Vec<Fields> = log.lines().map(logfmt).collect::<Result<_>>()?;
    let told: Vec<_> = lines.iter().filter(|l| l.get("destination").is_some_and(|d| d == "refusing")).collect();
    let levels: Vec<&str> = told.iter().map(|l| l["level"].as_str()).collect();
    assert_eq!(levels, ["warn", "info"], "one line when it is held, one when it is not any more:\n{log}");
    assert!(told[0]["why"].contains("403") && told[0]["why"].contains("not authorized"), "{:?}", told[0]);
    assert!(requests.load(Ordering::SeqCst) >= 4);
    assert!(lines.len() < 12, "{log}");
    server.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_room_is_told_once_for_each_instance_however_many_jobs_it_refuses() -> Result<()> {
    let exporter = Exporter::start(5).await?;
    let target = exporter.address;
    let instance = |name: &str| {
        let jobs: String = (0..5)
            .map(|n| {
                let place = format!("metrics_path: /t/{n}/metrics, static_configs: [{{targets: ['{target}']}}]");
                format!("        - {{job_name: j{n}, {place}}}\n")
            })
            .collect();
        format!(
            "    - name: {name}\n      remote_write: [{{name: {name}, url: 'http://127.0.0.1:1/w'}}]\n      scrape_configs:\n{jobs}"
        )
    };
    // No disk has that much free.
    let mut agent = Agent::prepare(&format!(
        "queue: {{min_free: 99%}}
metrics:
  global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}
  configs:
{}{}",
        instance("one"),
        instance("two")
    ))?;
    agent.start_ready().await?;
    until("every job to be refused several times", PATIENCE, || async {
        (agent.metric("sigpost_scrape_refused_batches_total").await.ok()?? >= 40.0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let log = agent.log();
    let lines: Vec<Fields> =
        log.lines().filter(|l| l.contains("refuses scraped samples")).map(logfmt).collect::<Result<_>>()?;
    let mut instances: Vec<&str> = lines.iter().filter_map(|l| l.get("instance").map(String::as_str)).collect();
    instances.sort_unstable();
    assert_eq!(instances, ["one", "two"], "{log}");
    assert_eq!(lines.len(), 2, "{log}");
    agent.stop()
}
