//! What there is to tell about one destination's identity: every source considered, in order, and what came of it.
//!
//! Plain data for people and machines; decides nothing. Keeps true: no secret and no session token is in any field;
//! making an explanation asks the sources afresh and touches no cache that signs.

use std::time::{Duration, SystemTime};

use crate::{Fault, RegionOrigin};

/// What [`Identity::explain`](crate::Identity::explain) found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// The destination's name.
    pub destination: String,
    /// Signing name (`aps`, `logs`, ...).
    pub service: String,
    /// Every source considered, in the order of consideration; those that were not asked at all come last.
    pub sources: Vec<SourceCheck>,
    /// Every role assumed on top, in order. Ends at the first that was refused.
    pub roles: Vec<RoleCheck>,
    /// The credentials that came of it; `None` when none did.
    pub caller: Option<CallerFacts>,
    /// Why there are no credentials: what failed, why, and what to do.
    pub error: Option<String>,
    /// What kind of thing failed, where that is known.
    pub fault: Option<Fault>,
    /// What the identity's sources say that has no effect, such as a profile's `mfa_serial`.
    pub remarks: Vec<String>,
    /// Signing region and who named it.
    pub region: Option<(String, RegionOrigin)>,
    /// The places where a region was looked for, in order.
    pub region_places: Vec<RegionCheck>,
    /// Why there is no region, and what to do.
    pub region_error: Option<String>,
    /// Where roles are assumed, if anything is asked of STS: the endpoint's URL.
    pub sts_endpoint: Option<String>,
    /// The far end's clock minus ours, in milliseconds, once an answer has told.
    pub clock_offset_ms: Option<i64>,
    /// Roles Anywhere's certificates as they are in their files: the one that the key belongs to, then its chain.
    pub certificates: Vec<CertificateSight>,
}

/// A certificate that is shown to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSight {
    /// Such as `CN=host1.example.com`.
    pub whom: String,
    /// The path of its file, and which one of several in it.
    pub place: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// A certificate of a year is renewed weeks before its end, one of a day hours.
const LAST_WEEK: Duration = Duration::from_secs(7 * 86_400);

impl CertificateSight {
    /// Time to renew it: less than a tenth of its life is left, or a week of one that is longer than four.
    pub fn ends_soon(&self, now: SystemTime) -> bool {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let left = self.not_after.duration_since(now).unwrap_or_default();
        left < life / 10 || (left < LAST_WEEK && life > LAST_WEEK * 4)
    }
}

/// One source and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCheck {
    /// Such as `environment`, `profile prod`, `instance metadata`.
    pub source: String,
    pub outcome: SourceOutcome,
    /// Why it was or was not taken, with the variable, file or address at issue.
    pub why: String,
}

/// What came of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceOutcome {
    /// It gave the credentials.
    Taken,
    /// It is not set up here.
    Absent,
    /// It is set up and gave nothing: this ends the search.
    Failed,
    /// Another source came first, or the identity block names one.
    NotAsked,
}

/// One role and what came of assuming it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleCheck {
    pub role_arn: String,
    /// As it appears in CloudTrail.
    pub session_name: String,
    /// The access key id that the role was asked for with.
    pub key_id: String,
    /// `None`: assumed. Else what STS said and what to do.
    pub error: Option<String>,
}

/// The credentials in question, without their secret parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerFacts {
    /// Such as `role arn:... on instance metadata`.
    pub source: String,
    /// The last four characters of the access key id.
    pub key_last4: String,
    /// The last role assumed, where one was.
    pub role_arn: Option<String>,
    /// When these credentials end, if they do.
    pub expires: Option<SystemTime>,
    /// They come with a session token.
    pub is_temporary: bool,
    /// The command of `credential_process` printed these very ones.
    pub is_of_command: bool,
}

/// One place where a region was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionCheck {
    pub place: RegionOrigin,
    /// What it names; `None`: nothing.
    pub region: Option<String>,
}

/// Who STS says that we are (`GetCallerIdentity`, which needs no permission).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// Such as `arn:aws:sts::123456789012:assumed-role/writer/sigpost-host-amp`.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
    pub user_id: String,
}

/// What a fetch considered on its way.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) sources: Vec<SourceCheck>,
    pub(crate) roles: Vec<RoleCheck>,
    pub(crate) remarks: Vec<String>,
}

impl Trail {
    pub(crate) fn note(&mut self, source: impl Into<String>, outcome: SourceOutcome, why: impl Into<String>) {
        self.sources.push(SourceCheck { source: source.into(), outcome, why: why.into() });
    }
}

/// The last four characters of a key id, which tell keys apart and open nothing.
pub(crate) fn last4(key_id: &str) -> String {
    let count = key_id.chars().count();
    key_id.chars().skip(count.saturating_sub(4)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_soon_by_its_own_measure() {
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let soon = |life: u32, left: u32| {
            let (not_before, not_after) = (now + day * left - day * life, now + day * left);
            CertificateSight { whom: String::new(), place: String::new(), not_before, not_after }.ends_soon(now)
        };
        assert!(soon(365, 30) && soon(60, 6) && soon(10, 0));
        assert!(!soon(365, 40) && !soon(60, 8) && !soon(10, 2), "a short life has a short end");
    }
}
