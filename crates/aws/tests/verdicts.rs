//! The verdict table for every service that a destination may be: each refusal in the shape in which that service gives it,
//! by a sandbox that verifies, and what the identity makes of it.

mod support;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws::{CredentialSource, Identity, IdentityConfig};
use bytes::Bytes;
use http::{Method, Request};
use net::{Answer, Authorize, IdentityVerdict};
use sandbox::{Fault, Outcome, Running, Sandbox, SandboxConfig};
use support::{config, context, static_keys};

const SECRET: &str = "MARKER-of-a-secret";
const TIMEOUT: Duration = Duration::from_secs(30);
const JSON: &str = "application/x-amz-json-1.1";

/// One request as a sender of that service makes it.
struct Sort {
    service: &'static str,
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [u8],
    /// `None`: no policy can forbid it.
    action: Option<&'static str>,
}

/// An empty `WriteRequest` in snappy.
const NOTHING: &[u8] = &[0];

fn sorts() -> [Sort; 8] {
    let sort =
        |service, path, headers, body, action| Sort { service, method: Method::POST, path, headers, body, action };
    const WRITE: &[(&str, &str)] = &[
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    [
        sort("aps", "/workspaces/ws-1/api/v1/remote_write", WRITE, NOTHING, Some("aps:RemoteWrite")),
        Sort { method: Method::PUT, ..sort("s3", "/bucket/key", &[], b"x", Some("s3:PutObject")) },
        sort(
            "logs",
            "/",
            &[("content-type", JSON), ("x-amz-target", "Logs_20140328.PutLogEvents")],
            br#"{"logGroupName":"g","logStreamName":"s","logEvents":[]}"#,
            Some("logs:PutLogEvents"),
        ),
        sort(
            "firehose",
            "/",
            &[("content-type", JSON), ("x-amz-target", "Firehose_20150804.PutRecordBatch")],
            br#"{"DeliveryStreamName":"s","Records":[{"Data":"eA=="}]}"#,
            Some("firehose:PutRecordBatch"),
        ),
        sort(
            "kinesis",
            "/",
            &[("content-type", JSON), ("x-amz-target", "Kinesis_20131202.PutRecords")],
            br#"{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k"}]}"#,
            Some("kinesis:PutRecords"),
        ),
        sort(
            "xray",
            "/TraceSegments",
            &[("content-type", "application/json")],
            br#"{"TraceSegmentDocuments":["{}"]}"#,
            Some("xray:PutTraceSegments"),
        ),
        sort(
            "sts",
            "/",
            &[("content-type", "application/x-www-form-urlencoded")],
            b"Action=GetCallerIdentity&Version=2011-06-15",
            None,
        ),
        sort("execute-api", "/prod/api/v1/remote_write", WRITE, NOTHING, Some("execute-api:Invoke")),
    ]
}

struct Line {
    identity: Arc<Identity>,
    client: net::Client,
    url: String,
    sort: Sort,
}

impl Line {
    fn new(cloud: &Running, sort: Sort, source: CredentialSource) -> Self {
        let url = format!("{}{}", cloud.url(), sort.path);
        let block = IdentityConfig { service: Some(sort.service.to_owned()), ..config(source) };
        let identity = aws::build(&block, &url.parse().unwrap(), sort.service, "prod", &context()).unwrap();
        let client = net::Client::new(&net::HttpClientConfig::default(), net::ClientOptions::default()).unwrap();
        Self { identity, client, url, sort }
    }

    /// Signs the same bytes again and sends them.
    async fn send(&self) -> (u16, IdentityVerdict) {
        let mut request = Request::builder().method(self.sort.method.clone()).uri(&self.url);
        for (name, value) in self.sort.headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Bytes::from_static(self.sort.body)).unwrap();
        self.identity.authorize(&mut request).await.unwrap();
        let reply = self.client.send(request, TIMEOUT, 1 << 20).await.unwrap();
        let verdict = self.identity.judge(&Answer {
            status: reply.status,
            headers: &reply.headers,
            body: &reply.body,
            sent_at: reply.sent_at,
            received_at: reply.received_at,
        });
        (reply.status.as_u16(), verdict)
    }

    async fn retried(&self) {
        let (status, verdict) = self.send().await;
        assert!(matches!(verdict, IdentityVerdict::RetryNow { .. }), "{}: {status} {verdict:?}", self.sort.service);
    }

    async fn held(&self, words: &str) {
        let (status, verdict) = self.send().await;
        let IdentityVerdict::Hold { why } = verdict else { panic!("{}: {status} {verdict:?}", self.sort.service) };
        assert!(why.contains(words) && !why.contains("MARKER"), "{}: {why}", self.sort.service);
    }

    async fn accepted(&self, what: &str) {
        let (status, verdict) = self.send().await;
        assert_eq!(verdict, IdentityVerdict::Unrelated, "{} {what}: {status}", self.sort.service);
        assert!(!matches!(status, 401 | 403), "{} {what}: {status}", self.sort.service);
    }
}

fn temporary(key: &str) -> CredentialSource {
    let CredentialSource::Static { access_key, secret_key, .. } = static_keys(key, SECRET) else { unreachable!() };
    CredentialSource::Static { access_key, secret_key, session_token: Some(support::inline("MARKER-token")) }
}

async fn cloud() -> Running {
    let user = |key: &str| sandbox::Identity::user(key, SECRET);
    let over = SystemTime::now() - Duration::from_secs(60);
    let identities = vec![
        user("AKIDWRITER"),
        user("AKIDPOWERLESS").allowing(["none:None"]),
        user("AKIDFORBIDDEN").denying(["*"]),
        user("ASIDOVER").with_session_token("MARKER-token").expiring_at(over),
    ];
    let region = Some("us-east-1".to_owned());
    Sandbox::start(SandboxConfig { identities, region, ..SandboxConfig::default() }).await.unwrap()
}

#[tokio::test]
async fn every_row_of_the_table_holds_for_every_service() {
    let cloud = cloud().await;
    for sort in sorts() {
        let (service, action) = (sort.service, sort.action);
        let line = |source| {
            let sort = sorts().into_iter().find(|s| s.service == service).unwrap();
            Line::new(&cloud, sort, source)
        };
        line(static_keys("AKIDWRITER", SECRET)).accepted("with the right keys").await;

        let over = line(temporary("ASIDOVER"));
        over.retried().await;
        over.held("expired").await;

        let wrong = line(static_keys("AKIDWRITER", "another"));
        wrong.retried().await;
        wrong.held("the secret key does not belong to this key id").await;

        let unknown = line(static_keys("AKIDNOBODY", SECRET));
        unknown.retried().await;
        unknown.held("AWS does not know this key").await;

        if let Some(action) = action {
            let powerless = line(static_keys("AKIDPOWERLESS", SECRET));
            powerless.held(&format!("allow {action}")).await;
            powerless.held("no policy allows it").await;
            line(static_keys("AKIDFORBIDDEN", SECRET)).held("denies it explicitly").await;
        }

        for skew_ms in [7_200_000, -7_200_000] {
            cloud.clock().set_skew_ms(skew_ms);
            let skewed = line(static_keys("AKIDWRITER", SECRET));
            skewed.retried().await;
            skewed.accepted("with AWS's time").await;
            cloud.clock().set_skew_ms(0);
            // The clock came right again by itself.
            skewed.retried().await;
            skewed.accepted("with the right time").await;
        }

        cloud.fault(Fault::outcome(service, Outcome::Throttle));
        let (status, verdict) = line(static_keys("AKIDWRITER", SECRET)).send().await;
        assert_eq!(verdict, IdentityVerdict::Unrelated, "{service}: throttling is no matter of identity");
        assert!(status >= 400, "{service}: {status}");
    }
}
