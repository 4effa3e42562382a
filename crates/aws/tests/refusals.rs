//! What an identity does about AWS's refusals, and what it tells the person.

mod support;

use std::{sync::Arc, time::Duration, time::SystemTime};

use aws::{CredentialSource, IdentityConfig, RoleStep, StsConfig};
use net::{Authorize, IdentityVerdict};
use support::*;

const EXPIRED: &str = r#"{"__type":"com.amazon.coral#ExpiredTokenException","message":"The security token included in the request is expired"}"#;
const MISMATCH: &str = r#"{"__type":"InvalidSignatureException","message":"The request signature we calculated does not match the signature you provided."}"#;

fn is_retry(verdict: &IdentityVerdict) -> bool {
    matches!(verdict, IdentityVerdict::RetryNow { .. })
}

fn held(verdict: IdentityVerdict) -> String {
    match verdict {
        IdentityVerdict::Hold { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_expired_answer_fetches_afresh_once_and_holds_when_the_source_has_nothing_new() {
    let identity = build(&config(static_keys("AKIA1", "hunter2")));
    sign(&identity).await.unwrap();
    assert!(is_retry(&judge(&identity, 400, &[], EXPIRED)));
    sign(&identity).await.unwrap();
    assert_eq!(identity.status().refreshes, 2);
    let why = held(judge(&identity, 400, &[("x-amzn-requestid", "req-7")], EXPIRED));
    for expected in ["ExpiredTokenException", "req-7", "access key AKIA1", "static keys", "aps in us-east-1", "renew"] {
        assert!(why.contains(expected), "{expected}: {why}");
    }
    assert!(!why.contains("hunter2"));
    assert_eq!(identity.status().last_refusal.as_deref(), Some(why.as_str()));
    // Accepted again: all is forgotten.
    assert_eq!(judge(&identity, 200, &[], ""), IdentityVerdict::Unrelated);
    assert_eq!(identity.status().last_refusal, None);
}

#[tokio::test]
async fn a_source_with_ever_new_credentials_that_are_all_refused_does_not_loop() {
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let role_arn = "arn:aws:iam::123456789012:role/one".to_owned();
    let step = RoleStep {
        role_arn,
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: Default::default(),
    };
    let config = IdentityConfig {
        roles: vec![step],
        sts: StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() },
        ..config(static_keys("AKIABASE", "s"))
    };
    let identity = build(&config);
    assert_eq!(key(&identity).await.unwrap(), "ASIA0");
    let mut retries = 0;
    for _ in 0..20 {
        if is_retry(&judge(&identity, 403, &[], MISMATCH)) {
            retries += 1;
        }
        sign(&identity).await.unwrap();
    }
    assert_eq!(retries, 1);
    assert!(held(judge(&identity, 403, &[], MISMATCH)).contains("the secret key does not belong to this key id"));
}

#[tokio::test]
async fn requests_signed_with_older_credentials_are_simply_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "AKIAOLD").unwrap();
    let source = CredentialSource::Static {
        access_key: net::SecretSource::File(file.clone()),
        secret_key: inline("s"),
        session_token: None,
    };
    let identity = build(&config(source));
    sign(&identity).await.unwrap();
    let sent_at = SystemTime::now();
    std::fs::write(&file, "AKIANEW").unwrap();
    assert!(is_retry(&judge(&identity, 403, &[], EXPIRED)));
    // A second answer to the old signature, before and after the new credentials are there.
    let late = |status| {
        identity.judge(&net::Answer {
            status,
            headers: &http::HeaderMap::new(),
            body: EXPIRED.as_bytes(),
            sent_at,
            received_at: SystemTime::now(),
        })
    };
    assert!(is_retry(&late(http::StatusCode::BAD_REQUEST)));
    assert_eq!(key(&identity).await.unwrap(), "AKIANEW");
    assert!(is_retry(&late(http::StatusCode::BAD_REQUEST)));
    assert_eq!(identity.status().refreshes, 2, "the new credentials were not thrown away");
}

#[tokio::test]
async fn a_skewed_clock_is_learnt_and_the_request_signed_again_with_aws_time() {
    let identity = build(&config(static_keys("AKIA1", "s")));
    sign(&identity).await.unwrap();
    let ahead = http_date(SystemTime::now() + Duration::from_secs(7200));
    let headers = [("date", ahead.as_str()), ("x-amzn-requestid", "r")];
    let late = r#"{"message":"Signature expired: 20240101T000000Z is now earlier than 20240101T020000Z (20240101T020500Z - 5 min.)"}"#;
    assert!(is_retry(&judge(&identity, 403, &headers, late)));
    let signed = sign(&identity).await.unwrap();
    let date = signed.headers()["x-amz-date"].to_str().unwrap();
    let wanted = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(7200)).unwrap();
    assert_eq!(&date[..11], &wanted.strftime("%Y%m%dT%H").to_string()[..11], "two hours ahead");
    let why = held(judge(&identity, 403, &headers, late));
    assert!(why.contains("NTP"), "{why}");
    // Credentials are not to blame for the clock.
    assert_eq!(identity.status().refreshes, 1);
    assert!(identity.status().clock_offset_ms.unwrap() > 7_100_000);
}

#[tokio::test]
async fn a_profile_may_want_requests_dated_by_this_machines_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (file, none) = (dir.path().join("config"), dir.path().join("credentials"));
    let keys = "aws_access_key_id=AKIA1\naws_secret_access_key=s\n";
    std::fs::write(&file, format!("[profile a]\n{keys}disable_clock_skew_correction = True\n")).unwrap();
    std::fs::write(&none, "").unwrap();
    let source =
        CredentialSource::Profile { name: Some("a".to_owned()), config_file: Some(file), credentials_file: Some(none) };
    let identity = build(&config(source));
    sign(&identity).await.unwrap();
    let ahead = http_date(SystemTime::now() + Duration::from_secs(7200));
    let headers = [("date", ahead.as_str()), ("x-amzn-requestid", "r")];
    held(judge(&identity, 403, &headers, r#"{"__type":"RequestTimeTooSkewed","message":"x"}"#));
    assert!(identity.status().clock_offset_ms.unwrap() > 7_100_000, "measured all the same");
    let signed = sign(&identity).await.unwrap();
    let date = jiff::Timestamp::strptime(
        "%Y%m%dT%H%M%S%z",
        signed.headers()["x-amz-date"].to_str().unwrap().replace('Z', "+0000"),
    );
    let off = jiff::Timestamp::now().duration_since(date.unwrap()).as_secs();
    assert!(off.abs() < 600, "{off} s");
}

#[tokio::test]
async fn fresh_credentials_that_look_dead_by_a_clock_far_ahead_are_used_until_aws_tells_the_time() {
    const BEHIND: Duration = Duration::from_secs(7200);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    // An hour of life by AWS's clock, which is two hours behind this machine's.
    let sts = Fake::start(|_, n| {
        let end = SystemTime::now() - BEHIND + Duration::from_secs(3600);
        sts_answer_until("AssumeRoleWithWebIdentity", n, &moment(end))
    })
    .await;
    let source = CredentialSource::WebIdentity {
        role_arn: "arn:aws:iam::123456789012:role/one".to_owned(),
        token_file: token.path().to_owned(),
        session_name: None,
    };
    let sts_config = StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() };
    let identity = build(&IdentityConfig { sts: sts_config, ..config(source) });
    assert_eq!(key(&identity).await.unwrap(), "ASIA0");
    let there = http_date(SystemTime::now() - BEHIND);
    let headers = [("date", there.as_str()), ("x-amzn-requestid", "r")];
    let early = r#"{"message":"Signature not yet current: 20240101T020000Z is still later than 20240101T000500Z (20240101T000000Z + 5 min.)"}"#;
    assert!(is_retry(&judge(&identity, 403, &headers, early)));
    assert_eq!(key(&identity).await.unwrap(), "ASIA0");
    assert_eq!(judge(&identity, 200, &headers, ""), IdentityVerdict::Unrelated);
    assert_eq!(identity.status().refreshes, 1, "they are alive, and are not asked for again");
}

#[tokio::test]
async fn credentials_that_are_dead_by_awss_own_clock_are_refused_and_named() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    let sts = Fake::start(|_, n| {
        sts_answer_until("AssumeRoleWithWebIdentity", n, &moment(SystemTime::now() - Duration::from_secs(3600)))
    })
    .await;
    let source = CredentialSource::WebIdentity {
        role_arn: "arn:aws:iam::123456789012:role/one".to_owned(),
        token_file: token.path().to_owned(),
        session_name: None,
    };
    let sts_config = StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() };
    let identity = build(&IdentityConfig { sts: sts_config, ..config(source) });
    assert_eq!(key(&identity).await.unwrap(), "ASIA0", "nobody knows yet whose clock is wrong");
    let now = http_date(SystemTime::now());
    let headers = [("date", now.as_str()), ("x-amzn-requestid", "r")];
    assert!(is_retry(&judge(&identity, 403, &headers, EXPIRED)));
    let error = key(&identity).await.unwrap_err();
    assert!(error.contains(" ago by AWS's clock (at ") && error.contains("has stopped"), "{error}");
}

#[tokio::test]
async fn a_mismatch_with_a_far_off_clock_is_the_clocks_and_a_small_offset_is_not() {
    let identity = build(&config(static_keys("AKIA1", "s")));
    sign(&identity).await.unwrap();
    let behind = http_date(SystemTime::now() - Duration::from_secs(600));
    let headers = [("date", behind.as_str()), ("x-amz-request-id", "r")];
    let verdict = judge(&identity, 403, &headers, MISMATCH);
    assert!(matches!(&verdict, IdentityVerdict::RetryNow { why } if why.contains("clock")), "{verdict:?}");
    assert_eq!(identity.status().refreshes, 1);
}

#[tokio::test]
async fn refusals_that_no_refresh_mends_hold_and_name_what_to_change() {
    let cases = [
        (403, r#"{"message":"Missing Authentication Token"}"#, "no slash"),
        (
            403,
            r#"{"message":"User: arn:aws:iam::1:user/u is not authorized to perform: aps:RemoteWrite on resource: r"}"#,
            "allow aps:RemoteWrite",
        ),
        (403, r#"{"__type":"OptInRequired","message":"x"}"#, "enable the region"),
    ];
    for (status, body, expected) in cases {
        let identity = build(&config(static_keys("AKIA1", "s")));
        sign(&identity).await.unwrap();
        let why = held(judge(&identity, status, &[], body));
        assert!(why.contains(expected) && why.contains("AKIA1"), "{why}");
    }
    let identity = build(&config(static_keys("AKIA1", "s")));
    sign(&identity).await.unwrap();
    assert!(is_retry(&judge(&identity, 403, &[], "<html>Forbidden</html>")), "an unexplained 403 is tried once more");
    sign(&identity).await.unwrap();
    assert!(held(judge(&identity, 403, &[], "<html>Forbidden</html>")).contains("proxy"));
}

#[tokio::test]
async fn answers_about_data_are_left_to_the_protocol() {
    let identity = build(&config(static_keys("AKIA1", "s")));
    for (status, body) in [
        (200, ""),
        (400, "out of order sample"),
        (429, "{\"message\":\"Rate exceeded\"}"),
        (500, ""),
        (503, "<Error><Code>AccessDenied</Code></Error>"),
        (404, ""),
    ] {
        assert_eq!(judge(&identity, status, &[], body), IdentityVerdict::Unrelated, "{status} {body}");
    }
}

#[tokio::test]
async fn s3_names_the_right_region_and_the_next_signature_is_for_it() {
    let config = config(static_keys("AKIA1", "s"));
    let identity =
        aws::build(&config, &"https://s3.amazonaws.com/bucket/key".parse().unwrap(), "aps", "lake", &context())
            .unwrap();
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
    assert!(is_retry(&judge(&identity, 400, &[], body)));
    let request = sign(&identity).await.unwrap();
    assert!(request.headers()["authorization"].to_str().unwrap().contains("/eu-west-1/s3/"));
    assert!(held(judge(&identity, 400, &[], body)).contains("eu-west-1"));
    let redirect = "<Error><Code>PermanentRedirect</Code><Message>use the endpoint</Message></Error>";
    assert!(
        held(judge(&identity, 301, &[("x-amz-bucket-region", "eu-west-3")], redirect))
            .contains("https://s3.eu-west-3.amazonaws.com")
    );
}

#[tokio::test]
async fn equal_identities_share_one_refresh_and_different_ones_share_nothing() {
    let sts = Fake::start(|seen, n| {
        sts_answer("AssumeRole", if seen.key().as_deref() == Some("AKIA2") { 900 + n } else { n })
    })
    .await;
    let role_arn = "arn:aws:iam::123456789012:role/one".to_owned();
    let session_name = Some("fixed".to_owned());
    let step = RoleStep {
        role_arn,
        external_id: None,
        session_name,
        session_duration: None,
        session_tags: Default::default(),
    };
    let config = |key: &str| IdentityConfig {
        roles: vec![step.clone()],
        sts: StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() },
        ..config(static_keys(key, "s"))
    };
    let context = context();
    let at = |key: &str, name: &str| aws::build(&config(key), &AMP.parse().unwrap(), "aps", name, &context).unwrap();
    let (a, b, other) = (at("AKIA1", "a"), at("AKIA1", "b"), at("AKIA2", "c"));
    let (ka, kb) = tokio::join!(key(&a), key(&b));
    assert_eq!(ka.unwrap(), kb.unwrap());
    assert_eq!(sts.seen().len(), 1);
    assert!(key(&other).await.unwrap().starts_with("ASIA90"));
    assert_eq!(sts.seen().len(), 2);
    let shared: Arc<dyn Authorize> = a;
    assert!(shared.describe().contains("for aps in us-east-1"));
}

#[test]
fn unusable_blocks_are_refused_with_what_to_write() {
    let step = |arn: &str| RoleStep {
        role_arn: arn.to_owned(),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: Default::default(),
    };
    let good = "arn:aws:iam::123456789012:role/r";
    let base = config(static_keys("AKIA1", "s"));
    let with_role = |role: RoleStep| IdentityConfig { roles: vec![role], ..base.clone() };
    let swapped = static_keys("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "AKIAIOSFODNN7EXAMPLE");
    let cases = [
        (config(static_keys(" ", "s")), "access_key"),
        (config(swapped), "swapped"),
        (IdentityConfig { region: Some("us-east-1a".to_owned()), ..base.clone() }, "availability zone"),
        (with_role(step("my-role")), "arn:aws:iam::"),
        (with_role(RoleStep { external_id: Some("x".to_owned()), ..step(good) }), "external_id"),
        (with_role(RoleStep { session_duration: Some(Duration::from_secs(60)), ..step(good) }), "15m"),
        (with_role(RoleStep { session_name: Some("a b".to_owned()), ..step(good) }), "session_name"),
        (
            IdentityConfig {
                roles: vec![step(good), RoleStep { session_duration: Some(Duration::from_secs(7200)), ..step(good) }],
                ..base.clone()
            },
            "at most 1h",
        ),
        (
            IdentityConfig {
                sts: StsConfig {
                    endpoint: Some("https://x.example".parse().unwrap()),
                    use_fips: true,
                    ..StsConfig::default()
                },
                ..base.clone()
            },
            "sts_endpoint",
        ),
    ];
    for (config, expected) in cases {
        let error = aws::build(&config, &AMP.parse().unwrap(), "aps", "prod", &context()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("wJalr"), "{error}");
    }
    let error = aws::build(&base, &"ftp://x".parse().unwrap(), "aps", "prod", &context()).unwrap_err().to_string();
    assert!(error.contains("http"), "{error}");
}
