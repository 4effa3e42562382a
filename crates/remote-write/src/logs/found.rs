//! Makes log groups and streams that are missing.
//!
//! Keeps true: somebody who makes the same at the same time is no error; what is not allowed holds the destination with its
//! data on disk.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::head::Address;
use crate::{
    courier::Post,
    protocol::cloudwatch::{Founder, Made},
    verdict::Verdict,
};

/// Makes the stream of an address, and its group before it if need be. The error is what to do instead.
pub(crate) async fn found(post: &Post, founder: &Founder, address: &Address, group: bool) -> Result<(), Verdict> {
    if group {
        found_group(post, founder, address).await?;
    }
    match ask(post, founder, "CreateLogStream", founder.stream_body(address)).await? {
        Made::Now | Made::Before => Ok(()),
        Made::NoGroup => {
            found_group(post, founder, address).await?;
            match ask(post, founder, "CreateLogStream", founder.stream_body(address)).await? {
                Made::Now | Made::Before => Ok(()),
                Made::NoGroup => {
                    let why = format!("log group {} was made and is not there yet", address.first);
                    Err(Verdict::Retry { after: None, pressure: false, why })
                }
            }
        }
    }
}

async fn found_group(post: &Post, founder: &Founder, address: &Address) -> Result<(), Verdict> {
    let made = ask(post, founder, "CreateLogGroup", founder.group_body(address)).await?;
    let Some(body) = founder.retention_body(address).filter(|_| made == Made::Now) else { return Ok(()) };
    // Lines are worth more than their deletion: the group is used whatever comes of it.
    if let Err(Verdict::Retry { why, .. } | Verdict::Hold { why } | Verdict::Unready { why }) =
        ask(post, founder, "PutRetentionPolicy", body).await
    {
        tracing::warn!(log_group = address.first, why, "the retention of a new log group cannot be set");
    }
    Ok(())
}

async fn ask(post: &Post, founder: &Founder, operation: &'static str, body: Vec<u8>) -> Result<Made, Verdict> {
    let body = Bytes::from(body);
    let request = || founder.request(operation, body.clone());
    let judge = |status: StatusCode, headers: &HeaderMap, body: &[u8]| founder.judge(operation, status, headers, body);
    post.exchange(request, judge).await?
}
