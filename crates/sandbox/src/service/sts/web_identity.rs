//! `AssumeRoleWithWebIdentity`: whoever holds a good token of a trusted issuer becomes a role that trusts it.

use http::StatusCode;

use super::{Form, bad, full, reply, session_elements};
use crate::{
    answer::{ServiceError, escape},
    clock::basic_utc,
    core::Core,
    jwt::{self, Claims, TokenProblem},
    refusal::Refusal,
    service::{Call, Done},
    session::Grant,
    world::{Trust, fits},
};

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

pub(super) fn answer(core: &Core, call: &Call, form: &Form) -> Result<Done, ServiceError> {
    let role_arn = form.required("RoleArn")?;
    let session_name = form.session_name()?;
    let token = form.required("WebIdentityToken")?;
    form.refuse_unplayed()?;
    let issuers = core.world.read().issuers.clone();
    let claims = jwt::verify(token, &issuers, call.now_ms).map_err(|problem| disbelieve(&problem, call.now_ms))?;
    let role = core.world.read().role(role_arn).cloned();
    let what = match &role {
        None => Some("there is no such role".to_owned()),
        Some(role) => role
            .trust
            .iter()
            .map(|trust| lack(trust, &claims))
            .min_by_key(Option::is_some)
            .unwrap_or_else(|| Some("its trust policy is empty".to_owned())),
    };
    let (Some(role), None) = (&role, &what) else {
        let refusal = Refusal::NotTrusted {
            who: claims.subject,
            action: ACTION.to_owned(),
            role: role_arn.to_owned(),
            what: what.unwrap_or_default(),
        };
        let words = format!("Not authorized to perform {ACTION}");
        return Err(ServiceError::new(StatusCode::FORBIDDEN, "AccessDenied", words).because(refusal));
    };
    let seconds = form.duration_s(role.max_session_s)?;
    let grant = Grant { role, session_name, lifetime_ms: i64::from(seconds) * 1000, tags: Default::default() };
    let issued = core.issue(grant).map_err(full)?;
    let result = format!(
        "<SubjectFromWebIdentityToken>{}</SubjectFromWebIdentityToken>\n    <Audience>{}</Audience>\n    \
         <Provider>{}</Provider>\n    {}",
        escape(&claims.subject),
        escape(claims.audiences.first().map(String::as_str).unwrap_or_default()),
        escape(&claims.issuer),
        session_elements(&issued)
    );
    Ok(Done::from(reply(call, "AssumeRoleWithWebIdentity", &result)).by(issued.arn))
}

/// What one statement of a trust policy lacks; `None`: it lets the token in.
fn lack(trust: &Trust, claims: &Claims) -> Option<String> {
    let provider = |url: &str| url.trim_end_matches('/').to_owned();
    if trust.federated.as_deref().map(provider) != Some(provider(&claims.issuer)) {
        return Some("its trust policy does not name the token's issuer".to_owned());
    }
    if !fits(trust.subject.as_ref(), &claims.subject) {
        return Some(format!("its trust policy wants another subject than {}", claims.subject));
    }
    let is_meant = trust.audience.is_none() || claims.audiences.iter().any(|one| fits(trust.audience.as_ref(), one));
    (!is_meant).then(|| "its trust policy wants another audience".to_owned())
}

fn disbelieve(problem: &TokenProblem, now_ms: i64) -> ServiceError {
    let words = match problem {
        TokenProblem::Malformed(_) => {
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)".to_owned()
        }
        TokenProblem::Issuer(issuer) => format!("No OpenIDConnect provider found in your account for {issuer}"),
        TokenProblem::Key => "Couldn't retrieve verification key from your identity provider,  please reference \
                              AssumeRoleWithWebIdentity documentation for requirements"
            .to_owned(),
        TokenProblem::Signature => "Token signature invalid".to_owned(),
        TokenProblem::Expired(at) => format!(
            "Token expired: current date/time {} must be before the expiration date/time {at}",
            now_ms.div_euclid(1000)
        ),
        TokenProblem::NotYet(at) => {
            format!("Token is not valid before {}", basic_utc(at.saturating_mul(1000)))
        }
        TokenProblem::Audience(_) => "Incorrect token audience".to_owned(),
    };
    let code = match problem {
        TokenProblem::Expired(_) => "ExpiredTokenException",
        _ => "InvalidIdentityToken",
    };
    bad(code, words).because(Refusal::WebIdentity { what: problem.reason() })
}
