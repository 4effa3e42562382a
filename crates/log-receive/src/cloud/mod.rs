//! What sources in AWS share: a signed call, and the memory of what was read already.

mod call;
mod cloudwatch;
mod decode;
mod listing;
mod notice;
mod object;
mod s3;
mod seen;
mod sqs;

pub use call::CloudAccess;
pub use cloudwatch::{CloudWatchConfig, CloudWatchReader, LogGroups};
pub use decode::ObjectCompression;
pub use s3::{NewObjects, S3Config, S3Reader};
pub use sqs::SqsConfig;
