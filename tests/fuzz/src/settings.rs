//! What people write: configuration files, regular expressions, proxy lists.

use net::{NoProxy, ProxyEnvironment};
use url::Url;

/// Flags (1): 1 variables are expanded, 2 extra scrape metrics; then a configuration file.
pub fn config_text(data: &[u8]) {
    let [flags, file @ ..] = data else { return };
    let Ok(text) = config::decode(file) else { return };
    let environment = |name: &str| match name {
        "EMPTY" => Some(String::new()),
        "NUMBER" => Some("15".to_owned()),
        "SECRET" => Some("s3cr3tMARKER".to_owned()),
        "LINES" => Some("a: b\nc: [d]\n".to_owned()),
        _ => None,
    };
    let options = config::LoadOptions {
        expand_env: flags & 1 != 0,
        extra_scrape_metrics: flags & 2 != 0,
        ..config::LoadOptions::new("fuzzed.yaml", &environment)
    };
    match config::load(&text, options) {
        Ok(plan) => {
            let shown = plan.render_masked();
            let again = config::load(&shown, config::LoadOptions::new("shown.yaml", &environment));
            // What is masked cannot be used again, but it is still a file that can be read.
            if let Err(problems) = again {
                assert!(
                    shown.contains("<secret>"),
                    "a plan without secrets cannot be read again:\n{shown}\n{problems}"
                );
            }
        }
        Err(problems) => {
            assert!(!problems.errors.is_empty());
            for problem in problems.errors.iter().chain(&problems.warnings) {
                assert!(problem.line >= 1 && problem.column >= 1, "a problem without a place: {problem}");
                assert!(problem.line <= text.lines().count() + 2, "a place behind the file: {problem}");
            }
        }
    }
}

/// A pattern of Go's dialect, then lines to try it on.
pub fn go_regex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > 300 {
        return;
    }
    let (pattern, lines) = text.split_once('\n').unwrap_or((text, ""));
    let anchored = relabel::go_regex(pattern);
    let bare = relabel::go_regex_unanchored(pattern);
    // What Prometheus wraps around a pattern makes no good one bad, but for one level more, and a `\Q` that is still open: it
    // takes the closing parenthesis, in Go as well.
    if bare.is_ok()
        && let Err(error) = &anchored
        && !pattern.contains("\\Q")
    {
        let known = match error {
            relabel::GoRegexError::TooLarge => true,
            relabel::GoRegexError::Syntax { what, .. } => what.contains("nests too deeply"),
            relabel::GoRegexError::Untranslatable(_) => false,
        };
        assert!(known, "{pattern:?} is refused when anchored: {error}");
    }
    if let Ok(whole) = relabel::GoRegex::anchored(pattern) {
        // A replacement is text of the same kind of hand.
        let template = relabel::Template::new(lines, &whole);
        for line in lines.lines().take(8) {
            if let Some(captures) = whole.regex().captures(line) {
                let _ = template.expand(&captures);
            }
        }
    }
    if let (Ok(anchored), Ok(bare)) = (anchored, bare) {
        for line in lines.lines().take(8) {
            // `(?s)` widens the dot, and a match of the whole line is a match in the line.
            if !pattern.contains(['.', '^', '$', '\\', '(']) && anchored.is_match(line) {
                assert!(bare.is_match(line), "{pattern:?} matches all of {line:?} and nothing in it");
            }
        }
    }
}

/// A `NO_PROXY` list, a proxy's address, then URLs.
pub fn no_proxy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let (list, proxy) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let exempt = NoProxy::parse(list);
    let environment = ProxyEnvironment::from_lookup(&|name| match name {
        "HTTPS_PROXY" | "http_proxy" => Some(proxy.to_owned()),
        "no_proxy" => Some(list.to_owned()),
        _ => None,
    });
    for url in lines.take(8).filter_map(|line| Url::parse(line).ok()) {
        let through = environment.proxy_for(&url);
        if net::is_local_destination(&url) || exempt.matches(&url) {
            assert_eq!(through, None, "{url} goes through a proxy in spite of {list:?}");
        } else if let Some(through) = through {
            assert!(
                through.host().is_some() && matches!(url.scheme(), "http" | "https"),
                "{url} goes through {through}"
            );
        }
    }
}
