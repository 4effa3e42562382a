//! Roles as the sandbox gives them out: who may assume them, for how long, and what their keys may do afterwards.

mod support;

use std::time::{Duration, SystemTime};

use sandbox::{Identity, Role, Running, SandboxConfig, TokenIssuer, Trust, World};
use support::{Signer, deliver, element, order, session_of, start, sts};

const USER: &str = "arn:aws:iam::000000000000:user/sandbox";
const ROLE: &str = "arn:aws:iam::000000000000:role/team/agent";
const OTHER: &str = "arn:aws:iam::111111111111:role/other";
const ISSUER: &str = "https://oidc.example/id/1";

async fn cloud(roles: Vec<Role>) -> Running {
    start(SandboxConfig { world: World { roles, ..World::default() }, ..SandboxConfig::default() }).await
}

fn form<'a>(role: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let first = [("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role), ("RoleSessionName", "host-1")];
    let mut form: Vec<(&str, &str)> =
        first.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).collect();
    form.extend_from_slice(more);
    form
}

#[tokio::test]
async fn a_session_delivers_under_the_roles_name_until_it_ends() {
    let running = cloud(vec![Role::new(ROLE).trusting(Trust::aws(USER))]).await;
    let answer = sts(
        &running,
        Some(&Signer::new("sts")),
        &form(ROLE, &[("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "a")]),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let arn = "arn:aws:sts::000000000000:assumed-role/agent/host-1";
    assert_eq!(element(&answer.body, "Arn").as_deref(), Some(arn));
    let session = session_of(&answer.body);
    assert_eq!(deliver(&running, &session).await.status, 200);

    let state = running.state();
    let principal = state.principals.iter().find(|principal| principal.arn == arn).unwrap();
    assert_eq!((principal.samples, principal.accepted["aps"], principal.keys), (1, 1, 1));
    let identity = state.identities.iter().find(|identity| identity.arn == arn).unwrap();
    assert_eq!((identity.tags["team"].as_str(), identity.is_temporary), ("a", true));

    // The token is looked at in each later call.
    let without = Signer { token: None, ..session.clone() };
    assert_eq!(deliver(&running, &without).await.header("x-amzn-errortype"), "UnrecognizedClientException");
    let wrong = Signer { token: Some("another".into()), ..session.clone() };
    assert_eq!(deliver(&running, &wrong).await.header("x-amzn-errortype"), "UnrecognizedClientException");
    let s3 = Signer { service: "s3".into(), ..wrong.clone() };
    let mut put = http::Request::put(format!("{}/bucket/k", running.url())).body(b"x".to_vec()).unwrap();
    s3.sign(&mut put);
    let answer = support::send(&support::client(), put).await.unwrap();
    assert_eq!((answer.status, element(&answer.body, "Code").as_deref()), (400, Some("InvalidToken")));

    assert_eq!(running.expire_sessions(Some(OTHER)), 0);
    assert_eq!(running.expire_sessions(Some(ROLE)), 1);
    let answer = deliver(&running, &session).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, "ExpiredTokenException"));
    let answer = sts(&running, Some(&session), &[("Action", "GetCallerIdentity")]).await;
    assert_eq!((answer.status, element(&answer.body, "Code").as_deref()), (403, Some("ExpiredToken")));
}

#[tokio::test]
async fn a_trust_policy_lets_in_whom_it_names_and_nobody_else() {
    let limited =
        Identity::user("AKIDLIMITED", "hush").named("arn:aws:iam::000000000000:user/limited").allowing(["aps:*"]);
    let denied = Identity::user("AKIDDENIED", "hush").named(USER).denying(["sts:*"]);
    let foreign = Identity::user("AKIDFOREIGN", "hush").named("arn:aws:iam::111111111111:user/foreign");
    let roles = vec![
        Role::new(ROLE).trusting(Trust::aws("arn:aws:iam::000000000000:user/limited")),
        Role::new("arn:aws:iam::000000000000:role/by-root").trusting(Trust::aws("arn:aws:iam::000000000000:root")),
        Role::new("arn:aws:iam::000000000000:role/by-id")
            .trusting(Trust::aws("111111111111").with_external_id("id:1/2")),
        Role::new("arn:aws:iam::000000000000:role/for-user").trusting(Trust::aws(USER)),
    ];
    let running = start(SandboxConfig {
        identities: vec![Identity::example(), limited, denied, foreign],
        world: World { roles, ..World::default() },
        ..SandboxConfig::default()
    })
    .await;
    let key = |key: &str| Signer { key: key.into(), secret: "hush".into(), ..Signer::new("sts") };
    let (user, limited, denied, foreign) =
        (Signer::new("sts"), key("AKIDLIMITED"), key("AKIDDENIED"), key("AKIDFOREIGN"));
    let id: &[(&str, &str)] = &[("ExternalId", "id:1/2")];
    for (who, signer, role, more, status) in [
        ("named, without a policy of its own", &limited, ROLE, &[][..], 200),
        ("not named", &user, ROLE, &[], 403),
        ("of the account, with a policy", &user, "arn:aws:iam::000000000000:role/by-root", &[], 200),
        ("of the account, without one", &limited, "arn:aws:iam::000000000000:role/by-root", &[], 403),
        ("of another account", &foreign, "arn:aws:iam::000000000000:role/by-root", &[], 403),
        ("with the external id", &foreign, "arn:aws:iam::000000000000:role/by-id", id, 200),
        ("without it", &foreign, "arn:aws:iam::000000000000:role/by-id", &[], 403),
        ("with another", &foreign, "arn:aws:iam::000000000000:role/by-id", &[("ExternalId", "id:1/3")], 403),
        ("denied by its own policy", &denied, "arn:aws:iam::000000000000:role/for-user", &[], 403),
        ("of a role that is not there", &user, "arn:aws:iam::000000000000:role/none", &[], 403),
    ] {
        let answer = sts(&running, Some(signer), &form(role, more)).await;
        assert_eq!(answer.status, status, "{who}: {}", answer.body);
        if status == 403 {
            let message = element(&answer.body, "Message").unwrap();
            assert!(
                message.ends_with(&format!("is not authorized to perform: sts:AssumeRole on resource: {role}")),
                "{message}"
            );
            assert_eq!(element(&answer.body, "Code").as_deref(), Some("AccessDenied"));
        }
    }
    let state = running.state();
    assert_eq!(state.refusals.iter().filter(|row| row.name == "not_trusted").map(|row| row.count).sum::<u64>(), 7);
    assert!(state.recent_refusals.iter().any(|row| row.reason.contains("another external id")));
}

#[tokio::test]
async fn parameters_are_held_to_the_rules_of_sts() {
    let long = Role { max_session_s: 7200, ..Role::new(ROLE).trusting(Trust::aws(USER)) };
    let running = cloud(vec![long]).await;
    let signer = Signer::new("sts");
    let name = "x".repeat(65);
    let many: Vec<String> = (1..=51).map(|n| format!("Tags.member.{n}.Key")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), name.as_str())).collect();
    for (more, code, words) in [
        (&[("RoleSessionName", "x")][..], "ValidationError", "greater than or equal to 2"),
        (&[("RoleSessionName", &name)], "ValidationError", "less than or equal to 64"),
        (&[("RoleSessionName", "a b")], "ValidationError", "[\\w+=,.@-]*"),
        (
            &[("RoleSessionName", "")],
            "ValidationError",
            "'roleSessionName' failed to satisfy constraint: Member must not be null",
        ),
        (&[("DurationSeconds", "899")], "ValidationError", "greater than or equal to 900"),
        (&[("DurationSeconds", "43201")], "ValidationError", "less than or equal to 43200"),
        (&[("DurationSeconds", "7201")], "ValidationError", "exceeds the MaxSessionDuration set for this role"),
        (&[("ExternalId", "a b")], "ValidationError", "'externalId'"),
        (&[("Policy", "{}")], "ValidationError", "does not play the parameter Policy"),
        (&many, "ValidationError", "'tags'"),
        (&[("RoleArn", "nonsense")], "ValidationError", "nonsense is invalid"),
    ] {
        let answer = sts(&running, Some(&signer), &form(ROLE, more)).await;
        let found = (answer.status, element(&answer.body, "Code").unwrap_or_default());
        assert_eq!(found, (400, code.to_owned()), "{more:?}");
        assert!(element(&answer.body, "Message").unwrap().contains(words), "{more:?}: {}", answer.body);
    }
    let before = SystemTime::now();
    let answer = sts(&running, Some(&signer), &form(ROLE, &[("DurationSeconds", "7200")])).await;
    let key = session_of(&answer.body).key;
    let ends = running.state().identities.iter().find(|known| known.access_key_id == key).unwrap().expires_ms.unwrap();
    let asked = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64 + 7_200_000;
    assert!((asked - 1000..asked + 60_000).contains(&ends), "{ends} {asked}");
}

#[tokio::test]
async fn a_chain_of_roles_ends_each_session_after_an_hour() {
    let second = Role { max_session_s: 43_200, ..Role::new(OTHER).trusting(Trust::aws(ROLE).with_external_id("two")) };
    let running = cloud(vec![Role::new(ROLE).trusting(Trust::aws(USER)), second]).await;
    let first = session_of(&sts(&running, Some(&Signer::new("sts")), &form(ROLE, &[])).await.body);
    let id = ("ExternalId", "two");
    let refused = sts(&running, Some(&first), &form(OTHER, &[id, ("DurationSeconds", "3601")])).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("1 hour session limit for roles assumed by role chaining"), "{}", refused.body);
    let answer = sts(&running, Some(&first), &form(OTHER, &[id, ("DurationSeconds", "3600")])).await;
    let second = session_of(&answer.body);
    assert_eq!(deliver(&running, &second).await.status, 200);
    let arns: Vec<String> = running.state().principals.into_iter().map(|principal| principal.arn).collect();
    assert!(arns.contains(&"arn:aws:sts::111111111111:assumed-role/other/host-1".to_owned()), "{arns:?}");
    // A caller without the role in between is not let in.
    assert_eq!(sts(&running, Some(&Signer::new("sts")), &form(OTHER, &[id])).await.status, 403);
}

#[tokio::test]
async fn a_forged_or_stale_call_to_sts_gets_no_session() {
    let running = cloud(vec![Role::new(ROLE).trusting(Trust::aws("*"))]).await;
    let good = Signer::new("sts");
    let at = |shift: i64| {
        if shift < 0 {
            SystemTime::now() - Duration::from_secs(shift.unsigned_abs())
        } else {
            SystemTime::now() + Duration::from_secs(shift as u64)
        }
    };
    for (signer, code) in [
        (Some(Signer { secret: "wrong".into(), ..good.clone() }), "SignatureDoesNotMatch"),
        (Some(Signer { key: "AKIDNOBODY".into(), ..good.clone() }), "InvalidClientTokenId"),
        (Some(Signer { at: at(-301), ..good.clone() }), "SignatureDoesNotMatch"),
        (Some(Signer { at: at(360), ..good.clone() }), "SignatureDoesNotMatch"),
        (None, "MissingAuthenticationToken"),
    ] {
        let answer = sts(&running, signer.as_ref(), &form(ROLE, &[])).await;
        assert_eq!((answer.status, element(&answer.body, "Code").as_deref()), (403, Some(code)), "{}", answer.body);
    }
    // A body that was changed after signing.
    let mut request = http::Request::post(format!("{}/", running.url()))
        .body(
            b"Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fteam%2Fagent&RoleSessionName=a1"
                .to_vec(),
        )
        .unwrap();
    good.sign(&mut request);
    request.body_mut().extend_from_slice(b"b");
    let answer = support::send(&support::client(), request).await.unwrap();
    assert_eq!(element(&answer.body, "Code").as_deref(), Some("SignatureDoesNotMatch"));
    assert!(running.state().identities.iter().all(|known| !known.is_temporary));
}

#[tokio::test]
async fn a_web_identity_is_verified_before_it_becomes_a_role() {
    let issuer = TokenIssuer::generate_rsa(ISSUER).unwrap();
    let stranger = TokenIssuer::generate("https://stranger.example").unwrap();
    let forger = TokenIssuer::generate_rsa(ISSUER).unwrap();
    let role = Role::new(ROLE).trusting(Trust::web_identity(ISSUER, "system:serviceaccount:monitoring:*"));
    let world = World { roles: vec![role], issuers: vec![issuer.trust()], ..World::default() };
    let running = start(SandboxConfig { world, ..SandboxConfig::default() }).await;
    let soon = SystemTime::now() + Duration::from_secs(60);
    let past = SystemTime::now() - Duration::from_secs(60);
    let subject = "system:serviceaccount:monitoring:agent";
    let sts_audience = "sts.amazonaws.com";
    let ask = async |token: &str, role: &str| {
        let mut form = form(role, &[("WebIdentityToken", token), ("Action", "AssumeRoleWithWebIdentity")]);
        form.retain(|(name, _)| *name != "ExternalId");
        sts(&running, None, &form).await
    };
    for (token, role, status, code) in [
        (forger.token(subject, sts_audience, soon), ROLE, 400, "InvalidIdentityToken"),
        (stranger.token(subject, sts_audience, soon), ROLE, 400, "InvalidIdentityToken"),
        (issuer.token(subject, "other.example", soon), ROLE, 400, "InvalidIdentityToken"),
        (issuer.token(subject, sts_audience, past), ROLE, 400, "ExpiredTokenException"),
        (issuer.token("system:serviceaccount:default:agent", sts_audience, soon), ROLE, 403, "AccessDenied"),
        (issuer.token(subject, sts_audience, soon), OTHER, 403, "AccessDenied"),
    ] {
        let answer = ask(token.expose(), role).await;
        assert_eq!((answer.status, element(&answer.body, "Code").as_deref()), (status, Some(code)), "{}", answer.body);
    }
    assert_eq!(ask("nonsense", ROLE).await.status, 400);
    assert_eq!((running.state().refused, running.state().verified), (7, 0));
    let answer = ask(issuer.token(subject, sts_audience, soon).expose(), ROLE).await;
    assert_eq!(element(&answer.body, "SubjectFromWebIdentityToken").as_deref(), Some(subject));
    assert_eq!(deliver(&running, &session_of(&answer.body)).await.status, 200);
}

#[tokio::test]
async fn lifetimes_are_cut_short_and_keys_rotated_by_order() {
    let running = cloud(vec![Role::new(ROLE).trusting(Trust::aws(USER))]).await;
    order(&running, "sessions", r#"{"lifetime_ms": 700}"#).await;
    let answer = sts(&running, Some(&Signer::new("sts")), &form(ROLE, &[])).await;
    let session = session_of(&answer.body);
    let known = running.state().identities.into_iter().find(|known| known.access_key_id == session.key).unwrap();
    assert!(known.expires_ms.unwrap() - running.state().now_ms <= 700);
    order(&running, "sessions", r#"{"lifetime_ms": 0}"#).await;

    // The new key exists from a moment on, the old one until a later one.
    let now = running.state().now_ms;
    let old = format!(r#"{{"access_key_id": "AKIDSANDBOXEXAMPLE", "valid_until_ms": {}}}"#, now + 120_000);
    order(&running, "identities", &old).await;
    let new = format!(
        r#"{{"access_key_id": "AKIDNEXT", "secret_access_key": "next", "arn": "{USER}", "valid_from_ms": {}}}"#,
        now + 60_000
    );
    order(&running, "identities", &new).await;
    let (old, new) =
        (Signer::new("aps"), Signer { key: "AKIDNEXT".into(), secret: "next".into(), ..Signer::new("aps") });
    for (skew_ms, want) in [(0, (200, 403)), (60_000, (200, 200)), (120_000, (403, 200))] {
        running.clock().set_skew_ms(skew_ms);
        let found = (deliver(&running, &old).await.status, deliver(&running, &new).await.status);
        assert_eq!(found, want, "{skew_ms}");
    }
    running.clock().set_skew_ms(60_000);
    order(&running, "identities", r#"{"access_key_id": "AKIDNEXT", "active": false}"#).await;
    let answer = deliver(&running, &new).await;
    assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException");
    assert_eq!(running.state().recent_refusals[0].name, "inactive_key");
}

#[tokio::test]
async fn a_policy_that_changes_holds_for_sessions_that_are_already_out() {
    let running = cloud(vec![Role::new(ROLE).trusting(Trust::aws(USER))]).await;
    let session = session_of(&sts(&running, Some(&Signer::new("sts")), &form(ROLE, &[])).await.body);
    let arn = "arn:aws:sts::000000000000:assumed-role/agent/host-1";
    let resource = "arn:aws:aps:us-east-1:000000000000:workspace/ws-EXAMPLE";
    for (policy, ending) in [
        (r#""allow": ["s3:*"]"#, "because no identity-based policy allows the aps:RemoteWrite action"),
        (r#""deny": ["aps:*"]"#, "with an explicit deny in an identity-based policy"),
    ] {
        order(
            &running,
            "world",
            &format!(r#"{{"roles": [{{"arn": "{ROLE}", "trust": [{{"aws": "{USER}"}}], {policy}}}]}}"#),
        )
        .await;
        let answer = deliver(&running, &session).await;
        let words =
            format!("User: {arn} is not authorized to perform: aps:RemoteWrite on resource: {resource} {ending}");
        assert_eq!((answer.status, answer.body), (403, format!("{{\"message\":\"{words}\"}}")));
    }
    order(&running, "world", &format!(r#"{{"roles": [{{"arn": "{ROLE}", "trust": [{{"aws": "{USER}"}}]}}]}}"#)).await;
    assert_eq!(deliver(&running, &session).await.status, 200);
}
