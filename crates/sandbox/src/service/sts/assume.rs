//! `AssumeRole`: a signed caller becomes a role that trusts it.

use super::{Form, bad, full, no_caller, not_trusted, reply, session_elements};
use crate::{
    answer::ServiceError,
    arn::{Arn, is_account},
    core::Core,
    identity::Permission,
    refusal::Refusal,
    service::{Call, Caller, Done},
    session::Grant,
    world::{Role, Trust},
};

const ACTION: &str = "sts:AssumeRole";
/// What role chaining allows at most, in seconds.
const CHAINED_S: u32 = 3600;

pub(super) fn answer(core: &Core, call: &Call, form: &Form) -> Result<Done, ServiceError> {
    let caller = call.caller.as_ref().ok_or_else(no_caller)?;
    let role_arn = form.required("RoleArn")?;
    let session_name = form.session_name()?;
    let external_id = form.external_id()?;
    let tags = form.tags()?;
    form.refuse_unplayed()?;
    if Arn::read(role_arn).is_none() {
        return Err(bad("ValidationError", format!("{} is invalid", crate::refusal::shown(role_arn))));
    }
    let refuse = |action: &str, what: String| {
        let refusal =
            Refusal::NotTrusted { who: caller.arn.clone(), action: action.to_owned(), role: role_arn.to_owned(), what };
        not_trusted(call, refusal)
    };
    let role = core.world.read().role(role_arn).cloned();
    // STS does not tell whether a role exists.
    let role = role.ok_or_else(|| refuse(ACTION, "there is no such role".to_owned()))?;
    let caller_role = core.identities.read().get(&caller.access_key_id).and_then(|known| known.role_arn.clone());
    may_assume(core, caller, caller_role.as_deref(), &role, external_id).map_err(|what| refuse(ACTION, what))?;
    if !tags.is_empty() && core.permission(&caller.access_key_id, "sts:TagSession") != Permission::Granted {
        return Err(refuse("sts:TagSession", "no policy of the caller allows tagging sessions".to_owned()));
    }
    let seconds = match caller_role {
        None => form.duration_s(role.max_session_s)?,
        Some(_) => {
            let seconds = form.duration_s(role.max_session_s)?;
            if seconds > CHAINED_S {
                return Err(bad(
                    "ValidationError",
                    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
                ));
            }
            seconds
        }
    };
    let grant = Grant { role: &role, session_name, lifetime_ms: i64::from(seconds) * 1000, tags };
    let issued = core.issue(grant).map_err(full)?;
    Ok(reply(call, "AssumeRole", &session_elements(&issued)).into())
}

/// Whether a trust policy lets the caller in, and the caller's own policies let it go.
fn may_assume(
    core: &Core,
    caller: &Caller,
    caller_role: Option<&str>,
    role: &Role,
    external_id: Option<&str>,
) -> Result<(), String> {
    let named: Vec<(&Trust, Named)> = role
        .trust
        .iter()
        .filter_map(|trust| Some((trust, names(trust.aws.as_deref()?, caller, caller_role)?)))
        .collect();
    if named.is_empty() {
        return Err("its trust policy does not name the caller".to_owned());
    }
    let (_, how) = named
        .into_iter()
        .filter(|(trust, _)| trust.external_id.is_none() || trust.external_id.as_deref() == external_id)
        .max_by_key(|(_, how)| *how)
        .ok_or("its trust policy names the caller, with another external id")?;
    let is_own_account = role.account() == caller.account_id;
    match (core.permission(&caller.access_key_id, ACTION), how, is_own_account) {
        (Permission::Denied, ..) => Err("a policy of the caller denies it".to_owned()),
        (Permission::Granted, ..) | (_, Named::Itself, true) => Ok(()),
        (Permission::Missing, ..) => Err("no policy of the caller allows it".to_owned()),
    }
}

/// How a trust policy names a caller. The last one makes do without a policy of the caller's own, within one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    ByAccount,
    Itself,
}

fn names(principal: &str, caller: &Caller, caller_role: Option<&str>) -> Option<Named> {
    let account = match Arn::read(principal) {
        Some(arn) if arn.service == "iam" && arn.resource == "root" => arn.account,
        _ => principal,
    };
    if principal == "*" || (is_account(account) && account == caller.account_id) {
        return Some(Named::ByAccount);
    }
    (principal == caller.arn || caller_role == Some(principal)).then_some(Named::Itself)
}
