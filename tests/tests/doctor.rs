//! `sigpost doctor` on broken set-ups: each must be named for what it is, with what to do, by the real binary.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    routing::any,
};
use e2e::desk::Desk;
use sandbox::{
    AnywhereProfile, Authority, Fault, Identity, Outcome, ProxyListener, Role, Running, Sandbox, SandboxConfig,
    TlsListener, TokenIssuer, Trust, TrustAnchor, World,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
const ROLE: &str = "arn:aws:iam::000000000000:role/writer";

async fn sandbox(config: SandboxConfig) -> Result<Running> {
    Ok(Sandbox::start(config).await?)
}

async fn plain_sandbox() -> Result<Running> {
    sandbox(SandboxConfig { identities: vec![Identity::user(KEY_ID, SECRET)], ..SandboxConfig::default() }).await
}

/// An entry that writes to `sandbox` with the keys given and STS there too; `more` goes into the sigv4 block.
fn signed(sandbox: &Running, secret: &str, more: &str) -> String {
    let url = sandbox.remote_write_url("ws-1");
    entry(&url, sandbox, &format!("region: us-east-1, access_key: {KEY_ID}, secret_key: {secret}, {more}"))
}

fn entry(url: &str, sandbox: &Running, sigv4: &str) -> String {
    let sigv4 = sigv4.trim_end_matches([' ', ',']);
    format!("{{name: d, url: \"{url}\", sigv4: {{sts_endpoint: \"{}\", {sigv4}}}}}", sandbox.url())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_up_that_works_is_told_so_and_stores_nothing() -> Result<()> {
    let cloud = sandbox(SandboxConfig {
        identities: vec![Identity::user(KEY_ID, SECRET)],
        record: true,
        ..SandboxConfig::default()
    })
    .await?;
    let desk = Desk::new()?;
    let (cause, told) = desk.cause(&signed(&cloud, SECRET, ""))?;
    assert_eq!(cause, "none", "{told:#}");
    assert_eq!(told["identity"]["caller"]["arn"], "arn:aws:iam::000000000000:user/sandbox");
    assert_eq!(told["identity"]["region_from"], "the configuration");
    assert_eq!(told["network"]["addresses"][0], "127.0.0.1");
    let bucket = entry(
        &format!("{}/bucket/prefix", cloud.url()),
        &cloud,
        &format!("service_name: s3, region: us-east-1, access_key: {KEY_ID}, secret_key: {SECRET}"),
    );
    let (cause, told) = desk.cause(&bucket)?;
    assert_eq!((cause.as_str(), told["protocol"].as_str()), ("none", Some("s3")), "{told:#}");
    assert!(!std::path::Path::new(&desk.path("data-agent")).exists(), "doctor made a data directory");
    assert!(cloud.objects().is_empty() && cloud.samples(None, None).is_empty());

    let written =
        desk.doctor(&[signed(&cloud, SECRET, ""), bucket.replace("name: d", "name: b")], &["--write-probe"])?;
    assert_eq!(written.code, Some(0), "{}", written.text);
    assert_eq!(cloud.samples(None, Some("sigpost_doctor_probe")).len(), 1);
    assert_eq!(cloud.objects().len(), 1);
    assert!(written.text.contains("2 of 2 destinations would accept data"), "{}", written.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_keys_and_signatures_are_named() -> Result<()> {
    let cloud = sandbox(SandboxConfig {
        identities: vec![
            Identity::user(KEY_ID, SECRET),
            Identity::user("ASIADOCTOREXPIRED001", SECRET)
                .with_session_token("token-MARKER")
                .expiring_at(SystemTime::now() - Duration::from_secs(60)),
            Identity::user("AKIDDOCTORPOWERLESS1", SECRET).allowing(["aps:QueryMetrics"]),
        ],
        region: Some("us-east-1".to_owned()),
        ..SandboxConfig::default()
    })
    .await?;
    let desk = Desk::new()?;
    let key = |id: &str, more: &str| {
        let keys = format!("region: us-east-1, access_key: {id}, secret_key: {SECRET}, {more}");
        entry(&cloud.remote_write_url("ws-1"), &cloud, &keys)
    };
    let at = |url: &str, more: &str| {
        let keys = format!("access_key: {KEY_ID}, secret_key: {SECRET}, {more}");
        entry(&format!("{}{url}", cloud.url()), &cloud, &keys)
    };
    let right = "/workspaces/ws-1/api/v1/remote_write";
    let table = [
        (signed(&cloud, "wrong-secret-MARKER", ""), "wrong_secret"),
        (at(right, "region: eu-west-1"), "wrong_region"),
        (at(right, "region: us-east-1, service_name: monitoring"), "wrong_service"),
        (key("ASIADOCTOREXPIRED001", "session_token: token-MARKER"), "expired_token"),
        (key("AKIDNOBODY0000000001", ""), "unknown_key"),
        (key("AKIDDOCTORPOWERLESS1", ""), "missing_permission"),
        (at("/workspaces/ws-1/api/v1/remote_write/", "region: us-east-1, service_name: aps"), "trailing_slash"),
        (at("/workspaces/ws-1/api/v1/write_remote", "region: us-east-1, service_name: aps"), "wrong_path"),
        (signed(&cloud, SECRET, "").replace("name: d,", "name: d, headers: {X-Scope-OrgID: tenant},"), "tenant_header"),
    ];
    for (entry, wanted) in table {
        let (cause, told) = desk.cause(&entry)?;
        assert_eq!(cause, wanted, "{entry}\n{told:#}");
    }
    let (_, told) = desk.cause(&key("AKIDDOCTORPOWERLESS1", ""))?;
    assert_eq!(told["causes"][0]["iam"]["action"], "aps:RemoteWrite");
    assert_eq!(told["causes"][0]["iam"]["resource"], "arn:aws:aps:us-east-1:000000000000:workspace/ws-1");
    let bucket = at("/bucket/p", "region: us-east-1, service_name: s3").replace(KEY_ID, "AKIDDOCTORPOWERLESS1");
    let (cause, told) = desk.cause(&bucket)?;
    assert_eq!(cause, "missing_permission", "{told:#}");
    assert_eq!(told["causes"][0]["iam"]["action"], "s3:PutObject");
    assert_eq!(told["causes"][0]["iam"]["resource"], "arn:aws:s3:::bucket/p/*");
    let (_, told) = desk.cause(&signed(&cloud, "wrong-secret-MARKER", ""))?;
    assert!(
        told["causes"][0]["detail"].as_str().unwrap_or_default().contains("very request that was signed"),
        "{told:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_is_told_whether_it_is_corrected_or_not() -> Result<()> {
    let cloud = plain_sandbox().await?;
    cloud.clock().set_skew_ms(600_000);
    let desk = Desk::new()?;
    let (cause, told) = desk.cause(&signed(&cloud, SECRET, ""))?;
    assert_eq!(cause, "none", "{told:#}");
    assert_eq!(told["notes"][0]["cause"], "clock_off");
    assert!(told["notes"][0]["sentence"].as_str().unwrap_or_default().contains("fix NTP"), "{told:#}");
    let offset = told["clock_offset_ms"].as_i64().context("an offset")?;
    assert!((590_000..=610_000).contains(&offset), "{offset}");
    let uncorrected = Desk::new()?.env("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "true");
    assert_eq!(uncorrected.cause(&signed(&cloud, SECRET, ""))?.0, "clock_skew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_credential_sources_are_named() -> Result<()> {
    let issuer = TokenIssuer::generate("https://issuer.example")?;
    let authority = Authority::generate()?;
    let anchor = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a";
    let profile = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/p";
    let stranger = Trust::aws("arn:aws:iam::000000000000:user/somebody-else");
    let kubernetes = Trust::web_identity("https://issuer.example", "system:serviceaccount:ns:agent");
    let world = World {
        roles: vec![Role::new(ROLE).trusting(stranger).trusting(kubernetes)],
        issuers: vec![issuer.trust()],
        trust_anchors: vec![TrustAnchor::new(anchor, authority.certificate_pem())],
        profiles: vec![AnywhereProfile::new(profile, [ROLE])],
        ..World::default()
    };
    let cloud =
        sandbox(SandboxConfig { identities: vec![Identity::user(KEY_ID, SECRET)], world, ..SandboxConfig::default() })
            .await?;
    let desk = Desk::new()?;
    let url = cloud.remote_write_url("ws-1");
    let region = "region: us-east-1";
    let (leaf, _) = authority.issue("agent.example")?;
    let (_, other_key) = authority.issue("agent.example")?;
    let (leaf, key) = (desk.write("leaf.pem", &leaf)?, desk.write("key.pem", other_key.expose())?);
    let token = |subject: &str, audience: &str, name: &str| {
        let end = SystemTime::now() + Duration::from_secs(600);
        desk.write(name, issuer.token(subject, audience, end).expose())
    };
    let agent = "system:serviceaccount:ns:agent";
    let (wrong_token, right_token) =
        (token(agent, "vault", "wrong.jwt")?, token(agent, "sts.amazonaws.com", "right.jwt")?);
    let other_subject = token("system:serviceaccount:ns:another", "sts.amazonaws.com", "other.jwt")?;
    let loops = desk.write(
        "config",
        &format!(
            "[profile a]\nrole_arn = {ROLE}\nsource_profile = b\n[profile b]\nrole_arn = {ROLE}\nsource_profile = a\n"
        ),
    )?;
    let empty = desk.write("credentials", "")?;
    let web = |file: &str| format!("{region}, web_identity: {{role_arn: \"{ROLE}\", token_file: \"{file}\"}}");
    let anywhere = format!(
        "{region}, roles_anywhere: {{trust_anchor_arn: \"{anchor}\", profile_arn: \"{profile}\", role_arn: \"{ROLE}\", \
         certificate: \"{leaf}\", private_key: \"{key}\", endpoint: \"{}\"}}",
        cloud.url()
    );
    let table = [
        (format!("{region}, role_arn: \"{ROLE}\", access_key: {KEY_ID}, secret_key: {SECRET}"), "trust_policy"),
        (web(&wrong_token), "web_identity_refused"),
        // Whom the trust policy does not know, and a role that is not there: AWS says the same of both.
        (web(&other_subject), "web_identity_trust"),
        (web(&right_token).replace(ROLE, "arn:aws:iam::000000000000:role/nobody"), "web_identity_trust"),
        (web("/nonexistent/token"), "token_file_unreadable"),
        (web(&right_token), "none"),
        (format!("{region}, access_key: {KEY_ID}, secret_key_file: /nonexistent/secret"), "file_unreadable"),
        (anywhere, "key_not_of_certificate"),
        (
            format!("{region}, profile: a, shared_config_file: \"{loops}\", shared_credentials_file: \"{empty}\""),
            "profile_loop",
        ),
        (
            format!("{region}, profile: nobody, shared_config_file: \"{loops}\", shared_credentials_file: \"{empty}\""),
            "profile_unknown",
        ),
        (format!("{region}, credential_process: \"echo no >&2; exit 3\""), "process_failed"),
        (region.to_owned(), "no_credentials"),
    ];
    for (sigv4, wanted) in table {
        let (cause, told) = desk.cause(&entry(&url, &cloud, &sigv4))?;
        assert_eq!(cause, wanted, "{sigv4}\n{told:#}");
    }
    let denied = format!("{region}, role_arn: \"{ROLE}\", access_key: {KEY_ID}, secret_key: {SECRET}");
    let (_, told) = desk.cause(&entry(&url, &cloud, &denied))?;
    assert_eq!(told["causes"][0]["iam"]["action"], "sts:AssumeRole");
    assert_eq!(told["causes"][0]["iam"]["resource"], ROLE);

    // No region anywhere, and one that is empty: the second is an error of the file, told as `check` tells it.
    let (cause, told) = desk.cause(&entry(&url, &cloud, &format!("role_arn: \"{ROLE}\"")))?;
    assert_eq!(cause, "no_region", "{told:#}");
    let said = desk.doctor(&[format!("{{name: d, url: \"{url}\", sigv4: {{region: }}}}")], &[])?;
    assert_eq!(said.code, Some(1));
    assert!(said.errors.contains("no region") && said.errors.contains("agent.yaml:"), "{}", said.errors);

    // The list of what was considered.
    let (_, told) = desk.cause(&entry(&url, &cloud, region))?;
    let sources = told["identity"]["sources"].as_array().context("a list of sources")?;
    let names: Vec<&str> = sources.iter().filter_map(|s| s["source"].as_str()).collect();
    assert_eq!(names, ["environment", "shared files", "web identity", "container", "instance metadata"], "{told:#}");
    assert!(sources.iter().all(|s| s["outcome"] == "absent" && s["why"].as_str().is_some_and(|w| !w.is_empty())));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_limit_is_told_from_a_metadata_service_that_is_not_there() -> Result<()> {
    let cloud = plain_sandbox().await?;
    let desk = Desk::new()?.without("AWS_EC2_METADATA_DISABLED");
    let metadata = |endpoint: &str| {
        let block = format!("region: us-east-1, instance_metadata: {{endpoint: \"{endpoint}\"}}");
        entry(&cloud.remote_write_url("ws-1"), &cloud, &block)
    };
    // An instance without a role, as the sandbox plays it until it is told otherwise.
    assert_eq!(desk.cause(&metadata(&cloud.url()))?.0, "imds_no_role");
    assert!(cloud.fault(Fault {
        service: Some("imds".to_owned()),
        resource: Some("/latest/api/token".to_owned()),
        times: 0,
        outcome: Outcome::Hang,
        ..Fault::default()
    }));
    let (cause, told) = desk.cause(&metadata(&cloud.url()))?;
    assert_eq!(cause, "imds_hop_limit", "{told:#}");
    assert!(told["causes"][0]["commands"][0].as_str().unwrap_or_default().contains("http-put-response-hop-limit 2"));
    let nobody = format!("http://127.0.0.1:{}", e2e::free_port()?);
    assert_eq!(desk.cause(&metadata(&nobody))?.0, "imds_unreachable");
    Ok(())
}

/// Answers every connection with these bytes once it has sent a head.
async fn answering(bytes: &'static [u8]) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut chunk = [0; 4096];
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut chunk).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => head.extend_from_slice(&chunk[..n]),
                    }
                }
                let _ = stream.write_all(bytes).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    Ok(address.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_way_are_named() -> Result<()> {
    let authority = Authority::generate()?;
    let (certificate_pem, key_pem) = authority.issue("127.0.0.1")?;
    let listen = "127.0.0.1:0".parse()?;
    let cloud = sandbox(SandboxConfig {
        identities: vec![Identity::user(KEY_ID, SECRET)],
        tls: Some(TlsListener { listen, certificate_pem, key_pem }),
        proxy: Some(ProxyListener { listen, authority: authority.clone(), hosts: Vec::new() }),
        ..SandboxConfig::default()
    })
    .await?;
    let refusing = answering(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await?;
    let asking = answering(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await?;
    let tls = format!("https://127.0.0.1:{}/api/v1/write", cloud.tls_address().context("TLS")?.port());
    let named = tls.replace("127.0.0.1", "localhost");
    let down = format!("http://127.0.0.1:{}/api/v1/write", e2e::free_port()?);
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let silent = format!("http://{}/api/v1/write", deaf.local_addr()?);
    let plain_as_tls = format!("https://127.0.0.1:{}/api/v1/write", cloud.address().port());
    let desk = Desk::new()?;
    let ca = desk.write("ca.pem", authority.certificate_pem())?;
    let far = "https://receiver.example/api/v1/write";
    let through = |proxy: &str| format!("{{name: d, url: \"{far}\", proxy_url: \"http://{proxy}\"}}");
    let to = |url: &str, more: &str| format!("{{name: d, url: \"{url}\", {more}}}").replace(", }", "}");
    let trusting = format!("tls_config: {{ca_file: \"{ca}\"}}");
    let table = [
        (to("https://receiver.invalid/api/v1/write", ""), "dns_unknown"),
        (to(&down, ""), "connection_refused"),
        (to(&silent, ""), "no_answer"),
        (through(&refusing), "proxy_refused"),
        (through(&asking), "proxy_wants_password"),
        (through(&format!("127.0.0.1:{}", e2e::free_port()?)), "proxy_unreachable"),
        (to(&tls, ""), "tls_untrusted"),
        (to(&tls, &trusting), "none"),
        (to(&named, &trusting), "tls_wrong_name"),
        (to(&plain_as_tls, ""), "tls_not_spoken"),
        (to(&tls, "tls_config: {ca_file: /nonexistent/ca.pem}"), "settings_unusable"),
    ];
    for (entry, wanted) in table {
        let (cause, told) = desk.cause(&entry)?;
        assert_eq!(cause, wanted, "{entry}\n{told:#}");
    }
    let (_, told) = desk.cause(&to(&tls, ""))?;
    let chain = &told["network"]["tls"]["chain"];
    assert_eq!(chain[0]["issuer"], "CN=sigpost sandbox throwaway authority", "{told:#}");
    let insecure = desk.cause(&to(&tls, "tls_config: {insecure_skip_verify: true}"))?;
    assert_eq!((insecure.0.as_str(), insecure.1["notes"][0]["cause"].as_str()), ("none", Some("unverified_tls")));

    // AWS's own names behind a proxy that opens TLS: untrusted first, then trusted, and told in both.
    let proxy = format!("http://{}", cloud.proxy_address().context("a proxy")?);
    let aws = "https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write";
    let entry = format!("{{name: d, url: \"{aws}\", sigv4: {{access_key: {KEY_ID}, secret_key: {SECRET}}}}}");
    let inspected = Desk::new()?.env("HTTPS_PROXY", &proxy);
    let (cause, told) = inspected.cause(&entry)?;
    assert_eq!(cause, "tls_inspected", "{told:#}");
    let trusted = Desk::new()?.env("HTTPS_PROXY", &proxy).env("SSL_CERT_FILE", &ca);
    let (cause, told) = trusted.cause(&entry)?;
    assert_eq!(cause, "none", "{told:#}");
    assert_eq!(told["notes"][0]["cause"], "tls_opened");
    assert_eq!(told["network"]["proxy"]["connects"], true);
    assert_eq!(told["identity"]["region_from"], "the endpoint's host name");
    assert_eq!(told["identity"]["caller"]["account"], "000000000000");
    Ok(())
}

/// A receiver behind something that changes a header on the way: it shows the canonical request that it computed.
async fn altering(request: Request) -> (StatusCode, HeaderMap, String) {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let authorization = text("authorization");
    let names = authorization.split("SignedHeaders=").nth(1).and_then(|r| r.split(',').next()).unwrap_or_default();
    let lines: String = names
        .split(';')
        .map(|name| match name {
            "host" => "host:inside.example\n".to_owned(),
            name => format!("{name}:{}\n", text(name)),
        })
        .collect();
    let canonical = format!("POST\n{}\n\n{lines}\n{names}\nhash", request.uri().path());
    let message = format!(
        "The request signature we calculated does not match the signature you provided.\n\nThe Canonical String for this \
         request should have been\n'{canonical}'\n"
    );
    let mut answer = HeaderMap::new();
    answer.insert("x-amzn-errortype", "InvalidSignatureException".parse().expect("a header"));
    (StatusCode::FORBIDDEN, answer, serde_json::json!({ "message": message }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_changed_on_its_way_is_compared_line_by_line() -> Result<()> {
    let cloud = plain_sandbox().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(altering))).await });
    let desk = Desk::new()?;
    let keys = format!("region: us-east-1, access_key: {KEY_ID}, secret_key: {SECRET}, session_token: token-MARKER");
    let (cause, told) =
        desk.cause(&entry(&format!("http://{address}/workspaces/ws-1/api/v1/remote_write"), &cloud, &keys))?;
    assert_eq!(cause, "request_altered", "{told:#}");
    let detail = told["causes"][0]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("header host") && detail.contains("inside.example"), "{detail}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_are_not_aws_are_examined_too() -> Result<()> {
    let cloud = plain_sandbox().await?;
    let desk = Desk::new()?;
    let to = |url: &str, more: &str| format!("{{name: d, url: \"{url}\", {more}}}").replace(", }", "}");
    let write = format!("{}/api/v1/write", cloud.url());
    let password = "basic_auth: {username: u, password: pass-MARKER}";
    assert_eq!(desk.cause(&to(&write, password))?.0, "none");
    let locked = answering(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await?;
    let moved =
        answering(b"HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\ncontent-length: 0\r\n\r\n").await?;
    let portal = answering(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 28\r\n\r\n<html><title>Sign in</title>",
    )
    .await?;
    let broken = answering(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await?;
    let missing = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
    let busy = answering(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n").await?;
    let picky = answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nempty").await?;
    for (at, more, wanted) in [
        (&locked, password, "login_refused"),
        (&locked, "authorization: {credentials: token-MARKER}", "login_refused"),
        (&moved, "", "redirected"),
        (&portal, "", "not_the_service"),
        (&broken, "", "receiver_broken"),
        (&missing, "", "not_found"),
        (&busy, "", "throttled"),
        (&picky, "", "probe_refused"),
    ] {
        let (cause, told) = desk.cause(&to(&format!("http://{at}/api/v1/write"), more))?;
        assert_eq!(cause, wanted, "{told:#}");
    }
    let secret = "basic_auth: {username: u, password_file: /nonexistent/password}";
    assert_eq!(desk.cause(&to(&write, secret))?.0, "settings_unusable");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_destination_decides_the_exit_code_and_names_choose() -> Result<()> {
    let cloud = plain_sandbox().await?;
    let desk = Desk::new()?;
    let good = signed(&cloud, SECRET, "").replace("name: d", "name: good");
    let bad = signed(&cloud, "wrong-MARKER", "").replace("name: d", "name: bad");
    let off = bad.replace("name: bad", "name: off, enabled: false").replace("ws-1", "ws-2");
    let entries = [good, bad, off];
    let all = desk.doctor(&entries, &[])?;
    assert_eq!(all.code, Some(1));
    assert!(all.text.contains("1 of 3 destinations would refuse data: bad"), "{}", all.text);
    assert!(all.text.contains("off is switched off"), "{}", all.text);
    assert_eq!(desk.doctor(&entries, &["--destination", "good"])?.code, Some(0));
    assert_eq!(desk.doctor(&entries, &["--destination=off"])?.code, Some(1));
    let unknown = desk.doctor(&entries, &["--destination", "nobody"])?;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.errors.contains("good, bad, off"), "{}", unknown.errors);
    // The file alone, as in the other commands; and what is no file.
    assert_eq!(desk.run(&["agent.yaml"], &["--destination", "good"])?.code, Some(0));
    assert_eq!(desk.run(&["nosuch.yaml"], &[])?.code, Some(1));
    assert_eq!(desk.run(&[], &[])?.code, Some(2));
    Ok(())
}

/// The ids of all tables of causes, as they are written.
fn ids_of_the_tables() -> std::collections::BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/agent/src/command/doctor");
    let mut ids = std::collections::BTreeSet::from(["unexplained".to_owned()]);
    for entry in std::fs::read_dir(folder).expect("doctor's folder") {
        let path = entry.expect("an entry").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("causes.rs")) {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a table");
        let row = |line: &str| {
            let (id, kind) = line.strip_suffix(" {")?.split_once(", ")?;
            let is_id = id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            (is_id && kind.bytes().all(|b| b.is_ascii_alphabetic())).then(|| id.to_owned())
        };
        ids.extend(text.lines().filter_map(row));
    }
    ids
}

#[test]
fn every_cause_has_its_section_in_the_document() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/troubleshooting.md");
    let page = std::fs::read_to_string(page).expect("docs/operations/troubleshooting.md");
    let ids = ids_of_the_tables();
    assert!(ids.len() > 75, "the tables were not read: {ids:?}");
    for id in &ids {
        let section =
            page.split_once(&format!("\n### {id}\n")).map(|(_, rest)| rest.split("\n### ").next().unwrap_or(rest));
        let section = section.unwrap_or_else(|| panic!("{id} has no section"));
        for part in ["*Seen:* ", "*Cause:* ", "*Do this:*", "\n1. "] {
            assert!(section.contains(part), "{id} has no {part}");
        }
        assert!(page.contains(&format!("| [{id}](#{id}) |")), "{id} is not in the list at the top");
    }
    let sections: std::collections::BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert_eq!(sections, ids, "a section without its cause");
}
