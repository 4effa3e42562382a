//! OTLP logs over HTTP: POST of a protobuf `ExportLogsServiceRequest` (OTLP specification 1.x).
//!
//! A stream's labels are its resource's attributes, structured metadata those of the record, the line its body. AWS' own
//! endpoint wants the log group and stream in headers, and takes 1 MiB and 10,000 records in a request.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use model::Labels;
use url::Url;

use super::{
    cloudwatch::{Founder, GZIP_LEVEL, group_name, gzip, missing, stream_name},
    message::{Fields, put_len_field, put_varint, varint_len},
};
use crate::{
    logs::{
        OtlpLogsConfig, Template,
        head::Address,
        sheaf::Row,
        wire::{Letter, Limits, LogVerdict},
    },
    verdict::{Loss, Verdict, described, error_code, judge_common},
};

const AWS_BYTES: usize = 1_048_576;
const RECORDS: usize = 10_000;
/// What AWS counts for a record beside its bytes.
const RECORD_OVERHEAD: usize = 26;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct OtlpLogs {
    address: Url,
    config: OtlpLogsConfig,
    limits: Limits,
    founder: Option<Founder>,
}

impl OtlpLogs {
    /// `url` is the address that is signed for.
    pub(crate) fn new(address: Url, url: &Url, config: OtlpLogsConfig, mut limits: Limits) -> Self {
        let host = url.host_str().unwrap_or_default();
        let is_aws = host.contains(".amazonaws.com") || host.ends_with(".api.aws");
        limits.lines = limits.lines.min(RECORDS);
        if is_aws {
            limits.bytes = limits.bytes.min(AWS_BYTES);
        }
        let named = config.log_group.is_some() && config.log_stream.is_some();
        let founder = (config.create && named).then(|| {
            // Groups and streams are made at the same host, by the other API.
            let mut root = address.clone();
            root.set_path("/");
            root.set_query(None);
            Founder::new(&root, config.retention_days)
        });
        Self { address, config, limits, founder }
    }

    pub(crate) fn is_dated(&self) -> bool {
        [&self.config.log_group, &self.config.log_stream].into_iter().flatten().any(Template::is_dated)
    }

    pub(crate) fn founder(&self) -> Option<&Founder> {
        self.founder.as_ref()
    }

    pub(crate) fn address(&self, labels: &Labels, at_ms: i64) -> Address {
        let fill = |template: &Option<Template>| Some(template.as_ref()?.fill(labels, at_ms, str::to_owned));
        // Headers are ASCII, and blanks at their ends are no part of them.
        let ascii = |text: String| {
            let text = text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '_' });
            text.collect::<String>().trim().to_owned()
        };
        Address {
            first: fill(&self.config.log_group).map(|text| group_name(&text)).unwrap_or_default(),
            second: fill(&self.config.log_stream).map(|text| stream_name(&ascii(text))).unwrap_or_default(),
        }
    }

    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let mut message = Vec::new();
        let (mut records, mut record) = (Vec::new(), Vec::new());
        let mut lines = 0;
        for run in rows.chunk_by(|a, b| std::ptr::eq(a.head, b.head)) {
            let Some(head) = run.first().map(|row| row.head) else { continue };
            records.clear();
            let mut full = false;
            for row in run {
                put_record(&mut record, row);
                let weight = message.len()
                    + head.labels.len()
                    + records.len()
                    + record.len()
                    + 48
                    + RECORD_OVERHEAD * (lines + 1);
                full = lines > 0 && (lines >= self.limits.lines || weight > self.limits.bytes);
                if full {
                    break;
                }
                put_len_field(&mut records, 0x12, &record);
                lines += 1;
            }
            if !records.is_empty() {
                // ResourceLogs { resource 1, scope_logs 2 { log_records 2 } }
                let field = |bytes: usize| 1 + varint_len(bytes as u64) + bytes;
                let length = field(head.labels.len()) + field(records.len());
                message.push(0x0a);
                put_varint(length as u64, &mut message);
                put_len_field(&mut message, 0x0a, &head.labels);
                put_len_field(&mut message, 0x12, &records);
            }
            if full {
                break;
            }
        }
        let body = if self.config.gzip { gzip(&message, GZIP_LEVEL) } else { message };
        Letter { body: body.into(), lines }
    }

    pub(crate) fn request(&self, address: &Address, letter: &Letter) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::post(self.address.as_str()).header(header::CONTENT_TYPE, "application/x-protobuf");
        if self.config.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        for (name, value) in [("x-aws-log-group", &address.first), ("x-aws-log-stream", &address.second)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        request.body(letter.body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        let code = error_code(status, headers, body);
        if code.as_deref() == Some("ResourceNotFoundException") {
            return missing(body);
        }
        match judge_common(status, headers, body, true) {
            Some(Verdict::Accepted) => taken(body, lines),
            Some(verdict) => verdict.into(),
            None => {
                let message = described(&code.unwrap_or_else(|| status.as_u16().to_string()), body);
                if message.to_lowercase().contains("too large") {
                    return Verdict::TooLarge { message }.into();
                }
                Verdict::Refused { loss: Loss::BadRequest, message, isolate: true }.into()
            }
        }
    }
}

/// `ExportLogsServiceResponse { partial_success 1 { rejected_log_records 1, error_message 2 } }`.
pub(super) fn taken(body: &[u8], lines: usize) -> LogVerdict {
    let partial = Fields::new(body).find_map(|(number, field)| (number == 1).then(|| field.bytes()).flatten());
    let (mut rejected, mut message) = (0, String::new());
    for (number, field) in Fields::new(partial.unwrap_or_default()) {
        match number {
            1 => rejected = field.number().unwrap_or(0),
            2 => message = crate::verdict::message_of(field.bytes().unwrap_or_default()),
            _ => {}
        }
    }
    // A negative number is none that a receiver may send.
    let rejected = rejected.min(lines as u64);
    if rejected == 0 {
        return Verdict::Accepted.into();
    }
    let written = Some(lines as u64 - rejected);
    Verdict::Partial { written, loss: Loss::BadRequest, message: format!("partial success: {message}") }.into()
}

/// `Resource { attributes 1 }`.
pub(crate) fn resource(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels.iter() {
        put_attribute(&mut out, 0x0a, name, value);
    }
    out
}

/// `KeyValue { key 1, value 2 { string_value 1 } }` as a field with this tag.
fn put_attribute(out: &mut Vec<u8>, tag: u8, name: &str, value: &str) {
    let field = |bytes: usize| 1 + varint_len(bytes as u64) + bytes;
    out.push(tag);
    put_varint((field(name.len()) + field(field(value.len()))) as u64, out);
    put_len_field(out, 0x0a, name.as_bytes());
    put_text_value(out, 0x12, value);
}

/// `AnyValue { string_value 1 }` as a field with this tag.
fn put_text_value(out: &mut Vec<u8>, tag: u8, value: &str) {
    out.push(tag);
    put_varint((1 + varint_len(value.len() as u64) + value.len()) as u64, out);
    put_len_field(out, 0x0a, value.as_bytes());
}

/// `LogRecord { time_unix_nano 1, body 5, attributes 6, observed_time_unix_nano 11 }`.
fn put_record(out: &mut Vec<u8>, row: &Row<'_>) {
    out.clear();
    let at = row.entry.timestamp_ns.max(0).cast_unsigned().to_le_bytes();
    out.push(0x09);
    out.extend_from_slice(&at);
    put_text_value(out, 0x2a, row.entry.line);
    for (name, value) in row.entry.metadata() {
        put_attribute(out, 0x32, name, value);
    }
    out.push(0x59);
    out.extend_from_slice(&at);
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::otlp_logs::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse};

    use super::*;
    use crate::logs::{fixture::with_rows, wire::Wire};

    fn wire(url: &str, gzip: bool) -> Wire {
        let url = Url::parse(url).unwrap();
        let template = |text| Some(Template::parse(text, "h").unwrap());
        let config = OtlpLogsConfig {
            log_group: template("/g/{job}"),
            log_stream: template("s-ü"),
            create: true,
            retention_days: None,
            gzip,
        };
        let limits = Limits { lines: usize::MAX, bytes: usize::MAX };
        Wire::Otlp(OtlpLogs::new(url.clone(), &url, config, limits))
    }

    const AWS: &str = "https://logs.us-east-1.amazonaws.com/v1/logs";

    #[test]
    fn labels_are_resources_and_lines_are_records() {
        let lines = [
            (&[("job", "a")][..], 1_700_000_000_000_000_001, "one", &[("trace_id", "t")][..]),
            (&[("job", "b")][..], -1, "two", &[][..]),
            (&[("job", "a")][..], 3, "three", &[][..]),
        ];
        let wire = wire(AWS, false);
        let letter = with_rows(&wire, &lines, |rows| wire.encode(rows));
        let message = ExportLogsServiceRequest::decode(letter.body.clone()).unwrap();
        assert_eq!((letter.lines, message.resource_logs.len()), (3, 2));
        let first = &message.resource_logs[0];
        let attribute = &first.resource.as_ref().unwrap().attributes[0];
        assert_eq!((attribute.key.as_str(), attribute.value.clone().unwrap()), ("job", "a".into()));
        let records = &first.scope_logs[0].log_records;
        assert_eq!(records[0].time_unix_nano, 1_700_000_000_000_000_001);
        assert_eq!(records[0].body.clone().unwrap(), "one".into());
        assert_eq!(records[0].attributes[0].key, "trace_id");
        assert_eq!(records[1].body.clone().unwrap(), "three".into());
        assert_eq!(message.resource_logs[1].scope_logs[0].log_records[0].time_unix_nano, 0);
        let labels: Labels = [("job", "a")].into_iter().collect();
        let request = wire.request(&wire.address(&labels, 0), &letter, None).unwrap();
        assert_eq!(request.headers()["x-aws-log-group"], "/g/a");
        assert_eq!(request.headers()["x-aws-log-stream"], "s-_");
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        assert_eq!(request.uri(), AWS);
        let long = "ü ".repeat(600);
        for (stream, expected) in
            [(" a\n:b\t", "a__b_"), (" ", "default"), ("\u{7f}\u{85}", "__"), (long.as_str(), "_ _")]
        {
            let url = Url::parse(AWS).unwrap();
            let log_stream = Some(Template::parse("{s}", "h").unwrap());
            let (log_group, create, gzip) = (Some(Template::parse("{s}", "h").unwrap()), true, false);
            let config = OtlpLogsConfig { log_group, log_stream, create, retention_days: None, gzip };
            let limits = Limits { lines: usize::MAX, bytes: usize::MAX };
            let wire = OtlpLogs::new(url.clone(), &url, config, limits);
            let labels: Labels = [("s", stream)].into_iter().collect();
            let request = wire.request(&wire.address(&labels, 0), &letter).unwrap();
            let found = request.headers()["x-aws-log-stream"].to_str().unwrap();
            assert!(found.starts_with(expected) && found.len() <= 512, "{found}");
        }
    }

    #[test]
    fn aws_gets_a_mebibyte_at_most_and_others_what_is_configured() {
        let text = "z".repeat(100_000);
        let lines: Vec<_> = (0..20).map(|n| (&[("job", "a")][..], n, text.as_str(), &[][..])).collect();
        for (url, expected) in [(AWS, 10), ("http://collector:4318/v1/logs", 20)] {
            let wire = wire(url, false);
            let letter = with_rows(&wire, &lines, |rows| wire.encode(rows));
            assert_eq!(letter.lines, expected);
            assert!(expected == 20 || letter.body.len() + 26 * letter.lines <= 1_048_576);
        }
    }

    #[test]
    fn partial_success_says_how_many_are_lost() {
        let wire = wire(AWS, true);
        let judge =
            |status: u16, body: &[u8]| wire.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body, 10);
        let answer = |rejected| {
            let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "too old".into() };
            ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!(judge(200, b""), Verdict::Accepted.into());
        assert_eq!(judge(200, &answer(0)), Verdict::Accepted.into());
        assert!(
            matches!(judge(200, &answer(3)), LogVerdict::Whole(Verdict::Partial { written: Some(7), message, .. }) if message.contains("too old"))
        );
        assert!(matches!(judge(200, &answer(99)), LogVerdict::Whole(Verdict::Partial { written: Some(0), .. })));
        assert!(matches!(judge(200, &[0x0a, 0xff, 0xff]), LogVerdict::Whole(Verdict::Accepted)));
        assert!(matches!(judge(400, b"bad"), LogVerdict::Whole(Verdict::Refused { isolate: true, .. })));
        assert!(matches!(judge(503, b""), LogVerdict::Whole(Verdict::Retry { .. })));
        let missing = br#"{"__type":"ResourceNotFoundException","message":"The specified log stream does not exist."}"#;
        assert!(matches!(judge(400, missing), LogVerdict::Missing { group: false, .. }));
        let Wire::Otlp(otlp) = &wire else { unreachable!() };
        let request = otlp.founder().unwrap().request("CreateLogStream", Bytes::new()).unwrap();
        assert_eq!(request.uri(), "https://logs.us-east-1.amazonaws.com/");
    }
}
