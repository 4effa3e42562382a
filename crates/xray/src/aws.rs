//! The `aws` block: what of AWS was called, and where the caller runs.

use std::borrow::Cow;

use crate::{
    attributes::{Attributes, texts},
    known::{Key, key, keys},
    name::is_aws_api,
    place::Place,
    read::Value,
    segment::Aws,
};

/// The block, whose attributes are taken. `None` in another cloud.
pub(crate) fn aws<'a>(attributes: &mut Attributes<'a>, place: &Place<'a>) -> Option<Aws<'a>> {
    place.aws.as_ref()?;
    let to_aws = is_aws_api(attributes);
    let mut take = |keys: &[Key]| {
        let found = keys.iter().find_map(|key| attributes.text(*key));
        keys.iter().for_each(|key| attributes.remove(*key));
        found.map(Cow::Borrowed)
    };
    let operation = take(&keys!["aws.operation", "rpc.method"]);
    let account_id = take(&keys!["aws.account_id"]).or(place.account_id.map(Cow::Borrowed));
    let region = take(&keys!["aws.region"]);
    let request_id = take(&keys!["aws.request_id", "aws.requestId"]);
    let queue_url = take(&keys!["aws.queue_url", "aws.queue.url"]);
    let table_name = take(&keys!["aws.table_name", "aws.table.name"]);
    // What the conventions of SQS and DynamoDB say goes before.
    let queue_url = keys!["messaging.url", "aws.sqs.queue.url"]
        .into_iter()
        .find_map(|key| attributes.text(key))
        .map(Cow::Borrowed)
        .or(queue_url);
    let tables = match attributes.get(key!("aws.dynamodb.table_names")) {
        Some(Value::Text(name)) => vec![name],
        Some(list) => texts(list),
        None => Vec::new(),
    };
    let (table_name, table_names) = match tables.as_slice() {
        [] => (table_name, Vec::new()),
        [one] => (Some(Cow::Borrowed(*one)), Vec::new()),
        _ => (None, tables),
    };
    // Where the stable conventions have the region of a call.
    let region = region.or_else(|| attributes.text(key!("cloud.region")).filter(|_| to_aws).map(Cow::Borrowed));
    Some(Aws { account_id, operation, region, request_id, queue_url, table_name, table_names })
}
