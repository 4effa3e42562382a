//! Loopback stand-ins for STS, IMDSv2 and the container endpoint, and children with a chosen environment.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws::{CredentialSource, Identity, IdentityConfig, IdentityContext};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::Request;
use net::{Answer, Authorize, IdentityVerdict, Secret, SecretSource};

pub const AMP: &str = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";

/// One request as a stand-in saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// A form's fields.
    pub fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    /// The access key id it was signed with.
    pub fn key(&self) -> Option<String> {
        let value = self.headers.get("authorization")?.to_str().ok()?;
        Some(value.split_once("Credential=")?.1.split_once('/')?.0.to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

type Seens = Arc<Mutex<Vec<Seen>>>;
type Script = dyn Fn(&Seen, usize) -> Response + Send + Sync;

/// A server that answers by script and notes what it saw.
pub struct Fake {
    pub addr: SocketAddr,
    pub seen: Seens,
}

impl Fake {
    pub async fn start(script: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state: (Seens, Arc<Script>) = (Arc::clone(&seen), Arc::new(script));
        let answer = |State((seen, script)): State<(Seens, Arc<Script>)>,
                      method: Method,
                      uri: Uri,
                      headers: HeaderMap,
                      body: String| async move {
            let request = Seen {
                method,
                path: uri.path().to_owned(),
                query: uri.query().unwrap_or_default().to_owned(),
                headers,
                body,
            };
            let n = {
                let mut seen = seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            script(&request, n)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, seen }
    }

    pub fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.addr).parse().unwrap()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub fn later(seconds: u64) -> String {
    moment(SystemTime::now() + Duration::from_secs(seconds))
}

pub fn moment(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

/// As in a `Date` header.
pub fn http_date(at: SystemTime) -> String {
    let zoned = jiff::Timestamp::try_from(at).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    zoned.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// STS's answer to both ways of assuming a role; the key is `ASIA<n>`.
pub fn sts_answer(action: &str, n: usize) -> Response {
    sts_answer_until(action, n, &later(3600))
}

/// The same with another end.
pub fn sts_answer_until(action: &str, n: usize, expiration: &str) -> Response {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>\
         <AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>ASIA{n}</AccessKeyId><SecretAccessKey>secret{n}</SecretAccessKey>\
         <SessionToken>token{n}+/=</SessionToken><Expiration>{expiration}</Expiration></Credentials></{action}Result>\
         <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    );
    ([("content-type", "text/xml")], body).into_response()
}

pub fn sts_error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    (StatusCode::from_u16(status).unwrap(), [("content-type", "text/xml")], body).into_response()
}

/// IMDSv2: a token by PUT, then everything only with that token.
pub fn imds(seen: &Seen, region: &str) -> Response {
    if seen.path == "/latest/api/token" && seen.method == Method::PUT {
        return ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "imds-token").into_response();
    }
    if seen.header("x-aws-ec2-metadata-token") != "imds-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match seen.path.as_str() {
        "/latest/meta-data/placement/region" => region.to_owned().into_response(),
        path if path.ends_with("/security-credentials/") || path.ends_with("/security-credentials-extended/") => {
            "node-role".into_response()
        }
        path if path.ends_with("/node-role") => {
            let body = format!(
                r#"{{"Code":"Success","LastUpdated":"2024-01-01T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAIMDS","SecretAccessKey":"s","Token":"t","Expiration":"{}"}}"#,
                later(3600)
            );
            body.into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

pub fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

pub fn static_keys(key: &str, secret: &str) -> CredentialSource {
    CredentialSource::Static { access_key: inline(key), secret_key: inline(secret), session_token: None }
}

pub fn config(source: CredentialSource) -> IdentityConfig {
    IdentityConfig { source, region: Some("us-east-1".to_owned()), ..IdentityConfig::default() }
}

pub fn context() -> IdentityContext {
    IdentityContext::new("node-1.internal").unwrap()
}

pub fn build(config: &IdentityConfig) -> Arc<Identity> {
    aws::build(config, &AMP.parse().unwrap(), "aps", "prod", &context()).unwrap()
}

/// Signs a request and gives it back, or the reason why not.
pub async fn sign(identity: &Identity) -> Result<Request<Bytes>, String> {
    let mut request = Request::post(AMP).body(Bytes::from_static(b"body")).unwrap();
    identity.authorize(&mut request).await.map_err(|e| e.to_string())?;
    Ok(request)
}

/// The key id that a request would be signed with now.
pub async fn key(identity: &Identity) -> Result<String, String> {
    let request = sign(identity).await?;
    let value = request.headers()["authorization"].to_str().unwrap().to_owned();
    Ok(value.split_once("Credential=").unwrap().1.split_once('/').unwrap().0.to_owned())
}

/// What the identity makes of an answer that arrives now.
pub fn judge(identity: &Identity, status: u16, headers: &[(&'static str, &str)], body: &str) -> IdentityVerdict {
    let headers: HeaderMap =
        headers.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect();
    let now = SystemTime::now();
    identity.judge(&Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &headers,
        body: body.as_bytes(),
        sent_at: now,
        received_at: now,
    })
}

/// Runs this test again in a child with exactly `env` (and no AWS or proxy variable of ours); true inside that child.
/// A process's environment cannot be changed safely while other tests run in it.
pub fn in_child(test: &str, env: &[(&str, &str)]) -> bool {
    if std::env::var("TEST_CHILD").is_ok_and(|v| v == test) {
        return true;
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.to_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home.path()).env("TEST_CHILD", test).envs(env.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
