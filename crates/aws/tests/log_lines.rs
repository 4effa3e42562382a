//! The log lines about identity name the destinations they are about, and do not repeat themselves.

mod support;

use std::{
    cell::RefCell,
    io,
    sync::{Arc, Once},
};

use aws::{CredentialSource, Identity, IdentityContext};
use support::*;

thread_local! {
    /// What was logged on this test's thread (its runtime has no other).
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThread;

impl io::Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all tests: whether a log line is wanted is remembered for the whole process.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| ToThread).without_time().init());
}

fn lines(containing: &str) -> Vec<String> {
    let text = LOGGED.with_borrow(|log| String::from_utf8(log.clone()).unwrap());
    text.lines().filter(|line| line.contains(containing)).map(ToOwned::to_owned).collect()
}

fn at(context: &IdentityContext, source: CredentialSource, url: &str, name: &str) -> Arc<Identity> {
    aws::build(&config(source), &url.parse().unwrap(), "aps", name, context).unwrap()
}

fn answered(identity: &Identity, ahead: i64) {
    let now = jiff::Timestamp::now().as_second() + ahead;
    let date = jiff::Timestamp::from_second(now).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    judge(identity, 200, &[("date", &date), ("x-amzn-requestid", "r")], "");
}

const ELSEWHERE: &str = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

#[tokio::test]
async fn credentials_in_use_name_every_destination_that_shares_them() {
    listen();
    let context = context();
    let (a, b) = (at(&context, static_keys("AKIA1", "s"), AMP, "a"), at(&context, static_keys("AKIA1", "s"), AMP, "b"));
    sign(&a).await.unwrap();
    sign(&b).await.unwrap();
    let said = lines("AWS credentials in use");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("destinations=\"a, b\"") && said[0].contains("AKIA1"), "{said:?}");
    // One that comes later says so itself; a new configuration with the same name does not.
    let late = at(&context, static_keys("AKIA1", "s"), AMP, "late");
    let again = at(&context, static_keys("AKIA1", "s"), AMP, "late");
    sign(&late).await.unwrap();
    sign(&again).await.unwrap();
    let said = lines("AWS credentials in use");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].contains("destinations=\"late\""), "{said:?}");
}

#[tokio::test]
async fn expired_credentials_of_a_helper_are_never_called_in_use() {
    listen();
    let end = moment(std::time::SystemTime::now() - std::time::Duration::from_secs(3600));
    let command = format!(
        r#"echo '{{"Version":1,"AccessKeyId":"ASIAOVER","SecretAccessKey":"s","SessionToken":"t","Expiration":"{end}"}}'"#
    );
    let context = context();
    let helper = || CredentialSource::Process { command: inline(&command) };
    let first = at(&context, helper(), AMP, "over");
    // The clock may be what is wrong, so AWS is asked with them.
    assert_eq!(key(&first).await.unwrap(), "ASIAOVER");
    // And one that comes later.
    let late = at(&context, helper(), AMP, "late");
    assert_eq!(key(&late).await.unwrap(), "ASIAOVER");
    assert_eq!(lines("AWS credentials in use"), Vec::<String>::new());
    let said = lines("came expired");
    assert!(said.len() == 2 && said[0].contains("ASIAOVER") && said[0].contains("WARN"), "{said:?}");
    assert!(said[0].contains("credential_process") && said[0].contains("out of a cache"), "{said:?}");
    // An answer that tells the time: they are over.
    answered(&first, 0);
    let error = key(&first).await.unwrap_err();
    assert!(error.contains("expired") && error.contains("out of a cache") && error.contains("not used"), "{error}");
    assert_eq!(lines("AWS credentials in use"), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_refresh_names_the_destinations_that_wait_for_it() {
    listen();
    let source = || CredentialSource::Static {
        access_key: net::SecretSource::File("/nonexistent/key".into()),
        secret_key: inline("s"),
        session_token: None,
    };
    let context = context();
    let (a, _b) = (at(&context, source(), AMP, "a"), at(&context, source(), AMP, "b"));
    sign(&a).await.unwrap_err();
    let said = lines("could not be refreshed");
    assert!(said.len() == 1 && said[0].contains("destinations=\"a, b\""), "{said:?}");
}

#[tokio::test]
async fn a_wrong_clock_is_said_once_for_all_destinations_of_a_host() {
    listen();
    let context = context();
    let all: Vec<_> = (0..7).map(|n| at(&context, static_keys("AKIA1", "s"), AMP, &format!("d{n}"))).collect();
    for identity in &all {
        answered(identity, 7200);
    }
    let said = lines("clock differs");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("destinations=\"d0, d1, d2, d3, d4, d5, d6\""), "{said:?}");
    assert!(said[0].contains("host=\"aps-workspaces.us-east-1.amazonaws.com\""), "{said:?}");
    // Another offset, and another host, are other facts.
    answered(&all[0], -3600);
    assert_eq!(lines("clock differs").len(), 2);
    answered(&at(&context, static_keys("AKIA1", "s"), ELSEWHERE, "eu"), 7200);
    let said = lines("clock differs");
    assert!(said.len() == 3 && said[2].contains("destinations=\"eu\""), "{said:?}");
}

#[tokio::test]
async fn a_missing_credential_is_explained_once_however_the_chain_is_printed() {
    listen();
    let source = CredentialSource::Static {
        access_key: net::SecretSource::File("/nonexistent/key".into()),
        secret_key: inline("s"),
        session_token: None,
    };
    let identity = build(&config(source));
    let mut request = http::Request::post(AMP).body(bytes::Bytes::new()).unwrap();
    let error = net::Authorize::authorize(&*identity, &mut request).await.unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    assert_eq!(text.matches("/nonexistent/key").count(), 1, "{text}");
    assert!(text.contains("no AWS credentials for prod"), "{text}");
}

#[tokio::test]
async fn the_key_is_named_once() {
    listen();
    let identity = build(&config(static_keys("AKIA1", "s")));
    assert!(net::Authorize::describe(&*identity).contains("AKIA1"), "before the first signature too");
    sign(&identity).await.unwrap();
    let who = net::Authorize::describe(&*identity);
    assert_eq!(who, "access key AKIA1 from static keys for aps in us-east-1");
}

#[tokio::test]
async fn advice_for_expired_keys_fits_their_source() {
    listen();
    let expired =
        r#"{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}"#;
    let why = |identity: &Identity| match judge(identity, 400, &[], expired) {
        net::IdentityVerdict::Hold { why } => why,
        other => panic!("{other:?}"),
    };
    let written = build(&config(static_keys("ASIA1", "s")));
    sign(&written).await.unwrap();
    judge(&written, 400, &[], expired);
    sign(&written).await.unwrap();
    let text = why(&written);
    for expected in ["session_token", "reload"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("SSO") && !text.contains("token exchange"), "{text}");

    // The trial of a destination that shares the keys is no second trial for this one.
    let shared = context();
    let (a, b) = (at(&shared, static_keys("ASIA1", "s"), AMP, "a"), at(&shared, static_keys("ASIA1", "s"), AMP, "b"));
    sign(&a).await.unwrap();
    judge(&a, 400, &[], expired);
    sign(&a).await.unwrap();
    judge(&b, 400, &[], expired);
    assert!(why(&a).contains("session_token"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "ASIA2").unwrap();
    let source = CredentialSource::Static {
        access_key: net::SecretSource::File(path.clone()),
        secret_key: inline("s"),
        session_token: None,
    };
    let in_files = build(&config(source));
    sign(&in_files).await.unwrap();
    judge(&in_files, 400, &[], expired);
    sign(&in_files).await.unwrap();
    let text = why(&in_files);
    assert!(text.contains(&path.display().to_string()) && text.contains("renew"), "{text}");

    let process = build(&config(CredentialSource::Process {
        command: inline(r#"echo '{"Version":1,"AccessKeyId":"ASIA3","SecretAccessKey":"s","SessionToken":"t"}'"#),
    }));
    sign(&process).await.unwrap();
    judge(&process, 400, &[], expired);
    sign(&process).await.unwrap();
    let text = why(&process);
    assert!(text.contains("credential_process") && text.contains("command"), "{text}");
}

#[tokio::test]
async fn a_temporary_key_without_its_token_is_warned_of_once_however_often_it_is_built() {
    listen();
    let context = context();
    for name in ["a", "b", "a", "b"] {
        at(&context, static_keys("ASIATEMPORARY0000001", "s"), AMP, name);
    }
    // What only checks a file says nothing: the same block is checked again and again.
    aws::check(&config(static_keys("ASIATEMPORARY0000001", "s"))).unwrap();
    let said = lines("needs session_token");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("destination=\"a\"") && said[0].contains("ASIATEMPORARY0000001"), "{said:?}");
    at(&context, static_keys("ASIATEMPORARY0000002", "s"), AMP, "a");
    assert_eq!(lines("needs session_token").len(), 2, "another key is another fact");
}

fn on_role(keys: CredentialSource, sts: &Fake) -> aws::IdentityConfig {
    let step = aws::RoleStep {
        role_arn: "arn:aws:iam::123456789012:role/one".to_owned(),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: Default::default(),
    };
    let sts = aws::StsConfig { endpoint: Some(sts.url("/")), ..aws::StsConfig::default() };
    aws::IdentityConfig { roles: vec![step], sts, ..config(keys) }
}

/// The SDK's own line about a refused role shows requests and answers as its programmers see them.
#[tokio::test]
async fn a_refused_role_is_told_in_one_line_and_no_library_adds_its_own() {
    listen();
    let sts = Fake::start(|_, _| sts_error(403, "AccessDenied", "not authorized")).await;
    let identity = build(&on_role(static_keys("AKIA1", "s"), &sts));
    sign(&identity).await.unwrap_err();
    let all = lines("");
    let told: Vec<_> = all.iter().filter(|line| line.contains("AccessDenied")).collect();
    assert_eq!(told.len(), 1, "{all:?}");
    for dump in ["Unhandled(", "ErrorMetadata", "Some(\"", "SdkBody", "ServiceError"] {
        assert!(!all.iter().any(|line| line.contains(dump)), "{dump}: {all:?}");
    }
}

#[tokio::test]
async fn secrets_are_read_from_a_service_with_a_name_and_from_no_invented_host() {
    listen();
    let there = http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(7200));
    let fake = Fake::start(move |_, _| {
        let headers = [("date", there.as_str()), ("x-amzn-requestid", "r")];
        axum::response::IntoResponse::into_response((headers, r#"{"SecretString":"value"}"#))
    })
    .await;
    let stores = aws::SecretStoresConfig {
        identity: config(static_keys("AKIA1", "s")),
        secretsmanager_endpoint: Some(fake.url("/")),
        ..aws::SecretStoresConfig::default()
    };
    let keeper = aws::SecretKeeper::new(Arc::new(context()));
    let secret = Arc::new(net::StoredSecret::new("aws-secretsmanager://one"));
    keeper.follow(&stores, &[Arc::clone(&secret)]).unwrap();
    assert!(keeper.settled(std::time::Duration::from_secs(60)).await);
    let said = lines("clock differs");
    assert!(said.len() == 1 && said[0].contains("Secrets Manager"), "{said:?}");
    assert!(!lines("").iter().any(|line| line.contains(".invalid")), "{:?}", lines(".invalid"));
}
