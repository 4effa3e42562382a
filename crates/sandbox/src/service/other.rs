//! Services that are not played: their signatures are verified all the same, then they are told so.

use http::StatusCode;

use super::{Asked, Call, Done, Service};
use crate::{
    answer::{ErrorStyle, ServiceError},
    core::Core,
    sigv4::Policy,
    target::Target,
};

pub(super) struct Other;

impl Service for Other {
    fn name(&self) -> &'static str {
        "other"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn claims(&self, target: &Target) -> bool {
        target.aws.is_some() || target.signed_for.is_some()
    }

    fn resource(&self, target: &Target) -> String {
        let service = target.signed_for.as_deref().or(target.aws.as_ref().map(|aws| aws.service.as_str()));
        crate::refusal::shown(service.unwrap_or_default())
    }

    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        Some(Policy { service: None, ..Policy::common("", asked.region.clone()) })
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        None
    }

    fn answer(&self, _core: &Core, call: &Call) -> Result<Done, ServiceError> {
        // A server error, so that a sender keeps its data.
        Err(ServiceError::new(
            StatusCode::NOT_IMPLEMENTED,
            "UnknownOperationException",
            format!("the signature is good, but the sandbox does not play '{}'", self.resource(&call.target)),
        ))
    }
}
