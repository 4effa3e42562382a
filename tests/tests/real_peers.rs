//! A real exporter in front, a real Prometheus behind, the real binary between them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    agent::Agent,
    free_port, peers,
    process::{Process, until},
};

const PATIENCE: Duration = Duration::from_secs(40);

struct Prometheus {
    port: u16,
    process: Process,
}

impl Prometheus {
    fn start(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let process = Process::start(
            peers::find("prometheus")?,
            &[
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            &[],
            &dir.join("prometheus.log"),
        )?;
        Ok(Self { port, process })
    }

    async fn query(&self, expression: &str) -> Result<serde_json::Value> {
        let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{}/api/v1/query", self.port))?;
        url.query_pairs_mut().append_pair("query", expression);
        Ok(serde_json::from_str(&reqwest::get(url).await?.text().await?)?)
    }

    /// (timestamp in ms, value) of every stored sample of the one series that `selector` finds.
    async fn samples(&self, selector: &str) -> Result<Vec<(i64, f64)>> {
        let answer = self.query(&format!("{selector}[30m]")).await?;
        let values = answer["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
        let sample =
            |v: &serde_json::Value| Some(((v[0].as_f64()? * 1000.0).round() as i64, v[1].as_str()?.parse().ok()?));
        Ok(values.iter().filter_map(sample).collect())
    }

    async fn timestamps(&self, selector: &str) -> Result<BTreeSet<i64>> {
        Ok(self.samples(selector).await?.into_iter().map(|(at, _)| at).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scraped_timestamp_is_in_prometheus_after_kill_9_during_an_outage() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let exporter_port = free_port()?;
    let exporter = Process::start(
        peers::find("prometheus-node-exporter")?,
        &[format!("--web.listen-address=127.0.0.1:{exporter_port}")],
        &[],
        &dir.path().join("exporter.log"),
    )?;
    let prometheus = Prometheus::start(dir.path())?;
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 500ms, scrape_timeout: 500ms, external_labels: {{site: lab}}}}
  configs:
    - name: default
      remote_write:
        - url: http://127.0.0.1:{}/api/v1/write
          queue_config: {{max_backoff: 500ms}}
      scrape_configs:
        - job_name: node
          static_configs:
            - targets: ['127.0.0.1:{exporter_port}']
",
        prometheus.port
    ))?;
    agent.start_ready().await?;

    until("a PromQL query for up to answer", PATIENCE, || async {
        (prometheus.timestamps("up{job=\"node\",site=\"lab\"}").await.ok()?.len() >= 3).then_some(())
    })
    .await
    .with_context(|| format!("{}\n{}", agent.log(), prometheus.process.output()))?;
    let cpus = prometheus.query("count(node_cpu_seconds_total{job=\"node\",mode=\"idle\"})").await?;
    let cpus: f64 =
        cpus["data"]["result"][0]["value"][1].as_str().context("node_cpu_seconds_total is there")?.parse()?;
    assert!(cpus >= 1.0);

    // The destination goes away, data piles up, the agent dies without a chance to say goodbye, and starts again.
    prometheus.process.signal("STOP")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.kill_9();
    agent.start_ready().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    prometheus.process.signal("CONT")?;

    let target = now_ms();
    let stored = until("the backlog to arrive", PATIENCE, || async {
        let stored = prometheus.timestamps("up{job=\"node\",site=\"lab\"}").await.ok()?;
        (stored.last().copied().unwrap_or(0) > target + 1000).then_some(stored)
    })
    .await
    .with_context(|| format!("{}\n{}", agent.log(), prometheus.process.output()))?;

    // The exporter counts its own answers, so each stored scrape says how many came before it. The kill can have caught
    // one between the answer and the queue.
    let answered = prometheus.samples("promhttp_metric_handler_requests_total{job=\"node\",code=\"200\"}").await?;
    let (at, count) = *answered.last().context("the exporter's own counter")?;
    let before = stored.iter().filter(|t| **t < at).count();
    assert!(
        before as f64 + 1.0 >= count,
        "{count} scrapes were answered before {at}, {before} are stored\n{}\n{}",
        agent.log(),
        prometheus.process.output()
    );
    let cpu = prometheus.timestamps("node_cpu_seconds_total{job=\"node\",cpu=\"0\",mode=\"idle\"}").await?;
    let first = *cpu.first().context("cpu samples")?;
    let missing: Vec<_> = stored.iter().filter(|t| **t >= first && **t <= target && !cpu.contains(t)).collect();
    assert!(missing.is_empty(), "up is there, node_cpu_seconds_total is not, at {missing:?}");

    agent.stop()?;
    drop(exporter);
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("not the far future")
}
