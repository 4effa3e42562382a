//! Pipeline stages on the real binary: what they make of lines, and that no kill loses or doubles what they hold back.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{Read, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use e2e::{agent::Agent, process::until};
use sandbox::{Identity, KeptRecord, Running, Sandbox, SandboxConfig};

const KEY_ID: &str = "AKIDEXAMPLE000000004";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);

async fn sandbox() -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

/// An instance with these clients, jobs and other keys.
fn config(clients: &str, jobs: &str, more: &str) -> String {
    format!(
        "queue: {{min_free: 1MiB}}
logs:
  global: {{file_watch_config: {{min_poll_frequency: 50ms, max_poll_frequency: 50ms}}}}
  configs:
    - name: default
      target_config: {{sync_period: 300ms}}
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
{more}      clients:
{clients}      scrape_configs:
{jobs}"
    )
}

fn job(name: &str, stages: &str) -> String {
    format!(
        "        - job_name: {name}
          static_configs: [{{labels: {{job: {name}, __path__: '{{dir}}/logs/{name}*.log'}}}}]
          pipeline_stages:
{stages}"
    )
}

fn keys() -> String {
    format!("aws: {{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}}}")
}

fn cloudwatch(sandbox: &Running) -> String {
    format!(
        "        - {{name: cw, url: 'https://logs.us-east-1.amazonaws.com/', endpoint_url: '{}', batchwait: 100ms, log_group: '/app/{{job}}', log_stream: '{{stream}}', {}}}\n",
        sandbox.url(),
        keys()
    )
}

fn loki(sandbox: &Running) -> String {
    format!("        - {{name: loki, url: '{}/loki/api/v1/push', batchwait: 100ms}}\n", sandbox.url())
}

fn bucket(sandbox: &Running) -> String {
    format!(
        "        - {{name: archive, url: 'https://example-bucket.s3.us-east-1.amazonaws.com/logs', endpoint_url: '{}', format: text, batch: {{max_age: 1s}}, {}}}\n",
        sandbox.url(),
        keys()
    )
}

fn prepare(config: &str) -> Result<Agent> {
    let agent = Agent::prepare(config)?;
    fs::create_dir(agent.dir.path().join("logs"))?;
    Ok(agent)
}

fn append(agent: &Agent, name: &str, text: &str) -> Result<()> {
    let path = agent.dir.path().join("logs").join(name);
    Ok(OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())?)
}

/// Seconds since the epoch, an hour ago: receivers take nothing old.
fn an_hour_ago() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 3600)
}

fn rfc3339(seconds: u64) -> Result<String> {
    Ok(jiff::Timestamp::from_second(i64::try_from(seconds)?)?.to_string())
}

fn texts(records: &[KeptRecord]) -> Vec<&str> {
    records.iter().map(|record| record.text.as_str()).collect()
}

/// Waits until a destination has these lines, in any order, and no other.
async fn has(agent: &Agent, sandbox: &Running, destination: &str, expected: &[&str]) -> Result<Vec<KeptRecord>> {
    let of = || {
        let mut found: Vec<KeptRecord> =
            sandbox.records(None, None).into_iter().filter(|record| record.destination == destination).collect();
        found.sort_by(|a, b| a.text.cmp(&b.text));
        found
    };
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    let found = until(&format!("{expected:?} at {destination}"), PATIENCE, || async {
        Some(of()).filter(|found| found.len() >= wanted.len())
    })
    .await
    .with_context(|| format!("{:#?}\n{}", sandbox.records(None, None), agent.log()))?;
    assert_eq!(texts(&found), wanted, "{}", agent.log());
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn formats_labels_times_and_drops_are_as_the_stages_say() -> Result<()> {
    let sandbox = sandbox().await?;
    let app = "            - json: {expressions: {level: , at: , msg: }}
            - labels: {stream: level}
            - timestamp: {source: at, format: Unix}
            - match:
                selector: '{stream=\"debug\"}'
                action: drop
                drop_counter_reason: noise
            - replace: {expression: 'password=(\\S+)', source: msg, replace: '***'}
            - output: {source: msg}
            - metrics:
                lines_total: {type: counter, description: lines, config: {match_all: true, action: inc}}
";
    let jobs = job("docker", "            - docker: {}\n")
        + &job("cri", "            - cri: {}\n")
        + &job("app", app)
        + &job(
            "trace",
            "            - static_labels: {stream: traces}\n            - multiline: {firstline: '^\\S', max_wait_time: 1s}\n",
        );
    let config = config(&cloudwatch(&sandbox), &jobs, "");
    let mut agent = prepare(&config)?;
    let at = an_hour_ago()?;
    let time = rfc3339(at)?;
    append(
        &agent,
        "docker.log",
        &format!("{{\"log\":\"from docker\\n\",\"stream\":\"stderr\",\"time\":\"{time}\"}}\nnot of docker\n"),
    )?;
    append(&agent, "cri.log", &format!("{time} stdout P one \n{time} stderr F other\n{time} stdout F two\n"))?;
    append(
        &agent,
        "app.log",
        &format!(
            "{{\"level\":\"info\",\"at\":{at},\"msg\":\"login password=hunter2 ok\"}}\n{{\"level\":\"debug\",\"msg\":\"noise\"}}\n"
        ),
    )?;
    append(&agent, "trace.log", "Error: one\n  at a\n  at b\nError: two\n")?;
    agent.start_ready().await?;

    let docker = has(&agent, &sandbox, "logs:/app/docker:stderr", &["from docker\n"]).await?;
    assert_eq!(docker[0].timestamp_ms, i64::try_from(at * 1000)?);
    let cri = has(&agent, &sandbox, "logs:/app/cri:stdout", &["one two"]).await?;
    assert_eq!(cri[0].timestamp_ms, i64::try_from(at * 1000)?);
    has(&agent, &sandbox, "logs:/app/cri:stderr", &["other"]).await?;
    let app = has(&agent, &sandbox, "logs:/app/app:info", &["login password=*** ok"]).await?;
    assert_eq!(app[0].timestamp_ms, i64::try_from(at * 1000)?);
    has(&agent, &sandbox, "logs:/app/trace:traces", &["Error: one\n  at a\n  at b", "Error: two"]).await?;
    // What is no line of its format goes on as it is.
    until("the line that is not of docker", PATIENCE, || async {
        sandbox.records(None, None).iter().any(|record| record.text == "not of docker").then_some(())
    })
    .await
    .with_context(|| agent.log())?;

    let dropped = "logentry_dropped_lines_total{logs_config=\"default\",reason=\"noise\"}";
    assert_eq!(agent.metric(dropped).await?, Some(1.0));
    assert_eq!(agent.metric("promtail_custom_lines_total{").await?, Some(1.0));
    // Where files go on being read as before, counters go on as well.
    agent.write_config(&config.replace("batchwait: 100ms", "batchwait: 200ms"))?;
    agent.get("/-/reload").await?;
    append(&agent, "app.log", &format!("{{\"level\":\"info\",\"at\":{at},\"msg\":\"again password=hunter2\"}}\n"))?;
    has(&agent, &sandbox, "logs:/app/app:info", &["login password=*** ok", "again password=***"]).await?;
    assert_eq!(agent.metric("promtail_custom_lines_total{").await?, Some(2.0));
    let page = agent.get("/metrics").await?;
    agent.stop()?;
    let leaked = sandbox.records(None, None).into_iter().find(|record| record.text.contains("hunter2"));
    assert_eq!(leaked, None);
    assert!(!page.contains("hunter2") && !agent.log().contains("hunter2"), "{}", agent.log());
    Ok(())
}

/// How often each numbered line is in the bucket.
fn stored(sandbox: &Running) -> Result<BTreeMap<usize, usize>> {
    let mut found = BTreeMap::new();
    for object in sandbox.objects() {
        let body = sandbox.object(&object.bucket, &object.key).context("a listed object can be read")?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut text)?;
        for number in text.split("line ").skip(1).filter_map(|rest| rest.split([' ', '\\', '\n']).next()?.parse().ok())
        {
            *found.entry(number).or_insert(0) += 1;
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_middle_of_blocks_lose_and_double_no_line() -> Result<()> {
    let sandbox = sandbox().await?;
    let stages = "            - regex: {expression: '^(?P<stream>[ab])'}
            - labels: {stream: }
            - multiline: {firstline: '^. BEGIN', max_wait_time: 700ms}
";
    let mut agent = prepare(&config(&(bucket(&sandbox) + &loki(&sandbox)), &job("app", stages), ""))?;
    let mut written = 0;
    let mut write = |agent: &Agent, streams: &str| -> Result<()> {
        let mut text = String::new();
        for stream in streams.chars() {
            let begin = if written % 5 < 2 { "BEGIN " } else { "" };
            text += &format!("{stream} {begin}line {written} of a block\n");
            written += 1;
        }
        append(agent, "app.log", &text)
    };
    write(&agent, "abab")?;
    agent.start_ready().await?;
    for round in 0..6 {
        // Blocks of both streams are begun, one of them ends, and the rest comes after the kill.
        write(&agent, &"ababba".repeat(100))?;
        until("lines to arrive", PATIENCE, || async { (sandbox.records(None, None).len() > round * 50).then_some(()) })
            .await
            .with_context(|| agent.log())?;
        agent.kill_9();
        write(&agent, "bbaab")?;
        agent.start_ready().await?;
    }
    until("every line in the bucket", PATIENCE, || async {
        stored(&sandbox).ok().filter(|found| found.len() >= written).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()?;
    let found = stored(&sandbox)?;
    let wrong: Vec<_> =
        (0..written).map(|n| (n, found.get(&n).copied().unwrap_or(0))).filter(|(_, n)| *n != 1).collect();
    assert!(wrong.is_empty(), "not once: {:?}\n{}", &wrong[..wrong.len().min(20)], agent.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_sends_what_stages_hold_back() -> Result<()> {
    let sandbox = sandbox().await?;
    let stages = "            - multiline: {firstline: '^BEGIN', max_wait_time: 1h}\n";
    let mut agent = prepare(&config(&loki(&sandbox), &job("app", stages), ""))?;
    append(&agent, "app.log", "BEGIN one\nmore\nBEGIN two\nmore of it\n")?;
    agent.start_ready().await?;
    has(&agent, &sandbox, "loki:/loki/api/v1/push", &["BEGIN one\nmore"]).await?;
    agent.stop()?;
    // It is in the queue, if it could not be sent before the end.
    agent.start_ready().await?;
    has(&agent, &sandbox, "loki:/loki/api/v1/push", &["BEGIN one\nmore", "BEGIN two\nmore of it"]).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_an_instance_count_what_they_drop() -> Result<()> {
    let sandbox = sandbox().await?;
    let limits = "      limits_config: {readline_rate_enabled: true, readline_rate: 1, readline_burst: 10, readline_rate_drop: true, max_streams: 1}\n";
    let jobs = job("app", "            - decolorize: {}\n") + &job("other", "            - decolorize: {}\n");
    let mut agent = prepare(&config(&loki(&sandbox), &jobs, limits))?;
    append(&agent, "app.log", &(0..100).map(|n| format!("line {n}\n")).collect::<String>())?;
    agent.start_ready().await?;
    let dropped = |reason: &str| format!("logentry_dropped_lines_total{{logs_config=\"default\",reason=\"{reason}\"}}");
    let (rate, streams) = (dropped("global_rate_limiter_drop"), dropped("stream_limited"));
    until("every line to be sent or dropped", PATIENCE, || async {
        let dropped = agent.metric(&rate).await.ok()??;
        #[allow(clippy::cast_precision_loss, reason = "a hundred lines")]
        let sent = sandbox.records(None, None).len() as f64;
        (dropped > 0.0 && sent >= 10.0 && dropped + sent == 100.0).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    append(&agent, "other.log", "of another stream\n")?;
    until("the other stream to be refused", PATIENCE, || async {
        agent.metric(&streams).await.ok()?.filter(|lines| *lines == 1.0).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    agent.stop()
}
