//! GET /agent/api/v1/logs/instances and /agent/api/v1/logs/targets.

use axum::{Json, extract::State};
use log_tail::FileState;
use serde_json::{Map, Value, json};

use super::{Site, targets::object};
use crate::house::LogTarget;

pub async fn instances(State(site): State<Site>) -> Json<Value> {
    Json(json!({ "status": "success", "data": site.house.log_instances() }))
}

/// Discovered targets, sorted by instance and job, each with the files it names and how far they are read.
pub async fn targets(State(site): State<Site>) -> Json<Value> {
    let mut targets = site.house.log_targets();
    targets.sort_by(|a, b| (&a.instance, &a.job).cmp(&(&b.instance, &b.job)));
    let data: Vec<Value> = targets.iter().map(entry).collect();
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
