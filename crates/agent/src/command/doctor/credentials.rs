//! Why there are no credentials: the kind of the failure and the service's own code, turned into a cause.
//!
//! Asks nothing (`aws` and `metadata` do). Keeps true: every failure gets a cause; the source's own words stay beside it; what AWS
//! said decides by AWS's code and words alone, never by a text that this program put beside them.

use std::{path::Path, time::SystemTime};

use aws::{Asked, CredentialSource, Explanation, Fault, IdentityConfig, Refused, SourceOutcome};

use super::{
    cause::{Cause, Finding},
    causes::cause,
    metadata::{MetadataSight, MetadataState},
    words,
};

/// The cause of an explanation without credentials; `None` where there are some.
pub fn refusal(explanation: &Explanation, metadata: Option<&MetadataSight>) -> Option<Finding> {
    let case = Told { error: explanation.error.as_deref()?, explanation, metadata };
    Some(explanation.fault.as_ref().and_then(|fault| case.by_fault(fault)).unwrap_or_else(|| case.by_text()))
}

/// What was told of a failure.
#[derive(Clone, Copy)]
struct Told<'a> {
    error: &'a str,
    explanation: &'a Explanation,
    metadata: Option<&'a MetadataSight>,
}

impl Told<'_> {
    fn finding(&self, found: &'static Cause) -> Finding {
        Finding::new(found, words::said(self.error))
    }

    /// By the kind that whoever failed gave it.
    fn by_fault(&self, fault: &Fault) -> Option<Finding> {
        let of_profile = |found, name: &str| self.finding(found).with("profile", name);
        let of_file = |found, path: &Path| self.finding(found).with("file", path.display().to_string());
        Some(match fault {
            Fault::Refused(refused) => self.of_refusal(refused)?,
            Fault::InTrouble(refused) => {
                self.about_role(cause("issuer_in_trouble"), Some(refused)).with("issuer", refused.by.name())
            }
            Fault::Unreached(Asked::Sts | Asked::StsWebIdentity) => self.about_role(cause("sts_unreachable"), None),
            Fault::Unreached(Asked::RolesAnywhere) => self.finding(cause("anywhere_unreachable")),
            Fault::Unreached(Asked::Container) | Fault::OddAnswer(Asked::Container) => {
                self.finding(cause("container_failed"))
            }
            Fault::Unreached(Asked::InstanceMetadata) => self.of_metadata()?,
            Fault::OddAnswer(Asked::InstanceMetadata) => {
                let finding = self.finding(cause("imds_odd"));
                self.metadata.iter().fold(finding, |finding, sight| finding.with("endpoint", sight.endpoint.clone()))
            }
            Fault::OddAnswer(_) => self.finding(cause("odd_answer")),
            Fault::Nowhere => self.nowhere(),
            Fault::EnvironmentHalf { missing } => self.finding(cause("environment_half")).with("missing", *missing),
            Fault::FileUnreadable(path) => of_file(cause("file_unreadable"), path),
            Fault::NotPem { place } => self.finding(cause("not_pem")).with("file", place.clone()),
            Fault::WebIdentityToken(path) => of_file(cause("token_file_unreadable"), path),
            Fault::ContainerToken(path) => of_file(cause("container_token"), path),
            Fault::ContainerAddress => self.finding(cause("container_address")),
            Fault::ContainerUnnamed => self.finding(cause("container_unnamed")),
            Fault::MetadataAddress { variable } => self.finding(cause("imds_address")).with("variable", *variable),
            Fault::ProfileUnknown { name } => of_profile(cause("profile_unknown"), name),
            Fault::ProfileCircle => self.finding(cause("profile_loop")).with("profile", self.profile()),
            Fault::SharedFileMalformed(path) => of_file(cause("profile_broken"), path).with("profile", self.profile()),
            Fault::ProfileIncomplete { name } => of_profile(cause("profile_incomplete"), name),
            Fault::ProfileValue { name, key } => of_profile(cause("profile_value"), name).with("value_key", *key),
            Fault::ProfileSso { name } => of_profile(cause("profile_sso"), name),
            Fault::ProfileConsoleLogin { name } => of_profile(cause("profile_console_login"), name),
            Fault::ProfileMfa { name, refused } => {
                self.about_role(cause("profile_mfa"), Some(refused)).with("profile", name.clone())
            }
            Fault::Helper => self.finding(cause("process_failed")),
            Fault::HelperStale { ended } => stale(*ended, SystemTime::now(), words::said(self.error)),
            Fault::KeyOfAnotherCertificate => self.finding(cause("key_not_of_certificate")),
            Fault::KeyEncrypted { place } => self.finding(cause("key_encrypted")).with("file", place.clone()),
            Fault::CertificateOver { whom, file, is_leaf } => {
                let found = if *is_leaf { cause("certificate_expired") } else { cause("intermediate_expired") };
                self.finding(found).with("whom", whom.clone()).with("file", file.clone())
            }
            Fault::KeyKind => self.finding(cause("key_kind")),
            Fault::Broke => self.finding(cause("broke_off")),
        })
    }

    /// By the service's own code, and where that says little its own words.
    fn of_refusal(&self, refused: &Refused) -> Option<Finding> {
        let words = refused.message.to_ascii_lowercase();
        let late = words.contains("signature expired") || words.contains("signature not yet current");
        let about_duration = words.contains("durationseconds")
            || words.contains("maxsessionduration")
            || words.contains("session limit for roles assumed by role chaining");
        let role = |found| self.about_role(found, Some(refused));
        Some(match (refused.by, refused.code.as_str()) {
            (Asked::Container, _) => self.finding(cause("container_failed")),
            (Asked::InstanceMetadata, _) => self.finding(cause("imds_role_refused")),
            (_, "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture") => {
                self.of_key(cause("clock_skew"), refused)
            }
            (_, _) if late => self.of_key(cause("clock_skew"), refused),
            (Asked::RolesAnywhere, code) => match code {
                "AccessDenied" if words.contains("assume role") => role(cause("anywhere_role")),
                "AccessDenied" => role(cause("roles_anywhere_refused")),
                "ResourceNotFound" => role(cause("anywhere_missing")),
                "Validation" if about_duration || words.contains("duration") => role(cause("anywhere_duration")),
                "Validation" if words.contains("session name") || words.contains("sessionname") => {
                    role(cause("anywhere_session_name"))
                }
                _ => return None,
            },
            (Asked::StsWebIdentity, "InvalidIdentityToken" | "IDPRejectedClaim") => role(cause("web_identity_refused")),
            (Asked::StsWebIdentity, "ExpiredToken") => role(cause("web_identity_expired")),
            (_, "RegionDisabled") => role(cause("sts_region_disabled")),
            (_, "ExpiredToken") => self.of_key(cause("expired_token"), refused),
            (_, "InvalidClientTokenId" | "UnrecognizedClient" | "InvalidAccessKeyId") => {
                self.of_key(cause("unknown_key"), refused)
            }
            (_, "SignatureDoesNotMatch" | "InvalidSignature") => self.of_key(cause("wrong_secret"), refused),
            (_, "Validation" | "ValidationError") if about_duration => role(cause("role_duration")),
            (_, _) if about_duration => role(cause("role_duration")),
            (Asked::StsWebIdentity, "AccessDenied") => role(cause("web_identity_trust")),
            (_, "AccessDenied") => role(cause("trust_policy")),
            _ => return None,
        })
    }

    /// What is said of the keys a role is asked for with: which they are, and where they come from.
    fn of_key(&self, found: &'static Cause, refused: &Refused) -> Finding {
        let finding = self.finding(found).with("source", source_of(self.explanation));
        match &refused.key_id {
            Some(key) => finding.with("key", key.clone()),
            None => finding,
        }
    }

    fn about_role(&self, found: &'static Cause, refused: Option<&Refused>) -> Finding {
        let role = refused.and_then(|r| r.role_arn.clone());
        let role = role.or_else(|| self.explanation.roles.last().map(|role| role.role_arn.clone()));
        let role = role.or_else(|| word_after(self.error, "role ").filter(|word| word.starts_with("arn:")));
        let is_web = refused.is_some_and(|r| r.by == Asked::StsWebIdentity);
        let action = if is_web { "sts:AssumeRoleWithWebIdentity" } else { "sts:AssumeRole" };
        let caller = refused.and_then(|r| r.message.split_once("User: ")?.1.split_whitespace().next());
        let from = match caller {
            Some(caller) => words::principal(caller),
            None if is_web => "the cluster's OIDC provider (Federated), for this token's sub and aud".to_owned(),
            None => "the ARN that GetCallerIdentity shows".to_owned(),
        };
        let finding = self.finding(found).with("action", action).with("from", from);
        let finding = match role {
            Some(role) => finding.with("role_name", words::role_name(&role)).with("role", role),
            None => finding,
        };
        let token = word_after(self.error, ", token ").filter(|file| file.starts_with('/'));
        let finding = match token {
            Some(file) => finding.with("file", file),
            None => finding,
        };
        match &self.explanation.sts_endpoint {
            Some(sts) => finding.with("sts", sts.clone()),
            // A profile's role is asked for where the chain or the profile says; the words name the region.
            None => match word_after(self.error, " in ").filter(|_| self.error.contains("assuming role ")) {
                Some(region) => finding.with("sts", format!("https://sts.{region}.amazonaws.com/")),
                None => finding,
            },
        }
    }

    /// The chain ends at the metadata service: what it did is more to the point than that nothing was found.
    fn nowhere(&self) -> Finding {
        let told = |m: &&MetadataSight| {
            // Other refusals are those of other clouds' metadata services.
            matches!(m.state, MetadataState::TokenLost | MetadataState::NoRole | MetadataState::Refused(403))
        };
        let sight = self.metadata.filter(told);
        let detail = "none of the places of the standard chain gives any; see identity for the reason of each";
        match sight.and_then(MetadataSight::finding) {
            Some(found) => Finding { detail: detail.to_owned(), ..found },
            None => Finding::new(cause("no_credentials"), detail),
        }
    }

    fn of_metadata(&self) -> Option<Finding> {
        let found = self.metadata.and_then(MetadataSight::finding)?;
        Some(Finding { detail: words::said(self.error), ..found })
    }

    /// The profile that was asked for.
    fn profile(&self) -> String {
        word_after(self.error, "profile ").unwrap_or_else(|| "default".to_owned())
    }

    /// What has no kind: by the message of the part that failed.
    fn by_text(&self) -> Finding {
        let error = self.error;
        let has = |word: &str| error.contains(word);
        let failed = self.explanation.sources.iter().find(|s| s.outcome == SourceOutcome::Failed);
        if has(": access key id and secret key are swapped") {
            return self.finding(cause("keys_swapped"));
        }
        let odd = [
            " has a blank inside",
            " is empty; write",
            " lines; write",
            " holds a document; refer",
            " begins with a quote",
            " is DER (",
            " is binary and ",
        ];
        if has("static keys: ") && odd.iter().any(|what| has(what)) {
            let secret = error.split_once("key: ").or_else(|| error.split_once("token: ")).map_or("", |(_, rest)| rest);
            let secret = [" has ", " is empty", " holds ", " begins ", " is DER", " is binary"]
                .into_iter()
                .find_map(|end| Some(secret.split_once(end)?.0))
                .unwrap_or(secret);
            return self.finding(cause("secret_malformed")).with("secret", secret);
        }
        if has(" is not read yet: ") {
            return stored_secret(error);
        }
        let of_metadata = error.starts_with("instance metadata")
            || error.contains("credential_source Ec2InstanceMetadata")
            || failed.is_some_and(|source| source.source == "instance metadata");
        match self.of_metadata().filter(|_| of_metadata) {
            Some(found) => found,
            None => self.finding(cause("credentials_failed")),
        }
    }
}

/// A helper's credentials that are over at `now`.
fn stale(ended: SystemTime, now: SystemTime, detail: impl Into<String>) -> Finding {
    Finding::new(cause("process_stale"), detail).with("ended", words::when(ended, now))
}

/// The helper is to blame where it printed these credentials and they are over at `now`: whatever answers say of them.
pub fn of_stale_helper(explanation: &Explanation, now: SystemTime, detail: &str) -> Option<Finding> {
    let caller = explanation.caller.as_ref().filter(|caller| caller.is_of_command)?;
    let ended = caller.expires.filter(|at| *at <= now)?;
    Some(stale(ended, now, detail))
}

/// Nothing came within the time of an examination. `sts` is the endpoint that roles are asked of.
pub fn late(config: &IdentityConfig, metadata: Option<&MetadataSight>, sts: Option<&str>, seconds: u64) -> Finding {
    let detail = format!("the source gave no answer within {seconds} s");
    if let Some(found) = metadata.and_then(MetadataSight::finding) {
        return Finding { detail, ..found };
    }
    let of_sts = |detail: String| {
        let finding = Finding::new(cause("sts_unreachable"), detail);
        sts.into_iter().fold(finding, |finding, sts| finding.with("sts", sts))
    };
    match &config.source {
        CredentialSource::Process { .. } => Finding::new(cause("process_failed"), detail),
        CredentialSource::Container { .. } => Finding::new(cause("container_failed"), detail),
        CredentialSource::RolesAnywhere(_) => Finding::new(cause("anywhere_unreachable"), detail),
        CredentialSource::WebIdentity { .. } => of_sts(detail),
        // Static keys and profiles wait for nobody else.
        _ if sts.is_some() => of_sts(detail),
        _ => Finding::new(cause("credentials_failed"), detail),
    }
}

/// A secret that its store does not give: by which store it is, and what that said.
pub fn stored_secret(error: &str) -> Finding {
    let reference = word_after(error, "the secret ").unwrap_or_default();
    let told = |found| Finding::new(found, words::said_at_length(error)).with("reference", reference.clone());
    if reference.starts_with("vault://") {
        return told(cause("vault_secret_missing"));
    }
    let word = |mark: &str| word_after(error, mark).filter(|word| word.contains(':'));
    let denied = word("to perform: ").or_else(|| {
        let by_store =
            if reference.starts_with("aws-ssm") { "ssm:GetParameter" } else { "secretsmanager:GetSecretValue" };
        error.contains("AccessDenied").then(|| by_store.to_owned())
    });
    let Some(action) = denied else { return told(cause("stored_secret_missing")) };
    let resource = word("on resource: ").unwrap_or_else(|| "SECRET-ARN".to_owned());
    let finding = told(cause("stored_secret_denied")).with("action", action).with("resource", resource);
    match word("User: ") {
        Some(caller) => finding.with("principal", words::principal(&caller)),
        None => finding.with("principal", "the identity for secrets"),
    }
}

fn source_of(explanation: &Explanation) -> String {
    let taken = explanation.sources.iter().find(|s| s.outcome == SourceOutcome::Taken);
    taken.map_or_else(|| "their source".to_owned(), |s| s.source.clone())
}

/// The word after `mark`, without what sentences put behind words.
fn word_after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    let word = rest.split([' ', ',', '`', '(']).find(|w| !w.is_empty())?;
    Some(word.trim_end_matches([':', ';', '.', ')', '"']).to_owned()).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests;
