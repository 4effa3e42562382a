//! The sandbox's own face over HTTP: the page at `/`, and the control API under `/_sandbox/`.
//!
//! `GET state?series=N&objects=N&metric=NAME`, `GET samples?metric=NAME&destination=D`, `POST faults` (one fault or a
//! list), `DELETE faults`, `POST identities`, `POST clock {"skew_ms": N}`, `POST reset`. JSON in and out. No secret is
//! ever given out. For users: docs/reference/sandbox.md.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::Reply,
    core::{Core, Scope},
    fault::Fault,
    identity::Identity,
    order::{hushed, read, read_list, refuse},
    page,
    target::Target,
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
    expires_ms: Option<u64>,
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
            let (destination, metric) = (target.parameter("destination"), target.parameter("metric"));
            let dump = core.series.lock().dump(destination.as_deref(), metric.as_deref());
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
        | "/_sandbox/faults"
        | "/_sandbox/identities"
        | "/_sandbox/clock"
        | "/_sandbox/reset" => Reply::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "state and samples are read with GET, the rest is POST (and DELETE faults); see docs/reference/sandbox.md\n",
        ),
        _ => Reply::text(
            StatusCode::NOT_FOUND,
            "/_sandbox/ has: state, samples, faults, identities, clock, reset; see docs/reference/sandbox.md\n",
        ),
    }
}

fn state(core: &Core, target: &Target) -> Reply {
    let number =
        |name: &str| target.parameter(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(SHOWN).min(MOST);
    let scope = Scope { series: number("series"), objects: number("objects"), metric: target.parameter("metric") };
    Reply::json(StatusCode::OK, &core.state(&scope)).with("cache-control", "no-store")
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
    if let Some(at) =
        order.expires_ms.and_then(|ms| std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms)))
    {
        put = put.expiring_at(at);
    }
    put.account_id = order.account_id.unwrap_or(put.account_id);
    put.arn = order.arn.unwrap_or(put.arn);
    put.allow = order.allow.unwrap_or(put.allow);
    identities.put(put);
    Reply::json(StatusCode::OK, &json!({ "keys": identities.list().len() }))
}
