//! Amazon Managed Service for Prometheus, remote write: `POST /workspaces/{id}/api/v1/remote_write`.
//!
//! Answers as the data plane does: 200 with an empty body; 400 after storing the good part; 403
//! `Missing Authentication Token` for any other path, a trailing slash included.

use http::{Method, StatusCode};

use super::{Call, Done, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    remote_write::{WriteError, check_headers, decompress},
    series::Stored,
    target::Target,
};

pub(super) struct Aps;

impl Service for Aps {
    fn name(&self) -> &'static str {
        "aps"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::RestJson
    }

    fn claims(&self, target: &Target) -> bool {
        match &target.aws {
            Some(aws) => aws.service == "aps-workspaces",
            None => target.path.starts_with("/workspaces/"),
        }
    }

    fn resource(&self, target: &Target) -> String {
        workspace(target).unwrap_or(&target.path).to_owned()
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST && workspace(target).is_some() {
            return Ok(());
        }
        // What the gateway in front of AMP says to every path and method it does not know.
        Err(ServiceError::new(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ))
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let arn = format!(
            "arn:aws:aps:{}:{}:workspace/{}",
            caller.region,
            caller.account_id,
            workspace(&call.target).unwrap_or_default()
        );
        Some(("aps:RemoteWrite".to_owned(), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        if call.headers.contains_key("x-scope-orgid") {
            return Err(bad("X-Scope-OrgID is not accepted: a workspace is one tenant"));
        }
        let workspace = workspace(&call.target).unwrap_or_default();
        let stored = write(core, call, &format!("aps:{workspace}")).map_err(|e| write_error(&e))?;
        match refused(&stored) {
            Some(message) => Err(ServiceError { stored: stored.samples, ..bad(message) }),
            None => Ok(Done::new(Reply::empty(StatusCode::OK), stored.samples)),
        }
    }
}

fn bad(message: impl Into<String>) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ValidationException", message)
}

fn write_error(error: &WriteError) -> ServiceError {
    let status = match error {
        WriteError::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        WriteError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    ServiceError { status, ..bad(error.to_string()) }
}

/// `{id}` of `/workspaces/{id}/api/v1/remote_write`.
fn workspace(target: &Target) -> Option<&str> {
    let id = target.path.strip_prefix("/workspaces/")?.strip_suffix("/api/v1/remote_write")?;
    let is_id =
        !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    is_id.then_some(id)
}

/// The part that all remote-write receivers share.
pub(super) fn write(core: &Core, call: &Call, destination: &str) -> Result<Stored, WriteError> {
    check_headers(&call.headers)?;
    let raw = decompress(&call.body, core.limits.decompressed)?;
    core.series.lock().ingest(destination, call.caller_arn(), call.now_ms, &raw)
}

/// What to tell the sender about refused samples, if there are any.
pub(super) fn refused(stored: &Stored) -> Option<String> {
    if stored.refused == 0 && stored.reasons.is_empty() {
        return None;
    }
    Some(format!("{} samples refused: {}", stored.refused, stored.reasons.join("; ")))
}
