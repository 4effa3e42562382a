//! Requests that ask a log destination whether it would take lines.
//!
//! It sends nothing and judges nothing. It keeps true: a probe goes where a stream of this destination goes, through the same
//! encoder and with the same headers; unless a write is asked for, no service keeps anything of it.
//!
//! What services say to a request that they keep nothing of: *Loki* refuses a push without streams once it knows who asks.
//! *OTLP* receivers take an export without records. *CloudWatch Logs* does all that it does for a line (permission, group,
//! stream) and then drops it for its age: a line of 1970 is answered 200 with `tooOldLogEventEndIndex` ("PutLogEvents", API
//! reference). *Kinesis* has `DryRun` ("Test your permissions and request inputs with dry run", developer guide), which is
//! asked of AWS alone: who does not know the word would store the record. *Firehose* has nothing of the kind: it is sent no
//! records, and asked about the stream.

use bytes::Bytes;
use model::{Labels, LogBatch, LogBatchView, LogEntries};
use url::Url;

use super::{
    CloudWatchConfig, LogProtocol, Template,
    head::{Address, Head, Heads},
    sheaf::Row,
    wire::{Letter, Limits, Wire},
};
use crate::{
    DestinationConfig,
    probe::{LogPlace, Probe, ProbeKind},
    protocol::{cloudwatch::CloudWatch, send_address},
};

/// What stands for labels that nobody knows before there are lines.
const LABEL: &str = "sigpost_doctor_probe";
/// The line that a write stores.
const LINE: &str = "sigpost doctor probe";
/// A day after the epoch: older than anything that CloudWatch keeps.
const OLD_MS: i64 = 86_400_000;

/// The probe of a log destination that is no bucket, at `now_ms`; `write`: one line is really sent.
pub(crate) fn probe(
    config: &DestinationConfig,
    protocol: &LogProtocol,
    wire: &Wire,
    now_ms: i64,
    write: bool,
) -> Result<Probe, http::Error> {
    let labels = labels(config, protocol);
    let asked = |request, what: String, kind| Probe { request, what, kind, next: None };
    if write {
        let (address, letter) = line(config, wire, &labels, now_ms, now_ms);
        let request = wire.request(&address, &letter, None)?;
        let where_to = log_place(config, protocol);
        let mut line = asked(request, format!("one line{}", place(&address)), ProbeKind::Line(where_to.clone()));
        if let Some(founder) = wire.founder().filter(|_| where_to.creates) {
            // What the agent does where group or stream are missing, in its order, and the line once more.
            let mut then = line.clone();
            let retention = founder.retention_body(&address).map(|body| ("PutRetentionPolicy", body));
            let steps = [
                Some(("CreateLogStream", founder.stream_body(&address))),
                retention,
                Some(("CreateLogGroup", founder.group_body(&address))),
            ];
            for (operation, body) in steps.into_iter().flatten() {
                let request = founder.request(operation, body.into())?;
                let what = format!("{operation}{}", place(&address));
                then = Probe { request, what, kind: ProbeKind::Make, next: Some(Box::new(then)) };
            }
            line.next = Some(Box::new(then));
        }
        return Ok(line);
    }
    match protocol {
        LogProtocol::Loki(_) => Ok(asked(wire.probe()?, "push without streams".to_owned(), ProbeKind::EmptyPush)),
        LogProtocol::CloudWatch(_) => old_line(config, protocol, wire, &labels, now_ms),
        LogProtocol::Kinesis(_) if is_aws_alone(config) => {
            let (address, mut letter) = line(config, wire, &labels, now_ms, now_ms);
            letter.body = with_dry_run(&letter.body);
            let request = wire.request(&address, &letter, None)?;
            Ok(asked(request, "PutRecords of one record as a dry run".to_owned(), ProbeKind::DryRun))
        }
        LogProtocol::Kinesis(_) => {
            Ok(asked(wire.probe()?, "PutRecords without records".to_owned(), ProbeKind::EmptyBatch))
        }
        LogProtocol::Firehose(firehose) => {
            let mut probe = asked(wire.probe()?, "PutRecordBatch without records".to_owned(), ProbeKind::EmptyBatch);
            let body = serde_json::json!({ "DeliveryStreamName": firehose.delivery_stream }).to_string();
            let mut request = probe.request.clone();
            *request.body_mut() = body.into();
            let operation = http::HeaderValue::from_static("Firehose_20150804.DescribeDeliveryStream");
            request.headers_mut().insert("x-amz-target", operation);
            probe.next = Some(Box::new(asked(request, "DescribeDeliveryStream".to_owned(), ProbeKind::Describe)));
            Ok(probe)
        }
        LogProtocol::Otlp(otlp) => {
            let none = Letter { lines: 0, ..wire.encode(&[]) };
            let address = wire.address(&labels, now_ms);
            let request = wire.request(&address, &none, None)?;
            let mut probe = asked(request, "export without records".to_owned(), ProbeKind::EmptyExport);
            if let (Some(log_group), Some(log_stream)) = (otlp.log_group.clone(), otlp.log_stream.clone()) {
                // The same permission, group and stream, asked about at the same host by the other API.
                let as_api = CloudWatchConfig {
                    log_group,
                    log_stream,
                    create: otlp.create,
                    retention_days: otlp.retention_days,
                    gzip: false,
                };
                let wire = Wire::CloudWatch(CloudWatch::new(root(config), as_api.clone(), NO_LIMITS));
                let next = old_line(config, &LogProtocol::CloudWatch(as_api), &wire, &labels, now_ms)?;
                probe.next = Some(Box::new(next));
            }
            Ok(probe)
        }
        LogProtocol::Objects(_) => Ok(asked(wire.probe()?, "PUT of an object".to_owned(), ProbeKind::Object)),
    }
}

const NO_LIMITS: Limits = Limits { lines: usize::MAX, bytes: usize::MAX };

fn old_line(
    config: &DestinationConfig,
    protocol: &LogProtocol,
    wire: &Wire,
    labels: &Labels,
    now_ms: i64,
) -> Result<Probe, http::Error> {
    let where_to = log_place(config, protocol);
    let (address, letter) = line(config, wire, labels, OLD_MS, now_ms);
    let request = wire.request(&address, &letter, None)?;
    let what = format!("PutLogEvents of a line of 1970{}", place(&address));
    let next = match wire.founder().filter(|_| where_to.creates) {
        Some(founder) => {
            let request = founder.request("CreateLogStream", founder.stream_body(&address).into())?;
            let what = format!("CreateLogStream{}", place(&address));
            Some(Box::new(Probe { request, what, kind: ProbeKind::Stream(where_to.clone()), next: None }))
        }
        None => None,
    };
    Ok(Probe { request, what, kind: ProbeKind::OldLine(where_to), next })
}

fn place(address: &Address) -> String {
    match (address.first.as_str(), address.second.as_str()) {
        ("", _) => String::new(),
        (first, "") => format!(" for {first}"),
        (group, stream) => format!(" to {group}, stream {stream}"),
    }
}

/// External labels, and stand-ins for those that names are made of.
fn labels(config: &DestinationConfig, protocol: &LogProtocol) -> Labels {
    let mut labels = config.external_labels.clone();
    let mut wanted: Vec<&str> = vec!["job"];
    wanted.extend(templates(protocol).into_iter().flat_map(Template::labels));
    for name in wanted {
        if labels.get(name).is_none() {
            labels.set(name, LABEL);
        }
    }
    labels
}

fn templates(protocol: &LogProtocol) -> Vec<&Template> {
    match protocol {
        LogProtocol::CloudWatch(config) => vec![&config.log_group, &config.log_stream],
        LogProtocol::Otlp(config) => [&config.log_group, &config.log_stream].into_iter().flatten().collect(),
        LogProtocol::Kinesis(config) => config.partition_key.iter().collect(),
        LogProtocol::Loki(_) | LogProtocol::Firehose(_) | LogProtocol::Objects(_) => Vec::new(),
    }
}

fn log_place(config: &DestinationConfig, protocol: &LogProtocol) -> LogPlace {
    let (creates, group) = match protocol {
        LogProtocol::CloudWatch(of) => (of.create, Some(&of.log_group)),
        LogProtocol::Otlp(of) => (of.create && of.log_group.is_some(), of.log_group.as_ref()),
        _ => (false, None),
    };
    let known = |name: &str| config.external_labels.get(name).is_some();
    let is_exact = templates(protocol).into_iter().flat_map(Template::labels).all(known);
    let group_is_exact = group.is_some_and(|group| group.labels().all(known));
    // `{label}` and `{year}` alike: whatever comes there.
    let pattern = group.map(|group| if group_is_exact { String::new() } else { starred(group.text()) });
    LogPlace { creates, is_exact, group_is_exact, group_pattern: pattern.filter(|pattern| !pattern.is_empty()) }
}

/// The text with `*` for everything in braces.
fn starred(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('*');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}

/// The body of one line of this time, made as any other, and where it goes.
fn line(config: &DestinationConfig, wire: &Wire, labels: &Labels, line_ms: i64, now_ms: i64) -> (Address, Letter) {
    let nothing = || (wire.address(labels, now_ms), wire.encode(&[]));
    let mut batch = LogBatch::new();
    let mut payload = Vec::new();
    let pushed = batch
        .stream(labels)
        .ok()
        .and_then(|stream| batch.push(stream, line_ms.saturating_mul(1_000_000), LINE.as_bytes(), &[]).ok())
        .and_then(|_| batch.encode(&mut payload).ok());
    let (Some(_), Ok(view)) = (pushed, LogBatchView::decode(&payload)) else { return nothing() };
    let heads = Heads::new(config.external_labels.clone(), Vec::new());
    let mut raw = Vec::new();
    let Some(stream) = view.streams.first() else { return nothing() };
    if stream.unpack(&mut raw).is_err() {
        return nothing();
    }
    let head: std::sync::Arc<Head> = heads.of(wire, &stream.labels, now_ms);
    let rows: Vec<Row<'_>> = LogEntries::new(&raw)
        .filter_map(Result::ok)
        .map(|entry| Row { lot: 0, head: &head, entry, items: 1 })
        .collect();
    (Address::clone(&head.address), wire.encode(&rows))
}

/// `DryRun` as the last member of the body's object.
fn with_dry_run(body: &Bytes) -> Bytes {
    match body.strip_suffix(b"}") {
        Some(open) => [open, b",\"DryRun\":true}".as_slice()].concat().into(),
        None => body.clone(),
    }
}

/// Requests go to AWS and to nobody who plays it.
fn is_aws_alone(config: &DestinationConfig) -> bool {
    let is_aws = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|suffix| host.ends_with(suffix))
    };
    is_aws(&config.url) && config.endpoint_url.as_ref().is_none_or(is_aws)
}

fn root(config: &DestinationConfig) -> Url {
    let mut root = send_address(&config.url, config.endpoint_url.as_ref());
    root.set_path("/");
    root.set_query(None);
    root
}

#[cfg(test)]
mod tests;
