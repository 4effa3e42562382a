//! One process, five destinations, five kinds of identity: each is accepted as itself, and stays so while all of their
//! credentials live for seconds under load. Nothing is refused and nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use e2e::{agent::Agent, exporter::Exporter, ledger, process::until};
use sandbox::{
    AnywhereProfile, Authority, Container, Identity, Role, Running, Sandbox, SandboxConfig, TokenIssuer, Trust,
    TrustAnchor, World,
};

const ACCOUNT: &str = "arn:aws:iam::000000000000";
const ANCHOR: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:trust-anchor/sigpost";
const PROFILE: &str = "arn:aws:rolesanywhere:us-east-1:000000000000:profile/sigpost";
const SUBJECT: &str = "system:serviceaccount:monitoring:sigpost";
const AUDIENCE: &str = "sts.amazonaws.com";
/// What no file of the agent and no line of its log may hold.
const SECRET: &str = "MARKER-of-a-secret";
/// How long sessions live. They end at their millisecond, which all formats (STS, container, Roles Anywhere) can tell. A second
/// it is, unless the machine that runs the test lets a ready thread wait for a fortieth of that: an exchange has dozens of such
/// waits, and may then take longer than its credentials live, whoever makes it; so it is tried with longer ones.
const LIVES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];
/// Destination, and how the ARN begins that it must be accepted as.
const WANTED: [(&str, &str); 5] = [
    ("irsa", "arn:aws:sts::000000000000:assumed-role/irsa/sigpost-"),
    ("pod", "arn:aws:sts::000000000000:assumed-role/pod/"),
    ("chain", "arn:aws:sts::000000000000:assumed-role/chain-end/sigpost-"),
    ("static", "arn:aws:iam::000000000000:user/writer"),
    ("anywhere", "arn:aws:sts::000000000000:assumed-role/anywhere/"),
];

/// AWS with everything that the five need, and the files that come with it.
struct Cloud {
    sandbox: Running,
    authority: Authority,
    issuer: TokenIssuer,
    dir: tempfile::TempDir,
}

impl Cloud {
    async fn start(life: Duration) -> Result<Self> {
        let (authority, issuer) = (Authority::generate()?, TokenIssuer::generate("https://oidc.example")?);
        let role = |name: &str, trust: Trust| Role::new(format!("{ACCOUNT}:role/{name}")).trusting(trust);
        let for_metrics = |role: Role| role.allowing(["aps:RemoteWrite"]);
        let world = World {
            roles: vec![
                for_metrics(role("irsa", Trust::web_identity(issuer.url(), SUBJECT))),
                for_metrics(role("pod", Trust::service("pods.eks.amazonaws.com"))),
                role("chain-middle", Trust::aws(format!("{ACCOUNT}:user/base"))).allowing(["sts:AssumeRole"]),
                for_metrics(role(
                    "chain-end",
                    Trust::aws(format!("{ACCOUNT}:role/chain-middle")).with_external_id("tenant"),
                )),
                for_metrics(role("anywhere", Trust::service("rolesanywhere.amazonaws.com"))),
            ],
            issuers: vec![issuer.trust()],
            trust_anchors: vec![TrustAnchor::new(ANCHOR, authority.certificate_pem())],
            profiles: vec![AnywhereProfile::new(PROFILE, [format!("{ACCOUNT}:role/anywhere")])],
            containers: vec![Container::pod("token-of-the-pod", format!("{ACCOUNT}:role/pod"))],
            ..World::default()
        };
        let base = Identity::user("AKIDBASE", format!("{SECRET}-base")).named(format!("{ACCOUNT}:user/base"));
        let identities = vec![base.allowing(["sts:AssumeRole"]), writer(1)];
        let config = SandboxConfig { identities, world, record: true, ..SandboxConfig::default() };
        let sandbox = Sandbox::start(config).await?;
        sandbox.shorten_sessions(life);
        let cloud = Self { sandbox, authority, issuer, dir: tempfile::tempdir()? };
        cloud.write(
            "credentials",
            &format!("[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = {SECRET}-base\n"),
        )?;
        cloud.write(
            "config",
            &format!(
                "[profile middle]\nrole_arn = {ACCOUNT}:role/chain-middle\nsource_profile = base\n\n\
                 [profile end]\nrole_arn = {ACCOUNT}:role/chain-end\nsource_profile = middle\nexternal_id = tenant\n"
            ),
        )?;
        cloud.write("pod-token", "token-of-the-pod\n")?;
        cloud.renew_token()?;
        cloud.renew_certificate()?;
        cloud.write_keys(1)?;
        Ok(cloud)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        // As kubelet and careful people do.
        let new = self.dir.path().join(format!(".{name}.new"));
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, self.dir.path().join(name))?)
    }

    fn renew_token(&self) -> Result<()> {
        let until = SystemTime::now() + Duration::from_secs(3600);
        self.write("web-token", self.issuer.token(SUBJECT, AUDIENCE, until).expose())
    }

    fn renew_certificate(&self) -> Result<()> {
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let (certificate, key) = self.authority.issue_client("host-1", now - hour, now + hour)?;
        // In one file, so that the two are never of different issuances.
        self.write("identity.pem", &format!("{certificate}{}", key.expose()))
    }

    fn write_keys(&self, n: u32) -> Result<()> {
        self.write("access-key", &format!("AKIDWRITER{n}\n"))?;
        self.write("secret-key", &format!("{SECRET}-{n}\n"))
    }

    fn config(&self, exporter: &Exporter) -> String {
        let (dir, url) = (self.dir.path().display(), self.sandbox.url());
        let blocks: BTreeMap<&str, String> = [
            ("irsa", format!("{{web_identity: {{role_arn: '{ACCOUNT}:role/irsa', token_file: '{dir}/web-token'}}, sts_endpoint: '{url}'}}")),
            ("pod", format!("{{container: {{endpoint: '{url}/v1/credentials', token_file: '{dir}/pod-token'}}}}")),
            (
                "chain",
                format!("{{profile: end, shared_config_file: '{dir}/config', shared_credentials_file: '{dir}/credentials', sts_endpoint: '{url}'}}"),
            ),
            ("static", format!("{{access_key_file: '{dir}/access-key', secret_key_file: '{dir}/secret-key'}}")),
            (
                "anywhere",
                format!(
                    "{{roles_anywhere: {{trust_anchor_arn: '{ANCHOR}', profile_arn: '{PROFILE}', role_arn: '{ACCOUNT}:role/anywhere', \
                     certificate: '{dir}/identity.pem', private_key: '{dir}/identity.pem', endpoint: '{url}'}}}}"
                ),
            ),
        ]
        .into();
        let mut text = "metrics:\n  global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n  configs:\n    - name: default\n      remote_write:\n".to_owned();
        for (name, _) in WANTED {
            let block = blocks[name].replacen('{', "{region: us-east-1, ", 1);
            let to = self.sandbox.remote_write_url(&format!("ws-{name}"));
            text.push_str(&format!(
                "        - {{name: {name}, url: '{to}', metadata_config: {{send: false}}, sigv4: {block}}}\n"
            ));
        }
        text.push_str(&format!(
            "      scrape_configs:\n        - {{job_name: load, metrics_path: /t/0/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
            exporter.address
        ));
        text
    }

    /// With how many keys each destination was accepted, by destination; an error where it was accepted as someone else.
    fn keys(&self) -> Result<BTreeMap<&'static str, u64>> {
        let state = self.sandbox.state();
        let mut keys = BTreeMap::new();
        for principal in state.principals.iter().filter(|p| p.accepted.contains_key("aps")) {
            let wanted = WANTED.iter().find(|(_, arn)| principal.arn.starts_with(arn));
            let (name, _) = wanted.with_context(|| format!("accepted as {}", principal.arn))?;
            // Roles Anywhere calls a session by the certificate's serial number, and a renewed certificate has another.
            let is_first = !keys.contains_key(name) || *name == "anywhere";
            anyhow::ensure!(is_first, "{name} is not one caller: its session name changes");
            *keys.entry(*name).or_insert(0) += principal.keys;
        }
        for seen in state.destinations.iter().filter(|d| d.service == "aps" && d.accepted > 0) {
            let name = seen.resource.trim_start_matches("ws-");
            let (_, arn) = WANTED.iter().find(|(n, _)| *n == name).context("a known destination")?;
            anyhow::ensure!(seen.caller_arn.starts_with(arn), "{name} was accepted as {}", seen.caller_arn);
        }
        Ok(keys)
    }
}

fn writer(n: u32) -> Identity {
    let user =
        Identity::user(format!("AKIDWRITER{n}"), format!("{SECRET}-{n}")).named(format!("{ACCOUNT}:user/writer"));
    user.allowing(["aps:RemoteWrite"])
}

/// Seconds to expiry, refreshes and failures, by destination and source.
fn check_metrics(page: &str, life: Duration) -> Result<()> {
    let sources = [
        ("irsa", format!("web identity {ACCOUNT}:role/irsa")),
        ("pod", "container endpoint".to_owned()),
        ("chain", "profile end".to_owned()),
        ("static", "static keys from ".to_owned()),
        ("anywhere", format!("Roles Anywhere {ACCOUNT}:role/anywhere")),
    ];
    for (name, source) in sources {
        let figure = |metric: &str| -> Option<f64> {
            let start = format!("sigpost_{metric}{{destination=\"{name}\",source=\"{source}");
            page.lines().find(|line| line.starts_with(&start))?.rsplit(' ').next()?.parse().ok()
        };
        let refreshes =
            figure("credential_refreshes_total").with_context(|| format!("{name}: no refreshes in\n{page}"))?;
        anyhow::ensure!(refreshes >= 3.0, "{name}: {refreshes} refreshes");
        let failures = figure("credential_refresh_failures_total");
        anyhow::ensure!(failures == Some(0.0), "{name}: {failures:?} failures");
        match (name, figure("credential_expiry_seconds")) {
            ("static", left) => anyhow::ensure!(left.is_none(), "files' keys do not end"),
            (_, left) => {
                let range = -2.0..=life.as_secs_f64() + 0.5;
                anyhow::ensure!(left.is_some_and(|left| range.contains(&left)), "{name}: {left:?} in\n{page}");
            }
        }
    }
    Ok(())
}

/// Notices when this machine lets threads wait that could run.
struct Stalls {
    worst_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Stalls {
    fn watch() -> Self {
        let stalls = Self { worst_ms: Arc::default(), stop: Arc::default() };
        let (worst_ms, stop) = (Arc::clone(&stalls.worst_ms), Arc::clone(&stalls.stop));
        std::thread::spawn(move || {
            let tick = Duration::from_millis(10);
            while !stop.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(tick);
                let late = before.elapsed().saturating_sub(tick).as_millis();
                worst_ms.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        stalls
    }

    fn worst(&self) -> Duration {
        Duration::from_millis(self.worst_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_identities_in_one_process_rotate_twice_under_load_with_nothing_refused_and_nothing_lost() -> Result<()> {
    let [.., longest] = LIVES;
    for life in LIVES {
        let stalls = Stalls::watch();
        let outcome = rotate_twice(life).await;
        let worst = stalls.worst();
        println!("sessions of {life:?}; the machine stalled for {worst:?} at most");
        match outcome {
            Err(error) if life < longest && worst > life / 40 => println!("not the agent's doing: {error:#}"),
            outcome => return outcome,
        }
    }
    Ok(())
}

async fn rotate_twice(life: Duration) -> Result<()> {
    let cloud = Cloud::start(life).await?;
    let exporter = Exporter::start(400).await?;
    let mut agent = Agent::prepare(&cloud.config(&exporter))?;
    agent.start_ready().await?;
    let told =
        |agent: &Agent| format!("{}\n{:#?}\n{:#?}", agent.log(), cloud.keys(), cloud.sandbox.state().recent_refusals);
    let patience = life * 30;
    until("each of the five to be accepted as itself", patience, || async {
        cloud.keys().ok().filter(|keys| keys.len() == WANTED.len()).map(drop)
    })
    .await
    .with_context(|| told(&agent))?;

    // Both renewals of everything that a person or a platform renews; sessions renew by themselves all the time.
    for n in [2, 3] {
        let before = cloud.keys()?;
        cloud.sandbox.put_identity(writer(n));
        cloud.write_keys(n)?;
        cloud.renew_token()?;
        cloud.renew_certificate()?;
        until("every credential to be replaced", patience, || async {
            // The agents of nodes renew a pod's credentials well before they end.
            cloud.sandbox.rotate_documents();
            let now = cloud.keys().ok()?;
            before.iter().all(|(name, keys)| now.get(name) > Some(keys)).then_some(())
        })
        .await
        .with_context(|| told(&agent))?;
        // The end of the overlap.
        cloud.sandbox.remove_identity(&format!("AKIDWRITER{}", n - 1));
    }
    let keys = cloud.keys()?;
    anyhow::ensure!(keys.values().all(|keys| *keys >= 3), "{keys:?}");

    let times = |name: &str| -> BTreeSet<i64> {
        let dumps = cloud.sandbox.samples(Some(&format!("aps:ws-{name}")), Some("up"));
        dumps.iter().flat_map(|d| d.samples.iter().map(|s| s.timestamp_ms)).collect()
    };
    until("more than ten scrapes to be everywhere", patience, || async {
        WANTED.iter().all(|(name, _)| times(name).len() > 10).then_some(())
    })
    .await
    .with_context(|| told(&agent))?;
    check_metrics(&agent.get("/metrics").await?, life)?;
    agent.stop()?;

    let state = cloud.sandbox.state();
    anyhow::ensure!(state.refused == 0, "{:#?}\n{}", state.recent_refusals, agent.log());
    let (rows, _) = ledger::of_stopped(&agent.dir.path().join("data/queue"))?;
    anyhow::ensure!(rows.len() == WANTED.len(), "{rows:?}");
    for (name, row) in &rows {
        let lost = row.rejected + row.evicted + row.expired + row.damaged + row.filtered;
        anyhow::ensure!((lost, row.unexplained(), row.pending) == (0, 0, 0), "{name}: {row:?}");
        anyhow::ensure!(row.delivered > 0 && row.delivered == row.accepted, "{name}: {row:?}");
    }
    // The same samples everywhere.
    let first = times("static");
    anyhow::ensure!(first.len() > 10, "{first:?}");
    for (name, _) in WANTED {
        anyhow::ensure!(times(name) == first, "{name}");
    }
    assert!(!agent.log().contains(SECRET), "a secret is in the log");
    Ok(())
}
