//! Why there are no credentials: the words of the source that failed, turned into a cause.
//!
//! Asks nothing (`aws` and `metadata` do). Keeps true: every failure gets a cause; the source's own words stay beside it.

use aws::{CredentialSource, Explanation, IdentityConfig, SourceOutcome};

use super::{
    cause::Finding,
    causes::cause,
    metadata::{MetadataSight, MetadataState},
    words,
};

/// The cause of an explanation without credentials; `None` where there are some.
pub fn refusal(explanation: &Explanation, metadata: Option<&MetadataSight>) -> Option<Finding> {
    let error = explanation.error.as_deref()?;
    if let Some(role) = explanation.roles.last().filter(|role| role.error.is_some()) {
        return Some(of_role(&role.role_arn, error, explanation));
    }
    let failed = explanation.sources.iter().find(|s| s.outcome == SourceOutcome::Failed);
    let source = failed.map_or("", |s| s.source.as_str());
    Some(of_text(source, error, explanation, metadata))
}

fn of_role(role: &str, error: &str, explanation: &Explanation) -> Finding {
    let id = if let Some(finding) = of_key(error) {
        return finding.with("source", source_of(explanation));
    } else if error.contains("DurationSeconds") {
        cause("role_duration")
    } else if error.contains("RegionDisabled") {
        cause("sts_region_disabled")
    } else if error.contains("AccessDenied") {
        cause("trust_policy")
    } else if is_network(error) {
        cause("sts_unreachable")
    } else {
        cause("credentials_failed")
    };
    about_role(Finding::new(id, words::said(error)), role, error, explanation)
}

fn about_role(finding: Finding, role: &str, error: &str, explanation: &Explanation) -> Finding {
    let action = if error.contains("AssumeRoleWithWebIdentity") || error.starts_with("web identity") {
        "sts:AssumeRoleWithWebIdentity"
    } else {
        "sts:AssumeRole"
    };
    let from = error.split_once("User: ").and_then(|(_, rest)| rest.split_whitespace().next());
    let sts = explanation.sts_endpoint.clone().unwrap_or_default();
    let region = explanation.region.as_ref().map_or_else(String::new, |(region, _)| region.clone());
    finding
        .with("role", role)
        .with("role_name", words::role_name(role))
        .with("action", action)
        .with("from", from.map_or_else(|| "the ARN that GetCallerIdentity shows".to_owned(), words::principal))
        .with("sts", sts)
        .with("region", region)
}

/// What STS says of the keys a role is assumed with.
fn of_key(error: &str) -> Option<Finding> {
    let id = if error.contains("ExpiredToken") {
        cause("expired_token")
    } else if error.contains("InvalidClientTokenId") || error.contains("UnrecognizedClient") {
        cause("unknown_key")
    } else if error.contains("Signature expired") || error.contains("Signature not yet current") {
        cause("clock_skew")
    } else if error.contains("SignatureDoesNotMatch") || error.contains("InvalidSignature") {
        cause("wrong_secret")
    } else {
        return None;
    };
    Some(Finding::new(id, words::said(error)))
}

fn of_text(source: &str, error: &str, explanation: &Explanation, metadata: Option<&MetadataSight>) -> Finding {
    let finding = |found| Finding::new(found, words::said(error));
    let has = |word: &str| error.contains(word);
    let lower = error.to_ascii_lowercase();
    let profile = || word_after(error, "profile ").unwrap_or_else(|| "default".to_owned());
    if has("no AWS credentials found") {
        // The chain ends at the metadata service: what it did is more to the point than that nothing was found.
        let told = |m: &&MetadataSight| {
            // Other refusals are those of other clouds' metadata services.
            matches!(m.state, MetadataState::TokenLost | MetadataState::NoRole | MetadataState::Refused(403))
        };
        let sight = metadata.filter(told);
        let detail = "none of the places of the standard chain gives any; see identity for the reason of each";
        return match sight.and_then(MetadataSight::finding) {
            Some(found) => Finding { detail: detail.to_owned(), ..found },
            None => Finding::new(cause("no_credentials"), detail),
        };
    }
    if has("lead in a circle") || has("is its own source_profile") || has("infinite loop") {
        return finding(cause("profile_loop")).with("profile", profile());
    }
    if has("was not defined") || has("no such profile in the files") || has("is not in the files") {
        return finding(cause("profile_unknown")).with("profile", profile());
    }
    if has("could not parse profile file") {
        return finding(cause("profile_broken")).with("profile", profile());
    }
    if has("human login") {
        return finding(cause("profile_sso")).with("profile", profile());
    }
    let incomplete = [
        "has no credentials: no keys",
        "has a role_arn, and neither",
        "has both source_profile and",
        "and no aws_secret_access_key",
        "and no aws_access_key_id",
        "is none of Environment",
    ];
    if incomplete.iter().any(|words| has(words)) {
        return finding(cause("profile_incomplete")).with("profile", profile());
    }
    if has("the private key does not belong to the certificate") {
        return finding(cause("key_not_of_certificate"));
    }
    if has("static keys: ") && (has(" has a blank inside") || has(" is empty; write") || has(" lines; write")) {
        let secret = error.split_once("key: ").or_else(|| error.split_once("token: ")).map_or("", |(_, rest)| rest);
        let secret =
            [" has ", " is empty"].into_iter().find_map(|end| Some(secret.split_once(end)?.0)).unwrap_or(secret);
        return finding(cause("secret_malformed")).with("secret", secret);
    }
    if has("cannot read the token file") {
        let file = word_after(error, "the token file ").unwrap_or_default();
        return finding(cause("token_file_unreadable")).with("file", file);
    }
    if has(" is not read yet: ") {
        let reference = word_after(error, "the secret ").unwrap_or_default();
        return finding(cause("stored_secret_missing")).with("reference", reference);
    }
    if has("reading secret file ") {
        return finding(cause("file_unreadable")).with("file", word_after(error, "secret file ").unwrap_or_default());
    }
    if has("could not read file `") {
        return finding(cause("file_unreadable")).with("file", word_after(error, "read file `").unwrap_or_default());
    }
    if has("cannot read the ") && has(" file ") {
        return finding(cause("file_unreadable")).with("file", word_after(error, " file ").unwrap_or_default());
    }
    if error.starts_with("Roles Anywhere") {
        let role = word_after(error, "role ").unwrap_or_default();
        let id = if has("expired at") || has("is valid only from") {
            cause("certificate_expired")
        } else if has("AWS said") {
            cause("roles_anywhere_refused")
        } else {
            cause("credentials_failed")
        };
        return finding(id).with("role", role);
    }
    if lower.contains("web identity") || has("AssumeRoleWithWebIdentity") || source == "web identity" {
        let role = word_after(error, "role ").or_else(|| std::env::var("AWS_ROLE_ARN").ok()).unwrap_or_default();
        let file = word_after(error, "token ").filter(|f| f.starts_with('/'));
        let file = file.or_else(|| std::env::var("AWS_WEB_IDENTITY_TOKEN_FILE").ok()).unwrap_or_default();
        let id = if has("InvalidIdentityToken") || has("IDPRejectedClaim") || lower.contains("audience") {
            cause("web_identity_refused")
        } else if has("ExpiredToken") {
            cause("web_identity_expired")
        } else if has("RegionDisabled") {
            cause("sts_region_disabled")
        } else if has("AccessDenied") {
            cause("trust_policy")
        } else if has("No such file") || has("Permission denied") {
            cause("token_file_unreadable")
        } else if is_network(error) {
            cause("sts_unreachable")
        } else {
            cause("credentials_failed")
        };
        return about_role(finding(id).with("file", file), &role, error, explanation);
    }
    if has("sts:AssumeRole") && has("AccessDenied") {
        // A role of a profile.
        let role =
            word_after(error, "assuming role ").or_else(|| word_after(error, "on resource: ")).unwrap_or_default();
        return about_role(finding(cause("trust_policy")), &role, error, explanation);
    }
    if let Some(found) = of_key(error) {
        return found.with("source", source_of(explanation));
    }
    if has("credential_process") {
        return finding(cause("process_failed"));
    }
    if lower.starts_with("container") {
        return finding(cause("container_failed"));
    }
    if let Some(found) = metadata.and_then(MetadataSight::finding)
        && (error.starts_with("instance metadata") || source == "instance metadata")
    {
        return Finding { detail: words::said(error), ..found };
    }
    finding(cause("credentials_failed"))
}

/// Nothing came within the time of an examination.
pub fn late(config: &IdentityConfig, metadata: Option<&MetadataSight>, seconds: u64) -> Finding {
    let detail = format!("the source gave no answer within {seconds} s");
    match metadata.and_then(MetadataSight::finding) {
        Some(found) => Finding { detail, ..found },
        None => match &config.source {
            CredentialSource::Process { .. } => Finding::new(cause("process_failed"), detail),
            CredentialSource::Container { .. } => Finding::new(cause("container_failed"), detail),
            _ => Finding::new(cause("credentials_failed"), detail),
        },
    }
}

fn source_of(explanation: &Explanation) -> String {
    let taken = explanation.sources.iter().find(|s| s.outcome == SourceOutcome::Taken);
    taken.map_or_else(|| "their source".to_owned(), |s| s.source.clone())
}

fn is_network(error: &str) -> bool {
    [
        "dispatch failure",
        "timed out",
        "timeout",
        "cannot connect",
        "cannot find the address",
        "did not connect us",
        "TLS with",
    ]
    .iter()
    .any(|word| error.contains(word))
}

/// The word after `mark`, without what sentences put behind words.
fn word_after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    let word = rest.split([' ', ',', '`', '(']).find(|w| !w.is_empty())?;
    Some(word.trim_end_matches([':', ';', '.', ')', '"']).to_owned()).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use aws::{RoleCheck, SourceCheck};

    use super::*;

    fn explained(error: &str, source: &str, role: Option<&str>) -> Explanation {
        let outcome = SourceOutcome::Failed;
        Explanation {
            error: Some(error.to_owned()),
            sources: vec![SourceCheck { source: source.to_owned(), outcome, why: error.to_owned() }],
            roles: role
                .map(|role_arn| RoleCheck {
                    role_arn: role_arn.to_owned(),
                    session_name: "s".to_owned(),
                    error: Some(error.to_owned()),
                })
                .into_iter()
                .collect(),
            ..Explanation::default()
        }
    }

    #[test]
    fn every_failing_source_has_its_cause() {
        let role = "arn:aws:iam::1:role/w";
        let denied = "assuming role arn:aws:iam::1:role/w with AKID in us-east-1: AccessDenied: User: arn:aws:iam::1:user/u is not \
                      authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/w";
        let table: &[(&str, &str, Option<&str>, &str)] = &[
            (denied, "static keys", Some(role), "trust_policy"),
            ("assuming role r: ExpiredToken: over", "static keys", Some(role), "expired_token"),
            ("assuming role r: InvalidClientTokenId: x", "static keys", Some(role), "unknown_key"),
            ("assuming role r: SignatureDoesNotMatch: x", "static keys", Some(role), "wrong_secret"),
            ("assuming role r: SignatureDoesNotMatch: Signature expired: 1", "static keys", Some(role), "clock_skew"),
            ("assuming role r: The requested DurationSeconds exceeds", "static keys", Some(role), "role_duration"),
            ("assuming role r: RegionDisabledException: x", "static keys", Some(role), "sts_region_disabled"),
            ("assuming role r: dispatch failure: io error", "static keys", Some(role), "sts_unreachable"),
            ("assuming role r: something else", "static keys", Some(role), "credentials_failed"),
            (
                "profile a (x): the profiles lead in a circle: a -> b -> a; end the chain",
                "profile a",
                None,
                "profile_loop",
            ),
            ("profile a (x): profile a is its own source_profile and has no keys", "profile a", None, "profile_loop"),
            ("profile p (a): there is no such profile in the files; name one", "profile p", None, "profile_unknown"),
            ("profile p (a): source_profile q of profile p is not in the files", "profile p", None, "profile_unknown"),
            (
                "profile p (a): profile p has no credentials: no keys, no role_arn",
                "profile p",
                None,
                "profile_incomplete",
            ),
            (
                "profile p (a): profile p has a role_arn, and neither source_profile nor",
                "profile p",
                None,
                "profile_incomplete",
            ),
            ("profile p (a): could not parse profile file", "profile p", None, "profile_broken"),
            ("profile p (a): profile p is for a human login (SSO), which cannot", "profile p", None, "profile_sso"),
            (
                "static keys: secret_key: reading secret file /a/b: Permission denied (os error 13)",
                "static keys",
                None,
                "file_unreadable",
            ),
            (
                "static keys: secret_key: the secret aws-ssm:///a is not read yet: no such parameter",
                "static keys",
                None,
                "stored_secret_missing",
            ),
            (
                "static keys: secret_key: the file /a/b has 2 lines; write the key alone into it",
                "static keys",
                None,
                "secret_malformed",
            ),
            ("static keys: secret_key: the file /a/b is empty; write it", "static keys", None, "secret_malformed"),
            ("profile a (/x, /y): invalid profile: could not read file `/y`", "profile a", None, "file_unreadable"),
            (
                "Roles Anywhere, role r: cannot read the private_key file /k: No such file",
                "Roles Anywhere r",
                None,
                "file_unreadable",
            ),
            (
                "Roles Anywhere, role r: the private key does not belong to the certificate (x)",
                "Roles Anywhere r",
                None,
                "key_not_of_certificate",
            ),
            (
                "Roles Anywhere, role r: the certificate 1 expired at 2020; renew it",
                "Roles Anywhere r",
                None,
                "certificate_expired",
            ),
            (
                "Roles Anywhere, role r: AWS said AccessDeniedException: x",
                "Roles Anywhere r",
                None,
                "roles_anywhere_refused",
            ),
            (
                "web identity: cannot read the token file /t: No such file",
                "web identity r",
                None,
                "token_file_unreadable",
            ),
            (
                "web identity: role r, token /t: STS said InvalidIdentityToken: Incorrect token audience",
                "web identity r",
                None,
                "web_identity_refused",
            ),
            (
                "web identity: role r, token /t: STS said ExpiredTokenException: x",
                "web identity r",
                None,
                "web_identity_expired",
            ),
            (
                "web identity: role r, token /t: STS said AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity",
                "web identity r",
                None,
                "trust_policy",
            ),
            (
                "web identity: role r, token /t: cannot connect to sts:443: connection refused",
                "web identity r",
                None,
                "sts_unreachable",
            ),
            (
                "profile p (a): AccessDenied: User: x is not authorized to perform: sts:AssumeRole on resource: r",
                "profile p",
                None,
                "trust_policy",
            ),
            (
                "credential_process: the command failed with exit status: 1",
                "credential_process",
                None,
                "process_failed",
            ),
            (
                "container endpoint http://169.254.170.23/: it answered 403",
                "container endpoint",
                None,
                "container_failed",
            ),
            ("no AWS credentials found; looked at environment: x", "", None, "no_credentials"),
            ("anything", "", None, "credentials_failed"),
        ];
        for (error, source, role, id) in table {
            let found = refusal(&explained(error, source, *role), None).unwrap();
            assert_eq!(found.cause.id, *id, "{error}");
        }
    }

    #[test]
    fn a_source_that_hangs_is_named_too() {
        let hanging = |source| late(&IdentityConfig { source, ..IdentityConfig::default() }, None, 13).cause.id;
        let command = net::SecretSource::Inline(net::Secret::new("sleep 100"));
        assert_eq!(hanging(CredentialSource::Process { command }), "process_failed");
        assert_eq!(hanging(CredentialSource::Container { endpoint: None, token_file: None }), "container_failed");
        let state = MetadataState::TokenLost;
        let sight = MetadataSight { endpoint: "http://169.254.169.254".to_owned(), state };
        assert_eq!(late(&IdentityConfig::default(), Some(&sight), 13).cause.id, "imds_hop_limit");
    }

    #[test]
    fn facts_of_a_trust_policy_are_the_role_and_who_wanted_it() {
        let error = "assuming role arn:aws:iam::1:role/w with AKID in us-east-1: AccessDenied: User: arn:aws:sts::1:assumed-role/base/x is not \
                     authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/w";
        let found = refusal(&explained(error, "static keys", Some("arn:aws:iam::1:role/w")), None).unwrap();
        assert_eq!(found.facts["role"], "arn:aws:iam::1:role/w");
        assert_eq!(found.facts["from"], "arn:aws:iam::1:role/base");
        assert_eq!(found.iam(), Some(("sts:AssumeRole".to_owned(), "arn:aws:iam::1:role/w".to_owned())));
    }

    #[test]
    fn paths_in_messages_are_found() {
        assert_eq!(word_after("reading secret file /a/b: Permission denied", "secret file ").unwrap(), "/a/b");
        assert_eq!(word_after("profile p (a, b): x", "profile ").unwrap(), "p");
        assert_eq!(word_after("nothing", "profile "), None);
    }
}
