//! ListObjectsV2: what lies in a bucket under a prefix.
//!
//! Source: Amazon S3 API Reference, "ListObjectsV2".

use bytes::Bytes;
use http::Request;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::{
    call::CallError,
    object::{Fetch, QUERY},
};

/// A thousand keys are at most a megabyte and their dress.
const LIMIT: u64 = 16 << 20;

/// A page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub objects: Vec<Listed>,
    pub next: Option<String>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub key: String,
    pub etag: String,
    /// Ms since the epoch.
    pub modified_ms: i64,
    pub size: u64,
}

impl Listed {
    /// Names this version of the object.
    pub(super) fn name(&self) -> String {
        format!("{}\0{}", self.key, self.etag)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ListBucketResult {
    contents: Vec<Contents>,
    next_continuation_token: Option<String>,
    is_truncated: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Contents {
    key: String,
    last_modified: String,
    #[serde(rename = "ETag")]
    e_tag: String,
    size: u64,
}

impl Fetch {
    /// A page of the bucket's list, in the order of keys.
    pub(super) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        token: Option<&str>,
    ) -> Result<Page, CallError> {
        let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        // In the order in which a signature has them.
        let mut query = String::new();
        if let Some(token) = token {
            query.push_str(&format!("continuation-token={}&", encode(token)));
        }
        query.push_str("encoding-type=url&list-type=2");
        if !prefix.is_empty() {
            query.push_str(&format!("&prefix={}", encode(prefix)));
        }
        if !after.is_empty() && token.is_none() {
            query.push_str(&format!("&start-after={}", encode(after)));
        }
        let address = format!("{}?{query}", self.address(bucket, ""));
        let make = || {
            let mut request = Request::get(&address);
            if let Some(owner) = &self.expected_bucket_owner {
                request = request.header("x-amz-expected-bucket-owner", owner);
            }
            request.body(Bytes::new())
        };
        let mut body = Vec::new();
        self.access.send(make, self.access.timeout, LIMIT, &mut body).await?;
        parse(&body).map_err(|why| CallError::Later { why, after: None })
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Page, String> {
    let bad = |why: String| format!("a bucket's list that cannot be read: {why}");
    let text = str::from_utf8(body).map_err(|e| bad(e.to_string()))?;
    let read: ListBucketResult = quick_xml::de::from_str(text).map_err(|e| bad(e.to_string()))?;
    let objects = read
        .contents
        .into_iter()
        .map(|found| {
            let modified: jiff::Timestamp =
                found.last_modified.parse().map_err(|_| bad(found.last_modified.clone()))?;
            Ok(Listed {
                key: decoded(&found.key),
                etag: found.e_tag.trim_matches('"').to_owned(),
                modified_ms: modified.as_millisecond(),
                size: found.size,
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(Page { objects, next: read.next_continuation_token.filter(|_| read.is_truncated) })
}

/// `encoding-type=url`, in which S3 writes a space as `+`.
pub(super) fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read() {
        let body = b"<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
            <IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>\
            <Contents><Key>a%2Bb/c+d%C3%BC</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>\
            <ETag>&quot;e1&quot;</ETag><Size>7</Size></Contents></ListBucketResult>";
        let page = parse(body).unwrap();
        let expected = Listed { key: "a+b/c dü".into(), etag: "e1".into(), modified_ms: 1_700_000_000_000, size: 7 };
        assert_eq!(page.objects, [expected]);
        assert_eq!(page.next.as_deref(), Some("t/1="));
        assert!(parse(b"<ListBucketResult/>").unwrap().objects.is_empty());
        assert!(parse(b"<ListBucketResult><Contents>").is_err());
    }
}
