//! Whole-process comparison: sigpost, Debian's prometheus (agent mode) and vmagent scrape the same targets and write
//! to the same receiver. Prints CPU seconds per million samples and memory, and the ratios. A run that lost or skipped
//! samples is marked void: a ratio against it means nothing.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::{exporter::Exporter, process::Process, receiver::Receiver, usage};

struct Options {
    sigpost: PathBuf,
    peers: PathBuf,
    targets: usize,
    series: usize,
    interval: u64,
    seconds: u64,
    only: Option<String>,
    rounds: usize,
}

#[derive(Clone, Copy)]
enum Agent {
    Sigpost,
    Vmagent,
    Prometheus,
}

struct Outcome {
    name: &'static str,
    cpu_per_million: f64,
    samples: u64,
    expected: u64,
    peak_rss: u64,
    anonymous: u64,
    first_round_cpu: f64,
    wire_bytes_per_sample: f64,
    disk_bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    println!(
        "{} targets x {} series every {} s, {} s measured after the first full round, {} round(s)\n",
        options.targets, options.series, options.interval, options.seconds, options.rounds
    );
    let agents = [Agent::Sigpost, Agent::Vmagent, Agent::Prometheus];
    let mut table: Vec<Vec<Outcome>> = Vec::new();
    for round in 0..options.rounds {
        let mut row = Vec::new();
        for agent in agents {
            if options.only.as_deref().is_some_and(|only| only != agent.name()) {
                continue;
            }
            let outcome = measure(agent, &options).await.with_context(|| format!("measuring {}", agent.name()))?;
            println!(
                "round {} {:<11} {:>7.3} CPU s/M samples  {:>6.1} MiB peak RSS  {:>6.1} MiB anonymous  {:>6.2} CPU s to first round  {:>5.1} wire B/sample  {:>7.1} MiB on disk  {}",
                round + 1,
                outcome.name,
                outcome.cpu_per_million,
                mib(outcome.peak_rss),
                mib(outcome.anonymous),
                outcome.first_round_cpu,
                outcome.wire_bytes_per_sample,
                mib(outcome.disk_bytes),
                outcome.verdict(),
            );
            row.push(outcome);
        }
        table.push(row);
    }
    ratios(&table);
    Ok(())
}

fn ratios(table: &[Vec<Outcome>]) {
    let median = |index: usize, figure: &dyn Fn(&Outcome) -> f64| {
        let mut values: Vec<f64> = table.iter().filter_map(|row| row.get(index)).map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let Some(first) = table.first().filter(|row| row.len() > 1) else { return };
    println!("\nratios, sigpost / peer (medians)");
    for (i, peer) in first.iter().enumerate().skip(1) {
        let void = table.iter().any(|row| [&row[0], &row[i]].iter().any(|o| !o.complete()));
        println!(
            "  {:<11} CPU per sample {:.3}   peak RSS {:.3}   CPU to first round {:.3}{}",
            peer.name,
            median(0, &|o| o.cpu_per_million) / median(i, &|o| o.cpu_per_million),
            median(0, &|o| o.peak_rss as f64) / median(i, &|o| o.peak_rss as f64),
            median(0, &|o| o.first_round_cpu) / median(i, &|o| o.first_round_cpu),
            if void { "   VOID: a run was incomplete" } else { "" }
        );
    }
}

async fn measure(agent: Agent, options: &Options) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let exporter = Exporter::start(options.series).await?;
    let receiver = Receiver::start(false).await?;
    let port = e2e::free_port()?;
    let process = agent.start(options, dir.path(), &exporter, &receiver, port)?;
    let per_round = (options.targets * options.series) as u64;

    let started = Instant::now();
    while receiver.samples() < per_round {
        if started.elapsed() > Duration::from_secs(options.interval * 6 + 60) {
            bail!("no full round arrived ({} of {per_round} samples):\n{}", receiver.samples(), process.output());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = usage::of(process.pid())?;
    let (samples_0, scrapes_0, wire_0) = (receiver.samples(), exporter.scrapes(), receiver.wire_bytes());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let last = usage::of(process.pid())?;
    let (samples_1, scrapes_1, wire_1) = (receiver.samples(), exporter.scrapes(), receiver.wire_bytes());
    let samples = samples_1 - samples_0;
    let disk_bytes = directory_bytes(&dir.path().join("data"));
    drop(process);
    Ok(Outcome {
        name: agent.name(),
        cpu_per_million: (last.cpu_seconds - first.cpu_seconds) / (samples as f64 / 1e6),
        samples,
        expected: (scrapes_1 - scrapes_0) * options.series as u64,
        peak_rss: last.peak_rss_bytes,
        anonymous: last.anonymous_bytes,
        first_round_cpu: first.cpu_seconds,
        wire_bytes_per_sample: (wire_1 - wire_0) as f64 / samples as f64,
        disk_bytes,
    })
}

impl Outcome {
    /// Report series come on top of the scraped ones, and what is in flight at both ends blurs the edge by one round at most.
    fn complete(&self) -> bool {
        self.samples as f64 > self.expected as f64 * 0.93
    }

    fn verdict(&self) -> String {
        if self.complete() { String::new() } else { format!("VOID: {} of {} samples", self.samples, self.expected) }
    }
}

impl Agent {
    fn name(self) -> &'static str {
        match self {
            Agent::Sigpost => "sigpost",
            Agent::Vmagent => "vmagent",
            Agent::Prometheus => "prometheus",
        }
    }

    fn start(
        self,
        options: &Options,
        dir: &Path,
        exporter: &Exporter,
        receiver: &Receiver,
        port: u16,
    ) -> Result<Process> {
        let data = dir.join("data");
        let log = dir.join("log");
        let config = dir.join("config.yaml");
        let mut jobs = String::new();
        for n in 0..options.targets {
            jobs += &format!(
                "  - job_name: t{n}\n    metrics_path: /t/{n}/metrics\n    static_configs:\n      - targets: ['{}']\n",
                exporter.address
            );
        }
        let interval = format!("  scrape_interval: {}s\n  scrape_timeout: {}s\n", options.interval, options.interval);
        let url = receiver.url();
        let listen = format!("127.0.0.1:{port}");
        let config_arg = |flag: &str| format!("{flag}={}", config.display());
        match self {
            Agent::Sigpost => {
                let jobs = jobs.lines().map(|l| format!("        {l}\n")).collect::<String>();
                std::fs::write(
                    &config,
                    format!(
                        "server: {{log_level: warn}}\nmetrics:\n  wal_directory: {}\n  global:\n  {}  configs:\n    - name: bench\n      remote_write:\n        - url: {url}\n          sigv4: {{region: us-east-1, access_key: AKIDBENCHEXAMPLE, secret_key: not-a-real-secret, service_name: aps}}\n      scrape_configs:\n{jobs}",
                        data.display(),
                        interval.replace("\n  ", "\n    "),
                    ),
                )?;
                Process::start(
                    &options.sigpost,
                    &[config_arg("-config.file"), format!("-server.http.address={listen}")],
                    &[],
                    &log,
                )
            }
            Agent::Vmagent => {
                std::fs::write(&config, format!("global:\n{interval}scrape_configs:\n{jobs}"))?;
                Process::start(
                    options.peers.join("bin/vmagent"),
                    &[
                        config_arg("-promscrape.config"),
                        format!("-remoteWrite.url={url}"),
                        format!("-remoteWrite.tmpDataPath={}", data.display()),
                        format!("-httpListenAddr={listen}"),
                    ],
                    &[],
                    &log,
                )
            }
            Agent::Prometheus => {
                std::fs::write(
                    &config,
                    format!("global:\n{interval}scrape_configs:\n{jobs}\nremote_write:\n  - url: {url}\n"),
                )?;
                Process::start(
                    options.peers.join("bin/prometheus"),
                    &[
                        "--enable-feature=agent".to_owned(),
                        config_arg("--config.file"),
                        format!("--storage.agent.path={}", data.display()),
                        format!("--web.listen-address={listen}"),
                        "--log.level=warn".to_owned(),
                    ],
                    &[],
                    &log,
                )
            }
        }
    }
}

fn directory_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => directory_bytes(&e.path()),
            Ok(m) => m.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn options() -> Result<Options> {
    let mut options = Options {
        sigpost: PathBuf::new(),
        peers: std::env::var_os("PEERS").map(PathBuf::from).unwrap_or_default(),
        targets: 100,
        series: 2000,
        interval: 5,
        seconds: 40,
        only: None,
        rounds: 1,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--sigpost" => options.sigpost = value.into(),
            "--peers" => options.peers = value.into(),
            "--targets" => options.targets = value.parse()?,
            "--series" => options.series = value.parse()?,
            "--interval" => options.interval = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--only" => options.only = Some(value),
            _ => bail!(
                "unknown option {arg}; known: --sigpost --peers --targets --series --interval --seconds --rounds --only"
            ),
        }
    }
    if options.sigpost.as_os_str().is_empty() {
        options.sigpost = e2e::peers::sigpost()?;
    }
    Ok(options)
}
