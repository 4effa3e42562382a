//! Every example of docs/reference/stages.md comes true, and every stage has one.

mod support;

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/reference/stages.md");

/// Section, YAML, example: a `yml` block followed by a `text` block.
fn examples() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut yaml = None;
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.replace('`', "");
        }
        let Some(language) = line.strip_prefix("```").filter(|l| !l.is_empty()) else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        match language {
            "yml" => yaml = Some(block.join("\n")),
            "text" => {
                if let Some(yaml) = yaml.take() {
                    found.push((section.clone(), yaml, block.join("\n")));
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_example_comes_true() {
    let examples = examples();
    assert!(examples.len() >= 20, "only {} examples were found", examples.len());
    for (section, yaml, example) in examples {
        support::run(&section, &yaml, &example);
    }
}

#[test]
fn every_stage_has_an_example() {
    let sections: BTreeSet<String> = examples().into_iter().map(|(section, _, _)| section).collect();
    // The database of `geoip` is none of ours to ship; metrics and limits are not seen in lines.
    for stage in [
        "docker",
        "cri",
        "json",
        "logfmt",
        "regex",
        "replace",
        "template",
        "labels",
        "static_labels",
        "labeldrop",
        "labelallow",
        "structured_metadata",
        "timestamp",
        "output",
        "tenant",
        "match",
        "drop",
        "limit",
        "sampling",
        "multiline",
        "pack",
        "eventlogmessage",
        "decolorize",
    ] {
        assert!(sections.contains(stage), "{stage} has no example");
    }
    for stage in ["metrics", "geoip"] {
        assert!(PAGE.contains(&format!("## `{stage}`")), "{stage} is not described");
    }
}
