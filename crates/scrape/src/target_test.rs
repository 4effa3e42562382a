//! From discovered labels to targets.

use relabel::{Action, Rule, RuleSource};

use super::*;
use crate::config::test_job;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn kept(pairs: &[(&str, &str)], job: &JobConfig) -> Target {
    match resolve(labels(pairs), job) {
        Ok(Resolved::Kept(target)) => target,
        other => panic!("{other:?}"),
    }
}

fn error(pairs: &[(&str, &str)], job: &JobConfig) -> TargetError {
    resolve(labels(pairs), job).unwrap_err()
}

fn rule(source: &str, target: &str, replacement: &str) -> Rule {
    Rule::new(RuleSource {
        source_labels: vec![source.into()],
        target_label: target.into(),
        replacement: replacement.into(),
        ..RuleSource::default()
    })
    .unwrap()
}

#[test]
fn a_plain_target_gets_job_instance_and_default_port() {
    let target = kept(&[("__address__", "host"), ("__meta_x", "y"), ("env", "prod")], &test_job());
    assert_eq!(target.labels, labels(&[("env", "prod"), ("instance", "host:80"), ("job", "test")]));
    assert_eq!(target.url.as_str(), "http://host/metrics");
    assert_eq!(target.discovered.get("__address__"), Some("host"));
    assert_eq!(target.discovered.get("__scrape_interval__"), Some("15s"));
    assert_eq!(target.discovered.get("__meta_x"), Some("y"));
    let https = JobConfig { scheme: Scheme::Https, ..test_job() };
    assert_eq!(kept(&[("__address__", "[::1]")], &https).labels.get("instance"), Some("[::1]:443"));
    assert_eq!(kept(&[("__address__", "h:8443"), ("instance", "mine")], &https).url.as_str(), "https://h:8443/metrics");
}

#[test]
fn discovered_labels_win_over_the_job_and_target_over_group() {
    let group = TargetGroup { labels: labels(&[("job", "group"), ("a", "group")]), ..TargetGroup::default() };
    let merged = merged(
        &group,
        &labels(&[("__address__", "h:1"), ("a", "own"), ("__metrics_path__", "/x"), ("__scrape_interval__", "1m")]),
    );
    let Ok(Resolved::Kept(target)) = resolve(merged, &test_job()) else { panic!("not kept") };
    assert_eq!((target.labels.get("job"), target.labels.get("a")), (Some("group"), Some("own")));
    assert_eq!((target.url.path(), target.interval), ("/x", Duration::from_secs(60)));
}

#[test]
fn parameters_are_labels_and_labels_are_parameters() {
    let mut job = test_job();
    job.params.insert("module".into(), vec!["first".into(), "second".into()]);
    job.params.insert("empty".into(), vec![]);
    job.relabel = vec![rule("__address__", "__param_target", "$1"), rule("__param_module", "module", "$1")];
    let target = kept(&[("__address__", "h:1")], &job);
    assert_eq!(target.url.as_str(), "http://h:1/metrics?module=first&module=second&target=h%3A1");
    assert_eq!(target.labels.get("module"), Some("first"));
    job.relabel = vec![rule("__address__", "__param_module", "x y")];
    assert_eq!(kept(&[("__address__", "h:1")], &job).url.query(), Some("module=x+y&module=second"));
}

#[test]
fn dropped_targets_keep_their_discovered_labels() {
    let mut job = test_job();
    job.relabel = vec![
        Rule::new(RuleSource {
            source_labels: vec!["env".into()],
            regex: "prod".into(),
            action: Action::Keep,
            ..RuleSource::default()
        })
        .unwrap(),
    ];
    match resolve(labels(&[("__address__", "h:1"), ("env", "dev")]), &job) {
        Ok(Resolved::Dropped(labels)) => assert_eq!(labels.get("env"), Some("dev")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn targets_that_cannot_be_scraped_say_why() {
    let job = test_job();
    assert_eq!(error(&[("env", "x")], &job), TargetError::NoAddress);
    for address in ["h/path", "http://h", "a:b:c", "h:99999", "user@h:1", "h h", "::1", "h:1?x"] {
        assert!(matches!(error(&[("__address__", address)], &job), TargetError::Address { .. }), "{address}");
    }
    assert!(matches!(error(&[("__address__", "h:1"), ("__scheme__", "ftp")], &job), TargetError::Scheme { .. }));
    for (label, value) in [
        ("__scrape_interval__", "0s"),
        ("__scrape_interval__", "soon"),
        ("__scrape_timeout__", "0"),
        ("__scrape_timeout__", "-1s"),
    ] {
        assert!(
            matches!(error(&[("__address__", "h:1"), (label, value)], &job), TargetError::Duration { .. }),
            "{value}"
        );
    }
    let longer = [("__address__", "h:1"), ("__scrape_timeout__", "16s")];
    assert!(matches!(error(&longer, &job), TargetError::TimeoutAboveInterval { .. }));
}

#[test]
fn identity_is_labels_and_url_but_not_times() {
    let job = test_job();
    let one = kept(&[("__address__", "h:1")], &job);
    assert_eq!(
        one.identity,
        kept(&[("__address__", "h:1"), ("__scrape_interval__", "1m"), ("__meta_a", "b")], &job).identity
    );
    assert_ne!(one.identity, kept(&[("__address__", "h:1"), ("__tmp", "b")], &job).identity);
    assert_ne!(one.identity, kept(&[("__address__", "h:2"), ("instance", "h:1")], &job).identity);
    assert_ne!(one.identity, kept(&[("__address__", "h:1"), ("__metrics_path__", "/x")], &job).identity);
}
