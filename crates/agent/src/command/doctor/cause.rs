//! What a cause of refusal is, and how its texts get the facts of a case.
//!
//! Knows no case: the table is in `causes`. Keeps true: a text never shows an unfilled placeholder in braces; what is not
//! known appears as the placeholder's name in capitals.

use std::collections::BTreeMap;

/// One row of the table of causes. `{name}` in a text is replaced by the fact of that name.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable: machines and the document's anchors use it.
    pub id: &'static str,
    pub kind: Kind,
    /// Completes `would refuse: `; one sentence without a full stop.
    pub verdict: &'static str,
    /// What one sees, in logs and answers.
    pub seen: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do, in order.
    pub steps: &'static [&'static str],
    /// Exact commands that show or mend it.
    pub commands: &'static [&'static str],
    /// The IAM statement that is missing: action and resource.
    pub iam: Option<(&'static str, &'static str)>,
}

/// A table of causes. Rows: `id, kind { verdict, seen, meaning, steps, commands, iam? }`.
macro_rules! causes {
    ($table:ident = $($id:ident, $kind:ident {
        verdict: $verdict:literal,
        seen: $seen:literal,
        meaning: $meaning:literal,
        steps: [$($step:literal),+ $(,)?],
        commands: [$($command:literal),* $(,)?]
        $(, iam: ($action:literal, $resource:literal))? $(,)?
    })+) => {
        /// Rows in the order of the document.
        pub static $table: &[Cause] = &[
            $(Cause {
                id: stringify!($id),
                kind: $kind,
                verdict: $verdict,
                seen: $seen,
                meaning: $meaning,
                steps: &[$($step),+],
                commands: &[$($command),*],
                iam: causes!(@iam $(($action, $resource))?),
            },)+
        ];
    };
    (@iam) => { None };
    (@iam ($action:literal, $resource:literal)) => { Some(($action, $resource)) };
}

pub(super) use causes;

/// Where a cause lies; the chapters of the document, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Network,
    Credentials,
    Signature,
    Permission,
    Answer,
    /// Refuses nothing, and does not show that data would be taken.
    Unproven,
    /// Worth knowing; refuses nothing.
    Note,
}

/// Facts by placeholder name. No secret belongs here.
pub type Facts = BTreeMap<&'static str, String>;

/// A cause that was found, with the facts of the case.
#[derive(Debug, Clone)]
pub struct Finding {
    pub cause: &'static Cause,
    pub facts: Facts,
    /// The words of whoever said so; may be empty.
    pub detail: String,
}

impl Finding {
    pub fn new(cause: &'static Cause, detail: impl Into<String>) -> Self {
        Self { cause, facts: Facts::new(), detail: detail.into() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.insert(name, value.into());
        self
    }

    /// Adds facts that are not there yet.
    pub fn complete(&mut self, facts: &Facts) {
        for (name, value) in facts {
            self.facts.entry(name).or_insert_with(|| value.clone());
        }
    }

    pub fn is_note(&self) -> bool {
        self.cause.kind == Kind::Note
    }

    /// The verdict's sentence with the facts.
    pub fn sentence(&self) -> String {
        filled(self.cause.verdict, &self.facts)
    }

    pub fn meaning(&self) -> String {
        filled(self.cause.meaning, &self.facts)
    }

    pub fn steps(&self) -> Vec<String> {
        self.cause.steps.iter().map(|step| filled(step, &self.facts)).collect()
    }

    pub fn commands(&self) -> Vec<String> {
        let proxy = self.facts.get("proxy").map(String::as_str);
        let shown = |command: &&str| {
            let whole = filled(command, &self.facts);
            // The token server has a proxy setting of its own.
            match proxy.filter(|_| !command.contains("{token_url}")) {
                Some(proxy) => through(&whole, proxy),
                None => whole,
            }
        };
        self.cause.commands.iter().map(shown).collect()
    }

    pub fn iam(&self) -> Option<(String, String)> {
        self.cause.iam.map(|(action, resource)| (filled(action, &self.facts), filled(resource, &self.facts)))
    }
}

/// Replaces `{name}`; `{{` is not needed by any text.
pub fn filled(text: &str, facts: &Facts) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            // `%{http_code}` is curl's own.
            Some((name, end)) if is_name(name) && !before.ends_with('%') => {
                match facts.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&name.to_ascii_uppercase()),
                }
                rest = end;
            }
            // Braces of JSON and of configuration.
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The command as it goes the way that the destination's requests go: a shell knows nothing of proxy_url.
fn through(command: &str, proxy: &str) -> String {
    let is_own = ["--proxy", "--noproxy", "169.254.", "-proxy"].iter().any(|word| command.contains(word));
    if is_own {
        return command.to_owned();
    }
    if let Some(rest) = command.strip_prefix("curl ") {
        return format!("curl --proxy {proxy} {rest}");
    }
    match command.strip_prefix("openssl s_client ") {
        Some(rest) => {
            let host = proxy.split_once("://").map_or(proxy, |(_, host)| host).trim_end_matches('/');
            format!("openssl s_client -proxy {host} {rest}")
        }
        None => command.to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_go_through_the_proxy_that_requests_go_through() {
        let proxy = "http://proxy.example:3128";
        for (command, wanted) in [
            ("curl -sS https://h/", "curl --proxy http://proxy.example:3128 -sS https://h/"),
            ("openssl s_client -connect h:443", "openssl s_client -proxy proxy.example:3128 -connect h:443"),
            ("curl -m 2 http://169.254.169.254/", "curl -m 2 http://169.254.169.254/"),
            ("aws sts get-caller-identity", "aws sts get-caller-identity"),
        ] {
            assert_eq!(through(command, proxy), wanted);
        }
    }

    #[test]
    fn facts_fill_their_places_and_unknown_ones_stand_in_capitals() {
        let facts = Facts::from([("region", "eu-west-1".to_owned())]);
        assert_eq!(
            filled("region: {region}, {file}; {\"a\": 1}, {}", &facts),
            "region: eu-west-1, FILE; {\"a\": 1}, {}"
        );
        assert_eq!(filled("open {region", &facts), "open {region");
        assert_eq!(filled("curl -w '%{http_code}' {region}", &facts), "curl -w '%{http_code}' eu-west-1");
    }
}
