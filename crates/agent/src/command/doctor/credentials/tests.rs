//! Every kind of failure and every refusal, as tables.

use std::path::PathBuf;

use aws::{RoleCheck, SourceCheck};

use super::*;

const ROLE: &str = "arn:aws:iam::1:role/w";

fn explained(error: &str, source: &str, fault: Option<Fault>) -> Explanation {
    let outcome = SourceOutcome::Failed;
    Explanation {
        error: Some(error.to_owned()),
        sources: vec![SourceCheck { source: source.to_owned(), outcome, why: error.to_owned() }],
        fault,
        ..Explanation::default()
    }
}

fn refused(by: Asked, code: &str, message: &str) -> Fault {
    Fault::Refused(Refused {
        by,
        code: code.to_owned(),
        message: message.to_owned(),
        key_id: Some("AKIDBASE".to_owned()),
        role_arn: Some(ROLE.to_owned()),
    })
}

#[test]
fn every_kind_of_failure_has_its_cause() {
    let path = || PathBuf::from("/a/b");
    let p = || "p".to_owned();
    let table: Vec<(Fault, &str)> = vec![
        (Fault::Unreached(Asked::Sts), "sts_unreachable"),
        (Fault::Unreached(Asked::StsWebIdentity), "sts_unreachable"),
        (Fault::Unreached(Asked::RolesAnywhere), "anywhere_unreachable"),
        (Fault::Unreached(Asked::Container), "container_failed"),
        (Fault::Unreached(Asked::InstanceMetadata), "credentials_failed"),
        (Fault::OddAnswer(Asked::Container), "container_failed"),
        (Fault::OddAnswer(Asked::InstanceMetadata), "imds_odd"),
        (Fault::OddAnswer(Asked::StsWebIdentity), "odd_answer"),
        (Fault::OddAnswer(Asked::RolesAnywhere), "odd_answer"),
        (Fault::Nowhere, "no_credentials"),
        (Fault::EnvironmentHalf { missing: "AWS_SECRET_ACCESS_KEY" }, "environment_half"),
        (Fault::FileUnreadable(path()), "file_unreadable"),
        (Fault::NotPem { place: p() }, "not_pem"),
        (Fault::WebIdentityToken(path()), "token_file_unreadable"),
        (Fault::ContainerToken(path()), "container_token"),
        (Fault::ContainerAddress, "container_address"),
        (Fault::ProfileUnknown { name: p() }, "profile_unknown"),
        (Fault::ProfileCircle, "profile_loop"),
        (Fault::SharedFileMalformed(path()), "profile_broken"),
        (Fault::ProfileIncomplete { name: p() }, "profile_incomplete"),
        (Fault::ProfileValue { name: p(), key: "duration_seconds" }, "profile_value"),
        (Fault::ProfileSso { name: p() }, "profile_sso"),
        (Fault::ProfileConsoleLogin { name: p() }, "profile_console_login"),
        (Fault::Helper, "process_failed"),
        (Fault::KeyOfAnotherCertificate, "key_not_of_certificate"),
        (Fault::CertificateOver, "certificate_expired"),
        (Fault::KeyKind, "key_kind"),
        (Fault::Broke, "broke_off"),
    ];
    for (fault, id) in table {
        let found = refusal(&explained("profile a (x): words", "x", Some(fault.clone())), None).unwrap();
        assert_eq!(found.cause.id, id, "{fault:?}");
    }
}

#[test]
fn a_refusal_is_read_by_the_services_own_code_and_words() {
    use Asked::{Container, InstanceMetadata, RolesAnywhere, Sts, StsWebIdentity};
    let not_allowed = "User: arn:aws:sts::1:assumed-role/base/x is not authorized to perform: sts:AssumeRole on resource: \
                       arn:aws:iam::1:role/w";
    let table: &[(Asked, &str, &str, &str)] = &[
        (Sts, "AccessDenied", not_allowed, "trust_policy"),
        (Sts, "ExpiredToken", "The security token included in the request is expired", "expired_token"),
        (Sts, "InvalidClientTokenId", "x", "unknown_key"),
        (Sts, "SignatureDoesNotMatch", "x", "wrong_secret"),
        (Sts, "SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2", "clock_skew"),
        (
            Sts,
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            "role_duration",
        ),
        (Sts, "RegionDisabled", "x", "sts_region_disabled"),
        (Sts, "MalformedPolicyDocument", "x", "credentials_failed"),
        (StsWebIdentity, "InvalidIdentityToken", "Incorrect token audience", "web_identity_refused"),
        (StsWebIdentity, "IDPRejectedClaim", "x", "web_identity_refused"),
        (StsWebIdentity, "ExpiredToken", "x", "web_identity_expired"),
        // The words beside it, which are ours, speak of an audience.
        (StsWebIdentity, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", "trust_policy"),
        (StsWebIdentity, "RegionDisabled", "x", "sts_region_disabled"),
        (RolesAnywhere, "AccessDenied", "Untrusted certificate. Insufficient certificate", "roles_anywhere_refused"),
        (RolesAnywhere, "AccessDenied", "Unable to assume role for arn:aws:iam::1:role/w", "anywhere_role"),
        (RolesAnywhere, "ResourceNotFound", "Trust anchor not found: x", "anywhere_missing"),
        (
            RolesAnywhere,
            "Validation",
            "the profile does not accept a custom role session name",
            "anywhere_session_name",
        ),
        (RolesAnywhere, "Validation", "durationSeconds must be from 900 to 43200", "anywhere_duration"),
        (RolesAnywhere, "Validation", "something else", "credentials_failed"),
        (Container, "AccessDenied", "x", "container_failed"),
        (InstanceMetadata, "AssumeRoleUnauthorizedAccess", "x", "imds_role_refused"),
    ];
    for (by, code, message, id) in table {
        let hints = "web identity: role r: ...; the role's trust policy must allow this token's subject and audience; AccessDenied";
        let found = refusal(&explained(hints, "x", Some(refused(*by, code, message))), None).unwrap();
        assert_eq!(found.cause.id, *id, "{by:?} {code} {message}");
    }
}

#[test]
fn a_key_that_a_role_stands_on_is_named_with_its_source() {
    let mut told =
        explained("assuming role r: x", "static keys", Some(refused(Asked::Sts, "InvalidClientTokenId", "x")));
    told.sources[0].outcome = SourceOutcome::Taken;
    let found = refusal(&told, None).unwrap();
    assert_eq!((found.facts["key"].as_str(), found.facts["source"].as_str()), ("AKIDBASE", "static keys"));
    assert!(
        found.commands().iter().all(|command| !command.contains("KEY") || command.contains("AKIDBASE")),
        "{found:?}"
    );
}

#[test]
fn what_has_no_kind_is_read_by_its_message() {
    for (error, id) in [
        (
            "static keys: secret_key: the secret aws-ssm:///a is not read yet: no such parameter",
            "stored_secret_missing",
        ),
        ("static keys: secret_key: the file /a/b has 2 lines; write the key alone into it", "secret_malformed"),
        ("static keys: secret_key: the file /a/b is empty; write it", "secret_malformed"),
        ("anything", "credentials_failed"),
    ] {
        assert_eq!(refusal(&explained(error, "x", None), None).unwrap().cause.id, id, "{error}");
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
    let message = "User: arn:aws:sts::1:assumed-role/base/x is not authorized to perform: sts:AssumeRole on resource: \
                   arn:aws:iam::1:role/w";
    let mut told = explained("assuming role", "static keys", Some(refused(Asked::Sts, "AccessDenied", message)));
    told.roles.push(RoleCheck {
        role_arn: ROLE.to_owned(),
        session_name: "s".to_owned(),
        key_id: "AKIDBASE".to_owned(),
        error: Some("x".to_owned()),
    });
    let found = refusal(&told, None).unwrap();
    assert_eq!(found.facts["role"], ROLE);
    assert_eq!(found.facts["from"], "arn:aws:iam::1:role/base");
    assert_eq!(found.iam(), Some(("sts:AssumeRole".to_owned(), ROLE.to_owned())));
}

#[test]
fn paths_in_messages_are_found() {
    assert_eq!(word_after("reading secret file /a/b: Permission denied", "secret file ").unwrap(), "/a/b");
    assert_eq!(word_after("profile p (a, b): x", "profile ").unwrap(), "p");
    assert_eq!(word_after("nothing", "profile "), None);
}
