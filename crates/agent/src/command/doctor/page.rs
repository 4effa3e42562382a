//! The report for a person: verdict first, then the facts, then what to do.
//!
//! Keeps true: no line is longer than [`WIDTH`] unless a single word is; no colour unless asked for.

use std::time::SystemTime;

use aws::SourceOutcome;
use net::Survey;

use super::{
    cause::Finding,
    report::{IdentityFacts, Report, Verdict},
    words,
};

/// Columns.
pub const WIDTH: usize = 100;
/// Where the facts begin.
const INDENT: usize = 15;

/// Colour or not.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            _ if !self.0 => return text.to_owned(),
            Verdict::Accepts => "1;32",
            Verdict::Refuses => "1;31",
            Verdict::Unproven | Verdict::SwitchedOff => "1;33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// All destinations and the last line.
pub fn page(reports: &[Report], paint: Paint) -> String {
    let mut out = String::new();
    for report in reports {
        destination(report, paint, &mut out);
        out.push('\n');
    }
    let refusing: Vec<&str> =
        reports.iter().filter(|r| r.verdict == Verdict::Refuses).map(|r| r.name.as_str()).collect();
    let accepting = reports.iter().filter(|r| r.verdict == Verdict::Accepts).count();
    let unproven: Vec<&str> =
        reports.iter().filter(|r| r.verdict == Verdict::Unproven).map(|r| r.name.as_str()).collect();
    match refusing.as_slice() {
        [] if reports.iter().all(|r| r.verdict == Verdict::SwitchedOff) => {
            let line = "nothing was examined: every destination is switched off (enabled: false); --destination NAME examines one all the \
                        same";
            put_wrapped(line, 0, 2, &mut out);
        }
        [] if !unproven.is_empty() => {
            let line = format!(
                "{} of {} destinations could not be shown to accept data: {}",
                unproven.len(),
                reports.len(),
                unproven.join(", ")
            );
            put_wrapped(&line, 0, 2, &mut out);
        }
        [] => out.push_str(&format!("{} of {} destinations would accept data\n", accepting, reports.len())),
        names => {
            let line =
                format!("{} of {} destinations would refuse data: {}", names.len(), reports.len(), names.join(", "));
            put_wrapped(&line, 0, 2, &mut out);
        }
    }
    out
}

fn destination(report: &Report, paint: Paint, out: &mut String) {
    let line = format!("{} {}", report.name, report.sentence());
    for part in wrap(&line, WIDTH, WIDTH - 2) {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push_str("\n  ");
        }
        out.push_str(&paint.verdict(report.verdict, &part));
    }
    out.push('\n');
    if let Some(detail) = report.refusals().next().map(|f| f.detail.as_str()).filter(|d| !d.is_empty()) {
        row("said", detail, out);
    }
    let to = match report.sent_to.as_ref().or(report.endpoint.as_ref()) {
        Some(address) => format!("{} (sent to {address})", report.url),
        None => report.url.clone(),
    };
    row("url", &to, out);
    if report.verdict == Verdict::SwitchedOff {
        return;
    }
    match &report.identity {
        Some(facts) => identity(facts, words::far_now(report.offset_ms), out),
        None => row("identity", authentication(report.authentication), out),
    }
    if let Some(offset) = report.offset_ms {
        let note = if offset.abs() > 60_000 { ": fix NTP" } else { "" };
        row("clock", &format!("{} ({}){note}", words::offset(offset), words::by_date(offset)), out);
    }
    if let Some(survey) = &report.survey {
        network(survey, out);
    }
    if let Some(probe) = &report.probe {
        let tries = if probe.attempts > 1 { format!(", at attempt {}", probe.attempts) } else { String::new() };
        let took = if probe.attempts > 0 { format!(" in {} ms{tries}", probe.took_ms) } else { String::new() };
        row("probe", &format!("{}: {}{took}", probe.what, probe.outcome), out);
        for why in &probe.signed_again {
            // What AWS said is told where it decides; here only what was done about it.
            row("", &format!("signed again: {}", why.rsplit("; ").next().unwrap_or(why)), out);
        }
        if let Some(id) = &probe.request_id {
            row("", &format!("request id {id}"), out);
        }
        for (what, outcome) in &probe.then {
            row("", &format!("{what}: {outcome}"), out);
        }
        if !probe.shows.is_empty() {
            row("shows", probe.shows, out);
        }
    }
    for (number, finding) in report.refusals().enumerate() {
        if number > 0 {
            row("and", &finding.sentence(), out);
            row("said", &finding.detail, out);
        }
        advice(finding, out);
    }
    for note in report.notes() {
        remark(note, out);
    }
}

fn authentication(kind: &str) -> &str {
    match kind {
        "basic" => "basic authentication (user name and password)",
        "authorization" => "an Authorization header",
        "oauth2" => "OAuth2 client credentials",
        "sigv4" => "the sigv4 block, which cannot be used as it is",
        _ => "none: requests are neither signed nor authenticated",
    }
}

/// `now` is the destination's time.
fn identity(facts: &IdentityFacts, now: SystemTime, out: &mut String) {
    let explanation = facts.explanation.as_ref();
    let held = explanation.and_then(|e| e.caller.as_ref());
    match held {
        Some(caller) => {
            let key = facts.access_key_id.clone().unwrap_or_else(|| format!("...{}", caller.key_last4));
            row("identity", &format!("{}, access key {key}", caller.source), out);
        }
        None => row("identity", "no credentials", out),
    }
    for source in explanation.map(|e| e.sources.as_slice()).unwrap_or_default() {
        let word = match source.outcome {
            SourceOutcome::Taken => continue,
            SourceOutcome::Absent => "not taken",
            SourceOutcome::Failed => {
                row("", &format!("failed: {}", source.source), out);
                continue;
            }
            SourceOutcome::NotAsked => "not asked",
        };
        row("", &format!("{word}: {}: {}", source.source, words::short(&words::said(&source.why), 160)), out);
    }
    for role in explanation.map(|e| e.roles.as_slice()).unwrap_or_default() {
        let what = if role.error.is_some() { "refused" } else { "assumed" };
        row("role", &format!("{what}: {} as {}", role.role_arn, role.session_name), out);
    }
    match &facts.caller {
        Some(Ok(caller)) => row("caller", &format!("{} (account {})", caller.arn, caller.account), out),
        Some(Err(error)) => {
            let error = words::said(error);
            // The code; the sentence behind it is the service's own, told above.
            let short = error.split_once("STS said ").and_then(|(_, said)| said.split(':').next());
            let short = short.map_or_else(|| words::short(&error, 160), |code| format!("STS refuses too ({code})"));
            row("caller", &format!("unknown: {short}"), out);
        }
        None => {}
    }
    if let Some(caller) = held {
        let label = if caller.expires.is_some_and(|at| at <= now) { "expired" } else { "expires" };
        let expires = match (caller.expires, caller.is_temporary) {
            (Some(at), _) => words::when(at, now),
            (None, true) => "unknown: a session token without an end".to_owned(),
            (None, false) => "never".to_owned(),
        };
        row(label, &expires, out);
    }
    for (at, certificate) in explanation.map(|e| e.certificates.as_slice()).unwrap_or_default().iter().enumerate() {
        let label = if at == 0 { "certificate" } else { "" };
        let (verb, until) =
            (if certificate.not_after <= now { "ended" } else { "ends" }, words::when(certificate.not_after, now));
        let line = format!("{}, {verb} {until}; from {}", words::short(&certificate.whom, 70), certificate.place);
        row(label, &line, out);
    }
    match explanation.and_then(|e| e.region.as_ref()) {
        Some((region, origin)) => {
            row("region", &format!("{region}, from {origin}; signing name {}", facts.service), out);
        }
        None => row("region", &format!("unknown; signing name {}", facts.service), out),
    }
    if let Some(sts) = explanation.and_then(|e| e.sts_endpoint.as_ref()) {
        row("sts", sts, out);
    }
}

fn network(survey: &Survey, out: &mut String) {
    match &survey.proxy {
        None => row("proxy", "none", out),
        Some(proxy) => {
            let works = match &proxy.tunnel {
                Some(Ok(())) => "answers CONNECT".to_owned(),
                Some(Err(_)) => "does not connect us".to_owned(),
                None => "not asked for a tunnel".to_owned(),
            };
            row("proxy", &format!("{} (from {}), {works}", proxy.url, proxy.origin), out);
        }
    }
    let whose = if survey.proxy.is_some() { "the proxy's address: " } else { "" };
    match &survey.addresses {
        Some(Ok(found)) => {
            let shown: Vec<String> = found.iter().take(6).map(ToString::to_string).collect();
            let more = if found.len() > 6 { format!(" and {} more", found.len() - 6) } else { String::new() };
            row("dns", &format!("{whose}{}{more}", shown.join(", ")), out);
        }
        Some(Err(_)) => row("dns", &format!("{whose}none found"), out),
        None => {}
    }
    match &survey.connection {
        Some(Ok(at)) => row("tcp", &format!("connected to {at}"), out),
        Some(Err(_)) => row("tcp", "no connection", out),
        None => {}
    }
    match &survey.tls {
        None => {}
        Some(Err(error)) => row("tls", &error.to_string(), out),
        Some(Ok(sight)) => {
            let trust = match &sight.trust {
                Ok(()) => format!("trusted by {}", sight.roots),
                Err(why) => format!("NOT trusted ({why}) by {}", sight.roots),
            };
            row("tls", &format!("{}, {trust}", sight.version), out);
            for certificate in sight.chain.iter().take(5) {
                let line = format!(
                    "{}; issued by {}; until {}",
                    words::short(&certificate.whom(), 70),
                    words::short(&certificate.issuer, 70),
                    words::time(certificate.not_after)
                );
                row("", &line, out);
            }
        }
    }
}

fn advice(finding: &Finding, out: &mut String) {
    row("why", &finding.meaning(), out);
    out.push_str("  do this:\n");
    for (number, step) in finding.steps().iter().enumerate() {
        put_wrapped(&format!("{}. {step}", number + 1), 4, 7, out);
    }
    for command in finding.commands() {
        put_command(&command, out);
    }
    put_wrapped(&format!("more: docs/operations/troubleshooting.md#{}", finding.cause.id), 4, 6, out);
}

fn remark(note: &Finding, out: &mut String) {
    let detail = if note.detail.is_empty() { String::new() } else { format!(" ({})", note.detail) };
    put_wrapped(&format!("note: {}{detail}", note.sentence()), 2, 8, out);
    for step in note.steps() {
        put_wrapped(&step, 8, 8, out);
    }
}

/// `  label        text`, wrapped under itself.
fn row(label: &str, text: &str, out: &mut String) {
    if text.is_empty() {
        return;
    }
    let head = format!("  {label:<width$}", width = INDENT - 2);
    let mut first = true;
    for line in wrap(text, WIDTH - INDENT, WIDTH - INDENT) {
        if first {
            out.push_str(&head);
        } else {
            out.push_str(&" ".repeat(INDENT));
        }
        first = false;
        out.push_str(&line);
        out.push('\n');
    }
}

fn put_wrapped(text: &str, first: usize, then: usize, out: &mut String) {
    for (number, line) in wrap(text, WIDTH - first, WIDTH - then).into_iter().enumerate() {
        out.push_str(&" ".repeat(if number == 0 { first } else { then }));
        out.push_str(&line);
        out.push('\n');
    }
}

/// A shell command over several lines: broken at blanks outside quotes, with the shell's own sign for it.
fn put_command(command: &str, out: &mut String) {
    let command = &words::plain(command, words::as_name);
    let mut words: Vec<String> = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (c, quote) {
            (' ', None) => words.push(String::new()),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        if !(c == ' ' && quote.is_none())
            && let Some(word) = words.last_mut()
        {
            word.push(c);
        }
    }
    let mut line = "    $".to_owned();
    let mut is_first = true;
    for word in words {
        if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH - 2 {
            out.push_str(&line);
            out.push_str(" \\\n");
            line = "       ".to_owned();
        }
        is_first = false;
        line.push(' ');
        line.push_str(&word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// Lines of at most `first` and then `then` characters; a longer word has a line of its own.
fn wrap(text: &str, first: usize, then: usize) -> Vec<String> {
    let text = &words::plain(text, words::as_name);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let room = if lines.is_empty() { first } else { then };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_words_are_kept_whole() {
        let text = "one two three four five";
        assert_eq!(wrap(text, 9, 6), ["one two", "three", "four", "five"]);
        assert_eq!(wrap("averylongword b", 5, 5), ["averylongword", "b"]);
        assert_eq!(wrap("", 5, 5), [""]);
    }

    #[test]
    fn a_long_command_stays_one_command_for_the_shell() {
        let command = format!("aws iam simulate --a '{}' --b c", "x y ".repeat(30));
        let mut out = String::new();
        put_command(&command, &mut out);
        let joined = out.replace(" \\\n", "");
        assert_eq!(
            joined.trim().trim_start_matches("$ ").split_whitespace().collect::<Vec<_>>(),
            command.split_whitespace().collect::<Vec<_>>()
        );
        assert!(out.lines().count() > 1);
        for line in out.lines().filter(|l| l.ends_with('\\')) {
            assert_eq!(line.matches('\'').count() % 2, 0, "{line}");
        }
    }
}
