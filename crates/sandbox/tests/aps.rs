//! Amazon Managed Service for Prometheus as the sandbox plays it, seen from a signing client.

mod support;

use std::time::{Duration, SystemTime};

use sandbox::{Clock, Identity, SampleRules, SandboxConfig};
use support::{Answer, Signer, client, remote_write, send, start};

const AT: i64 = 1_700_000_000_000;

async fn post(running: &sandbox::Running, signer: &Signer) -> Answer {
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &[(AT, 1.0)]);
    signer.sign(&mut request);
    send(&client(), request).await.unwrap()
}

#[tokio::test]
async fn a_signed_remote_write_is_stored_and_counted() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    let answer = post(&running, &Signer::new("aps")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(!answer.header("x-amzn-requestid").is_empty());
    assert!(!answer.header("date").is_empty());

    let state = running.state();
    assert_eq!((state.verified, state.refused, state.samples.samples), (1, 0, 1));
    let destination = &state.destinations[0];
    assert_eq!((destination.service.as_str(), destination.resource.as_str()), ("aps", "ws-EXAMPLE"));
    assert_eq!((destination.region.as_str(), destination.access_key_id.as_str()), ("us-east-1", "AKIDSANDBOXEXAMPLE"));
    assert_eq!(destination.caller_arn, "arn:aws:iam::000000000000:user/sandbox");
    let dump = running.samples(Some("aps:ws-EXAMPLE"), Some("up"));
    assert_eq!(dump[0].labels["job"], "node");
    assert_eq!((dump[0].samples[0].timestamp_ms, dump[0].samples[0].value(), dump[0].samples[0].count), (AT, 1.0, 1));
    running.stop().await;
}

#[tokio::test]
async fn every_wrong_identity_is_refused_in_amps_own_words() {
    let temporary = Identity::user("AKIDTEMPORARY", "hush").with_session_token("the-token");
    let expired = Identity::user("AKIDEXPIRED", "hush").expiring_at(SystemTime::UNIX_EPOCH);
    let reader = Identity::user("AKIDREADER", "hush").allowing(["aps:QueryMetrics", "s3:*"]);
    let config = SandboxConfig {
        identities: vec![Identity::example(), temporary, expired, reader],
        region: Some("us-east-1".to_owned()),
        ..SandboxConfig::default()
    };
    let running = start(config).await;
    let good = Signer::new("aps");
    let now = SystemTime::now();
    let keyed = |key: &str, token: Option<&str>| Signer {
        key: key.to_owned(),
        secret: "hush".to_owned(),
        token: token.map(str::to_owned),
        ..good.clone()
    };
    let cases: Vec<(&str, Signer, &str, &str)> = vec![
        (
            "signature",
            Signer { secret: "wrong".into(), ..good.clone() },
            "InvalidSignatureException",
            "The Canonical String for this request should have been\n'POST\n/workspaces/ws-EXAMPLE/api/v1/remote_write",
        ),
        (
            "unknown_key",
            keyed("AKIDNOBODY", None),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        ("token_missing", keyed("AKIDTEMPORARY", None), "UnrecognizedClientException", "is invalid"),
        ("token_wrong", keyed("AKIDTEMPORARY", Some("another")), "UnrecognizedClientException", "is invalid"),
        (
            "token_wrong",
            Signer { token: Some("any".into()), ..good.clone() },
            "UnrecognizedClientException",
            "is invalid",
        ),
        (
            "expired",
            keyed("AKIDEXPIRED", None),
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
        (
            "scope_region",
            Signer { region: "eu-west-1".into(), ..good.clone() },
            "InvalidSignatureException",
            "valid region",
        ),
        (
            "scope_service",
            Signer { service: "es".into(), ..good.clone() },
            "InvalidSignatureException",
            "correct service: 'aps'",
        ),
        (
            "too_old",
            Signer { at: now - Duration::from_secs(302), ..good.clone() },
            "InvalidSignatureException",
            "Signature expired: ",
        ),
        (
            "too_new",
            Signer { at: now + Duration::from_secs(600), ..good.clone() },
            "InvalidSignatureException",
            "Signature not yet current: ",
        ),
        (
            "not_allowed",
            keyed("AKIDREADER", None),
            "AccessDeniedException",
            "is not authorized to perform: aps:RemoteWrite on resource: arn:aws:aps:us-east-1:000000000000:workspace/ws-EXAMPLE",
        ),
    ];
    let count = cases.len();
    for (name, signer, code, message) in cases {
        let answer = post(&running, &signer).await;
        assert_eq!(answer.status, 403, "{name}: {}", answer.body);
        assert_eq!(answer.header("x-amzn-errortype"), code, "{name}");
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let text = body["message"].as_str().unwrap();
        assert!(text.contains(message), "{name}: {text}");
        let refusal = &running.state().recent_refusals[0];
        assert_eq!(refusal.name, name);
        assert!(!refusal.advice.is_empty() && !refusal.reason.is_empty());
    }
    let state = running.state();
    assert_eq!((state.refused, state.verified, state.samples.samples), (count as u64, 0, 0));
    assert_eq!(post(&running, &keyed("AKIDTEMPORARY", Some("the-token"))).await.status, 200);
}

#[tokio::test]
async fn an_unsigned_request_and_a_wrong_path_miss_their_token() {
    let running = start(SandboxConfig::default()).await;
    let url = running.remote_write_url("ws-EXAMPLE");
    let unsigned = send(&client(), remote_write(&url, "up", &[(AT, 1.0)])).await.unwrap();
    assert_eq!((unsigned.status, unsigned.body.as_str()), (403, r#"{"message":"Missing Authentication Token"}"#));

    let mut slashed = remote_write(&format!("{url}/"), "up", &[(AT, 1.0)]);
    Signer::new("aps").sign(&mut slashed);
    let slashed = send(&client(), slashed).await.unwrap();
    assert_eq!((slashed.status, slashed.body.as_str()), (403, r#"{"message":"Missing Authentication Token"}"#));
    assert_eq!(slashed.header("x-amzn-errortype"), "MissingAuthenticationTokenException");
}

#[tokio::test]
async fn what_changes_after_signing_is_found_out() {
    let running = start(SandboxConfig::default()).await;
    let url = running.remote_write_url("ws-EXAMPLE");
    let signed = || {
        let mut request = remote_write(&url, "up", &[(AT, 1.0)]);
        Signer::new("aps").sign(&mut request);
        request
    };
    let mut body = signed();
    *body.body_mut() = remote_write(&url, "down", &[(AT, 1.0)]).into_body();
    let mut header = signed();
    header.headers_mut().insert("content-encoding", "snappy,gzip".parse().unwrap());
    let mut query = signed();
    *query.uri_mut() = format!("{url}?a=b").parse().unwrap();
    for request in [body, header, query] {
        let answer = send(&client(), request).await.unwrap();
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, "InvalidSignatureException"));
    }
    let mut added = signed();
    added.headers_mut().insert("x-amz-added", "1".parse().unwrap());
    assert_eq!(send(&client(), added).await.unwrap().status, 403);
    assert_eq!(running.state().recent_refusals[0].name, "headers_not_signed");
    assert_eq!(running.state().samples.samples, 0);
}

#[tokio::test]
async fn malformed_authorization_is_refused_and_never_a_panic() {
    let running = start(SandboxConfig::default()).await;
    let url = running.remote_write_url("ws-EXAMPLE");
    let scope = "AKIDSANDBOXEXAMPLE/20231114/us-east-1/aps/aws4_request";
    let zeros = "0".repeat(64);
    for authorization in [
        "AWS4-HMAC-SHA256".to_owned(),
        "AWS4-HMAC-SHA256 Credential=".to_owned(),
        "AWS4-HMAC-SHA512 Credential=a".to_owned(),
        "Basic aHVzaDpodXNo".to_owned(),
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host"),
        format!("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature={zeros}"),
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=Host, Signature={zeros}"),
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=;;, Signature={zeros}"),
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=xyz"),
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}", "é".repeat(64)),
    ] {
        let mut request = remote_write(&url, "up", &[(AT, 1.0)]);
        request.headers_mut().insert("authorization", http::HeaderValue::from_bytes(authorization.as_bytes()).unwrap());
        request.headers_mut().insert("x-amz-date", "20231114T221320Z".parse().unwrap());
        let answer = send(&client(), request).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype")),
            (403, "IncompleteSignatureException"),
            "{authorization}"
        );
    }
}

#[tokio::test]
async fn the_remote_write_protocol_is_checked() {
    let running = start(SandboxConfig::default()).await;
    let url = running.remote_write_url("ws-EXAMPLE");
    let mut cases: Vec<(u16, &str, http::Request<Vec<u8>>)> = Vec::new();
    for (status, header, value, text) in [
        (400, "content-encoding", "gzip", "Content-Encoding"),
        (415, "content-type", "application/json", "Content-Type"),
        (415, "content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Type"),
        (400, "x-prometheus-remote-write-version", "2.0.0", "Version"),
        (400, "x-scope-orgid", "tenant", "X-Scope-OrgID"),
    ] {
        let mut request = remote_write(&url, "up", &[(AT, 1.0)]);
        request.headers_mut().insert(header, value.parse().unwrap());
        cases.push((status, text, request));
    }
    let mut bomb = remote_write(&url, "up", &[]);
    *bomb.body_mut() = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    cases.push((413, "more than the limit", bomb));
    let mut garbage = remote_write(&url, "up", &[]);
    *garbage.body_mut() = b"not snappy at all".to_vec();
    cases.push((400, "snappy", garbage));
    let mut torn = remote_write(&url, "up", &[]);
    *torn.body_mut() = snap::raw::Encoder::new().compress_vec(&[0x0a, 0x7f, 1]).unwrap();
    cases.push((400, "protobuf", torn));
    for (status, text, mut request) in cases {
        Signer::new("aps").sign(&mut request);
        let answer = send(&client(), request).await.unwrap();
        assert_eq!(answer.status, status, "{text}: {}", answer.body);
        assert!(answer.body.contains(text), "{text}: {}", answer.body);
    }
    assert_eq!(running.state().samples.samples, 0);
}

#[tokio::test]
async fn amps_sample_rules_store_the_good_part_and_answer_400() {
    let clock = Clock::fixed(SystemTime::now());
    let config =
        SandboxConfig { sample_rules: Some(SampleRules::AMP), clock: clock.clone(), ..SandboxConfig::default() };
    let running = start(config).await;
    let now = clock.now_ms();
    let samples = [(now - 3_600_001, 1.0), (now - 10, 1.0)];
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &samples);
    Signer::new("aps").sign(&mut request);
    let answer = send(&client(), request).await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("greater_than_max_sample_age"), "{}", answer.body);
    let state = running.state();
    assert_eq!((state.samples.samples, state.samples.refused), (1, 1));
    assert_eq!(state.destinations[0].samples, 1);
}

#[tokio::test]
async fn a_plain_prometheus_path_takes_unsigned_writes() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    let mut request = remote_write(&format!("{}/api/v1/write", running.url()), "up", &[(AT, 1.0)]);
    request.headers_mut().insert("authorization", "Basic aHVzaDpodXNo".parse().unwrap());
    assert_eq!(send(&client(), request).await.unwrap().status, 204);
    let state = running.state();
    assert_eq!((state.unsigned, state.verified, state.samples.samples), (1, 0, 1));
    assert_eq!(state.destinations[0].authorization_scheme, "Basic");
    assert_eq!(running.samples(Some("prometheus:/api/v1/write"), None).len(), 1);
}

#[tokio::test]
async fn a_presigned_request_is_verified_and_ends() {
    let clock = Clock::system();
    let running = start(SandboxConfig { clock: clock.clone(), ..SandboxConfig::default() }).await;
    let signer = Signer { presigned: Some(Duration::from_secs(60)), ..Signer::new("aps") };
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &[(AT, 1.0)]);
    signer.sign(&mut request);
    assert_eq!(send(&client(), request.clone()).await.unwrap().status, 200);
    clock.set_skew_ms(120_000);
    assert_eq!(send(&client(), request).await.unwrap().status, 403);
    assert_eq!(running.state().recent_refusals[0].name, "presigned_expired");
}
