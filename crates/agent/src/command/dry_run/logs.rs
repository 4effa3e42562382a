//! The logs part of a dry run: a few lines of each file, and what each stage does to them.
//!
//! Reads files from their beginning, whatever positions say, and writes none.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use config::{LineLimits, LogJobPlan, LogSource, LogsRoute};
use log_tail::{Charset, LOOKS_COMPRESSED, Packing};
use model::Labels;
use prometheus_client::registry::Registry;
use remote_write::{ProtocolConfig, logs::LogProtocol};
use stages::{Entry, Fate, Pipeline, Snapshot, StageMetrics, StepReport};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{braces, destination, shown};

/// Files of one job that are shown.
const FILES: usize = 10;
/// Entries of directories that are looked at for one pattern.
const LOOKED_AT: usize = 50_000;
/// Of the beginning of one file.
const HEAD_BYTES: u64 = 4 << 20;
/// Taken from standard input.
const INPUT_BYTES: u64 = 16 << 20;

/// The lines of standard input.
pub fn standard_input() -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    std::io::stdin().take(INPUT_BYTES).read_to_end(&mut bytes).context("reading standard input")?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

/// `given`: lines that every job gets instead of those of its files.
pub async fn show(route: &LogsRoute, lines: usize, given: Option<&[String]>) -> Result<()> {
    println!("logs instance {}", route.name);
    for job in &route.jobs {
        show_job(job, route.limits, lines, given).await.with_context(|| format!("job {}", job.job_name))?;
    }
    for plan in &route.destinations {
        println!("  would go to {}{}", destination(plan), address(&plan.config.protocol));
        if !plan.config.external_labels.is_empty() {
            println!("    with {} where missing", braces(plan.config.external_labels.iter()));
        }
    }
    Ok(())
}

/// What the protocol makes of labels.
fn address(protocol: &ProtocolConfig) -> String {
    match protocol {
        ProtocolConfig::Logs(LogProtocol::CloudWatch(c)) => {
            format!(", group {}, stream {}", c.log_group.text(), c.log_stream.text())
        }
        ProtocolConfig::Logs(LogProtocol::Firehose(f)) => format!(", delivery stream {}", f.delivery_stream),
        ProtocolConfig::Logs(LogProtocol::Kinesis(k)) => format!(", stream {}", k.stream_name),
        _ => String::new(),
    }
}

async fn show_job(job: &LogJobPlan, limits: LineLimits, lines: usize, given: Option<&[String]>) -> Result<()> {
    let targets = targets(job).await?;
    match source(&job.source) {
        None => println!("  job {}: {} targets", job.job_name, targets.len()),
        Some(source) => println!("  job {}: {source}; with --stdin lines are taken from there", job.job_name),
    }
    let pipeline = Pipeline::new(&job.stages, &job.job_name, &StageMetrics::registered(&mut Registry::default()))?;
    let charset = Charset::from_name(job.encoding.as_deref().unwrap_or_default())?;
    let is_files = matches!(job.source, LogSource::Files(_));
    for labels in targets {
        let public: Labels = labels.iter().filter(|(name, _)| !name.starts_with("__")).collect();
        if let Some(given) = given {
            println!("    standard input as {}", braces(public.iter()));
            show_lines(pipeline.twin(), &public, given, limits, is_files);
            continue;
        }
        if !is_files {
            continue;
        }
        let Some(path) = labels.get("__path__") else {
            println!("    a target without __path__: {}", braces(public.iter()));
            continue;
        };
        let files = files(path, labels.get("__path_exclude__"));
        println!("    {}: {} files", shown(path), files.len());
        for file in files.iter().take(FILES) {
            let mut labels = public.clone();
            labels.set("filename", &file.to_string_lossy());
            println!("      {} as {}", shown(&file.to_string_lossy()), braces(labels.iter()));
            match begin(file) {
                Ok(bytes) if job.decompression.is_none() && Packing::of(&bytes).is_some() => {
                    println!("        it {LOOKS_COMPRESSED}");
                    continue;
                }
                _ => {}
            }
            match head(file, charset, lines) {
                Ok(head) if job.decompression.is_some() => {
                    println!(
                        "        (compressed; {} bytes are read when the agent runs)",
                        head.iter().map(String::len).sum::<usize>()
                    );
                }
                Ok(head) => show_lines(pipeline.twin(), &labels, &head, limits, true),
                Err(error) => println!("        cannot be read: {error}"),
            }
        }
        if files.len() > FILES {
            println!("      and {} more", files.len() - FILES);
        }
    }
    Ok(())
}

/// What is read that is no files, in words.
fn source(source: &LogSource) -> Option<String> {
    match source {
        LogSource::Files(_) => None,
        LogSource::Journal(config) => Some(match &config.path {
            Some(path) => format!("the journal in {}", path.display()),
            None => "the system's journal".to_owned(),
        }),
        LogSource::Syslog(config) => Some(format!("syslog on {}", config.listen)),
        LogSource::Push(config) => Some(format!("what is pushed to {}", config.listen)),
        LogSource::CloudWatch(plan) => Some(format!("log groups of CloudWatch Logs in {}", plan.config.region)),
        LogSource::Objects(plan) => Some(format!("objects of the bucket {}", plan.config.bucket)),
        LogSource::Docker(config) => {
            let hosts: Vec<String> = config.engines.iter().map(|engine| engine.host.to_string()).collect();
            Some(format!("the output of containers of {}", hosts.join(", ")))
        }
    }
}

/// Relabelled, still with the labels that begin with `__`. Of what is no files: the labels that every line gets.
async fn targets(job: &LogJobPlan) -> Result<Vec<Labels>> {
    let discoveries = match &job.source {
        LogSource::Files(discoveries) => discoveries,
        LogSource::Journal(config) => return Ok(vec![config.labels.clone()]),
        LogSource::Syslog(config) => return Ok(vec![config.labels.clone()]),
        LogSource::Push(config) => return Ok(vec![config.labels.clone()]),
        LogSource::CloudWatch(plan) => return Ok(vec![plan.config.labels.clone()]),
        LogSource::Objects(plan) => return Ok(vec![plan.config.labels.clone()]),
        LogSource::Docker(_) => return Ok(vec![Labels::new()]),
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut groups = discovery::watch(discoveries.clone(), &tracker, stop.clone())?;
    // The first list comes when every source has spoken, or after the discovery's own patience.
    let waited = tokio::time::timeout(discovery::PATIENCE * 2, groups.changed()).await;
    let found = groups.borrow().clone();
    stop.cancel();
    if waited.is_err() && found.is_empty() {
        println!("  job {}: no source of targets has answered", job.job_name);
    }
    let mut all = Vec::new();
    for group in found.iter() {
        for own in &group.targets {
            let mut labels: Labels = group.labels.iter().chain(own.iter()).collect();
            if relabel::process(&mut labels, &job.relabel) {
                all.push(labels);
            }
        }
    }
    Ok(all)
}

/// Files that match, sorted.
fn files(pattern: &str, exclude: Option<&str>) -> Vec<PathBuf> {
    let (Ok(pattern), exclude) =
        (log_tail::Pattern::new(pattern), exclude.and_then(|text| log_tail::Pattern::new(text).ok()))
    else {
        return Vec::new();
    };
    let literal: PathBuf = Path::new(pattern.as_str())
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
        .collect();
    let (mut found, mut left, mut seen) = (Vec::new(), vec![literal], 0);
    while let Some(path) = left.pop() {
        seen += 1;
        if seen > LOOKED_AT {
            break;
        }
        if path.is_dir() {
            // A link to a directory above would never end.
            let linked = path.is_symlink();
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
            left.extend(entries.filter(|entry| !(linked && entry.is_dir())));
        } else if pattern.matches(&path) && !exclude.as_ref().is_some_and(|exclude| exclude.matches(&path)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The bytes that say how a file is compressed, if it is.
fn begin(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Of a file's beginning, as the agent would read it.
fn head(file: &Path, charset: Charset, lines: usize) -> std::io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(HEAD_BYTES).read_to_end(&mut bytes)?;
    Ok(charset.first_lines(&bytes, lines))
}

/// The lines of one file, which has stages of its own. `after`: limits hold for what leaves the stages, as in files; else for
/// what comes to them.
fn show_lines(mut pipeline: Pipeline, labels: &Labels, lines: &[String], limits: LineLimits, after: bool) {
    for line in lines {
        println!("        > {}", shown(line));
        match within(line, limits) {
            _ if after => show_line(&mut pipeline, labels, line, limits),
            Within::Whole => show_line(&mut pipeline, labels, line, LineLimits::default()),
            Within::Cut(start, told) => {
                println!("          {told}");
                show_line(&mut pipeline, labels, start, LineLimits::default());
            }
            Within::Dropped(told) => println!("          {told}"),
        }
    }
    let mut held = Vec::new();
    pipeline.finish(now_ns(), &mut |entry| held.push(entry));
    for entry in held {
        let pairs = braces(entry.labels.iter());
        sent("held back to here, then sent", &pairs, entry.timestamp_ns, &entry.line, limits, "        ");
    }
}

/// What `limits_config` makes of a line.
enum Within<'l> {
    Whole,
    Cut(&'l str, String),
    Dropped(String),
}

fn within(line: &str, limits: LineLimits) -> Within<'_> {
    let most = usize::try_from(limits.max_line_size).unwrap_or(usize::MAX);
    if most == 0 || line.len() <= most {
        return Within::Whole;
    }
    let told = format!("it has {} bytes, and max_line_size is {most}", line.len());
    match limits.max_line_size_truncate {
        true => {
            let start = line.get(..line.floor_char_boundary(most)).unwrap_or_default();
            Within::Cut(start, format!("cut: {told}"))
        }
        false => Within::Dropped(format!("dropped (line_too_long): {told}")),
    }
}

fn sent(how: &str, labels: &str, timestamp_ns: i64, line: &str, limits: LineLimits, indent: &str) {
    let time = timestamp(timestamp_ns);
    match within(line, limits) {
        Within::Whole => println!("{indent}{how}: {labels} {time} {}", shown(line)),
        Within::Cut(start, told) => println!("{indent}{told}\n{indent}{how}: {labels} {time} {}", shown(start)),
        Within::Dropped(told) => println!("{indent}{told}"),
    }
}

fn show_line(pipeline: &mut Pipeline, labels: &Labels, line: &str, limits: LineLimits) {
    let reports = pipeline.explain(Entry::new(labels.clone(), now_ns(), line), now_ns());
    for report in &reports {
        println!("          {}: {}", report.path, shown(&what_it_did(report)));
    }
    let last = reports.iter().rev().find(|report| !matches!(report.fate, Fate::NotMatched));
    match last {
        None => match within(line, limits) {
            Within::Whole => println!("          sent as it is"),
            Within::Cut(start, told) => println!("          {told}\n          sent: {}", shown(start)),
            Within::Dropped(told) => println!("          {told}"),
        },
        Some(report) if report.after.is_empty() => {}
        Some(report) => {
            for out in &report.after {
                let pairs = braces(out.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                sent("sent", &pairs, out.timestamp_ns, &out.line, limits, "          ");
            }
        }
    }
}

/// Only what changed.
fn what_it_did(report: &StepReport) -> String {
    let mut parts = match &report.fate {
        Fate::Passed => Vec::new(),
        Fate::NotMatched => vec!["not for this line".to_owned()],
        Fate::Entered => vec!["for this line".to_owned()],
        Fate::Dropped { reason } => vec![format!("dropped ({reason})")],
        Fate::Unread { reason } => vec![format!("cannot read it ({reason})")],
        Fate::Held => vec!["held back".to_owned()],
        Fate::Waits { until_ns } => vec![format!("the file would wait until {}", timestamp(*until_ns))],
    };
    if let Some(after) = report.after.first() {
        parts.extend(changes(&report.before, after));
    }
    if parts.is_empty() { "changed nothing".to_owned() } else { parts.join("; ") }
}

fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut parts = Vec::new();
    for (name, value) in after.labels.iter().filter(|pair| !before.labels.contains(pair)) {
        parts.push(format!("label {name}={value:?}"));
    }
    for (name, _) in before.labels.iter().filter(|(name, _)| after.labels.iter().all(|(kept, _)| kept != name)) {
        parts.push(format!("label {name} removed"));
    }
    for (name, value) in after.extracted.iter().filter(|pair| !before.extracted.contains(pair)) {
        parts.push(format!("extracted {name}={}", value.as_deref().map_or("null".to_owned(), |v| format!("{v:?}"))));
    }
    for (name, value) in after.structured_metadata.iter().filter(|pair| !before.structured_metadata.contains(pair)) {
        parts.push(format!("metadata {name}={value:?}"));
    }
    if before.timestamp_ns != after.timestamp_ns {
        parts.push(format!("time {}", timestamp(after.timestamp_ns)));
    }
    if before.line != after.line {
        parts.push(format!("line {:?}", after.line));
    }
    parts
}

fn timestamp(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |time| time.to_string())
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
