//! Amazon S3: PutObject (with `If-None-Match: *`), GetObject, HeadObject, DeleteObject, ListObjectsV2, ListBuckets.
//!
//! Path style and virtual-host style. Buckets exist as soon as something is put there. Not played: multipart uploads,
//! copies, chunk-signed bodies, versions, ranges (a range request gets the whole object, as RFC 9110 allows).

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{Method, StatusCode};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::{Asked, Call, Done, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError, escape},
    clock::{extended_utc, http_date},
    config::Limits,
    core::Core,
    objects::{Object, Page, Put},
    remote_write::{decompress, walk},
    sigv4::Policy,
    target::Target,
};

/// Longest key, as S3 has it.
const LONGEST_KEY: usize = 1024;
/// Most keys of one listing.
const PAGE: usize = 1000;
/// Most bytes of headers kept with an object.
const KEPT_HEADERS: usize = 8192;

pub(super) struct S3;

impl Service for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::S3Xml
    }

    fn claims(&self, target: &Target) -> bool {
        match (&target.aws, target.signed_for.as_deref()) {
            (Some(aws), _) => aws.service == "s3",
            (None, Some(service)) => service == "s3",
            // Unsigned, on a host that says nothing: only S3 is written to by PUT and DELETE.
            (None, None) => matches!(target.method, Method::PUT | Method::DELETE),
        }
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&place(target).0)
    }

    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        Some(Policy::s3(asked.region.clone(), asked.is_tls))
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.object
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let (bucket, key) = place(&call.target);
        let action = match (call.target.method.as_str(), bucket.is_empty(), key.is_empty()) {
            (_, true, _) => "ListAllMyBuckets",
            ("PUT", _, true) => "CreateBucket",
            ("GET" | "HEAD", _, true) => "ListBucket",
            ("PUT", _, false) => "PutObject",
            ("DELETE", _, false) => "DeleteObject",
            ("DELETE", _, true) => "DeleteBucket",
            _ => "GetObject",
        };
        let slash = if key.is_empty() { "" } else { "/" };
        Some((format!("s3:{action}"), format!("arn:aws:s3:::{bucket}{slash}{key}")))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let (bucket, key) = place(&call.target);
        // Before anything else about the request, as S3 does: a name that no bucket can have is nobody's.
        if !bucket.is_empty() && !is_bucket_name(&bucket) {
            return Err(bad("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", &bucket));
        }
        check_owner(call)?;
        // A part of an upload that nobody began, as S3 answers whoever may write there.
        let is_part = call.target.parameter("partNumber").is_some() && call.target.parameter("uploadId").is_some();
        if call.target.method == Method::PUT && is_part && !key.is_empty() {
            let words = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                         aborted or completed.";
            return Err(ServiceError::new(StatusCode::NOT_FOUND, "NoSuchUpload", words));
        }
        for unknown in ["uploads", "uploadId", "partNumber", "versionId", "acl", "tagging", "policy", "versioning"] {
            if call.target.parameter(unknown).is_some() {
                return Err(not_played(&format!("the query parameter '{unknown}'")));
            }
        }
        if key.len() > LONGEST_KEY {
            return Err(bad("KeyTooLongError", "Your key is too long"));
        }
        match (call.target.method.as_str(), bucket.is_empty(), key.is_empty()) {
            ("GET", true, _) => Ok(buckets(core, call).into()),
            ("PUT", false, true) => Ok(Reply::empty(StatusCode::OK).with("location", &format!("/{bucket}")).into()),
            ("HEAD", false, true) => Ok(Reply::empty(StatusCode::OK).into()),
            ("GET", false, true) => list(core, call, &bucket).map(Done::from),
            ("PUT", false, false) => put(core, call, &bucket, &key),
            ("GET" | "HEAD", false, false) => get(core, call, &bucket, &key).map(Done::from),
            ("DELETE", false, false) => {
                core.objects.lock().delete(&bucket, &key).map_err(|e| internal(&e))?;
                Ok(Reply::empty(StatusCode::NO_CONTENT).into())
            }
            _ => Err(ServiceError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )),
        }
    }
}

/// Bucket and key, decoded. Either may be empty.
fn place(target: &Target) -> (String, String) {
    let path = target.decoded_path();
    let path = path.strip_prefix('/').unwrap_or(&path);
    let virtual_bucket = match &target.aws {
        Some(aws) if !aws.prefix.starts_with("vpce-") => Some(aws.prefix.as_str()),
        Some(_) => None,
        None => target.host_name().strip_suffix(".localhost").map(|name| name.strip_suffix(".s3").unwrap_or(name)),
    };
    match virtual_bucket.filter(|bucket| !bucket.is_empty() && *bucket != "s3") {
        Some(bucket) => (bucket.to_owned(), path.to_owned()),
        None => {
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            (bucket.to_owned(), key.to_owned())
        }
    }
}

/// The rules of S3's user guide, "General purpose bucket naming rules".
fn is_bucket_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let labels: Vec<&str> = name.split('.').collect();
    let is_label = |label: &&str| !label.is_empty() && label.chars().all(|c| is_plain(c) || c == '-');
    let is_address = labels.len() == 4 && labels.iter().all(|label| label.parse::<u8>().is_ok());
    (3..=63).contains(&name.len())
        && labels.iter().all(is_label)
        && name.starts_with(is_plain)
        && name.ends_with(is_plain)
        && !is_address
        && !["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|reserved| name.starts_with(reserved))
}

fn bad(code: &str, message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, code, message)
}

fn not_played(what: &str) -> ServiceError {
    ServiceError::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("the sandbox does not play {what}"))
}

fn internal(error: &std::io::Error) -> ServiceError {
    ServiceError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("the sandbox's directory: {error}"))
}

fn header<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    call.headers.get(name)?.to_str().ok()
}

fn check_owner(call: &Call) -> Result<(), ServiceError> {
    let owner = call.caller.as_ref().map(|caller| caller.account_id.as_str());
    match header(call, "x-amz-expected-bucket-owner") {
        Some(expected) if Some(expected) != owner => {
            Err(ServiceError::new(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"))
        }
        _ => Ok(()),
    }
}

fn put(core: &Core, call: &Call, bucket: &str, key: &str) -> Result<Done, ServiceError> {
    let if_absent = match header(call, "if-none-match") {
        None => false,
        Some("*") => true,
        Some(_) => return Err(not_played("If-None-Match with an entity tag")),
    };
    for unknown in ["if-match", "x-amz-copy-source"] {
        if call.headers.contains_key(unknown) {
            return Err(not_played(&format!("the header {unknown}")));
        }
    }
    let digests = [
        ("content-md5", Md5::digest(&call.body).to_vec()),
        ("x-amz-checksum-sha256", Sha256::digest(&call.body).to_vec()),
    ];
    for (name, digest) in digests {
        if header(call, name).is_some_and(|given| given != BASE64_STANDARD.encode(&digest)) {
            return Err(bad("BadDigest", &format!("The {name} you specified did not match what we received.")));
        }
    }
    let raw = decompress(&call.body, core.limits.decompressed).ok();
    let samples = raw.as_ref().and_then(|raw| walk(raw, |_| {}).ok()).filter(|counts| counts.series > 0);
    let put = core.objects.lock().put(
        bucket,
        key,
        &call.body,
        kept_headers(call),
        if_absent,
        samples.map(|counts| counts.samples),
        call.now_ms,
    );
    match put {
        Put::Stored { etag } => {
            let stored = match raw.filter(|_| samples.is_some()) {
                Some(raw) => {
                    let destination = format!("s3:{bucket}");
                    core.series.lock().ingest(&destination, call.caller_arn(), call.now_ms, &raw).unwrap_or_default()
                }
                None => Default::default(),
            };
            let reply = Reply::empty(StatusCode::OK).with("etag", &format!("\"{etag}\""));
            Ok(Done::new(reply, stored.samples))
        }
        Put::Exists => Err(ServiceError::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", "If-None-Match")),
        Put::Full => Err(ServiceError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SlowDown",
            "the sandbox keeps no more objects; reset it or raise its limits",
        )),
        Put::Failed(e) => Err(internal(&e)),
    }
}

/// The headers that S3 gives back with the object.
fn kept_headers(call: &Call) -> Vec<(String, String)> {
    let mut room = KEPT_HEADERS;
    let mut kept = Vec::new();
    for (name, value) in &call.headers {
        let name = name.as_str();
        let is_kept = matches!(
            name,
            "content-type" | "content-encoding" | "cache-control" | "content-disposition" | "x-amz-storage-class"
        ) || name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-server-side-encryption");
        if let (true, Ok(value)) = (is_kept, value.to_str())
            && let Some(left) = room.checked_sub(name.len() + value.len())
        {
            room = left;
            kept.push((name.to_owned(), value.to_owned()));
        }
    }
    kept
}

fn get(core: &Core, call: &Call, bucket: &str, key: &str) -> Result<Reply, ServiceError> {
    let found: Option<Object> = core.objects.lock().get(bucket, key).cloned();
    let Some(object) = found else {
        return Err(
            ServiceError::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.").with("Key", key)
        );
    };
    let is_head = call.target.method == Method::HEAD;
    let body = if is_head { bytes::Bytes::new() } else { object.read().map_err(|e| internal(&e))? };
    let mut reply = Reply::new(StatusCode::OK, "binary/octet-stream", body)
        .with("etag", &format!("\"{}\"", object.etag))
        .with("last-modified", &http_date(object.stored_ms))
        .with("content-length", &object.size.to_string());
    for (name, value) in &object.headers {
        reply = reply.with(name, value);
    }
    Ok(reply)
}

fn buckets(core: &Core, call: &Call) -> Reply {
    let names = core.objects.lock().buckets();
    let created = extended_utc(call.now_ms);
    let entries: String = names
        .iter()
        .map(|name| format!("<Bucket><Name>{}</Name><CreationDate>{created}</CreationDate></Bucket>", escape(name)))
        .collect();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Buckets>{entries}</Buckets></ListAllMyBucketsResult>"
    );
    Reply::new(StatusCode::OK, "application/xml", body)
}

fn list(core: &Core, call: &Call, bucket: &str) -> Result<Reply, ServiceError> {
    let target = &call.target;
    if target.parameter("list-type").as_deref() != Some("2") {
        return Err(not_played("ListObjects version 1; ask with list-type=2"));
    }
    let most = match target.parameter("max-keys") {
        None => PAGE,
        Some(text) => text.parse::<usize>().map_err(|_| bad("InvalidArgument", "max-keys is not a number"))?.min(PAGE),
    };
    let after = match target.parameter("continuation-token") {
        Some(token) => hex::decode(&token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| bad("InvalidArgument", "The continuation token provided is incorrect"))?,
        None => target.parameter("start-after").unwrap_or_default(),
    };
    let prefix = target.parameter("prefix").unwrap_or_default();
    let delimiter = target.parameter("delimiter").unwrap_or_default();
    let page =
        if most == 0 { Page::default() } else { core.objects.lock().list(bucket, &prefix, &delimiter, &after, most) };
    let as_url = target.parameter("encoding-type").as_deref() == Some("url");
    let shown = |text: &str| {
        if as_url { percent_encoding::utf8_percent_encode(text, URL).to_string() } else { escape(text) }
    };
    let mut body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{most}</MaxKeys><IsTruncated>{}</IsTruncated>",
        escape(bucket),
        shown(&prefix),
        page.objects.len() + page.prefixes.len(),
        page.next.is_some()
    );
    if let Some(next) = &page.next {
        body.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", hex::encode(next)));
    }
    for (key, object) in &page.objects {
        body.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            shown(key),
            extended_utc(object.stored_ms),
            object.etag,
            object.size
        ));
    }
    for prefix in &page.prefixes {
        body.push_str(&format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", shown(prefix)));
    }
    body.push_str("</ListBucketResult>");
    Ok(Reply::new(StatusCode::OK, "application/xml", body))
}

/// What `encoding-type=url` encodes.
const URL: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
