//! AWS Security Token Service (query protocol, API version 2011-06-15): `GetCallerIdentity`, `AssumeRole` and
//! `AssumeRoleWithWebIdentity`. Not played: SAML, federation tokens, MFA, session policies.
//!
//! Keeps true: a session is given out only after the caller was proved and the role's trust policy, with all its
//! conditions, was found to let it in.

mod assume;
mod form;
mod web_identity;

use http::StatusCode;

use self::form::Form;
use super::{Asked, Call, Done, SMALL_BODY, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError, escape, refusal_error},
    config::Limits,
    core::Core,
    refusal::Refusal,
    session::Issued,
    sigv4::Policy,
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
                let is_unsigned_form =
                    target.method == http::Method::POST && target.path == "/" && target.signed_for.is_none();
                target.operation.is_none() && (target.signed_for.as_deref() == Some("sts") || is_unsigned_form)
            }
        }
    }

    fn resource(&self, _target: &Target) -> String {
        String::new()
    }

    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        // The token proves who calls; a signature, should there be one, is not looked at.
        let is_unsigned = Form::read(asked.target, asked.body).action() == "AssumeRoleWithWebIdentity";
        (!is_unsigned).then(|| Policy::common("sts", asked.region.clone()))
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body.min(SMALL_BODY)
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        // GetCallerIdentity needs no permission, not even against an explicit deny; AssumeRole has its own rules.
        None
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let form = Form::read(&call.target, &call.body);
        match form.action() {
            "GetCallerIdentity" => who(call).map(Done::from),
            "AssumeRole" => assume::answer(core, call, &form),
            "AssumeRoleWithWebIdentity" => web_identity::answer(core, call, &form),
            other => Err(bad(
                "InvalidAction",
                format!("Could not find operation {} for version 2011-06-15", crate::refusal::shown(other)),
            )),
        }
    }
}

fn who(call: &Call) -> Result<Reply, ServiceError> {
    let caller = call.caller.as_ref().ok_or_else(no_caller)?;
    let result = format!(
        "<Arn>{}</Arn>\n    <UserId>{}</UserId>\n    <Account>{}</Account>",
        escape(&caller.arn),
        escape(&caller.user_id),
        escape(&caller.account_id)
    );
    Ok(reply(call, "GetCallerIdentity", &result))
}

/// An answer with this inside its result element.
fn reply(call: &Call, action: &str, result: &str) -> Reply {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <{action}Result>\n    {result}\n  \
         </{action}Result>\n  <ResponseMetadata>\n    <RequestId>{}</RequestId>\n  </ResponseMetadata>\n\
         </{action}Response>\n",
        call.request_id
    );
    Reply::new(StatusCode::OK, "text/xml", body)
}

/// The elements that both ways of assuming a role answer with.
fn session_elements(issued: &Issued) -> String {
    format!(
        "<AssumedRoleUser>\n      <AssumedRoleId>{}</AssumedRoleId>\n      <Arn>{}</Arn>\n    </AssumedRoleUser>\n    \
         <Credentials>\n      <AccessKeyId>{}</AccessKeyId>\n      <SecretAccessKey>{}</SecretAccessKey>\n      \
         <SessionToken>{}</SessionToken>\n      <Expiration>{}</Expiration>\n    </Credentials>",
        escape(&issued.user_id),
        escape(&issued.arn),
        issued.access_key_id,
        escape(issued.secret.expose()),
        escape(issued.token.expose()),
        issued.expiration()
    )
}

/// A role that does not let the caller in, in the words of STS.
fn not_trusted(call: &Call, refusal: Refusal) -> ServiceError {
    refusal_error(&refusal, ErrorStyle::QueryXml, call.now_ms).because(refusal)
}

fn bad(code: &str, message: impl Into<String>) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, code, message)
}

fn no_caller() -> ServiceError {
    ServiceError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "no caller")
}

fn full(error: crate::session::NoSession) -> ServiceError {
    ServiceError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", error.to_string())
}
