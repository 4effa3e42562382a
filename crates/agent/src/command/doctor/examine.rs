//! Examines one destination: the way, the identity, one probe; and draws the conclusion.
//!
//! Touches no queue and no running agent. Keeps true: everything ends in about half a minute whatever hangs, except a helper
//! command, which gets the time that the agent gives it; the probe's own answer outranks every other finding; nothing is
//! stored unless asked for.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws::{CredentialSource, Explanation, Identity, IdentityContext, RegionOrigin};
use config::DestinationPlan;
use net::{HttpAuth, NetError};
use remote_write::{ProbeKind, ProtocolConfig, logs::LogProtocol, traces::OtlpProtocol};

use super::{
    answer::{self, Case},
    cause::{Cause, Finding, Kind},
    causes::cause,
    credentials, facts,
    metadata::{self, MetadataSight},
    network,
    probe::{self, Answered, Sent},
    proof::Proof,
    report::{IdentityFacts, ProbeFacts, Report, Verdict},
    words,
};
use crate::command;

/// One step of the way: name, connection, tunnel, handshake.
const STEP: Duration = Duration::from_secs(3);
/// What [`ALL`] allows sources of credentials and their roles; a helper command gets more, and everything with it.
const SOURCES: Duration = Duration::from_secs(13);
/// Who waits longer for credentials is told so, and again each time.
const NEWS: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(7);
/// Each question after the first.
const NEXT: Duration = Duration::from_secs(3);
const CALLER: Duration = Duration::from_secs(5);
/// What is told of an identity whose source did not answer in time.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Whatever is still under way then is given up.
const ALL: Duration = Duration::from_secs(28);
/// A clock further off is told.
const CLOCK_NOTE_MS: i64 = 60_000;
const ENDS_SOON: Duration = Duration::from_secs(300);

/// What an examination may do.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Really store something.
    pub write: bool,
    /// The configuration's path, for commands.
    pub config_file: String,
}

/// Examines `plan`.
pub async fn examine(plan: &DestinationPlan, identities: &IdentityContext, terms: &Terms) -> Report {
    let mut report = blank(plan);
    let built = plan
        .identity
        .as_ref()
        .map(|block| aws::build(block, &plan.config.url, plan.default_service, &plan.config.name, identities))
        .transpose();
    let sources = built.as_ref().ok().and_then(Option::as_ref).map_or(SOURCES, |identity| identity.patience());
    let all = ALL + sources.saturating_sub(SOURCES);
    match tokio::time::timeout(all, fill(plan, built, terms, &mut report)).await {
        Ok(()) => {}
        Err(_) => report.findings.push(Finding::new(cause("examination_late"), "")),
    }
    conclude(plan, terms, &mut report);
    report
}

/// The report of a destination that is not examined.
pub fn switched_off(plan: &DestinationPlan) -> Report {
    Report { verdict: Verdict::SwitchedOff, ..blank(plan) }
}

fn blank(plan: &DestinationPlan) -> Report {
    let config = &plan.config;
    Report {
        name: config.name.clone(),
        url: net::masked(&config.url),
        endpoint: config.endpoint_url.as_ref().map(net::masked),
        sent_to: None,
        protocol: config.protocol.name(),
        verdict: Verdict::Refuses,
        authentication: authentication(plan),
        identity: None,
        survey: None,
        probe: None,
        offset_ms: None,
        findings: Vec::new(),
    }
}

fn authentication(plan: &DestinationPlan) -> &'static str {
    match (&plan.identity, &plan.config.client.auth) {
        (Some(_), _) => "sigv4",
        (None, Some(HttpAuth::Basic { .. })) => "basic",
        (None, Some(HttpAuth::Header { .. })) => "authorization",
        (None, Some(HttpAuth::OAuth2(_))) => "oauth2",
        (None, None) if !plan.config.url.username().is_empty() => "basic",
        (None, None) => "none",
    }
}

type Built = Result<Option<Arc<Identity>>, aws::AwsError>;

async fn fill(plan: &DestinationPlan, built: Built, terms: &Terms, report: &mut Report) {
    let config = &plan.config;
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let probe = match remote_write::probe(config, i64::try_from(now_ms).unwrap_or_default(), terms.write) {
        Ok(probe) => probe,
        Err(error) => {
            report
                .findings
                .push(Finding::new(cause("settings_unusable"), format!("the url makes no request: {error}")));
            return;
        }
    };
    let Ok(address) = url::Url::parse(&probe.request.uri().to_string()) else {
        report.findings.push(Finding::new(cause("settings_unusable"), "the url makes no request"));
        return;
    };
    report.sent_to = config.endpoint_url.as_ref().map(|_| answer::shown_address(&address));
    let identity = match built {
        Ok(identity) => identity,
        Err(error) => {
            let id = match &error {
                aws::AwsError::NoRegion { .. } => without_region(plan),
                _ => cause("settings_unusable"),
            };
            report.findings.push(Finding::new(id, error.to_string()));
            None
        }
    };
    let is_broken = plan.identity.is_some() && identity.is_none();

    let way = net::survey(&config.client, &address, STEP);
    let (way, known) = tokio::join!(way, look_at_identity(plan, identity.as_deref()));
    match way {
        Ok(survey) => report.survey = Some(survey),
        Err(error) => report.findings.push(network::failure(&error, false)),
    }
    let mut can_sign = !is_broken;
    if let Some((facts, refusal)) = known {
        can_sign &= refusal.is_none();
        report.findings.extend(refusal);
        report.identity = Some(facts);
    }
    if can_sign && report.findings.is_empty() {
        let sent = probe::send(config, identity.as_deref(), &probe, PROBE).await;
        if let (Some(identity), Some(facts)) = (&identity, &mut report.identity) {
            // After the probe, because its answer tells the clock.
            let caller = tokio::time::timeout(CALLER, identity.caller_identity()).await;
            facts.caller = Some(caller.unwrap_or_else(|_| Err("STS gave no answer in time".to_owned())));
            facts.access_key_id = identity.status().access_key_id;
        }
        let mut proof = read(plan, identity.as_deref(), &probe, sent, terms, report);
        let mut asked = &probe;
        while let (Some(Proof { goes_on: true, .. }), Some(next)) = (proof, asked.next.as_deref()) {
            let sent = probe::send(config, identity.as_deref(), next, NEXT).await;
            proof = read(plan, identity.as_deref(), next, sent, terms, report);
            asked = next;
        }
        if let Some(proof) = proof {
            accept(plan, &asked.kind, proof, terms, report);
            refuse_stale(identity.as_deref(), report);
        }
        learn_region(identity.as_deref(), report);
        return;
    }
    let is_aws = aws::parse_host(&config.url).is_some();
    let refusal = report.survey.as_ref().and_then(|survey| network::refusal(survey, is_aws));
    report.findings.extend(refusal);
}

/// What a helper printed was accepted although it is over: the agent believes the helper, and uses it no more once an answer told
/// the time.
fn refuse_stale(identity: Option<&Identity>, report: &mut Report) {
    let told = identity.and_then(|identity| identity.status().clock_offset_ms);
    let stale = told.and_then(|offset_ms| {
        stale_helper(report, Some(offset_ms), "the service accepts them, and their Expiration is past")
    });
    if let Some(stale) = stale {
        report.verdict = Verdict::Refuses;
        report.findings.push(stale);
    }
}

fn stale_helper(report: &Report, offset_ms: Option<i64>, detail: &str) -> Option<Finding> {
    let explanation = report.identity.as_ref()?.explanation.as_ref()?;
    credentials::of_stale_helper(explanation, words::far_now(offset_ms), detail)
}

/// Whoever asked for a profile is told what the profile lacks.
fn without_region(plan: &DestinationPlan) -> &'static Cause {
    match plan.identity.as_ref().map(|block| &block.source) {
        Some(CredentialSource::Profile { .. }) => cause("profile_without_region"),
        _ => cause("no_region"),
    }
}

/// Every source's words, or nothing when the time is over; meanwhile whoever waits is told for what.
async fn explained(name: &str, identity: &Identity) -> Option<Explanation> {
    let patience = identity.patience();
    let began = tokio::time::Instant::now();
    let mut asked = std::pin::pin!(tokio::time::timeout(patience, identity.explain()));
    loop {
        match tokio::time::timeout(NEWS, &mut asked).await {
            Ok(answer) => return answer.ok(),
            Err(_) => {
                let (waited, most) = (began.elapsed().as_secs(), patience.as_secs());
                command::tell(&format!(
                    "{name}: waiting for {}: {waited} s of at most {most} s",
                    identity.status().source
                ));
            }
        }
    }
}

/// What the sources say; the finding is why there are no credentials or no region.
async fn look_at_identity(
    plan: &DestinationPlan,
    identity: Option<&Identity>,
) -> Option<(IdentityFacts, Option<Finding>)> {
    let (block, identity) = (plan.identity.as_ref()?, identity?);
    let (explained, sight): (_, Option<MetadataSight>) =
        tokio::join!(explained(&plan.config.name, identity), metadata::look(block));
    let service = identity.status().service;
    let Some(explanation) = explained else {
        let sts = tokio::time::timeout(LAST_LOOK, identity.sts_endpoint()).await.ok().flatten();
        let finding = credentials::late(block, sight.as_ref(), sts.as_deref(), identity.patience().as_secs());
        // What is known without the source.
        let (region, error) = (identity.status().region, Some(finding.detail.clone()));
        let explanation = Some(Explanation { region, error, sts_endpoint: sts, ..Explanation::default() });
        return Some((IdentityFacts { explanation, service, ..IdentityFacts::default() }, Some(finding)));
    };
    let refusal = credentials::refusal(&explanation, sight.as_ref())
        .or_else(|| explanation.region_error.as_ref().map(|why| Finding::new(without_region(plan), words::said(why))));
    Some((IdentityFacts { explanation: Some(explanation), service, ..IdentityFacts::default() }, refusal))
}

/// Takes the outcome of a question into the report; what it proves, if it is a yes.
fn read(
    plan: &DestinationPlan,
    identity: Option<&Identity>,
    probe: &remote_write::Probe,
    sent: Sent,
    terms: &Terms,
    report: &mut Report,
) -> Option<Proof> {
    let is_aws = aws::parse_host(&plan.config.url).is_some();
    let mut facts = ProbeFacts {
        what: probe.what.clone(),
        outcome: String::new(),
        said: String::new(),
        request_id: None,
        attempts: 0,
        signed_again: Vec::new(),
        took_ms: 0,
        stored: false,
        shows: "",
        then: Vec::new(),
    };
    let judged = match sent {
        Sent::Unsigned(why) => {
            facts.outcome = "not sent: it could not be signed".to_owned();
            report.offset_ms = report.offset_ms.or_else(|| identity.and_then(|i| i.status().clock_offset_ms));
            // An answer may have told the time before, and with it that they are over.
            let now = words::far_now(report.offset_ms);
            let held = report.identity.as_ref().and_then(|facts| facts.explanation.as_ref()?.caller.as_ref());
            let is_over = held.and_then(|caller| caller.expires).is_some_and(|at| at <= now);
            let id = if is_over { cause("expired_token") } else { cause("credentials_failed") };
            Err(Finding::new(id, words::said(&why)))
        }
        Sent::Failed(error) => {
            facts.outcome = "no answer".to_owned();
            facts.said = error.to_string();
            let by_proxy = report.survey.as_ref().is_some_and(|s| s.proxy.is_some());
            // The survey knows more about certificates and tunnels than a failed exchange does.
            let seen = report.survey.as_ref().and_then(|survey| network::refusal(survey, is_aws));
            Err(match error {
                // Another way than the one that was looked at.
                NetError::Token { .. } => {
                    report.findings.extend(seen);
                    network::failure(&error, by_proxy)
                }
                _ => seen.unwrap_or_else(|| network::failure(&error, by_proxy)),
            })
        }
        Sent::Answered(answered) => {
            facts.outcome = answer::shown_status(&answered);
            facts.said.clone_from(&answered.said);
            facts.request_id = answered.error.as_ref().and_then(|e| e.request_id.clone());
            facts.attempts = answered.attempts;
            facts.signed_again.clone_from(&answered.signed_again);
            facts.took_ms = answered.took.as_millis();
            facts.stored = terms.write && answered.status.is_success() && probe.kind != ProbeKind::Make;
            report.offset_ms = identity.and_then(|i| i.status().clock_offset_ms).or(answered.offset_ms);
            judge(plan, probe, &answered, terms, report)
        }
    };
    match &mut report.probe {
        Some(first) => {
            first.stored |= facts.stored;
            first.then.push((facts.what, facts.outcome));
        }
        none => *none = Some(facts),
    }
    judged
        .map_err(|finding| {
            let is_over = ["expired_token", "credentials_failed"].contains(&finding.cause.id);
            let stale = is_over.then(|| stale_helper(report, report.offset_ms, &finding.detail)).flatten();
            report.findings.push(stale.unwrap_or(finding));
        })
        .ok()
}

/// The last question was answered with yes; what it leaves open decides whether that is enough.
fn accept(plan: &DestinationPlan, kind: &ProbeKind, proof: Proof, terms: &Terms, report: &mut Report) {
    report.verdict = Verdict::Accepts;
    if let Some(facts) = &mut report.probe {
        facts.shows = proof.shows;
    }
    let mut open: Vec<&str> = proof.open.to_vec();
    let is_whole = terms.write && *kind == ProbeKind::Object;
    if !is_whole && needs_data_key(&plan.config.protocol) {
        open.push("kms:GenerateDataKey");
    }
    if !open.is_empty() {
        report.verdict = Verdict::Unproven;
        let service = report.identity.as_ref().map_or(plan.default_service, |facts| facts.service.as_str());
        let account = facts::account(plan, report);
        let mut finding = Finding::new(cause("permission_not_shown"), "")
            .with("action", open.join(", "))
            .with("open_actions", open.join(" "))
            .with("open_resource", answer::resource(&case(plan, kind, account.as_deref(), false, terms, report)));
        for (name, text) in facts::of_open_permission(service) {
            finding = finding.with(name, text);
        }
        report.findings.push(finding);
    }
    if proof.names_open {
        report.verdict = Verdict::Unproven;
        report.findings.push(Finding::new(cause("names_not_shown"), ""));
    }
}

/// S3 encrypts what is written with a key of KMS, in the name of who writes.
fn needs_data_key(protocol: &ProtocolConfig) -> bool {
    let sse = match protocol {
        ProtocolConfig::S3 { sse, .. } => sse.as_deref(),
        ProtocolConfig::Logs(LogProtocol::Objects(of)) => of.sse.as_deref(),
        ProtocolConfig::Otlp(OtlpProtocol::Objects(of)) => of.sse.as_deref(),
        _ => None,
    };
    sse.is_some_and(|sse| sse.starts_with("aws:kms"))
}

fn learn_region(identity: Option<&Identity>, report: &mut Report) {
    if let Some(region) = identity.and_then(|i| i.status().region)
        && region.1 == RegionOrigin::Answer
    {
        report.findings.push(Finding::new(cause("region_learnt"), "").with("right_region", region.0));
    }
}

fn judge(
    plan: &DestinationPlan,
    probe: &remote_write::Probe,
    answered: &Answered,
    terms: &Terms,
    report: &Report,
) -> Result<Proof, Finding> {
    let account = facts::account(plan, report);
    answer::judge(&case(plan, &probe.kind, account.as_deref(), probe.next.is_some(), terms, report), answered)
}

/// What an answer is read against.
fn case<'a>(
    plan: &'a DestinationPlan,
    kind: &'a ProbeKind,
    account: Option<&'a str>,
    has_next: bool,
    terms: &Terms,
    report: &'a Report,
) -> Case<'a> {
    let facts = report.identity.as_ref();
    let region = facts.and_then(|f| f.explanation.as_ref()).and_then(|e| e.region.as_ref()).map(|(r, _)| r.as_str());
    Case {
        config: &plan.config,
        sent_to: report.sent_to.as_deref(),
        identity: plan.identity.as_ref(),
        service: facts.map_or(plan.default_service, |f| f.service.as_str()),
        region: region.unwrap_or_default(),
        account,
        kind,
        has_next,
        sts_accepts: facts.is_some_and(|f| matches!(f.caller, Some(Ok(_)))),
        is_write: terms.write,
    }
}

/// Amazon Managed Prometheus refuses older samples.
const AMP_OLDEST_MS: i64 = 3_600_000;

/// Notes, the order of findings, and the facts that their texts name.
fn conclude(plan: &DestinationPlan, terms: &Terms, report: &mut Report) {
    let is_aws = aws::parse_host(&plan.config.url).is_some();
    // The far end takes the request and would take no sample of it.
    if let Some(offset) = report.offset_ms.filter(|ms| *ms >= AMP_OLDEST_MS)
        && report.verdict != Verdict::Refuses
        && answer::is_amp_path(plan.config.url.path())
    {
        report.verdict = Verdict::Refuses;
        report.findings.push(Finding::new(cause("clock_too_slow"), "").with("offset", words::offset(offset)));
    }
    let verifies = !plan.config.client.tls.insecure_skip_verify;
    // Whatever else refuses: where nothing answered, this machine's clock is the only one there is.
    let is_way = report.findings.first().is_some_and(|finding| finding.cause.kind == Kind::Network);
    if report.verdict == Verdict::Refuses
        && (is_way || report.offset_ms.is_some())
        && let Some(stale) = stale_helper(report, report.offset_ms, "")
        && !report.findings.iter().any(|finding| finding.cause.id == stale.cause.id)
    {
        report.findings.push(stale);
    }
    let mut notes: Vec<Finding> = report.survey.as_ref().map_or_else(Vec::new, |s| network::notes(s, is_aws, verifies));
    if let Some(offset) = report.offset_ms.filter(|ms| ms.abs() > CLOCK_NOTE_MS) {
        notes.push(Finding::new(cause("clock_off"), "").with("offset", words::offset(offset)));
    }
    notes.extend(identity_notes(plan, report));
    let mut refusals: Vec<Finding> = std::mem::take(&mut report.findings);
    let (own_notes, rest): (Vec<Finding>, Vec<Finding>) = refusals.drain(..).partition(Finding::is_note);
    notes.extend(own_notes);
    let mut refusals = rest;
    refusals.sort_by_key(|f| f.cause.kind);
    refusals.dedup_by_key(|f| f.cause.id);
    match report.verdict {
        Verdict::Accepts => refusals.clear(),
        Verdict::Unproven => refusals.retain(|f| f.cause.kind == Kind::Unproven),
        Verdict::Refuses | Verdict::SwitchedOff => refusals.retain(|f| f.cause.kind != Kind::Unproven),
    }
    let known = facts::known(plan, terms, report);
    report.findings = refusals.into_iter().chain(notes).collect();
    for finding in &mut report.findings {
        finding.complete(&known);
    }
}

fn identity_notes(plan: &DestinationPlan, report: &Report) -> Vec<Finding> {
    let mut notes = Vec::new();
    let Some(facts) = &report.identity else { return notes };
    if let Some(Err(error)) = &facts.caller
        && report.verdict != Verdict::Refuses
    {
        notes.push(Finding::new(cause("identity_refused_by_sts"), words::said(error)));
    }
    let explanation = facts.explanation.as_ref();
    // As AWS sees it: its clock decides.
    let now = words::far_now(report.offset_ms);
    if let Some(expires) = explanation.and_then(|e| e.caller.as_ref()).and_then(|c| c.expires)
        && expires.duration_since(now).is_ok_and(|left| left < ENDS_SOON)
    {
        notes.push(Finding::new(cause("credentials_end_soon"), "").with("expires", words::when(expires, now)));
    }
    for remark in explanation.map(|e| e.remarks.as_slice()).unwrap_or_default() {
        notes.push(Finding::new(cause("profile_key_ignored"), words::said(remark)));
    }
    // The certificate that ends first is the one to renew; one that is over has been told as a refusal.
    let certificates = explanation.map(|e| e.certificates.as_slice()).unwrap_or_default();
    let first = certificates.iter().min_by_key(|certificate| certificate.not_after);
    if let Some(first) = first.filter(|c| c.ends_soon(now) && c.not_after > now) {
        let note = Finding::new(cause("own_certificate_ends_soon"), format!("from {}", first.place));
        notes.push(note.with("whom", first.whom.clone()).with("ends", words::when(first.not_after, now)));
    }
    let of_host = aws::parse_host(&plan.config.url).and_then(|h| h.region);
    if let (Some((region, _)), Some(of_host)) = (explanation.and_then(|e| e.region.as_ref()), of_host)
        && *region != of_host
    {
        notes.push(Finding::new(cause("region_differs"), "").with("right_region", of_host));
    }
    notes
}
