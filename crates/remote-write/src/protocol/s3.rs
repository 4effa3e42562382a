//! Remote write into a bucket: one PUT per batch of the snappy `WriteRequest` that would have been posted.
//!
//! Keeps true: an object's name is a function of its samples' place in the queue and of the frames' own bytes, so the
//! batch that is sent again after a crash has the same name, and `If-None-Match: *` makes storing it twice impossible.
//! The digest in the name keeps two agents (or one whose data directory was emptied) apart when they share a prefix:
//! item numbers alone would collide, and a collision would be taken for a batch already stored.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use url::Url;

use super::{Extent, Parcel, send_address};
use crate::verdict::{Verdict, described, error_code, judge_common};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct S3 {
    /// Bucket and prefix; the path has no slash at its end.
    address: Url,
    headers: Vec<(&'static str, String)>,
}

impl S3 {
    pub(crate) fn new(mut address: Url, headers: [(&'static str, Option<String>); 4]) -> Self {
        let path = address.path().trim_end_matches('/').to_owned();
        address.set_path(&path);
        let headers =
            headers.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?))).collect();
        Self { address, headers }
    }

    pub(crate) fn request(&self, parcel: &Parcel) -> Result<Request<Bytes>, http::Error> {
        let name = parcel.extent.as_ref().map(object_name).unwrap_or_default();
        // No `Content-Encoding`: snappy blocks are no HTTP coding, and clients that meet it on a download fail. The type
        // says what it is, and `sigpost replay` knows.
        self.put(&name)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header("x-amz-meta-encoding", "snappy-block")
            .header("x-amz-meta-message", "prometheus.WriteRequest")
            .header("x-amz-meta-samples", parcel.samples)
            .body(parcel.body.clone())
    }

    /// The PUT of an object under the prefix that must not exist yet, but for its type and body.
    pub(crate) fn put(&self, name: &str) -> http::request::Builder {
        let mut address = self.address.clone();
        address.set_path(&format!("{}/{name}", self.address.path().trim_end_matches('/')));
        let mut request = Request::put(address.as_str()).header(header::IF_NONE_MATCH, "*");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request
    }

    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Verdict {
        // The object is there: an attempt whose answer got lost, or one before a crash.
        if status == StatusCode::PRECONDITION_FAILED {
            return Verdict::Accepted;
        }
        if status == StatusCode::CONFLICT {
            return Verdict::Retry { after: None, pressure: false, why: described("409", body) };
        }
        if status == StatusCode::NOT_FOUND {
            return Verdict::Hold {
                why: format!("{}; check the bucket's name and region in the url", described("404", body)),
            };
        }
        if status.as_u16() == 301 || status.as_u16() == 307 {
            let region = headers.get("x-amz-bucket-region").and_then(|v| v.to_str().ok()).unwrap_or("another region");
            return Verdict::Hold {
                why: format!(
                    "{}; the bucket is in {region}: set region and url to it",
                    described(status.as_str(), body)
                ),
            };
        }
        if let Some(verdict) = judge_common(status, headers, body, true) {
            return verdict;
        }
        let what = error_code(status, headers, body).unwrap_or_else(|| status.as_u16().to_string());
        let message = described(&what, body);
        match what.as_str() {
            // The body came through damaged: the same bytes once more.
            "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" => {
                Verdict::Retry { after: None, pressure: false, why: message }
            }
            // Bodies are never at fault with S3, which does not look inside: it is how we ask.
            _ => Verdict::Hold { why: format!("{message}; check this destination's S3 settings") },
        }
    }
}

/// `<lane>/<yyyy>/<mm>/<dd>/<hh>/<first item>-<last item>-<digest>.snappy`, times in UTC. Sorts by place in the lane.
pub(crate) fn object_name(extent: &Extent) -> String {
    object_name_with(extent, "snappy")
}

/// The same with another ending.
pub(crate) fn object_name_with(extent: &Extent, ending: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(extent.ingest_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    format!(
        "{}/{:04}/{:02}/{:02}/{:02}/{:020}-{:020}-{}.{ending}",
        extent.lane,
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        extent.first_item,
        extent.last_item,
        hex::encode(extent.digest),
    )
}

/// Where objects go. With another endpoint, a bucket in the host name moves to the front of the path, since that endpoint
/// does not know the host name.
pub(crate) fn address(url: &Url, endpoint: Option<&Url>) -> Url {
    let Some(bucket) = endpoint.and(bucket_in_host(url)) else {
        return send_address(url, endpoint);
    };
    let mut pathed = url.clone();
    pathed.set_path(&format!("/{bucket}{}", url.path()));
    send_address(&pathed, endpoint)
}

/// The bucket of a virtual-host style URL (`bucket.s3.eu-west-1.amazonaws.com`).
pub(crate) fn bucket_in_host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let service = [".s3.", ".s3-"].iter().filter_map(|mark| host.find(mark)).min()?;
    let is_aws = host.contains(".amazonaws.com") || host.ends_with(".api.aws");
    (service > 0 && is_aws).then(|| host[..service].to_owned())
}

#[cfg(test)]
mod tests {
    use pipeline::LaneId;

    use super::*;

    fn extent() -> Extent {
        Extent {
            lane: LaneId::new("metrics-default").unwrap(),
            first_item: 7,
            last_item: 2006,
            ingest_ms: 1_700_000_000_000,
            digest: [0xab; 8],
        }
    }

    fn s3(url: &str, endpoint: Option<&str>) -> S3 {
        let endpoint = endpoint.map(|e| Url::parse(e).unwrap());
        S3::new(
            address(&Url::parse(url).unwrap(), endpoint.as_ref()),
            [
                ("x-amz-storage-class", Some("STANDARD_IA".into())),
                ("x-amz-expected-bucket-owner", None),
                ("a", None),
                ("b", None),
            ],
        )
    }

    const NAME: &str =
        "metrics-default/2023/11/14/22/00000000000000000007-00000000000000002006-abababababababab.snappy";

    #[test]
    fn objects_go_under_the_path_of_the_url_and_are_never_replaced() {
        let parcel = Parcel { body: Bytes::from_static(b"x"), extent: Some(extent()), samples: 2000 };
        for url in [
            "https://b.s3.eu-west-1.amazonaws.com/prometheus/remote-write",
            "https://b.s3.eu-west-1.amazonaws.com/prometheus/remote-write/",
        ] {
            let request = s3(url, None).request(&parcel).unwrap();
            assert_eq!(request.method(), "PUT");
            assert_eq!(
                request.uri().to_string(),
                format!("https://b.s3.eu-west-1.amazonaws.com/prometheus/remote-write/{NAME}")
            );
            assert_eq!(request.headers()["if-none-match"], "*");
            assert_eq!(request.headers()["x-amz-storage-class"], "STANDARD_IA");
            assert!(!request.headers().contains_key("x-amz-expected-bucket-owner"));
        }
        let root = s3("https://b.s3.eu-west-1.amazonaws.com", None).request(&parcel).unwrap();
        assert_eq!(root.uri().path(), format!("/{NAME}"));
    }

    #[test]
    fn another_endpoint_gets_the_bucket_in_the_path() {
        let parcel = Parcel { body: Bytes::new(), extent: Some(extent()), samples: 1 };
        let request =
            s3("https://b.s3.eu-west-1.amazonaws.com/p", Some("http://127.0.0.1:9000")).request(&parcel).unwrap();
        assert_eq!(request.uri().to_string(), format!("http://127.0.0.1:9000/b/p/{NAME}"));
        let request =
            s3("https://s3.eu-west-1.amazonaws.com/b/p", Some("http://127.0.0.1:9000/")).request(&parcel).unwrap();
        assert_eq!(request.uri().to_string(), format!("http://127.0.0.1:9000/b/p/{NAME}"));
    }

    #[test]
    fn an_object_that_is_there_already_is_a_success_and_nothing_about_the_bucket_is_a_loss() {
        let s3 = s3("https://b.s3.eu-west-1.amazonaws.com/p", None);
        let judge = |status: u16, body: &str| {
            s3.judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
        };
        assert_eq!(judge(200, ""), Verdict::Accepted);
        assert_eq!(judge(412, "<Error><Code>PreconditionFailed</Code></Error>"), Verdict::Accepted);
        assert!(matches!(judge(409, "<Error><Code>ConditionalRequestConflict</Code></Error>"), Verdict::Retry { .. }));
        assert!(matches!(judge(503, "<Error><Code>SlowDown</Code></Error>"), Verdict::Retry { pressure: true, .. }));
        for (status, code) in
            [(404, "NoSuchBucket"), (403, "AccessDenied"), (301, "PermanentRedirect"), (400, "InvalidArgument")]
        {
            assert!(
                matches!(judge(status, &format!("<Error><Code>{code}</Code></Error>")), Verdict::Hold { .. }),
                "{code}"
            );
        }
        assert!(matches!(judge(400, "<Error><Code>EntityTooLarge</Code></Error>"), Verdict::TooLarge { .. }));
    }
}
