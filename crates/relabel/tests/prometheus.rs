//! Relabelling against Prometheus itself: random rules and labels with what its `relabel` package made of them.
//!
//! `prometheus_relabel.jsonl` was written by a small Go program around `relabel.Config` and `relabel.Process` of
//! Prometheus 2.49; `invalid` is the index of the first rule that it refuses to load, -1 for none. Left out is where
//! later versions differ from that one, and this crate follows them: `.` matches a newline, and `lowercase`, `uppercase`,
//! `keepequal` and `dropequal` refuse a template as `target_label`.

use std::collections::BTreeMap;

use model::Labels;
use relabel::{Action, Rule, RuleSource, process};

#[derive(serde::Deserialize)]
struct Row {
    labels: BTreeMap<String, String>,
    rules: Vec<Written>,
    invalid: i64,
    kept: bool,
    want: Option<BTreeMap<String, String>>,
}

#[derive(serde::Deserialize)]
struct Written {
    source: Option<Vec<String>>,
    separator: String,
    target: String,
    regex: String,
    modulus: u64,
    replacement: String,
    action: String,
}

impl Written {
    fn source(&self) -> RuleSource {
        RuleSource {
            source_labels: self.source.clone().unwrap_or_default(),
            separator: self.separator.clone(),
            target_label: self.target.clone(),
            regex: self.regex.clone(),
            modulus: self.modulus,
            replacement: self.replacement.clone(),
            action: Action::from_name(&self.action).unwrap(),
        }
    }
}

#[test]
fn prometheus_and_this_crate_agree_on_every_recorded_case() {
    let mut wrong = Vec::new();
    let mut ran = 0;
    for line in include_str!("prometheus_relabel.jsonl").lines() {
        let row: Row = serde_json::from_str(line).unwrap();
        let rules: Vec<_> = row.rules.iter().map(|r| Rule::new(r.source())).collect();
        let invalid = rules.iter().position(Result::is_err).map_or(-1, |i| i as i64);
        if invalid != row.invalid {
            let why = rules.get(invalid as usize).map(|r| format!("{:?}", r.as_ref().err()));
            wrong.push(format!("first invalid rule {invalid} ({why:?}), Prometheus says {}: {line}", row.invalid));
            continue;
        }
        let Ok(rules) = rules.into_iter().collect::<Result<Vec<Rule>, _>>() else {
            continue;
        };
        ran += 1;
        let mut labels: Labels = row.labels.iter().collect();
        let kept = process(&mut labels, &rules);
        // A labelmap whose replacement comes out empty makes a label without a name there; no series can carry one.
        let want: Labels = row.want.unwrap_or_default().iter().filter(|(name, _)| !name.is_empty()).collect();
        if kept != row.kept || (kept && labels != want) {
            wrong.push(format!("{kept} {labels:?}: {line}"));
        }
    }
    assert!(ran > 100, "the table was not read");
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences\n{shown}", wrong.len());
}
