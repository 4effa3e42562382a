//! `sigpost doctor` on identities in trouble, beyond what `doctor` shows: certificates that end, secrets that are none,
//! profiles without a region, metadata that refuses, token servers that are down, and what the advice is filled in with.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use axum::{Router, http::StatusCode, routing::any};
use e2e::desk::Desk;
use sandbox::{
    AnywhereProfile, Authority, Identity, Instance, ProxyListener, Role, Running, Sandbox, SandboxConfig, TlsListener,
    Trust, TrustAnchor, World,
};
use serde_json::Value;
use tokio::net::TcpListener;

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
const ROLE: &str = "arn:aws:iam::000000000000:role/writer";
const ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/p";
const DAY: Duration = Duration::from_secs(86_400);

async fn cloud(world: World) -> Result<Running> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    Ok(Sandbox::start(SandboxConfig { identities, world, ..SandboxConfig::default() }).await?)
}

fn entry(url: &str, cloud: &Running, sigv4: &str) -> String {
    format!("{{name: d, url: \"{url}\", sigv4: {{sts_endpoint: \"{}\", {sigv4}}}}}", cloud.url())
}

fn keys(more: &str) -> String {
    format!("access_key: {KEY_ID}, secret_key: {SECRET}, {more}").trim_end_matches([' ', ',']).to_owned()
}

fn detail(told: &Value) -> &str {
    told["causes"][0]["detail"].as_str().unwrap_or_default()
}

/// The advice in one text.
fn advice(told: &Value) -> String {
    format!("{} {} {}", told["causes"][0]["sentence"], told["causes"][0]["do"], told["causes"][0]["commands"])
}

/// Answers everything with this status.
async fn answering(status: StatusCode) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(
        async move { axum::serve(listener, Router::new().fallback(any(move || async move { status }))).await },
    );
    Ok(format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_certificates_is_shown_and_told_when_it_is_near() -> Result<()> {
    let authority = Authority::generate()?;
    let world = World {
        roles: vec![Role::new(ROLE).trusting(Trust::service("rolesanywhere.amazonaws.com"))],
        trust_anchors: vec![TrustAnchor::new(ANCHOR, authority.certificate_pem())],
        profiles: vec![AnywhereProfile::new(PROFILE, [ROLE])],
        ..World::default()
    };
    let cloud = cloud(world).await?;
    let desk = Desk::new()?;
    let now = SystemTime::now();
    let issue = |name: &str, from: SystemTime, until: SystemTime| -> Result<(String, String)> {
        let (leaf, key) = authority.issue_client("host1.example", from, until)?;
        Ok((desk.write(&format!("{name}.pem"), &leaf)?, desk.write(&format!("{name}.key"), key.expose())?))
    };
    let block = |(leaf, key): &(String, String)| {
        let anywhere = format!(
            "region: us-east-1, roles_anywhere: {{trust_anchor_arn: \"{ANCHOR}\", profile_arn: \"{PROFILE}\", role_arn: \"{ROLE}\", \
             certificate: \"{leaf}\", private_key: \"{key}\", endpoint: \"{}\"}}",
            cloud.url()
        );
        entry(&cloud.remote_write_url("ws-1"), &cloud, &anywhere)
    };
    let (fresh, ending) =
        (issue("fresh", now - DAY, now + 300 * DAY)?, issue("ending", now - 55 * DAY, now + 5 * DAY)?);
    let over = issue("over", now - 60 * DAY, now - 2 * DAY)?;
    let (cause, told) = desk.cause(&block(&fresh))?;
    assert_eq!((cause.as_str(), told["notes"].as_array().map(Vec::len)), ("none", Some(0)), "{told:#}");
    let shown = &told["identity"]["certificates"][0];
    assert_eq!(
        (shown["subject"].as_str(), shown["place"].as_str()),
        (Some("CN=host1.example"), Some(fresh.0.as_str()))
    );
    assert!(shown["expires"].is_string() && told["identity"]["expires"].is_string(), "{told:#}");
    let page = desk.doctor(&[block(&fresh)], &[])?.text;
    assert!(page.contains("  certificate  CN=host1.example, ends in 299 days"), "{page}");

    let (cause, told) = desk.cause(&block(&ending))?;
    assert_eq!((cause.as_str(), told["notes"][0]["cause"].as_str()), ("none", Some("own_certificate_ends_soon")));
    assert!(told["notes"][0]["do"].to_string().contains(&ending.0), "{told:#}");

    let (cause, told) = desk.cause(&block(&over))?;
    assert_eq!(cause, "certificate_expired", "{told:#}");
    for words in ["CN=host1.example", over.0.as_str(), "expired at"] {
        assert!(detail(&told).contains(words), "{words}: {told:#}");
    }
    assert!(advice(&told).contains(&format!("openssl x509 -in {}", over.0)), "{told:#}");
    let (cause, told) = desk.cause(&block(&(fresh.0.clone(), ending.1.clone())))?;
    assert_eq!(cause, "key_not_of_certificate");
    for path in [&fresh.0, &ending.1] {
        assert!(detail(&told).contains(path) && advice(&told).contains(path), "{path}: {told:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_are_none_and_profiles_that_lack_something_are_named_with_their_files() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let url = cloud.remote_write_url("ws-1");
    let two = desk.write("two", &format!("{SECRET}\nanother-MARKER\n"))?;
    let none = desk.write("none", "")?;
    let document = desk.write("document", r#"{"user":"x","password":"y"}"#)?;
    let device = "/dev/zero".to_owned();
    let (id_file, secret_file) = (desk.write("id", SECRET)?, desk.write("secret", KEY_ID)?);
    let swapped = format!("region: us-east-1, access_key_file: \"{id_file}\", secret_key_file: \"{secret_file}\"");
    let shared = desk.write(
        "shared",
        "[profile p]\noutput = json\n[profile a]\nrole_arn = arn:aws:iam::000000000000:role/x\nsource_profile = b\n\
         [profile b]\nrole_arn = arn:aws:iam::000000000000:role/x\nsource_profile = a\n",
    )?;
    let held = desk.write("held", &format!("[p]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"))?;
    let profile =
        |name: &str| format!("profile: {name}, shared_config_file: \"{shared}\", shared_credentials_file: \"{held}\"");
    let file = |path: &str| format!("region: us-east-1, access_key: {KEY_ID}, secret_key_file: \"{path}\"");
    let helper =
        "region: us-east-1, credential_process: \"echo SecretAccessKey=hunter2-MARKER >&2; exit 1\"".to_owned();
    let circle = format!("region: us-east-1, {}", profile("a"));
    let table: Vec<(String, &str, Vec<&str>)> = vec![
        (file(&two), "secret_malformed", vec![&two, "2 lines"]),
        (file(&none), "secret_malformed", vec![&none, "is empty"]),
        (file(&document), "secret_malformed", vec![&document, "holds a document"]),
        (file(&device), "file_unreadable", vec!["no regular file"]),
        // An id that has not AWS's form: the service says that there is no such key, and what was written is still not shown.
        (swapped.clone(), "unknown_key", vec![]),
        (profile("p"), "profile_without_region", vec!["profile p", &shared, "set region in the sigv4 block"]),
        (circle.clone(), "profile_loop", vec!["a -> b"]),
        (format!("region: us-east-1, {}", profile("p")), "none", vec![]),
        (helper, "process_failed", vec!["SecretAccessKey=<masked>", "exit status: 1"]),
    ];
    for (sigv4, wanted, words) in table {
        let (cause, told) = desk.cause(&entry(&url, &cloud, &sigv4))?;
        assert_eq!(cause, wanted, "{sigv4}\n{told:#}");
        for word in words {
            assert!(detail(&told).contains(word), "{word}: {told:#}");
        }
    }
    let (_, told) = desk.cause(&entry(&url, &cloud, &circle))?;
    assert!(advice(&told).contains(&shared) && advice(&told).contains(&held), "{told:#}");
    // The whole report: never that requests go unsigned, and what to write where.
    let page = desk.doctor(&[entry(&url, &cloud, &profile("p"))], &[])?.text;
    assert!(!page.contains("neither signed"), "{page}");
    assert!(page.contains("write region = us-east-1 under [profile p] in"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_like_a_reference_to_a_secret_is_told_with_its_spelling() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    for (written, spelling) in [
        ("file:/run/secret", "write file:///path/to/secret"),
        ("env:AWS_SECRET", "write env://NAME"),
        (
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:agent-AbCdEf",
            "write aws-secretsmanager:// before the ARN",
        ),
    ] {
        let sigv4 = format!("region: us-east-1, access_key: {KEY_ID}, secret_key: '{written}'");
        let said = desk.doctor(&[entry(&cloud.remote_write_url("ws-1"), &cloud, &sigv4)], &[])?;
        let errors = said.errors.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(errors.contains("looks like a reference") && errors.contains(spelling), "{}", said.errors);
        assert_eq!(said.code, Some(1));
    }
    let group = "{name: d, url: 'https://logs.us-east-1.amazonaws.com/', log_group: '/a b?*', sigv4: {}}".to_owned();
    let said = desk.doctor_of_logs(&[group], &[])?;
    assert!(said.code == Some(1) && said.errors.contains("AWS allows no ' ' '*' '?' in it"), "{}", said.errors);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_refuses_is_told_from_metadata_that_is_silent() -> Result<()> {
    let instance = Instance::new(ROLE);
    let role = Role::new(ROLE).trusting(Trust::service("ec2.amazonaws.com"));
    let cloud = cloud(World { roles: vec![role], instance: Some(instance), ..World::default() }).await?;
    let desk = Desk::new()?.without("AWS_EC2_METADATA_DISABLED");
    let url = cloud.remote_write_url("ws-1");
    let metadata = |endpoint: &str| entry(&url, &cloud, &format!("instance_metadata: {{endpoint: \"{endpoint}\"}}"));
    // Nothing but the block's own metadata service names a region.
    let (cause, told) = desk.cause(&metadata(&cloud.url()))?;
    assert_eq!((cause.as_str(), told["identity"]["region"].as_str()), ("none", Some("us-east-1")), "{told:#}");
    assert_eq!(told["identity"]["region_from"], "instance metadata");
    let closed = answering(StatusCode::FORBIDDEN).await?;
    let with_region = metadata(&closed).replace("instance_metadata", "region: us-east-1, instance_metadata");
    let (cause, told) = desk.cause(&with_region)?;
    assert_eq!(cause, "imds_refused", "{told:#}");
    let sentence = told["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("answers, and refuses (HTTP 403)"), "{sentence}");
    assert!(!detail(&told).contains("hop limit") && advice(&told).contains("--http-endpoint enabled"), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_server_that_is_down_is_blamed_itself() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let nobody = format!("http://127.0.0.1:{}/oauth2/token", e2e::free_port()?);
    let refusing = format!("{}/oauth2/token", answering(StatusCode::UNAUTHORIZED).await?);
    let with = |token_url: &str| {
        let oauth2 = format!("oauth2: {{client_id: c, client_secret: s-MARKER, token_url: \"{token_url}\"}}");
        format!("{{name: d, url: \"{}/api/v1/write\", {oauth2}}}", cloud.url())
    };
    let (cause, told) = desk.cause(&with(&nobody))?;
    assert_eq!(cause, "token_server_unreachable", "{told:#}");
    let sentence = told["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains(&nobody) && detail(&told).contains("no OAuth2 token from 127.0.0.1"), "{told:#}");
    assert!(advice(&told).contains(&nobody), "{told:#}");
    // And where the destination is down as well, both are told, each by its own name.
    let both = with(&nobody).replace(&cloud.url(), &format!("http://127.0.0.1:{}", e2e::free_port()?));
    let (_, told) = desk.cause(&both)?;
    let causes: Vec<&str> =
        told["causes"].as_array().context("causes")?.iter().filter_map(|c| c["cause"].as_str()).collect();
    assert_eq!(causes, ["connection_refused", "token_server_unreachable"], "{told:#}");
    let (cause, told) = desk.cause(&with(&refusing))?;
    assert_eq!(cause, "no_token", "{told:#}");
    assert!(told["sentence"].as_str().unwrap_or_default().contains(&refusing), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_helper_gets_the_time_that_the_agent_gives_it_and_whoever_waits_is_told() -> Result<()> {
    let cloud = cloud(World::default()).await?;
    let desk = Desk::new()?;
    let json = format!(r#"{{\"Version\":1,\"AccessKeyId\":\"{KEY_ID}\",\"SecretAccessKey\":\"{SECRET}\"}}"#);
    let helper = desk.write("helper.sh", &format!("sleep 15\necho \"{json}\"\n"))?;
    let sigv4 = format!("region: us-east-1, credential_process: \"sh {helper}\"");
    let said = desk.doctor(&[entry(&cloud.remote_write_url("ws-1"), &cloud, &sigv4)], &[])?;
    assert_eq!(said.code, Some(0), "{}{}", said.text, said.errors);
    assert!(said.errors.contains("d: waiting for credential_process: 5 s of at most 65 s"), "{}", said.errors);
    assert!(!said.errors.contains("MARKER") && !said.text.contains("MARKER"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_only_amp_has_are_named() -> Result<()> {
    let authority = Authority::generate()?;
    let (certificate_pem, key_pem) = authority.issue("127.0.0.1")?;
    let listen = "127.0.0.1:0".parse()?;
    let cloud = Sandbox::start(SandboxConfig {
        identities: vec![Identity::user(KEY_ID, SECRET)],
        tls: Some(TlsListener { listen, certificate_pem, key_pem }),
        proxy: Some(ProxyListener { listen, authority: authority.clone(), hosts: Vec::new() }),
        ..SandboxConfig::default()
    })
    .await?;
    let desk = Desk::new()?;
    let ca = desk.write("ca.pem", authority.certificate_pem())?;
    let proxy = format!("http://{}", cloud.proxy_address().context("a proxy")?);
    let desk = desk.env("HTTPS_PROXY", proxy).env("SSL_CERT_FILE", ca);
    let amp = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
    let signed = |more: &str| format!("{{name: d, url: \"{amp}\", sigv4: {{{}}}}}", keys(more));
    let table = [
        (signed(""), "none"),
        (format!("{{name: d, url: \"{amp}\", basic_auth: {{username: u, password: p-MARKER}}}}"), "unsigned"),
        (signed("service_name: s3"), "wrong_service"),
    ];
    for (entry, wanted) in table {
        let (cause, told) = desk.cause(&entry)?;
        assert_eq!(cause, wanted, "{entry}\n{told:#}");
    }
    // Two hours slow: requests are signed with AWS's time, and every sample is too old.
    cloud.clock().set_skew_ms(7_200_000);
    let (cause, told) = desk.cause(&signed(""))?;
    assert_eq!(cause, "clock_too_slow", "{told:#}");
    assert!(told["sentence"].as_str().unwrap_or_default().contains(" behind, and AMP refuses"), "{told:#}");
    Ok(())
}
