//! S3 and STS as the sandbox plays them, seen from a signing client.

mod support;

use std::time::{Duration, SystemTime};

use sandbox::{Identity, ObjectStorage, Running, SandboxConfig};
use support::{Answer, Signer, client, send, start, write_request};

async fn call(running: &Running, method: &str, path: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    signed(running, &Signer::new("s3"), method, path, body, headers).await
}

async fn signed(
    running: &Running,
    signer: &Signer,
    method: &str,
    path: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(format!("{}{path}", running.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.to_vec()).unwrap();
    signer.sign(&mut request);
    send(&client(), request).await.unwrap()
}

fn codes(body: &str, element: &str) -> Vec<String> {
    let open = format!("<{element}>");
    body.split(&open).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_object_is_stored_once_and_comes_back_whole() {
    let running = start(SandboxConfig::default()).await;
    let path = "/my-bucket/prometheus/remote-write/a%20b%2Bc.snappy";
    let put = call(&running, "PUT", path, b"hello", &[("if-none-match", "*"), ("content-type", "text/x-test")]).await;
    assert_eq!((put.status, put.header("etag")), (200, "\"5d41402abc4b2a76b9719d911017c592\""));
    assert!(!put.header("x-amz-request-id").is_empty() && !put.header("x-amz-id-2").is_empty());
    let again = call(&running, "PUT", path, b"other", &[("if-none-match", "*")]).await;
    assert_eq!((again.status, codes(&again.body, "Code")), (412, vec!["PreconditionFailed".to_owned()]));
    let get = call(&running, "GET", path, b"", &[]).await;
    assert_eq!((get.status, get.body.as_str(), get.header("content-type")), (200, "hello", "text/x-test"));
    let head = call(&running, "HEAD", path, b"", &[]).await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "5", ""));
    assert_eq!(&running.object("my-bucket", "prometheus/remote-write/a b+c.snappy").unwrap()[..], b"hello");
    assert_eq!(running.objects().len(), 1);
    assert_eq!(call(&running, "DELETE", path, b"", &[]).await.status, 204);
    let gone = call(&running, "GET", path, b"", &[]).await;
    assert_eq!((gone.status, codes(&gone.body, "Code")), (404, vec!["NoSuchKey".to_owned()]));
}

#[tokio::test]
async fn listings_are_paged_and_folded() {
    let running = start(SandboxConfig::default()).await;
    for key in ["p/a", "p/b", "p/c/d", "q"] {
        assert_eq!(call(&running, "PUT", &format!("/my-bucket/{key}"), b"x", &[]).await.status, 200);
    }
    let first = call(&running, "GET", "/my-bucket?list-type=2&prefix=p%2F&max-keys=2", b"", &[]).await;
    assert_eq!(codes(&first.body, "Key"), ["p/a", "p/b"]);
    assert_eq!(codes(&first.body, "IsTruncated"), ["true"]);
    let token = &codes(&first.body, "NextContinuationToken")[0];
    let path = format!("/my-bucket?list-type=2&prefix=p%2F&continuation-token={token}");
    assert_eq!(codes(&call(&running, "GET", &path, b"", &[]).await.body, "Key"), ["p/c/d"]);
    let folded = call(&running, "GET", "/my-bucket?list-type=2&delimiter=%2F", b"", &[]).await;
    assert_eq!(codes(&folded.body, "Key"), ["q"]);
    assert!(folded.body.contains("<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"));
    assert!(call(&running, "GET", "/", b"", &[]).await.body.contains("<Name>my-bucket</Name>"));
}

#[tokio::test]
async fn a_write_request_in_an_object_is_read() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    let body = snap::raw::Encoder::new().compress_vec(&write_request("up", &[(1000, 1.0), (2000, 0.0)])).unwrap();
    for _ in 0..2 {
        call(&running, "PUT", "/my-bucket/prometheus/remote-write/1", &body, &[("if-none-match", "*")]).await;
    }
    assert_eq!(running.objects()[0].samples, Some(2));
    let dump = running.samples(Some("s3:my-bucket"), Some("up"));
    assert!(dump[0].samples.iter().all(|sample| sample.count == 1) && dump[0].samples.len() == 2);
    assert_eq!(running.state().destinations[0].samples, 2);
}

#[tokio::test]
async fn wrong_identities_are_refused_in_s3s_own_words() {
    let expired = Identity::user("AKIDEXPIRED", "hush").expiring_at(SystemTime::UNIX_EPOCH);
    let config = SandboxConfig {
        identities: vec![Identity::example(), expired, Identity::user("AKIDREADER", "hush").allowing(["s3:GetObject"])],
        region: Some("us-east-1".to_owned()),
        ..SandboxConfig::default()
    };
    let running = start(config).await;
    let good = Signer::new("s3");
    let keyed = |key: &str| Signer { key: key.into(), secret: "hush".into(), ..good.clone() };
    let cases = [
        (403, "SignatureDoesNotMatch", Signer { secret: "wrong".into(), ..good.clone() }),
        (403, "InvalidAccessKeyId", keyed("AKIDNOBODY")),
        (400, "InvalidToken", Signer { token: Some("t".into()), ..good.clone() }),
        (400, "ExpiredToken", keyed("AKIDEXPIRED")),
        (400, "AuthorizationHeaderMalformed", Signer { region: "eu-west-1".into(), ..good.clone() }),
        (403, "RequestTimeTooSkewed", Signer { at: SystemTime::now() - Duration::from_secs(910), ..good.clone() }),
        (403, "AccessDenied", keyed("AKIDREADER")),
    ];
    for (status, code, signer) in cases {
        let answer = signed(&running, &signer, "PUT", "/my-bucket/key", b"x", &[]).await;
        assert_eq!((answer.status, codes(&answer.body, "Code")), (status, vec![code.to_owned()]));
    }
    let late = Signer { at: SystemTime::now() - Duration::from_secs(600), ..good };
    assert_eq!(signed(&running, &late, "PUT", "/my-bucket/key", b"x", &[]).await.status, 200);
    let region =
        signed(&running, &Signer { region: "eu-west-1".into(), ..late }, "PUT", "/my-bucket/key", b"x", &[]).await;
    assert_eq!(codes(&region.body, "Region"), ["us-east-1"]);
}

#[tokio::test]
async fn the_payload_hash_must_be_sent_and_be_true() {
    let running = start(SandboxConfig::default()).await;
    let mut request = http::Request::put(format!("{}/my-bucket/k", running.url())).body(b"x".to_vec()).unwrap();
    Signer::new("s3").sign(&mut request);
    let mut changed = request.clone();
    *changed.body_mut() = b"y".to_vec();
    let answer = send(&client(), changed).await.unwrap();
    assert_eq!((answer.status, codes(&answer.body, "Code")), (400, vec!["XAmzContentSHA256Mismatch".to_owned()]));
    for (value, status, code) in [
        ("UNSIGNED-PAYLOAD", 400, "InvalidRequest"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 501, "NotImplemented"),
        ("short", 400, "InvalidRequest"),
    ] {
        let mut other = request.clone();
        other.headers_mut().insert("x-amz-content-sha256", value.parse().unwrap());
        let answer = send(&client(), other).await.unwrap();
        assert_eq!((answer.status, codes(&answer.body, "Code")), (status, vec![code.to_owned()]), "{value}");
    }
    let md5 = call(&running, "PUT", "/my-bucket/k", b"x", &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")]).await;
    assert_eq!(codes(&md5.body, "Code"), ["BadDigest"]);
    let owner = call(&running, "PUT", "/my-bucket/k", b"x", &[("x-amz-expected-bucket-owner", "111111111111")]).await;
    assert_eq!((owner.status, running.objects().len()), (403, 0));
}

#[tokio::test]
async fn a_presigned_url_puts_an_object() {
    let running = start(SandboxConfig::default()).await;
    let signer = Signer { presigned: Some(Duration::from_secs(60)), ..Signer::new("s3") };
    assert_eq!(signed(&running, &signer, "PUT", "/my-bucket/k", b"anything", &[]).await.status, 200);
}

#[tokio::test]
async fn unsigned_puts_are_denied() {
    let running = start(SandboxConfig::default()).await;
    let request = http::Request::put(format!("{}/my-bucket/k", running.url())).body(b"x".to_vec()).unwrap();
    let answer = send(&client(), request).await.unwrap();
    assert_eq!((answer.status, codes(&answer.body, "Code")), (403, vec!["AccessDenied".to_owned()]));
    assert_eq!(running.state().recent_refusals[0].name, "unsigned");
}

#[tokio::test]
async fn a_directory_outlives_the_sandbox() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        || SandboxConfig { objects: ObjectStorage::Directory(directory.path().to_owned()), ..SandboxConfig::default() };
    let running = start(config()).await;
    assert_eq!(call(&running, "PUT", "/my-bucket/a/b", b"kept", &[]).await.status, 200);
    running.stop().await;
    assert_eq!(std::fs::read(directory.path().join("my-bucket/a/b")).unwrap(), b"kept");
    let running = start(config()).await;
    assert_eq!(call(&running, "GET", "/my-bucket/a/b", b"", &[]).await.body, "kept");
}

#[tokio::test]
async fn sts_says_who_calls() {
    let running = start(SandboxConfig::default()).await;
    let form: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
    let body = b"Action=GetCallerIdentity&Version=2011-06-15";
    let answer = signed(&running, &Signer::new("sts"), "POST", "/", body, form).await;
    assert_eq!(answer.status, 200);
    assert_eq!(codes(&answer.body, "Arn"), ["arn:aws:iam::000000000000:user/sandbox"]);
    assert_eq!(codes(&answer.body, "Account"), ["000000000000"]);
    assert_eq!(codes(&answer.body, "RequestId"), [answer.header("x-amzn-requestid")]);
    let wrong = Signer { secret: "wrong".into(), ..Signer::new("sts") };
    let answer = signed(&running, &wrong, "POST", "/", body, form).await;
    assert_eq!((answer.status, codes(&answer.body, "Code")), (403, vec!["SignatureDoesNotMatch".to_owned()]));
    let other = signed(&running, &Signer::new("sts"), "POST", "/", b"Action=GetSessionToken", form).await;
    assert_eq!((other.status, codes(&other.body, "Code")), (400, vec!["InvalidAction".to_owned()]));
}

#[tokio::test]
async fn a_service_that_is_not_played_is_verified_and_told_so() {
    let running = start(SandboxConfig::default()).await;
    let answer = signed(&running, &Signer::new("ec2"), "POST", "/", b"{}", &[]).await;
    assert_eq!(answer.status, 501);
    assert!(answer.body.contains("does not play 'ec2'"), "{}", answer.body);
    let wrong = Signer { secret: "wrong".into(), ..Signer::new("ec2") };
    let answer = signed(&running, &wrong, "POST", "/", b"{}", &[]).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, "InvalidSignatureException"));
}
