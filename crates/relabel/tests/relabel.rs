//! Relabelling through the public face: tables from what Prometheus does, and what must hold for any input.

use model::Labels;
use proptest::prelude::*;
use relabel::{Action, Rule, RuleSource, process};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn source(action: Action) -> RuleSource {
    RuleSource { action, ..RuleSource::default() }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// Runs `rules` on `before`; `None` when dropped.
fn run(before: &[(&str, &str)], rules: Vec<RuleSource>) -> Option<Labels> {
    let rules: Vec<Rule> = rules.into_iter().map(|r| Rule::new(r).unwrap()).collect();
    let mut set = labels(before);
    process(&mut set, &rules).then_some(set)
}

fn replace(sources: &[&str], regex: &str, target: &str, replacement: &str) -> RuleSource {
    RuleSource {
        source_labels: names(sources),
        regex: regex.into(),
        target_label: target.into(),
        replacement: replacement.into(),
        ..RuleSource::default()
    }
}

/// Input labels, rules, and what is left (`None`: dropped).
type Case<'a> = (&'a [(&'a str, &'a str)], Vec<RuleSource>, Option<&'a [(&'a str, &'a str)]>);

#[test]
fn rules_do_what_prometheus_does() {
    let abc: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];
    let table: Vec<Case<'_>> = vec![
        (
            abc,
            vec![replace(&["a"], "f(.*)", "d", "ch${1}-ch${1}")],
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]),
        ),
        (
            abc,
            vec![
                replace(&["a", "b"], "f(.*);(.*)r", "a", "b${1}${2}m"),
                RuleSource {
                    source_labels: names(&["c", "a"]),
                    regex: "(b).*b(.*)ba(.*)".into(),
                    target_label: "d".into(),
                    replacement: "$1$2$2$3".into(),
                    ..RuleSource::default()
                },
            ],
            Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz"), ("d", "boooom")]),
        ),
        // No match, no change.
        (abc, vec![replace(&["a"], "x(.*)", "d", "$1")], Some(abc)),
        // The whole value must match.
        (abc, vec![replace(&["a"], "o", "d", "x")], Some(abc)),
        // An empty result removes the target.
        (abc, vec![replace(&["a"], "f(x?).*", "b", "$1")], Some(&[("a", "foo"), ("c", "baz")])),
        (abc, vec![replace(&[], "(.*)", "b", "")], Some(&[("a", "foo"), ("c", "baz")])),
        (
            abc,
            vec![replace(&[], "(.*)", "new", "value")],
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("new", "value")]),
        ),
        // The target is a template too; an invalid resulting name changes nothing.
        (
            &[("a", "some-name-value")],
            vec![replace(&["a"], "some-([^-]+)-([^,]+)", "${1}", "${2}")],
            Some(&[("a", "some-name-value"), ("name", "value")]),
        ),
        (
            &[("a", "some-name-value")],
            vec![replace(&["a"], "some-([^-]+)-([^,]+)", "${3}", "${2}")],
            Some(&[("a", "some-name-value")]),
        ),
        (
            &[("a", "some-name-0")],
            vec![replace(&["a"], "some-([^-]+)-([^,]+)", "${2}", "${1}")],
            Some(&[("a", "some-name-0")]),
        ),
        (
            &[("__meta_sd_tags", "path:/secret,job:some-job,label:foo=bar")],
            vec![
                replace(&["__meta_sd_tags"], "(?:.+,|^)path:(/[^,]+).*", "__metrics_path__", "${1}"),
                replace(&["__meta_sd_tags"], "(?:.+,|^)job:([^,]+).*", "job", "${1}"),
                replace(&["__meta_sd_tags"], "(?:.+,|^)label:([^=]+)=([^,]+).*", "${1}", "${2}"),
            ],
            Some(&[
                ("__meta_sd_tags", "path:/secret,job:some-job,label:foo=bar"),
                ("__metrics_path__", "/secret"),
                ("foo", "bar"),
                ("job", "some-job"),
            ]),
        ),
        // A missing source is empty, and still separated.
        (&[("a", "x")], vec![replace(&["a", "missing", "a"], "(.*)", "j", "$1")], Some(&[("a", "x"), ("j", "x;;x")])),
        (
            abc,
            vec![
                RuleSource { source_labels: names(&["a"]), regex: ".*o.*".into(), ..source(Action::Drop) },
                replace(&["a"], "f(.*)", "d", "x"),
            ],
            None,
        ),
        (
            abc,
            vec![RuleSource { source_labels: names(&["a"]), regex: ".*b.*".into(), ..source(Action::Drop) }],
            Some(abc),
        ),
        (
            abc,
            vec![RuleSource { source_labels: names(&["a"]), regex: "no-match".into(), ..source(Action::Keep) }],
            None,
        ),
        (
            abc,
            vec![RuleSource { source_labels: names(&["a"]), regex: "f.*".into(), ..source(Action::Keep) }],
            Some(abc),
        ),
        (abc, vec![RuleSource { source_labels: names(&["a"]), regex: "f|oo".into(), ..source(Action::Keep) }], None),
        (
            &[("a", "line\nbreak")],
            vec![RuleSource { source_labels: names(&["a"]), regex: "line.break".into(), ..source(Action::Keep) }],
            Some(&[("a", "line\nbreak")]),
        ),
        (
            &[("__port1", "1234"), ("__port2", "5678")],
            vec![RuleSource {
                source_labels: names(&["__port1"]),
                target_label: "__port2".into(),
                ..source(Action::KeepEqual)
            }],
            None,
        ),
        (
            &[("__port1", "1234"), ("__port2", "1234")],
            vec![RuleSource {
                source_labels: names(&["__port1"]),
                target_label: "__port2".into(),
                ..source(Action::KeepEqual)
            }],
            Some(&[("__port1", "1234"), ("__port2", "1234")]),
        ),
        (
            &[("__port1", "1234"), ("__port2", "1234")],
            vec![RuleSource {
                source_labels: names(&["__port1"]),
                target_label: "__port2".into(),
                ..source(Action::DropEqual)
            }],
            None,
        ),
        (
            &[("__port1", "1234")],
            vec![RuleSource {
                source_labels: names(&["absent"]),
                target_label: "also_absent".into(),
                ..source(Action::DropEqual)
            }],
            None,
        ),
        // The two hashmod rows are Prometheus' own test vectors.
        (
            abc,
            vec![RuleSource {
                source_labels: names(&["c"]),
                target_label: "d".into(),
                modulus: 1000,
                ..source(Action::HashMod)
            }],
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
        ),
        (
            &[("a", "foo\nbar")],
            vec![RuleSource {
                source_labels: names(&["a"]),
                target_label: "b".into(),
                modulus: 1000,
                ..source(Action::HashMod)
            }],
            Some(&[("a", "foo\nbar"), ("b", "734")]),
        ),
        (
            &[("a", "foo"), ("b1", "bar"), ("b2", "baz")],
            vec![RuleSource { regex: "(b.*)".into(), replacement: "bar_${1}".into(), ..source(Action::LabelMap) }],
            Some(&[("a", "foo"), ("b1", "bar"), ("b2", "baz"), ("bar_b1", "bar"), ("bar_b2", "baz")]),
        ),
        (
            &[("a", "foo"), ("__meta_my_bar", "aaa"), ("__meta_my_baz", "bbb"), ("__meta_other", "ccc")],
            vec![RuleSource { regex: "__meta_(my.*)".into(), ..source(Action::LabelMap) }],
            Some(&[
                ("a", "foo"),
                ("__meta_my_bar", "aaa"),
                ("__meta_my_baz", "bbb"),
                ("__meta_other", "ccc"),
                ("my_bar", "aaa"),
                ("my_baz", "bbb"),
            ]),
        ),
        (
            &[("a", "foo"), ("b1", "bar"), ("b2", "baz")],
            vec![RuleSource { regex: "(b.*)".into(), ..source(Action::LabelDrop) }],
            Some(&[("a", "foo")]),
        ),
        (
            &[("a", "foo"), ("b1", "bar"), ("b2", "baz")],
            vec![RuleSource { regex: "(b.*)".into(), ..source(Action::LabelKeep) }],
            Some(&[("b1", "bar"), ("b2", "baz")]),
        ),
        (
            &[("foo", "bAr123Foo")],
            vec![
                RuleSource { source_labels: names(&["foo"]), target_label: "up".into(), ..source(Action::Uppercase) },
                RuleSource { source_labels: names(&["foo"]), target_label: "low".into(), ..source(Action::Lowercase) },
            ],
            Some(&[("foo", "bAr123Foo"), ("low", "bar123foo"), ("up", "BAR123FOO")]),
        ),
        // A null pattern is the empty one: it matches only nothing.
        (
            abc,
            vec![RuleSource { source_labels: names(&["missing"]), regex: String::new(), ..source(Action::Drop) }],
            None,
        ),
    ];
    for (i, (before, rules, want)) in table.into_iter().enumerate() {
        assert_eq!(run(before, rules), want.map(labels), "row {i}");
    }
}

#[test]
fn invalid_rules_name_the_field_that_is_wrong() {
    let table = [
        ("target_label", source(Action::Replace)),
        ("target_label", source(Action::HashMod)),
        ("target_label", source(Action::Lowercase)),
        ("target_label", source(Action::KeepEqual)),
        ("target_label", replace(&["a"], "(.*)", "not-a-name", "x")),
        ("target_label", replace(&["a"], "(.*)", "0name", "x")),
        ("target_label", replace(&["a"], "(.*)", "${1", "x")),
        ("target_label", replace(&["a"], "(.*)", "$", "x")),
        ("target_label", RuleSource { target_label: "${1}".into(), ..source(Action::Uppercase) }),
        ("target_label", RuleSource { target_label: "${1}".into(), modulus: 3, ..source(Action::HashMod) }),
        ("modulus", RuleSource { target_label: "a".into(), ..source(Action::HashMod) }),
        ("regex", replace(&["a"], "(", "b", "x")),
        ("regex", RuleSource { regex: "a**".into(), ..source(Action::LabelDrop) }),
        ("replacement", RuleSource { replacement: "-x".into(), ..source(Action::LabelMap) }),
        ("replacement", RuleSource { target_label: "a".into(), replacement: "x".into(), ..source(Action::Lowercase) }),
        ("replacement", RuleSource { target_label: "a".into(), replacement: "x".into(), ..source(Action::DropEqual) }),
        ("regex", RuleSource { target_label: "a".into(), regex: "x".into(), ..source(Action::KeepEqual) }),
        ("separator", RuleSource { target_label: "a".into(), separator: ",".into(), ..source(Action::KeepEqual) }),
        ("modulus", RuleSource { target_label: "a".into(), modulus: 1, ..source(Action::KeepEqual) }),
        ("source_labels", RuleSource { source_labels: names(&["a"]), ..source(Action::LabelKeep) }),
        ("target_label", RuleSource { target_label: "a".into(), ..source(Action::LabelDrop) }),
    ];
    for (field, rule) in table {
        let shown = format!("{rule:?}");
        assert_eq!(Rule::new(rule).expect_err(&shown).field, field, "{shown}");
    }
    for target in ["${1}", "$1_x", "a${b}_c", "_", "__address__", "a$1"] {
        assert!(Rule::new(replace(&["a"], "(.*)", target, "x")).is_ok(), "{target}");
    }
}

#[test]
fn actions_are_read_in_any_letter_case() {
    assert_eq!(Action::from_name("LabelMap"), Some(Action::LabelMap));
    assert_eq!(Action::from_name("HASHMOD"), Some(Action::HashMod));
    assert_eq!(Action::from_name("rename"), None);
}

fn any_rule() -> impl Strategy<Value = RuleSource> {
    let action = prop::sample::select(
        [
            "replace",
            "keep",
            "drop",
            "keepequal",
            "dropequal",
            "hashmod",
            "labelmap",
            "labeldrop",
            "labelkeep",
            "lowercase",
            "uppercase",
        ]
        .map(|n| Action::from_name(n).unwrap())
        .to_vec(),
    );
    (
        prop::collection::vec("[a-d]", 0..3),
        "[;,é]?",
        prop::sample::select(vec!["a", "b", "${1}", "x_$1", "", "$name"]),
        prop::sample::select(vec!["(.*)", "(a|b)(.*)", "(?P<name>.+)", "", "[^a]*", "(x)?.*", r"\d+(.)"]),
        0u64..4,
        prop::sample::select(vec!["$1", "", "$2", "p_${1}", "$name", "é"]),
        action,
    )
        .prop_map(|(source_labels, separator, target, regex, modulus, replacement, action)| RuleSource {
            source_labels,
            separator,
            target_label: target.into(),
            regex: regex.into(),
            modulus,
            replacement: replacement.into(),
            action,
        })
}

proptest! {
    #[test]
    fn labels_stay_sorted_unique_and_without_empty_values(
        pairs in prop::collection::vec(("[a-e]", "[ab0-9é\n]{0,4}"), 0..6),
        rules in prop::collection::vec(any_rule(), 0..12),
    ) {
        let rules: Vec<Rule> = rules.into_iter().filter_map(|r| Rule::new(r).ok()).collect();
        let mut set: Labels = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        process(&mut set, &rules);
        let names: Vec<&str> = set.iter().map(|(n, _)| n).collect();
        prop_assert!(names.windows(2).all(|w| w[0] < w[1]));
        prop_assert!(set.iter().all(|(n, v)| !n.is_empty() && !v.is_empty()));
    }
}
