//! AWS Secrets Manager: `GetSecretValue` (JSON protocol 1.1).

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Call, Done, SMALL_BODY, Service, json11, json11::Operation};
use crate::{
    answer::{ErrorStyle, ServiceError},
    arn::Arn,
    config::Limits,
    core::Core,
    sigv4::sha256_hex,
    target::Target,
    world::StoredSecret,
};

pub(super) struct SecretsManager;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
    version_stage: Option<String>,
    version_id: Option<String>,
}

impl Service for SecretsManager {
    fn name(&self) -> &'static str {
        "secretsmanager"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn claims(&self, target: &Target) -> bool {
        json11::claims(target, "secretsmanager", "secretsmanager.")
    }

    fn resource(&self, target: &Target) -> String {
        Operation::of(target).name.to_owned()
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body.min(SMALL_BODY)
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let wanted = json11::names(call).secret_id.unwrap_or_default();
        let arn = match Arn::read(&wanted) {
            Some(_) => wanted,
            None => format!("arn:aws:secretsmanager:{}:{}:secret:{wanted}", caller.region, caller.account_id),
        };
        Some((format!("secretsmanager:{}", Operation::of(&call.target).name), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let name = Operation::of(&call.target).name;
        if name != "GetSecretValue" {
            return Err(json11::unknown_operation(name));
        }
        let asked: GetSecretValue = json11::body(call)?;
        let caller = call.caller.as_ref().ok_or_else(json11::no_caller)?;
        let region = caller.region.as_str();
        let secrets = core.world.read().secrets.clone();
        let secret = secrets.iter().find(|secret| is_meant(secret, &asked.secret_id, &caller.account_id, region));
        let missing = |what: &str| {
            ServiceError::new(
                StatusCode::BAD_REQUEST,
                "ResourceNotFoundException",
                format!("Secrets Manager can't find the specified secret{what}."),
            )
        };
        let secret = secret.ok_or_else(|| missing(""))?;
        if secret.deleted {
            return Err(ServiceError::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
            ));
        }
        let stage = asked.version_stage.as_deref().unwrap_or("AWSCURRENT");
        let (text, binary) = match stage {
            "AWSCURRENT" => (secret.value.as_ref(), secret.binary.as_ref()),
            "AWSPREVIOUS" => (secret.previous.as_ref(), None),
            _ => (None, None),
        };
        let Some(content) = text.or(binary) else {
            return Err(missing(&format!(" value for staging label: {}", crate::refusal::shown(stage))));
        };
        let version = version_id(content.expose());
        if asked.version_id.as_ref().is_some_and(|wanted| *wanted != version) {
            return Err(missing(" value for the version"));
        }
        let mut answer = json!({
            "ARN": arn_of(secret, region),
            "Name": secret.name,
            "VersionId": version,
            "VersionStages": [stage],
            "CreatedDate": json11::seconds(call.now_ms),
        });
        match (text, binary) {
            (Some(text), _) => json11::set(&mut answer, "SecretString", json!(text.expose())),
            // Read once and written again, so that what goes out is canonical base64.
            (None, Some(binary)) => {
                let bytes = BASE64_STANDARD.decode(binary.expose()).unwrap_or_default();
                json11::set(&mut answer, "SecretBinary", json!(BASE64_STANDARD.encode(bytes)));
            }
            (None, None) => {}
        }
        Ok(json11::reply(&answer).into())
    }
}

/// By name within the caller's account, by whole ARN, or by ARN without the six random characters.
fn is_meant(secret: &StoredSecret, id: &str, account: &str, region: &str) -> bool {
    let arn = arn_of(secret, region);
    let partial = arn.rsplit_once('-').map(|(start, _)| start);
    (secret.name == id && secret.account_id == account) || arn == id || partial == Some(id)
}

fn arn_of(secret: &StoredSecret, region: &str) -> String {
    let suffix: String = sha256_hex(secret.name.as_bytes()).chars().take(6).collect();
    format!("arn:aws:secretsmanager:{region}:{}:secret:{}-{suffix}", secret.account_id, secret.name)
}

/// The shape of a UUID, the same for the same content. Not reversible.
fn version_id(content: &str) -> String {
    let digest = sha256_hex(format!("version {content}").as_bytes());
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}
