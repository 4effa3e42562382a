//! The instance metadata service of EC2, version 2 only: tokens, the role's credentials, region and instance id.
//!
//! Unsigned, on the paths under `/latest/`. Tokens hold their own end under a keyed hash, so none are kept. A hop limit
//! that is too low (the token's PUT is never answered) is played by a fault: service `imds`, resource `/latest/api/token`.

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::{Asked, Call, Done, SMALL_BODY, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    clock::iso_utc,
    config::Limits,
    core::Core,
    refusal::Refusal,
    sigv4::Policy,
    target::Target,
    world::Instance,
};

const TOKEN: &str = "/latest/api/token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Longest life of a token, in seconds.
const LONGEST_TTL: u32 = 21_600;

pub(super) struct InstanceMetadata;

impl Service for InstanceMetadata {
    fn name(&self) -> &'static str {
        "imds"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Text
    }

    fn claims(&self, target: &Target) -> bool {
        target.aws.is_none() && target.signed_for.is_none() && target.path.starts_with("/latest/")
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn gives_to_neighbours(&self) -> bool {
        true
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
        let path = call.target.path.as_str();
        if path == TOKEN {
            return token(core, call).map(Done::from);
        }
        if call.target.method != Method::GET {
            return Err(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
        }
        check_token(core, call)?;
        let instance = core.world.read().instance.clone();
        let text = match (path.trim_end_matches('/'), instance) {
            ("/latest/meta-data", _) => "iam/\ninstance-id\nplacement/".to_owned(),
            (ROLES, Some(instance)) => role_name(&instance).to_owned(),
            ("/latest/meta-data/instance-id", Some(instance)) => instance.instance_id,
            ("/latest/meta-data/placement/region", Some(instance)) => instance.region,
            ("/latest/meta-data/placement/availability-zone", Some(instance)) => format!("{}a", instance.region),
            ("/latest/dynamic/instance-identity/document", Some(instance)) => json!({
                "accountId": crate::arn::Arn::read(&instance.role_arn).map(|arn| arn.account),
                "instanceId": instance.instance_id,
                "region": instance.region,
                "availabilityZone": format!("{}a", instance.region),
            })
            .to_string(),
            (path, Some(instance)) if path.strip_prefix(ROLES) == Some(&format!("/{}", role_name(&instance))) => {
                credentials(core, call, &instance)?
            }
            _ => return Err(error(StatusCode::NOT_FOUND, "Not Found")),
        };
        Ok(Reply::text(StatusCode::OK, text).into())
    }
}

fn role_name(instance: &Instance) -> &str {
    crate::arn::Arn::read(&instance.role_arn).and_then(|arn| arn.role_name()).unwrap_or_default()
}

fn error(status: StatusCode, message: &str) -> ServiceError {
    ServiceError::new(status, "", message)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `PUT /latest/api/token`.
fn token(core: &Core, call: &Call) -> Result<Reply, ServiceError> {
    if call.target.method != Method::PUT {
        return Err(error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"));
    }
    // A request that came through a proxy is not the instance's own.
    if call.headers.contains_key("x-forwarded-for") {
        return Err(error(StatusCode::FORBIDDEN, "Forbidden"));
    }
    let seconds = header(&call.headers, TTL)
        .and_then(|text| text.trim().parse::<u32>().ok())
        .filter(|seconds| (1..=LONGEST_TTL).contains(seconds))
        .ok_or_else(|| error(StatusCode::BAD_REQUEST, "Bad Request"))?;
    let expires_ms = call.now_ms.saturating_add(i64::from(seconds) * 1000);
    let token = core.seal.seal(expires_ms);
    Ok(Reply::text(StatusCode::OK, token).with(TTL, &seconds.to_string()))
}

fn check_token(core: &Core, call: &Call) -> Result<(), ServiceError> {
    let what = match header(&call.headers, "x-aws-ec2-metadata-token") {
        None => "the metadata token is missing (version 2 needs one)",
        Some(token) => match core.seal.open(token) {
            None => "the metadata token is not one of this service",
            Some(expires_ms) if expires_ms <= call.now_ms => "the metadata token has ended",
            Some(_) => return Ok(()),
        },
    };
    Err(error(StatusCode::UNAUTHORIZED, "Unauthorized").because(Refusal::BearerToken { what: what.to_owned() }))
}

fn credentials(core: &Core, call: &Call, instance: &Instance) -> Result<String, ServiceError> {
    let role = core.world.read().role(&instance.role_arn).cloned();
    let Some(role) = role.filter(|role| role.trusts_service("ec2.amazonaws.com")) else {
        // As the service says it: with 200, and no credentials.
        return Ok(json!({
            "Code": "AssumeRoleUnauthorizedAccess",
            "Message": format!(
                "EC2 cannot assume the role {}. Please see documentation at https://docs.aws.amazon.com/IAM/latest/\
                 UserGuide/troubleshoot_iam-ec2.html#troubleshoot_iam-ec2_errors-info-doc.",
                role_name(instance)
            ),
            "LastUpdated": iso_utc(call.now_ms),
        })
        .to_string());
    };
    let issued = core
        .document("instance", &role, &instance.instance_id)
        .map_err(|e| error(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()))?;
    Ok(json!({
        "Code": "Success",
        "LastUpdated": iso_utc(issued.issued_ms),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret.expose(),
        "Token": issued.token.expose(),
        "Expiration": issued.expiration(),
    })
    .to_string())
}
