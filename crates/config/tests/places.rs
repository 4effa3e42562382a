//! Where a problem is shown, and what is said to do about it.

use config::{LoadOptions, Problem, load};

/// What is wrong with `text`, warnings last.
fn problems(text: &str, expand_env: bool) -> Vec<Problem> {
    let none = |_: &str| None;
    match load(text, LoadOptions { expand_env, ..LoadOptions::new("f.yaml", &none) }) {
        Ok(plan) => plan.warnings,
        Err(problems) => problems.errors.into_iter().chain(problems.warnings).collect(),
    }
}

/// The text under the mark, as it is shown.
fn marked(problem: &Problem) -> String {
    problem.snippet.chars().skip(problem.mark.0).take(problem.mark.1).collect()
}

fn with_identity(keys: &str) -> String {
    format!(
        "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://h.internal/w\n          sigv4:\n{keys}"
    )
}

#[test]
fn an_empty_key_of_an_identity_is_a_problem_at_its_place() {
    for (key, help) in [
        ("region", "write `region: us-east-1`"),
        ("access_key", "access_key: env://NAME"),
        ("secret_access_key", "secret_access_key: env://NAME"),
        ("service_name", "service_name: aps"),
        ("sts_region", "sts_region: us-east-1"),
        ("container", "container: {}"),
    ] {
        for value in ["", " \"\"", " ''", " ~"] {
            let text = with_identity(&format!("            {key}:{value}\n"));
            let found = problems(&text, true);
            let problem = found.iter().find(|p| p.message.contains(&format!("`{key}` is empty")));
            let problem = problem.unwrap_or_else(|| panic!("{key}:{value}: {found:?}"));
            assert_eq!((problem.severity, problem.line), (config::Severity::Error, 7), "{problem}");
            assert!(problem.column >= 13 && problem.path.ends_with(&format!("sigv4.{key}")), "{problem}");
            assert!(problem.suggestion.as_ref().is_some_and(|s| s.contains(help)), "{problem}");
        }
    }
    // What Grafana Agent takes for absent stays absent, with a word about it.
    for key in ["session_token", "profile", "role_arn", "external_id"] {
        let found = problems(&with_identity(&format!("            {key}: ''\n")), true);
        let told = found.iter().find(|p| p.message.contains(&format!("`{key}` is empty")));
        assert!(told.is_some_and(|p| p.severity == config::Severity::Warning), "{key}: {found:?}");
    }
}

/// Nobody meant another identity to sign: whoever writes a variable wants what it holds.
#[test]
fn an_identity_key_that_a_variable_leaves_empty_is_an_error_that_names_the_variable() {
    let role = "role_arn: 'arn:aws:iam::123456789012:role/b'";
    for (key, more) in [("role_arn", ""), ("profile", ""), ("external_id", role)] {
        for value in ["${NOROLE}", "\"${NOROLE}\"", "'${NOROLE:-}'"] {
            for expand_env in [true, false] {
                let text = with_identity(&format!("            {key}: {value}\n            {more}\n"));
                let found = problems(&text, expand_env);
                let told = found.iter().find(|p| p.message.contains(&format!("`{key}` is empty")));
                let told = told.unwrap_or_else(|| panic!("{key}: {value} {expand_env}: {found:?}"));
                assert_eq!(
                    (told.severity, told.line),
                    (config::Severity::Error, 7),
                    "{key}: {value} {expand_env}: {told}"
                );
                assert!(told.message.contains("NOROLE is not set"), "{told}");
            }
        }
    }
}

#[test]
fn an_empty_key_deep_in_an_identity_is_a_problem_too() {
    let text = with_identity(
        "            assume_roles: [{role_arn: 'arn:aws:iam::1:role/b', external_id: ''}]\n            web_identity:\n              role_arn: 'arn:aws:iam::1:role/b'\n              token_file:\n",
    );
    let found: Vec<_> = problems(&text, true).into_iter().map(|p| (p.line, p.path)).collect();
    let path = "metrics.configs[0].remote_write[0].sigv4";
    assert!(found.contains(&(10, format!("{path}.web_identity.token_file"))), "{found:?}");
}

#[test]
fn an_empty_region_names_the_one_of_the_host() {
    let text = with_identity("            region:\n").replace("h.internal", "aps-workspaces.eu-west-1.amazonaws.com");
    let found = problems(&text, false);
    let told = found.iter().find(|p| p.message.contains("`region` is empty")).expect("a word about it");
    assert_eq!((told.severity, told.line, told.column), (config::Severity::Warning, 7, 13), "{told}");
    assert!(told.suggestion.as_ref().is_some_and(|s| s.contains("`region: eu-west-1`")), "{told}");
}

#[test]
fn every_duplicate_key_has_its_path_and_names_the_first() {
    let text = "metrics:\n  global:\n    scrape_interval: 15s\n    external_labels: {a: b, a: c}\n    scrape_interval: 30s\n  configs:\n    - name: a\n      name: b\n";
    let found: Vec<_> = problems(text, false).into_iter().filter(|p| p.message.contains("twice")).collect();
    let told: Vec<_> = found.iter().map(|p| (p.line, p.column, p.path.as_str())).collect();
    assert_eq!(
        told,
        [
            (4, 29, "metrics.global.external_labels.a"),
            (5, 5, "metrics.global.scrape_interval"),
            (8, 7, "metrics.configs[0].name")
        ]
    );
    for (problem, line) in found.iter().zip([4, 3, 7]) {
        let help = problem.suggestion.as_deref().unwrap_or_default();
        assert!(help.contains(&format!("first written at line {line}")), "{problem}");
    }
    assert_eq!(marked(&found[1]), "scrape_interval");
}

#[test]
fn a_merge_key_may_be_overridden_and_is_no_duplicate() {
    let text = "metrics:\n  configs:\n    - name: a\n      scrape_configs:\n        - &b {job_name: a, static_configs: [{targets: [a:1]}]}\n        - {<<: *b, job_name: b}\n";
    let found = problems(text, false);
    assert!(found.iter().all(|p| !p.message.contains("twice")), "{found:?}");
}

#[test]
fn a_bad_substitution_has_the_path_of_its_key() {
    for (line, path) in [
        ("          bearer_token: ${TOKEN-none}", "metrics.configs[0].remote_write[0].bearer_token"),
        ("          bearer_token: \"a ${TOKEN-none}\"", "metrics.configs[0].remote_write[0].bearer_token"),
        (
            "          basic_auth: {username: ${A}, password: ${B-x}}",
            "metrics.configs[0].remote_write[0].basic_auth.password",
        ),
        ("          bearer_token: ${TOKEN", "metrics.configs[0].remote_write[0].bearer_token"),
        ("          remote_timeout: 30s # ${TOKEN-x}", ""),
        ("# ${TOKEN-x}", ""),
    ] {
        let text = format!(
            "metrics:\n  configs:\n    - name: ${{N}}\n      remote_write:\n        - url: https://h/w\n{line}\n"
        );
        let found = problems(&text, true);
        assert_eq!((found.len(), found[0].line, found[0].path.as_str()), (1, 6, path), "{line}: {found:?}");
    }
}

#[test]
fn a_substitution_that_is_not_closed_is_told_so() {
    for text in [
        "a: ${FOO\n",
        "a: ${FOO",
        "a: \"${FOO\"\n",
        "a: ${FOO bar\n",
        "a: ${FOO\r\nb: c\n",
        "a: {b: \"${FOO\", c: d}\n",
    ] {
        let found = problems(text, true);
        assert!(found[0].message.contains("the `}`") && found[0].message.contains("missing"), "{text:?}: {}", found[0]);
    }
    let found = problems("a: ${FOO BAR}\n", true);
    assert!(found[0].message.contains("cannot be in a name"), "{}", found[0]);
}

#[test]
fn a_key_that_an_action_does_not_take_is_marked_itself() {
    for (rule, key) in [
        ("action: uppercase, source_labels: [a], target_label: b, replacement: x", "replacement"),
        ("action: keepequal, source_labels: [a], target_label: b, regex: x", "regex"),
        ("action: labeldrop, regex: a, source_labels: [a]", "source_labels"),
        ("action: labelkeep, regex: a, modulus: 3", "modulus"),
    ] {
        let text = format!(
            "metrics: {{configs: [{{name: a, scrape_configs: [{{job_name: j, metric_relabel_configs: [{{{rule}}}]}}]}}]}}"
        );
        let found: Vec<_> =
            problems(&text, false).into_iter().filter(|p| p.severity == config::Severity::Error).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(marked(&found[0]), key, "{}", found[0]);
        assert!(found[0].path.ends_with(&format!("metric_relabel_configs[0].{key}")), "{}", found[0]);
        let help = found[0].suggestion.as_deref().unwrap_or_default();
        assert_eq!(help, format!("remove `{key}`"), "{}", found[0]);
    }
    let broken = "metrics: {configs: [{name: a, scrape_configs: [{job_name: j, relabel_configs: [{action: labeldrop, regex: '('}]}]}]}";
    assert!(problems(broken, false).iter().any(|p| p.suggestion.as_ref().is_some_and(|s| s.contains("RE2"))));
}
