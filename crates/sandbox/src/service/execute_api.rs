//! Amazon API Gateway with IAM authorization in front of a receiver: what is signed for `execute-api` is passed on to
//! remote write or Loki by its path. Unknown paths and verbs get the gateway's `Missing Authentication Token`.

use http::{Method, StatusCode};

use super::{Call, Done, Service, aps, loki};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    target::Target,
};

pub(super) struct ExecuteApi;

impl Service for ExecuteApi {
    fn name(&self) -> &'static str {
        "execute-api"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::RestJson
    }

    fn claims(&self, target: &Target) -> bool {
        match &target.aws {
            Some(aws) => aws.service == "execute-api",
            None => target.signed_for.as_deref() == Some("execute-api"),
        }
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST && receiver(&target.path).is_some() {
            return Ok(());
        }
        Err(ServiceError::new(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ))
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let api =
            call.target.aws.as_ref().map(|aws| aws.prefix.as_str()).filter(|id| !id.is_empty()).unwrap_or("sandbox");
        let mut parts = call.target.path.trim_start_matches('/').splitn(2, '/');
        let (stage, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let arn = format!(
            "arn:aws:execute-api:{}:{}:{api}/{stage}/{}/{rest}",
            caller.region, caller.account_id, call.target.method
        );
        Some(("execute-api:Invoke".to_owned(), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        if receiver(&call.target.path) == Some(Receiver::Loki) {
            return loki::push(core, call).map(Done::from);
        }
        let bad = |message: String| ServiceError::new(StatusCode::BAD_REQUEST, "BadRequest", message);
        let destination = format!("execute-api:{}", crate::refusal::shown(&call.target.path));
        let stored = aps::write(core, call, &destination).map_err(|e| bad(e.to_string()))?;
        match aps::refused(&stored) {
            Some(message) => Err(ServiceError { stored: stored.samples, ..bad(message) }),
            None => Ok(Done::new(Reply::empty(StatusCode::OK), stored.samples)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    RemoteWrite,
    Loki,
}

fn receiver(path: &str) -> Option<Receiver> {
    if path.ends_with("/loki/api/v1/push") {
        return Some(Receiver::Loki);
    }
    let is_write = ["/api/v1/write", "/api/v1/push", "/api/v1/remote_write"].iter().any(|end| path.ends_with(end));
    is_write.then_some(Receiver::RemoteWrite)
}
