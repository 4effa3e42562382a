//! Exponential histograms of OTLP as native histograms of a real Prometheus, through the real binary.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    agent::Agent,
    free_port, peers,
    process::{Process, until},
    receiver::Receiver,
};
use prost::Message;
use proto::{
    otlp_common::{KeyValue, Resource},
    otlp_metrics::{
        Buckets, Data, ExponentialHistogram, ExponentialHistogramDataPoint, ExportMetricsServiceRequest,
        ExportMetricsServiceResponse, Gauge, Metric, NO_RECORDED_VALUE, Number, NumberDataPoint, ResourceMetrics,
        ScopeMetrics,
    },
};

const PATIENCE: Duration = Duration::from_secs(90);

struct Prometheus {
    port: u16,
    process: Process,
}

impl Prometheus {
    /// Starts it and waits until it takes samples: what is refused before that says nothing of them.
    async fn start(dir: &Path, features: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let mut arguments = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        arguments.extend(features.iter().map(|feature| format!("--enable-feature={feature}")));
        let process = Process::start(peers::find("prometheus")?, &arguments, &[], &dir.join("prometheus.log"))?;
        let ready = || async {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/-/ready")).await.ok()?;
            answer.status().is_success().then_some(())
        };
        until("prometheus to be ready", PATIENCE, ready).await.with_context(|| process.output())?;
        Ok(Self { port, process })
    }

    /// The value of the one series of an instant query.
    async fn value(&self, expression: &str, time: u64) -> Result<f64> {
        let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{}/api/v1/query", self.port))?;
        url.query_pairs_mut().append_pair("query", expression).append_pair("time", &time.to_string());
        let answer: serde_json::Value = serde_json::from_str(&reqwest::get(url).await?.text().await?)?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        Ok(value.with_context(|| format!("{expression}: {answer}"))?.parse()?)
    }
}

fn point(seconds: u64, positive: &[u64]) -> ExponentialHistogramDataPoint {
    let count = positive.iter().sum::<u64>() + 5;
    ExponentialHistogramDataPoint {
        time_unix_nano: seconds * 1_000_000_000,
        count,
        sum: Some(count as f64),
        scale: 10,
        zero_count: 2,
        positive: Some(Buckets { offset: 1024, bucket_counts: positive.to_vec() }),
        negative: Some(Buckets { offset: 0, bucket_counts: vec![3] }),
        ..Default::default()
    }
}

fn request(points: Vec<ExponentialHistogramDataPoint>, temporality: i32, name: &str) -> Vec<u8> {
    let time_unix_nano = points.first().map_or(0, |point| point.time_unix_nano);
    let data = ExponentialHistogram { data_points: points, aggregation_temporality: temporality };
    let number = NumberDataPoint { time_unix_nano, value: Some(Number::Int(7)), ..Default::default() };
    let gauge = Data::Gauge(Gauge { data_points: vec![number] });
    let metrics = vec![
        Metric {
            name: name.to_owned(),
            unit: "s".to_owned(),
            data: Some(Data::ExponentialHistogram(data)),
            ..Default::default()
        },
        Metric { name: format!("{name}_gauge"), data: Some(gauge), ..Default::default() },
    ];
    let scope = ScopeMetrics { metrics, ..Default::default() };
    let attributes = vec![KeyValue { key: "service.name".to_owned(), value: Some("svc".into()) }];
    let resource = Some(Resource { attributes, ..Default::default() });
    let group = ResourceMetrics { resource, scope_metrics: vec![scope], ..Default::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
}

async fn post(http: u16, body: Vec<u8>) -> Result<ExportMetricsServiceResponse> {
    let post = reqwest::Client::new().post(format!("http://127.0.0.1:{http}/v1/metrics"));
    let answer = post.header("content-type", "application/x-protobuf").body(body).send().await?;
    ensure!(answer.status() == 200, "{answer:?}");
    Ok(ExportMetricsServiceResponse::decode(answer.bytes().await?)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exponential_histograms_are_native_ones_in_prometheus_and_have_bounds_elsewhere() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let prometheus = Prometheus::start(dir.path(), &["native-histograms"]).await?;
    let samples = Receiver::start(true).await?;
    let http = free_port()?;
    let backoff = "queue_config: {min_backoff: 50ms, max_backoff: 200ms}";
    let mut agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
metrics:
  configs:
    - name: mine
      remote_write:
        - {{name: native, url: 'http://127.0.0.1:{}/api/v1/write', send_native_histograms: true, {backoff}}}
        - {{name: bounds, url: '{}', {backoff}}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
",
        prometheus.port,
        samples.url()
    ))?;
    agent.start_ready().await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() - 10;
    // Nobody takes anything, and the agent is killed: what was answered is in the queue.
    prometheus.process.signal("STOP")?;
    samples.answer_with(503);
    // A scale of 10 is made one of 8: four buckets each become one. Above 2 there are 8 + 4 values.
    let positive = [2, 2, 2, 2, 0, 0, 0, 4];
    for at in 0..3 {
        let told = post(http, request(vec![point(now + at, &positive)], 2, "all")).await?;
        assert_eq!(told.partial_success, None);
        post(http, request(vec![point(now + at, &positive)], 1, "more")).await?;
    }
    let coarse = ExponentialHistogramDataPoint { scale: -5, ..point(now, &[1]) };
    let told = post(http, request(vec![coarse], 2, "coarse")).await?.partial_success.context("a rejection")?;
    let why = "not stored, by reason: histogram_scale: 1";
    assert_eq!((told.rejected_data_points, told.error_message.as_str()), (1, why));
    agent.kill_9();
    prometheus.process.signal("CONT")?;
    samples.answer_with(200);
    agent.start_ready().await?;

    let arrived = || async { prometheus.value("histogram_count(all_seconds)", now + 2).await.ok() };
    let told = || async { format!("{}\n{}", agent.log(), prometheus.process.output()) };
    let count = until("the histogram", PATIENCE, arrived).await;
    let count = match count {
        Ok(count) => count,
        Err(error) => anyhow::bail!("{error}\n{}", told().await),
    };
    let of = |expression: &'static str| prometheus.value(expression, now + 2);
    assert_eq!((count, of("histogram_sum(all_seconds{job=\"svc\"})").await?), (17.0, 17.0));
    // Of 17 values 3 are negative, 2 zero, 12 between 2 and 2 * 2^(2/256).
    let quantile = of("histogram_quantile(0.9, all_seconds)").await?;
    assert!((2.0..2.02).contains(&quantile), "{quantile}");
    assert!(of("histogram_quantile(0.2, all_seconds)").await?.abs() < 1e-100, "it is in the zero bucket");
    let below = of("histogram_fraction(-2, -0.9, all_seconds)").await?;
    assert!((below - 3.0 / 17.0).abs() < 1e-9, "{below}");
    let arrived = || async { (of("histogram_count(more_seconds)").await.ok()? == 51.0).then_some(()) };
    until("all differences", PATIENCE, arrived).await?;
    assert_eq!(of("all_gauge").await?, 7.0);
    for nowhere in ["all_seconds_bucket", "all_seconds_count", "coarse_seconds"] {
        assert!(of(nowhere).await.is_err(), "{nowhere} is in Prometheus");
    }

    let bucket = "more_seconds_bucket{job=\"svc\",le=\"+Inf\"}";
    until("bounds", PATIENCE, || async { (samples.recorded().get(bucket)?.len() >= 3).then_some(()) }).await?;
    let counts: Vec<f64> = samples.recorded()[bucket].values().map(|(bits, _)| f64::from_bits(*bits)).collect();
    assert_eq!(counts, [17.0, 34.0, 51.0]);

    // The series ends.
    let end = ExponentialHistogramDataPoint { flags: NO_RECORDED_VALUE, ..point(now + 4, &[]) };
    post(http, request(vec![end], 2, "all")).await?;
    assert_eq!(of("histogram_count(all_seconds)").await?, 17.0);
    let ended = || async { prometheus.value("all_seconds", now + 5).await.is_err().then_some(()) };
    until("the staleness marker", PATIENCE, ended).await?;
    assert_eq!(prometheus.value("histogram_count(all_seconds)", now + 3).await?, 17.0);
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_without_native_histograms_holds_until_the_file_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let prometheus = Prometheus::start(dir.path(), &[]).await?;
    let http = free_port()?;
    let config = |natively: bool| {
        format!(
            "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
metrics:
  configs:
    - name: mine
      remote_write: [{{name: a, url: 'http://127.0.0.1:{}/api/v1/write', send_native_histograms: {natively}}}]
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
",
            prometheus.port
        )
    };
    let mut agent = Agent::prepare(&config(true))?;
    agent.start_ready().await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() - 10;
    post(http, request(vec![point(now, &[4])], 2, "all")).await?;
    let held = || async { agent.log().contains("send_native_histograms: false").then_some(()) };
    if let Err(error) = until("a word of what to do", PATIENCE, held).await {
        // What became of the points: queued, sent, filtered, or never there.
        let metrics = agent.get("/metrics").await?;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("sigpost_queue") || line.contains("histogram"))
            .collect::<Vec<_>>();
        return Err(error.context(format!("{}\n{}", agent.log(), lines.join("\n"))));
    }
    agent.write_config(&config(false))?;
    let reload = format!("http://127.0.0.1:{}/-/reload", agent.port);
    ensure!(reqwest::Client::new().post(reload).send().await?.status().is_success(), "{}", agent.log());
    // What was queued natively is not for it any more; what comes has bounds.
    post(http, request(vec![point(now + 1, &[4])], 2, "all")).await?;
    let arrived = || async { prometheus.value("all_seconds_count", now + 1).await.ok() };
    ensure!(until("bounds", PATIENCE, arrived).await.with_context(|| agent.log())? == 9.0);
    ensure!(prometheus.value("all_gauge", now + 1).await? == 7.0);
    agent.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdks_exponential_histogram_is_a_native_one() -> Result<()> {
    let Some(python) = peers::python_of_the_sdk()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let prometheus = Prometheus::start(dir.path(), &["native-histograms"]).await?;
    let (grpc, http) = (free_port()?, free_port()?);
    let mut agent = Agent::prepare(&format!(
        "queue: {{max_bytes: 256MiB, min_free: 1MiB}}
metrics:
  configs:
    - name: mine
      remote_write: [{{name: native, url: 'http://127.0.0.1:{}/api/v1/write', send_native_histograms: true}}]
traces:
  configs:
    - name: default
      receivers:
        otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}
",
        prometheus.port
    ))?;
    agent.start_ready().await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/otlp_exponential.py");
    for transport in ["grpc", "http"] {
        let endpoint =
            if transport == "grpc" { format!("127.0.0.1:{grpc}") } else { format!("http://127.0.0.1:{http}") };
        let mut command = tokio::process::Command::new(&python);
        command.arg(&script).args([transport, &endpoint, "0", "1.5", "1.5", "3", "100"]).env("NO_PROXY", "127.0.0.1");
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.context("the SDK did not end")??;
        ensure!(output.status.success(), "the SDK: {}", String::from_utf8_lossy(&output.stderr));
        let series = format!("e2e_duration_seconds{{job=\"sdk-{transport}\"}}");
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map(|at| at.as_secs() + 1);
        let of = async |function: &str| prometheus.value(&function.replace("it", &series), now()?).await;
        let arrived = || async { of("histogram_count(it)").await.ok() };
        let count = until("the histogram", PATIENCE, arrived).await.with_context(|| agent.log())?;
        assert_eq!((count, of("histogram_sum(it)").await?), (5.0, 106.0), "{transport}");
        // Five values: zero, two of 1.5, 3 and 100, each within its bucket.
        assert!(of("histogram_quantile(0.1, it)").await?.abs() < 1e-100, "it is in the zero bucket");
        for (function, wanted) in [("histogram_quantile(0.5, it)", 1.5), ("histogram_quantile(1, it)", 100.0)] {
            let found = of(function).await?;
            assert!((found / wanted - 1.0).abs() < 0.05, "{transport}: {function} is {found}");
        }
        let above = of("histogram_fraction(2, 200, it)").await?;
        assert!((above - 0.4).abs() < 1e-9, "{above}");
    }
    agent.stop()
}
