//! Every translation of an answer, as a table.

use std::time::Duration;

use http::StatusCode;
use net::{HttpAuth, Secret, SecretSource};
use remote_write::{Backoff, Batching, MetadataConfig};
use url::Url;

use super::*;

const AMP: &str = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
const S3: &str = "https://b.s3.eu-west-1.amazonaws.com/p";

fn config(url: &str) -> DestinationConfig {
    let protocol = if url.contains("s3") {
        ProtocolConfig::S3 { storage_class: None, expected_bucket_owner: None, sse: None, sse_kms_key_id: None }
    } else {
        let send_interval = Duration::from_secs(60);
        ProtocolConfig::Prometheus { metadata: MetadataConfig { send: true, send_interval, max_samples_per_send: 1 } }
    };
    DestinationConfig {
        name: "d".into(),
        url: Url::parse(url).unwrap(),
        endpoint_url: None,
        protocol,
        timeout: Duration::from_secs(1),
        client: net::HttpClientConfig::default(),
        external_labels: model::Labels::new(),
        write_relabel: Vec::new(),
        native_histograms: false,
        backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO, retry_on_http_429: true },
        batching: Batching { max_samples: 1, max_bytes: 1, max_age: Duration::ZERO },
        shards: 1,
        max_in_flight_bytes: 1,
        max_age: None,
    }
}

fn answered(status: u16, code: &str, message: &str) -> Answered {
    let known = if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() };
    let error = ServiceError { code: known, message: message.to_owned(), request_id: None, extended_request_id: None };
    Answered {
        status: StatusCode::from_u16(status).unwrap(),
        error: (status >= 300).then_some(error),
        said: words::said(message),
        location: None,
        bucket_region: None,
        delivery_stream: None,
        is_page: false,
        offset_ms: None,
        canonical: None,
        attempts: 1,
        signed_again: Vec::new(),
        took: Duration::ZERO,
    }
}

/// The finding, if it is no yes.
fn refusal(case: &Case<'_>, answered: &Answered) -> Option<Finding> {
    judge(case, answered).err()
}

fn case<'a>(config: &'a DestinationConfig, identity: Option<&'a IdentityConfig>) -> Case<'a> {
    let is_s3 = matches!(config.protocol, ProtocolConfig::S3 { .. });
    Case {
        config,
        sent_to: None,
        identity,
        service: if is_s3 { "s3" } else { "aps" },
        region: "us-east-1",
        account: None,
        kind: if is_s3 { &ProbeKind::Part } else { &ProbeKind::Write },
        has_next: false,
        sts_accepts: false,
        is_write: false,
    }
}

#[test]
fn every_answer_to_a_signed_probe_has_its_cause() {
    let identity = IdentityConfig::default();
    let not_allowed = "User: arn:aws:iam::1:user/u is not authorized to perform: aps:RemoteWrite on resource: arn:aws:aps:us-east-1:1:workspace/ws-1";
    let denied = format!("{not_allowed} with an explicit deny in a service control policy");
    let other_service = "Credential should be scoped to correct service: 'aps'. ";
    let other_region = "Credential should be scoped to a valid region, not 'us-west-9'. ";
    let unmatched = "The request signature we calculated does not match the signature you provided.";
    let late = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z (20260101T001500Z - 5 min.)";
    let no_path = "Missing Authentication Token";
    let slash = format!("{AMP}/");
    let table: &[(&str, u16, &str, &str, Option<&str>)] = &[
        (AMP, 200, "", "", None),
        (AMP, 204, "", "", None),
        (AMP, 403, "InvalidSignatureException", unmatched, Some("wrong_secret")),
        (AMP, 403, "SignatureDoesNotMatch", other_service, Some("wrong_service")),
        (AMP, 403, "InvalidSignatureException", other_region, Some("wrong_region")),
        (AMP, 403, "SignatureDoesNotMatch", late, Some("clock_skew")),
        (AMP, 403, "RequestExpired", late, Some("clock_skew")),
        (S3, 403, "RequestTimeTooSkewed", "x", Some("clock_skew")),
        (AMP, 403, "ExpiredTokenException", "x", Some("expired_token")),
        (AMP, 403, "AccessDenied", "The security token included in the request is expired", Some("expired_token")),
        (AMP, 403, "UnrecognizedClientException", "x", Some("unknown_key")),
        (S3, 403, "InvalidAccessKeyId", "x", Some("unknown_key")),
        (AMP, 403, "AccessDeniedException", not_allowed, Some("missing_permission")),
        (AMP, 403, "AccessDeniedException", &denied, Some("explicit_deny")),
        (S3, 403, "AccessDenied", "Access Denied", Some("missing_permission")),
        (AMP, 403, "MissingAuthenticationToken", no_path, Some("signature_removed")),
        (&slash, 403, "MissingAuthenticationToken", no_path, Some("trailing_slash")),
        (
            "https://aps-workspaces.us-east-1.amazonaws.com/ws-1/write",
            403,
            "MissingAuthenticationToken",
            no_path,
            Some("wrong_path"),
        ),
        ("https://aps-workspaces.us-east-1.amazonaws.com/ws-1/write", 404, "", "", Some("wrong_path")),
        (AMP, 403, "OptInRequired", "x", Some("service_not_enabled")),
        (AMP, 404, "ResourceNotFoundException", "no workspace", Some("not_found")),
        (S3, 404, "NoSuchUpload", "x", None),
        (S3, 404, "NoSuchBucket", "x", Some("not_found")),
        (S3, 301, "PermanentRedirect", "x", Some("wrong_bucket_region")),
        (
            S3,
            400,
            "AuthorizationHeaderMalformed",
            "the region 'a' is wrong; expecting 'eu-west-1'",
            Some("wrong_bucket_region"),
        ),
        (S3, 400, "AuthorizationHeaderMalformed", "incorrect service \"aps\"", Some("wrong_service")),
        (S3, 501, "NotImplemented", "x", Some("store_unproven")),
        (S3, 400, "InvalidArgument", "x", Some("store_unproven")),
        (AMP, 429, "ThrottlingException", "Rate exceeded", Some("throttled")),
        (AMP, 429, "", "", Some("throttled")),
        (AMP, 500, "", "", Some("receiver_broken")),
        (AMP, 503, "ServiceUnavailable", "", Some("receiver_broken")),
        (AMP, 400, "ValidationException", "empty request", Some("probe_refused")),
        (AMP, 415, "", "", Some("probe_refused")),
        (AMP, 302, "", "", Some("redirected")),
        (AMP, 405, "", "", Some("not_found")),
        (AMP, 403, "", "Forbidden", Some("unexplained")),
        (AMP, 418, "", "", Some("unexplained")),
    ];
    for (url, status, code, message, id) in table {
        let config = config(url);
        let found = refusal(&case(&config, Some(&identity)), &answered(*status, code, message));
        assert_eq!(found.as_ref().map(|f| f.cause.id), *id, "{url} {status} {code} {message}");
    }
}

#[test]
fn answers_of_other_receivers_have_their_causes() {
    let plain = config("https://mimir.example/api/v1/push");
    let mut with_password = plain.clone();
    let user = SecretSource::Inline(Secret::new("u"));
    with_password.client.auth = Some(HttpAuth::Basic { username: user, password: None });
    let unsigned_aws = config(AMP);
    let table: &[(&DestinationConfig, u16, &str, &str, &str)] = &[
        (&plain, 401, "", "", "login_refused"),
        (&with_password, 401, "", "", "login_refused"),
        (&with_password, 403, "", "", "login_refused"),
        (&plain, 404, "", "404 page not found", "not_found"),
        (&unsigned_aws, 403, "MissingAuthenticationToken", "Missing Authentication Token", "unsigned"),
        (&unsigned_aws, 403, "", "Forbidden", "unsigned"),
    ];
    for (config, status, code, message, id) in table {
        let found = refusal(&case(config, None), &answered(*status, code, message)).unwrap();
        assert_eq!(found.cause.id, *id, "{} {status}", config.url);
    }
    let mut page = answered(200, "", "");
    page.is_page = true;
    assert_eq!(refusal(&case(&plain, None), &page).unwrap().cause.id, "not_the_service");
}

#[test]
fn a_tenant_header_is_to_blame_on_amp_alone() {
    let identity = IdentityConfig::default();
    let tenant = ("X-Scope-OrgID".to_owned(), SecretSource::Inline(Secret::new("t")));
    let mut amp = config(AMP);
    amp.client.headers.push(tenant.clone());
    let bad = answered(400, "ValidationException", "X-Scope-OrgID is not accepted");
    assert_eq!(refusal(&case(&amp, Some(&identity)), &bad).unwrap().cause.id, "tenant_header");
    let denied = answered(
        403,
        "AccessDeniedException",
        "User: arn:aws:iam::1:user/u is not authorized to perform: aps:RemoteWrite on resource: x",
    );
    assert_eq!(refusal(&case(&amp, Some(&identity)), &denied).unwrap().cause.id, "missing_permission");
    let mut mimir = config("https://mimir.example/api/v1/push");
    mimir.client.headers.push(tenant);
    let mut other = case(&mimir, None);
    other.service = "";
    assert_eq!(refusal(&other, &bad).unwrap().cause.id, "probe_refused");
}

#[test]
fn the_missing_action_and_resource_are_named_exactly() {
    let identity = IdentityConfig::default();
    let amp = config(AMP);
    let said = "User: arn:aws:sts::123456789012:assumed-role/writer/x is not authorized to perform: aps:RemoteWrite on resource: \
                arn:aws:aps:us-east-1:123456789012:workspace/ws-1 because no identity-based policy allows it";
    let found = refusal(&case(&amp, Some(&identity)), &answered(403, "AccessDeniedException", said)).unwrap();
    let (action, resource) = found.iam().unwrap();
    assert_eq!(
        (action.as_str(), resource.as_str()),
        ("aps:RemoteWrite", "arn:aws:aps:us-east-1:123456789012:workspace/ws-1")
    );
    assert_eq!(found.facts["principal"], "arn:aws:iam::123456789012:role/writer");

    // S3 says no more than "Access Denied" to strangers.
    let bucket = config(S3);
    let found = refusal(&case(&bucket, Some(&identity)), &answered(403, "AccessDenied", "Access Denied")).unwrap();
    assert_eq!(found.iam().unwrap(), ("s3:PutObject".to_owned(), "arn:aws:s3:::b/p/*".to_owned()));
    let said = "User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::b/p/sigpost-doctor-probe\"";
    let found = refusal(&case(&bucket, Some(&identity)), &answered(403, "AccessDenied", said)).unwrap();
    assert_eq!(found.iam().unwrap().1, "arn:aws:s3:::b/p/*");
}

#[test]
fn a_canonical_request_decides_between_secret_scope_and_a_changed_request() {
    let identity = IdentityConfig::default();
    let amp = config(AMP);
    let mut case = case(&amp, Some(&identity));
    let told = |canonical| Answered {
        canonical: Some(canonical),
        ..answered(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
    };
    let same = |explanation: &str| told(CanonicalVerdict::Same { explanation: explanation.to_owned() });
    assert_eq!(refusal(&case, &same("the secret is wrong")).unwrap().cause.id, "wrong_secret");
    let scope = "AWS read the request as it was signed, but for the scope 20260101/eu-west-1/aps/aws4_request instead of x: set region";
    let found = refusal(&case, &same(scope)).unwrap();
    assert_eq!((found.cause.id, found.facts["right_region"].as_str()), ("wrong_region", "eu-west-1"));
    let scope = "but for the scope 20260101/us-east-1/execute-api/aws4_request instead of x";
    let found = refusal(&case, &same(scope)).unwrap();
    assert_eq!((found.cause.id, found.facts["right_service"].as_str()), ("wrong_service", "execute-api"));
    let differs = told(CanonicalVerdict::Differs(aws::CanonicalDifference {
        line: 4,
        part: "header host".to_owned(),
        ours: "host:a".to_owned(),
        theirs: "host:b".to_owned(),
        explanation: "a proxy changes Host".to_owned(),
    }));
    let found = refusal(&case, &differs).unwrap();
    assert_eq!(found.cause.id, "request_altered");
    assert!(found.steps()[0].contains("a proxy changes Host") && found.detail.contains("line 4"), "{found:?}");

    case.sts_accepts = true;
    let quiet = told(CanonicalVerdict::NotTold);
    assert_eq!(refusal(&case, &quiet).unwrap().cause.id, "signature_unexplained");
    case.sts_accepts = false;
    assert_eq!(refusal(&case, &quiet).unwrap().cause.id, "wrong_secret");
}

fn log_config(url: &str, protocol: LogProtocol) -> DestinationConfig {
    DestinationConfig { protocol: ProtocolConfig::Logs(protocol), ..config(url) }
}

#[test]
fn every_answer_to_a_log_probe_has_its_meaning() {
    use remote_write::{LogPlace, logs};
    let format = logs::LogFormat::default();
    let firehose = LogProtocol::Firehose(logs::FirehoseConfig { delivery_stream: "s".into(), format });
    let (to_firehose, to_loki) = (
        log_config("https://firehose.us-east-1.amazonaws.com/", firehose),
        log_config("https://h/loki/api/v1/push", LogProtocol::Loki(logs::LokiConfig::default())),
    );
    let place = |creates, is_exact| LogPlace { creates, is_exact, group_is_exact: is_exact, group_pattern: None };
    let identity = IdentityConfig::default();
    let (no_group, no_stream) = ("The specified log group does not exist.", "The specified log stream does not exist.");
    let kms = "KMSAccessDeniedException";
    let missing = "ResourceNotFoundException";
    let yes = None;
    // Kind, whether more is asked, answer, what it means, what it leaves open.
    type Row<'a> = (ProbeKind, bool, u16, &'a str, &'a str, Option<&'a str>, &'a [&'a str]);
    let table: Vec<Row<'_>> = vec![
        (ProbeKind::OldLine(place(false, true)), false, 200, "", "", yes, &[]),
        (ProbeKind::OldLine(place(false, true)), false, 400, missing, no_group, Some("log_group_missing"), &[]),
        (ProbeKind::OldLine(place(false, true)), false, 400, missing, no_stream, Some("log_stream_missing"), &[]),
        (ProbeKind::OldLine(place(false, false)), false, 400, missing, no_group, yes, &[]),
        (ProbeKind::OldLine(place(true, true)), true, 400, missing, no_stream, yes, &["logs:CreateLogStream"]),
        (ProbeKind::OldLine(place(true, true)), true, 400, missing, no_group, yes, &[]),
        (ProbeKind::OldLine(place(true, true)), true, 400, kms, "", Some("key_unusable"), &[]),
        (ProbeKind::Stream(place(true, true)), false, 400, missing, no_group, yes, &["logs:CreateLogGroup"]),
        (ProbeKind::Stream(place(true, true)), false, 400, "ThrottlingException", "", Some("throttled"), &[]),
        (ProbeKind::DryRun, false, 400, "DryRunOperationException", "", yes, &[]),
        // Nobody may take a success for a dry run.
        (ProbeKind::DryRun, false, 200, "", "", Some("unexplained"), &[]),
        (ProbeKind::DryRun, false, 400, missing, "Stream s under account 1 not found.", Some("stream_missing"), &[]),
        (ProbeKind::EmptyBatch, true, 400, "ValidationException", "", yes, &["firehose:PutRecordBatch"]),
        (ProbeKind::EmptyBatch, false, 400, "InvalidArgumentException", "", yes, &["kinesis:PutRecords"]),
        (ProbeKind::Describe, false, 400, "AccessDeniedException", "", yes, &["firehose:PutRecordBatch"]),
        (ProbeKind::Describe, false, 400, missing, "Firehose s not found", Some("stream_missing"), &[]),
        (ProbeKind::EmptyExport, false, 200, "", "", yes, &[]),
        (ProbeKind::EmptyExport, false, 400, "ValidationException", "", Some("probe_refused"), &[]),
        (ProbeKind::EmptyExport, true, 400, "ValidationException", "", yes, &[]),
        (ProbeKind::EmptyPush, false, 204, "", "", yes, &[]),
        (ProbeKind::EmptyPush, false, 422, "", "error at least one valid stream is required for ingestion", yes, &[]),
        (ProbeKind::EmptyPush, false, 422, "", "something else", Some("probe_refused"), &[]),
        (ProbeKind::EmptyPush, false, 401, "", "no org id", Some("tenant_missing"), &[]),
        (
            ProbeKind::Line(place(true, true)),
            false,
            400,
            missing,
            no_group,
            yes,
            &["logs:CreateLogGroup", "logs:CreateLogStream"],
        ),
        (ProbeKind::Line(place(false, true)), false, 400, missing, no_group, Some("log_group_missing"), &[]),
    ];
    for (kind, has_next, status, code, message, wanted, open) in &table {
        let is_push = *kind == ProbeKind::EmptyPush;
        let config = if is_push { &to_loki } else { &to_firehose };
        let case = Case {
            identity: (!is_push).then_some(&identity),
            service: "firehose",
            kind,
            has_next: *has_next,
            is_write: matches!(kind, ProbeKind::Line(_)),
            ..case(config, None)
        };
        let judged = judge(&case, &answered(*status, code, message));
        assert_eq!(judged.as_ref().err().map(|f| f.cause.id), *wanted, "{kind:?} {status} {code} {message}");
        assert_eq!(judged.map(|proof| proof.open).unwrap_or_default(), *open, "{kind:?} {status} {code} {message}");
    }
    // What Firehose says of the stream decides.
    for (state, kind, wanted) in [
        ("ACTIVE", "DirectPut", None),
        ("CREATING", "DirectPut", Some("delivery_stream_not_active")),
        ("ACTIVE", "MSKAsSource", Some("delivery_stream_not_direct")),
    ] {
        let case = Case { kind: &ProbeKind::Describe, identity: Some(&identity), ..case(&to_firehose, None) };
        let told = Answered { delivery_stream: Some((state.into(), kind.into())), ..answered(200, "", "") };
        assert_eq!(judge(&case, &told).err().map(|f| f.cause.id), wanted, "{state} {kind}");
    }
}

#[test]
fn a_page_that_refuses_is_no_missing_permission() {
    let identity = IdentityConfig::default();
    let page =
        |status| Answered { is_page: true, said: "a web page titled \"No\"".to_owned(), ..answered(status, "", "") };
    for url in [AMP, S3, "http://127.0.0.1:9009/write"] {
        let config = config(url);
        let found = refusal(&case(&config, Some(&identity)), &page(403)).unwrap();
        assert_eq!((found.cause.id, found.iam()), ("page_between", None), "{url}");
        assert_eq!(refusal(&case(&config, Some(&identity)), &page(401)).unwrap().cause.id, "page_between");
        assert_eq!(refusal(&case(&config, None), &page(403)).unwrap().cause.id, "page_between");
        // A receiver with a password may say so on a page.
        assert_ne!(refusal(&case(&config, None), &page(401)).unwrap().cause.id, "page_between");
    }
}

#[test]
fn an_endpoint_with_a_path_is_blamed_where_it_doubles_the_urls() {
    let identity = IdentityConfig::default();
    let path = "/workspaces/ws-1/api/v1/remote_write";
    for (endpoint, status, code, wanted) in [
        (format!("https://vpce.example{path}"), 403, "MissingAuthenticationToken", "endpoint_path"),
        (format!("https://vpce.example{path}/"), 404, "", "endpoint_path"),
        ("https://vpce.example/prefix".to_owned(), 403, "MissingAuthenticationToken", "endpoint_path"),
        ("https://vpce.example/".to_owned(), 403, "MissingAuthenticationToken", "signature_removed"),
    ] {
        let config = DestinationConfig { endpoint_url: Some(Url::parse(&endpoint).unwrap()), ..config(AMP) };
        let case = Case { sent_to: Some("https://vpce.example/there"), ..case(&config, Some(&identity)) };
        let found = refusal(&case, &answered(status, code, "")).unwrap();
        assert_eq!(found.cause.id, wanted, "{endpoint}");
        if wanted == "endpoint_path" {
            assert!(found.steps()[0].contains("endpoint_url: https://vpce.example "), "{found:?}");
            assert!(found.meaning().contains("https://vpce.example/there"), "{found:?}");
        }
    }
    // Where the receiver is not known, a prefix may be what its gateway wants.
    let config = DestinationConfig {
        endpoint_url: Some(Url::parse("http://127.0.0.1/prefix").unwrap()),
        ..config("http://127.0.0.1/api/v1/push")
    };
    assert_eq!(refusal(&case(&config, None), &answered(404, "", "")).unwrap().cause.id, "not_found");
}

#[test]
fn an_address_is_shown_without_a_probes_own_name() {
    for (address, shown) in [
        ("https://u:p@h/bucket/prefix/sigpost-doctor-probe-1?uploadId=x", "https://h/bucket/prefix"),
        ("https://h/a/b?x=y", "https://h/a/b"),
    ] {
        assert_eq!(shown_address(&Url::parse(address).unwrap()), shown);
    }
}
