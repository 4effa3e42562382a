//! Times are read as Go reads them: `data/go_times.tsv` is what `time.ParseInLocation` of Go 1.26 answered to texts that were
//! written by a layout, two thirds of them damaged afterwards. Layout, location, text, nanoseconds or `-`.

mod support;

use stages::{Entry, Pipeline, PipelineConfig, StageConfig, StageMetrics, config::TimestampConfig};
use support::START_NS;

#[test]
fn go_and_this_agree_on_every_text() {
    let metrics = StageMetrics::unregistered();
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in include_str!("data/go_times.tsv").lines() {
        let columns: Vec<&str> = row.split('\t').collect();
        let [layout, location, text, expected] = columns[..] else { panic!("not four columns: {row}") };
        let timestamp = TimestampConfig {
            source: "t".to_owned(),
            format: layout.to_owned(),
            location: Some(location.to_owned()),
            action_on_failure: Some("skip".to_owned()),
            ..TimestampConfig::default()
        };
        let config = PipelineConfig { stages: vec![StageConfig::Timestamp(timestamp)] };
        let mut pipeline = Pipeline::new(&config, "job", &metrics).unwrap();
        let mut entry = Entry::new(Default::default(), START_NS, "x");
        entry.labels.set("t", text);
        let mut found = String::new();
        pipeline.process(entry, START_NS, &mut |e| {
            found = if e.timestamp_ns == START_NS { "-".to_owned() } else { e.timestamp_ns.to_string() };
        });
        if found != expected {
            wrong.push(format!("{row}: {found}"));
        }
        count += 1;
    }
    assert!(count > 1000);
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}
