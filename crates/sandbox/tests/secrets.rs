//! Secrets Manager, Parameter Store and Vault, seen from clients that are let in and clients that are not.

mod support;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use sandbox::{Identity, Parameter, Running, SandboxConfig, StoredSecret, TokenIssuer, World};
use serde_json::{Value, json};
use support::{Answer, Signer, client, order, send, start};

const USER: &str = "arn:aws:iam::000000000000:user/sandbox";

async fn call(running: &Running, signer: Option<&Signer>, target: &str, body: Value) -> Answer {
    let mut request = http::Request::post(format!("{}/", running.url()))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", target)
        .body(body.to_string().into_bytes())
        .unwrap();
    if let Some(signer) = signer {
        signer.sign(&mut request);
    }
    send(&client(), request).await.unwrap()
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

async fn cloud(world: World) -> Running {
    let limited = Identity::user("AKIDLIMITED", "hush").allowing(["aps:*"]);
    let temporary = Identity::user("ASIATEMPORARY", "hush").with_session_token("the-token");
    let identities = vec![Identity::example(), limited, temporary];
    start(SandboxConfig { identities, world, ..SandboxConfig::default() }).await
}

#[tokio::test]
async fn a_secret_is_read_by_name_arn_and_stage() {
    let foreign = StoredSecret { account_id: "111111111111".into(), ..StoredSecret::new("theirs", "t") };
    let binary =
        StoredSecret { value: None, binary: Some(net::Secret::new("AAEC/w==")), ..StoredSecret::new("bytes", "") };
    let gone = StoredSecret { deleted: true, ..StoredSecret::new("gone", "x") };
    let secrets = vec![StoredSecret::new("db/password", "one"), foreign, binary, gone];
    let running = cloud(World { secrets, ..World::default() }).await;
    let signer = Signer::new("secretsmanager");
    let get = async |body: Value| call(&running, Some(&signer), "secretsmanager.GetSecretValue", body).await;
    let first = json_of(&get(json!({ "SecretId": "db/password" })).await);
    assert_eq!((&first["SecretString"], &first["VersionStages"]), (&json!("one"), &json!(["AWSCURRENT"])));
    let arn = first["ARN"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:us-east-1:000000000000:secret:db/password-"), "{arn}");
    for id in [arn, &arn[..arn.len() - 7]] {
        assert_eq!(json_of(&get(json!({ "SecretId": id })).await)["SecretString"], "one");
    }
    assert_eq!(json_of(&get(json!({ "SecretId": "bytes" })).await)["SecretBinary"], "AAEC/w==");
    order(&running, "world", r#"{"secrets": [{"name": "db/password", "value": "two"}]}"#).await;
    let second = json_of(&get(json!({ "SecretId": "db/password" })).await);
    assert_eq!(second["SecretString"], "two");
    assert_ne!(second["VersionId"], first["VersionId"]);
    let previous = json_of(&get(json!({ "SecretId": "db/password", "VersionStage": "AWSPREVIOUS" })).await);
    assert_eq!((&previous["SecretString"], &previous["VersionId"]), (&json!("one"), &first["VersionId"]));
    for (body, code) in [
        (json!({ "SecretId": "none" }), "ResourceNotFoundException"),
        (json!({ "SecretId": "theirs" }), "ResourceNotFoundException"),
        (json!({ "SecretId": "db/password", "VersionStage": "OTHER" }), "ResourceNotFoundException"),
        (json!({ "SecretId": "gone" }), "InvalidRequestException"),
        (json!({}), "SerializationException"),
    ] {
        let answer = get(body.clone()).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, code), "{body}");
        assert!(answer.body.contains(&format!(r#""__type":"{code}""#)), "{}", answer.body);
    }
}

#[tokio::test]
async fn parameters_are_decrypted_only_when_asked() {
    let plain = Parameter { kind: "String".into(), ..Parameter::secure("/a/plain", "p") };
    let parameters = vec![Parameter::secure("/a/secret", "hush"), plain, Parameter::secure("/a/b/deep", "d")];
    let running = cloud(World { parameters, ..World::default() }).await;
    let signer = Signer::new("ssm");
    let ask = async |operation: &str, body: Value| {
        call(&running, Some(&signer), &format!("AmazonSSM.{operation}"), body).await
    };
    let clear = json_of(&ask("GetParameter", json!({ "Name": "/a/secret", "WithDecryption": true })).await);
    assert_eq!((&clear["Parameter"]["Value"], &clear["Parameter"]["Type"]), (&json!("hush"), &json!("SecureString")));
    let closed = ask("GetParameter", json!({ "Name": "/a/secret" })).await;
    assert!(!closed.body.contains("hush") && closed.body.contains("AQICAH"), "{}", closed.body);
    let many = json_of(&ask("GetParameters", json!({ "Names": ["/a/plain", "/none"] })).await);
    assert_eq!((&many["Parameters"][0]["Value"], &many["InvalidParameters"]), (&json!("p"), &json!(["/none"])));
    let flat = json_of(&ask("GetParametersByPath", json!({ "Path": "/a", "MaxResults": 1 })).await);
    assert_eq!((flat["Parameters"].as_array().unwrap().len(), &flat["NextToken"]), (1, &json!("1")));
    let rest =
        json_of(&ask("GetParametersByPath", json!({ "Path": "/a/", "Recursive": true, "NextToken": "1" })).await);
    assert_eq!(rest["Parameters"].as_array().unwrap().len(), 2);
    order(&running, "world", r#"{"parameters": [{"name": "/a/secret", "value": "next"}]}"#).await;
    let next = json_of(&ask("GetParameter", json!({ "Name": "/a/secret", "WithDecryption": true })).await);
    assert_eq!((&next["Parameter"]["Value"], &next["Parameter"]["Version"]), (&json!("next"), &json!(2)));
    let missing = ask("GetParameter", json!({ "Name": "/none" })).await;
    assert_eq!((missing.status, missing.header("x-amzn-errortype")), (400, "ParameterNotFound"));
}

#[tokio::test]
async fn json_services_refuse_who_is_not_proved_or_not_allowed() {
    let running = cloud(World { secrets: vec![StoredSecret::new("s", "hush")], ..World::default() }).await;
    let good = Signer::new("secretsmanager");
    let key = |key: &str, token: Option<&str>| Signer {
        key: key.into(),
        secret: "hush".into(),
        token: token.map(str::to_owned),
        ..good.clone()
    };
    let old = SystemTime::now() - Duration::from_secs(301);
    for (signer, code, words) in [
        (Some(Signer { secret: "wrong".into(), ..good.clone() }), "InvalidSignatureException", "The Canonical String"),
        (
            Some(Signer { service: "logs".into(), ..good.clone() }),
            "InvalidSignatureException",
            "correct service: 'secretsmanager'",
        ),
        (Some(Signer { at: old, ..good.clone() }), "InvalidSignatureException", "Signature expired"),
        (Some(key("ASIATEMPORARY", None)), "UnrecognizedClientException", "is invalid"),
        (Some(key("ASIATEMPORARY", Some("wrong"))), "UnrecognizedClientException", "is invalid"),
        (
            Some(key("AKIDLIMITED", None)),
            "AccessDeniedException",
            "is not authorized to perform: secretsmanager:GetSecretValue on resource: \
             arn:aws:secretsmanager:us-east-1:000000000000:secret:s because no identity-based policy allows the \
             secretsmanager:GetSecretValue action",
        ),
        (None, "MissingAuthenticationTokenException", ""),
    ] {
        let answer = call(&running, signer.as_ref(), "secretsmanager.GetSecretValue", json!({ "SecretId": "s" })).await;
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, code), "{}", answer.body);
        assert!(answer.body.contains(words) && !answer.body.contains("hush"), "{}", answer.body);
    }
    assert_eq!(
        json_of(
            &call(
                &running,
                Some(&key("ASIATEMPORARY", Some("the-token"))),
                "secretsmanager.GetSecretValue",
                json!({ "SecretId": "s" })
            )
            .await
        )["SecretString"],
        "hush"
    );
    // A body that was changed after signing.
    let mut request = http::Request::post(format!("{}/", running.url()))
        .header("x-amz-target", "secretsmanager.GetSecretValue")
        .body(br#"{"SecretId":"x"}"#.to_vec())
        .unwrap();
    good.sign(&mut request);
    *request.body_mut() = br#"{"SecretId":"s"}"#.to_vec();
    let answer = send(&client(), request).await.unwrap();
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, "InvalidSignatureException"));
}

const VAULT: &str = r#"{"vault": {
    "token": "root-token", "namespace": "team/a", "token_ttl_s": 60, "mounts": {"kv": 2, "old": 1},
    "secrets": {"kv/a/b": {"k": "new"}, "old/a": {"k": "old"}},
    "app_roles": {"role-1": "secret-1"}, "kubernetes_roles": {"pods": "system:serviceaccount:a:*"},
    "aws_roles": {"agents": "arn:aws:iam::000000000000:user/*"}, "aws_server_id": "vault.example"}}"#;

async fn vault(running: &Running, method: &str, path: &str, token: Option<&str>, body: Value) -> Answer {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("{}/v1/{path}", running.url()))
        .header("x-vault-namespace", "team/a");
    if let Some(token) = token {
        request = request.header("x-vault-token", token);
    }
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    send(&client(), request.body(body).unwrap()).await.unwrap()
}

#[tokio::test]
async fn vault_gives_secrets_to_good_tokens_only() {
    let running = cloud(World::from_json(VAULT).unwrap()).await;
    let read = async |path: &str, token: Option<&'static str>| vault(&running, "GET", path, token, Value::Null).await;
    assert_eq!(json_of(&read("kv/data/a/b", Some("root-token")).await)["data"]["data"]["k"], "new");
    assert_eq!(json_of(&read("old/a", Some("root-token")).await)["data"]["k"], "old");
    for (path, token, status) in [
        ("kv/data/a/b", None, 403),
        ("kv/data/a/b", Some("wrong-token"), 403),
        ("kv/a/b", Some("root-token"), 404),
        ("kv/data/none", Some("root-token"), 404),
        ("none/a", Some("root-token"), 403),
    ] {
        let answer = read(path, token).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.starts_with(r#"{"errors":["#), "{}", answer.body);
    }
    let elsewhere = http::Request::get(format!("{}/v1/old/a", running.url())).header("x-vault-token", "root-token");
    assert_eq!(send(&client(), elsewhere.body(Vec::new()).unwrap()).await.unwrap().status, 403);
}

#[tokio::test]
async fn vault_tokens_from_logins_end_unless_they_are_renewed() {
    let running = cloud(World::from_json(VAULT).unwrap()).await;
    let login = async |body: Value| vault(&running, "POST", "auth/approle/login", None, body).await;
    let bad = login(json!({ "role_id": "role-1", "secret_id": "wrong" })).await;
    assert_eq!(bad.status, 400);
    let good = json_of(&login(json!({ "role_id": "role-1", "secret_id": "secret-1" })).await);
    assert_eq!((&good["auth"]["lease_duration"], &good["auth"]["renewable"]), (&json!(60), &json!(true)));
    let token = good["auth"]["client_token"].as_str().unwrap();
    let read = async || vault(&running, "GET", "old/a", Some(token), Value::Null).await.status;
    assert_eq!(read().await, 200);
    running.clock().set_skew_ms(40_000);
    assert_eq!(vault(&running, "POST", "auth/token/renew-self", Some(token), json!({})).await.status, 200);
    running.clock().set_skew_ms(90_000);
    assert_eq!(read().await, 200);
    running.clock().set_skew_ms(101_000);
    assert_eq!(read().await, 403);
    assert_eq!(vault(&running, "POST", "auth/token/renew-self", Some(token), json!({})).await.status, 403);
}

#[tokio::test]
async fn vault_logins_verify_the_token_or_signature_inside() {
    let issuer = TokenIssuer::generate("https://cluster.example").unwrap();
    let running = cloud(World { issuers: vec![issuer.trust()], ..World::from_json(VAULT).unwrap() }).await;
    let soon = SystemTime::now() + Duration::from_secs(60);
    let kubernetes = async |issuer: &TokenIssuer, subject: &str| {
        let token = issuer.token(subject, "sts.amazonaws.com", soon);
        let body = json!({ "role": "pods", "jwt": token.expose() });
        vault(&running, "POST", "auth/kubernetes/login", None, body).await.status
    };
    assert_eq!(kubernetes(&issuer, "system:serviceaccount:a:agent").await, 200);
    assert_eq!(kubernetes(&issuer, "system:serviceaccount:b:agent").await, 403);
    let forger = TokenIssuer::generate("https://cluster.example").unwrap();
    assert_eq!(kubernetes(&forger, "system:serviceaccount:a:agent").await, 403);

    let aws = async |signer: &Signer, server_id: &str, role: &str| {
        let body = b"Action=GetCallerIdentity&Version=2011-06-15".to_vec();
        let url = "https://sts.us-east-1.amazonaws.com/";
        let mut request =
            http::Request::post(url).header("x-vault-aws-iam-server-id", server_id).body(body.clone()).unwrap();
        signer.sign(&mut request);
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.headers() {
            headers.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
        }
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let body = json!({
            "role": role, "iam_http_request_method": "POST", "iam_request_url": encode(url.as_bytes()),
            "iam_request_body": encode(&body), "iam_request_headers": encode(json!(headers).to_string().as_bytes()),
        });
        vault(&running, "POST", "auth/aws/login", None, body).await
    };
    let good = Signer::new("sts");
    assert_eq!(aws(&good, "vault.example", "agents").await.status, 200);
    assert!(running.state().principals.iter().any(|principal| principal.arn == USER));
    for (signer, server_id, role, status) in [
        (Signer { secret: "wrong".into(), ..good.clone() }, "vault.example", "agents", 400),
        (Signer { at: SystemTime::now() - Duration::from_secs(600), ..good.clone() }, "vault.example", "agents", 400),
        (good.clone(), "another.example", "agents", 400),
        (good.clone(), "vault.example", "others", 403),
    ] {
        let answer = aws(&signer, server_id, role).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}
