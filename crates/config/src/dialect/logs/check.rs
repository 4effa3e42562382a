//! What the stages themselves say of a pipeline: expressions, templates, layouts and selectors that do not work.
//!
//! Keeps true: a fault is told at the key that the stages name, in the list the person wrote.

use prometheus_client::registry::Registry;
use stages::{Pipeline, PipelineConfig, StageFault, StageMetrics};

use crate::{
    block::{Block, Field},
    node::{Node, Value},
};

/// Makes the pipeline and reports why it cannot be made. `faulty`: reading the stages found errors.
pub(super) fn pipeline(job: &Block<'_>, stages: &PipelineConfig, job_name: &str, faulty: bool) {
    let Some(list) = job.get("pipeline_stages") else { return };
    // What was refused already is not among the stages, so their numbers would be others.
    if job.reader.items(&list).len() != stages.stages.len() {
        return;
    }
    if let Err(error) = Pipeline::new(stages, job_name, &StageMetrics::registered(&mut Registry::default())) {
        // A key that is missing because it is misspelt was told.
        let follows = match &error.fault {
            StageFault::Required | StageFault::Empty | StageFault::Combination(_) => true,
            StageFault::Choice { given, .. } => given.is_empty(),
            _ => false,
        };
        if faulty && follows {
            return;
        }
        let below = error.path.strip_prefix("pipeline_stages").unwrap_or(&error.path);
        let field = find(&list, below);
        job.reader.error(&field, error.fault.to_string(), None);
    }
}

/// The field under `field` that a path such as `[1].match.stages[0].regex` names, as deep as there is one.
fn find<'a>(field: &Field<'a>, path: &str) -> Field<'a> {
    let mut found = field.clone();
    let mut rest = path;
    while !rest.is_empty() {
        let step = if let Some(after) = rest.strip_prefix('[') {
            let Some((number, after)) = after.split_once(']') else { break };
            rest = after;
            number
                .parse()
                .ok()
                .and_then(|number| item(found.node, number))
                .map(|node| (node, format!("[{number}]"), None))
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, after) = after.split_at(end);
            rest = after;
            entry(found.node, key).map(|(node, at)| (node, format!(".{key}"), Some(at)))
        };
        let Some((node, step, key_at)) = step else { break };
        found = Field { node, path: format!("{}{step}", found.path), key_at };
    }
    found
}

fn item(node: &Node, number: usize) -> Option<&Node> {
    match &node.value {
        Value::Sequence(items) => items.get(number),
        _ => None,
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<(&'a Node, std::ops::Range<usize>)> {
    match &node.value {
        Value::Mapping(entries) => entries.iter().find(|e| e.key == key).map(|e| (&e.node, e.key_at.clone())),
        _ => None,
    }
}
