//! Whole-process cost of log lines: the agent reads one large file, queues it on disk, signs and sends it. Prints CPU
//! seconds per GiB, peak memory and lines a second for each kind of destination, beside the floor: a loop that only reads,
//! splits, encodes, compresses and hashes the same bytes, measured in the same round.
//!
//! The receiver runs in this process, whose CPU is not counted. A run in which lines are missing or came twice is void.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::{
    agent::Agent,
    lines::{LineReceiver, Writer},
    usage,
};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

struct Options {
    mib: u64,
    rounds: usize,
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Destination {
    Loki,
    CloudWatch,
    S3,
}

struct Outcome {
    cpu: f64,
    floor: f64,
    peak_rss: u64,
    lines_per_second: f64,
    wire_bytes: u64,
    complete: bool,
}

const ALL: [Destination; 3] = [Destination::Loki, Destination::CloudWatch, Destination::S3];
const GIB: f64 = (1u64 << 30) as f64;
const MIB: f64 = (1u64 << 20) as f64;

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("app.log");
    let mut writer = Writer::new();
    let bytes = writer.file(&path, options.mib << 20)?;
    let lines = writer.sum.lines;
    println!(
        "{:.0} MiB in {lines} lines of {} bytes, {} round(s); CPU seconds per GiB of lines",
        bytes as f64 / MIB,
        bytes / lines.max(1),
        options.rounds
    );
    for destination in ALL {
        if options.only.as_deref().is_some_and(|only| only != destination.name()) {
            continue;
        }
        let mut rows = Vec::new();
        for round in 0..options.rounds {
            let floor = {
                let path = path.clone();
                tokio::task::spawn_blocking(move || destination.floor(&path)).await??
            };
            let outcome = measure(destination, &path, bytes, lines, floor)
                .await
                .with_context(|| format!("measuring {}", destination.name()))?;
            println!(
                "round {} {:<10} {:>6.2} CPU s/GiB   floor {:>6.2}   ratio {:>5.2}   {:>6.1} MiB peak RSS   {:>9.0} lines/s   {:>5.1} wire B/line{}",
                round + 1,
                destination.name(),
                outcome.cpu,
                outcome.floor,
                outcome.cpu / outcome.floor,
                outcome.peak_rss as f64 / MIB,
                outcome.lines_per_second,
                outcome.wire_bytes as f64 / lines as f64,
                if outcome.complete { "" } else { "   VOID: not every line came once" }
            );
            rows.push(outcome);
        }
        let median = |figure: &dyn Fn(&Outcome) -> f64| {
            let mut values: Vec<f64> = rows.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        println!(
            "median  {:<10} {:>6.2} CPU s/GiB   floor {:>6.2}   ratio {:>5.2}   {}\n",
            destination.name(),
            median(&|o| o.cpu),
            median(&|o| o.floor),
            median(&|o| o.cpu / o.floor),
            destination.goal(),
        );
    }
    Ok(())
}

async fn measure(destination: Destination, path: &Path, bytes: u64, lines: u64, floor: f64) -> Result<Outcome> {
    let receiver = LineReceiver::start(false).await?;
    let mut agent = Agent::prepare(&config(&destination.client(&receiver), path))?;
    let began = Instant::now();
    agent.start()?;
    let pid = agent.pid().context("the agent was started")?;
    let limit = Duration::from_secs(60 + bytes / (4 << 20));
    while receiver.lines() < lines {
        if began.elapsed() > limit || agent.process()?.has_exited()?.is_some() {
            bail!("{} of {lines} lines arrived:\n{}", receiver.lines(), agent.log());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    let used = usage::of(pid)?;
    agent.stop()?;
    let complete = receiver.lines() == lines && receiver.refused() == 0;
    let per_gib = |seconds: f64| seconds / (bytes as f64 / GIB);
    Ok(Outcome {
        cpu: per_gib(used.cpu_seconds),
        floor: per_gib(floor),
        peak_rss: used.peak_rss_bytes,
        lines_per_second: lines as f64 / took.as_secs_f64(),
        wire_bytes: receiver.wire_bytes(),
        complete,
    })
}

fn config(client: &str, path: &Path) -> String {
    format!(
        "server: {{log_level: warn}}
queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: bench
      positions: {{filename: '{{dir}}/positions.yaml'}}
      clients:
        - {client}
      scrape_configs:
        - job_name: bench
          static_configs:
            - targets: [localhost]
              labels: {{job: bench, __path__: '{}'}}
",
        path.display()
    )
}

impl Destination {
    fn name(self) -> &'static str {
        match self {
            Self::Loki => "loki",
            Self::CloudWatch => "cloudwatch",
            Self::S3 => "s3",
        }
    }

    fn goal(self) -> &'static str {
        match self {
            Self::Loki => "goal: at most 2",
            Self::CloudWatch => "goal: at most 2.5",
            Self::S3 => "no goal",
        }
    }

    fn client(self, receiver: &LineReceiver) -> String {
        let here = format!("http://{}", receiver.address);
        let aws = "aws: {region: us-east-1, access_key_id: AKIDBENCHEXAMPLE, secret_access_key: not-a-real-secret}";
        match self {
            Self::Loki => {
                let aws = aws.replace("{region", "{service: execute-api, region");
                format!("{{url: '{here}/loki/api/v1/push', {aws}}}")
            }
            Self::CloudWatch => {
                format!("{{url: 'https://logs.us-east-1.amazonaws.com/', endpoint_url: '{here}', {aws}}}")
            }
            Self::S3 => {
                format!("{{url: 'https://bench.s3.us-east-1.amazonaws.com/logs', endpoint_url: '{here}', {aws}}}")
            }
        }
    }

    /// CPU seconds of a loop that does what nobody can leave out.
    fn floor(self, path: &Path) -> Result<f64> {
        let before = thread_cpu()?;
        let mut file = File::open(path)?;
        let mut buf = vec![0; 256 << 10];
        let mut held = 0;
        let mut body = Body::new(self);
        loop {
            let room = buf.get_mut(held..).filter(|room| !room.is_empty()).context("a line longer than the buffer")?;
            let n = file.read(room)?;
            let data = buf.get(..held + n).unwrap_or_default();
            let mut at = 0;
            for end in memchr::memchr_iter(b'\n', data) {
                let line = data.get(at..end).unwrap_or_default();
                // No receiver takes what is not UTF-8.
                body.line(std::str::from_utf8(line)?)?;
                at = end + 1;
            }
            let rest = data.len() - at;
            buf.copy_within(at..at + rest, 0);
            held = rest;
            if n == 0 {
                break;
            }
        }
        body.finish()?;
        Ok(thread_cpu()? - before)
    }
}

/// Seconds of CPU that this thread has used.
fn thread_cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("reading this thread's CPU time")?;
    let ns: u64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(ns as f64 / 1e9)
}

/// A request's body as it grows.
struct Body {
    kind: Destination,
    raw: Vec<u8>,
    packed: Vec<u8>,
    lines: usize,
    bytes: usize,
    at_ns: u64,
    /// So that nothing of it is left out.
    digest: u8,
}

impl Body {
    fn new(kind: Destination) -> Self {
        let mut body = Self {
            kind,
            raw: Vec::new(),
            packed: Vec::new(),
            lines: 0,
            bytes: 0,
            at_ns: 1_700_000_000_000_000_000,
            digest: 0,
        };
        body.begin();
        body
    }

    fn begin(&mut self) {
        self.raw.clear();
        (self.lines, self.bytes) = (0, 0);
        let head: &[u8] = match self.kind {
            Destination::Loki | Destination::S3 => b"",
            Destination::CloudWatch => b"{\"logGroupName\":\"/sigpost/bench\",\"logStreamName\":\"s\",\"logEvents\":[",
        };
        self.raw.extend_from_slice(head);
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.at_ns += 1;
        match self.kind {
            Destination::Loki => {
                let time = 12;
                let length = 2 + time + 1 + varint_len(line.len()) + line.len();
                self.raw.push(0x12);
                varint(&mut self.raw, length as u64);
                self.raw.extend_from_slice(&[0x0a, time as u8, 0x08]);
                varint(&mut self.raw, self.at_ns / 1_000_000_000);
                self.raw.push(0x10);
                varint(&mut self.raw, (self.at_ns % 1_000_000_000) | 1 << 28);
                self.raw.push(0x12);
                varint(&mut self.raw, line.len() as u64);
                self.raw.extend_from_slice(line.as_bytes());
            }
            Destination::CloudWatch => {
                if self.lines > 0 {
                    self.raw.push(b',');
                }
                self.raw.extend_from_slice(b"{\"timestamp\":1700000000000,\"message\":\"");
                escaped(&mut self.raw, line);
                self.raw.extend_from_slice(b"\"}");
            }
            Destination::S3 => {
                self.raw.extend_from_slice(b"{\"timestamp\":\"2023-11-14T22:13:20.");
                let mut digits = [b'0'; 9];
                let mut nanos = self.at_ns % 1_000_000_000;
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (nanos % 10) as u8;
                    nanos /= 10;
                }
                self.raw.extend_from_slice(&digits);
                self.raw.extend_from_slice(b"Z\",\"line\":\"");
                escaped(&mut self.raw, line);
                self.raw.extend_from_slice(b"\",\"labels\":{\"filename\":\"/tmp/app.log\",\"job\":\"bench\"}}\n");
            }
        }
        self.lines += 1;
        self.bytes += line.len() + 26;
        let full = match self.kind {
            Destination::Loki => self.bytes >= 1 << 20,
            Destination::CloudWatch => self.bytes >= (1 << 20) - 1024 || self.lines >= 10_000,
            Destination::S3 => self.bytes >= 8 << 20,
        };
        if full { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        if self.lines == 0 {
            return Ok(());
        }
        let body = match self.kind {
            Destination::Loki => {
                self.packed.resize(snap::raw::max_compress_len(self.raw.len()), 0);
                let n = snap::raw::Encoder::new().compress(&self.raw, &mut self.packed)?;
                self.packed.get(..n).unwrap_or_default()
            }
            Destination::CloudWatch => {
                self.raw.extend_from_slice(b"]}");
                self.packed = gzip(&self.raw, std::mem::take(&mut self.packed), 1)?;
                &self.packed
            }
            Destination::S3 => {
                self.packed = gzip(&self.raw, std::mem::take(&mut self.packed), 4)?;
                &self.packed
            }
        };
        self.digest ^= Sha256::digest(body).first().copied().unwrap_or_default();
        std::hint::black_box(self.digest);
        self.begin();
        Ok(())
    }
}

fn gzip(bytes: &[u8], mut into: Vec<u8>, level: u32) -> Result<Vec<u8>> {
    use std::io::Write;
    into.clear();
    let mut encoder = GzEncoder::new(into, Compression::new(level));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// The inside of a JSON string: runs of what stands for itself are copied whole.
fn escaped(out: &mut Vec<u8>, line: &str) {
    let mut rest = line.as_bytes();
    let special = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    loop {
        let blocks = rest.chunks_exact(32);
        let plain = blocks.take_while(|b| b.iter().fold(0, |found, byte| found | special(*byte)) == 0).count() * 32;
        let after = rest.get(plain..).unwrap_or_default();
        let plain = plain + after.iter().position(|byte| special(*byte) != 0).unwrap_or(after.len());
        let (run, after) = rest.split_at(plain);
        out.extend_from_slice(run);
        match after.split_first() {
            Some((byte @ (b'"' | b'\\'), after)) => {
                out.extend_from_slice(&[b'\\', *byte]);
                rest = after;
            }
            Some((byte, after)) => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                rest = after;
            }
            None => return,
        }
    }
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_len(number: usize) -> usize {
    (64 - (number as u64 | 1).leading_zeros() as usize).div_ceil(7)
}

fn options() -> Result<Options> {
    let mut options = Options { mib: 1024, rounds: 3, only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--mib" => options.mib = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--only" => options.only = Some(value),
            _ => bail!("unknown option {arg}; known: --mib --rounds --only loki|cloudwatch|s3"),
        }
    }
    Ok(options)
}
