//! `scrape_configs[]` of an instance of logs: where lines come from and what is done to them.

use std::time::Duration;

use log_tail::Charset;
use stages::PipelineConfig;

use super::{
    super::{discovery, docker, relabel},
    check, sources, stages as pipeline,
};
use crate::{
    CompressionFormat, Decompression, LogJobPlan, LogSource,
    block::{Block, Shape},
};

pub(in crate::dialect) const SCRAPE: Shape = Shape {
    name: "logs.scrape_configs[]",
    keys: &[
        &[
            "job_name",
            "pipeline_stages",
            "relabel_configs",
            "encoding",
            "decompression",
            "static_configs",
            "file_sd_configs",
            "http_sd_configs",
            "kubernetes_sd_configs",
        ],
        sources::KEYS,
        NOT_SUPPORTED_KEYS,
        discovery::NOT_YET,
    ],
};

pub(in crate::dialect) const DECOMPRESSION: Shape =
    Shape { name: "decompression", keys: &[&["enabled", "initial_delay", "format"]] };

/// Sources that Promtail has and sigpost does not, with what to use instead.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("kafka", "have a Kafka consumer write files, and read those with static_configs and __path__"),
    ("gelf", "have Docker write json-file logs, and read those with __path__ and the stage `docker`"),
    ("heroku_drain", "have the drain write files, and read those with __path__"),
    ("gcplog", "export to files or to a bucket, and read those"),
    ("cloudflare", "let Logpush write to a bucket or to files, and read those"),
    ("azure_event_hubs", "have a consumer of the event hub write files, and read those with __path__"),
    ("windows_events", "sigpost runs on Linux; forward the events to files, and read those with __path__"),
];

const NOT_SUPPORTED_KEYS: &[&str] =
    &["kafka", "gelf", "heroku_drain", "gcplog", "cloudflare", "azure_event_hubs", "windows_events"];

/// Where jobs run.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    /// The first gives its labels and stages to the lines of standard input, the others nothing.
    pub stdin: bool,
    pub hostname: &'p str,
}

/// The jobs of one instance. Their names are unique in it.
pub(super) fn jobs(instance: &Block<'_>, place: Place<'_>) -> Vec<LogJobPlan> {
    let mut jobs: Vec<LogJobPlan> = Vec::new();
    for item in instance.items("scrape_configs") {
        if item.is_null() {
            instance.reader.error(&item, "this scrape config is empty", Some("remove the lone `-`"));
            continue;
        }
        let Some(block) = Block::open(instance.reader, SCRAPE, &item) else {
            continue;
        };
        let Some(job) = job(&block, place) else { continue };
        if !job.job_name.is_empty() && jobs.iter().any(|other| other.job_name == job.job_name) {
            let message = format!("two scrape configs have the job name `{}`", job.job_name);
            block.error_at("job_name", message, Some("job names are unique within one entry of logs.configs"));
        }
        jobs.push(job);
    }
    jobs
}

fn job(block: &Block<'_>, place: Place<'_>) -> Option<LogJobPlan> {
    let job_name = block.required("job_name", "job_name: varlogs").unwrap_or_default();
    let list = block.get("pipeline_stages");
    let before = block.reader.errors();
    let stages = list.as_ref().map(|list| pipeline::read(block.reader, list)).unwrap_or_default();
    let stages = PipelineConfig { stages };
    check::pipeline(block, &stages, &job_name, block.reader.errors() > before);
    let relabel = relabel::rules(block, "relabel_configs");
    let encoding = block.text("encoding").filter(|name| {
        let is_known = Charset::from_name(name).is_ok();
        if !is_known {
            let help = "an IANA name, such as utf-8, utf-16le, iso-8859-1, windows-1252, shift_jis or gbk";
            block.error_at("encoding", "`encoding`: no such encoding is known", Some(help));
        }
        is_known
    });
    let decompression = block.block("decompression", DECOMPRESSION).and_then(|b| decompression(&b));
    let source = source(block, &job_name, place)?;
    Some(LogJobPlan { job_name, source, relabel, stages, encoding, decompression })
}

/// `None`: there is nothing to read, which was said.
fn source(block: &Block<'_>, job: &str, place: Place<'_>) -> Option<LogSource> {
    for (key, instead) in NOT_SUPPORTED {
        if block.get(key).is_some() {
            block.error_at_key(key, format!("`{key}` is not supported by sigpost"), Some(instead));
        }
    }
    let discoveries =
        if place.stdin { discovery::read_for_stdin(block) } else { discovery::read_for_files(block, place.hostname) };
    let of_files = discovery::KEYS.iter().chain(discovery::NOT_YET).filter(|key| **key != docker::KEY);
    let by_files = place.stdin || of_files.into_iter().any(|key| block.get(key).is_some());
    let mut given = sources::given(block).into_iter();
    let first = if by_files { None } else { given.next() };
    for key in given {
        let read = first.map_or("files".to_owned(), |first| format!("`{first}`"));
        let message = format!("job `{job}` has {read} and `{key}`: `{key}` is not read, as in Grafana Agent");
        if let Some(field) = block.raw(key) {
            block.reader.warn(&field, message, Some("give each source a job of its own"));
        }
    }
    if let Some(key) = first {
        return sources::read(block, key);
    }
    let misspelt = || block.keys().any(|key| key != "job_name" && block.misspells(key));
    if !by_files && NOT_SUPPORTED_KEYS.iter().all(|key| block.get(key).is_none()) && !misspelt() {
        let message = format!("job `{job}` has no source of lines");
        block.error(message, Some("add static_configs with a label __path__, such as /var/log/*.log"));
    }
    by_files.then_some(LogSource::Files(discoveries))
}

fn decompression(block: &Block<'_>) -> Option<Decompression> {
    let initial_delay = block.duration("initial_delay").unwrap_or(Duration::ZERO);
    let formats = [
        ("gz", CompressionFormat::Gzip),
        ("z", CompressionFormat::Zlib),
        ("bz2", CompressionFormat::Bzip2),
        ("zst", CompressionFormat::Zstd),
    ];
    let format = block.choice("format", &formats);
    if block.flag("enabled") != Some(true) {
        return None;
    }
    if block.get("format").is_none() {
        block.error_at("format", "`format` is missing in `decompression`", Some("format: gz, z, bz2 or zst"));
    }
    Some(Decompression { initial_delay, format: format? })
}
