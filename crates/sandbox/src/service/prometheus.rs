//! Plain Prometheus remote write: POST to any path that ends in `/api/v1/write` or `/api/v1/push`, without signature.

use http::{Method, StatusCode};

use super::{
    Asked, Call, Done, Service,
    aps::{refused, write},
};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    sigv4::Policy,
    target::Target,
};

pub(super) struct Prometheus;

impl Service for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Text
    }

    fn claims(&self, target: &Target) -> bool {
        target.aws.is_none() && (target.path.ends_with("/api/v1/write") || target.path.ends_with("/api/v1/push"))
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn policy(&self, _asked: &Asked<'_>) -> Option<Policy> {
        None
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST {
            return Ok(());
        }
        Err(ServiceError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "remote write is a POST"))
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        None
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let bad = |message: String| ServiceError::new(StatusCode::BAD_REQUEST, "BadRequest", message);
        let destination = format!("prometheus:{}", self.resource(&call.target));
        let stored = write(core, call, &destination).map_err(|e| bad(e.to_string()))?;
        match refused(&stored) {
            Some(message) => Err(ServiceError { stored: stored.samples, ..bad(message) }),
            None => Ok(Done::new(Reply::empty(StatusCode::NO_CONTENT), stored.samples)),
        }
    }
}
