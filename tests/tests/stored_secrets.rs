//! Secrets in a store: a destination's keys rotate in Secrets Manager, and the running agent goes over to the new ones without
//! reload, restart, refusal or loss. A store that does not answer stops nothing else.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until};
use sandbox::{Identity, Running, Sandbox, SandboxConfig, StoredSecret, World};

const SECRET: &str = "MARKER-of-a-secret";
const PATIENCE: Duration = Duration::from_secs(60);

fn pair(n: u32) -> World {
    let text = serde_json::json!({ "id": format!("AKIDKEPT{n}"), "secret": format!("{SECRET}-{n}") }).to_string();
    World { secrets: vec![StoredSecret::new("prod/sigpost", text)], ..World::default() }
}

fn writer(n: u32) -> Identity {
    Identity::user(format!("AKIDKEPT{n}"), format!("{SECRET}-{n}")).allowing(["aps:RemoteWrite"])
}

fn config(sandbox: &Running, exporter: &Exporter) -> String {
    format!(
        "secrets:
  refresh_interval: 1s
  secretsmanager_endpoint: {url}
  ssm_endpoint: http://127.0.0.1:9/
  aws: {{region: us-east-1, access_key: AKIDREADER, secret_key: {SECRET}-reader}}
metrics:
  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
  configs:
    - name: default
      remote_write:
        - name: kept
          url: {kept}
          metadata_config: {{send: false}}
          sigv4: {{region: us-east-1, access_key: 'aws-secretsmanager://prod/sigpost#id', secret_key: 'aws-secretsmanager://prod/sigpost#secret'}}
        - name: waiting
          url: {url}/api/v1/push
          metadata_config: {{send: false}}
          authorization: {{credentials: 'aws-ssm:///nobody/answers'}}
      scrape_configs:
        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{target}']}}]}}
",
        url = sandbox.url(),
        kept = sandbox.remote_write_url("ws-kept"),
        target = exporter.address,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_rotate_in_a_store_are_taken_over_by_a_running_agent() -> Result<()> {
    let reader = Identity::user("AKIDREADER", format!("{SECRET}-reader")).allowing(["secretsmanager:GetSecretValue"]);
    let identities = vec![reader, writer(1)];
    let sandbox = Sandbox::start(SandboxConfig { identities, world: pair(1), ..SandboxConfig::default() }).await?;
    let exporter = Exporter::start(100).await?;
    let mut agent = Agent::prepare(&config(&sandbox, &exporter))?;
    agent.start_ready().await?;
    let accepted_with = |key: String| {
        let sandbox = &sandbox;
        move || {
            let key = key.clone();
            async move {
                let state = sandbox.state();
                state.destinations.iter().any(|d| d.access_key_id == key && d.accepted > 0).then_some(())
            }
        }
    };
    let told = |agent: &Agent| format!("{}\n{:#?}", agent.log(), sandbox.state().recent_refusals);
    until("the first key to be accepted", PATIENCE, accepted_with("AKIDKEPT1".to_owned()))
        .await
        .with_context(|| told(&agent))?;
    for n in [2, 3] {
        sandbox.put_identity(writer(n));
        sandbox.put_world(pair(n))?;
        until("the rotated key to be accepted", PATIENCE, accepted_with(format!("AKIDKEPT{n}")))
            .await
            .with_context(|| told(&agent))?;
        sandbox.remove_identity(&format!("AKIDKEPT{}", n - 1));
    }
    let page = agent.get("/metrics").await?;
    for row in [
        "sigpost_secret_age_seconds{reference=\"aws-secretsmanager://prod/sigpost#id\"}",
        "sigpost_secret_refreshes_total{",
    ] {
        assert!(page.contains(row), "{row} is not in\n{page}");
    }
    let failures =
        agent.metric("sigpost_secret_refresh_failures_total{reference=\"aws-ssm:///nobody/answers\"}").await?;
    assert!(failures.is_some_and(|n| n > 0.0), "{failures:?}");
    let rows = ledger::of_running(&agent).await?;
    let (kept, waiting) = (&rows["kept"], &rows["waiting"]);
    assert!(kept.delivered > 0 && kept.rejected + kept.evicted + kept.expired == 0, "{kept:?}");
    assert!(waiting.delivered == 0 && waiting.pending > 0 && waiting.rejected == 0, "{waiting:?}");
    agent.stop()?;
    let state = sandbox.state();
    assert_eq!(state.refused, 0, "{:#?}", state.recent_refusals);
    let log = agent.log();
    assert!(!log.contains(SECRET), "a secret is in the log");
    assert!(
        log.contains("the secret changed; the new one is in use") && log.contains("aws-ssm:///nobody/answers"),
        "{log}"
    );
    Ok(())
}

/// One value in each of the two stores.
fn words(n: u32) -> Result<World> {
    let text = serde_json::json!({
        "parameters": [{ "name": "/prod/token", "value": format!("{SECRET}-token-{n}") }],
        "vault": {
            "mounts": { "kv": 2 },
            "secrets": { "kv/sigpost": { "id": format!("AKIDKEPT{n}"), "secret": format!("{SECRET}-{n}") } },
            "app_roles": { "role-of-the-agent": format!("{SECRET}-app") },
            "token_ttl_s": 3,
        },
    });
    World::from_json(&text.to_string()).map_err(anyhow::Error::msg)
}

/// A receiver that wants one of the tokens, newest last, and tells which it was sent.
async fn receiver() -> Result<(String, std::sync::Arc<std::sync::Mutex<(String, Vec<String>)>>)> {
    use axum::{
        Router,
        extract::State,
        http::{HeaderMap, StatusCode},
        routing::post,
    };
    type Book = std::sync::Arc<std::sync::Mutex<(String, Vec<String>)>>;
    let book: Book = Book::default();
    let answer = |State(book): State<Book>, headers: HeaderMap| async move {
        let sent = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let mut book = book.lock().unwrap();
        if sent != format!("Bearer {}", book.0) {
            return StatusCode::UNAUTHORIZED;
        }
        book.1.push(sent);
        StatusCode::NO_CONTENT
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/api/v1/push", listener.local_addr()?);
    let router = Router::new().route("/api/v1/push", post(answer)).with_state(std::sync::Arc::clone(&book));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((url, book))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_and_ssm_rotate_too_and_a_receiver_that_refuses_has_the_value_read_before_its_turn() -> Result<()> {
    let reader =
        Identity::user("AKIDREADER", format!("{SECRET}-reader")).allowing(["ssm:GetParameter", "ssm:GetParameters"]);
    let identities = vec![reader, writer(1), writer(2)];
    let sandbox = Sandbox::start(SandboxConfig { identities, world: words(1)?, ..SandboxConfig::default() }).await?;
    let exporter = Exporter::start(100).await?;
    let (url, book) = receiver().await?;
    book.lock().unwrap().0 = format!("{SECRET}-token-1");
    // An hour: only a refusal makes it read again.
    let config = format!(
        "secrets:
  refresh_interval: 1h
  ssm_endpoint: {sandbox}
  aws: {{region: us-east-1, access_key: AKIDREADER, secret_key: {SECRET}-reader}}
vault:
  address: {sandbox}
  approle: {{role_id: role-of-the-agent, secret_id: {SECRET}-app}}
metrics:
  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
  configs:
    - name: default
      remote_write:
        - name: kept
          url: {kept}
          metadata_config: {{send: false}}
          sigv4: {{region: us-east-1, access_key: 'vault://kv/sigpost#id', secret_key: 'vault://kv/sigpost#secret'}}
        - name: bearer
          url: {url}
          metadata_config: {{send: false}}
          authorization: {{credentials: 'aws-ssm:///prod/token'}}
      scrape_configs:
        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{target}']}}]}}
",
        sandbox = sandbox.url(),
        kept = sandbox.remote_write_url("ws-kept"),
        target = exporter.address,
    );
    let mut agent = Agent::prepare(&config)?;
    agent.start_ready().await?;
    let told = |agent: &Agent| format!("{}\n{:#?}", agent.log(), sandbox.state().recent_refusals);
    for n in [1, 2] {
        if n == 2 {
            sandbox.put_world(words(2)?)?;
            book.lock().unwrap().0 = format!("{SECRET}-token-2");
            sandbox.remove_identity("AKIDKEPT1");
        }
        let (key, token) = (format!("AKIDKEPT{n}"), format!("Bearer {SECRET}-token-{n}"));
        until("both to be accepted", PATIENCE, || async {
            let is_signed = sandbox.state().destinations.iter().any(|d| d.access_key_id == key && d.accepted > 0);
            (is_signed && book.lock().unwrap().1.contains(&token)).then_some(())
        })
        .await
        .with_context(|| told(&agent))?;
    }
    let rows = ledger::of_running(&agent).await?;
    for name in ["kept", "bearer"] {
        let row = &rows[name];
        assert!(row.delivered > 0 && row.rejected + row.evicted + row.expired == 0, "{name}: {row:?}");
    }
    agent.stop()?;
    assert!(!agent.log().contains(SECRET), "a secret is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_token_from_the_configuration_outlives_its_lease_many_times() -> Result<()> {
    let sandbox =
        Sandbox::start(SandboxConfig { identities: vec![writer(1)], world: words(1)?, ..SandboxConfig::default() })
            .await?;
    let exporter = Exporter::start(20).await?;
    // A token of three seconds, as somebody would hand it out.
    let login = serde_json::json!({ "role_id": "role-of-the-agent", "secret_id": format!("{SECRET}-app") });
    let answer =
        reqwest::Client::new().post(format!("{}/v1/auth/approle/login", sandbox.url())).body(login.to_string());
    let answer: serde_json::Value = serde_json::from_slice(&answer.send().await?.bytes().await?)?;
    let token = answer["auth"]["client_token"].as_str().context("a token")?.to_owned();
    let mut agent = Agent::prepare(&format!(
        "secrets: {{refresh_interval: 1s}}
vault: {{address: {sandbox}, token_file: '{{dir}}/vault-token'}}
metrics:
  global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
  configs:
    - name: default
      remote_write:
        - name: kept
          url: {kept}
          metadata_config: {{send: false}}
          sigv4: {{region: us-east-1, access_key: 'vault://kv/sigpost#id', secret_key: 'vault://kv/sigpost#secret'}}
      scrape_configs:
        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{target}']}}]}}
",
        sandbox = sandbox.url(),
        kept = sandbox.remote_write_url("ws-kept"),
        target = exporter.address,
    ))?;
    std::fs::write(agent.dir.path().join("vault-token"), &token)?;
    agent.start_ready().await?;
    until("three renewals", PATIENCE, || async {
        let renewals = agent.metric("sigpost_vault_token_renewals_total").await.ok()?;
        renewals.filter(|n| *n >= 3.0).map(drop)
    })
    .await
    .with_context(|| agent.log())?;
    let left = agent.metric("sigpost_vault_token_expiry_seconds").await?;
    assert!(left.is_some_and(|left| (0.0..=3.5).contains(&left)), "{left:?}");
    assert_eq!(agent.metric("sigpost_vault_token_renewal_failures_total").await?, Some(0.0));
    let failures = agent.metric("sigpost_secret_refresh_failures_total{reference=\"vault://kv/sigpost#id\"}").await?;
    assert_eq!(failures, Some(0.0));
    agent.stop()?;
    assert!(!agent.log().contains(&token) && !agent.log().contains(SECRET), "a secret is in the log");
    Ok(())
}
