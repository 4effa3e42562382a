//! Scripted trouble and the control API, seen from a client.

mod support;

use std::time::{Duration, SystemTime};

use sandbox::{Fault, Identity, Limits, Outcome, Running, SandboxConfig};
use serde_json::{Value, json};
use support::{Answer, PATIENCE, Signer, client, remote_write, send, start};

async fn post(running: &Running) -> reqwest::Result<Answer> {
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &[(1000, 1.0)]);
    Signer::new("aps").sign(&mut request);
    send(&client(), request).await
}

async fn order(running: &Running, path: &str, body: &Value) -> Answer {
    let url = format!("{}/_sandbox/{path}", running.url());
    send(&client(), http::Request::post(url).body(body.to_string().into_bytes()).unwrap()).await.unwrap()
}

async fn state(running: &Running, query: &str) -> Value {
    let url = format!("{}/_sandbox/state{query}", running.url());
    let answer = send(&client(), http::Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn scripted_answers_come_as_often_as_asked_then_the_truth() {
    let running = start(SandboxConfig::default()).await;
    let fault = json!({"service": "aps", "times": 2, "outcome": {"answer": {"status": 429, "retry_after": "1", "message": "Rate exceeded"}}});
    assert_eq!(order(&running, "faults", &fault).await.status, 200);
    for _ in 0..2 {
        let answer = post(&running).await.unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
        assert_eq!(answer.body, r#"{"message":"Rate exceeded"}"#);
        assert_eq!(answer.header("x-amzn-errortype"), "ThrottlingException");
    }
    assert_eq!(post(&running).await.unwrap().status, 200);
    let state = state(&running, "").await;
    assert_eq!(
        (&state["faulted"], &state["verified"], &state["samples"]["samples"]),
        (&json!(2), &json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_fault_after_the_work_stores_and_lies() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    running.fault(Fault::answer("aps", 500).after_work());
    running.fault(Fault::outcome("aps", Outcome::Close).after_work());
    assert_eq!(post(&running).await.unwrap().status, 500);
    assert!(post(&running).await.is_err());
    assert_eq!(post(&running).await.unwrap().status, 200);
    assert_eq!(running.samples(None, Some("up"))[0].samples[0].count, 3);
}

#[tokio::test]
async fn connections_are_closed_and_left_hanging_as_scripted() {
    let limits = Limits { hang: Duration::from_millis(100), ..Limits::default() };
    let running = start(SandboxConfig { limits, ..SandboxConfig::default() }).await;
    for outcome in [Outcome::Close, Outcome::Hang] {
        running.fault(Fault::outcome("aps", outcome));
        assert!(post(&running).await.is_err());
    }
    assert_eq!(running.state().samples.samples, 0);
    assert_eq!(post(&running).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_hanging_answer_does_not_keep_the_sandbox_from_stopping() {
    let running = start(SandboxConfig::default()).await;
    running.fault(Fault::outcome("aps", Outcome::Hang));
    let mut request = remote_write(&running.remote_write_url("ws"), "up", &[]);
    Signer::new("aps").sign(&mut request);
    let waiting = tokio::spawn(async move { send(&client(), request).await });
    assert!(running.wait_until(PATIENCE, |state| state.faulted == 1).await);
    tokio::time::timeout(PATIENCE, running.stop()).await.unwrap();
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn faults_are_taken_back_and_nothing_else_is_forgotten() {
    let running = start(SandboxConfig::default()).await;
    assert_eq!(post(&running).await.unwrap().status, 200);
    order(&running, "faults", &json!({"times": 0, "outcome": {"answer": {"status": 429}}})).await;
    assert_eq!(post(&running).await.unwrap().status, 429);
    let url = format!("{}/_sandbox/faults", running.url());
    let answer = send(&client(), http::Request::delete(url).body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(post(&running).await.unwrap().status, 200);
    assert_eq!(running.state().verified, 2);
}

#[tokio::test]
async fn the_date_header_is_shifted_alone() {
    let running = start(SandboxConfig::default()).await;
    running.fault(Fault { date_shift_ms: 3_600_000, ..Fault::outcome("aps", Outcome::Pass) });
    let answer = post(&running).await.unwrap();
    assert_eq!(answer.status, 200);
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(answer.header("date")).unwrap();
    let ahead = date.as_second() - jiff::Timestamp::now().as_second();
    assert!((3500..=3600).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn a_shifted_clock_refuses_what_was_right() {
    let running = start(SandboxConfig::default()).await;
    order(&running, "clock", &json!({"skew_ms": 600_000})).await;
    let answer = post(&running).await.unwrap();
    assert_eq!((answer.status, running.state().recent_refusals[0].name.as_str()), (403, "too_old"));
    let server = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(answer.header("date")).unwrap();
    assert!(server.as_second() > jiff::Timestamp::now().as_second() + 500);
    order(&running, "clock", &json!({"skew_ms": 0})).await;
    assert_eq!(post(&running).await.unwrap().status, 200);
}

#[tokio::test]
async fn keys_are_added_expired_and_removed_on_command() {
    let running = start(SandboxConfig::default()).await;
    let key = Identity::EXAMPLE_KEY_ID;
    order(&running, "identities", &json!({"access_key_id": key, "expires_ms": 1})).await;
    assert_eq!(post(&running).await.unwrap().header("x-amzn-errortype"), "ExpiredTokenException");
    order(&running, "identities", &json!({"access_key_id": key, "secret_access_key": Identity::EXAMPLE_SECRET})).await;
    assert_eq!(post(&running).await.unwrap().status, 200);
    assert!(running.expire(key, SystemTime::now()));
    assert_eq!(post(&running).await.unwrap().status, 403);
    assert!(running.remove_identity(key));
    assert_eq!(post(&running).await.unwrap().header("x-amzn-errortype"), "UnrecognizedClientException");
    running.put_identity(Identity::example());
    assert_eq!(post(&running).await.unwrap().status, 200);
    let answer = order(&running, "identities", &json!({"access_key_id": "AKIDNEW"})).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn the_state_and_the_samples_can_be_read_over_http() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    post(&running).await.unwrap();
    let state = state(&running, "?series=10&metric=up").await;
    assert_eq!(state["series"][0]["labels"], json!({"__name__": "up", "job": "node"}));
    assert_eq!(state["series"][0]["last_timestamp_ms"], 1000);
    assert_eq!(state["destinations"][0]["resource"], "ws-EXAMPLE");
    assert!(!state.to_string().contains(Identity::EXAMPLE_SECRET));
    let url = format!("{}/_sandbox/samples?metric=up&destination=aps:ws-EXAMPLE", running.url());
    let dump = send(&client(), http::Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    let dump: Value = serde_json::from_str(&dump.body).unwrap();
    assert_eq!(dump[0]["samples"][0], json!({"timestamp_ms": 1000, "value_bits": "3ff0000000000000", "count": 1}));
    order(&running, "reset", &json!({})).await;
    assert_eq!(running.state().samples.samples, 0);
    assert!(running.samples(None, None).is_empty());
}

#[tokio::test]
async fn orders_that_are_not_understood_are_refused_with_what_is_wrong_and_quote_no_secret() {
    let running = start(SandboxConfig::default()).await;
    for (path, body, wanted) in [
        ("faults", json!({"sevice": "aps"}), "unknown field `sevice`, expected one of `service`, `resource`"),
        (
            "faults",
            json!([{"outcome": "drop"}]),
            "expected one of `pass`, `answer`, `throttle`, `partial`, `hang`, `close`",
        ),
        ("faults", json!({"outcome": {"answer": {"status": 429, "retry_after": 2}}}), "field `retry_after`"),
        ("faults", json!({"service": "amp"}), "`amp` is not one of execute-api, aps, imds, container"),
        ("faults", json!({"outcome": {"partial": {"every": 0}}}), "every is 0"),
        ("world", json!({"parameters": [{"name": "n", "value": ["hush"]}]}), "field `value`"),
        ("world", json!({"containers": [{"role_arn": "x", "token": ["hush"]}]}), "field `token`"),
        ("world", json!({"roles": [{"arn": "role"}]}), "`role` is not a role's ARN"),
        ("sessions", json!({"expire": "all"}), "field `expire`"),
        ("token", json!({}), "missing field `subject`"),
        ("faults", json!({"outcome": {"answer": {"status": 42}}}), "status 42"),
        ("clock", json!({"skew": 5}), "unknown field `skew`, expected `skew_ms`"),
        ("clock", json!({}), "missing field `skew_ms`"),
        ("identities", json!({"access_key_id": "A", "secret_access_key": ["hush"]}), "field `secret_access_key`"),
        ("identities", json!({"access_key_id": "A", "session_token": {"hush": 1}}), "field `session_token`"),
        ("identities", json!({"access_key_id": "A"}), "needs `secret_access_key`"),
    ] {
        let answer = order(&running, path, &body).await;
        assert_eq!(answer.status, 400, "{path} {body}");
        assert!(answer.body.contains(wanted), "{body}: {}", answer.body);
        assert!(answer.body.contains("docs/reference/sandbox.md"), "{}", answer.body);
        assert!(!answer.body.contains("hush"), "{}", answer.body);
    }
    // A list with one wrong fault scripts nothing.
    order(&running, "faults", &json!([{"service": "aps"}, {"service": "amp"}])).await;
    assert!(running.state().faults.is_empty());
    assert_eq!(order(&running, "nothing", &json!({})).await.status, 404);
    assert_eq!(order(&running, "state", &json!({})).await.status, 405);
    let url = format!("{}/_sandbox/reset", running.url());
    let foreign = http::Request::post(url).header("origin", "https://evil.example").body(Vec::new()).unwrap();
    assert_eq!(send(&client(), foreign).await.unwrap().status, 403);
}

#[tokio::test]
async fn the_page_shows_how_to_begin() {
    let running = start(SandboxConfig::default()).await;
    let page = send(&client(), http::Request::get(running.url()).body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.body.contains(&format!("http://{}/workspaces/", running.address())), "{}", page.body);
    assert!(page.body.contains(Identity::EXAMPLE_KEY_ID));
    assert!(running.welcome().contains(Identity::EXAMPLE_SECRET));
    running.put_identity(Identity::user(Identity::EXAMPLE_KEY_ID, "a real secret"));
    let page = send(&client(), http::Request::get(running.url()).body(Vec::new()).unwrap()).await.unwrap();
    assert!(!page.body.contains("a real secret"));
}
