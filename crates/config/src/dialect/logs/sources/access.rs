//! Where and as whom a source reads in AWS.

use aws::{AwsHost, IdentityConfig};

use crate::{block::Block, dialect::identity};

/// Region and identity of a source.
pub(super) struct Access {
    pub region: String,
    /// With that region.
    pub identity: IdentityConfig,
}

/// The identity block of `block`. The region comes from it, else from `host`, else from the environment.
pub(super) fn read(block: &Block<'_>, host: Option<&AwsHost>) -> Option<Access> {
    let mut identity = identity::read(block, None, host).unwrap_or_default();
    let environment = |name: &str| (block.reader.environment)(name).filter(|value| !value.is_empty());
    let region = identity
        .region
        .clone()
        .or_else(|| host.and_then(|host| host.region.clone()))
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"));
    // What was written and is wrong was said.
    let is_written = ["aws", "sigv4"].iter().any(|key| {
        block.get(key).is_some_and(|field| block.reader.entries(&field).iter().any(|(key, _)| *key == "region"))
    });
    if region.is_none() && !is_written {
        block.error("no region: nothing says in which region this is read", Some("add aws: {region: us-east-1}"));
    }
    let region = region?;
    identity.region = Some(region.clone());
    // One block signs for several services.
    identity.service = None;
    Some(Access { region, identity })
}

/// The end of AWS's host names in a region.
pub(super) fn suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}
