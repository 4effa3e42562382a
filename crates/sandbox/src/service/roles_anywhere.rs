//! IAM Roles Anywhere: `CreateSession`, `POST /sessions` signed with the key of an X.509 certificate.
//!
//! Keeps true: a session is given out only when the signature is the certificate's, the certificate comes from the trust
//! anchor named, anchor and profile are enabled, the profile has the role, and the role trusts the service.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Asked, Call, Done, SMALL_BODY, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError, refusal_error},
    arn::Arn,
    config::Limits,
    core::Core,
    refusal::{Refusal, shown},
    session::Grant,
    sigv4::{Policy, SignedRequest, sha256_hex, verify_with_certificate},
    target::Target,
    world::{AnywhereProfile, Role, TrustAnchor, fits},
    x509::{self, Proved},
};

const SERVICE: &str = "rolesanywhere.amazonaws.com";
/// The bounds of a session, in seconds.
const DURATIONS: std::ops::RangeInclusive<u32> = 900..=43_200;

pub(super) struct RolesAnywhere;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    duration_seconds: Option<u32>,
    role_session_name: Option<String>,
    profile_arn: Option<String>,
    role_arn: Option<String>,
    trust_anchor_arn: Option<String>,
}

impl Service for RolesAnywhere {
    fn name(&self) -> &'static str {
        "rolesanywhere"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::RestJson
    }

    fn claims(&self, target: &Target) -> bool {
        match &target.aws {
            Some(aws) => aws.service == "rolesanywhere",
            None => {
                let is_session = target.method == Method::POST && target.path == "/sessions";
                target.signed_for.as_deref() == Some("rolesanywhere") || is_session
            }
        }
    }

    fn resource(&self, target: &Target) -> String {
        shown(&target.parameter("trustAnchorArn").unwrap_or_default())
    }

    fn policy(&self, _asked: &Asked<'_>) -> Option<Policy> {
        // Not an access key's signature; see `answer`.
        None
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST && target.path == "/sessions" {
            return Ok(());
        }
        Err(ServiceError::new(StatusCode::NOT_FOUND, "UnknownOperationException", "only POST /sessions is played"))
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body.min(SMALL_BODY)
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        None
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let body: Body = match call.body.is_empty() {
            true => Body::default(),
            false => {
                serde_json::from_slice(&call.body).map_err(|_| invalid("the body is not JSON of a CreateSession"))?
            }
        };
        let parameter = |name: &str, in_body: Option<String>| {
            call.target.parameter(name).or(in_body).ok_or_else(|| invalid(&format!("{name} is missing")))
        };
        let anchor_arn = parameter("trustAnchorArn", body.trust_anchor_arn)?;
        let profile_arn = parameter("profileArn", body.profile_arn)?;
        let role_arn = parameter("roleArn", body.role_arn)?;
        let region = Arn::read(&anchor_arn).map(|arn| arn.region.to_owned());
        let signed = SignedRequest {
            method: call.target.method.as_str(),
            path: &call.target.path,
            query: &call.target.query,
            headers: &call.headers,
            host: &call.target.host,
            body_sha256: &sha256_hex(&call.body),
        };
        let refuse = |refusal: Refusal| refusal_error(&refusal, ErrorStyle::RestJson, call.now_ms).because(refusal);
        let (claim, holder) =
            verify_with_certificate(&signed, &Policy::common("rolesanywhere", region), call.now_ms).map_err(refuse)?;
        let (anchor, profile, role) = {
            let world = core.world.read();
            let anchor = world.trust_anchors.iter().find(|anchor| anchor.arn == anchor_arn).cloned();
            let profile = world.profiles.iter().find(|profile| profile.arn == profile_arn).cloned();
            (anchor, profile, world.role(&role_arn).cloned())
        };
        let anchor = anchor.ok_or_else(|| missing("Trust anchor", &anchor_arn))?;
        let untrusted = |what: &str| refuse(Refusal::Certificate { what: what.to_owned() });
        let proved = x509::prove(&holder.leaf, &holder.chain, &anchor.certificate_pem, call.now_ms)
            .map_err(|what| untrusted(&format!("Untrusted certificate. {what}")))?;
        if proved.serial_decimal != claim.access_key_id {
            return Err(untrusted("the credential's serial number is not that of the certificate, in decimal"));
        }
        let profile = profile.ok_or_else(|| missing("Profile", &profile_arn))?;
        let role = may_become(&anchor, &profile, role, &role_arn, &proved).map_err(|what| {
            let who = format!("CN={}", proved.common_name);
            let words = format!("Unable to assume role for {role_arn}");
            let refusal =
                Refusal::NotTrusted { who, action: "sts:AssumeRole".to_owned(), role: role_arn.clone(), what };
            ServiceError::new(StatusCode::FORBIDDEN, "AccessDeniedException", words).because(refusal)
        })?;
        let session_name = match body.role_session_name {
            None => proved.serial_hex.clone(),
            Some(_) if !profile.accepts_session_name => {
                return Err(invalid("the profile does not accept a custom role session name"));
            }
            Some(name) => {
                let is_name = (2..=64).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
                if !is_name {
                    return Err(invalid("roleSessionName must be 2 to 64 of [a-zA-Z0-9_+=,.@-]"));
                }
                name
            }
        };
        let longest = profile.duration_s.min(role.max_session_s);
        let seconds = body.duration_seconds.unwrap_or(longest);
        if body.duration_seconds.is_some() && (!DURATIONS.contains(&seconds) || seconds > profile.duration_s) {
            return Err(invalid(&format!(
                "durationSeconds must be from 900 to 43200, and at most the profile's {}",
                profile.duration_s
            )));
        }
        if seconds > role.max_session_s {
            return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
        }
        let grant = Grant {
            role: &role,
            session_name: &session_name,
            lifetime_ms: i64::from(seconds) * 1000,
            tags: [("x509Subject/CN".to_owned(), proved.common_name.clone())].into(),
        };
        let issued = core
            .issue(grant)
            .map_err(|e| ServiceError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", e.to_string()))?;
        let subject = subject_arn(&anchor_arn, &proved);
        let answer = json!({
            "credentialSet": [{
                "assumedRoleUser": { "arn": issued.arn, "assumedRoleId": issued.user_id },
                "credentials": {
                    "accessKeyId": issued.access_key_id,
                    "secretAccessKey": issued.secret.expose(),
                    "sessionToken": issued.token.expose(),
                    "expiration": issued.expiration(),
                },
                "packedPolicySize": 0,
                "roleArn": role_arn,
                "sourceIdentity": format!("CN={}", proved.common_name),
            }],
            "subjectArn": subject,
        });
        Ok(Done::from(Reply::json(StatusCode::CREATED, &answer)).by(subject))
    }
}

/// Whether anchor, profile and role let a proved certificate in.
fn may_become(
    anchor: &TrustAnchor,
    profile: &AnywhereProfile,
    role: Option<Role>,
    role_arn: &str,
    proved: &Proved,
) -> Result<Role, String> {
    if !anchor.enabled {
        return Err("the trust anchor is disabled".to_owned());
    }
    if !profile.enabled {
        return Err("the profile is disabled".to_owned());
    }
    if !profile.roles.iter().any(|arn| arn == role_arn) {
        return Err("the profile does not have this role".to_owned());
    }
    let role = role.ok_or("there is no such role")?;
    let mut statements = role.trust.iter().filter(|trust| trust.service.as_deref() == Some(SERVICE)).peekable();
    if statements.peek().is_none() {
        return Err(format!("its trust policy does not name {SERVICE}"));
    }
    let lets_in = statements.any(|trust| {
        fits(trust.source_arn.as_ref(), &anchor.arn) && fits(trust.common_name.as_ref(), &proved.common_name)
    });
    if lets_in { Ok(role) } else { Err("its trust policy wants another trust anchor or common name".to_owned()) }
}

fn subject_arn(anchor_arn: &str, proved: &Proved) -> String {
    let (region, account) = Arn::read(anchor_arn).map_or(("", ""), |arn| (arn.region, arn.account));
    let id: String = sha256_hex(proved.serial_hex.as_bytes()).chars().take(12).collect();
    format!("arn:aws:rolesanywhere:{region}:{account}:subject/00000000-0000-4000-8000-{id}")
}

fn invalid(message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ValidationException", message)
}

fn missing(what: &str, arn: &str) -> ServiceError {
    ServiceError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("{what} not found: {}", shown(arn)))
}
