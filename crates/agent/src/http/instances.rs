//! GET /agent/api/v1/metrics/instances.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::Site;

pub async fn list(State(site): State<Site>) -> Json<Value> {
    Json(json!({ "status": "success", "data": site.house.instances() }))
}
