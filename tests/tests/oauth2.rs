//! OAuth 2 client credentials on both sides of the real binary: tokens are fetched, renewed before they expire, and
//! replaced at once when they are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    routing::{get, post},
};
use e2e::{agent::Agent, process::until};
use prost::Message;
use proto::remote_write::WriteRequest;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// Tokens are renewed ten seconds before they end, so these are used for one second.
const LIFETIME_S: u64 = 11;

/// One client of the token endpoint.
#[derive(Debug, Default)]
struct Client {
    issued: u32,
    /// Forms that came with the requests for a token.
    forms: BTreeSet<String>,
    /// Requests with the present token; with none, or another.
    welcome: u32,
    refused: u32,
    /// Tokens up to this one are refused.
    revoked: u32,
}

#[derive(Default)]
struct Authority {
    clients: Mutex<BTreeMap<String, Client>>,
    /// Timestamps of `up` that arrived.
    ups: Mutex<BTreeMap<i64, f64>>,
}

type Shared = State<Arc<Authority>>;

impl Authority {
    fn of<T>(&self, client: &str, look: impl FnOnce(&mut Client) -> T) -> T {
        look(self.clients.lock().expect("no test panics while holding it").entry(client.to_owned()).or_default())
    }

    /// Whether the request carries a token of `client` that is still good.
    fn admits(&self, client: &str, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let number: Option<u32> =
            sent.strip_prefix(&format!("Bearer token-MARKER-{client}-")).and_then(|n| n.parse().ok());
        self.of(client, |client| {
            let good = number.is_some_and(|n| n > client.revoked && n <= client.issued);
            *(if good { &mut client.welcome } else { &mut client.refused }) += 1;
            good
        })
    }
}

async fn token(
    State(authority): Shared,
    Path(client): Path<String>,
    headers: HeaderMap,
    form: String,
) -> (StatusCode, Json<Value>) {
    // base64 of `<client>:secret-MARKER`, written out so that the test does not lean on the agent's own encoder.
    let expected = match client.as_str() {
        "scraper" => "Basic c2NyYXBlcjpzZWNyZXQtTUFSS0VS",
        _ => "Basic c2VuZGVyOnNlY3JldC1NQVJLRVI=",
    };
    if headers.get(header::AUTHORIZATION).is_none_or(|v| v != expected) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"})));
    }
    let number = authority.of(&client, |client| {
        client.issued += 1;
        client.forms.insert(form);
        client.issued
    });
    // Some servers quote the number.
    let lifetime = if client == "sender" { json!(LIFETIME_S.to_string()) } else { json!(LIFETIME_S) };
    let token = format!("token-MARKER-{client}-{number}");
    (StatusCode::OK, Json(json!({"access_token": token, "token_type": "bearer", "expires_in": lifetime})))
}

async fn target(State(authority): Shared, headers: HeaderMap) -> (StatusCode, &'static str) {
    if authority.admits("scraper", &headers) { (StatusCode::OK, "a 1\n") } else { (StatusCode::UNAUTHORIZED, "") }
}

async fn write(State(authority): Shared, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !authority.admits("sender", &headers) {
        return StatusCode::UNAUTHORIZED;
    }
    let request =
        snap::raw::Decoder::new().decompress_vec(&body).ok().and_then(|raw| WriteRequest::decode(&raw[..]).ok());
    let Some(request) = request else { return StatusCode::BAD_REQUEST };
    let mut ups = authority.ups.lock().expect("no test panics while holding it");
    for series in request.timeseries {
        if series.labels.iter().any(|l| l.name == "__name__" && l.value == "up") {
            ups.extend(series.samples.iter().map(|s| (s.timestamp, s.value)));
        }
    }
    StatusCode::OK
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_renewed_in_time_and_replaced_when_refused() -> Result<()> {
    let authority = Arc::new(Authority::default());
    let app = Router::new()
        .route("/token/{client}", post(token))
        .route("/metrics", get(target))
        .route("/api/v1/write", post(write))
        .with_state(Arc::clone(&authority));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
    let mut agent = Agent::prepare(&format!(
        "metrics:
  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
  configs:
    - name: default
      remote_write:
        - name: guarded
          url: http://{address}/api/v1/write
          oauth2:
            client_id: sender
            client_secret: secret-MARKER
            token_url: http://{address}/token/sender
            scopes: [write, more]
            endpoint_params: {{audience: metrics}}
      scrape_configs:
        - job_name: guarded
          oauth2: {{client_id: scraper, client_secret_file: '{{dir}}/secret', token_url: 'http://{address}/token/scraper'}}
          static_configs: [{{targets: ['{address}']}}]
"
    ))?;
    std::fs::write(agent.dir.path().join("secret"), "secret-MARKER\n")?;
    agent.start_ready().await?;

    // Renewed before the end: nobody ever sees a token that is not good.
    let clients = ["scraper", "sender"];
    until("each token to be renewed twice", PATIENCE, || async {
        clients.iter().all(|c| authority.of(c, |c| c.issued >= 3)).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    for name in clients {
        authority.of(name, |client| {
            assert_eq!(client.refused, 0, "{name}: {client:?}");
            assert!(client.welcome > client.issued, "{name}: a token is used more than once: {client:?}");
        });
    }
    let form = authority.of("sender", |c| c.forms.clone());
    assert_eq!(form.len(), 1, "{form:?}");
    for part in ["grant_type=client_credentials", "scope=write+more", "audience=metrics"] {
        assert!(form.iter().all(|f| f.split('&').any(|p| p == part)), "{part} is missing in {form:?}");
    }

    // Taken back early: the next answer is 401, and the one after it is good again.
    for name in clients {
        let welcome = authority.of(name, |client| {
            client.revoked = client.issued;
            client.welcome
        });
        until("a new token", PATIENCE, || async { authority.of(name, |c| c.welcome > welcome + 3).then_some(()) })
            .await
            .with_context(|| format!("{name}\n{}", agent.log()))?;
        authority.of(name, |c| assert!(c.refused <= 2, "{name} went on with a refused token: {c:?}"));
    }
    agent.stop()?;

    let ups = authority.ups.lock().expect("no test panics while holding it").clone();
    let failed = ups.values().filter(|up| **up == 0.0).count();
    assert!(failed <= 2, "{ups:?}");
    // A scrape that was answered is a sample that arrived; the last `up` of a stop may be a marker.
    let good = ups.values().filter(|up| **up == 1.0).count();
    assert_eq!(good, authority.of("scraper", |c| c.welcome as usize), "{ups:?}");
    let log = agent.log();
    assert!(!log.contains("MARKER"), "a secret or a token is in the log:\n{log}");
    server.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_that_refuses_is_told_and_loses_nothing() -> Result<()> {
    let authority = Arc::new(Authority::default());
    let app = Router::new()
        .route("/token/{client}", post(token))
        .route("/metrics", get(|| async { "a 1\n" }))
        .route("/api/v1/write", post(write))
        .with_state(Arc::clone(&authority));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
    let config = |secret: &str| {
        format!(
            "metrics:
  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
  configs:
    - name: default
      remote_write:
        - name: guarded
          url: http://{address}/api/v1/write
          oauth2: {{client_id: sender, client_secret: {secret}, token_url: 'http://{address}/token/sender'}}
      scrape_configs:
        - {{job_name: open, static_configs: [{{targets: ['{address}']}}]}}
"
        )
    };
    let mut agent = Agent::prepare(&config("wrong-MARKER"))?;
    agent.start_ready().await?;
    let line = until("the refusal to be told", PATIENCE, || async {
        let log = agent.log();
        log.lines().find(|l| l.contains("destination=guarded") && l.contains("invalid_client")).map(str::to_owned)
    })
    .await
    .with_context(|| agent.log())?;
    assert!(line.contains("client_secret") && line.contains("401"), "what to do is missing in: {line}");
    assert_eq!(authority.of("sender", |c| c.issued), 0);
    agent.stop()?;
    agent.write_config(&config("secret-MARKER"))?;
    agent.start_ready().await?;
    until("what waited and more", PATIENCE, || async {
        let ups = authority.ups.lock().expect("no test panics while holding it");
        (ups.len() >= 5).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let book = e2e::ledger::of_running(&agent).await?;
    assert_eq!(book["guarded"].rejected + book["guarded"].evicted + book["guarded"].expired, 0, "{book:?}");
    agent.stop()?;
    assert!(!agent.log().contains("MARKER"), "{}", agent.log());
    server.abort();
    Ok(())
}
