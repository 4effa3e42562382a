//! A series' description is found by its family's name, wherever in the body it stands.

mod cache_support;

use cache_support::{Target, config};
use relabel::{Action, Rule, RuleSource};
use scrape::CacheConfig;

fn family_of(target: &mut Target, series: &str) -> String {
    let all = target.families();
    let found = all.iter().find(|(name, _)| name == series);
    found.map(|(_, family)| family.clone()).unwrap_or_else(|| panic!("no {series} in {all:?}"))
}

#[test]
fn a_description_behind_its_samples_counts() {
    for mut target in [Target::plain(), Target::unrecognising(config())] {
        for ts in [10, 20] {
            target.samples("h5 1\n# HELP h5 Five.\n# TYPE h5 gauge\n", ts);
            assert_eq!(family_of(&mut target, "h5{}"), "h5 gauge \"Five.\" \"\"");
        }
    }
}

#[test]
fn a_description_in_two_parts_is_put_together() {
    let mut target = Target::plain();
    target.samples("# HELP a The a.\na 1\n# TYPE a counter\n# HELP b The b.\nb 1\n# HELP c Why.\n# TYPE b gauge\n", 10);
    assert_eq!(family_of(&mut target, "a{}"), "a counter \"The a.\" \"\"");
    assert_eq!(family_of(&mut target, "b{}"), "b gauge \"The b.\" \"\"");
}

#[test]
fn members_of_a_family_find_it_past_the_lines_of_another() {
    let mut target = Target::open_metrics();
    let body = "# TYPE foo counter\n# HELP foo Foo.\n# TYPE h histogram\n# TYPE bar gauge\nbar 1\nfoo_total 1\nfoo_created 1\n\
                # TYPE s summary\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\nh_created 1\ns_sum 1\ns_count 1\nfoo_sum 1\n# EOF\n";
    for ts in [10, 20] {
        target.samples(body, ts);
        for series in ["foo_total{}", "foo_created{}"] {
            assert_eq!(family_of(&mut target, series), "foo counter \"Foo.\" \"\"");
        }
        for series in ["h_bucket{le=\"+Inf\"}", "h_sum{}", "h_count{}", "h_created{}"] {
            assert_eq!(family_of(&mut target, series), "h histogram \"\" \"\"");
        }
        assert_eq!(family_of(&mut target, "s_count{}"), "s summary \"\" \"\"");
        assert_eq!(family_of(&mut target, "bar{}"), "bar gauge \"\" \"\"");
        assert_eq!(family_of(&mut target, "foo_sum{}"), " unknown \"\" \"\"", "a counter has no sum");
    }
    let mut target = Target::plain();
    target.samples("x_count 1\nh_sum 2\n# TYPE x_count gauge\n# TYPE x histogram\n# TYPE h summary\n", 10);
    assert_eq!(family_of(&mut target, "x_count{}"), "x_count gauge \"\" \"\"", "its own name comes first");
    assert_eq!(family_of(&mut target, "h_sum{}"), "h summary \"\" \"\"");
}

#[test]
fn a_description_that_comes_changes_or_goes_elsewhere_in_the_body_is_noticed() {
    let mut target = Target::plain();
    let mut check = |body: &str, ts, expected: &str| {
        target.samples(body, ts);
        assert_eq!(family_of(&mut target, "a{}"), expected, "{body}");
    };
    check("a 1\nb 1\n", 10, " unknown \"\" \"\"");
    check("a 1\nb 1\n# TYPE a gauge\n", 20, "a gauge \"\" \"\"");
    check("a 1\nb 1\n# TYPE a counter\n", 30, "a counter \"\" \"\"");
    check("# TYPE a counter\na 1\n# TYPE a gauge\nb 1\n", 40, "a gauge \"\" \"\"");
    check("# TYPE a gauge\na 1\n# TYPE a counter\nb 1\n", 50, "a counter \"\" \"\"");
    check("b 1\na 1\n", 60, " unknown \"\" \"\"");
}

#[test]
fn a_series_that_was_away_while_its_description_changed_has_the_new_one() {
    let mut target = Target::plain();
    let body = |help: &str, rest: &str| format!("# HELP a {help}\nb 1\nc 1\nd 1\ne 1\n{rest}");
    target.samples(body("old", "a 1\n"), 10);
    target.samples(body("new", ""), 20);
    target.samples(body("new", ""), 30);
    target.samples(body("new", "a 1\n"), 40);
    assert_eq!(family_of(&mut target, "a{}"), "a unknown \"new\" \"\"");
}

#[test]
fn the_name_that_the_target_gave_counts_and_not_what_rules_make_of_it() {
    let rename = RuleSource {
        action: Action::Replace,
        source_labels: vec!["__name__".into()],
        regex: "old_(.*)".into(),
        target_label: "__name__".into(),
        replacement: "new_$1".into(),
        ..RuleSource::default()
    };
    let rules = [Rule::new(rename).expect("a right rule")];
    for (mut target, ts) in [
        Target::new(CacheConfig { metric_relabel: rules.clone().into(), ..config() }),
        Target::unrecognising(CacheConfig { metric_relabel: rules.clone().into(), ..config() }),
    ]
    .into_iter()
    .zip([10, 20])
    {
        for help in ["first", "first", "second"] {
            target.samples(format!("old_a 1\nb 1\n# HELP old_a {help}\n# HELP new_a wrong\n"), ts);
            assert_eq!(family_of(&mut target, "new_a{}"), format!("old_a unknown \"{help}\" \"\""));
        }
    }
}

#[test]
fn a_remark_that_changes_each_time_leaves_the_tables_alone() {
    let mut target = Target::plain();
    target.samples("# made at 1\n# TYPE a gauge\na 1\n", 10);
    let before = target.cache.batch(&[]).chunks[0].table.key();
    target.samples("# made at 2\n# TYPE a gauge\na 1\n", 20);
    assert_eq!(target.cache.batch(&[]).chunks[0].table.key(), before);
}

#[test]
fn a_description_is_kept_up_to_a_kibibyte() {
    let mut target = Target::plain();
    let long = "ä".repeat(600);
    let body = format!("# HELP a {long}\n# TYPE a gauge\na 1\n");
    target.ingest(&body, 0).expect("right");
    let family = format!("a gauge {:?} \"\"", "ä".repeat(512));
    assert!(target.families().iter().any(|(_, told)| *told == family), "{:?}", target.families());
}
