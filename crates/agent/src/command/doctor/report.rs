//! What doctor found about one destination, as data; and its JSON.
//!
//! Draws no conclusion. Keeps true: the JSON's shape is that of docs/operations/doctor.md; fields are only ever added.

use std::time::SystemTime;

use aws::{CallerIdentity, Explanation, SourceOutcome};
use config::Problem;
use net::Survey;
use serde_json::{Value, json};

use super::{cause::Finding, words};

/// The version of the JSON's shape.
pub const VERSION: u32 = 1;

/// Everything about one destination.
#[derive(Debug)]
pub struct Report {
    pub name: String,
    /// Without user name, password and query.
    pub url: String,
    /// `endpoint_url`, where there is one.
    pub endpoint: Option<String>,
    /// Where requests really go, if there is an `endpoint_url`: with both paths.
    pub sent_to: Option<String>,
    /// `prometheus`, `s3`, `loki`, `cloudwatch_logs`, `firehose`, `kinesis`, `otlp`.
    pub protocol: &'static str,
    pub verdict: Verdict,
    pub authentication: &'static str,
    pub identity: Option<IdentityFacts>,
    pub survey: Option<Survey>,
    pub probe: Option<ProbeFacts>,
    /// The far end's clock minus ours, in milliseconds.
    pub offset_ms: Option<i64>,
    /// Causes of refusal, the first is the verdict's; then notes.
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepts,
    Refuses,
    /// Nothing refuses, and something could not be shown without storing data.
    Unproven,
    /// `enabled: false`; not examined.
    SwitchedOff,
}

#[derive(Debug, Default)]
pub struct IdentityFacts {
    pub explanation: Option<Explanation>,
    pub access_key_id: Option<String>,
    pub caller: Option<Result<CallerIdentity, String>>,
    pub service: String,
}

#[derive(Debug)]
pub struct ProbeFacts {
    /// What was sent.
    pub what: String,
    /// `HTTP 200`, or why there was no answer.
    pub outcome: String,
    pub said: String,
    pub request_id: Option<String>,
    pub attempts: u32,
    /// Why it was signed and sent again.
    pub signed_again: Vec<String>,
    pub took_ms: u128,
    pub stored: bool,
    /// What an accepted probe shows, and what it leaves open.
    pub shows: &'static str,
    /// What was asked after it, and the answers.
    pub then: Vec<(String, String)>,
}

impl Report {
    pub fn refusals(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| !f.is_note())
    }

    pub fn notes(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.is_note())
    }

    /// The first line: one sentence.
    pub fn sentence(&self) -> String {
        match (self.verdict, self.refusals().next()) {
            (Verdict::Accepts, _) => "would accept data".to_owned(),
            (Verdict::SwitchedOff, _) => "is switched off (enabled: false) and was not examined".to_owned(),
            (Verdict::Refuses, Some(finding)) => format!("would refuse: {}", finding.sentence()),
            (Verdict::Refuses, None) => "would refuse".to_owned(),
            (Verdict::Unproven, finding) => {
                let what = finding.map_or_else(String::new, |f| format!(": {}", f.sentence()));
                format!("could not be shown to accept data{what}")
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let verdict = match self.verdict {
            Verdict::Accepts => "accepts",
            Verdict::Refuses => "refuses",
            Verdict::Unproven => "unproven",
            Verdict::SwitchedOff => "switched_off",
        };
        json!({
            "name": self.name,
            "url": self.url,
            "endpoint_url": self.endpoint,
            "sent_to": self.sent_to,
            "protocol": self.protocol,
            "verdict": verdict,
            "sentence": self.sentence(),
            "cause": self.refusals().next().map(|f| f.cause.id),
            "causes": self.refusals().map(finding).collect::<Vec<_>>(),
            "notes": self.notes().map(finding).collect::<Vec<_>>(),
            "authentication": self.authentication,
            "identity": self.identity.as_ref().map(identity),
            "clock_offset_ms": self.offset_ms,
            "network": self.survey.as_ref().map(network),
            "probe": self.probe.as_ref().map(|probe| json!({
                "request": probe.what,
                "outcome": probe.outcome,
                "said": probe.said,
                "request_id": probe.request_id,
                "attempts": probe.attempts,
                "signed_again": probe.signed_again,
                "took_ms": u64::try_from(probe.took_ms).unwrap_or(u64::MAX),
                "stored": probe.stored,
                "shows": probe.shows,
                "then": probe.then.iter().map(|(what, outcome)| json!({"request": what, "outcome": outcome})).collect::<Vec<_>>(),
            })),
        })
    }
}

fn finding(finding: &Finding) -> Value {
    let iam = finding.iam().map(|(action, resource)| json!({"action": action, "resource": resource}));
    json!({
        "cause": finding.cause.id,
        "sentence": finding.sentence(),
        "detail": finding.detail,
        "do": finding.steps(),
        "commands": finding.commands(),
        "iam": iam,
    })
}

fn identity(facts: &IdentityFacts) -> Value {
    let explanation = facts.explanation.as_ref();
    let sources: Vec<Value> = explanation.map_or_else(Vec::new, |e| {
        e.sources
            .iter()
            .map(|s| json!({"source": s.source, "outcome": outcome(s.outcome), "why": words::said(&s.why)}))
            .collect()
    });
    let roles: Vec<Value> = explanation.map_or_else(Vec::new, |e| {
        e.roles
            .iter()
            .map(|r| {
                json!({
                    "role_arn": r.role_arn,
                    "session_name": r.session_name,
                    "access_key_id": r.key_id,
                    "error": r.error.as_deref().map(words::said),
                })
            })
            .collect()
    });
    let held = explanation.and_then(|e| e.caller.as_ref());
    let caller = match &facts.caller {
        Some(Ok(caller)) => json!({"arn": caller.arn, "account": caller.account}),
        Some(Err(error)) => json!({"error": words::said(error)}),
        None => Value::Null,
    };
    json!({
        "source": held.map(|h| h.source.clone()),
        "access_key_id": facts.access_key_id,
        "temporary": held.map(|h| h.is_temporary),
        "expires": held.and_then(|h| h.expires).map(words::time),
        "sources": sources,
        "roles": roles,
        "error": explanation.and_then(|e| e.error.as_deref()).map(words::said),
        "caller": caller,
        "service": facts.service,
        "region": explanation.and_then(|e| e.region.as_ref()).map(|(region, _)| region.clone()),
        "region_from": explanation.and_then(|e| e.region.as_ref()).map(|(_, origin)| origin.to_string()),
        "sts_endpoint": explanation.and_then(|e| e.sts_endpoint.clone()),
        "certificates": explanation.map_or_else(Vec::new, |e| {
            let one = |c: &aws::CertificateSight| {
                json!({"subject": c.whom, "place": c.place, "from": words::time(c.not_before), "expires": words::time(c.not_after)})
            };
            e.certificates.iter().map(one).collect()
        }),
    })
}

pub fn outcome(outcome: SourceOutcome) -> &'static str {
    match outcome {
        SourceOutcome::Taken => "taken",
        SourceOutcome::Absent => "absent",
        SourceOutcome::Failed => "failed",
        SourceOutcome::NotAsked => "not_asked",
    }
}

fn network(survey: &Survey) -> Value {
    let proxy = survey.proxy.as_ref().map(|proxy| {
        json!({
            "url": proxy.url,
            "from": proxy.origin,
            "connects": proxy.tunnel.as_ref().map(Result::is_ok),
            "error": proxy.tunnel.as_ref().and_then(|r| r.as_ref().err()).map(ToString::to_string),
        })
    });
    let addresses = match &survey.addresses {
        Some(Ok(found)) => json!(found.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => json!([]),
    };
    let tls = survey.tls.as_ref().map(|tls| match tls {
        Err(error) => json!({"error": error.to_string()}),
        Ok(sight) => json!({
            "version": sight.version,
            "name": sight.name,
            "trusted": sight.trust.is_ok(),
            "error": sight.trust.as_ref().err().map(ToString::to_string),
            "roots": sight.roots,
            "chain": sight.chain.iter().map(|c| json!({
                "subject": c.whom(),
                "issuer": c.issuer,
                "expires": words::time(c.not_after),
            })).collect::<Vec<_>>(),
        }),
    });
    json!({
        "proxy": proxy,
        "addresses": addresses,
        "connected_to": survey.connection.as_ref().and_then(|r| r.as_ref().ok()).map(ToString::to_string),
        "error": survey.failure().map(ToString::to_string),
        "tls": tls,
    })
}

/// The answer of `--json` where nothing could be examined: what is wrong with the configuration, or with the question.
pub fn without_examination(why: &str, problems: &[Problem]) -> Value {
    let problem = |p: &Problem| {
        json!({
            "file": p.file,
            "line": p.line,
            "column": p.column,
            "path": p.path,
            "message": p.message,
            "do": p.suggestion,
        })
    };
    json!({
        "version": VERSION,
        "ok": false,
        "time": words::time(SystemTime::now()),
        "error": why,
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
        "destinations": [],
    })
}

/// The whole answer of `--json`.
pub fn document(reports: &[Report], ok: bool) -> Value {
    json!({
        "version": VERSION,
        "ok": ok,
        "time": words::time(SystemTime::now()),
        "error": Value::Null,
        "problems": [],
        "destinations": reports.iter().map(Report::to_json).collect::<Vec<_>>(),
    })
}
