//! Amazon Data Firehose `PutRecordBatch` and `DescribeDeliveryStream`, and Amazon Kinesis Data Streams `PutRecords` with its
//! dry run, with failures of single records on command. Every stream exists, unless the world names those that do.
//!
//! Order of the checks: permission, then the request's shape, then the stream ("Test your permissions and request inputs
//! with dry run", Kinesis developer guide).

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Done, Service, json11, json11::Operation};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    records::Record,
    refusal::shown,
    sigv4::sha256_hex,
    target::Target,
    world::DeliveryStream,
};

/// Most records of one request, in both services.
const MOST_RECORDS: usize = 500;
const MIB: usize = 1 << 20;

pub(super) struct Firehose;
pub(super) struct Kinesis;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    #[serde(alias = "StreamName", alias = "StreamARN")]
    delivery_stream_name: String,
    records: Vec<One>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    data: String,
    partition_key: Option<String>,
}

impl Service for Firehose {
    fn name(&self) -> &'static str {
        "firehose"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn throttling(&self) -> (u16, &'static str, &'static str) {
        (500, "ServiceUnavailableException", "Slow down.")
    }

    fn claims(&self, target: &Target) -> bool {
        json11::claims(target, "firehose", "Firehose_20150804.")
    }

    fn resource(&self, target: &Target) -> String {
        Operation::of(target).name.to_owned()
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let stream = json11::names(call).delivery_stream_name.unwrap_or_default();
        let arn = format!("arn:aws:firehose:{}:{}:deliverystream/{stream}", caller.region, caller.account_id);
        Some((format!("firehose:{}", Operation::of(&call.target).name), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let name = Operation::of(&call.target).name;
        if name == "DescribeDeliveryStream" {
            return describe(core, call).map(Done::from);
        }
        if name != "PutRecordBatch" {
            return Err(json11::unknown_operation(name));
        }
        let batch: Batch = json11::body(call)?;
        let limits = Sizes { record: 1_024_000, request: 4 * MIB };
        let bodies = decode(&batch, &limits)?;
        let stream = delivery_stream(core, call, &batch.delivery_stream_name)?;
        if stream.source != "DirectPut" {
            let message = format!("This operation is not permitted on {} delivery stream type.", shown(&stream.source));
            return Err(ServiceError::new(StatusCode::BAD_REQUEST, "InvalidArgumentException", message));
        }
        let told = store(core, call, "firehose", &batch, &bodies);
        let failed = told.iter().filter(|one| one.is_err()).count();
        let responses: Vec<Value> = told
            .into_iter()
            .map(|one| match one {
                Ok(id) => json!({ "RecordId": id }),
                Err((code, message)) => json!({ "ErrorCode": code, "ErrorMessage": message }),
            })
            .collect();
        let answer = json!({ "FailedPutCount": failed, "Encrypted": false, "RequestResponses": responses });
        Ok(json11::reply(&answer).into())
    }
}

impl Service for Kinesis {
    fn name(&self) -> &'static str {
        "kinesis"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn throttling(&self) -> (u16, &'static str, &'static str) {
        (400, "ProvisionedThroughputExceededException", "Rate exceeded for shard shardId-000000000000.")
    }

    fn claims(&self, target: &Target) -> bool {
        json11::claims(target, "kinesis", "Kinesis_20131202.")
    }

    fn resource(&self, target: &Target) -> String {
        Operation::of(target).name.to_owned()
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let names = json11::names(call);
        let arn = names.stream_arn.unwrap_or_else(|| {
            let stream = names.stream_name.unwrap_or_default();
            format!("arn:aws:kinesis:{}:{}:stream/{stream}", caller.region, caller.account_id)
        });
        Some((format!("kinesis:{}", Operation::of(&call.target).name), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let name = Operation::of(&call.target).name;
        if name != "PutRecords" {
            return Err(json11::unknown_operation(name));
        }
        let batch: Batch = json11::body(call)?;
        for (at, record) in batch.records.iter().enumerate() {
            let characters = record.partition_key.as_deref().unwrap_or_default().chars().count();
            if !(1..=256).contains(&characters) {
                return Err(json11::invalid(&format!(
                    "1 validation error detected: Value at 'records.{}.member.partitionKey' failed to satisfy \
                     constraint: Member must have length from 1 to 256, not {characters}",
                    at + 1
                )));
            }
        }
        let limits = Sizes { record: 10 * MIB, request: 10 * MIB };
        let bodies = decode(&batch, &limits)?;
        let stream = batch.delivery_stream_name.rsplit('/').next().unwrap_or_default();
        let is_there = {
            let world = core.world.read();
            world.streams.is_empty() || world.streams.iter().any(|known| known == stream)
        };
        if !is_there {
            return Err(missing(format!("Stream {} under account {} not found.", shown(stream), account(call))));
        }
        if batch.dry_run {
            let message = "The request would have succeeded, but the DryRun parameter is set.";
            return Err(ServiceError::new(StatusCode::BAD_REQUEST, "DryRunOperationException", message));
        }
        let told = store(core, call, "kinesis", &batch, &bodies);
        let failed = told.iter().filter(|one| one.is_err()).count();
        let records: Vec<Value> = told
            .into_iter()
            .map(|one| match one {
                Ok(id) => json!({ "SequenceNumber": id, "ShardId": "shardId-000000000000" }),
                Err((code, message)) => json!({ "ErrorCode": code, "ErrorMessage": message }),
            })
            .collect();
        let answer = json!({ "FailedRecordCount": failed, "EncryptionType": "NONE", "Records": records });
        Ok(json11::reply(&answer).into())
    }
}

fn missing(message: String) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message)
}

fn account(call: &Call) -> &str {
    call.caller.as_ref().map_or("", |caller| caller.account_id.as_str())
}

/// The stream of this name, if it exists.
fn delivery_stream(core: &Core, call: &Call, name: &str) -> Result<DeliveryStream, ServiceError> {
    let world = core.world.read();
    if world.delivery_streams.is_empty() {
        return Ok(DeliveryStream::direct(name));
    }
    let found = world.delivery_streams.iter().find(|stream| stream.name == name).cloned();
    found.ok_or_else(|| missing(format!("Firehose {} not found under account {}.", shown(name), account(call))))
}

fn describe(core: &Core, call: &Call) -> Result<Reply, ServiceError> {
    let name = json11::names(call).delivery_stream_name.unwrap_or_default();
    let stream = delivery_stream(core, call, &name)?;
    let region = call.caller.as_ref().map_or("", |caller| caller.region.as_str());
    Ok(json11::reply(&json!({ "DeliveryStreamDescription": {
        "DeliveryStreamName": stream.name,
        "DeliveryStreamARN": format!("arn:aws:firehose:{region}:{}:deliverystream/{}", account(call), stream.name),
        "DeliveryStreamStatus": stream.state,
        "DeliveryStreamType": stream.source,
        "VersionId": "1",
        "Destinations": [],
        "HasMoreDestinations": false,
    }})))
}

/// Limits in bytes, keys included.
struct Sizes {
    record: usize,
    request: usize,
}

/// The raw bytes of all records, within the limits.
fn decode(batch: &Batch, sizes: &Sizes) -> Result<Vec<Vec<u8>>, ServiceError> {
    let count = batch.records.len();
    if count == 0 || count > MOST_RECORDS {
        return Err(json11::invalid(&format!(
            "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length from \
             1 to {MOST_RECORDS}, not {count}"
        )));
    }
    let mut total = 0usize;
    let mut bodies = Vec::with_capacity(count);
    for (at, record) in batch.records.iter().enumerate() {
        let body = BASE64_STANDARD
            .decode(&record.data)
            .map_err(|_| json11::serialization(&format!("records.{}.member.data is not base64", at + 1)))?;
        let size = body.len() + record.partition_key.as_ref().map_or(0, String::len);
        total = total.saturating_add(size);
        if size > sizes.record {
            return Err(json11::invalid(&format!(
                "1 validation error detected: Value at 'records.{}.member.data' failed to satisfy constraint: Member \
                 must have length less than or equal to {}",
                at + 1,
                sizes.record
            )));
        }
        bodies.push(body);
    }
    if total > sizes.request {
        let message = format!("Records size exceeds {} bytes limit", sizes.request);
        return Err(ServiceError::new(StatusCode::BAD_REQUEST, "InvalidArgumentException", message));
    }
    Ok(bodies)
}

/// Stores what is not scripted to fail; for each record its id or its error.
fn store(
    core: &Core,
    call: &Call,
    service: &str,
    batch: &Batch,
    bodies: &[Vec<u8>],
) -> Vec<Result<String, (String, String)>> {
    let told: Vec<Result<String, (String, String)>> = bodies
        .iter()
        .enumerate()
        .map(|(at, body)| match call.partial.as_ref().filter(|partial| partial.strikes(at)) {
            Some(partial) => Err((partial.code.clone(), "scripted by the sandbox".to_owned())),
            None => Ok(sha256_hex([call.request_id.as_bytes(), &at.to_be_bytes(), body].concat().as_slice())),
        })
        .collect();
    let stored: Vec<Record<'_>> = bodies
        .iter()
        .zip(&told)
        .filter(|(_, one)| one.is_ok())
        .map(|(body, _)| Record { timestamp_ms: 0, bytes: body })
        .collect();
    let stream = batch.delivery_stream_name.rsplit('/').next().unwrap_or_default();
    let destination = format!("{service}:{}", shown(stream));
    core.records.lock().add(&destination, call.caller_arn(), call.now_ms, &stored, 0);
    told
}
