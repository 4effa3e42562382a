//! `sigpost doctor` on single sources of credentials that fail, each for what exactly it lacks; and on configurations in which
//! there is nothing to examine.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::{Json, Router, http::StatusCode, routing::any};
use e2e::{desk::Desk, metadata};
use sandbox::{AnywhereProfile, Authority, Identity, Role, Running, Sandbox, SandboxConfig, Trust, TrustAnchor, World};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
const ROLE: &str = "arn:aws:iam::000000000000:role/writer";
const OTHER_ROLE: &str = "arn:aws:iam::000000000000:role/other";
const ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/p";
const HOUR: Duration = Duration::from_secs(3600);

async fn cloud(world: World) -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, world, ..SandboxConfig::default() }).await?)
}

fn entry(cloud: &Running, sigv4: &str) -> String {
    let url = cloud.remote_write_url("ws-1");
    format!("{{name: d, url: \"{url}\", sigv4: {{region: us-east-1, sts_endpoint: \"{}\", {sigv4}}}}}", cloud.url())
}

/// Every word of the report's first cause.
fn words(told: &Value) -> String {
    let first = &told["causes"][0];
    format!("{} {} {} {}", first["sentence"], first["detail"], first["do"], first["commands"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_as_metadata_gets_its_cause_and_never_ends_the_examination() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?.without("AWS_EC2_METADATA_DISABLED");
    let table = [
        ("[no role]\n<html>\u{202e}\u{1b}[2J", "{}", "imds_odd", "no name of a role"),
        ("<html><title>Sign in</title></html>", "{}", "imds_odd", "no name of a role"),
        ("writer", "<html><title>Sign in</title></html>", "imds_odd", "but a web page"),
        ("writer", "{\"Code\": \"Success\"}", "imds_odd", "has no AccessKeyId"),
        (
            "writer",
            "{\"Code\": \"AssumeRoleUnauthorizedAccess\", \"Message\": \"no\"}",
            "imds_role_refused",
            "ec2.amazonaws.com",
        ),
        ("", "{}", "imds_no_role", "no role is attached"),
    ];
    for (roles, document, wanted, word) in table {
        let endpoint = metadata::serving(roles, document).await?;
        let of_block = entry(&cloud, &format!("instance_metadata: {{endpoint: \"{endpoint}\"}}"));
        let (cause, told) = desk.cause(&of_block)?;
        assert_eq!(cause, wanted, "{roles:?} {document:?}\n{told:#}");
        assert!(words(&told).contains(word), "{word}: {told:#}");
    }
    // The standard chain comes there too.
    let endpoint = metadata::serving("[no role]", "{}").await?;
    let desk = Desk::new()?.without("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint);
    let (cause, told) =
        desk.cause(&entry(&cloud, "session_name: xy, role_arn: \"arn:aws:iam::000000000000:role/writer\""))?;
    assert_eq!(cause, "imds_odd", "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_that_fail_are_told_by_what_they_lack() -> Result<()> {
    let role = |trust| Role::new(ROLE).trusting(trust);
    let world =
        World { roles: vec![role(Trust::aws("arn:aws:iam::000000000000:user/somebody-else"))], ..World::default() };
    let cloud = cloud(world).await?;
    let desk = Desk::new()?;
    let empty = desk.write("empty", "")?;
    let nobody = format!("http://127.0.0.1:{}", e2e::free_port()?);
    let on_keys = format!("role_arn = {ROLE}\nsource_profile = keys");
    let keys = format!("[profile keys]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n");
    let shared =
        |name: &str, body: &str| -> Result<String> { desk.write(name, &format!("[profile a]\n{body}\n{keys}")) };
    let of = |file: &str| format!("profile: a, shared_config_file: \"{file}\", shared_credentials_file: \"{empty}\"");
    let missing = desk.path("not-there");
    let broken = desk.write("broken", "[profile a]\nregion = us-east-1\nno line at all\n")?;
    let table: Vec<(String, &str, Vec<&str>)> = vec![
        (of(&missing), "file_unreadable", vec![&missing, "No such file"]),
        (of(&broken), "profile_broken", vec![&broken, "line 3"]),
        (of(&shared("long", &format!("{on_keys}\nduration_seconds = 60"))?), "profile_value", vec!["duration_seconds"]),
        (
            of(&shared("source", &format!("role_arn = {ROLE}\ncredential_source = Nowhere"))?),
            "profile_value",
            vec!["credential_source"],
        ),
        (
            of(&shared("gone", &format!("role_arn = {ROLE}\nsource_profile = elsewhere"))?),
            "profile_unknown",
            vec!["profile elsewhere"],
        ),
        (of(&shared("half", "aws_access_key_id = AKIA1")?), "profile_incomplete", vec!["aws_secret_access_key"]),
        (of(&shared("sso", "sso_session = s")?), "profile_sso", vec!["SSO"]),
        (
            of(&shared("console", "login_session = arn:aws:iam::1:user/u")?),
            "profile_console_login",
            vec!["login_session"],
        ),
        (of(&shared("denied", &on_keys)?), "trust_policy", vec![ROLE]),
        (
            of(&shared("mfa", &format!("{on_keys}\nmfa_serial = arn:aws:iam::1:mfa/u"))?),
            "profile_mfa",
            vec!["mfa_serial", ROLE],
        ),
    ];
    for (sigv4, wanted, expected) in table {
        let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
        assert_eq!(cause, wanted, "{sigv4}\n{told:#}");
        for word in expected {
            assert!(words(&told).contains(word), "{word}: {told:#}");
        }
    }
    let down = entry(&cloud, &of(&shared("down", &on_keys)?))
        .replace(&format!("sts_endpoint: \"{}\"", cloud.url()), &format!("sts_endpoint: \"{nobody}\""));
    let (cause, told) = desk.cause(&down)?;
    assert_eq!(cause, "sts_unreachable", "{told:#}");
    assert!(words(&told).contains(&nobody), "{told:#}");
    // Keys that nobody knows below a role: which, and where they stand.
    let wrong = "access_key: AKIDNOBODY0000000001, secret_key: s-MARKER";
    let (cause, told) = desk.cause(&entry(&cloud, &format!("{wrong}, role_arn: \"{ROLE}\"")))?;
    assert_eq!(cause, "unknown_key", "{told:#}");
    assert!(words(&told).contains("access key AKIDNOBODY0000000001") && !words(&told).contains("KEY "), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_needs_no_code_works_and_the_key_without_effect_is_told() -> Result<()> {
    let user = Trust::aws("arn:aws:iam::000000000000:user/sandbox");
    let cloud = cloud(World { roles: vec![Role::new(ROLE).trusting(user)], ..World::default() }).await?;
    let desk = Desk::new()?;
    let shared = desk.write(
        "config",
        &format!(
            "[profile a]\nrole_arn = {ROLE}\nsource_profile = b\nmfa_serial = arn:aws:iam::1:mfa/u\n[profile b]\naws_access_key_id = {KEY_ID}\n\
             aws_secret_access_key = {SECRET}\n"
        ),
    )?;
    let empty = desk.write("credentials", "")?;
    let sigv4 = format!("profile: a, shared_config_file: \"{shared}\", shared_credentials_file: \"{empty}\"");
    let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
    assert_eq!((cause.as_str(), told["notes"][0]["cause"].as_str()), ("none", Some("profile_key_ignored")), "{told:#}");
    assert!(told["notes"][0]["detail"].as_str().unwrap_or_default().contains("profile a names mfa_serial"), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_roles_anywhere_and_files_that_are_no_pem_are_told_apart() -> Result<()> {
    let (authority, stranger) = (Authority::generate()?, Authority::generate()?);
    let trusted = Trust::service("rolesanywhere.amazonaws.com");
    let world = World {
        roles: vec![Role::new(ROLE).trusting(trusted.clone()), Role::new(OTHER_ROLE).trusting(trusted)],
        trust_anchors: vec![TrustAnchor::new(ANCHOR, authority.certificate_pem())],
        profiles: vec![AnywhereProfile::new(PROFILE, [ROLE])],
        ..World::default()
    };
    let cloud = cloud(world).await?;
    let desk = Desk::new()?;
    let now = SystemTime::now();
    let (leaf_pem, key_pem) = authority.issue_client("host", now - HOUR, now + HOUR)?;
    let (other_pem, other_key) = stranger.issue_client("host", now - HOUR, now + HOUR)?;
    let leaf = desk.write("leaf.pem", &leaf_pem)?;
    let key = desk.write("leaf.key", key_pem.expose())?;
    let (other, other_key) = (desk.write("other.pem", &other_pem)?, desk.write("other.key", other_key.expose())?);
    let cut = desk.write("cut.pem", &leaf_pem[..leaf_pem.len() / 2])?;
    let der = desk.write("leaf.der", "0\u{1}\u{2}\u{3}")?;
    let block = |certificate: &str, key: &str, more: &str| {
        format!(
            "roles_anywhere: {{trust_anchor_arn: \"{ANCHOR}\", profile_arn: \"{PROFILE}\", role_arn: \"{ROLE}\", certificate: \"{certificate}\", \
             private_key: \"{key}\", endpoint: \"{}\"{more}}}",
            cloud.url()
        )
    };
    let good = block(&leaf, &key, "");
    let table: Vec<(String, &str, &str)> = vec![
        (good.clone(), "none", ""),
        (block(&other, &other_key, ""), "roles_anywhere_refused", "Untrusted certificate"),
        (block(&leaf, &key, ", session_name: mine"), "anywhere_session_name", "remove session_name"),
        (block(&leaf, &key, ", session_duration: 12h"), "anywhere_duration", "session_duration"),
        (good.replace("trust-anchor/a", "trust-anchor/b"), "anywhere_missing", "trust-anchor/b"),
        (good.replace(ROLE, OTHER_ROLE), "anywhere_role", OTHER_ROLE),
        (block(&cut, &key, ""), "not_pem", "is cut off: the section that begins at line 1"),
        (block(&der, &key, ""), "not_pem", "is DER, not PEM"),
        (block(&leaf, &leaf, ""), "not_pem", "holds a certificate (line 1) and no private key"),
        (block(&key, &key, ""), "not_pem", "holds a private key (line 1) and no certificate"),
        (
            good.replace(&cloud.url(), &format!("http://127.0.0.1:{}", e2e::free_port()?)),
            "anywhere_unreachable",
            "connection refused",
        ),
    ];
    for (sigv4, wanted, word) in table {
        let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
        assert_eq!(cause, wanted, "{sigv4}\n{told:#}");
        assert!(words(&told).contains(word), "{word}: {told:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_and_half_an_environment_are_told_in_their_own_words() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let refuse =
        any(|| async { (StatusCode::BAD_REQUEST, Json(json!({"message": "no association \u{202e}for this pod"}))) });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let refusing = format!("http://{}/v1/credentials", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(refuse)).await });
    let desk = Desk::new()?;
    let token = desk.write("token", "t\n")?;
    let with = |file: &str| entry(&cloud, &format!("container: {{endpoint: \"{refusing}\", token_file: \"{file}\"}}"));
    let (cause, told) = desk.cause(&with("/nonexistent/token"))?;
    assert_eq!(cause, "container_token", "{told:#}");
    assert!(!words(&told).contains("eks.amazonaws.com/role-arn"), "advice for another kind of identity: {told:#}");
    let (cause, told) = desk.cause(&with(&token))?;
    assert_eq!(cause, "container_failed", "{told:#}");
    assert!(words(&told).contains("HTTP 400: no association <U+202E>for this pod"), "{told:#}");

    let half = Desk::new()?.env("AWS_ACCESS_KEY_ID", "AKIA1");
    let (cause, told) = half.cause(&entry(&cloud, &format!("role_arn: \"{ROLE}\"")))?;
    assert_eq!(cause, "environment_half", "{told:#}");
    assert!(words(&told).contains("AWS_SECRET_ACCESS_KEY"), "{told:#}");
    let why = told["identity"]["sources"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_are_told_by_the_services_clock() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    // Two hours ahead of this machine: what ends in an hour here is over there.
    cloud.clock().set_skew_ms(7_200_000);
    let desk = Desk::new()?;
    let end = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1))?;
    let helper = desk.write(
        "helper.sh",
        &format!(
            "echo '{{\"Version\": 1, \"AccessKeyId\": \"{KEY_ID}\", \"SecretAccessKey\": \"{SECRET}\", \"Expiration\": \"{end}\"}}'\n"
        ),
    )?;
    let said = desk.doctor(&[entry(&cloud, &format!("credential_process: \"sh {helper}\""))], &[])?;
    assert!(
        said.text.contains("  expired      60 min ago") || said.text.contains("  expired      59 min ago"),
        "{}",
        said.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_no_bucket_can_have_are_refused_by_check_and_told_by_doctor() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let keys =
        format!("region: us-east-1, access_key: {KEY_ID}, secret_key: {SECRET}, sts_endpoint: \"{}\"", cloud.url());
    for (bucket, why) in [("b1", "too short"), ("AB_C", "capital"), ("a_bc", "underscore"), ("a..b", "two dots")] {
        let at_aws = format!("{{name: d, url: \"https://s3.us-east-1.amazonaws.com/{bucket}/p\", sigv4: {{{keys}}}}}");
        let said = desk.doctor(&[at_aws], &[])?;
        assert!(said.code == Some(1) && said.errors.contains(why), "{bucket}: {}", said.errors);
        let said = desk.check()?;
        assert!(
            said.code == Some(1) && said.errors.contains("agent.yaml:5:") && said.errors.contains(why),
            "{}",
            said.errors
        );

        // Another store may take it, and says so itself.
        let elsewhere =
            format!("{{name: d, url: \"{}/{bucket}/p\", sigv4: {{service_name: s3, {keys}}}}}", cloud.url());
        let (cause, told) = desk.cause(&elsewhere)?;
        assert_eq!(cause, "bucket_name", "{told:#}");
        let said = desk.check()?;
        assert!(said.code == Some(0) && said.errors.contains(why), "{}", said.errors);
        let said = desk.doctor(&[elsewhere], &["--write-probe"])?;
        assert!(said.code == Some(1) && !said.text.contains("--write-probe"), "{}", said.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradictions_and_files_that_cannot_be_read_are_told_by_check() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let keys = format!("access_key: {KEY_ID}, secret_key: {SECRET}");
    for (sigv4, expected) in [
        (
            format!("{keys}, use_fips: true"),
            vec!["`sts_endpoint` and `use_fips: true` contradict", "remove `use_fips`"],
        ),
        (format!("{keys}, use_dualstack: true"), vec!["`sts_endpoint` and `use_dualstack: true` contradict"]),
        (format!("{keys}, role_arn: \"{ROLE}\", session_tags: {{'AWS:team': x}}"), vec!["begins with aws:"]),
        (format!("{keys}, role_arn: \"arn:aws:s3:::bucket:x\""), vec!["is not a role's ARN"]),
    ] {
        let entry = entry(&cloud, &sigv4);
        let said = desk.doctor(std::slice::from_ref(&entry), &[])?;
        assert_eq!(said.code, Some(1), "{}", said.errors);
        let checked = desk.check()?;
        assert_eq!(checked.code, Some(1));
        for word in expected {
            assert!(
                checked.errors.contains(word) && checked.errors.contains("agent.yaml:5:"),
                "{word}: {}",
                checked.errors
            );
        }
        // A machine that asks gets an answer, too.
        let json = desk.doctor(&[entry], &["--json"])?;
        assert_eq!(json.code, Some(1));
        let told = json.json()?;
        assert_eq!((told["ok"].as_bool(), told["problems"][0]["line"].as_u64()), (Some(false), Some(5)), "{told:#}");
        assert!(told["problems"][0]["message"].as_str().is_some_and(|m| !m.is_empty()), "{told:#}");
        assert!(!json.text.contains("MARKER") && !json.errors.contains("MARKER"));
    }
    let not_there = desk.run(&["nosuch.yaml"], &["--json"])?;
    assert_eq!(not_there.code, Some(1));
    assert!(not_there.json()?["error"].as_str().is_some_and(|e| e.contains("nosuch.yaml")), "{}", not_there.text);

    let unreadable = entry(&cloud, &keys).replace("name: d,", "name: d, tls_config: {ca_file: /nonexistent/ca.pem},");
    desk.doctor(&[unreadable], &[])?;
    let checked = desk.check()?;
    assert_eq!(checked.code, Some(0), "{}", checked.errors);
    assert!(
        checked.errors.contains("destination d: cannot read the trusted certificates file /nonexistent/ca.pem"),
        "{}",
        checked.errors
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_everything_is_switched_off_there_is_nothing_to_examine() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let keys = format!("access_key: {KEY_ID}, secret_key: {SECRET}");
    let off = entry(&cloud, &keys).replace("name: d,", "name: d, enabled: false,");
    let said = desk.doctor(std::slice::from_ref(&off), &[])?;
    assert_eq!(said.code, Some(3), "{}", said.text);
    assert!(said.text.contains("nothing was examined") && said.text.contains("--destination NAME"), "{}", said.text);
    assert_eq!(desk.doctor(&[off], &["--json"])?.json()?["ok"], false);
    Ok(())
}
