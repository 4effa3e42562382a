//! `sigpost doctor` on identities that fail in ways that look like others: each is told as what it is, by the real binary.

use std::{
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    http::StatusCode,
    response::{Html, IntoResponse},
};
use e2e::desk::Desk;
use sandbox::{Authority, Fault, Identity, Outcome, Running, Sandbox, SandboxConfig};
use serde_json::Value;

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
const ROLE: &str = "arn:aws:iam::000000000000:role/writer";
const WRITE: &str = "/workspaces/ws-1/api/v1/remote_write";

async fn cloud(identities: Vec<Identity>) -> Result<Running> {
    Ok(Sandbox::start(SandboxConfig { identities, ..SandboxConfig::default() }).await?)
}

async fn plain_cloud() -> Result<Running> {
    cloud(vec![Identity::user(KEY_ID, SECRET)]).await
}

fn entry(cloud: &Running, sigv4: &str) -> String {
    let url = cloud.remote_write_url("ws-1");
    format!("{{name: d, url: \"{url}\", sigv4: {{region: us-east-1, sts_endpoint: \"{}\", {sigv4}}}}}", cloud.url())
}

fn keys(more: &str) -> String {
    format!("access_key: {KEY_ID}, secret_key: {SECRET}, {more}")
}

/// Every word of the report's first cause.
fn words(told: &Value) -> String {
    let first = &told["causes"][0];
    format!("{} {} {} {}", first["sentence"], first["detail"], first["do"], first["commands"])
}

fn profile_of(desk: &Desk, name: &str, body: &str) -> Result<String> {
    let shared = desk.write(name, &format!("[profile a]\n{body}\n"))?;
    let empty = desk.write("empty", "")?;
    Ok(format!("profile: a, shared_config_file: \"{shared}\", shared_credentials_file: \"{empty}\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_no_container_is_told_so() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let of_profile = profile_of(&desk, "config", &format!("role_arn = {ROLE}\ncredential_source = EcsContainer"))?;
    for sigv4 in ["container: {}", &of_profile] {
        let (cause, told) = desk.cause(&entry(&cloud, sigv4))?;
        assert_eq!(cause, "container_unnamed", "{sigv4}\n{told:#}");
        for word in ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "not passed to the agent"] {
            assert!(words(&told).contains(word), "{word}: {told:#}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_leads_to_metadata_gets_its_diagnosis_at_the_address_that_it_names() -> Result<()> {
    let cloud = plain_cloud().await?;
    let nobody = format!("http://127.0.0.1:{}", e2e::free_port()?);
    let leads = format!("role_arn = {ROLE}\ncredential_source = Ec2InstanceMetadata");
    let open = || Ok::<_, anyhow::Error>(Desk::new()?.without("AWS_EC2_METADATA_DISABLED"));
    let desk = open()?;
    let at = |desk: &Desk, endpoint: &str| {
        profile_of(desk, "config", &format!("{leads}\nec2_metadata_service_endpoint = {endpoint}"))
    };
    // No role on the instance, as the sandbox plays it until it is told otherwise.
    let (cause, told) = desk.cause(&entry(&cloud, &at(&desk, &cloud.url())?))?;
    assert_eq!(cause, "imds_no_role", "{told:#}");
    let (cause, told) = desk.cause(&entry(&cloud, &at(&desk, &nobody)?))?;
    assert_eq!(cause, "imds_unreachable", "{told:#}");
    assert!(words(&told).contains(&nobody), "{told:#}");
    // Through another profile, and with a role of the block on top.
    let through = format!(
        "role_arn = {ROLE}\nsource_profile = b\nec2_metadata_service_endpoint = {nobody}\n[profile b]\n{leads}"
    );
    let sigv4 = format!("{}, role_arn: \"{ROLE}\"", profile_of(&desk, "config", &through)?);
    assert_eq!(desk.cause(&entry(&cloud, &sigv4))?.0, "imds_unreachable");
    // The standard chain's profile names it too.
    let shared = desk.write("chain", &format!("[default]\nec2_metadata_service_endpoint = {}\n", cloud.url()))?;
    let chain = open()?.env("AWS_CONFIG_FILE", shared);
    assert_eq!(chain.cause(&entry(&cloud, &format!("role_arn: \"{ROLE}\"")))?.0, "imds_no_role");
    // A variable wins over the profile.
    let by_variable = open()?.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.url());
    assert_eq!(by_variable.cause(&entry(&cloud, &at(&by_variable, &nobody)?))?.0, "imds_no_role");
    // What is no address is told with the profile and the key.
    for (key, value) in [("ec2_metadata_service_endpoint", "localhost"), ("ec2_metadata_service_endpoint_mode", "IPv7")]
    {
        let sigv4 = profile_of(&desk, "config", &format!("{leads}\n{key} = {value}"))?;
        let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
        assert_eq!(cause, "profile_value", "{told:#}");
        assert!(words(&told).contains(&format!("{key} of profile a")), "{told:#}");
    }
    assert!(cloud.fault(Fault {
        service: Some("imds".to_owned()),
        resource: Some("/latest/api/token".to_owned()),
        times: 0,
        outcome: Outcome::Hang,
        ..Fault::default()
    }));
    assert_eq!(desk.cause(&entry(&cloud, &at(&desk, &cloud.url())?))?.0, "imds_hop_limit");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_url_with_a_path_is_shown_as_it_is_sent_to_and_blamed_where_it_doubles_the_path() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let url = format!("https://aps-workspaces.us-east-1.amazonaws.com{WRITE}");
    let sent_by = |endpoint: &str| {
        let keys = keys("");
        format!(
            "{{name: d, url: \"{url}\", endpoint_url: \"{endpoint}\", sigv4: {{region: us-east-1, {keys} sts_endpoint: \"{}\"}}}}",
            cloud.url()
        )
    };
    assert_eq!(desk.cause(&sent_by(&cloud.url()))?.0, "none");
    let doubled = sent_by(&format!("{}{WRITE}", cloud.url()));
    let (cause, told) = desk.cause(&doubled)?;
    assert_eq!(cause, "endpoint_path", "{told:#}");
    assert!(words(&told).contains(&format!("endpoint_url: {}", cloud.url())), "{told:#}");
    let page = desk.doctor(&[doubled], &[])?.text;
    let sent_to = format!("(sent to {}{WRITE}{WRITE})", cloud.url());
    let joined = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains(&sent_to), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helper_that_prints_credentials_that_are_over_is_blamed_itself() -> Result<()> {
    let over = "ASIADOCTOREXPIRED001";
    let expired = Identity::user(over, SECRET)
        .with_session_token("token-MARKER")
        .expiring_at(SystemTime::now() - Duration::from_secs(3600));
    let cloud = cloud(vec![Identity::user(KEY_ID, SECRET), expired]).await?;
    let desk = Desk::new()?;
    let end = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(1))?;
    let printing = |key: &str| {
        desk.write(
            &format!("{key}.sh"),
            &format!(
                "echo '{{\"Version\": 1, \"AccessKeyId\": \"{key}\", \"SecretAccessKey\": \"{SECRET}\", \"SessionToken\": \"token-MARKER\", \
                 \"Expiration\": \"{end}\"}}'\n"
            ),
        )
    };
    let (dead, alive) = (printing(over)?, printing(KEY_ID)?);
    let of_profile = profile_of(&desk, "config", &format!("credential_process = sh {dead}"))?;
    for sigv4 in [
        format!("credential_process: \"sh {dead}\""),
        of_profile,
        // The service would take these, and the agent does not believe it for longer than one answer.
        format!("credential_process: \"sh {alive}\"").replace(&alive, &{
            let text = std::fs::read_to_string(&alive)?.replace(", \"SessionToken\": \"token-MARKER\"", "");
            desk.write("alive.sh", &text)?
        }),
        // A role is asked for with them.
        format!("credential_process: \"sh {dead}\", role_arn: \"{ROLE}\""),
    ] {
        let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
        assert_eq!(cause, "process_stale", "{sigv4}\n{told:#}");
        assert!(words(&told).contains("cache") && words(&told).contains("clock"), "{told:#}");
    }
    // Beside what else is wrong.
    let nobody = format!("http://127.0.0.1:{}", e2e::free_port()?);
    let unreachable = entry(&cloud, &format!("credential_process: \"sh {dead}\""))
        .replace(&format!("url: \"{}", cloud.url()), &format!("url: \"{nobody}"));
    let (cause, told) = desk.cause(&unreachable)?;
    let second = told["causes"][1]["cause"].as_str();
    assert_eq!((cause.as_str(), second), ("connection_refused", Some("process_stale")), "{told:#}");
    Ok(())
}

fn openssl(args: &[&str]) -> Result<()> {
    let ran = Command::new("openssl").args(args).output().context("openssl")?;
    ensure!(ran.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_certificates_in_other_wrappings_are_told_with_the_command_that_unwraps_them() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let [plain, old, new, der, leaf, leaf_der, noise] =
        ["plain.key", "old.key", "new.key", "key.der", "leaf.pem", "leaf.der", "noise"].map(|name| desk.path(name));
    openssl(&["genrsa", "-traditional", "-out", &plain, "2048"])?;
    openssl(&["rsa", "-in", &plain, "-traditional", "-aes256", "-passout", "pass:x", "-out", &old])?;
    openssl(&["pkcs8", "-topk8", "-in", &plain, "-passout", "pass:x", "-out", &new])?;
    openssl(&["rsa", "-in", &plain, "-outform", "der", "-out", &der])?;
    openssl(&["req", "-x509", "-key", &plain, "-subj", "/CN=agent", "-days", "2", "-out", &leaf])?;
    openssl(&["x509", "-in", &leaf, "-outform", "der", "-out", &leaf_der])?;
    std::fs::write(&noise, [0xff_u8, 0xfe, 0, 1, 0x80])?;
    ensure!(std::fs::read_to_string(&old)?.contains("Proc-Type: 4,ENCRYPTED"), "openssl wrote another wrapping");
    ensure!(std::fs::read_to_string(&leaf_der).is_err(), "a certificate that is text");
    let block = |certificate: &str, key: &str| {
        format!(
            "roles_anywhere: {{trust_anchor_arn: \"arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a\", \
             profile_arn: \"arn:aws:rolesanywhere:us-east-1:000000000000:profile/p\", role_arn: \"{ROLE}\", certificate: \"{certificate}\", \
             private_key: \"{key}\", endpoint: \"{}\"}}",
            cloud.url()
        )
    };
    let table: Vec<(String, &str, Vec<String>)> = vec![
        (block(&leaf, &old), "key_encrypted", vec![format!("openssl pkcs8 -topk8 -nocrypt -in {old}")]),
        (block(&leaf, &new), "key_encrypted", vec![format!("openssl pkcs8 -topk8 -nocrypt -in {new}")]),
        (block(&leaf, &der), "not_pem", vec![der.clone(), "is DER, not PEM: convert it with openssl pkey".into()]),
        (
            block(&leaf_der, &plain),
            "not_pem",
            vec![leaf_der.clone(), "is DER, not PEM: convert it with openssl x509".into()],
        ),
        (block(&noise, &plain), "not_pem", vec![noise.clone(), "is binary, not PEM".into()]),
        (
            format!("access_key: {KEY_ID}, secret_key_file: \"{noise}\""),
            "secret_malformed",
            vec![noise.clone(), "is binary".into()],
        ),
        (format!("access_key: {KEY_ID}, secret_key_file: \"{der}\""), "secret_malformed", vec!["is DER".into()]),
    ];
    for (sigv4, wanted, expected) in table {
        let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
        assert_eq!(cause, wanted, "{sigv4}\n{told:#}");
        for word in expected {
            assert!(words(&told).contains(&word), "{word}: {told:#}");
        }
    }
    Ok(())
}

/// Answers everything with a page, as proxies and load balancers do.
async fn page(status: StatusCode) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = move || async move {
        (status, Html("<html><head><title>Access Denied</title></head><body>Blocked by policy</body></html>"))
            .into_response()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Ok(format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_refuses_is_something_between_and_no_missing_permission() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let blocking = page(StatusCode::FORBIDDEN).await?;
    let signed = |url: &str, more: &str| {
        format!("{{name: d, url: \"{url}\", sigv4: {{region: us-east-1, {more} sts_endpoint: \"{}\"}}}}", cloud.url())
    };
    let with_password =
        format!("{{name: d, url: \"{blocking}/api/v1/write\", basic_auth: {{username: u, password: p-MARKER}}}}");
    let bucket = signed(&format!("{blocking}/bucket/prefix"), &keys("service_name: s3,"));
    for entry in [signed(&format!("{blocking}{WRITE}"), &keys("")), bucket, with_password] {
        let (cause, told) = desk.cause(&entry)?;
        assert_eq!(cause, "page_between", "{entry}\n{told:#}");
        assert!(words(&told).contains("something between") && words(&told).contains("Access Denied"), "{told:#}");
        assert!(told["causes"][0]["iam"].is_null(), "{told:#}");
    }
    // In place of STS.
    for status in [StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE] {
        let sts = page(status).await?;
        let role = entry(&cloud, &keys(&format!("role_arn: \"{ROLE}\"")));
        let (cause, told) = desk
            .cause(&role.replace(&format!("sts_endpoint: \"{}\"", cloud.url()), &format!("sts_endpoint: \"{sts}\"")))?;
        assert_eq!(cause, "odd_answer", "{told:#}");
        assert!(words(&told).contains("a web page titled") && words(&told).contains("Access Denied"), "{told:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_row_of_the_clock_says_which_way_it_is_wrong() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    for (skew_ms, clock, date) in [(620_000, "10 min behind", "later"), (-620_000, "10 min ahead", "earlier")] {
        cloud.clock().set_skew_ms(skew_ms);
        let said = desk.doctor(&[entry(&cloud, &keys(""))], &[])?;
        let row = said.text.lines().find(|line| line.starts_with("  clock ")).context("a row for the clock")?;
        assert!(row.contains(clock) && row.contains(date), "{row}");
        assert!(row.contains("fix NTP"), "{row}");
        let json = desk.doctor(&[entry(&cloud, &keys(""))], &["--json"])?.json()?;
        let offset = json["destinations"][0]["clock_offset_ms"].as_i64().context("an offset")?;
        assert!((offset - skew_ms).abs() < 20_000, "{offset}");
        assert!(
            json["destinations"][0]["notes"][0]["sentence"].as_str().unwrap_or_default().contains(clock),
            "{json:#}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sts_in_trouble_is_not_the_identitys_fault() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let token = desk.write("token.jwt", "a.b.c")?;
    for status in [500, 503] {
        assert!(cloud.fault(Fault::answer("sts", status).times(0)));
        for sigv4 in [
            keys(&format!("role_arn: \"{ROLE}\"")),
            format!("web_identity: {{role_arn: \"{ROLE}\", token_file: \"{token}\"}}"),
        ] {
            let (cause, told) = desk.cause(&entry(&cloud, &sigv4))?;
            assert_eq!(cause, "issuer_in_trouble", "{sigv4}\n{told:#}");
            assert!(words(&told).contains("STS") && words(&told).contains(&status.to_string()), "{told:#}");
        }
        cloud.reset();
    }
    let throttle = Fault::outcome("sts", Outcome::Throttle).times(0);
    assert!(cloud.fault(throttle));
    assert_eq!(desk.cause(&entry(&cloud, &keys(&format!("role_arn: \"{ROLE}\""))))?.0, "issuer_in_trouble");
    Ok(())
}

#[test]
fn the_commands_for_keys_are_those_of_the_openssl_that_is_here() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name).display().to_string();
    openssl(&["genrsa", "-traditional", "-out", &at("plain"), "2048"])?;
    openssl(&["rsa", "-in", &at("plain"), "-traditional", "-aes256", "-passout", "pass:x", "-out", &at("old")])?;
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &at("old"), "-passin", "pass:x", "-out", &at("out")])?;
    let text = std::fs::read_to_string(Path::new(&at("out")))?;
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"), "{text}");
    Ok(())
}

/// Answers each request with this status and JSON.
async fn store(status: StatusCode, body: Value) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = move || {
        let body = body.clone();
        async move { (status, axum::Json(body)) }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Ok(format!("http://{address}"))
}

/// Takes connections and says nothing.
async fn silence() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            open.push(socket);
        }
    });
    Ok(format!("http://{address}"))
}

/// What doctor says of a file with these blocks beside its only destination.
fn examined(desk: &Desk, entry: &str, blocks: &str) -> Result<Value> {
    let file = desk.write(
        "stores.yaml",
        &format!("{blocks}\nmetrics:\n  configs:\n    - name: default\n      remote_write:\n        - {entry}\n"),
    )?;
    let said = desk.run(&[&file], &["--json"])?;
    assert!(!said.text.contains("MARKER") && !said.errors.contains("MARKER"), "{}{}", said.text, said.errors);
    Ok(said.json()?["destinations"][0].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_of_secrets_says_is_told_with_its_own_way_out() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let of = |reference: &str| entry(&cloud, &format!("access_key: {KEY_ID}, secret_key: \"{reference}\""));
    let vault = |address: &str| format!("vault: {{address: \"{address}\", token: t-MARKER}}");
    let denied = store(StatusCode::FORBIDDEN, serde_json::json!({"errors": ["permission denied"]})).await?;
    let gone = format!("http://127.0.0.1:{}", e2e::free_port()?);
    let silent = silence().await?;
    for (address, word) in [(&denied, "permission denied"), (&gone, "refused"), (&silent, "no complete answer")] {
        let told = examined(&desk, &of("vault://kv/agent#key"), &vault(address))?;
        assert_eq!(told["cause"], "vault_secret_missing", "{told:#}");
        assert!(words(&told).contains(word) && words(&told).contains("`vault` block"), "{word}: {told:#}");
        assert!(!words(&told).contains("being asked for"), "{told:#}");
    }
    // A password is a secret too.
    let url = cloud.remote_write_url("ws-1");
    let with_password =
        format!("{{name: d, url: \"{url}\", basic_auth: {{username: u, password: \"vault://kv/agent#key\"}}}}");
    assert_eq!(examined(&desk, &with_password, &vault(&denied))?["cause"], "vault_secret_missing");
    // AWS says no, in its own words.
    let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:one-AbCdEf";
    let said = format!(
        "User: arn:aws:iam::000000000000:user/reader is not authorized to perform: secretsmanager:GetSecretValue on resource: {arn} because no \
         identity-based policy allows the secretsmanager:GetSecretValue action"
    );
    let body = serde_json::json!({"__type": "AccessDeniedException", "Message": said});
    let refusing = store(StatusCode::BAD_REQUEST, body).await?;
    let secrets = format!(
        "secrets: {{aws: {{region: us-east-1, {} }}, secretsmanager_endpoint: \"{refusing}\"}}",
        keys("").trim_end_matches([' ', ','])
    );
    let told = examined(&desk, &of("aws-secretsmanager://one#key"), &secrets)?;
    assert_eq!(told["cause"], "stored_secret_denied", "{told:#}");
    assert_eq!(told["causes"][0]["iam"]["action"], "secretsmanager:GetSecretValue");
    assert_eq!(told["causes"][0]["iam"]["resource"], arn);
    let first = told["causes"][0]["do"][0].as_str().unwrap_or_default();
    assert!(
        first.contains(&format!(
            "\"Effect\": \"Allow\", \"Action\": \"secretsmanager:GetSecretValue\", \"Resource\": \"{arn}\""
        )),
        "{first}"
    );
    assert!(!told["causes"][0]["detail"].as_str().unwrap_or_default().ends_with("..."), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_takes_the_question_and_stays_silent_is_named() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let silent = silence().await?;
    let with_role = entry(&cloud, &keys(&format!("role_arn: \"{ROLE}\"")))
        .replace(&format!("sts_endpoint: \"{}\"", cloud.url()), &format!("sts_endpoint: \"{silent}\""));
    let told = examined(&desk, &with_role, "")?;
    assert_eq!(told["cause"], "sts_unreachable", "{told:#}");
    assert!(words(&told).contains(&silent), "{told:#}");
    assert_eq!(told["identity"]["region"], "us-east-1", "{told:#}");
    let (leaf, key) = Authority::generate()?.issue("agent.example")?;
    let (leaf, key) = (desk.write("leaf.pem", &leaf)?, desk.write("leaf.key", key.expose())?);
    let anywhere = format!(
        "roles_anywhere: {{trust_anchor_arn: \"arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a\", \
         profile_arn: \"arn:aws:rolesanywhere:us-east-1:000000000000:profile/p\", role_arn: \"{ROLE}\", certificate: \"{leaf}\", \
         private_key: \"{key}\", endpoint: \"{silent}\"}}"
    );
    let told = examined(&desk, &entry(&cloud, &anywhere), "")?;
    assert_eq!(told["cause"], "anywhere_unreachable", "{told:#}");
    assert!(words(&told).contains(silent.trim_start_matches("http://")), "{told:#}");
    let commands = told["causes"][0]["commands"].to_string();
    assert!(commands.contains(&silent) && !commands.contains("amazonaws"), "{told:#}");
    assert_eq!(told["identity"]["region"], "us-east-1", "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_is_not_set_never_makes_another_identity_sign() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    for key in ["role_arn", "profile"] {
        let entry = entry(&cloud, &format!("{key}: \"${{NOROLE}}\""));
        let said = desk.doctor(&[entry], &["-config.expand-env"])?;
        assert_eq!(said.code, Some(1), "{}{}", said.text, said.errors);
        assert!(said.errors.contains("NOROLE is not set"), "{}", said.errors);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_written_is_no_success() -> Result<()> {
    let cloud = plain_cloud().await?;
    let desk = Desk::new()?;
    let file = desk.write(
        "full.yaml",
        &format!(
            "metrics:\n  configs:\n    - name: default\n      remote_write:\n        - {}\n",
            entry(&cloud, &keys(""))
        ),
    )?;
    for flags in [&["--json"][..], &[]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
        let ran = Command::new(e2e::peers::sigpost()?).arg("doctor").arg(&file).args(flags).stdout(full).output()?;
        assert_ne!(ran.status.code(), Some(0), "{ran:?}");
        assert!(String::from_utf8_lossy(&ran.stderr).contains("cannot be written"), "{ran:?}");
    }
    Ok(())
}
