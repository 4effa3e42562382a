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

/// See [`crate::fuzz`].
pub(crate) mod fuzz {
    pub(crate) fn notice(text: &str) {
        if let super::notice::Notice::Objects(objects) = super::notice::parse(text) {
            assert!((1..=1000).contains(&objects.len()), "{} objects", objects.len());
        }
    }

    pub(crate) fn listing(bytes: &[u8]) {
        if let Ok(page) = super::listing::parse(bytes) {
            let keys: usize = page.objects.iter().map(|found| found.key.len()).sum();
            // What is no UTF-8 takes three bytes for one.
            assert!(keys <= bytes.len() * 3, "{keys} bytes of keys");
        }
    }
}
