//! GET /agent/api/v1/metrics/targets.

use axum::{Json, extract::State};
use scrape::TargetStatus;
use serde_json::{Map, Value, json};

use super::Site;
use crate::house::InstanceTarget;

/// Active targets, sorted by instance, job and instance label.
pub async fn list(State(site): State<Site>) -> Json<Value> {
    let mut targets = site.house.targets();
    targets.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    let data: Vec<Value> = targets.iter().map(|t| entry(&t.instance, &t.target)).collect();
    Json(json!({ "status": "success", "data": data }))
}

fn sort_key(t: &InstanceTarget) -> (&str, &str, &str) {
    (&t.instance, &t.target.job, t.target.labels.get("instance").unwrap_or_default())
}

fn entry(instance: &str, target: &TargetStatus) -> Value {
    json!({
        "instance": instance,
        "target_group": target.job,
        "endpoint": target.scrape_url,
        "state": target.state.name(),
        "labels": object(&target.labels),
        "discovered_labels": object(&target.discovered_labels),
        // Go's zero time where there was no scrape, as the reference's JSON has it.
        "last_scrape": target.last_scrape.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
        "scrape_duration_ms": u64::try_from(target.last_duration.as_millis()).unwrap_or(u64::MAX),
        "scrape_error": target.last_error.as_deref().unwrap_or_default(),
    })
}

pub fn object(labels: &model::Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Milliseconds since the epoch as RFC 3339.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}
