//! Template functions answer as sprig's do: `data/sprig.tsv` is what Go's text/template with sprig 3 made of each template, as
//! a quoted text, or `ERR`.

mod support;

use stages::{Entry, Pipeline, PipelineConfig, StageConfig, StageMetrics, config::*};
use support::START_NS;

#[test]
fn go_and_this_make_the_same_of_every_template() {
    let metrics = StageMetrics::unregistered();
    let labels = support::labels("{Value=\"Hello World\", n=\"42\"}").0;
    let mut wrong = Vec::new();
    for row in include_str!("data/sprig.tsv").lines() {
        let (template, expected) = row.split_once('\t').unwrap();
        let expected = match expected {
            // The template fails, so that the line stays.
            "ERR" => "the line".to_owned(),
            quoted => serde_json::from_str(quoted).unwrap(),
        };
        let stages = vec![
            StageConfig::Template(TemplateConfig { source: "result".to_owned(), template: template.to_owned() }),
            StageConfig::Output(OutputConfig { source: "result".to_owned() }),
        ];
        let mut pipeline = Pipeline::new(&PipelineConfig { stages }, "job", &metrics).unwrap();
        pipeline.process(Entry::new(labels.clone(), START_NS, "the line"), START_NS, &mut |entry| {
            if entry.line != expected {
                wrong.push(format!("{template}\n   {:?}\n   {expected:?}", entry.line));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
