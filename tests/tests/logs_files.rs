//! Log files to every kind of destination, through kills, rotations, refusals and a destination that is down.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use e2e::{agent::Agent, free_port, process::until};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};

const KEY_ID: &str = "AKIDEXAMPLE000000003";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);

async fn sandbox() -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

/// An agent that reads `{dir}/logs/*.log` and sends to these clients.
fn agent(clients: &str) -> Result<Agent> {
    let agent = Agent::prepare(&config(clients))?;
    fs::create_dir(agent.dir.path().join("logs"))?;
    Ok(agent)
}

fn config(clients: &str) -> String {
    format!(
        "logs:
  global: {{file_watch_config: {{min_poll_frequency: 50ms, max_poll_frequency: 50ms}}}}
  configs:
    - name: default
      target_config: {{sync_period: 300ms}}
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
{clients}
      scrape_configs:
        - job_name: system
          static_configs:
            - targets: [localhost]
              labels: {{job: varlogs, __path__: '{{dir}}/logs/*.log'}}
"
    )
}

fn keys(secret: &str) -> String {
    format!("{{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {secret}}}")
}

fn loki(name: &str, sandbox: &Running) -> String {
    format!("        - {{name: {name}, url: '{}/{name}/loki/api/v1/push', batchwait: 100ms}}\n", sandbox.url())
}

fn cloudwatch(sandbox: &Running, secret: &str) -> String {
    format!(
        "        - {{name: cw, url: 'https://logs.us-east-1.amazonaws.com/', endpoint_url: '{}', batchwait: 100ms, log_group: '/app/{{job}}', aws: {}}}\n",
        sandbox.url(),
        keys(secret)
    )
}

fn firehose(sandbox: &Running) -> String {
    format!(
        "        - {{name: fh, url: 'https://firehose.us-east-1.amazonaws.com/', endpoint_url: '{}', delivery_stream: lines, batchwait: 100ms, aws: {}}}\n",
        sandbox.url(),
        keys(SECRET)
    )
}

fn bucket(sandbox: &Running) -> String {
    format!(
        "        - {{name: archive, url: 'https://example-bucket.s3.us-east-1.amazonaws.com/logs', endpoint_url: '{}', format: text, batch: {{max_age: 1s}}, aws: {}}}\n",
        sandbox.url(),
        keys(SECRET)
    )
}

/// A writer of numbered lines.
struct Log {
    path: PathBuf,
    file: File,
    written: usize,
}

impl Log {
    fn new(agent: &Agent) -> Result<Self> {
        let path = agent.dir.path().join("logs/app.log");
        Ok(Self { file: File::create(&path)?, path, written: 0 })
    }

    fn write(&mut self, lines: usize) -> Result<()> {
        let mut text = String::new();
        for _ in 0..lines {
            text += &format!("line {} of a log file, with some words that repeat themselves\n", self.written);
            self.written += 1;
        }
        Ok(self.file.write_all(text.as_bytes())?)
    }

    /// As logrotate does it: the file gets another name, and a new one its name.
    fn rotate(&mut self, number: usize) -> Result<()> {
        fs::rename(&self.path, self.path.with_extension(format!("log.{number}")))?;
        self.file = File::create(&self.path)?;
        Ok(())
    }
}

/// How often each numbered line came to destinations whose name begins like this.
fn arrived(sandbox: &Running, destination: &str) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for record in sandbox.records(None, None).iter().filter(|r| r.destination.starts_with(destination)) {
        for number in numbers(&record.text) {
            *found.entry(number).or_insert(0) += 1;
        }
    }
    found
}

/// The same for the objects in the bucket.
fn stored(sandbox: &Running) -> Result<BTreeMap<usize, usize>> {
    let mut found = BTreeMap::new();
    for object in sandbox.objects() {
        let body = sandbox.object(&object.bucket, &object.key).context("a listed object can be read")?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut text)?;
        for number in text.lines().flat_map(numbers) {
            *found.entry(number).or_insert(0) += 1;
        }
    }
    Ok(found)
}

fn numbers(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.split("line ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok())
}

async fn all_arrived(agent: &Agent, sandbox: &Running, destination: &str, lines: usize) -> Result<()> {
    until(&format!("{lines} lines at {destination}"), PATIENCE, || async {
        (arrived(sandbox, destination).len() >= lines).then_some(())
    })
    .await
    .with_context(|| {
        let found = arrived(sandbox, destination);
        let missing: Vec<usize> = (0..lines).filter(|n| !found.contains_key(n)).take(5).collect();
        format!(
            "{} lines, first missing {missing:?}\n{}\n{:#?}",
            found.len(),
            agent.log(),
            sandbox.state().recent_refusals
        )
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_arrives_everywhere_through_kills_and_rotations() -> Result<()> {
    let sandbox = sandbox().await?;
    let clients = loki("first", &sandbox) + &cloudwatch(&sandbox, SECRET) + &firehose(&sandbox) + &bucket(&sandbox);
    let mut agent = agent(&clients)?;
    let mut log = Log::new(&agent)?;
    agent.start_ready().await?;
    for round in 0..3 {
        log.write(2000)?;
        all_arrived(&agent, &sandbox, "loki:", log.written - 1000).await?;
        agent.kill_9();
        log.write(500)?;
        if round == 1 {
            // Rotated while nobody looks: what was not read of the old file is found under its new name.
            log.rotate(1)?;
        }
        log.write(500)?;
        agent.start_ready().await?;
    }
    log.write(100)?;
    for destination in ["loki:", "logs:/app/varlogs:", "firehose:lines"] {
        all_arrived(&agent, &sandbox, destination, log.written).await?;
    }
    until("every line in the bucket", PATIENCE, || async {
        stored(&sandbox).ok().filter(|found| found.len() >= log.written).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    let twice: Vec<_> = stored(&sandbox)?.into_iter().filter(|(_, times)| *times > 1).take(3).collect();
    assert!(twice.is_empty(), "stored twice: {twice:?}\n{}", agent.log());

    // What Promtail's tools and our own page say.
    let targets = agent.get("/agent/api/v1/logs/targets").await?;
    assert!(targets.contains("\"target_group\":\"system\"") && targets.contains("app.log"), "{targets}");
    assert_eq!(agent.get("/agent/api/v1/logs/instances").await?, "{\"data\":[\"default\"],\"status\":\"success\"}");
    let sent = agent.metric("promtail_sent_entries_total{").await?.unwrap_or(0.0);
    assert!(sent > 0.0, "{}", agent.get("/metrics").await?);
    agent.stop()?;
    let positions = fs::read_to_string(agent.dir.path().join("positions.yaml"))?;
    assert!(positions.contains("app.log"), "{positions}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_down_holds_up_no_other_and_gets_everything_later() -> Result<()> {
    let sandbox = sandbox().await?;
    let port = free_port()?;
    let dead = format!(
        "        - {{name: dead, url: 'http://127.0.0.1:{port}/late/loki/api/v1/push', batchwait: 100ms, backoff_config: {{max_period: 1s}}}}\n"
    );
    let mut agent = agent(&(loki("live", &sandbox) + &dead))?;
    let mut log = Log::new(&agent)?;
    agent.start_ready().await?;
    for _ in 0..5 {
        log.write(1000)?;
        all_arrived(&agent, &sandbox, "loki:", log.written).await?;
    }
    let late = Sandbox::start(SandboxConfig {
        listen: ([127, 0, 0, 1], port).into(),
        record: true,
        ..SandboxConfig::default()
    })
    .await?;
    all_arrived(&agent, &late, "loki:", log.written).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_holds_the_lines_until_it_is_right() -> Result<()> {
    let sandbox = sandbox().await?;
    let mut agent = agent(&cloudwatch(&sandbox, "wrong"))?;
    let mut log = Log::new(&agent)?;
    log.write(300)?;
    agent.start_ready().await?;
    until("a refusal", PATIENCE, || async { (sandbox.state().refused > 0).then_some(()) })
        .await
        .with_context(|| agent.log())?;
    assert!(arrived(&sandbox, "logs:").is_empty());
    until("the page to say so", PATIENCE, || async {
        agent.get("/").await.ok().filter(|page| page.contains("held")).map(drop)
    })
    .await
    .with_context(|| agent.log())?;

    agent.write_config(&config(&cloudwatch(&sandbox, SECRET)))?;
    agent.get("/-/reload").await?;
    log.write(300)?;
    all_arrived(&agent, &sandbox, "logs:", 600).await?;
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_changes_files_reads_on_where_it_stood() -> Result<()> {
    let sandbox = sandbox().await?;
    let clients = loki("one", &sandbox);
    let mut agent = agent(&clients)?;
    let mut log = Log::new(&agent)?;
    log.write(500)?;
    agent.start_ready().await?;
    all_arrived(&agent, &sandbox, "loki:", 500).await?;

    agent.write_config(&config(&clients).replace("job: varlogs", "job: renamed"))?;
    agent.get("/-/reload").await?;
    log.write(500)?;
    all_arrived(&agent, &sandbox, "loki:", 1000).await?;
    agent.stop()?;
    let twice = arrived(&sandbox, "loki:").into_iter().find(|(_, times)| *times > 1);
    assert_eq!(twice, None, "{}", agent.log());
    Ok(())
}

/// What came to destinations whose name begins like this, in the order of arrival, as one text.
fn together(sandbox: &Running, destination: &str) -> String {
    let records = sandbox.records(None, None);
    let texts = records.iter().filter(|r| r.destination.starts_with(destination)).map(|record| {
        match serde_json::from_str::<serde_json::Value>(&record.text) {
            Ok(json) => json["line"].as_str().unwrap_or_default().to_owned(),
            Err(_) => record.text.trim_end_matches('\n').to_owned(),
        }
    });
    texts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_longer_than_a_destination_takes_arrives_there_in_parts() -> Result<()> {
    let sandbox = sandbox().await?;
    let clients = loki("first", &sandbox)
        + &cloudwatch(&sandbox, SECRET)
        + &firehose(&sandbox)
        + &firehose(&sandbox).replace("name: fh", "name: fj, format: json").replace(": lines", ": objects")
        + &firehose(&sandbox)
            .replace("name: fh", "name: ki")
            .replace("firehose.", "kinesis.")
            .replace("delivery_stream: lines", "stream_name: lines, partition_key: one");
    // A stage makes the tail hand lines of several MiB over in one piece.
    let stages = "          pipeline_stages: [{static_labels: {staged: yes}}]\n";
    let mut agent = agent(&clients)?;
    agent.write_config(&(config(&clients) + stages))?;
    agent.start_ready().await?;
    // Quotes and characters of several bytes, so that no part is as long in JSON as it is in the file.
    let line: String = (0..).map(|n| format!("\"é{n}\" ")).take(300_000).collect();
    assert!(line.len() > 3 << 20 && line.len() < 4 << 20);
    fs::write(agent.dir.path().join("logs/app.log"), format!("{line}\nafter\n"))?;
    let expected = line + "after";
    for destination in ["loki:", "logs:/app/varlogs:", "firehose:lines", "firehose:objects", "kinesis:lines"] {
        until(destination, PATIENCE, || async { together(&sandbox, destination).ends_with("after").then_some(()) })
            .await
            .with_context(|| agent.log())?;
        let found = together(&sandbox, destination);
        let same = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
        assert_eq!((same, found.len()), (expected.len(), expected.len()), "{destination}\n{}", agent.log());
    }
    // A line in parts is one line in the books.
    until("two lines delivered to each", PATIENCE, || async {
        let page = agent.get("/metrics").await.ok()?;
        let delivered = page.lines().filter(|line| line.starts_with("sigpost_queue_delivered_items_total{"));
        let delivered: Vec<_> = delivered.filter_map(|line| line.rsplit(' ').next()).collect();
        (delivered == ["2.0"; 5]).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    assert!(sandbox.state().recent_refusals.is_empty(), "{:?}", sandbox.state().recent_refusals);
    agent.stop()
}
