//! CloudWatch Logs: `PutLogEvents`, JSON 1.1 (API reference `Logs_20140328`).
//!
//! Keeps true: within a request events are in order of time, span less than 24 hours, number at most 10,000 and weigh at
//! most 1 MiB as the service counts (UTF-8 bytes and 26 for each), since it refuses the whole of a request otherwise. An
//! empty line becomes a space, since the service takes none; one over 1 MiB has to be parted before.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, StatusCode, header};
use model::Labels;
use serde::Deserialize;
use url::Url;

use crate::{
    logs::{
        CloudWatchConfig,
        head::Address,
        sheaf::Row,
        shortened,
        text::{put_escaped, put_json_string, put_number},
        wire::{Letter, Limits, LogVerdict},
    },
    verdict::{Loss, Verdict, described, error_code, is_page, judge_common},
};

/// Bytes of a request, each event counted with [`EVENT_OVERHEAD`].
const REQUEST_BYTES: usize = 1_048_576;
const REQUEST_EVENTS: usize = 10_000;
const EVENT_OVERHEAD: usize = 26;
/// Raised from 256 KiB in 2025.
pub(crate) const EVENT_BYTES: usize = REQUEST_BYTES - EVENT_OVERHEAD;
/// One less than 24 hours.
const SPAN_MS: i64 = 86_400_000 - 1;
/// The service stores what it unpacks, so the only gain is the way there: the quickest level.
pub(super) const GZIP_LEVEL: u32 = 1;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct CloudWatch {
    address: Url,
    config: CloudWatchConfig,
    limits: Limits,
    founder: Option<Founder>,
}

impl CloudWatch {
    pub(crate) fn new(address: Url, config: CloudWatchConfig, limits: Limits) -> Self {
        let founder = config.create.then(|| Founder::new(&address, config.retention_days));
        Self { address, config, limits, founder }
    }

    pub(crate) fn is_dated(&self) -> bool {
        self.config.log_group.is_dated() || self.config.log_stream.is_dated()
    }

    pub(crate) fn address(&self, labels: &Labels, at_ms: i64) -> Address {
        Address {
            first: group_name(&self.config.log_group.fill(labels, at_ms, str::to_owned)),
            second: stream_name(&self.config.log_stream.fill(labels, at_ms, str::to_owned)),
        }
    }

    pub(crate) fn founder(&self) -> Option<&Founder> {
        self.founder.as_ref()
    }

    /// `rows` are in order of time.
    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        let most = REQUEST_BYTES.min(self.limits.bytes);
        let mut out =
            Vec::with_capacity(most.min(rows.iter().map(|row| row.entry.line.len() + 64).sum::<usize>()) + 256);
        out.extend_from_slice(b"{\"logGroupName\":");
        let address = rows.first().map(|row| &row.head.address);
        put_json_string(&mut out, address.map_or("", |address| &address.first));
        out.extend_from_slice(b",\"logStreamName\":");
        put_json_string(&mut out, address.map_or("", |address| &address.second));
        out.extend_from_slice(b",\"logEvents\":[");
        let (mut lines, mut bytes) = (0, 0);
        let first_ms = rows.first().map_or(0, |row| row.entry.timestamp_ns.div_euclid(1_000_000));
        for row in rows {
            let at_ms = row.entry.timestamp_ns.div_euclid(1_000_000);
            let line = row.entry.line;
            let weight = line.len().max(1) + EVENT_OVERHEAD;
            let full = lines >= REQUEST_EVENTS.min(self.limits.lines)
                || bytes + weight > most
                || at_ms.saturating_sub(first_ms) > SPAN_MS;
            if full && lines > 0 {
                break;
            }
            out.extend_from_slice(if lines == 0 { b"{\"timestamp\":" } else { b",{\"timestamp\":" });
            put_number(&mut out, at_ms.max(0).cast_unsigned());
            out.extend_from_slice(b",\"message\":\"");
            if line.is_empty() {
                out.push(b' ');
            } else {
                put_escaped(&mut out, line);
            }
            out.extend_from_slice(b"\"}");
            lines += 1;
            bytes += weight;
        }
        out.extend_from_slice(b"]}");
        let body = if self.config.gzip { gzip(&out, GZIP_LEVEL) } else { out };
        Letter { body: body.into(), lines }
    }

    pub(crate) fn request(&self, letter: &Letter) -> Result<Request<Bytes>, http::Error> {
        let mut request = post(&self.address, "PutLogEvents");
        if self.config.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        request.body(letter.body.clone())
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        let code = error_code(status, headers, body);
        match code.as_deref() {
            Some("ResourceNotFoundException") => return missing(body),
            // Of the days of sequence tokens; emulators still say it.
            Some("DataAlreadyAcceptedException" | "InvalidSequenceTokenException") => {
                return Verdict::Accepted.into();
            }
            Some("OperationAbortedException") => {
                return Verdict::Retry { after: None, pressure: false, why: described("400", body) }.into();
            }
            _ => {}
        }
        match judge_common(status, headers, body, true) {
            Some(Verdict::Accepted) => taken(body, lines),
            Some(verdict) => verdict.into(),
            None => {
                let what = code.unwrap_or_else(|| status.as_u16().to_string());
                let message = described(&what, body);
                if message.to_lowercase().contains("too large") {
                    return Verdict::TooLarge { message }.into();
                }
                Verdict::Refused { loss: Loss::BadRequest, message, isolate: true }.into()
            }
        }
    }
}

/// The log group or stream of a request is not there.
pub(super) fn missing(body: &[u8]) -> LogVerdict {
    let why = described("ResourceNotFoundException", body);
    let group = !why.to_lowercase().contains("log stream");
    LogVerdict::Missing { group, why: format!("{why}; make the log group and stream, or set create: true") }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Taken {
    rejected_log_events_info: Option<Rejected>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rejected {
    /// From this one on.
    too_new_log_event_start_index: Option<i64>,
    /// Up to but without this one.
    too_old_log_event_end_index: Option<i64>,
    expired_log_event_end_index: Option<i64>,
}

/// A 200 may say that events at either end were too old or too new.
fn taken(body: &[u8], lines: usize) -> LogVerdict {
    let rejected = serde_json::from_slice::<Taken>(body).ok().and_then(|taken| taken.rejected_log_events_info);
    let Some(rejected) = rejected else { return Verdict::Accepted.into() };
    let place = |index: Option<i64>| index.and_then(|index| usize::try_from(index).ok()).map(|index| index.min(lines));
    let old = place(rejected.too_old_log_event_end_index).unwrap_or(0);
    let expired = place(rejected.expired_log_event_end_index).unwrap_or(0).max(old);
    let new = place(rejected.too_new_log_event_start_index).unwrap_or(lines).max(expired);
    let parts = [(0..old, Loss::TooOld), (old..expired, Loss::Retention), (new..lines, Loss::TooNew)];
    let lost: Vec<_> = parts.into_iter().filter(|(range, _)| !range.is_empty()).collect();
    if lost.is_empty() {
        return Verdict::Accepted.into();
    }
    let message = "the service does not keep events of more than 14 days or the group's retention ago, or of more than two \
                   hours ahead";
    LogVerdict::Each { lost, again: Vec::new(), message: message.to_owned() }
}

/// The longest name of a log group or stream, in characters; of those outside the basic plane each counts as two.
const NAME: usize = 512;

/// 1 to 512 of `[.\-_/#A-Za-z0-9]`, and not beginning with `aws/` in any case of its letters, which are AWS's own
/// (`CreateLogGroup`).
pub(super) fn group_name(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || ".-_/#".contains(c) { c } else { '_' };
    let mut name: String = text.chars().map(keep).collect();
    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws/")) {
        name.replace_range(3..4, "_");
    }
    if name.is_empty() { "sigpost".to_owned() } else { shortened(name, NAME, char::len_utf16) }
}

/// 1 to 512 characters but `:` and `*` (`CreateLogStream`).
pub(super) fn stream_name(text: &str) -> String {
    let keep = |c: char| if c.is_control() || ":*".contains(c) { '_' } else { c };
    let name: String = text.chars().map(keep).collect();
    if name.is_empty() { "default".to_owned() } else { shortened(name, NAME, char::len_utf16) }
}

pub(super) fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 6 + 64), Compression::new(level));
    // Writing into memory does not fail.
    let written = encoder.write_all(bytes);
    debug_assert!(written.is_ok());
    encoder.finish().unwrap_or_default()
}

fn post(address: &Url, operation: &str) -> http::request::Builder {
    Request::post(address.as_str())
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Logs_20140328.{operation}"))
}

/// Makes log groups and streams.
#[derive(Debug)]
pub(crate) struct Founder {
    address: Url,
    retention_days: Option<u32>,
}

/// What became of something that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    Now,
    /// It was there.
    Before,
    /// A stream whose group is not there.
    NoGroup,
}

impl Founder {
    /// `address` is that of any request to the same service.
    pub(super) fn new(address: &Url, retention_days: Option<u32>) -> Self {
        Self { address: address.clone(), retention_days }
    }

    pub(crate) fn group_body(&self, address: &Address) -> Vec<u8> {
        let mut out = b"{\"logGroupName\":".to_vec();
        put_json_string(&mut out, &address.first);
        out.push(b'}');
        out
    }

    pub(crate) fn stream_body(&self, address: &Address) -> Vec<u8> {
        let mut out = self.group_body(address);
        out.pop();
        out.extend_from_slice(b",\"logStreamName\":");
        put_json_string(&mut out, &address.second);
        out.push(b'}');
        out
    }

    pub(crate) fn retention_body(&self, address: &Address) -> Option<Vec<u8>> {
        let days = self.retention_days?;
        let mut out = self.group_body(address);
        out.pop();
        out.extend_from_slice(b",\"retentionInDays\":");
        put_number(&mut out, u64::from(days));
        out.push(b'}');
        Some(out)
    }

    pub(crate) fn request(&self, operation: &str, body: Bytes) -> Result<Request<Bytes>, http::Error> {
        post(&self.address, operation).body(body)
    }

    pub(crate) fn judge(
        &self,
        operation: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Made, Verdict> {
        if status.is_success() && !is_page(headers, body) {
            return Ok(Made::Now);
        }
        let code = error_code(status, headers, body).unwrap_or_else(|| status.as_u16().to_string());
        let why = format!("{operation}: {}", described(&code, body));
        match code.as_str() {
            "ResourceAlreadyExistsException" => Ok(Made::Before),
            "ResourceNotFoundException" if operation == "CreateLogStream" => Ok(Made::NoGroup),
            "OperationAbortedException" => Err(Verdict::Retry { after: None, pressure: false, why }),
            "LimitExceededException" => Err(Verdict::Hold { why: format!("{why}; ask for a higher quota") }),
            _ => match judge_common(status, headers, body, true) {
                Some(verdict @ (Verdict::Retry { .. } | Verdict::Unready { .. })) => Err(verdict),
                _ => Err(Verdict::Hold {
                    why: format!("{why}; check log_group, log_stream and what this identity may do"),
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Template, fixture::with_rows, wire::Wire};

    const MS: i64 = 1_000_000;

    fn wire(gzip: bool) -> Wire {
        let template = |text| Template::parse(text, "host-1").unwrap();
        let config = CloudWatchConfig {
            log_group: template("/sigpost/{job}"),
            log_stream: template("{hostname}{filename}"),
            create: true,
            retention_days: Some(7),
            gzip,
        };
        let limits = Limits { lines: usize::MAX, bytes: usize::MAX };
        Wire::CloudWatch(CloudWatch::new(Url::parse("https://logs.eu-west-1.amazonaws.com/").unwrap(), config, limits))
    }

    fn encode(lines: &[(i64, &str)]) -> (Letter, serde_json::Value) {
        let wire = wire(false);
        let labels = [("job", "a b"), ("filename", "/var/log/x:1")];
        let lines: Vec<_> = lines.iter().map(|(at, text)| (&labels[..], *at, *text, &[][..])).collect();
        let letter = with_rows(&wire, &lines, |rows| wire.encode(rows));
        let body = serde_json::from_slice(&letter.body).unwrap();
        (letter, body)
    }

    #[test]
    fn a_body_is_what_the_api_asks_for() {
        let (letter, _) = encode(&[(1_700_000_000_123_999_999, "on\"e"), (1_700_000_000_124 * MS, "")]);
        assert_eq!(
            std::str::from_utf8(&letter.body).unwrap(),
            "{\"logGroupName\":\"/sigpost/a_b\",\"logStreamName\":\"host-1/var/log/x_1\",\"logEvents\":[\
             {\"timestamp\":1700000000123,\"message\":\"on\\\"e\"},{\"timestamp\":1700000000124,\"message\":\" \"}]}"
        );
        let wire = wire(true);
        let request = wire.request(&Address::default(), &letter, None).unwrap();
        assert_eq!(request.headers()["x-amz-target"], "Logs_20140328.PutLogEvents");
        assert_eq!(request.headers()["content-type"], "application/x-amz-json-1.1");
        assert_eq!(request.headers()["content-encoding"], "gzip");
    }

    #[test]
    fn gzip_packs_the_same_body() {
        let lines = [(&[("job", "a")][..], 5 * MS, "text", &[][..])];
        let plain = wire(false);
        let packed = wire(true);
        let plain = with_rows(&plain, &lines, |rows| plain.encode(rows)).body;
        let packed = with_rows(&packed, &lines, |rows| packed.encode(rows)).body;
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*packed), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
    }

    #[test]
    fn events_weight_and_span_end_a_request() {
        let many: Vec<_> = (0..10_001).map(|n| (n * MS, "x")).collect();
        assert_eq!(encode(&many).0.lines, 10_000);
        let text = "y".repeat(1000);
        let heavy: Vec<_> = (0..2000).map(|n| (n, text.as_str())).collect();
        assert_eq!(encode(&heavy).0.lines, 1_048_576 / 1026);
        let day = 86_400_000 * MS;
        assert_eq!(encode(&[(0, "a"), (day - MS, "b"), (day, "c")]).0.lines, 2);
    }

    #[test]
    fn a_line_of_more_than_a_megabyte_comes_in_parts() {
        let line = "é".repeat(600_000);
        let (letter, body) = encode(&[(0, &line), (0, "next")]);
        assert_eq!(letter.lines, 1, "it fills the request alone");
        assert_eq!(body["logEvents"][0]["message"].as_str().unwrap().len(), 1_048_550);
        let wire = wire(false);
        let lines = [(&[("job", "a")][..], 0, line.as_str(), &[][..]), (&[("job", "a")][..], 0, "next", &[][..])];
        let parts = with_rows(&wire, &lines, |rows| {
            rows.iter().map(|row| (row.entry.line.len(), row.items)).collect::<Vec<_>>()
        });
        assert_eq!(parts, [(1_048_550, 0), (151_450, 1), (4, 1)]);
    }

    #[test]
    fn names_are_cleaned_to_what_the_service_takes() {
        assert_eq!(group_name("/a b/ü#1"), "/a_b/_#1");
        assert_eq!(group_name(""), "sigpost");
        for taken in ["aws/x", "AWS/x", "aWs/x/aws/y"] {
            let name = group_name(taken);
            assert!(name.get(..4).unwrap().eq_ignore_ascii_case("aws_"), "{name}");
            assert!(name.ends_with(&taken[4..]));
        }
        for free in ["aws", "aws_x", "/aws/x", "aws.x", "awsome/x"] {
            assert_eq!(group_name(free), free);
        }
        assert_eq!(group_name(&"x".repeat(600)).len(), 512);
        assert_ne!(group_name(&"x".repeat(600)), group_name(&"x".repeat(601)));
        assert_eq!(stream_name(&"😀".repeat(600)).encode_utf16().count(), 511);
        assert_eq!(stream_name("h:/var/*.log\n"), "h_/var/_.log_");
        assert_eq!(stream_name(""), "default");
    }

    fn judge(status: u16, body: &str, lines: usize) -> LogVerdict {
        wire(true).judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), lines)
    }

    #[test]
    fn rejected_events_are_booked_by_reason() {
        for (info, lost) in [
            (r#"{"tooOldLogEventEndIndex":2}"#, vec![(0..2, Loss::TooOld)]),
            (r#"{"tooNewLogEventStartIndex":7}"#, vec![(7..10, Loss::TooNew)]),
            (
                r#"{"tooOldLogEventEndIndex":1,"expiredLogEventEndIndex":3,"tooNewLogEventStartIndex":9}"#,
                vec![(0..1, Loss::TooOld), (1..3, Loss::Retention), (9..10, Loss::TooNew)],
            ),
            (r#"{"expiredLogEventEndIndex":99}"#, vec![(0..10, Loss::Retention)]),
        ] {
            let body = format!("{{\"rejectedLogEventsInfo\":{info}}}");
            assert!(
                matches!(judge(200, &body, 10), LogVerdict::Each { lost: found, again, .. } if found == lost && again.is_empty()),
                "{info}"
            );
        }
        for body in
            ["{}", "", r#"{"rejectedLogEventsInfo":{}}"#, r#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":0}}"#]
        {
            assert_eq!(judge(200, body, 10), Verdict::Accepted.into(), "{body}");
        }
    }

    #[test]
    fn codes_decide_and_not_statuses() {
        let coded =
            |code: &str, message: &str| judge(400, &format!("{{\"__type\":\"{code}\",\"message\":\"{message}\"}}"), 3);
        assert!(matches!(
            coded("ResourceNotFoundException", "The specified log group does not exist."),
            LogVerdict::Missing { group: true, .. }
        ));
        assert!(matches!(
            coded("ResourceNotFoundException", "The specified log stream does not exist."),
            LogVerdict::Missing { group: false, .. }
        ));
        for code in ["DataAlreadyAcceptedException", "InvalidSequenceTokenException"] {
            assert_eq!(coded(code, ""), Verdict::Accepted.into());
        }
        for code in ["ThrottlingException", "ServiceUnavailableException", "OperationAbortedException"] {
            assert!(matches!(coded(code, ""), LogVerdict::Whole(Verdict::Retry { .. })), "{code}");
        }
        for code in ["AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"] {
            assert!(matches!(coded(code, ""), LogVerdict::Whole(Verdict::Hold { .. })), "{code}");
        }
        assert!(matches!(
            coded("InvalidParameterException", "Log events in a single request must be in order"),
            LogVerdict::Whole(Verdict::Refused { isolate: true, .. })
        ));
        assert!(matches!(
            coded("InvalidParameterException", "Upload too large: 2000000 bytes exceeds limit"),
            LogVerdict::Whole(Verdict::TooLarge { .. })
        ));
    }

    #[test]
    fn making_groups_takes_races_for_success_and_refusals_for_a_state() {
        let founder = Founder::new(&Url::parse("https://h/").unwrap(), Some(7));
        let judge = |operation, status: u16, code: &str| {
            let body = format!("{{\"__type\":\"{code}\"}}");
            founder.judge(operation, StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
        };
        assert_eq!(judge("CreateLogGroup", 200, ""), Ok(Made::Now));
        assert_eq!(judge("CreateLogGroup", 400, "ResourceAlreadyExistsException"), Ok(Made::Before));
        assert_eq!(judge("CreateLogStream", 400, "ResourceNotFoundException"), Ok(Made::NoGroup));
        assert!(matches!(judge("CreateLogGroup", 400, "OperationAbortedException"), Err(Verdict::Retry { .. })));
        assert!(matches!(judge("CreateLogStream", 400, "ThrottlingException"), Err(Verdict::Retry { .. })));
        for code in ["LimitExceededException", "AccessDeniedException", "InvalidParameterException"] {
            assert!(matches!(judge("CreateLogGroup", 400, code), Err(Verdict::Hold { .. })), "{code}");
        }
        let address = Address { first: "g".into(), second: "s".into() };
        assert_eq!(founder.retention_body(&address).unwrap(), br#"{"logGroupName":"g","retentionInDays":7}"#);
        assert_eq!(founder.stream_body(&address), br#"{"logGroupName":"g","logStreamName":"s"}"#);
    }
}
