//! The sandbox's own face over HTTP: the page at `/`, and the control API under `/_sandbox/`.
//!
//! `GET state?series=N&objects=N&metric=NAME`, `GET samples?metric=NAME&destination=D&caller=ARN`,
//! `GET records?destination=D&caller=ARN`, `POST faults` (one fault or a
//! list), `DELETE faults`, `POST identities`, `POST world`, `POST sessions`, `POST token`, `POST certificate`,
//! `POST clock {"skew_ms": N}`, `POST reset`. JSON in and out. No secret that was told to the sandbox is ever given out;
//! tokens and keys are made anew for who asks. For users: docs/reference/sandbox.md.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::Reply,
    core::{Core, Scope},
    fault::Fault,
    identity::{Identity, moment},
    order::{hushed, read, read_list, refuse},
    page,
    target::Target,
    world::World,
};

/// Series and objects in a state unless more are asked for.
const SHOWN: usize = 100;
/// Most of them in one state.
const MOST: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockOrder {
    skew_ms: i64,
}

/// What to do with sessions and the documents of instances and containers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct SessionOrder {
    expire: bool,
    rotate: bool,
    lifetime_ms: Option<i64>,
    role_arn: Option<String>,
}

/// A token of the sandbox's own issuer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenOrder {
    subject: String,
    #[serde(default = "sts_audience")]
    audience: String,
    #[serde(default = "a_day")]
    lifetime_s: u32,
}

/// A certificate of the sandbox's own authority.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateOrder {
    common_name: String,
    #[serde(default = "a_day")]
    lifetime_s: u32,
}

fn sts_audience() -> String {
    "sts.amazonaws.com".to_owned()
}

fn a_day() -> u32 {
    86_400
}

/// What to do with a key: `expire` or `remove` an existing one, or else put this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityOrder {
    access_key_id: String,
    #[serde(default, deserialize_with = "hushed")]
    secret_access_key: Option<String>,
    #[serde(default, deserialize_with = "hushed")]
    session_token: Option<String>,
    #[serde(default)]
    account_id: Option<String>,
    #[serde(default)]
    arn: Option<String>,
    #[serde(default)]
    allow: Option<Vec<String>>,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    expires_ms: Option<i64>,
    valid_from_ms: Option<i64>,
    valid_until_ms: Option<i64>,
    active: Option<bool>,
    deny: Option<Vec<String>>,
    #[serde(default)]
    remove: bool,
}

/// Answers a request to the sandbox itself.
pub(crate) fn answer(core: &Core, target: &Target, body: &[u8]) -> Reply {
    let is_get = matches!(target.method, Method::GET | Method::HEAD);
    let is_post = target.method == Method::POST;
    match target.path.as_str() {
        "/" if is_get => page::render(core, &target.host),
        "/favicon.ico" if is_get => Reply::empty(StatusCode::NO_CONTENT),
        "/_sandbox/state" if is_get => state(core, target),
        "/_sandbox/samples" if is_get => {
            let wanted = ["destination", "metric", "caller"].map(|name| target.parameter(name));
            let [destination, metric, caller] = &wanted;
            let dump = core.series.lock().dump(destination.as_deref(), metric.as_deref(), caller.as_deref());
            Reply::json(StatusCode::OK, &dump)
        }
        "/_sandbox/records" if is_get => {
            let (destination, caller) = (target.parameter("destination"), target.parameter("caller"));
            let dump = core.records.lock().dump(destination.as_deref(), caller.as_deref());
            Reply::json(StatusCode::OK, &dump)
        }
        "/_sandbox/faults" if is_post => read_list(body, |list: Vec<Fault>| {
            // All or none: half a script would be a riddle.
            if let Some(problem) = list.iter().find_map(Fault::problem) {
                return refuse(&problem);
            }
            let mut faults = core.faults.lock();
            let taken = list.into_iter().map(|fault| faults.add(fault)).filter(|taken| *taken).count();
            Reply::json(StatusCode::OK, &json!({ "added": taken, "waiting": faults.waiting().len() }))
        }),
        "/_sandbox/faults" if target.method == Method::DELETE => {
            core.faults.lock().clear();
            Reply::json(StatusCode::OK, &json!({ "waiting": 0 }))
        }
        "/_sandbox/identities" if is_post => read(body, |order: IdentityOrder| identity(core, order)),
        "/_sandbox/world" if is_post => read(body, |world: World| merge(core, world)),
        "/_sandbox/sessions" if is_post => read(body, |order: SessionOrder| sessions(core, &order)),
        "/_sandbox/token" if is_post => read(body, |order: TokenOrder| token(core, &order)),
        "/_sandbox/certificate" if is_post => read(body, |order: CertificateOrder| certificate(core, &order)),
        "/_sandbox/clock" if is_post => read(body, |order: ClockOrder| {
            core.clock.set_skew_ms(order.skew_ms);
            Reply::json(StatusCode::OK, &json!({ "now_ms": core.clock.now_ms() }))
        }),
        "/_sandbox/reset" if is_post => {
            core.reset();
            Reply::json(StatusCode::OK, &json!({}))
        }
        "/"
        | "/_sandbox/state"
        | "/_sandbox/samples"
        | "/_sandbox/records"
        | "/_sandbox/faults"
        | "/_sandbox/identities"
        | "/_sandbox/clock"
        | "/_sandbox/world"
        | "/_sandbox/sessions"
        | "/_sandbox/token"
        | "/_sandbox/certificate"
        | "/_sandbox/reset" => Reply::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "state, samples and records are read with GET, the rest is POST (and DELETE faults); see docs/reference/sandbox.md\n",
        ),
        _ => Reply::text(
            StatusCode::NOT_FOUND,
            "/_sandbox/ has: state, samples, records, faults, identities, world, sessions, token, certificate, clock, reset; \
             see docs/reference/sandbox.md\n",
        ),
    }
}

fn state(core: &Core, target: &Target) -> Reply {
    let number =
        |name: &str| target.parameter(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(SHOWN).min(MOST);
    let scope = Scope { series: number("series"), objects: number("objects"), metric: target.parameter("metric") };
    Reply::json(StatusCode::OK, &core.state(&scope)).with("cache-control", "no-store")
}

fn merge(core: &Core, world: World) -> Reply {
    if let Some(problem) = world.problem() {
        return refuse(&problem);
    }
    let mut known = core.world.write();
    if !known.merge(world) {
        return refuse("there would be more than a thousand items of one kind");
    }
    let counts = json!({
        "roles": known.roles.len(),
        "issuers": known.issuers.len(),
        "trust_anchors": known.trust_anchors.len(),
        "profiles": known.profiles.len(),
        "containers": known.containers.len(),
        "secrets": known.secrets.len(),
        "parameters": known.parameters.len(),
    });
    Reply::json(StatusCode::OK, &counts)
}

fn sessions(core: &Core, order: &SessionOrder) -> Reply {
    if let Some(ms) = order.lifetime_ms {
        core.sessions.set_longest_ms(ms);
    }
    if order.rotate {
        core.sessions.rotate();
    }
    let ended = if order.expire { core.expire_sessions(order.role_arn.as_deref()) } else { 0 };
    Reply::json(StatusCode::OK, &json!({ "expired": ended, "lifetime_ms": core.sessions.longest_ms() }))
}

fn token(core: &Core, order: &TokenOrder) -> Reply {
    match core.own_issuer() {
        Ok(issuer) => {
            let expires_ms = core.clock.now_ms().saturating_add(i64::from(order.lifetime_s) * 1000);
            let token = issuer.token(&order.subject, &order.audience, moment(expires_ms));
            let answer = json!({ "issuer": issuer.url(), "token": token.expose(), "expires_ms": expires_ms });
            Reply::json(StatusCode::OK, &answer).with("cache-control", "no-store")
        }
        Err(e) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
    }
}

fn certificate(core: &Core, order: &CertificateOrder) -> Reply {
    let now_ms = core.clock.now_ms();
    let ends = moment(now_ms.saturating_add(i64::from(order.lifetime_s) * 1000));
    let made = core.own_anchor().and_then(|(anchor_arn, authority)| {
        Ok((anchor_arn, authority.issue_client(&order.common_name, moment(now_ms.saturating_sub(60_000)), ends)?))
    });
    match made {
        Ok((anchor_arn, (certificate_pem, key_pem))) => {
            let answer = json!({
                "trust_anchor_arn": anchor_arn,
                "certificate_pem": certificate_pem,
                "private_key_pem": key_pem.expose(),
            });
            Reply::json(StatusCode::OK, &answer).with("cache-control", "no-store")
        }
        Err(e) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
    }
}

fn identity(core: &Core, order: IdentityOrder) -> Reply {
    let mut identities = core.identities.write();
    if order.remove {
        let found = identities.remove(&order.access_key_id);
        return Reply::json(StatusCode::OK, &json!({ "removed": found }));
    }
    let known = identities.get(&order.access_key_id).cloned();
    let mut put = match (known, order.secret_access_key) {
        (_, Some(secret)) => Identity::user(order.access_key_id, secret),
        (Some(known), None) => known,
        (None, None) => {
            return refuse("a key that does not exist yet needs `secret_access_key`");
        }
    };
    if let Some(token) = order.session_token {
        put = put.with_session_token(token);
    }
    put.expires_at = order.expires_ms.map(moment).or(put.expires_at);
    put.valid_from = order.valid_from_ms.map(moment).or(put.valid_from);
    put.valid_until = order.valid_until_ms.map(moment).or(put.valid_until);
    put.is_active = order.active.unwrap_or(put.is_active);
    put.deny = order.deny.unwrap_or(put.deny);
    put.account_id = order.account_id.unwrap_or(put.account_id);
    put.arn = order.arn.unwrap_or(put.arn);
    put.allow = order.allow.unwrap_or(put.allow);
    identities.put(put);
    Reply::json(StatusCode::OK, &json!({ "keys": identities.list().len() }))
}
