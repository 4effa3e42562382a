//! GET /agent/api/v1/logs/instances and /agent/api/v1/logs/targets.

use axum::{Json, extract::State};
use log_tail::FileState;
use serde_json::{Map, Value, json};

use super::{Site, targets::object};
use crate::house::{LogTarget, SourceTarget};

pub async fn instances(State(site): State<Site>) -> Json<Value> {
    Json(json!({ "status": "success", "data": site.house.log_instances() }))
}

/// Discovered targets, sorted by instance and job, each with the files it names and how far they are read.
pub async fn targets(State(site): State<Site>) -> Json<Value> {
    let files = site.house.log_targets();
    let sources = site.house.source_targets();
    let mut data: Vec<((&str, &str), Value)> =
        files.iter().map(|t| ((t.instance.as_str(), t.job.as_str()), entry(t))).collect();
    data.extend(sources.iter().map(|t| ((t.instance.as_str(), t.status.job_name.as_str()), source(t))));
    data.sort_by_key(|(key, _)| *key);
    let data: Vec<Value> = data.into_iter().map(|(_, entry)| entry).collect();
    Json(json!({ "status": "success", "data": data }))
}

fn entry(target: &LogTarget) -> Value {
    let failed = |state: &FileState| matches!(state, FileState::Failed(_));
    let details: Map<String, Value> =
        target.files.iter().map(|file| (file.path.clone(), Value::from(file.offset))).collect();
    json!({
        "instance": target.instance,
        "target_group": target.job,
        "type": "File",
        "labels": object(&target.labels),
        "discovered_labels": object(&target.discovered),
        "ready": !target.files.is_empty() && target.files.iter().any(|file| !failed(&file.state)),
        "details": details,
    })
}

/// Types that Grafana Agent has are called as there.
fn source(target: &SourceTarget) -> Value {
    let status = &target.status;
    let kind = match status.kind {
        "journal" => "Journal",
        "syslog" => "Syslog",
        "loki_push_api" => "Push",
        other => other,
    };
    let mut details = Map::new();
    if let Some(position) = &target.position {
        details.insert("position".to_owned(), Value::from(position.as_str()));
    }
    if let Some(address) = status.listening {
        details.insert("listening".to_owned(), Value::from(address.to_string()));
    }
    if let Some((why, since_ms)) = &status.trouble {
        details.insert("trouble".to_owned(), Value::from(why.as_str()));
        details.insert("trouble_since".to_owned(), Value::from(*since_ms));
    }
    details.insert("lines".to_owned(), Value::from(status.lines));
    details.insert("last_line".to_owned(), Value::from(status.last_line_ms));
    details.insert("restarts".to_owned(), Value::from(status.restarts));
    json!({
        "instance": target.instance,
        "target_group": status.job_name,
        "type": kind,
        "labels": object(&target.labels),
        "discovered_labels": {},
        "ready": status.trouble.is_none(),
        "details": details,
    })
}
