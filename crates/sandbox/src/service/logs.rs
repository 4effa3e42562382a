//! Amazon CloudWatch Logs: `PutLogEvents` with its limits, groups, streams, retention.
//!
//! Limits and messages: "PutLogEvents", CloudWatch Logs API Reference. Groups and streams exist once they were created.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Done, Service, json11, json11::Operation};
use crate::{
    answer::{ErrorStyle, ServiceError},
    core::Core,
    records::Record,
    target::Target,
};

const DAY_MS: i64 = 86_400_000;
/// Most events of one request.
const MOST_EVENTS: usize = 10_000;
/// Most bytes of one request: messages, and 26 for each event.
const MOST_BYTES: usize = 1_048_576;
const EVENT_OVERHEAD: usize = 26;
/// Most groups, and most streams over all groups, that the sandbox keeps.
const MOST_STREAMS: usize = 10_000;
/// What `PutRetentionPolicy` takes.
const RETENTIONS: [i64; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(super) struct Logs;

/// Groups and streams.
#[derive(Debug, Default)]
pub(crate) struct LogGroups(BTreeMap<String, Group>);

#[derive(Debug, Default)]
struct Group {
    created_ms: i64,
    retention_days: Option<i64>,
    streams: BTreeMap<String, i64>,
}

impl LogGroups {
    pub(crate) fn has(&self, group: &str, stream: &str) -> bool {
        self.0.get(group).is_some_and(|group| group.streams.contains_key(stream))
    }

    /// Makes a group, and a stream in it; what is there stays.
    pub(crate) fn put(&mut self, group: &str, stream: Option<&str>, now_ms: i64) {
        let group = self.0.entry(group.to_owned());
        let group = group.or_insert_with(|| Group { created_ms: now_ms, ..Group::default() });
        if let Some(stream) = stream {
            group.streams.entry(stream.to_owned()).or_insert(now_ms);
        }
    }

    fn count(&self) -> usize {
        self.0.len() + self.0.values().map(|group| group.streams.len()).sum::<usize>()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    log_group_name: String,
    log_stream_name: String,
    retention_in_days: i64,
    log_group_name_prefix: String,
    log_stream_name_prefix: String,
    log_events: Vec<Event>,
    entity: Option<Entity>,
}

#[derive(Debug, Deserialize)]
struct Event {
    timestamp: i64,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    #[serde(default)]
    key_attributes: BTreeMap<String, String>,
}

impl Service for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn claims(&self, target: &Target) -> bool {
        json11::claims(target, "logs", "Logs_20140328.")
    }

    fn resource(&self, target: &Target) -> String {
        Operation::of(target).name.to_owned()
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let asked = read(call).unwrap_or_default();
        let arn = format!(
            "arn:aws:logs:{}:{}:log-group:{}:log-stream:{}",
            caller.region,
            caller.account_id,
            crate::refusal::shown_long(&asked.log_group_name),
            crate::refusal::shown_long(&asked.log_stream_name)
        );
        Some((format!("logs:{}", Operation::of(&call.target).name), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let asked = read(call)?;
        let mut groups = core.log_groups.lock();
        match Operation::of(&call.target).name {
            "PutLogEvents" => put(core, call, &groups, &asked),
            "CreateLogGroup" => {
                check_name(&asked.log_group_name, "logGroupName", |b| b"_-/.#".contains(&b))?;
                if asked.log_group_name.starts_with("aws/") {
                    return Err(invalid("Log groups starting with AWS/ are reserved for AWS."));
                }
                if groups.0.contains_key(&asked.log_group_name) {
                    return Err(exists("The specified log group already exists"));
                }
                check_room(&groups)?;
                let group = Group { created_ms: call.now_ms, ..Group::default() };
                groups.0.insert(asked.log_group_name, group);
                Ok(json11::empty().into())
            }
            "CreateLogStream" => {
                check_name(&asked.log_stream_name, "logStreamName", |b| b != b':' && b != b'*')?;
                check_room(&groups)?;
                let group = groups.0.get_mut(&asked.log_group_name).ok_or_else(|| missing("group"))?;
                if group.streams.contains_key(&asked.log_stream_name) {
                    return Err(exists("The specified log stream already exists"));
                }
                group.streams.insert(asked.log_stream_name, call.now_ms);
                Ok(json11::empty().into())
            }
            "PutRetentionPolicy" => {
                if !RETENTIONS.contains(&asked.retention_in_days) {
                    return Err(invalid(&format!(
                        "Value '{}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value \
                         set: {RETENTIONS:?}",
                        asked.retention_in_days
                    )));
                }
                let group = groups.0.get_mut(&asked.log_group_name).ok_or_else(|| missing("group"))?;
                group.retention_days = Some(asked.retention_in_days);
                Ok(json11::empty().into())
            }
            "DescribeLogGroups" => {
                let found = groups.0.iter().filter(|(name, _)| name.starts_with(&asked.log_group_name_prefix));
                let list: Vec<Value> = found
                    .take(50)
                    .map(|(name, group)| {
                        json!({
                            "logGroupName": name, "creationTime": group.created_ms,
                            "retentionInDays": group.retention_days,
                        })
                    })
                    .collect();
                Ok(json11::reply(&json!({ "logGroups": list })).into())
            }
            "DescribeLogStreams" => {
                let group = groups.0.get(&asked.log_group_name).ok_or_else(|| missing("group"))?;
                let found = group.streams.iter().filter(|(name, _)| name.starts_with(&asked.log_stream_name_prefix));
                let list: Vec<Value> = found
                    .take(50)
                    .map(|(name, created_ms)| json!({ "logStreamName": name, "creationTime": created_ms }))
                    .collect();
                Ok(json11::reply(&json!({ "logStreams": list })).into())
            }
            other => Err(json11::unknown_operation(other)),
        }
    }
}

fn read(call: &Call) -> Result<Asked, ServiceError> {
    // Twice the limit of the request: JSON escapes take room.
    let plain = json11::plain_body(call, 16 * MOST_BYTES)?;
    serde_json::from_slice(&plain).map_err(|e| json11::serialization(&crate::refusal::shown_long(&e.to_string())))
}

fn put(core: &Core, call: &Call, groups: &LogGroups, asked: &Asked) -> Result<Done, ServiceError> {
    let events = &asked.log_events;
    if events.is_empty() || events.len() > MOST_EVENTS {
        return Err(invalid(&format!(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length \
             from 1 to {MOST_EVENTS}, not {}",
            events.len()
        )));
    }
    if let Some(at) = events.iter().position(|event| event.message.is_empty() || event.timestamp < 0) {
        return Err(invalid(&format!(
            "1 validation error detected: Value at 'logEvents.{}.member' failed to satisfy constraint: the message must \
             have length greater than or equal to 1, the timestamp value greater than or equal to 0",
            at + 1
        )));
    }
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD).sum();
    if bytes > MOST_BYTES {
        return Err(invalid(&format!("Upload too large: {bytes} bytes exceeds limit of {MOST_BYTES}")));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid("Log events in a single PutLogEvents request must be in chronological order."));
    }
    let group = groups.0.get(&asked.log_group_name).ok_or_else(|| missing("group"))?;
    if !group.streams.contains_key(&asked.log_stream_name) {
        return Err(missing("stream"));
    }
    let oldest = call.now_ms.saturating_sub(14 * DAY_MS);
    let kept_from = group.retention_days.map(|days| call.now_ms.saturating_sub(days.saturating_mul(DAY_MS)));
    let newest = call.now_ms.saturating_add(2 * 3_600_000);
    // Events are in order, so each kind is a run at one end.
    let too_old = events.partition_point(|event| event.timestamp < oldest);
    let expired = kept_from.map_or(0, |from| events.partition_point(|event| event.timestamp < from));
    let too_new = events.partition_point(|event| event.timestamp <= newest);
    let valid = events.get(too_old.max(expired)..too_new).unwrap_or_default();
    if let (Some(first), Some(last)) = (valid.first(), valid.last())
        && last.timestamp - first.timestamp > DAY_MS
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    let mut rejected = serde_json::Map::new();
    if too_old > 0 {
        rejected.insert("tooOldLogEventEndIndex".to_owned(), too_old.into());
    }
    if expired > 0 {
        rejected.insert("expiredLogEventEndIndex".to_owned(), expired.into());
    }
    if too_new < events.len() {
        rejected.insert("tooNewLogEventStartIndex".to_owned(), too_new.into());
    }
    let records: Vec<Record<'_>> =
        valid.iter().map(|event| Record { timestamp_ms: event.timestamp, bytes: event.message.as_bytes() }).collect();
    let destination = format!("logs:{}:{}", asked.log_group_name, asked.log_stream_name);
    let lost = (events.len() - valid.len()) as u64;
    core.records.lock().add(&destination, call.caller_arn(), call.now_ms, &records, lost);
    let mut answer = json!({ "nextSequenceToken": "49590302938462839462839462" });
    if !rejected.is_empty() {
        json11::set(&mut answer, "rejectedLogEventsInfo", Value::Object(rejected));
    }
    if asked.entity.as_ref().is_some_and(|entity| !(2..=4).contains(&entity.key_attributes.len())) {
        json11::set(&mut answer, "rejectedEntityInfo", json!({ "errorType": "InvalidKeyAttributes" }));
    }
    Ok(json11::reply(&answer).into())
}

/// 1 to 512 of letters, digits and what else is allowed.
fn check_name(name: &str, field: &str, is_allowed: impl Fn(u8) -> bool) -> Result<(), ServiceError> {
    let is_name = (1..=512).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || is_allowed(b));
    if is_name {
        return Ok(());
    }
    Err(invalid(&format!(
        "1 validation error detected: Value '{}' at '{field}' failed to satisfy constraint: Member must satisfy its \
         regular expression pattern and have length from 1 to 512",
        crate::refusal::shown(name)
    )))
}

fn check_room(groups: &LogGroups) -> Result<(), ServiceError> {
    if groups.count() < MOST_STREAMS {
        return Ok(());
    }
    Err(ServiceError::new(StatusCode::BAD_REQUEST, "LimitExceededException", "Resource limit exceeded."))
}

fn invalid(message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
}

fn exists(message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ResourceAlreadyExistsException", message)
}

fn missing(what: &str) -> ServiceError {
    let message = format!("The specified log {what} does not exist.");
    ServiceError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message)
}
