//! Instance and container credentials as machines get them, and what is refused on the way.

mod support;

use std::time::Duration;

use sandbox::{Container, Fault, Instance, Outcome, Role, Running, SandboxConfig, Trust, World};
use support::{Answer, client, deliver, order, send, session_of, start};

const NODE: &str = "arn:aws:iam::000000000000:role/node";
const POD: &str = "arn:aws:iam::000000000000:role/pod";
const TASK: &str = "arn:aws:iam::000000000000:role/task";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials";

async fn cloud() -> Running {
    let task = Container { path: "/v2/credentials/task-1".into(), token: None, ..Container::pod("", TASK) };
    let locked = Container { path: "/v2/credentials/task-2".into(), ..Container::pod("tasks-token", TASK) };
    let world = World {
        roles: vec![
            Role::new(NODE).trusting(Trust::service("ec2.amazonaws.com")),
            Role::new(POD).trusting(Trust::service("pods.eks.amazonaws.com")),
            Role::new(TASK).trusting(Trust::service("ecs-tasks.amazonaws.com")),
        ],
        instance: Some(Instance::new(NODE)),
        containers: vec![Container::pod("pods-token", POD), Container::pod("another", TASK), task, locked],
        ..World::default()
    };
    start(SandboxConfig { world, ..SandboxConfig::default() }).await
}

async fn ask(running: &Running, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = http::Request::builder().method(method).uri(format!("{}{path}", running.url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(&client(), request.body(Vec::new()).unwrap()).await.unwrap()
}

async fn token(running: &Running) -> String {
    let answer = ask(running, "PUT", "/latest/api/token", &[(TTL, "21600")]).await;
    assert_eq!((answer.status, answer.header(TTL)), (200, "21600"));
    answer.body
}

#[tokio::test]
async fn an_instance_gets_its_roles_session_for_a_token() {
    let running = cloud().await;
    let token = token(&running).await;
    let read = async |path: &str| ask(&running, "GET", path, &[(TOKEN, &token)]).await.body;
    assert_eq!(read(&format!("{CREDENTIALS}/")).await, "node");
    assert_eq!(read("/latest/meta-data/placement/region").await, "us-east-1");
    assert!(read("/latest/dynamic/instance-identity/document").await.contains(r#""accountId":"000000000000""#));
    let document = read(&format!("{CREDENTIALS}/node")).await;
    let session = session_of(&document);
    assert_eq!(deliver(&running, &session).await.status, 200);
    let arn = "arn:aws:sts::000000000000:assumed-role/node/i-0123456789abcdef0";
    assert_eq!(running.state().principals[0].arn, arn);
    // The document stays until it is rotated, and the session before it stays valid then.
    assert_eq!(read(&format!("{CREDENTIALS}/node")).await, document);
    order(&running, "sessions", r#"{"rotate": true}"#).await;
    let next = session_of(&read(&format!("{CREDENTIALS}/node")).await);
    assert_ne!(next.key, session.key);
    assert_eq!(deliver(&running, &session).await.status, 200);
    // A session that was ended is never handed out again.
    order(&running, "sessions", r#"{"expire": true}"#).await;
    assert_eq!(deliver(&running, &next).await.header("x-amzn-errortype"), "ExpiredTokenException");
    let renewed = session_of(&read(&format!("{CREDENTIALS}/node")).await);
    assert_eq!(deliver(&running, &renewed).await.status, 200);
    // A shorter life holds at once, and a document is renewed when half of it is over.
    order(&running, "sessions", r#"{"lifetime_ms": 60000}"#).await;
    let short = session_of(&read(&format!("{CREDENTIALS}/node")).await);
    assert_ne!(short.key, renewed.key);
    running.clock().set_skew_ms(31_000);
    assert_ne!(session_of(&read(&format!("{CREDENTIALS}/node")).await).key, short.key);
}

#[tokio::test]
async fn the_metadata_service_answers_only_to_its_own_tokens() {
    let running = cloud().await;
    for headers in [&[][..], &[(TTL, "0")], &[(TTL, "21601")], &[(TTL, "x")]] {
        assert_eq!(ask(&running, "PUT", "/latest/api/token", headers).await.status, 400, "{headers:?}");
    }
    let forwarded = ask(&running, "PUT", "/latest/api/token", &[(TTL, "60"), ("x-forwarded-for", "10.0.0.1")]).await;
    assert_eq!(forwarded.status, 403);
    assert_eq!(ask(&running, "GET", "/latest/api/token", &[]).await.status, 405);
    let path = format!("{CREDENTIALS}/node");
    let token = token(&running).await;
    for headers in [&[][..], &[(TOKEN, "nonsense")], &[(TOKEN, &token[1..])]] {
        assert_eq!(ask(&running, "GET", &path, headers).await.status, 401, "{headers:?}");
    }
    assert_eq!(ask(&running, "GET", &format!("{CREDENTIALS}/other"), &[(TOKEN, &token)]).await.status, 404);
    running.clock().set_skew_ms(21_600_000);
    assert_eq!(ask(&running, "GET", &path, &[(TOKEN, &token)]).await.status, 401);
    let rows = running.state().refusals;
    assert_eq!(rows.iter().filter(|row| row.name == "bearer_token").map(|row| row.count).sum::<u64>(), 4);
    assert!(running.state().identities.iter().all(|known| !known.is_temporary));
}

#[tokio::test]
async fn a_role_that_does_not_trust_the_service_gives_a_document_without_keys() {
    let world = World { roles: vec![Role::new(NODE)], instance: Some(Instance::new(NODE)), ..World::default() };
    let running = start(SandboxConfig { world, ..SandboxConfig::default() }).await;
    let token = token(&running).await;
    let answer = ask(&running, "GET", &format!("{CREDENTIALS}/node"), &[(TOKEN, &token)]).await;
    assert!(
        answer.status == 200 && answer.body.contains(r#""Code":"AssumeRoleUnauthorizedAccess""#),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("AccessKeyId"));
    let bare = start(SandboxConfig::default()).await;
    let token = self::token(&bare).await;
    assert_eq!(ask(&bare, "GET", &format!("{CREDENTIALS}/"), &[(TOKEN, &token)]).await.status, 404);
}

#[tokio::test]
async fn a_hop_limit_that_is_too_low_is_played_by_a_fault() {
    let running = cloud().await;
    running.fault(Fault { resource: Some("/latest/api/token".into()), ..Fault::outcome("imds", Outcome::Hang) });
    let impatient = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
    let request = http::Request::put(format!("{}/latest/api/token", running.url())).header(TTL, "60");
    assert!(send(&impatient, request.body(Vec::new()).unwrap()).await.unwrap_err().is_timeout());
    token(&running).await;
}

#[tokio::test]
async fn containers_are_told_apart_by_token_and_path() {
    let running = cloud().await;
    let by = |token: &'static str| [("authorization", token)];
    let pod = session_of(&ask(&running, "GET", "/v1/credentials", &by("pods-token")).await.body);
    let task = session_of(&ask(&running, "GET", "/v2/credentials/task-1", &[]).await.body);
    let locked = session_of(&ask(&running, "GET", "/v2/credentials/task-2", &by("tasks-token")).await.body);
    for session in [&pod, &task, &locked] {
        assert_eq!(deliver(&running, session).await.status, 200);
    }
    let arns: Vec<String> = running.state().principals.into_iter().map(|principal| principal.arn).collect();
    assert_eq!(
        arns,
        [
            "arn:aws:sts::000000000000:assumed-role/pod/sandbox-container",
            "arn:aws:sts::000000000000:assumed-role/task/sandbox-container"
        ]
    );
    for (path, headers, status, words) in [
        ("/v1/credentials", &[][..], 400, "Service account token cannot be empty"),
        ("/v1/credentials", &by("pods-token\u{20}x"), 400, "(InvalidTokenException)"),
        ("/v1/credentials", &by("another"), 400, "(AccessDeniedException)"),
        ("/v2/credentials/none", &[], 400, "InvalidIdInRequest"),
        ("/v2/credentials/task-2", &[], 401, "Unauthorized"),
        ("/v2/credentials/task-2", &by("pods-token"), 401, "Unauthorized"),
    ] {
        let answer = ask(&running, "GET", path, headers).await;
        assert!(answer.status == status && answer.body.contains(words), "{path}: {} {}", answer.status, answer.body);
    }
    assert_eq!(ask(&running, "POST", "/v1/credentials", &by("pods-token")).await.status, 405);
}
