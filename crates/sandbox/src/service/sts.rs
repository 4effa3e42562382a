//! AWS Security Token Service: `GetCallerIdentity` (query protocol, API version 2011-06-15).

use http::StatusCode;

use super::{Call, Done, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError, escape},
    core::Core,
    sigv4::decode_query,
    target::Target,
};

pub(super) struct Sts;

impl Service for Sts {
    fn name(&self) -> &'static str {
        "sts"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::QueryXml
    }

    fn claims(&self, target: &Target) -> bool {
        match &target.aws {
            Some(aws) => aws.service == "sts",
            None => {
                target.signed_for.as_deref() == Some("sts")
                    || (target.method == http::Method::POST && target.path == "/" && target.signed_for.is_none())
            }
        }
    }

    fn resource(&self, _target: &Target) -> String {
        String::new()
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        // GetCallerIdentity needs no permission, not even against an explicit deny.
        None
    }

    fn answer(&self, _core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let body = String::from_utf8_lossy(&call.body);
        let parameters = if call.body.is_empty() { call.target.query.as_str() } else { body.as_ref() };
        let find = |wanted: &str| {
            let (_, value) = decode_query(parameters).find(|(name, _)| name == wanted.as_bytes())?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let action = find("Action").unwrap_or_default();
        if action != "GetCallerIdentity" {
            return Err(ServiceError::new(
                StatusCode::BAD_REQUEST,
                "InvalidAction",
                format!("Could not find operation {} for version 2011-06-15", crate::refusal::shown(&action)),
            ));
        }
        let Some(caller) = &call.caller else {
            return Err(ServiceError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "no caller"));
        };
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
             <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    <UserId>{}</UserId>\n    <Account>{}</Account>\n  \
             </GetCallerIdentityResult>\n  <ResponseMetadata>\n    <RequestId>{}</RequestId>\n  \
             </ResponseMetadata>\n</GetCallerIdentityResponse>\n",
            escape(&caller.arn),
            escape(&caller.user_id),
            escape(&caller.account_id),
            call.request_id
        );
        Ok(Reply::new(StatusCode::OK, "text/xml", body).into())
    }
}
