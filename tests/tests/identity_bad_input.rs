//! One process, one good destination and a dozen whose identity cannot work, each for a reason of its own: every one is told
//! by name and cause and holds its data, and the good one never notices.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until};
use sandbox::{AnywhereProfile, Authority, Identity, Role, Sandbox, SandboxConfig, Trust, TrustAnchor, World};

const SECRET: &str = "MARKER-of-a-secret";
const ROLE: &str = "arn:aws:iam::000000000000:role/anywhere";
const ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/a";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/p";

async fn failures_of(agent: &Agent, name: &str) -> Result<Option<f64>> {
    agent.metric(&format!("sigpost_credential_refresh_failures_total{{destination=\"{name}\"")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_identity_that_cannot_work_is_in_error_for_its_own_reason_and_the_others_are_untouched() -> Result<()> {
    let authority = Authority::generate()?;
    let world = World {
        roles: vec![Role::new(ROLE).trusting(Trust::service("rolesanywhere.amazonaws.com"))],
        trust_anchors: vec![TrustAnchor::new(ANCHOR, authority.certificate_pem())],
        profiles: vec![AnywhereProfile::new(PROFILE, [ROLE])],
        ..World::default()
    };
    let identities = vec![Identity::user("AKIDGOOD", SECRET)];
    let cloud = Sandbox::start(SandboxConfig { identities, world, ..SandboxConfig::default() }).await?;
    let exporter = Exporter::start(50).await?;
    let dir = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| -> Result<String> {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.display().to_string())
    };
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let (leaf, key) = authority.issue_client("host", now - hour, now + hour)?;
    let (_, stranger) = authority.issue_client("host", now - hour, now + hour)?;
    let (old, old_key) = authority.issue_client("host", now - 2 * hour, now - hour)?;
    let leaf = write("leaf.pem", leaf.as_bytes())?;
    let (key, stranger) =
        (write("key.pem", key.expose().as_bytes())?, write("other.pem", stranger.expose().as_bytes())?);
    let (old, old_key) = (write("old.pem", old.as_bytes())?, write("old-key.pem", old_key.expose().as_bytes())?);
    let der = write("leaf.der", &[0x30, 0x82, 1, 0, 0x30, 0x82])?;
    let odd = e2e::metadata::serving("[no role]\n<html>\u{202e}", "{}").await?;
    let torn = write("torn.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n")?;
    let circle = format!(
        "[profile a]\nrole_arn = {ROLE}\nsource_profile = b\n[profile b]\nrole_arn = {ROLE}\nsource_profile = a\n"
    );
    let circle = write("circle", circle.as_bytes())?;
    let malformed = write("malformed", b"[profile a]\nregion = x\nthis is no line\n")?;
    let binary = write("binary", b"[profile a]\nregion = \xff\xfe\n")?;
    let sso = write("sso", b"[profile a]\nsso_session = s\nsso_account_id = 1\n")?;
    let empty = write("empty", b"")?;
    let two_lines = write("two-lines", format!("{SECRET}\nanother\n").as_bytes())?;
    let profile = |file: &str| format!("profile: a, shared_config_file: '{file}', shared_credentials_file: '{empty}'");
    let anywhere = |certificate: &str, key: &str| {
        format!(
            "roles_anywhere: {{trust_anchor_arn: '{ANCHOR}', profile_arn: '{PROFILE}', role_arn: '{ROLE}', certificate: '{certificate}', \
             private_key: '{key}', endpoint: '{}'}}",
            cloud.url()
        )
    };
    // Name, identity block, and what the log must say of it.
    let broken: Vec<(&str, String, Vec<String>)> = vec![
        ("circle", profile(&circle), vec!["the profiles lead in a circle: a -> b -> a".to_owned()]),
        ("malformed", profile(&malformed), vec![format!("{malformed}, line 3:")]),
        ("binary", profile(&binary), vec![format!("{binary}, line 2:"), "not text".to_owned()]),
        ("sso", profile(&sso), vec!["human login (SSO)".to_owned(), "instance_metadata".to_owned()]),
        ("unnamed", profile(&format!("{}/nowhere", dir.path().display())), vec!["nowhere".to_owned()]),
        (
            "unreadable",
            "access_key: AKIDGOOD, secret_key_file: /nonexistent/secret".to_owned(),
            vec!["/nonexistent/secret".to_owned()],
        ),
        (
            "token",
            format!(
                "web_identity: {{role_arn: '{ROLE}', token_file: /nonexistent/token}}, sts_endpoint: '{}'",
                cloud.url()
            ),
            vec!["cannot read the token file /nonexistent/token".to_owned()],
        ),
        (
            "mismatch",
            anywhere(&leaf, &stranger),
            vec!["the private key does not belong to the certificate".to_owned(), stranger.clone(), leaf.clone()],
        ),
        (
            "expired",
            anywhere(&old, &old_key),
            vec![format!("the certificate CN=host ({old}) expired at"), "renew it".to_owned()],
        ),
        ("empty-key", anywhere(&leaf, &empty), vec![empty.clone(), "private_key".to_owned()]),
        (
            "two-lines",
            format!("access_key: AKIDGOOD, secret_key_file: '{two_lines}'"),
            vec![format!("secret_key: the file {two_lines} has 2 lines")],
        ),
        ("torn", anywhere(&leaf, &torn), vec![format!("({torn}) is cut off: the section that begins at line 1")]),
        ("swapped", anywhere(&key, &leaf), vec![format!("({leaf}) holds a certificate (line 1) and no private key")]),
        ("der", anywhere(&der, &key), vec![format!("({der}) is DER, not PEM: convert it")]),
        (
            "no-metadata",
            format!("instance_metadata: {{endpoint: '{odd}'}}"),
            vec!["as the instance's role, which is no name of a role".to_owned()],
        ),
        ("garbage", "credential_process: 'echo garbage'".to_owned(), vec!["did not print one JSON object".to_owned()]),
        (
            "megabyte",
            "credential_process: 'head -c 2000000 /dev/zero'".to_owned(),
            vec!["printed more than".to_owned()],
        ),
        (
            "failing",
            "credential_process: 'echo out of order >&2; exit 3'".to_owned(),
            vec!["exit status: 3".to_owned(), "out of order".to_owned()],
        ),
        (
            "hanging",
            "credential_process: 'sleep 600'".to_owned(),
            vec!["did not finish within 60 s and was killed".to_owned()],
        ),
    ];
    let good =
        [("good", format!("access_key: AKIDGOOD, secret_key: {SECRET}")), ("good-anywhere", anywhere(&leaf, &key))];
    let mut text = "metrics:\n  global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n  configs:\n    - name: default\n      remote_write:\n".to_owned();
    let blocks =
        broken.iter().map(|(name, block, _)| (*name, block)).chain(good.iter().map(|(name, block)| (*name, block)));
    for (name, block) in blocks {
        let url = cloud.remote_write_url(&format!("ws-{name}"));
        text.push_str(&format!(
            "        - {{name: {name}, url: '{url}', metadata_config: {{send: false}}, sigv4: {{region: us-east-1, {block}}}}}\n"
        ));
    }
    text.push_str(&format!(
        "      scrape_configs:\n        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
        exporter.address
    ));
    let mut agent = Agent::prepare(&text)?.with_env("AWS_EC2_METADATA_DISABLED", "");
    agent.start_ready().await?;
    let told_of = |name: &str| -> Vec<String> {
        let log = agent.log();
        log.lines()
            .filter(|line| {
                line.contains("could not be refreshed")
                    && line.replace('"', "").contains(&format!("destinations={name} "))
            })
            .map(str::to_owned)
            .collect()
    };
    for (name, _, words) in &broken {
        until(&format!("{name} to be told of"), Duration::from_secs(120), || async {
            let lines = told_of(name);
            lines.iter().any(|line| words.iter().all(|word| line.contains(word.as_str()))).then_some(())
        })
        .await
        .with_context(|| format!("{name} wants {words:?}\n{:#?}\n{}", told_of(name), agent.log()))?;
    }
    until("both good ones to deliver", Duration::from_secs(30), || async {
        let rows = ledger::of_running(&agent).await.ok()?;
        good.iter().all(|(name, _)| rows[*name].delivered > 1000).then_some(())
    })
    .await
    .with_context(|| agent.log())?;
    let rows = ledger::of_running(&agent).await?;
    for (name, _, _) in &broken {
        let row = &rows[*name];
        let lost = row.rejected + row.evicted + row.expired + row.damaged;
        assert!(row.delivered == 0 && lost == 0 && row.pending > 0, "{name} keeps its data: {row:?}");
        let failures = failures_of(&agent, name).await?;
        assert!(failures.is_some_and(|n| n > 0.0), "{name}: {failures:?}");
    }
    assert_eq!(failures_of(&agent, "good").await?, Some(0.0));
    agent.stop()?;
    assert!(!agent.log().contains(SECRET), "a secret is in the log");
    assert_eq!(cloud.state().destinations.iter().filter(|d| d.service == "aps" && d.refused > 0).count(), 0);
    Ok(())
}
