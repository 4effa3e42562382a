//! `scrape_configs[]` of an instance of logs: where lines come from and what is done to them.

use std::time::Duration;

use stages::PipelineConfig;

use super::{
    super::{discovery, relabel},
    check, stages as pipeline,
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
        ],
        NOT_READ_YET,
        NOT_SUPPORTED_KEYS,
        discovery::NOT_YET,
    ],
};

pub(in crate::dialect) const DECOMPRESSION: Shape =
    Shape { name: "decompression", keys: &[&["enabled", "initial_delay", "format"]] };

/// Sources that this version does not read; jobs with them wait for one that does.
const NOT_READ_YET: &[&str] =
    &["journal", "syslog", "loki_push_api", "s3", "cloudwatch_logs", "aws_api_gateway_access_logs"];

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

/// The jobs of one instance. Their names are unique in it.
pub(super) fn jobs(instance: &Block<'_>) -> Vec<LogJobPlan> {
    let mut jobs: Vec<LogJobPlan> = Vec::new();
    for item in instance.items("scrape_configs") {
        if item.is_null() {
            instance.reader.error(&item, "this scrape config is empty", Some("remove the lone `-`"));
            continue;
        }
        let Some(block) = Block::open(instance.reader, SCRAPE, &item) else {
            continue;
        };
        let Some(job) = job(&block) else { continue };
        if !job.job_name.is_empty() && jobs.iter().any(|other| other.job_name == job.job_name) {
            let message = format!("two scrape configs have the job name `{}`", job.job_name);
            block.error_at("job_name", message, Some("job names are unique within one entry of logs.configs"));
        }
        jobs.push(job);
    }
    jobs
}

fn job(block: &Block<'_>) -> Option<LogJobPlan> {
    let job_name = block.required("job_name", "job_name: varlogs").unwrap_or_default();
    let list = block.get("pipeline_stages");
    let stages = list.as_ref().map(|list| pipeline::read(block.reader, list)).unwrap_or_default();
    let stages = PipelineConfig { stages };
    check::pipeline(block, &stages, &job_name);
    let relabel = relabel::rules(block, "relabel_configs");
    let encoding = block.text("encoding");
    let decompression = block.block("decompression", DECOMPRESSION).and_then(|b| decompression(&b));
    let source = source(block, &job_name)?;
    if let Some(list) = block.raw("pipeline_stages").filter(|_| !stages.stages.is_empty()) {
        let message = format!(
            "this version of sigpost does not run pipeline_stages for files yet: job `{job_name}` collects nothing, since \
             its lines must not leave unchanged"
        );
        block.reader.warn(&list, message, Some("`sigpost dry-run` shows what the stages would do"));
    }
    Some(LogJobPlan { job_name, source, relabel, stages, encoding, decompression })
}

/// `None`: there is nothing to read in this version, which was said.
fn source(block: &Block<'_>, job: &str) -> Option<LogSource> {
    for (key, instead) in NOT_SUPPORTED {
        if block.get(key).is_some() {
            block.error_at_key(key, format!("`{key}` is not supported by sigpost"), Some(instead));
        }
    }
    let discoveries = discovery::read_for_files(block);
    let file_keys = ["static_configs", "file_sd_configs", "http_sd_configs"];
    let by_files = file_keys.iter().chain(discovery::NOT_YET).any(|key| block.get(key).is_some());
    let later: Vec<&str> = NOT_READ_YET.iter().copied().filter(|key| block.get(key).is_some()).collect();
    for key in &later {
        let message = if by_files {
            format!("job `{job}` has files and `{key}`: the files are read, as Grafana Agent does it")
        } else {
            format!("this version of sigpost does not read `{key}` yet: job `{job}` collects nothing")
        };
        if let Some(field) = block.raw(key) {
            block.reader.warn(&field, message, None);
        }
    }
    if !by_files && later.is_empty() && NOT_SUPPORTED_KEYS.iter().all(|key| block.get(key).is_none()) {
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
        block.error("`format` is missing in `decompression`", Some("format: gz, z, bz2 or zst"));
    }
    Some(Decompression { initial_delay, format: format? })
}
