//! The `aws` block: what of AWS was called, and where the caller runs.

use std::borrow::Cow;

use proto::otlp_common::Value;

use crate::{
    attributes::{Attributes, texts},
    name::is_aws_api,
    place::Place,
    segment::Aws,
};

/// The block, whose attributes are taken. `None` in another cloud.
pub(crate) fn aws<'a>(attributes: &mut Attributes<'a>, place: &Place<'a>) -> Option<Aws<'a>> {
    let of_resource = place.aws.clone()?;
    let to_aws = is_aws_api(attributes);
    let mut take = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| attributes.text(key));
        keys.iter().for_each(|key| attributes.remove(key));
        found.map(Cow::Borrowed)
    };
    let operation = take(&["aws.operation", "rpc.method"]);
    let account_id = take(&["aws.account_id"]).or(place.account_id.map(Cow::Borrowed));
    let region = take(&["aws.region"]);
    let request_id = take(&["aws.request_id", "aws.requestId"]);
    let queue_url = take(&["aws.queue_url", "aws.queue.url"]);
    let table_name = take(&["aws.table_name", "aws.table.name"]);
    // What the conventions of SQS and DynamoDB say goes before.
    let queue_url = ["messaging.url", "aws.sqs.queue.url"]
        .iter()
        .find_map(|key| attributes.text(key))
        .map(Cow::Borrowed)
        .or(queue_url);
    let tables = match attributes.get("aws.dynamodb.table_names") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(list) => texts(list),
        None => Vec::new(),
    };
    let (table_name, table_names) = match tables.as_slice() {
        [] => (table_name, Vec::new()),
        [one] => (Some(Cow::Borrowed(*one)), Vec::new()),
        _ => (None, tables),
    };
    // Where the stable conventions have the region of a call.
    let region = region.or_else(|| attributes.text("cloud.region").filter(|_| to_aws).map(Cow::Borrowed));
    Some(Aws { place: of_resource, account_id, operation, region, request_id, queue_url, table_name, table_names })
}
