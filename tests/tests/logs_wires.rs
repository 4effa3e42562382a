//! Log destinations that other tests do not reach, each signed: Kinesis, OTLP and an API gateway before the sandbox, which
//! verifies signatures; and what moto, a stand-in that others wrote, makes of the requests.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use e2e::{
    agent::Agent,
    free_port, peers,
    process::{Process, until},
};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};
use serde_json::{Value, json};

const KEY_ID: &str = "AKIDEXAMPLE000000003";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(90);
const LINES: usize = 3000;

fn keys(more: &str) -> String {
    format!("{{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}{more}}}")
}

/// An agent with a file of numbered lines.
fn agent(clients: &str, jobs: &str) -> Result<Agent> {
    let agent = Agent::prepare(&format!(
        "queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
{clients}
      scrape_configs:
{jobs}"
    ))?;
    let mut file = File::create(agent.dir.path().join("app.log"))?;
    for n in 0..LINES {
        writeln!(file, "line {n} of a log file, with some words that repeat themselves")?;
    }
    Ok(agent)
}

const FILES: &str = "        - job_name: system
          static_configs: [{targets: [localhost], labels: {job: varlogs, __path__: '{dir}/app.log'}}]
";

fn numbers(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.split("line ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok())
}

/// Each number once.
fn check(place: &str, found: &[usize]) -> Result<()> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    found.iter().for_each(|n| *counts.entry(*n).or_default() += 1);
    let wrong: Vec<_> = (0..LINES).filter(|n| counts.get(n) != Some(&1)).take(5).collect();
    ensure!(wrong.is_empty() && counts.len() == LINES, "{place}: {} lines, not once: {wrong:?}", found.len());
    Ok(())
}

async fn delivered(agent: &Agent, destination: &str) -> Result<f64> {
    let page = agent.get("/metrics").await?;
    let series = format!("sigpost_queue_delivered_items_total{{destination=\"{destination}\"");
    let line = page.lines().find(|line| line.starts_with(&series));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0))
}

/// The names by which the queue knows the destinations.
async fn all_delivered(agent: &Agent, clients: usize) -> Result<()> {
    until("every line is delivered everywhere", PATIENCE, || async {
        let page = agent.get("/metrics").await.ok()?;
        let lines = page.lines().filter(|line| line.starts_with("sigpost_queue_delivered_items_total{"));
        let counts: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        let full = |count: &&f64| (**count - LINES as f64).abs() < 0.5;
        (counts.iter().filter(full).count() == clients).then_some(())
    })
    .await
    .with_context(|| agent.log())
}

async fn sandbox() -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinesis_otlp_and_an_api_gateway_take_signed_lines_and_what_they_took_is_what_is_counted() -> Result<()> {
    let sandbox = sandbox().await?;
    let (at, keys) = (sandbox.url(), keys(""));
    let clients = format!(
        "        - {{name: k, url: 'https://kinesis.us-east-1.amazonaws.com/', endpoint_url: '{at}', stream_name: lines, batchwait: 100ms, aws: {keys}}}
        - {{name: o, url: 'https://logs.us-east-1.amazonaws.com/v1/logs', endpoint_url: '{at}', log_group: /otlp, log_stream: s, create: true, batchwait: 100ms, aws: {keys}}}
        - {{name: g, url: 'https://abc123.execute-api.us-east-1.amazonaws.com/prod/loki/api/v1/push', endpoint_url: '{at}', batchwait: 100ms, aws: {keys}}}
"
    );
    let mut agent = agent(&clients, FILES)?;
    agent.start_ready().await?;
    all_delivered(&agent, 3).await.with_context(|| format!("{:#?}", sandbox.state().recent_refusals))?;
    for place in ["kinesis:lines", "logs:/otlp:s", "loki:/prod/loki/api/v1/push"] {
        let records = sandbox.records(Some(place), None);
        let found: Vec<usize> = records.iter().flat_map(|record| numbers(&record.text)).collect();
        check(place, &found).with_context(|| agent.log())?;
        let callers: Vec<&str> = records.iter().map(|record| record.caller_arn.as_str()).collect();
        ensure!(
            callers.iter().all(|arn| arn.starts_with("arn:aws:iam::")),
            "{place} was called by {:?}",
            callers.first()
        );
    }
    assert!(delivered(&agent, "nobody").await? < 0.5);
    agent.stop()?;

    // The same with a wrong secret: the signatures are looked at, nothing is taken, nothing is lost.
    let before = sandbox.records(None, None).len();
    let mut agent = self::agent(&clients.replace(SECRET, "another"), FILES)?;
    agent.start_ready().await?;
    until("all three are refused", PATIENCE, || async {
        let refused: Vec<String> =
            sandbox.state().recent_refusals.iter().map(|refusal| format!("{refusal:?}")).collect();
        let of = |word: &str| refused.iter().any(|refusal| refusal.contains(word) && refusal.contains("ignature"));
        (of("kinesis") && of("logs") && of("execute-api")).then_some(())
    })
    .await
    .with_context(|| format!("{:#?}", sandbox.state().recent_refusals))?;
    assert_eq!(sandbox.records(None, None).len(), before);
    agent.stop()
}

// --- moto ------------------------------------------------------------------------------------------------------

struct Moto {
    url: String,
    client: reqwest::Client,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Moto {
    /// `None`: there is no moto here, and it was said why.
    async fn start() -> Result<Option<Self>> {
        let Some(server) = peers::find_unless_missing("moto_server")? else { return Ok(None) };
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let port = port.to_string();
        let process =
            Process::start(server, &["-H", "127.0.0.1", "-p", &port], &[], &directory.path().join("moto.log"))?;
        let moto = Self {
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build()?,
            _process: process,
            _directory: directory,
        };
        until("moto answers", PATIENCE, || async {
            moto.client.get(format!("{}/moto-api/data.json", moto.url)).send().await.ok().map(drop)
        })
        .await?;
        Ok(Some(moto))
    }

    fn request(&self, method: reqwest::Method, service: &str, path: &str) -> reqwest::RequestBuilder {
        // By this moto knows which service is meant.
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
        );
        self.client.request(method, format!("{}{path}", self.url)).header("authorization", scope)
    }

    async fn call(&self, service: &str, target: &str, body: Value) -> Result<Value> {
        let request = self.request(reqwest::Method::POST, service, "/").header("x-amz-target", target);
        let answer = request.header("content-type", "application/x-amz-json-1.1").body(body.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{target}: {status} {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<()> {
        let answer = self.request(reqwest::Method::PUT, "s3", path).body(body).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.text().await?);
        Ok(())
    }

    /// Every object of a bucket, unpacked.
    async fn objects(&self, bucket: &str) -> Result<String> {
        let list =
            self.request(reqwest::Method::GET, "s3", &format!("/{bucket}?list-type=2")).send().await?.text().await?;
        let mut all = String::new();
        for key in list.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
            let path = format!("/{bucket}/{}", key.replace('=', "%3D"));
            let body = self.request(reqwest::Method::GET, "s3", &path).send().await?.bytes().await?;
            let mut text = String::new();
            match flate2::read::MultiGzDecoder::new(&body[..]).read_to_string(&mut text) {
                Ok(_) => all += &text,
                Err(_) => all += &String::from_utf8_lossy(&body),
            }
        }
        Ok(all)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_takes_every_request_of_logs() -> Result<()> {
    let Some(moto) = Moto::start().await? else { return Ok(()) };
    for bucket in ["fed", "archive"] {
        moto.put(&format!("/{bucket}"), "").await?;
    }
    let s3 = json!({"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": "arn:aws:s3:::fed"});
    let stream = json!({"DeliveryStreamName": "lines", "S3DestinationConfiguration": s3});
    moto.call("firehose", "Firehose_20150804.CreateDeliveryStream", stream).await?;
    moto.call("kinesis", "Kinesis_20131202.CreateStream", json!({"StreamName": "lines", "ShardCount": 1})).await?;
    let (at, keys) = (&moto.url, keys(""));
    let clients = format!(
        "        - {{name: c, url: 'https://logs.us-east-1.amazonaws.com/', endpoint_url: '{at}', log_group: /app, log_stream: s, retention_days: 7, batchwait: 100ms, aws: {keys}}}
        - {{name: f, url: 'https://firehose.us-east-1.amazonaws.com/', endpoint_url: '{at}', delivery_stream: lines, batchwait: 100ms, aws: {keys}}}
        - {{name: k, url: 'https://kinesis.us-east-1.amazonaws.com/', endpoint_url: '{at}', stream_name: lines, batchwait: 100ms, aws: {keys}}}
        - {{name: a, url: 'https://archive.s3.us-east-1.amazonaws.com/logs', endpoint_url: '{at}', format: text, batch: {{max_age: 1s}}, aws: {keys}}}
"
    );
    let mut agent = agent(&clients, FILES)?;
    agent.start_ready().await?;
    all_delivered(&agent, 4).await?;
    agent.stop()?;

    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut asked = json!({"logGroupName": "/app"});
        if let Some(token) = token.as_str() {
            asked["nextToken"] = json!(token);
        }
        let page = moto.call("logs", "Logs_20140328.FilterLogEvents", asked).await?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        found.extend(
            events.iter().flat_map(|event| numbers(event["message"].as_str().unwrap_or_default()).collect::<Vec<_>>()),
        );
        token = page["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    check("CloudWatch Logs", &found)?;
    let groups = moto.call("logs", "Logs_20140328.DescribeLogGroups", json!({})).await?;
    assert_eq!(groups["logGroups"][0]["retentionInDays"], 7, "{groups:#}");

    check("Firehose", &numbers(&moto.objects("fed").await?).collect::<Vec<_>>())?;
    check("S3", &numbers(&moto.objects("archive").await?).collect::<Vec<_>>())?;

    let shard = json!({"StreamName": "lines", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let mut iterator = moto.call("kinesis", "Kinesis_20131202.GetShardIterator", shard).await?["ShardIterator"].clone();
    let mut found = Vec::new();
    loop {
        let page = moto.call("kinesis", "Kinesis_20131202.GetRecords", json!({"ShardIterator": iterator})).await?;
        let records = page["Records"].as_array().cloned().unwrap_or_default();
        if records.is_empty() {
            break;
        }
        for record in &records {
            let bytes = BASE64_STANDARD.decode(record["Data"].as_str().unwrap_or_default())?;
            found.extend(numbers(&String::from_utf8_lossy(&bytes)));
        }
        iterator = page["NextShardIterator"].clone();
    }
    check("Kinesis", &found)
}

/// moto tells its queue of objects as S3 does, a test event first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_a_queue_of_moto_tells_of_are_read_once_and_taken_off() -> Result<()> {
    let Some(moto) = Moto::start().await? else { return Ok(()) };
    let sandbox = sandbox().await?;
    moto.put("/incoming", "").await?;
    let queue = moto.call("sqs", "AmazonSQS.CreateQueue", json!({"QueueName": "new"})).await?;
    let queue = queue["QueueUrl"].as_str().context("a queue has a URL")?.to_owned();
    let told = "<NotificationConfiguration><QueueConfiguration><Queue>arn:aws:sqs:us-east-1:123456789012:new</Queue>\
                <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>";
    moto.put("/incoming?notification", told).await?;
    let at = &moto.url;
    let clients = format!(
        "        - {{name: fh, url: 'https://firehose.us-east-1.amazonaws.com/', endpoint_url: '{}', delivery_stream: lines, batchwait: 50ms, aws: {}}}\n",
        sandbox.url(),
        keys("")
    );
    let jobs = format!(
        "        - job_name: objects
          s3: {{sqs_queue_url: '{queue}', sqs_endpoint_url: '{at}', endpoint_url: '{at}', aws: {}}}
",
        keys("")
    );
    let mut agent = agent(&clients, &jobs)?;
    agent.start_ready().await?;
    let text = fs::read_to_string(agent.dir.path().join("app.log"))?;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let (first, rest) = text.split_at(text.find("line 1500 ").context("it has that many lines")?);
    packed.write_all(rest.as_bytes())?;
    moto.put("/incoming/a%20b/first.log", first.to_owned()).await?;
    moto.put("/incoming/second.log.gz", packed.finish()?).await?;
    until("every line arrives", PATIENCE, || async {
        let records = sandbox.records(Some("firehose:lines"), None);
        (records.iter().flat_map(|record| numbers(&record.text)).count() >= LINES).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    until("the queue is empty", PATIENCE, || async {
        let asked = json!({"QueueUrl": queue, "AttributeNames": ["All"]});
        let left = moto.call("sqs", "AmazonSQS.GetQueueAttributes", asked).await.ok()?;
        let count = |name: &str| left["Attributes"][name].as_str().unwrap_or_default() == "0";
        (count("ApproximateNumberOfMessages") && count("ApproximateNumberOfMessagesNotVisible")).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let records = sandbox.records(Some("firehose:lines"), None);
    check("lines of objects", &records.iter().flat_map(|record| numbers(&record.text)).collect::<Vec<_>>())?;
    agent.stop()
}
