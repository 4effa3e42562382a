//! Every credential source against loopback stand-ins, and the traps that the field has found in each.

mod support;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use aws::{CredentialSource, IdentityConfig, RegionOrigin, RoleStep, StsConfig};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use net::{Authorize, SecretSource};
use support::*;

fn profile(dir: &std::path::Path, name: &str) -> IdentityConfig {
    config(CredentialSource::Profile {
        name: Some(name.to_owned()),
        config_file: Some(dir.join("config")),
        credentials_file: Some(dir.join("credentials")),
    })
}

fn write(dir: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn static_keys_sign_for_the_host_and_show_only_the_key_id() {
    let identity = build(&IdentityConfig { source: static_keys("AKIASTATIC", "hunter2"), ..IdentityConfig::default() });
    let request = sign(&identity).await.unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    assert!(
        authorization.contains("Credential=AKIASTATIC/") && authorization.contains("/us-east-1/aps/aws4_request"),
        "{authorization}"
    );
    let shown = format!("{identity:?} {} {:?}", identity.describe(), identity.status());
    assert!(shown.contains("AKIASTATIC") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(identity.status().region, Some(("us-east-1".to_owned(), RegionOrigin::HostName)));
}

#[tokio::test]
async fn static_keys_in_files_are_read_again_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["key", "secret", "token"].map(|n| write(dir.path(), n, &format!(" {n}1\n")));
    let [access_key, secret_key, token] = files.map(SecretSource::File);
    let identity = build(&config(CredentialSource::Static { access_key, secret_key, session_token: Some(token) }));
    assert_eq!(key(&identity).await.unwrap(), "key1");
    assert_eq!(sign(&identity).await.unwrap().headers()["x-amz-security-token"], "token1");
    write(dir.path(), "key", "key2");
    eventually(async || key(&identity).await.unwrap() == "key2").await;
    std::fs::remove_file(dir.path().join("key")).unwrap();
    // Gone in the middle of a rotation: what was read last still signs.
    eventually(async || {
        identity.status().last_error.is_some_and(|e| e.contains("key")) || key(&identity).await.is_err()
    })
    .await;
    assert_eq!(key(&identity).await.unwrap(), "key2");
}

/// Waits until something is so; the file check runs at most once a second.
async fn eventually(mut so: impl AsyncFnMut() -> bool) {
    let done = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), done).await.expect("it never became so");
}

#[tokio::test]
async fn keys_in_the_environment_never_win_over_a_profile() {
    let env = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "other")];
    if !in_child("keys_in_the_environment_never_win_over_a_profile", &env) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[a]\naws_access_key_id=AKIAFILE\naws_secret_access_key=s\n");
    write(dir.path(), "config", "");
    assert_eq!(key(&build(&profile(dir.path(), "a"))).await.unwrap(), "AKIAFILE");
    assert_eq!(key(&build(&config(static_keys("AKIACONF", "s")))).await.unwrap(), "AKIACONF");
    assert_eq!(key(&build(&config(CredentialSource::StandardChain))).await.unwrap(), "AKIAENV");
}

#[tokio::test]
async fn a_rotated_profile_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let text = |key: &str| format!("[a]\naws_access_key_id={key}\naws_secret_access_key=s\n");
    write(dir.path(), "config", "");
    write(dir.path(), "credentials", &text("AKIAOLD"));
    let identity = build(&profile(dir.path(), "a"));
    assert_eq!(key(&identity).await.unwrap(), "AKIAOLD");
    write(dir.path(), "next", &text("AKIANEW"));
    std::fs::rename(dir.path().join("next"), dir.path().join("credentials")).unwrap();
    eventually(async || key(&identity).await.unwrap() == "AKIANEW").await;
}

#[tokio::test]
async fn broken_profiles_are_named_with_their_file_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[a]\naws_access_key_id=A\naws_secret_access_key=hunter2\n");
    write(
        dir.path(),
        "config",
        "[profile person]\nsso_session=x\nsso_account_id=1\nsso_role_name=r\n[sso-session x]\nsso_region=us-east-1\nsso_start_url=https://x\n\
         [profile signed-in]\nlogin_session=arn:aws:iam::1:user/u\n[profile loop]\nrole_arn=arn:aws:iam::123456789012:role/a\nsource_profile=loop2\n[profile loop2]\nrole_arn=arn:aws:iam::123456789012:role/b\nsource_profile=loop\n",
    );
    for (name, expected) in [
        ("nosuch", "no such profile"),
        ("person", "login (SSO), which cannot be used by an agent"),
        ("signed-in", "login at the console (login_session, made by `aws login`)"),
        ("loop", "loop -> loop2 -> loop"),
    ] {
        let error = key(&build(&profile(dir.path(), name))).await.unwrap_err();
        assert!(error.contains(expected) && error.contains(name) && error.contains("credentials"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    write(dir.path(), "config", "[profile a\nx");
    let error = key(&build(&profile(dir.path(), "a"))).await.unwrap_err();
    assert!(error.contains(&format!("{}, line 1:", dir.path().join("config").display())), "{error}");
    std::fs::remove_file(dir.path().join("config")).unwrap();
    let error = key(&build(&profile(dir.path(), "a"))).await.unwrap_err();
    assert!(error.contains("cannot read") && error.contains("config"), "{error}");
}

fn through(dir: &std::path::Path, name: &str, sts: &Fake) -> IdentityConfig {
    let sts = StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() };
    IdentityConfig { sts, ..profile(dir, name) }
}

#[tokio::test]
async fn profiles_chain_roles_with_stable_session_names_durations_and_external_ids() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[base]\naws_access_key_id=AKIABASE\naws_secret_access_key=s\nrole_arn=ignored\n");
    write(
        dir.path(),
        "config",
        "[profile one]\nrole_arn=arn:aws:iam::123456789012:role/one\nsource_profile=base\nduration_seconds=1800\n\
         [profile two]\nrole_arn=arn:aws:iam::123456789012:role/two\nsource_profile=one\nexternal_id=e\nrole_session_name=mine\n",
    );
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let identity = build(&through(dir.path(), "two", &sts));
    assert_eq!(key(&identity).await.unwrap(), "ASIA1");
    let forms: Vec<_> = sts.seen().iter().map(Seen::form).collect();
    assert_eq!(
        (forms[0]["RoleArn"].as_str(), forms[0]["DurationSeconds"].as_str()),
        ("arn:aws:iam::123456789012:role/one", "1800")
    );
    assert_eq!(forms[0]["RoleSessionName"], "sigpost-node-1-prod");
    assert_eq!((forms[1]["RoleSessionName"].as_str(), forms[1]["ExternalId"].as_str()), ("mine", "e"));
    assert_eq!(sts.seen()[1].key().as_deref(), Some("ASIA0"));
}

#[tokio::test]
async fn a_profile_may_name_the_endpoint_of_sts_alone_or_in_a_services_section() {
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[base]\naws_access_key_id=AKIABASE\naws_secret_access_key=s\n");
    let role = "role_arn=arn:aws:iam::123456789012:role/one\nsource_profile=base";
    let (here, nowhere) = (sts.url("/"), "http://127.0.0.1:9/");
    write(
        dir.path(),
        "config",
        &format!(
            "[profile own]\n{role}\nendpoint_url={here}\n\
             [profile service]\n{role}\nendpoint_url={nowhere}\nservices=local\n\
             [services local]\nsts =\n  endpoint_url = {here}\n\
             [profile keys]\naws_access_key_id=AKIAKEYS\naws_secret_access_key=s\nendpoint_url={here}\n\
             [profile bad]\n{role}\nendpoint_url=localhost\n"
        ),
    );
    let plain = |name: &str| {
        let mut config = through(dir.path(), name, &sts);
        config.sts.endpoint = None;
        config
    };
    for (name, wanted) in [("own", "ASIA0"), ("service", "ASIA1")] {
        assert_eq!(key(&build(&plain(name))).await.unwrap(), wanted, "{name}");
    }
    // A role that the block puts on the profile is assumed there too.
    let on_top = RoleStep {
        role_arn: "arn:aws:iam::123456789012:role/top".to_owned(),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: BTreeMap::new(),
    };
    let config = IdentityConfig { roles: vec![on_top], ..plain("keys") };
    assert_eq!(key(&build(&config)).await.unwrap(), "ASIA2");
    // What the block says comes first, and what is no URL is told.
    assert_eq!(key(&build(&through(dir.path(), "bad", &sts))).await.unwrap(), "ASIA3");
    let error = key(&build(&plain("bad"))).await.unwrap_err();
    assert!(error.contains("endpoint_url of profile bad") && error.contains("sts_endpoint"), "{error}");
}

#[tokio::test]
async fn a_refused_role_with_mfa_says_that_no_agent_can_answer() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[base]\naws_access_key_id=AKIABASE\naws_secret_access_key=s\n");
    write(
        dir.path(),
        "config",
        "[profile m]\nrole_arn=arn:aws:iam::123456789012:role/m\nsource_profile=base\nmfa_serial=arn:aws:iam::123456789012:mfa/me\n",
    );
    let sts = Fake::start(|_, _| sts_error(403, "AccessDenied", "no")).await;
    let error = key(&build(&through(dir.path(), "m", &sts))).await.unwrap_err();
    assert!(error.contains("mfa_serial") && error.contains("AccessDenied"), "{error}");
}

#[tokio::test]
async fn profiles_that_cannot_work_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[half]\naws_access_key_id=AKIA\n");
    write(
        dir.path(),
        "config",
        "[profile nobody]\nrole_arn=arn:aws:iam::123456789012:role/a\n\
         [profile both]\nrole_arn=arn:aws:iam::123456789012:role/a\nsource_profile=half\ncredential_source=Environment\n\
         [profile gone]\nrole_arn=arn:aws:iam::123456789012:role/a\nsource_profile=nowhere\n\
         [profile odd]\nrole_arn=arn:aws:iam::123456789012:role/a\ncredential_source=Moon\n\
         [profile long]\nrole_arn=arn:aws:iam::123456789012:role/a\nsource_profile=half\nduration_seconds=5\n\
         [profile self]\nrole_arn=arn:aws:iam::123456789012:role/a\nsource_profile=self\n\
         [profile bare]\nregion=us-east-1\n",
    );
    for (name, expected) in [
        ("half", "no aws_secret_access_key"),
        ("nobody", "neither source_profile nor credential_source"),
        ("both", "keep one of them"),
        ("gone", "nowhere"),
        ("odd", "Ec2InstanceMetadata"),
        ("long", "900 to 43200"),
        ("self", "its own source_profile"),
        ("bare", "has no credentials"),
    ] {
        let error = key(&build(&profile(dir.path(), name))).await.unwrap_err();
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_profile_that_aws_profile_names_and_nobody_wrote_does_not_fall_through_to_metadata() {
    let test = "a_profile_that_aws_profile_names_and_nobody_wrote_does_not_fall_through_to_metadata";
    if !in_child(test, &[("AWS_PROFILE", "nosuch"), ("AWS_EC2_METADATA_DISABLED", "true")]) {
        return;
    }
    let error = key(&build(&config(CredentialSource::StandardChain))).await.unwrap_err();
    assert!(error.contains("nosuch") && !error.contains("instance metadata"), "{error}");
}

#[tokio::test]
async fn an_endpoint_for_all_services_is_stss_too_unless_a_variable_says_to_ignore_it() {
    let test = "an_endpoint_for_all_services_is_stss_too_unless_a_variable_says_to_ignore_it";
    let sts = Fake::start(|_, n| sts_answer("AssumeRoleWithWebIdentity", n)).await;
    let broken = ("AWS_ENDPOINT_URL_STS".to_owned(), "no URL".to_owned());
    if !in_child_async(test, vec![("AWS_ENDPOINT_URL".to_owned(), sts.url("/").to_string()), broken]).await {
        assert_eq!(sts.seen().len(), 1);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let token_file = write(dir.path(), "token", "jwt\n");
    let role_arn = "arn:aws:iam::123456789012:role/pod".to_owned();
    let source = CredentialSource::WebIdentity { role_arn, token_file, session_name: None };
    assert_eq!(key(&build(&config(source))).await.unwrap(), "ASIA0");
}

#[tokio::test]
async fn the_environment_names_an_sts_endpoint_where_the_block_names_none() {
    let test = "the_environment_names_an_sts_endpoint_where_the_block_names_none";
    let sts = Fake::start(|_, n| sts_answer("AssumeRoleWithWebIdentity", n)).await;
    if !in_child_async(test, vec![("AWS_ENDPOINT_URL_STS".to_owned(), sts.url("/").to_string())]).await {
        assert_eq!(sts.seen().len(), 1);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let token_file = write(dir.path(), "token", "jwt\n");
    let role_arn = "arn:aws:iam::123456789012:role/pod".to_owned();
    let source = CredentialSource::WebIdentity { role_arn, token_file, session_name: None };
    assert_eq!(key(&build(&config(source))).await.unwrap(), "ASIA0");
}

#[tokio::test]
async fn irsa_of_the_environment_has_a_stable_session_name_and_names_its_missing_token() {
    let test = "irsa_of_the_environment_has_a_stable_session_name_and_names_its_missing_token";
    let sts = Fake::start(|_, n| sts_answer("AssumeRoleWithWebIdentity", n)).await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = write(dir.path(), "token", "jwt\n").display().to_string();
    let env = [
        ("AWS_ENDPOINT_URL_STS", sts.url("/").to_string()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod".to_owned()),
    ];
    if !in_child_async(test, env.map(|(k, v)| (k.to_owned(), v)).into()).await {
        assert_eq!(sts.seen()[0].form()["RoleSessionName"], "sigpost-node-1-prod");
        return;
    }
    assert_eq!(key(&build(&config(CredentialSource::StandardChain))).await.unwrap(), "ASIA0");
    let token_file = std::env::var("AWS_WEB_IDENTITY_TOKEN_FILE").unwrap();
    std::fs::remove_file(&token_file).unwrap();
    let error = key(&build(&config(CredentialSource::StandardChain))).await.unwrap_err();
    assert!(error.contains("web identity") && error.contains(&token_file), "{error}");
}

#[tokio::test]
async fn an_explanation_tells_every_source_every_role_and_where_the_region_came_from() {
    let test = "an_explanation_tells_every_source_every_role_and_where_the_region_came_from";
    let env = [("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT1"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    if !in_child(test, &env) {
        return;
    }
    let sts = Fake::start(|seen, n| match seen.form()["Action"].as_str() {
        "GetCallerIdentity" => {
            "<R><Arn>arn:aws:sts::1:assumed-role/one/s</Arn><Account>1</Account><UserId>U</UserId></R>".into_response()
        }
        _ if n == 0 => sts_answer("AssumeRole", n),
        _ => sts_error(403, "AccessDenied", "not authorized to perform: sts:AssumeRole"),
    })
    .await;
    let role = |name: &str| RoleStep {
        role_arn: format!("arn:aws:iam::123456789012:role/{name}"),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: std::collections::BTreeMap::new(),
    };
    let sts_config = StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() };
    let config = IdentityConfig {
        roles: vec![role("one"), role("two")],
        sts: sts_config.clone(),
        region: None,
        ..config(CredentialSource::StandardChain)
    };
    let identity = build(&config);
    let told = identity.explain().await;
    use aws::SourceOutcome::{NotAsked, Taken};
    let sources: Vec<_> = told.sources.iter().map(|s| (s.source.as_str(), s.outcome)).collect();
    assert_eq!(
        sources,
        [
            ("environment", Taken),
            ("shared files", NotAsked),
            ("web identity", NotAsked),
            ("container", NotAsked),
            ("instance metadata", NotAsked)
        ]
    );
    assert!(
        told.roles[0].error.is_none() && told.roles[1].error.as_deref().unwrap().contains("AccessDenied"),
        "{told:?}"
    );
    assert!(told.caller.is_none() && told.error.is_some() && told.region_error.is_none());
    assert_eq!(told.region, Some(("us-east-1".to_owned(), RegionOrigin::HostName)));
    let status = identity.status();
    assert_eq!((status.refreshes, status.refresh_failures), (0, 0), "the credentials in use are untouched");
    assert!(!format!("{told:?}").contains("hunter2"));

    // Where the block names a source, what the environment offers is told as left alone.
    let config = IdentityConfig { sts: sts_config, ..self::config(static_keys("AKIAWRITTENHERE1", "hunter2")) };
    let identity = build(&config);
    let told = identity.explain().await;
    assert_eq!(told.caller.as_ref().unwrap().key_last4, "ERE1");
    assert!(told.sources.iter().any(|s| s.outcome == NotAsked && s.why.contains("AWS_ACCESS_KEY_ID")), "{told:?}");
    assert_eq!(identity.caller_identity().await.unwrap().arn, "arn:aws:sts::1:assumed-role/one/s");
}

#[tokio::test]
async fn a_profile_may_run_a_process_and_a_process_may_be_the_source() {
    let dir = tempfile::tempdir().unwrap();
    let json = r#"{"Version":1,"AccessKeyId":"AKIAPROC","SecretAccessKey":"s"}"#;
    let answer = write(dir.path(), "answer.json", json);
    write(dir.path(), "credentials", "");
    write(dir.path(), "config", &format!("[profile p]\ncredential_process = cat {}\n", answer.display()));
    assert_eq!(key(&build(&profile(dir.path(), "p"))).await.unwrap(), "AKIAPROC");
    let command = format!("cat {}", answer.display());
    assert_eq!(
        key(&build(&config(CredentialSource::Process { command: inline(&command) }))).await.unwrap(),
        "AKIAPROC"
    );
}

#[tokio::test]
async fn a_chain_of_roles_is_assumed_step_by_step_with_stable_session_names() {
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let role = |name: &str| RoleStep {
        role_arn: format!("arn:aws:iam::123456789012:role/{name}"),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: Default::default(),
    };
    let first = RoleStep {
        external_id: Some("ext".to_owned()),
        session_duration: Some(Duration::from_secs(1800)),
        ..role("one")
    };
    let second = RoleStep {
        session_name: Some("mine".to_owned()),
        session_tags: [("team".to_owned(), "blue".to_owned())].into(),
        ..role("two")
    };
    let config = IdentityConfig {
        roles: vec![first, second],
        sts: StsConfig { region: Some("eu-west-1".to_owned()), endpoint: Some(sts.url("/")), ..StsConfig::default() },
        ..config(static_keys("AKIABASE", "s"))
    };
    let identity = build(&config);
    assert_eq!(key(&identity).await.unwrap(), "ASIA1");
    assert_eq!(sign(&identity).await.unwrap().headers()["x-amz-security-token"], "token1+/=");
    let seen = sts.seen();
    assert_eq!(seen.len(), 2, "credentials are kept");
    let (one, two) = (seen[0].form(), seen[1].form());
    assert_eq!((seen[0].key().as_deref(), seen[1].key().as_deref()), (Some("AKIABASE"), Some("ASIA0")));
    assert!(seen[0].header("authorization").contains("/eu-west-1/sts/"), "the STS region, not the signing region");
    assert_eq!(
        (one["RoleSessionName"].as_str(), one["ExternalId"].as_str(), one["DurationSeconds"].as_str()),
        ("sigpost-node-1-prod", "ext", "1800")
    );
    assert_eq!((two["RoleSessionName"].as_str(), two["Tags.member.1.Key"].as_str()), ("mine", "team"));
    assert!(
        identity.status().source.contains("role/two on role arn:aws:iam::123456789012:role/one"),
        "{:?}",
        identity.status()
    );
    assert!(identity.status().expires.is_some());
}

#[tokio::test]
async fn a_refused_role_says_who_asked_and_what_the_trust_policy_needs() {
    let sts = Fake::start(|_, _| {
        sts_error(403, "AccessDenied", "User: arn:aws:iam::1:user/u is not authorized to perform: sts:AssumeRole")
    })
    .await;
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
        ..config(static_keys("AKIABASE", "hunter2"))
    };
    let error = key(&build(&config)).await.unwrap_err();
    for expected in ["role/one", "AKIABASE", "AccessDenied", "trust policy"] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!error.contains("hunter2"));
}

/// A request that was answered 500 or 503, or throttled, is repeated once; then it is the service's trouble and nobody's fault here.
#[tokio::test]
async fn sts_in_trouble_is_asked_once_more_and_named() {
    for (status, code) in [(500, "InternalFailure"), (503, "ServiceUnavailable"), (400, "Throttling")] {
        let sts = Fake::start(move |_, _| sts_error(status, code, "later")).await;
        let explanation = build(&on_role(&sts)).explain().await;
        let error = explanation.error.unwrap();
        assert!(matches!(explanation.fault, Some(aws::Fault::InTrouble(_))), "{:?}", explanation.fault);
        assert!(
            error.contains("STS") && error.contains(&status.to_string()) && error.contains("asked again"),
            "{error}"
        );
        assert!(!error.contains("trust policy"), "{error}");
        assert_eq!(sts.seen().len(), 2, "{code}");
        assert!(explanation.sts_endpoint.is_some());
    }
    // Once only: the next answer is taken.
    let sts = Fake::start(|_, n| if n == 0 { sts_error(503, "x", "later") } else { sts_answer("AssumeRole", n) }).await;
    assert_eq!(key(&build(&on_role(&sts))).await.unwrap(), "ASIA1");
}

fn on_role(sts: &Fake) -> IdentityConfig {
    let step = RoleStep {
        role_arn: "arn:aws:iam::123456789012:role/one".to_owned(),
        external_id: None,
        session_name: None,
        session_duration: None,
        session_tags: BTreeMap::new(),
    };
    let sts = StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() };
    IdentityConfig { roles: vec![step], sts, ..config(static_keys("AKIABASE", "s")) }
}

#[tokio::test]
async fn a_role_is_asked_for_again_with_the_time_that_sts_tells() {
    let there = std::time::SystemTime::now() + Duration::from_secs(7200);
    let sts = Fake::start(move |seen, n| {
        if n > 0 {
            return sts_answer("AssumeRole", n);
        }
        let refusal = sts_error(
            403,
            "SignatureDoesNotMatch",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T020000Z",
        );
        let _ = seen;
        ([("date", http_date(there)), ("x-amzn-requestid", "r".to_owned())], refusal).into_response()
    })
    .await;
    assert_eq!(key(&build(&on_role(&sts))).await.unwrap(), "ASIA1");
    let dates: Vec<String> = sts.seen().iter().map(|seen| seen.header("x-amz-date").to_owned()).collect();
    let at = |text: &str| jiff::Timestamp::strptime("%Y%m%dT%H%M%S%z", text.replace('Z', "+0000")).unwrap().as_second();
    assert!((7100..7300).contains(&(at(&dates[1]) - at(&dates[0]))), "{dates:?}");
}

#[tokio::test]
async fn a_page_in_place_of_sts_is_something_between() {
    let page = || {
        let body = "<html><head><title>Access Denied</title></head></html>";
        (StatusCode::FORBIDDEN, [("content-type", "text/html")], body).into_response()
    };
    let sts = Fake::start(move |_, _| page()).await;
    let explanation = build(&on_role(&sts)).explain().await;
    assert_eq!(explanation.fault, Some(aws::Fault::OddAnswer(aws::Asked::Sts)));
    let error = explanation.error.unwrap();
    assert!(
        error.contains("something between") && error.contains("\"Access Denied\"") && !error.contains("policy"),
        "{error}"
    );
}

#[tokio::test]
async fn what_answers_in_place_of_sts_is_told_with_its_status_and_what_it_looks_like() {
    for (status, kind, body, likeness) in [
        (200, "text/html", "<html><title>Sign in</title>", "a web page titled \"Sign in\""),
        (200, "application/json", "{}", "JSON"),
        (200, "text/plain", "hello", "text (\"hello\")"),
        (503, "text/plain", "upstream connect error", "text (\"upstream connect error\")"),
        (503, "text/html", "<html><title>Busy</title>", "a web page titled \"Busy\""),
    ] {
        let sts = Fake::start(move |_, _| {
            (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body).into_response()
        })
        .await;
        let explanation = build(&on_role(&sts)).explain().await;
        assert_eq!(explanation.fault, Some(aws::Fault::OddAnswer(aws::Asked::Sts)), "{status} {body}");
        let error = explanation.error.unwrap();
        assert!(error.contains(&format!("HTTP {status}")) && error.contains(likeness), "{likeness}: {error}");
    }
}

/// Takes the request and says nothing, for as long as somebody waits.
#[tokio::test]
async fn an_sts_that_stays_silent_is_named_before_anybody_stops_waiting() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    let fake = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let mut config = on_role(&fake);
    config.sts.endpoint = Some(format!("http://{address}/").parse().unwrap());
    let identity = build(&config);
    let explanation = tokio::time::timeout(identity.patience(), identity.explain()).await.expect("it tells by itself");
    assert_eq!(explanation.fault, Some(aws::Fault::Unreached(aws::Asked::Sts)));
    assert!(explanation.error.unwrap().contains(&address.to_string()));
    assert_eq!(explanation.region.unwrap().0, "us-east-1");
    kept.abort();
}

#[tokio::test]
async fn session_tags_reach_sts_in_their_own_fields() {
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let mut config = on_role(&sts);
    config.roles[0].session_tags =
        BTreeMap::from([("team".to_owned(), "a b&c".to_owned()), ("x".to_owned(), String::new())]);
    assert_eq!(key(&build(&config)).await.unwrap(), "ASIA0");
    let form = sts.seen()[0].form();
    assert_eq!((form["Tags.member.1.Key"].as_str(), form["Tags.member.1.Value"].as_str()), ("team", "a b&c"));
    assert_eq!((form["Tags.member.2.Key"].as_str(), form["Tags.member.2.Value"].as_str()), ("x", ""));
    assert_eq!(sts.seen()[0].key().as_deref(), Some("AKIABASE"));
}

#[tokio::test]
async fn metadata_is_asked_where_the_profile_says_for_credentials_and_for_the_region() {
    let test = "metadata_is_asked_where_the_profile_says_for_credentials_and_for_the_region";
    if !in_child(test, &[]) {
        return;
    }
    let metadata = Fake::start(|seen, _| imds(seen, "ap-south-1")).await;
    let sts = Fake::start(|_, n| sts_answer("AssumeRole", n)).await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "");
    let role = "role_arn=arn:aws:iam::123456789012:role/one\ncredential_source=Ec2InstanceMetadata";
    write(
        dir.path(),
        "config",
        &format!(
            "[profile a]\n{role}\nec2_metadata_service_endpoint={}\nendpoint_url={}\n",
            metadata.url("/"),
            sts.url("/")
        ),
    );
    let config = IdentityConfig { region: None, ..profile(dir.path(), "a") };
    let identity =
        aws::build(&config, &"https://metrics.example/write".parse().unwrap(), "aps", "prod", &context()).unwrap();
    let request = sign(&identity).await.unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap();
    assert!(
        authorization.contains("Credential=ASIA0/") && authorization.contains("/ap-south-1/aps/"),
        "{authorization}"
    );
    assert_eq!(sts.seen()[0].key().as_deref(), Some("ASIAIMDS"));
}

#[tokio::test]
async fn a_web_identity_token_is_trimmed_read_at_each_exchange_and_named_when_missing() {
    let sts = Fake::start(|_, n| sts_answer("AssumeRoleWithWebIdentity", n)).await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = write(dir.path(), "token", "jwt-1\n");
    let role_arn = "arn:aws:iam::123456789012:role/irsa".to_owned();
    let source = CredentialSource::WebIdentity { role_arn, token_file: token_file.clone(), session_name: None };
    let config =
        IdentityConfig { sts: StsConfig { endpoint: Some(sts.url("/")), ..StsConfig::default() }, ..config(source) };
    let identity = build(&config);
    assert_eq!(key(&identity).await.unwrap(), "ASIA0");
    write(dir.path(), "token", "jwt-2\n");
    // Refused: fetched again, with the new token.
    judge(&identity, 403, &[], r#"{"__type":"ExpiredTokenException","message":"x"}"#);
    assert_eq!(key(&identity).await.unwrap(), "ASIA1");
    let forms: Vec<_> = sts.seen().iter().map(Seen::form).collect();
    assert_eq!((forms[0]["WebIdentityToken"].as_str(), forms[1]["WebIdentityToken"].as_str()), ("jwt-1", "jwt-2"));
    assert_eq!(forms[0]["RoleSessionName"], "sigpost-node-1-prod");
    assert_eq!(sts.seen()[0].key(), None, "this call is not signed");

    std::fs::remove_file(&token_file).unwrap();
    let error = key(&build(&config)).await.unwrap_err();
    assert!(error.contains(&token_file.display().to_string()), "{error}");
}

fn container_answer(key: &str) -> Response {
    let body = format!(
        r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s","Token":"t","Expiration":"{}","RoleArn":"r"}}"#,
        later(3600)
    );
    ([("content-type", "application/json")], body).into_response()
}

#[tokio::test]
async fn a_container_token_with_a_trailing_newline_works_and_is_read_again() {
    let endpoint = Fake::start(|seen, n| match seen.header("authorization") {
        "tok-1" | "tok-2" => container_answer(&format!("ASIA{n}")),
        _ => (StatusCode::UNAUTHORIZED, r#"{"code":"InvalidToken","message":"no"}"#).into_response(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = write(dir.path(), "token", "tok-1\n");
    let source =
        CredentialSource::Container { endpoint: Some(endpoint.url("/v1/credentials")), token_file: Some(token_file) };
    let identity = build(&config(source));
    assert_eq!(key(&identity).await.unwrap(), "ASIA0");
    write(dir.path(), "token", "tok-2\n");
    judge(&identity, 403, &[], r#"{"__type":"ExpiredTokenException"}"#);
    assert_eq!(key(&identity).await.unwrap(), "ASIA1");
    assert_eq!(endpoint.seen()[1].header("authorization"), "tok-2");

    write(dir.path(), "token", "wrong");
    let error = key(&build(&config(CredentialSource::Container {
        endpoint: Some(endpoint.url("/v1/credentials")),
        token_file: Some(dir.path().join("token")),
    })))
    .await
    .unwrap_err();
    assert!(error.contains("InvalidToken") && !error.contains("wrong"), "{error}");
}

#[tokio::test]
async fn proxy_variables_do_not_capture_local_credential_endpoints() {
    // Nothing listens at this proxy, so whatever goes there fails.
    let env = [
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
    ];
    if !in_child("proxy_variables_do_not_capture_local_credential_endpoints", &env) {
        return;
    }
    let endpoint = Fake::start(|_, _| container_answer("ASIADIRECT")).await;
    let source = CredentialSource::Container { endpoint: Some(endpoint.url("/")), token_file: None };
    assert_eq!(key(&build(&config(source))).await.unwrap(), "ASIADIRECT");
    // What is far away does go there.
    let source =
        CredentialSource::Container { endpoint: Some("https://far.example/".parse().unwrap()), token_file: None };
    let error = key(&build(&config(source))).await.unwrap_err();
    assert!(error.contains("proxy http://127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn instance_metadata_gives_credentials_by_version_two_only() {
    let metadata = Fake::start(|seen, _| imds(seen, "ap-south-1")).await;
    let source = CredentialSource::InstanceMetadata { endpoint: Some(metadata.url("/")) };
    let identity = build(&config(source));
    assert_eq!(key(&identity).await.unwrap(), "ASIAIMDS");
    assert!(metadata.seen().iter().skip(1).all(|s| s.header("x-aws-ec2-metadata-token") == "imds-token"));
}

/// As after a restart of what stands in for it: a token that lives for hours is not known any more.
#[tokio::test]
async fn a_metadata_service_that_forgot_its_token_is_asked_for_another() {
    let given = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let metadata = Fake::start(move |seen, _| {
        let is_token = seen.path == "/latest/api/token";
        let number = given.fetch_add(u32::from(is_token), std::sync::atomic::Ordering::SeqCst);
        // The first one is good for nothing.
        if !is_token && number < 2 { StatusCode::UNAUTHORIZED.into_response() } else { imds(seen, "ap-south-1") }
    })
    .await;
    let identity = build(&config(CredentialSource::InstanceMetadata { endpoint: Some(metadata.url("/")) }));
    assert!(key(&identity).await.is_err());
    let began = std::time::Instant::now();
    while key(&identity).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", metadata.seen());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_region_comes_from_metadata_at_first_use_when_nothing_else_names_one() {
    let test = "the_region_comes_from_metadata_at_first_use_when_nothing_else_names_one";
    let metadata = Fake::start(|seen, _| imds(seen, "ap-south-1")).await;
    if !in_child_async(test, vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), metadata.url("/").to_string())])
        .await
    {
        assert!(metadata.seen().iter().any(|s| s.path == "/latest/meta-data/placement/region"));
        return;
    }
    let config = IdentityConfig::default();
    let identity =
        aws::build(&config, &"https://metrics.example/write".parse().unwrap(), "aps", "prod", &context()).unwrap();
    assert_eq!(identity.status().region, None);
    let request = sign(&identity).await.unwrap();
    assert!(request.headers()["authorization"].to_str().unwrap().contains("/ap-south-1/aps/"));
    assert_eq!(identity.status().region, Some(("ap-south-1".to_owned(), RegionOrigin::InstanceMetadata)));
}

/// `in_child` for tests whose stand-in must keep running in the parent meanwhile.
async fn in_child_async(test: &'static str, env: Vec<(String, String)>) -> bool {
    tokio::task::spawn_blocking(move || {
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        in_child(test, &env)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_standard_chain_lists_what_it_looked_at() {
    let env = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "us-west-2")];
    if !in_child("the_standard_chain_lists_what_it_looked_at", &env) {
        return;
    }
    let error = key(&build(&config(CredentialSource::StandardChain))).await.unwrap_err();
    for place in ["environment", "shared files", "web identity", "container", "instance metadata"] {
        assert!(error.contains(place), "{place}: {error}");
    }
    // The region's order: host before environment, environment when the host says nothing.
    let region = |url: &str| {
        let config = IdentityConfig::default();
        aws::build(&config, &url.parse().unwrap(), "aps", "prod", &context()).unwrap().status().region.unwrap()
    };
    assert_eq!(region(AMP), ("us-east-1".to_owned(), RegionOrigin::HostName));
    assert_eq!(region("https://metrics.example/"), ("us-west-2".to_owned(), RegionOrigin::Environment("AWS_REGION")));
}

#[tokio::test]
async fn a_profiles_region_comes_before_the_environments_and_no_region_at_all_is_an_error() {
    let env = [("AWS_REGION", "us-west-2")];
    let test = "a_profiles_region_comes_before_the_environments_and_no_region_at_all_is_an_error";
    if !in_child(test, &env) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "credentials", "[a]\naws_access_key_id=A\naws_secret_access_key=s\n");
    write(dir.path(), "config", "[profile a]\nregion = sa-east-1\n");
    let config = IdentityConfig { region: None, ..profile(dir.path(), "a") };
    let identity =
        aws::build(&config, &"https://metrics.example/".parse().unwrap(), "aps", "prod", &context()).unwrap();
    assert_eq!(identity.status().region, Some(("sa-east-1".to_owned(), RegionOrigin::Profile("a".to_owned()))));
}

#[tokio::test]
async fn keys_without_any_region_are_refused_at_once_with_the_way_out() {
    let test = "keys_without_any_region_are_refused_at_once_with_the_way_out";
    if !in_child(test, &[("AWS_EC2_METADATA_DISABLED", "true")]) {
        return;
    }
    // Their destination waits; the others of the file start.
    let config = IdentityConfig { source: static_keys("AKIA", "s"), ..IdentityConfig::default() };
    let identity = aws::build(&config, &"http://127.0.0.1:9009/x".parse().unwrap(), "aps", "prod", &context()).unwrap();
    let error = sign(&identity).await.unwrap_err();
    for words in ["no AWS region for 127.0.0.1", "AWS_EC2_METADATA_DISABLED", "set region in the sigv4 block"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(identity.explain().await.region_error.is_some_and(|why| why.contains("set region")));
}

#[tokio::test]
async fn keys_written_by_hand_take_the_region_of_the_instance_that_they_are_used_on() {
    let test = "keys_written_by_hand_take_the_region_of_the_instance_that_they_are_used_on";
    let metadata = Fake::start(|seen, _| imds(seen, "ap-south-1")).await;
    let env = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), metadata.url("/").to_string())];
    if !in_child_async(test, env).await {
        return;
    }
    let config = IdentityConfig { source: static_keys("AKIA", "s"), ..IdentityConfig::default() };
    let identity = aws::build(&config, &"http://127.0.0.1:9009/x".parse().unwrap(), "aps", "prod", &context()).unwrap();
    let request = sign(&identity).await.unwrap();
    assert!(request.headers()["authorization"].to_str().unwrap().contains("/ap-south-1/aps/"));
    assert_eq!(identity.status().region, Some(("ap-south-1".to_owned(), RegionOrigin::InstanceMetadata)));
}

/// Opened so often since the last look.
fn openings(watch: &std::os::fd::OwnedFd) -> usize {
    use rustix::fs::inotify;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    let mut count = 0;
    while let Ok(event) = events.next() {
        count += usize::from(event.events().contains(inotify::ReadFlags::OPEN));
    }
    count
}

/// So that a disk that hangs costs a start, and then each fetch, its limit once.
#[tokio::test]
async fn the_shared_files_are_read_once_for_a_start_and_once_for_each_fetch() {
    use rustix::fs::inotify;
    let dir = tempfile::tempdir().unwrap();
    let config_file = write(
        dir.path(),
        "config",
        "[profile a]\nregion = sa-east-1\nec2_metadata_service_endpoint = http://127.0.0.1:9\n",
    );
    write(dir.path(), "credentials", "[a]\naws_access_key_id=AKIAFILE\naws_secret_access_key=s\n");
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    // With the closing: equal events that follow one another are told as one.
    inotify::add_watch(&watch, &config_file, inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE).unwrap();
    let config = IdentityConfig { region: None, ..profile(dir.path(), "a") };
    let identity =
        aws::build(&config, &"https://metrics.example/".parse().unwrap(), "aps", "prod", &context()).unwrap();
    assert_eq!(openings(&watch), 1, "region, clock and command of one reading");
    assert_eq!(key(&identity).await.unwrap(), "AKIAFILE");
    assert_eq!(openings(&watch), 1, "profile, endpoint of STS and of metadata of one reading");
    identity.explain().await;
    assert!(openings(&watch) <= 2, "one to ask afresh, one to tell where STS is");
    identity.patience();
    identity.status();
    assert_eq!(openings(&watch), 0);
}
