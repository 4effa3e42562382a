//! HashiCorp Vault, as far as secrets by reference need it: key-value mounts of both versions, logins by AppRole,
//! Kubernetes token and AWS IAM, and the renewal of tokens. Under `/v1/`.
//!
//! Keeps true: a Kubernetes login needs a token that an issuer known here signed; an AWS login needs a signed
//! `GetCallerIdentity` that verifies like every other request.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use net::Secret;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Asked, Call, Done, SMALL_BODY, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    config::Limits,
    core::Core,
    identity::equal_in_constant_time,
    jwt,
    refusal::Refusal,
    sigv4::{Policy, SignedRequest, sha256_hex, verify},
    target::{AwsHost, Target, host_name},
    world::{VaultWorld, fits},
};

/// Most tokens of logins kept.
const MOST_TOKENS: usize = 10_000;
/// Life of a login's token when the world says nothing, in seconds.
const TTL_S: u32 = 3600;

pub(super) struct Vault;

/// Tokens given out by logins, with their ends in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<BTreeMap<String, i64>>);

impl Leases {
    /// A new token; none when there is no room or no randomness.
    fn grant(&self, now_ms: i64, ends_ms: i64) -> Option<Secret> {
        let mut random = [0u8; 20];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        let token = format!("hvs.{}", hex::encode(random));
        let mut leases = self.0.lock();
        if leases.len() >= MOST_TOKENS {
            leases.retain(|_, ends| *ends > now_ms);
        }
        if leases.len() >= MOST_TOKENS {
            return None;
        }
        leases.insert(sha256_hex(token.as_bytes()), ends_ms);
        Some(Secret::new(token))
    }

    fn end_of(&self, token: &str) -> Option<i64> {
        self.0.lock().get(&sha256_hex(token.as_bytes())).copied()
    }

    fn renew(&self, token: &str, ends_ms: i64) {
        if let Some(end) = self.0.lock().get_mut(&sha256_hex(token.as_bytes())) {
            *end = ends_ms;
        }
    }

    /// Ends all of them.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Service for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Vault
    }

    fn claims(&self, target: &Target) -> bool {
        target.aws.is_none() && target.signed_for.is_none() && target.path.starts_with("/v1/")
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn policy(&self, _asked: &Asked<'_>) -> Option<Policy> {
        None
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body.min(SMALL_BODY)
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        None
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let vault = core.world.read().vault.clone();
        let vault = vault.ok_or_else(|| problem(StatusCode::NOT_FOUND, "the world has no vault"))?;
        let namespace = text(&call.headers, "x-vault-namespace").unwrap_or_default().trim_matches('/');
        if vault.namespace.as_deref().is_some_and(|wanted| wanted.trim_matches('/') != namespace) {
            return Err(problem(StatusCode::FORBIDDEN, "permission denied"));
        }
        let path = call.target.decoded_path();
        let path = path.strip_prefix("/v1/").unwrap_or_default();
        let is_write = matches!(call.target.method, Method::POST | Method::PUT);
        let json = || -> Result<Value, ServiceError> {
            serde_json::from_slice(&call.body)
                .map_err(|_| problem(StatusCode::BAD_REQUEST, "failed to parse JSON input"))
        };
        match path {
            "auth/approle/login" if is_write => by_app_role(core, call, &vault, &json()?).map(Done::from),
            "auth/kubernetes/login" if is_write => by_kubernetes(core, call, &vault, &json()?),
            "auth/aws/login" if is_write => by_aws(core, call, &vault, &json()?),
            _ => {
                let token = check_token(core, call, &vault)?;
                match path {
                    "auth/token/lookup-self" if !is_write => Ok(lookup(core, call, &vault, &token).into()),
                    "auth/token/renew-self" if is_write => renew(core, call, &vault, &token).map(Done::from),
                    _ if !is_write => read(call, &vault, path).map(Done::from),
                    _ => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")),
                }
            }
        }
    }
}

fn problem(status: StatusCode, message: &str) -> ServiceError {
    ServiceError::new(status, "", message)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn denied(what: &str) -> ServiceError {
    problem(StatusCode::FORBIDDEN, "permission denied").because(Refusal::BearerToken { what: what.to_owned() })
}

fn ttl_s(vault: &VaultWorld) -> u32 {
    if vault.token_ttl_s == 0 { TTL_S } else { vault.token_ttl_s }
}

/// The token that came with a request, if it is good.
fn check_token(core: &Core, call: &Call, vault: &VaultWorld) -> Result<String, ServiceError> {
    let bearer = text(&call.headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
    let Some(given) = text(&call.headers, "x-vault-token").or(bearer) else {
        return Err(problem(StatusCode::FORBIDDEN, "missing client token")
            .because(Refusal::BearerToken { what: "the Vault token is missing".to_owned() }));
    };
    let is_root =
        vault.token.as_ref().is_some_and(|token| equal_in_constant_time(token.expose().as_bytes(), given.as_bytes()));
    match core.leases.end_of(given) {
        _ if is_root => Ok(given.to_owned()),
        Some(ends_ms) if ends_ms > call.now_ms => Ok(given.to_owned()),
        Some(_) => Err(denied("the Vault token has ended")),
        None => Err(denied("the Vault token is not known")),
    }
}

/// Secrets of both versions: `mount/path`, and `mount/data/path` for version 2.
fn read(call: &Call, vault: &VaultWorld, path: &str) -> Result<Reply, ServiceError> {
    let missing = || ServiceError::new(StatusCode::NOT_FOUND, "", "");
    let mount = vault
        .mounts
        .iter()
        .filter(|(mount, _)| path.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/')))
        .max_by_key(|(mount, _)| mount.len());
    let (mount, version) = mount.ok_or_else(|| denied("no policy allows this path: there is no such mount"))?;
    let rest = path.strip_prefix(mount.as_str()).unwrap_or_default().trim_start_matches('/');
    let key = match version {
        1 => rest,
        _ => rest.strip_prefix("data/").ok_or_else(missing)?,
    };
    let fields = vault.secrets.get(&format!("{mount}/{key}")).ok_or_else(missing)?;
    let fields: BTreeMap<&str, &str> = fields.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    let data = match version {
        1 => json!(fields),
        _ => json!({
            "data": fields,
            "metadata": {
                "created_time": crate::clock::extended_utc(call.now_ms),
                "custom_metadata": null, "deletion_time": "", "destroyed": false, "version": 1,
            },
        }),
    };
    let lease = if *version == 1 { 2_764_800 } else { 0 };
    Ok(envelope(call, data, lease, Value::Null))
}

fn envelope(call: &Call, data: Value, lease_s: u32, auth: Value) -> Reply {
    let answer = json!({
        "request_id": call.request_id, "lease_id": "", "renewable": false, "lease_duration": lease_s,
        "data": data, "wrap_info": null, "warnings": null, "auth": auth,
    });
    Reply::json(StatusCode::OK, &answer).with("cache-control", "no-store")
}

fn auth(token: &str, ttl_s: u32) -> Value {
    json!({
        "client_token": token, "accessor": "", "policies": ["default"], "token_policies": ["default"],
        "lease_duration": ttl_s, "renewable": true, "token_type": "service",
    })
}

fn login(core: &Core, call: &Call, vault: &VaultWorld) -> Result<Reply, ServiceError> {
    let ttl_s = ttl_s(vault);
    let ends_ms = call.now_ms.saturating_add(i64::from(ttl_s) * 1000);
    let token = core.leases.grant(call.now_ms, ends_ms);
    let token = token.ok_or_else(|| problem(StatusCode::SERVICE_UNAVAILABLE, "the sandbox keeps no more tokens"))?;
    Ok(envelope(call, Value::Null, 0, auth(token.expose(), ttl_s)))
}

fn lookup(core: &Core, call: &Call, vault: &VaultWorld, token: &str) -> Reply {
    let left_ms = core.leases.end_of(token).map(|ends_ms| ends_ms.saturating_sub(call.now_ms));
    let data = json!({
        "ttl": left_ms.unwrap_or(0) / 1000, "creation_ttl": left_ms.map_or(0, |_| ttl_s(vault)), "period": 0,
        "renewable": left_ms.is_some(), "policies": ["default"],
    });
    envelope(call, data, 0, Value::Null)
}

fn renew(core: &Core, call: &Call, vault: &VaultWorld, token: &str) -> Result<Reply, ServiceError> {
    let ttl_s = ttl_s(vault);
    if core.leases.end_of(token).is_none() {
        return Err(problem(StatusCode::BAD_REQUEST, "lease is not renewable"));
    }
    core.leases.renew(token, call.now_ms.saturating_add(i64::from(ttl_s) * 1000));
    Ok(envelope(call, Value::Null, 0, auth(token, ttl_s)))
}

fn field<'j>(json: &'j Value, name: &str) -> Result<&'j str, ServiceError> {
    let missing = || problem(StatusCode::BAD_REQUEST, &format!("missing {name}"));
    json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(missing)
}

fn by_app_role(core: &Core, call: &Call, vault: &VaultWorld, json: &Value) -> Result<Reply, ServiceError> {
    let (role_id, secret_id) = (field(json, "role_id")?, field(json, "secret_id")?);
    let is_good = vault
        .app_roles
        .get(role_id)
        .is_some_and(|secret| equal_in_constant_time(secret.expose().as_bytes(), secret_id.as_bytes()));
    if !is_good {
        let refusal = Refusal::BearerToken { what: "the AppRole's role id or secret id is wrong".to_owned() };
        return Err(problem(StatusCode::BAD_REQUEST, "invalid role or secret ID").because(refusal));
    }
    login(core, call, vault)
}

fn by_kubernetes(core: &Core, call: &Call, vault: &VaultWorld, json: &Value) -> Result<Done, ServiceError> {
    let (role, token) = (field(json, "role")?, field(json, "jwt")?);
    let subject = vault.kubernetes_roles.get(role).ok_or_else(|| {
        problem(StatusCode::BAD_REQUEST, &format!("invalid role name {:?}", crate::refusal::shown(role)))
    })?;
    let issuers = core.world.read().issuers.clone();
    let claims = jwt::verify(token, &issuers, call.now_ms).map_err(|problem| denied(&problem.reason()))?;
    if !fits(Some(subject), &claims.subject) {
        return Err(denied(&format!("the role wants another subject than {}", claims.subject)));
    }
    Ok(Done::from(login(core, call, vault)?).by(claims.subject))
}

/// The signed `GetCallerIdentity` inside is verified here as STS would.
fn by_aws(core: &Core, call: &Call, vault: &VaultWorld, json: &Value) -> Result<Done, ServiceError> {
    let bad = |what: &str| problem(StatusCode::BAD_REQUEST, what);
    let decoded = |name: &str| -> Result<Vec<u8>, ServiceError> {
        BASE64_STANDARD.decode(field(json, name)?).map_err(|_| bad(&format!("failed to base64 decode {name}")))
    };
    let method = field(json, "iam_http_request_method")?;
    let url = String::from_utf8(decoded("iam_request_url")?).map_err(|_| bad("iam_request_url is not text"))?;
    let uri: http::Uri = url.parse().map_err(|_| bad("iam_request_url is not a URL"))?;
    let body = decoded("iam_request_body")?;
    let headers =
        sent_headers(&decoded("iam_request_headers")?).ok_or_else(|| bad("iam_request_headers is not a JSON map"))?;
    if method != "POST" || !body.starts_with(b"Action=GetCallerIdentity") {
        return Err(bad("only GetCallerIdentity requests are supported"));
    }
    let host = text(&headers, "host").or_else(|| uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
    let signed = SignedRequest {
        method,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        host,
        body_sha256: &sha256_hex(&body),
    };
    let region = AwsHost::read(host_name(host)).map(|aws| aws.region);
    let (claim, arn) = {
        let identities = core.identities.read();
        let verified = verify(&signed, &Policy::common("sts", region), call.now_ms, |id| identities.get(id));
        let (claim, identity) = verified
            .map_err(|refusal| bad(&format!("error making upstream request: {}", refusal.reason())).because(refusal))?;
        (claim, identity.arn.clone())
    };
    if let Some(wanted) = &vault.aws_server_id {
        let name = "x-vault-aws-iam-server-id";
        let is_right = text(&headers, name) == Some(wanted.as_str()) && claim.signed_headers.iter().any(|h| h == name);
        if !is_right {
            return Err(bad("error validating X-Vault-AWS-IAM-Server-ID header: missing, unsigned or another's"));
        }
    }
    let is_bound = match json.get("role").and_then(Value::as_str).filter(|role| !role.is_empty()) {
        Some(role) => vault.aws_roles.get(role).is_some_and(|pattern| fits(Some(pattern), &arn)),
        None => vault.aws_roles.values().any(|pattern| fits(Some(pattern), &arn)),
    };
    if !is_bound {
        return Err(denied(&format!("no role of the AWS login is bound to {arn}")));
    }
    Ok(Done::from(login(core, call, vault)?).by(arn))
}

/// A JSON map of header names to a value or to a list of values.
fn sent_headers(json: &[u8]) -> Option<HeaderMap> {
    let map: BTreeMap<String, Value> = serde_json::from_slice(json).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in map {
        let name = HeaderName::try_from(name).ok()?;
        let values = match value {
            Value::String(one) => vec![one],
            Value::Array(many) => many.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => return None,
        };
        for value in values {
            headers.append(name.clone(), HeaderValue::try_from(value).ok()?);
        }
    }
    Some(headers)
}
