//! Secret stores: every kind is read, rotation arrives without anybody asking, and trouble leaves the last value in use.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws::{SecretKeeper, SecretStoresConfig, VaultConfig, VaultLogin};
use axum::{
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use net::{SecretSource, StoredSecret, TlsConfig};
use serde_json::{Value, json};
use support::*;

const LIMIT: Duration = Duration::from_secs(30);

fn keeper() -> SecretKeeper {
    SecretKeeper::new(Arc::new(context()))
}

fn stored(reference: &str) -> Arc<StoredSecret> {
    Arc::new(StoredSecret::new(reference))
}

fn of_aws(fake: &Fake) -> SecretStoresConfig {
    SecretStoresConfig {
        identity: config(static_keys("AKIASECRETS", "s")),
        refresh: Duration::from_millis(50),
        secretsmanager_endpoint: Some(fake.url("/")),
        ssm_endpoint: Some(fake.url("/")),
        vault: None,
    }
}

fn of_vault(fake: &Fake, login: VaultLogin) -> SecretStoresConfig {
    let vault = VaultConfig { address: fake.url(""), namespace: None, login, tls: TlsConfig::default() };
    SecretStoresConfig { vault: Some(vault), ..of_aws(fake) }
}

async fn value(secret: &StoredSecret, wanted: &str) {
    let reached = async {
        while secret.read().is_ok_and(|v| v.expose() != wanted) || secret.read().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reached)
        .await
        .unwrap_or_else(|_| panic!("{}: {:?}", secret.reference(), secret.read()));
}

/// Waits for a value that is not `former`.
async fn any_value(secret: &StoredSecret, former: &str) -> String {
    let reached = async {
        loop {
            if let Some(value) = secret.read().ok().filter(|v| v.expose() != former) {
                return value.expose().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{}: {:?}", secret.reference(), secret.read()))
}

/// Waits until reading fails with these words.
async fn trouble(keeper: &SecretKeeper, words: &str) -> String {
    let reached = async {
        loop {
            let errors: Vec<String> = keeper.status().into_iter().filter_map(|s| s.last_error).collect();
            if let Some(error) = errors.iter().find(|e| e.contains(words)) {
                return error.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{words}: {:?}", keeper.status()))
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap_or_default()
}

#[tokio::test]
async fn secrets_manager_gives_whole_secrets_members_stages_and_bytes() {
    let fake = Fake::start(|seen, _| {
        assert_eq!(seen.header("x-amz-target"), "secretsmanager.GetSecretValue");
        assert_eq!(seen.header("content-type"), "application/x-amz-json-1.1");
        let request = body(seen);
        match (request["SecretId"].as_str().unwrap(), request["VersionStage"].as_str()) {
            ("plain", None) => json!({ "SecretString": "value\n" }),
            ("plain", Some("AWSPREVIOUS")) => json!({ "SecretString": "older" }),
            ("object", _) => json!({ "SecretString": r#"{"password":"p1","port":5432}"# }),
            ("bytes", _) => json!({ "SecretBinary": STANDARD.encode("binary") }),
            other => panic!("{other:?}"),
        }
        .to_string()
        .into_response()
    })
    .await;
    let keeper = keeper();
    let wanted = [
        ("aws-secretsmanager://plain", "value"),
        ("aws-secretsmanager://plain?stage=AWSPREVIOUS", "older"),
        ("aws-secretsmanager://object#password", "p1"),
        ("aws-secretsmanager://object#port", "5432"),
        ("aws-secretsmanager://bytes", "binary"),
    ];
    let secrets: Vec<_> = wanted.iter().map(|(reference, _)| stored(reference)).collect();
    keeper.follow(&of_aws(&fake), &secrets).unwrap();
    for (secret, (_, expected)) in secrets.iter().zip(wanted) {
        value(secret, expected).await;
    }
    let authorization = fake.seen()[0].header("authorization").to_owned();
    assert!(authorization.contains("AKIASECRETS/") && authorization.contains("/us-east-1/secretsmanager/aws4_request"));
}

#[tokio::test]
async fn the_region_of_an_arn_or_of_the_reference_is_signed_for() {
    let fake = Fake::start(|_, _| json!({ "SecretString": "v" }).to_string().into_response()).await;
    let keeper = keeper();
    let secrets = [
        stored("aws-secretsmanager://arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf"),
        stored("aws-secretsmanager://y?region=ap-southeast-2"),
    ];
    keeper.follow(&of_aws(&fake), &secrets).unwrap();
    for secret in &secrets {
        value(secret, "v").await;
    }
    let scopes: Vec<String> = fake.seen().iter().map(|s| s.header("authorization").to_owned()).collect();
    for region in ["/eu-west-1/", "/ap-southeast-2/"] {
        assert!(scopes.iter().any(|s| s.contains(region)), "{scopes:?}");
    }
}

#[tokio::test]
async fn parameters_are_decrypted() {
    let fake = Fake::start(|seen, _| {
        assert_eq!(seen.header("x-amz-target"), "AmazonSSM.GetParameter");
        assert_eq!(body(seen), json!({ "Name": "/prod/agent/token:3", "WithDecryption": true }));
        json!({ "Parameter": { "Name": "/prod/agent/token", "Type": "SecureString", "Value": "t" } })
            .to_string()
            .into_response()
    })
    .await;
    let (keeper, secret) = (keeper(), stored("aws-ssm:///prod/agent/token:3"));
    keeper.follow(&of_aws(&fake), std::slice::from_ref(&secret)).unwrap();
    value(&secret, "t").await;
}

#[tokio::test]
async fn a_rotated_secret_arrives_by_itself_and_a_failing_store_keeps_the_last_one() {
    let stage = Arc::new(AtomicUsize::new(0));
    let at = Arc::clone(&stage);
    let fake = Fake::start(move |_, _| match at.load(Ordering::SeqCst) {
        0 => json!({ "SecretString": "first" }).to_string().into_response(),
        1 => json!({ "SecretString": "second" }).to_string().into_response(),
        2 => (StatusCode::BAD_REQUEST, r#"{"__type":"AccessDeniedException","message":"not authorized to perform: secretsmanager:GetSecretValue"}"#)
            .into_response(),
        _ => "garbage".into_response(),
    })
    .await;
    let (keeper, secret) = (keeper(), stored("aws-secretsmanager://x"));
    keeper.follow(&of_aws(&fake), std::slice::from_ref(&secret)).unwrap();
    value(&secret, "first").await;
    stage.store(1, Ordering::SeqCst);
    value(&secret, "second").await;
    stage.store(2, Ordering::SeqCst);
    let error = trouble(&keeper, "AccessDenied").await;
    assert!(error.contains("secretsmanager:GetSecretValue") && !error.contains("second"), "{error}");
    assert_eq!(secret.read().unwrap().expose(), "second");
    stage.store(3, Ordering::SeqCst);
    trouble(&keeper, "not JSON").await;
    assert_eq!(secret.read().unwrap().expose(), "second");
    let status = keeper.status().remove(0);
    assert!(status.failures >= 2 && status.refreshes >= 2 && status.read_at.is_some(), "{status:?}");
    stage.store(0, Ordering::SeqCst);
    value(&secret, "first").await;
}

#[tokio::test]
async fn the_keys_of_one_secret_are_read_together_and_change_together() {
    let fake = Fake::start(|_, _| {
        let pair = json!({ "id": "AKIAPAIR", "secret": "s" }).to_string();
        json!({ "SecretString": pair }).to_string().into_response()
    })
    .await;
    let secrets = ["id", "secret", "nothing"].map(|key| stored(&format!("aws-secretsmanager://pair#{key}")));
    let keeper = keeper();
    let config = SecretStoresConfig { refresh: Duration::from_secs(3600), ..of_aws(&fake) };
    keeper.follow(&config, &secrets).unwrap();
    value(&secrets[0], "AKIAPAIR").await;
    value(&secrets[1], "s").await;
    trouble(&keeper, "no key \"nothing\"").await;
    assert_eq!(fake.seen().len(), 1, "one read for all");
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_is_silent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent: url::Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let fake = Fake::start(|_, _| StatusCode::OK.into_response()).await;
    let (keeper, secret) = (keeper(), stored("aws-secretsmanager://x"));
    let config = SecretStoresConfig { secretsmanager_endpoint: Some(silent), ..of_aws(&fake) };
    keeper.follow(&config, std::slice::from_ref(&secret)).unwrap();
    assert!(!keeper.settled(Duration::from_millis(50)).await);
    let error = SecretSource::Stored(secret).read().unwrap_err().to_string();
    assert!(error.contains("aws-secretsmanager://x"), "{error}");
}

#[tokio::test]
async fn a_secret_that_nobody_holds_is_asked_for_no_more_and_one_that_two_plans_hold_is_read_once() {
    let fake = Fake::start(|_, _| json!({ "SecretString": "v" }).to_string().into_response()).await;
    let keeper = keeper();
    let config = SecretStoresConfig { refresh: Duration::from_secs(3600), ..of_aws(&fake) };
    let first = stored("aws-secretsmanager://x");
    keeper.follow(&config, std::slice::from_ref(&first)).unwrap();
    value(&first, "v").await;
    // A reload: another plan with the same reference.
    let second = stored("aws-secretsmanager://x");
    keeper.follow(&config, std::slice::from_ref(&second)).unwrap();
    assert_eq!(second.read().unwrap().expose(), "v", "known at once");
    assert_eq!((fake.seen().len(), keeper.status().len()), (1, 1));
    drop((first, second));
    keeper.follow(&config, &[]).unwrap();
    assert!(keeper.status().is_empty());
}

fn vault_error(status: StatusCode, text: &str) -> Response {
    (status, json!({ "errors": [text] }).to_string()).into_response()
}

#[tokio::test]
async fn vaults_engines_of_both_versions_are_told_apart() {
    let fake = Fake::start(|seen, _| {
        if seen.header("x-vault-token") != "hvs.token" {
            return vault_error(StatusCode::FORBIDDEN, "permission denied");
        }
        match seen.path.as_str() {
            "/v1/secret/data/team/agent" => {
                json!({ "data": { "data": { "password": "two", "other": "o" }, "metadata": { "version": 4 } } })
            }
            "/v1/old/agent" => json!({ "data": { "password": "one" } }),
            "/v1/old/data/agent" | "/v1/secret/data/gone" => return vault_error(StatusCode::NOT_FOUND, ""),
            _ => return vault_error(StatusCode::FORBIDDEN, "permission denied"),
        }
        .to_string()
        .into_response()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "hvs.token\n").unwrap();
    let login = VaultLogin::Token(SecretSource::File(dir.path().join("token")));
    let keeper = keeper();
    let secrets = [
        stored("vault://secret/team/agent#password"),
        stored("vault://old/agent"),
        stored("vault://secret/team/agent"),
        stored("vault://secret/gone#x"),
    ];
    keeper.follow(&of_vault(&fake, login), &secrets).unwrap();
    value(&secrets[0], "two").await;
    value(&secrets[1], "one").await;
    trouble(&keeper, "several keys").await;
    trouble(&keeper, "404").await;
}

/// A Vault whose tokens are good for one read each.
async fn vault_with_short_tokens(check: impl Fn(&Seen) + Send + Sync + 'static) -> Fake {
    let logins = AtomicUsize::new(0);
    let spent = std::sync::Mutex::new(std::collections::BTreeSet::new());
    Fake::start(move |seen, _| {
        if seen.path.ends_with("/login") {
            assert_eq!(seen.method, Method::POST);
            check(seen);
            let n = logins.fetch_add(1, Ordering::SeqCst);
            return json!({ "auth": { "client_token": format!("t{n}"), "lease_duration": 3600, "renewable": true } })
                .to_string()
                .into_response();
        }
        if !spent.lock().unwrap().insert(seen.header("x-vault-token").to_owned()) {
            return vault_error(StatusCode::FORBIDDEN, "permission denied");
        }
        json!({ "data": { "data": { "k": seen.header("x-vault-token") } } }).to_string().into_response()
    })
    .await
}

#[tokio::test]
async fn every_login_to_vault_works_and_a_token_that_ended_early_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let jwt = dir.path().join("token");
    std::fs::write(&jwt, "jwt.of.pod\n").unwrap();
    let logins: [(VaultLogin, &str, Value); 2] = [
        (
            VaultLogin::AppRole {
                mount: "approle".to_owned(),
                role_id: inline("role"),
                secret_id: Some(inline("secret")),
            },
            "/v1/auth/approle/login",
            json!({ "role_id": "role", "secret_id": "secret" }),
        ),
        (
            VaultLogin::Kubernetes { mount: "k8s-prod".to_owned(), role: "agent".to_owned(), token_file: jwt },
            "/v1/auth/k8s-prod/login",
            json!({ "role": "agent", "jwt": "jwt.of.pod" }),
        ),
    ];
    for (login, path, expected) in logins {
        let fake = vault_with_short_tokens(move |seen| {
            assert_eq!((seen.path.as_str(), body(seen)), (path, expected.clone()));
        })
        .await;
        let (keeper, secret) = (keeper(), stored("vault://kv/agent#k?kv=2"));
        keeper.follow(&of_vault(&fake, login), std::slice::from_ref(&secret)).unwrap();
        let first = any_value(&secret, "").await;
        any_value(&secret, &first).await;
    }
}

/// A Vault whose tokens live a second from when they were last renewed.
async fn vault_with_leases(renewable: bool) -> Fake {
    let renewed = std::sync::Mutex::new(std::collections::BTreeMap::<String, Instant>::new());
    Fake::start(move |seen, _| {
        let token = seen.header("x-vault-token").to_owned();
        let mut renewed = renewed.lock().unwrap();
        if token == "hvs.revoked" {
            return vault_error(StatusCode::FORBIDDEN, "permission denied");
        }
        let at = *renewed.entry(token.clone()).or_insert_with(Instant::now);
        if renewable && at.elapsed() > Duration::from_secs(1) {
            return vault_error(StatusCode::FORBIDDEN, "permission denied");
        }
        let auth = json!({ "client_token": token, "lease_duration": 1, "renewable": renewable });
        match seen.path.as_str() {
            "/v1/auth/token/lookup-self" => {
                json!({ "data": { "ttl": 1, "creation_ttl": 1, "period": 0, "renewable": renewable } })
            }
            "/v1/auth/token/renew-self" => {
                assert_eq!(seen.method, Method::POST);
                renewed.insert(token, Instant::now());
                json!({ "auth": auth })
            }
            path if path.ends_with("/login") => {
                json!({ "auth": { "client_token": "hvs.login", "lease_duration": 1, "renewable": true } })
            }
            _ => json!({ "data": { "data": { "k": token } } }),
        }
        .to_string()
        .into_response()
    })
    .await
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_configured_vault_token_is_renewed_for_as_long_as_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "hvs.configured\n").unwrap();
    let fake = vault_with_leases(true).await;
    let (keeper, secret) = (keeper(), stored("vault://kv/agent#k?kv=2"));
    let login = VaultLogin::Token(SecretSource::File(file.clone()));
    keeper.follow(&of_vault(&fake, login), std::slice::from_ref(&secret)).unwrap();
    until("four renewals", || keeper.vault_token().unwrap().renewals >= 4).await;
    let token = keeper.vault_token().unwrap();
    assert_eq!((token.failures, &token.last_error), (0, &None));
    assert!(token.ends.is_some_and(|ends| ends > std::time::SystemTime::now() - Duration::from_secs(1)), "{token:?}");
    assert_eq!((secret.read().unwrap().expose(), keeper.status()[0].failures), ("hvs.configured", 0));

    // One that Vault does not know is told and asked about again; the next one in the file is taken up.
    std::fs::write(&file, "hvs.revoked\n").unwrap();
    until("a failure", || keeper.vault_token().unwrap().failures > 0).await;
    let error = keeper.vault_token().unwrap().last_error.unwrap_or_default();
    assert!(error.contains("permission denied") && !error.contains("hvs."), "{error}");
    std::fs::write(&file, "hvs.next\n").unwrap();
    value(&secret, "hvs.next").await;
    until("the new token's lease", || keeper.vault_token().unwrap().last_error.is_none()).await;
}

#[tokio::test]
async fn a_vault_token_that_may_not_be_renewed_is_left_alone() {
    let fake = vault_with_leases(false).await;
    let (keeper, secret) = (keeper(), stored("vault://kv/agent#k?kv=2"));
    keeper.follow(&of_vault(&fake, VaultLogin::Token(inline("hvs.short"))), std::slice::from_ref(&secret)).unwrap();
    value(&secret, "hvs.short").await;
    until("its end to be known", || keeper.vault_token().unwrap().ends.is_some()).await;
    let token = keeper.vault_token().unwrap();
    assert_eq!((token.renewals, token.failures), (0, 0));
    assert!(!fake.seen().iter().any(|seen| seen.path.ends_with("renew-self")));
}

#[tokio::test]
async fn the_token_of_a_login_is_renewed_before_another_login_is_spent() {
    let fake = vault_with_leases(true).await;
    let (keeper, secret) = (keeper(), stored("vault://kv/agent#k?kv=2"));
    let login =
        VaultLogin::AppRole { mount: "approle".to_owned(), role_id: inline("role"), secret_id: Some(inline("s")) };
    keeper.follow(&of_vault(&fake, login), std::slice::from_ref(&secret)).unwrap();
    assert!(keeper.vault_token().is_none(), "it is not configured");
    until("two renewals", || fake.seen().iter().filter(|seen| seen.path.ends_with("renew-self")).count() >= 2).await;
    assert_eq!(fake.seen().iter().filter(|seen| seen.path.ends_with("/login")).count(), 1);
}

#[tokio::test]
async fn vaults_aws_login_proves_itself_with_a_signed_caller_identity() {
    let fake = vault_with_short_tokens(|seen| {
        let body = body(seen);
        let text = |key: &str| String::from_utf8(STANDARD.decode(body[key].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!((body["role"].as_str(), body["iam_http_request_method"].as_str()), (Some("agent"), Some("POST")));
        assert_eq!(text("iam_request_url"), "https://sts.us-east-1.amazonaws.com/");
        assert_eq!(text("iam_request_body"), "Action=GetCallerIdentity&Version=2011-06-15");
        let headers: Value = serde_json::from_str(&text("iam_request_headers")).unwrap();
        let header = |name: &str| headers[name][0].as_str().unwrap_or_default().to_owned();
        assert_eq!(header("host"), "sts.us-east-1.amazonaws.com");
        assert_eq!(header("x-vault-aws-iam-server-id"), "vault.example");
        let authorization = header("authorization");
        assert!(authorization.contains("AKIASECRETS/") && authorization.contains("/us-east-1/sts/"), "{authorization}");
        assert!(authorization.contains("x-vault-aws-iam-server-id"), "{authorization}");
    })
    .await;
    let login = VaultLogin::Aws {
        mount: "aws".to_owned(),
        role: "agent".to_owned(),
        server_id: Some("vault.example".to_owned()),
    };
    let (keeper, secret) = (keeper(), stored("vault://kv/agent#k?kv=2"));
    keeper.follow(&of_vault(&fake, login), std::slice::from_ref(&secret)).unwrap();
    any_value(&secret, "").await;
}

#[tokio::test]
async fn keys_of_an_identity_that_a_store_keeps_are_used_when_they_change() {
    let (access_key, secret_key) = (stored("vault://kv/a#id"), stored("vault://kv/a#secret"));
    let source = aws::CredentialSource::Static {
        access_key: SecretSource::Stored(Arc::clone(&access_key)),
        secret_key: SecretSource::Stored(Arc::clone(&secret_key)),
        session_token: None,
    };
    let identity = build(&config(source));
    let error = key(&identity).await.unwrap_err();
    assert!(error.contains("vault://kv/a#id") && error.contains("not read yet"), "{error}");
    access_key.put(net::Secret::new("AKIAONE"));
    secret_key.put(net::Secret::new("s1"));
    assert_eq!(key(&identity).await.unwrap(), "AKIAONE");
    access_key.put(net::Secret::new("AKIATWO"));
    secret_key.put(net::Secret::new("s2"));
    assert_eq!(key(&identity).await.unwrap(), "AKIATWO");
}

#[tokio::test]
async fn a_refused_value_is_read_again_long_before_its_turn() {
    let stage = Arc::new(AtomicUsize::new(0));
    let at = Arc::clone(&stage);
    let store = Fake::start(move |_, _| {
        let n = at.load(Ordering::SeqCst);
        json!({ "SecretString": json!({ "id": format!("AKIA{n}"), "secret": "s", "token": format!("t{n}") }).to_string() })
            .to_string()
            .into_response()
    })
    .await;
    let config_of_stores = SecretStoresConfig { refresh: Duration::from_secs(3600), ..of_aws(&store) };
    let [id, secret, token] = ["id", "secret", "token"].map(|key| stored(&format!("aws-secretsmanager://x#{key}")));
    let keeper = keeper();
    keeper.follow(&config_of_stores, &[Arc::clone(&id), Arc::clone(&secret), Arc::clone(&token)]).unwrap();
    value(&token, "t0").await;

    // A receiver that is not AWS.
    stage.store(1, Ordering::SeqCst);
    let receiver = Fake::start(|_, _| StatusCode::UNAUTHORIZED.into_response()).await;
    let credentials = SecretSource::Stored(Arc::clone(&token));
    let auth = Some(net::HttpAuth::Header { kind: "Bearer".to_owned(), credentials });
    let http = net::HttpClientConfig { auth, ..net::HttpClientConfig::default() };
    let client = net::Client::new(&http, net::ClientOptions::default()).unwrap();
    let request = http::Request::post(receiver.url("/push").as_str()).body(bytes::Bytes::new()).unwrap();
    let reply = client.send(request, LIMIT, 1024).await.unwrap();
    assert_eq!(reply.status, 401);
    value(&token, "t1").await;

    // AWS.
    let source = aws::CredentialSource::Static {
        access_key: SecretSource::Stored(Arc::clone(&id)),
        secret_key: SecretSource::Stored(Arc::clone(&secret)),
        session_token: None,
    };
    let identity = build(&config(source));
    assert_eq!(key(&identity).await.unwrap(), "AKIA1");
    stage.store(2, Ordering::SeqCst);
    judge(
        &identity,
        403,
        &[],
        r#"{"__type":"UnrecognizedClientException","message":"The security token is invalid."}"#,
    );
    value(&id, "AKIA2").await;
    assert_eq!(key(&identity).await.unwrap(), "AKIA2");
    assert_eq!(store.seen().len(), 3, "and nothing was read without a reason");
}
