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
        (Fault::HelperStale { ended: SystemTime::UNIX_EPOCH }, "process_stale"),
        (Fault::ContainerUnnamed, "container_unnamed"),
        (Fault::MetadataAddress { variable: "AWS_EC2_METADATA_SERVICE_ENDPOINT" }, "imds_address"),
        (Fault::KeyEncrypted { place: p() }, "key_encrypted"),
        (Fault::CertificateOver { whom: p(), file: p(), is_leaf: true }, "certificate_expired"),
        (Fault::CertificateOver { whom: p(), file: p(), is_leaf: false }, "intermediate_expired"),
        (Fault::KeyKind, "key_kind"),
        (Fault::Broke, "broke_off"),
    ];
    for (fault, id) in table {
        let found = refusal(&explained("profile a (x): words", "x", Some(fault.clone())), None).unwrap();
        assert_eq!(found.cause.id, id, "{fault:?}");
    }
}

#[test]
fn a_service_in_trouble_is_named_and_no_policy_blamed() {
    for (by, issuer) in [(Asked::Sts, "STS"), (Asked::StsWebIdentity, "STS"), (Asked::RolesAnywhere, "Roles Anywhere")]
    {
        let Fault::Refused(what) = refused(by, "InternalFailure", "x") else { unreachable!() };
        let found = refusal(&explained("x", "x", Some(Fault::InTrouble(what))), None).unwrap();
        assert_eq!((found.cause.id, found.facts["issuer"].as_str()), ("issuer_in_trouble", issuer));
        assert!(found.sentence().starts_with(issuer) && found.iam().is_none(), "{found:?}");
    }
}

#[test]
fn the_certificate_that_is_over_is_named_and_looked_for_in_its_whole_file() {
    let (whom, file) = ("CN=below".to_owned(), "/c/bundle.pem".to_owned());
    let fault = Fault::CertificateOver { whom, file, is_leaf: false };
    let found = refusal(&explained("x", "x", Some(fault)), None).unwrap();
    assert!(found.sentence().contains("CN=below"), "{found:?}");
    // `openssl x509` would show the first of the file alone.
    assert!(found.commands()[0].contains("storeutl") && found.commands()[0].contains("/c/bundle.pem"), "{found:?}");
}

#[test]
fn a_profile_that_leads_to_metadata_is_told_by_what_the_service_did() {
    let sight = |state| MetadataSight { endpoint: "http://127.0.0.1:1".to_owned(), state };
    let error =
        "profile a (x): credential_source Ec2InstanceMetadata: instance metadata: it answered 404: no role is attached";
    let found = refusal(&explained(error, "profile a", None), Some(&sight(MetadataState::NoRole))).unwrap();
    assert_eq!(found.cause.id, "imds_no_role");
    let odd = Some(Fault::OddAnswer(Asked::InstanceMetadata));
    let found = refusal(&explained(error, "profile a", odd), Some(&sight(MetadataState::Works))).unwrap();
    assert_eq!((found.cause.id, found.facts["endpoint"].as_str()), ("imds_odd", "http://127.0.0.1:1"));
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
        (
            StsWebIdentity,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            "web_identity_trust",
        ),
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
        (
            "static keys: secret_key: the secret vault://kv/a#b is not read yet: Vault said permission denied (HTTP 403)",
            "vault_secret_missing",
        ),
        (
            "static keys: secret_key: the secret aws-ssm:///a is not read yet: ssm said AccessDeniedException",
            "stored_secret_denied",
        ),
        ("static keys: secret_key: the file /a/b has 2 lines; write the key alone into it", "secret_malformed"),
        ("static keys: secret_key: the file /a/b is empty; write it", "secret_malformed"),
        ("anything", "credentials_failed"),
    ] {
        assert_eq!(refusal(&explained(error, "x", None), None).unwrap().cause.id, id, "{error}");
    }
}

#[test]
fn a_store_that_denies_is_told_with_the_statement_that_lacks_and_in_full() {
    let arn = "arn:aws:secretsmanager:us-east-1:1:secret:one-AbCdEf";
    let error = format!(
        "static keys: secret_key: the secret aws-secretsmanager://one#key is not read yet: AWS said AccessDeniedException: User: \
         arn:aws:sts::1:assumed-role/agent/s is not authorized to perform: secretsmanager:GetSecretValue on resource: {arn} because no \
         identity-based policy allows the secretsmanager:GetSecretValue action {} (HTTP 400, request id r); allow it to THE-END",
        "x".repeat(200)
    );
    let found = refusal(&explained(&error, "x", None), None).unwrap();
    assert_eq!(found.iam(), Some(("secretsmanager:GetSecretValue".to_owned(), arn.to_owned())));
    assert!(
        found.steps()[0].contains("\"Action\": \"secretsmanager:GetSecretValue\"") && found.steps()[0].contains(arn)
    );
    assert_eq!(found.facts["principal"], "arn:aws:iam::1:role/agent");
    assert!(found.detail.ends_with("THE-END"), "{}", found.detail);
}

#[test]
fn a_token_that_a_role_does_not_trust_is_no_matter_of_the_callers_policy() {
    let fault =
        refused(Asked::StsWebIdentity, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let found = refusal(&explained("web identity: role r, token /t: x", "x", Some(fault)), None).unwrap();
    let text = format!("{:?} {:?}", found.steps(), found.iam());
    assert!(!text.contains("external_id") && !text.contains("caller's own policy"), "{text}");
    assert!(text.contains("system:serviceaccount") && text.contains("trust policy of arn:aws:iam::1:role/w"), "{text}");
}

#[test]
fn a_source_that_hangs_is_named_too() {
    let hanging = |source| late(&IdentityConfig { source, ..IdentityConfig::default() }, None, None, 13).cause.id;
    let command = net::SecretSource::Inline(net::Secret::new("sleep 100"));
    assert_eq!(hanging(CredentialSource::Process { command }), "process_failed");
    assert_eq!(hanging(CredentialSource::Container { endpoint: None, token_file: None }), "container_failed");
    let state = MetadataState::TokenLost;
    let sight = MetadataSight { endpoint: "http://169.254.169.254".to_owned(), state };
    assert_eq!(late(&IdentityConfig::default(), Some(&sight), None, 13).cause.id, "imds_hop_limit");
    let waiting = late(&IdentityConfig::default(), None, Some("https://sts.example/"), 13);
    assert_eq!((waiting.cause.id, waiting.facts["sts"].as_str()), ("sts_unreachable", "https://sts.example/"));
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
