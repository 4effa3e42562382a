//! The credentials endpoint of containers: ECS (`/v2/credentials/ID`) and EKS Pod Identity (`/v1/credentials`, which
//! tells pods apart by their token).
//!
//! Errors are those of the ECS agent and of the EKS Pod Identity agent (statuses and sentences from its source).

use http::{Method, StatusCode};
use serde_json::json;

use super::{Asked, Call, Done, SMALL_BODY, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    config::Limits,
    core::Core,
    identity::equal_in_constant_time,
    refusal::Refusal,
    sigv4::Policy,
    target::Target,
    world::Container,
};

const POD: &str = "/v1/credentials";
const TASK: &str = "/v2/credentials/";

pub(super) struct ContainerCredentials;

impl Service for ContainerCredentials {
    fn name(&self) -> &'static str {
        "container"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Text
    }

    fn claims(&self, target: &Target) -> bool {
        let is_path = target.path == POD || target.path.starts_with(TASK);
        is_path && target.aws.is_none() && target.signed_for.is_none()
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
        if call.target.method != Method::GET {
            return Err(error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"));
        }
        let container = find(core, call)?;
        let is_pod = container.path == POD;
        let role = core.world.read().role(&container.role_arn).cloned();
        let service = if is_pod { "pods.eks.amazonaws.com" } else { "ecs-tasks.amazonaws.com" };
        let Some(role) = role.filter(|role| role.trusts_service(service)) else {
            let what = format!("the role {} does not exist or does not trust {service}", container.role_arn);
            let words = agent_words(
                call,
                "AccessDeniedException",
                "Unauthorized Exception! EKS does not have permissions to assume the associated role.",
            );
            return Err(error(StatusCode::BAD_REQUEST, &words).because(Refusal::NotTrusted {
                who: service.to_owned(),
                action: "sts:AssumeRole".to_owned(),
                role: container.role_arn,
                what,
            }));
        };
        // Not by token: a pod whose token was renewed is the same pod.
        let place = format!("{} {} {}", container.path, container.role_arn, container.session_name);
        let issued = core
            .document(&place, &role, &container.session_name)
            .map_err(|e| error(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()))?;
        let document = json!({
            "AccessKeyId": issued.access_key_id,
            "SecretAccessKey": issued.secret.expose(),
            "Token": issued.token.expose(),
            "Expiration": issued.expiration(),
            "AccountId": issued.account_id,
            "RoleArn": issued.role_arn,
        });
        Ok(Reply::json(StatusCode::OK, &document).into())
    }
}

fn error(status: StatusCode, message: &str) -> ServiceError {
    ServiceError::new(status, "", message)
}

/// `[request id]: (Code): message, fault: client`, as the agent passes on what EKS said.
fn agent_words(call: &Call, code: &str, message: &str) -> String {
    format!("[{}]: ({code}): {message}, fault: client", call.request_id)
}

/// The container that calls.
fn find(core: &Core, call: &Call) -> Result<Container, ServiceError> {
    let path = call.target.path.as_str();
    let given = call.headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let containers: Vec<Container> =
        core.world.read().containers.iter().filter(|container| container.path == path).cloned().collect();
    if path == POD && given.is_empty() {
        let refusal = Refusal::BearerToken { what: "the pod's token is missing".to_owned() };
        return Err(error(StatusCode::BAD_REQUEST, "Service account token cannot be empty").because(refusal));
    }
    let mut matching = containers.iter().filter(|container| match &container.token {
        Some(token) => equal_in_constant_time(token.expose().as_bytes(), given.as_bytes()),
        None => true,
    });
    if let Some(container) = matching.next() {
        return Ok(container.clone());
    }
    if path == POD {
        let words = agent_words(
            call,
            "InvalidTokenException",
            "The token included in the request is invalid or not from a known cluster.",
        );
        let refusal = Refusal::BearerToken { what: "the pod's token belongs to no container".to_owned() };
        return Err(error(StatusCode::BAD_REQUEST, &words).because(refusal));
    }
    if containers.is_empty() {
        let body = json!({
            "code": "InvalidIdInRequest",
            "message": "CredentialsV2Request: Credentials not found",
            "HTTPErrorCode": 400,
        });
        return Err(error(StatusCode::BAD_REQUEST, &body.to_string()));
    }
    let refusal = Refusal::BearerToken { what: "the container's token is missing or another's".to_owned() };
    Err(error(StatusCode::UNAUTHORIZED, "Unauthorized").because(refusal))
}
