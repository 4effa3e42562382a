//! HashiCorp Vault: logs in, and reads secrets of its key-value engines, version 1 and 2.
//!
//! A token of a login is renewed when two thirds of its lease are over, and replaced by a new login where Vault renews it no
//! more; `lease` keeps a configured one alive. Keeps true: one login at a time; a token that Vault refuses is thrown away and
//! asked for once more; a service account's token and AWS credentials are taken afresh at each login.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use net::{Authorize, Client, ClientOptions, HttpClientConfig, ProxyConfig, Secret};
use parking_lot::Mutex;
use percent_encoding::utf8_percent_encode;
use serde_json::{Value, json};

use super::{VaultConfig, VaultLogin, cloud::Cloud, document::Document};
use crate::{AwsError, aside::trimmed_text, signer::STRICT};

const TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: u64 = 4 << 20;
/// A lease of nothing means a token without end; it is asked for again all the same.
const LONGEST_LEASE: Duration = Duration::from_secs(12 * 3600);

/// One Vault.
#[derive(Debug)]
pub(super) struct Vault {
    config: VaultConfig,
    client: Client,
    cloud: Arc<Cloud>,
    token: tokio::sync::Mutex<Option<Token>>,
    /// What was found out about mounts: version 1 or 2.
    versions: Mutex<BTreeMap<String, u8>>,
}

#[derive(Debug, Clone)]
struct Token {
    value: Secret,
    /// Two thirds of its life are over then.
    until: Instant,
    renewable: bool,
}

/// How long a token lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// `None`: it does not end.
    pub(super) ends: Option<SystemTime>,
    /// From now, or from its last renewal, to its end.
    pub(super) lease: Duration,
    pub(super) renewable: bool,
}

impl Life {
    /// When two thirds of the lease are over; `None`: there is nothing to renew.
    pub(super) fn renewal_due(&self) -> Option<SystemTime> {
        let ends = self.ends.filter(|_| self.renewable)?;
        ends.checked_sub(self.lease / 3)
    }
}

/// An answer that is no success.
struct Refusal {
    status: StatusCode,
    what: String,
}

impl Vault {
    /// The source of the token, where the configuration gives one.
    pub(super) fn own_token(&self) -> Option<net::SecretSource> {
        match &self.config.login {
            VaultLogin::Token(source) => Some(source.clone()),
            _ => None,
        }
    }

    pub(super) fn new(config: VaultConfig, cloud: Arc<Cloud>) -> Result<Self, AwsError> {
        let http = HttpClientConfig {
            tls: config.tls.clone(),
            proxy: ProxyConfig::Environment,
            follow_redirects: false,
            ..HttpClientConfig::default()
        };
        let client = Client::new(&http, ClientOptions::default())?;
        Ok(Self { config, client, cloud, token: tokio::sync::Mutex::default(), versions: Mutex::default() })
    }

    /// Reads one secret with all its keys now.
    pub(super) async fn read(&self, mount: &str, path: &str, version: Option<u8>) -> Result<Document, String> {
        let known = version.or_else(|| self.versions.lock().get(mount).copied());
        let found = match known {
            Some(version) => self.read_as(version, mount, path).await.map_err(|r| r.what)?,
            None => self.find_out(mount, path).await?,
        };
        Ok(Document::of_object(&found))
    }

    /// Version 2 first: almost all are, and version 1 has nothing at such a path. A policy for version 1 alone answers 403.
    async fn find_out(&self, mount: &str, path: &str) -> Result<Value, String> {
        let second = match self.read_as(2, mount, path).await {
            Ok(found) => {
                self.versions.lock().insert(mount.to_owned(), 2);
                return Ok(found);
            }
            Err(refusal) => refusal,
        };
        if !matches!(second.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            return Err(second.what);
        }
        match self.read_as(1, mount, path).await {
            Ok(found) => {
                self.versions.lock().insert(mount.to_owned(), 1);
                Ok(found)
            }
            Err(_) => Err(second.what),
        }
    }

    async fn read_as(&self, version: u8, mount: &str, path: &str) -> Result<Value, Refusal> {
        let encoded = |text: &str| {
            text.split('/').map(|p| utf8_percent_encode(p, STRICT).to_string()).collect::<Vec<_>>().join("/")
        };
        let data = if version == 2 { "data/" } else { "" };
        let address = format!("{}/{data}{}", encoded(mount), encoded(path));
        let refused = match self.ask_with_token(&address).await {
            Err(refusal) if refusal.status == StatusCode::FORBIDDEN && self.drop_token().await => {
                self.ask_with_token(&address).await
            }
            other => other,
        };
        let answer = refused?;
        let place = if version == 2 { "/data/data" } else { "/data" };
        match answer.pointer(place) {
            Some(found @ Value::Object(_)) => Ok(found.clone()),
            _ => Err(Refusal {
                status: StatusCode::NOT_FOUND,
                what: format!("Vault has no secret at {mount}/{path} (or its newest version is deleted)"),
            }),
        }
    }

    async fn ask_with_token(&self, address: &str) -> Result<Value, Refusal> {
        let token = self.token().await.map_err(|what| Refusal { status: StatusCode::UNAUTHORIZED, what })?;
        self.ask(Method::GET, address, None, Some(&token)).await
    }

    /// What Vault knows of `token`.
    pub(super) async fn life(&self, token: &Secret) -> Result<Life, String> {
        let answer = self.ask(Method::GET, "auth/token/lookup-self", None, Some(token)).await;
        let answer = answer.map_err(|r| format!("looking at the token for Vault: {}", r.what))?;
        let number = |name: &str| answer.pointer(&format!("/data/{name}")).and_then(Value::as_u64).unwrap_or(0);
        let left = Duration::from_secs(number("ttl"));
        // A periodic token is renewed for its period, another for what it was made with.
        let whole = Duration::from_secs(match number("period") {
            0 => number("creation_ttl"),
            period => period,
        });
        Ok(Life {
            ends: SystemTime::now().checked_add(left).filter(|_| !left.is_zero()),
            lease: whole.max(left),
            renewable: answer.pointer("/data/renewable").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Has Vault renew `token`, whoever gave it.
    pub(super) async fn renew(&self, token: &Secret) -> Result<Life, String> {
        let answer = self.ask(Method::POST, "auth/token/renew-self", Some(json!({})), Some(token)).await;
        let answer = answer.map_err(|r| format!("renewing the token for Vault: {}", r.what))?;
        let lease = answer.pointer("/auth/lease_duration").and_then(Value::as_u64).unwrap_or(0);
        let lease = Duration::from_secs(lease);
        Ok(Life {
            ends: SystemTime::now().checked_add(lease).filter(|_| !lease.is_zero()),
            lease,
            renewable: answer.pointer("/auth/renewable").and_then(Value::as_bool).unwrap_or(true),
        })
    }

    /// Throws away the token of a login, which may have ended early. False where it is not ours to replace.
    async fn drop_token(&self) -> bool {
        let logs_in = !matches!(self.config.login, VaultLogin::Token(_));
        logs_in && self.token.lock().await.take().is_some()
    }

    async fn token(&self) -> Result<Secret, String> {
        if let VaultLogin::Token(source) = &self.config.login {
            return source.load().await.map_err(|e| format!("the token for Vault: {e}"));
        }
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|t| Instant::now() < t.until) {
            return Ok(token.value.clone());
        }
        // Logins may be counted (`secret_id_num_uses`), renewals are not.
        if let Some(token) = held.as_mut().filter(|t| t.renewable)
            && let Ok(life) = self.renew(&token.value).await
            && !life.lease.is_zero()
        {
            (token.until, token.renewable) = (Instant::now() + life.lease.mul_f64(2.0 / 3.0), life.renewable);
            return Ok(token.value.clone());
        }
        let token = self.log_in().await?;
        let value = token.value.clone();
        *held = Some(token);
        Ok(value)
    }

    async fn log_in(&self) -> Result<Token, String> {
        let (mount, body) = match &self.config.login {
            VaultLogin::Token(_) => return Err("a token needs no login".to_owned()),
            VaultLogin::AppRole { mount, role_id, secret_id } => {
                let read =
                    async |source: &net::SecretSource| source.load().await.map_err(|e| format!("Vault's approle: {e}"));
                let mut body = json!({ "role_id": read(role_id).await?.expose() });
                if let (Some(source), Some(object)) = (secret_id, body.as_object_mut()) {
                    object.insert("secret_id".to_owned(), read(source).await?.expose().into());
                }
                (mount, body)
            }
            VaultLogin::Kubernetes { mount, role, token_file } => {
                let token = trimmed_text(token_file).await;
                let token = token
                    .map_err(|e| format!("Vault's kubernetes login: cannot read {}: {e}", token_file.display()))?;
                (mount, json!({ "role": role, "jwt": token.as_str() }))
            }
            VaultLogin::Aws { mount, role, server_id } => {
                (mount, self.signed_caller(role, server_id.as_deref()).await?)
            }
        };
        let address = format!("auth/{mount}/login");
        let answer = self.ask(Method::POST, &address, Some(body), None).await;
        let answer = answer.map_err(|r| format!("logging in to Vault at {address}: {}", r.what))?;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str).filter(|t| !t.is_empty());
        let token = token.ok_or_else(|| format!("Vault's answer to the login at {address} has no token"))?;
        let lease = answer.pointer("/auth/lease_duration").and_then(Value::as_u64).filter(|s| *s > 0);
        let lease = lease.map_or(LONGEST_LEASE, Duration::from_secs).min(LONGEST_LEASE);
        let renewable = answer.pointer("/auth/renewable").and_then(Value::as_bool).unwrap_or(false);
        Ok(Token { value: Secret::new(token), until: Instant::now() + lease.mul_f64(2.0 / 3.0), renewable })
    }

    /// The proof of Vault's AWS login: a signed `GetCallerIdentity` that Vault sends on to STS.
    async fn signed_caller(&self, role: &str, server_id: Option<&str>) -> Result<Value, String> {
        const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
        let identity = self.cloud.identity("sts", None)?;
        let url = identity.sts_url().await?;
        let mut request = Request::post(url.as_str())
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(Bytes::from_static(BODY.as_bytes()))
            .map_err(|e| e.to_string())?;
        if let Some(id) = server_id {
            let value = id.parse().map_err(|_| "vault's server_id cannot be sent in a header")?;
            // Vault insists that it is signed.
            request.headers_mut().insert("x-vault-aws-iam-server-id", value);
        }
        identity.authorize(&mut request).await.map_err(|e| e.to_string())?;
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        headers.insert("host".to_owned(), vec![host]);
        for (name, value) in request.headers() {
            let text = value.to_str().map_err(|_| format!("the header {name} is not text"))?;
            headers.entry(name.to_string()).or_default().push(text.to_owned());
        }
        let headers = serde_json::to_string(&headers).map_err(|e| e.to_string())?;
        Ok(json!({
            "role": role,
            "iam_http_request_method": "POST",
            "iam_request_url": STANDARD.encode(url.as_str()),
            "iam_request_body": STANDARD.encode(BODY),
            "iam_request_headers": STANDARD.encode(headers),
        }))
    }

    async fn ask(
        &self,
        method: Method,
        address: &str,
        body: Option<Value>,
        token: Option<&Secret>,
    ) -> Result<Value, Refusal> {
        let failed = |status: StatusCode, what: String| Refusal { status, what };
        let unsent = |what: String| failed(StatusCode::SERVICE_UNAVAILABLE, what);
        let base = self.config.address.as_str().trim_end_matches('/');
        let body = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/v1/{address}"))
            // Keeps Vault's agent and proxies from being tricked into answering for us.
            .header("x-vault-request", "true")
            .header("accept", "application/json")
            .body(body)
            .map_err(|e| unsent(e.to_string()))?;
        let header = |text: &str| {
            let mut value = http::HeaderValue::from_str(text.trim())
                .map_err(|_| unsent("Vault's token or namespace has characters that cannot be sent".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        if let Some(namespace) = &self.config.namespace {
            request.headers_mut().insert("x-vault-namespace", header(namespace)?);
        }
        if let Some(token) = token {
            request.headers_mut().insert("x-vault-token", header(token.expose())?);
        }
        let reply =
            self.client.send(request, TIMEOUT, ANSWER_LIMIT).await.map_err(|e| unsent(format!("asking Vault: {e}")))?;
        if !reply.status.is_success() {
            return Err(failed(reply.status, said(reply.status, &reply.body)));
        }
        serde_json::from_slice(&reply.body).map_err(|_| unsent("Vault's answer is not JSON".to_owned()))
    }
}

fn said(status: StatusCode, body: &[u8]) -> String {
    let errors: Vec<String> = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|v| Some(v.get("errors")?.as_array()?.iter().filter_map(Value::as_str).map(String::from).collect()))
        .unwrap_or_default();
    let errors: String = errors.join("; ").split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    let hint = match status {
        StatusCode::FORBIDDEN => "; the token has ended, or its policy does not allow `read` at this path",
        StatusCode::NOT_FOUND => "; check mount and path",
        StatusCode::SERVICE_UNAVAILABLE => "; Vault is sealed or starting",
        _ => "",
    };
    match errors.is_empty() {
        true => format!("Vault said HTTP {}{hint}", status.as_u16()),
        false => format!("Vault said {errors} (HTTP {}){hint}", status.as_u16()),
    }
}
