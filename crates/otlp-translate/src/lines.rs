//! An export request of logs as lines.
//!
//! A stream's labels are few: `job` and `instance` of the resource, as for metrics, and `level`. Everything else of a record goes
//! with the line as structured metadata, so that nothing is lost and streams stay few.

use model::{Labels, LogBatch, ModelError};
use prost::Message;
use proto::{
    otlp_common::InstrumentationScope,
    otlp_logs::{ExportLogsServiceRequest, LogRecord},
};

use crate::{
    resource::{Source, labels},
    text::text_of,
};

/// Lines of a request that was checked, in batches that the queue takes. `now_ns` stands for times that are not said. An error
/// says what is not protobuf. The number is that of records that no batch can hold.
pub fn log_lines(request: &[u8], now_ns: i64) -> Result<(Vec<LogBatch>, u64), String> {
    let request = ExportLogsServiceRequest::decode(request).map_err(|error| error.to_string())?;
    let (mut batches, mut rejected) = (vec![LogBatch::new()], 0);
    for group in &request.resource_logs {
        let source = Source::new(group.resource.as_ref());
        let attributes = group.resource.as_ref().map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        let of_resource = prefixed("resource_", labels(attributes.iter()));
        for scope in &group.scope_logs {
            for record in &scope.log_records {
                let taken = put(&mut batches, &source, &of_resource, scope.scope.as_ref(), record, now_ns);
                rejected += u64::from(!taken);
            }
        }
    }
    batches.retain(|batch| !batch.is_empty());
    Ok((batches, rejected))
}

fn prefixed(prefix: &str, pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
}

fn put(
    batches: &mut Vec<LogBatch>,
    source: &Source,
    of_resource: &[(String, String)],
    scope: Option<&InstrumentationScope>,
    record: &LogRecord,
    now_ns: i64,
) -> bool {
    let level = level(record);
    let job = if source.job.is_empty() { "unknown_service" } else { &source.job };
    let stream: Labels = [("job", job), ("instance", &source.instance), ("level", level)].into_iter().collect();
    let time = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|time| *time > 0);
    let time = time.and_then(|time| i64::try_from(time).ok()).unwrap_or(now_ns);
    let line = text_of(record.body.as_ref());
    let mut metadata = labels(record.attributes.iter());
    let mut more = |name: &str, value: String| {
        if !value.is_empty() {
            metadata.push((name.to_owned(), value));
        }
    };
    more("trace_id", hex(&record.trace_id));
    more("span_id", hex(&record.span_id));
    more("severity_text", record.severity_text.clone());
    more("event_name", record.event_name.clone());
    if let Some(scope) = scope {
        more("scope_name", scope.name.clone());
        more("scope_version", scope.version.clone());
    }
    metadata.extend(of_resource.iter().cloned());
    let pairs: Vec<(&str, &str)> = metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for _ in 0..2 {
        let Some(batch) = batches.last_mut() else { return false };
        let pushed = batch.stream(&stream).and_then(|number| batch.push(number, time, line.as_bytes(), &pairs));
        match pushed {
            Err(ModelError::TableFull | ModelError::TooLarge { .. }) if !batch.is_empty() => {
                batches.push(LogBatch::new())
            }
            other => return other.is_ok(),
        }
    }
    false
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The word of the severity's range.
fn level(record: &LogRecord) -> &'static str {
    match record.severity_number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "",
    }
}
