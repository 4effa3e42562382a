//! What Firehose and Kinesis have in common: lines as base64 records, and answers that name the records at fault.
//!
//! Keeps true: a record ends with a line feed, so that objects made of records have a line each.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{
    logs::wire::LogVerdict,
    verdict::{Loss, Verdict, described, error_code, judge_common, message_of},
};

/// An answer: `failed` names its count of failed records, `list` its list with one entry for each.
pub(super) fn judge_records(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    lines: usize,
    (failed, list): (&str, &str),
) -> LogVerdict {
    match judge_common(status, headers, body, true) {
        Some(Verdict::Accepted) => {}
        Some(verdict) => return verdict.into(),
        None => {
            let code = error_code(status, headers, body).unwrap_or_else(|| status.as_u16().to_string());
            let message = described(&code, body);
            return match code.as_str() {
                // Of the stream, not of the data.
                "InvalidKMSResourceException" | "InvalidSourceException" | "KMSAccessDeniedException" => {
                    Verdict::Hold { why: format!("{message}; check the delivery stream and its key") }
                }
                _ if message.to_lowercase().contains("too large") => Verdict::TooLarge { message },
                _ => Verdict::Refused { loss: Loss::BadRequest, message, isolate: true },
            }
            .into();
        }
    }
    let unclear = || {
        let why = format!("the answer does not say what became of the records: {}", message_of(body));
        Verdict::Retry { after: None, pressure: false, why }.into()
    };
    let Ok(answer) = serde_json::from_slice::<Value>(body) else { return unclear() };
    match answer.get(failed).and_then(Value::as_u64) {
        Some(0) => return Verdict::Accepted.into(),
        Some(_) => {}
        None => return unclear(),
    }
    let Some(entries) = answer.get(list).and_then(Value::as_array).filter(|entries| entries.len() == lines) else {
        return unclear();
    };
    let code = |entry: &Value| entry.get("ErrorCode").and_then(Value::as_str).map(str::to_owned);
    let failures: Vec<usize> =
        entries.iter().enumerate().filter(|(_, e)| code(e).is_some()).map(|(at, _)| at).collect();
    let first = failures.first().and_then(|at| entries.get(*at));
    let what = first.and_then(code).unwrap_or_default();
    let words = first.and_then(|entry| entry.get("ErrorMessage")).and_then(Value::as_str).unwrap_or_default();
    let message = format!("{} of {lines} records: {what}: {}", failures.len(), message_of(words.as_bytes()));
    LogVerdict::Each { lost: Vec::new(), again: failures, message }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use url::Url;

    use super::*;
    use crate::{
        logs::{
            FirehoseConfig, KinesisConfig, LogFormat, Template,
            fixture::{Line, with_rows},
            wire::{Limits, Wire},
        },
        protocol::{firehose::Firehose, kinesis::Kinesis},
    };

    const LIMITS: Limits = Limits { lines: usize::MAX, bytes: usize::MAX };

    fn firehose(format: LogFormat) -> Wire {
        let config = FirehoseConfig { delivery_stream: "d-1".into(), format };
        Wire::Firehose(Firehose::new(Url::parse("https://firehose.x.amazonaws.com/").unwrap(), config, LIMITS))
    }

    fn kinesis(key: Option<&str>) -> Wire {
        let partition_key = key.map(|key| Template::parse(key, "h").unwrap());
        let config = KinesisConfig { stream_name: "s-1".into(), partition_key, format: LogFormat::Text };
        Wire::Kinesis(Kinesis::new(Url::parse("https://kinesis.x.amazonaws.com/").unwrap(), config, LIMITS))
    }

    /// What the records of a body hold.
    fn data(body: &[u8]) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let data = |record: &Value| STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
        body["Records"].as_array().unwrap().iter().map(|r| String::from_utf8(data(r)).unwrap()).collect()
    }

    fn records(wire: &Wire, lines: &[Line<'_>]) -> Vec<(String, Value)> {
        let letter = with_rows(wire, lines, |rows| wire.encode(rows));
        let body: Value = serde_json::from_slice(&letter.body).unwrap();
        let records = body["Records"].as_array().unwrap().clone();
        assert_eq!(records.len(), letter.lines);
        data(&letter.body).into_iter().zip(records).collect()
    }

    #[test]
    fn a_record_is_a_line_of_json_or_the_line_itself() {
        let lines = [(&[("job", "a\"")][..], 1_700_000_000_000_000_007, "li\"ne", &[("k", "v")][..])];
        assert_eq!(
            records(&firehose(LogFormat::Json), &lines)[0].0,
            "{\"timestamp\":\"2023-11-14T22:13:20.000000007Z\",\"line\":\"li\\\"ne\",\"labels\":{\"job\":\"a\\\"\"},\
             \"metadata\":{\"k\":\"v\"}}\n"
        );
        assert_eq!(records(&firehose(LogFormat::Text), &lines)[0].0, "li\"ne\n");
        let wire = firehose(LogFormat::Text);
        let letter = with_rows(&wire, &lines, |rows| wire.encode(rows));
        assert_eq!(&*letter.body, b"{\"DeliveryStreamName\":\"d-1\",\"Records\":[{\"Data\":\"bGkibmUK\"}]}");
        let request = wire.request(&crate::logs::head::Address::default(), &letter, None).unwrap();
        assert_eq!(request.headers()["x-amz-target"], "Firehose_20150804.PutRecordBatch");
    }

    #[test]
    fn kinesis_records_have_a_key_from_the_template_or_from_the_labels() {
        let lines = [(&[("job", "a")][..], 1, "x", &[][..])];
        assert_eq!(records(&kinesis(Some("k-{job}")), &lines)[0].1["PartitionKey"], "k-a");
        let by_labels = records(&kinesis(None), &lines)[0].1["PartitionKey"].as_str().unwrap().to_owned();
        assert_eq!(by_labels.len(), 16);
        assert_eq!(records(&kinesis(Some("{none}")), &lines)[0].1["PartitionKey"], by_labels.as_str());
        let long = "😀\n".repeat(400);
        let lines = [(&[("job", long.as_str())][..], 1, "x", &[][..])];
        let key = records(&kinesis(Some("{job}")), &lines)[0].1["PartitionKey"].as_str().unwrap().to_owned();
        assert!(key.starts_with("😀\n😀") && (240..=256).contains(&key.encode_utf16().count()), "{key}");
    }

    #[test]
    fn five_hundred_records_and_the_bytes_of_a_request_are_the_most() {
        let many: Vec<_> = (0..501).map(|n| (&[("a", "b")][..], n, "x", &[][..])).collect();
        assert_eq!(records(&firehose(LogFormat::Text), &many).len(), 500);
        assert_eq!(records(&kinesis(None), &many).len(), 500);
        let text = "x".repeat(900_000);
        let heavy: Vec<_> = (0..9).map(|n| (&[("a", "b")][..], n, text.as_str(), &[][..])).collect();
        assert_eq!(records(&firehose(LogFormat::Text), &heavy).len(), 3);
        assert_eq!(records(&kinesis(None), &heavy).len(), 5);
    }

    #[test]
    fn a_line_too_long_for_a_record_comes_in_several() {
        for line in ["y".repeat(1_100_000), "\u{1}".repeat(400_000), "\"é".repeat(700_000)] {
            let lines = [(&[("a", "b")][..], 1, line.as_str(), &[("m", "v")][..])];
            for (wire, most) in [
                (firehose(LogFormat::Json), 1_024_000),
                (firehose(LogFormat::Text), 1_024_000),
                (kinesis(None), 1 << 20),
            ] {
                let found = with_rows(&wire, &lines, |rows| {
                    assert_eq!(rows.iter().map(|row| row.items).sum::<u32>(), 1, "one line in the books");
                    let (mut left, mut found) = (rows, Vec::new());
                    while !left.is_empty() {
                        let letter = wire.encode(left);
                        assert!(letter.body.len() < 7 << 20);
                        found.extend(data(&letter.body));
                        left = &left[letter.lines..];
                    }
                    found
                });
                assert!(found.len() > 1 || line.len() < most);
                assert!(found.iter().all(|record| record.len() <= most && record.ends_with('\n')));
                assert!(
                    found.iter().rev().skip(1).all(|record| record.len() > most - 32),
                    "no more parts than it takes"
                );
                let text = |record: &String| match serde_json::from_str::<Value>(record) {
                    Ok(json) => {
                        assert_eq!(json["metadata"]["m"], "v");
                        json["line"].as_str().unwrap().to_owned()
                    }
                    Err(_) => record.trim_end_matches('\n').to_owned(),
                };
                assert!(found.iter().map(text).collect::<String>() == line, "{}", found.len());
            }
        }
    }

    #[test]
    fn labels_that_leave_no_room_are_left_to_the_service() {
        let long = "v".repeat(1_022_000);
        let lines = [(&[("a", "b")][..], 1, &*"x".repeat(200_000), &[("m", long.as_str())][..])];
        assert_eq!(records(&firehose(LogFormat::Json), &lines).len(), 1);
    }

    #[test]
    fn failed_records_are_the_ones_to_send_again() {
        let names = ("FailedPutCount", "RequestResponses");
        let judge = |status: u16, body: &str| {
            judge_records(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), 3, names)
        };
        assert_eq!(judge(200, r#"{"FailedPutCount":0,"RequestResponses":[]}"#), Verdict::Accepted.into());
        let partly = r#"{"FailedPutCount":2,"RequestResponses":[{"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."},{"RecordId":"x"},{"ErrorCode":"InternalFailure"}]}"#;
        assert!(
            matches!(judge(200, partly), LogVerdict::Each { again, lost, .. } if again == [0, 2] && lost.is_empty())
        );
        for body in ["", "{}", r#"{"FailedPutCount":1,"RequestResponses":[]}"#] {
            assert!(matches!(judge(200, body), LogVerdict::Whole(Verdict::Retry { .. })), "{body}");
        }
        let coded = |code: &str| judge(400, &format!("{{\"__type\":\"{code}\"}}"));
        assert!(matches!(coded("ProvisionedThroughputExceededException"), LogVerdict::Whole(Verdict::Retry { .. })));
        assert!(matches!(coded("ServiceUnavailableException"), LogVerdict::Whole(Verdict::Retry { .. })));
        assert!(matches!(coded("ResourceNotFoundException"), LogVerdict::Whole(Verdict::Hold { .. })));
        assert!(matches!(coded("InvalidKMSResourceException"), LogVerdict::Whole(Verdict::Hold { .. })));
        assert!(matches!(coded("InvalidArgumentException"), LogVerdict::Whole(Verdict::Refused { isolate: true, .. })));
    }
}
