//! The page at `/`: destinations, the ledger, targets, for a person who wants to know whether data flows.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use remote_write::{DestinationSnapshot, DestinationState};

use super::{Site, targets::rfc3339};
use crate::ledger_metrics::state_word;

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    version: &'static str,
    destinations: Vec<DestinationRow>,
    ledger: Vec<queue::LedgerRow>,
    lanes: Vec<LaneLine>,
    targets: Vec<TargetRow>,
    up: usize,
}

struct DestinationRow {
    name: String,
    url: String,
    protocol: &'static str,
    identity: String,
    state: &'static str,
    why: String,
    last: String,
}

struct LaneLine {
    name: String,
    state: &'static str,
    mebibytes: u64,
    budget_mebibytes: u64,
    segments: usize,
}

struct TargetRow {
    instance: String,
    job: String,
    url: String,
    state: &'static str,
    last: String,
    milliseconds: u128,
    error: String,
}

pub async fn show(State(site): State<Site>) -> Response {
    let ledger = site.house.ledger();
    let targets: Vec<TargetRow> = site
        .house
        .targets()
        .into_iter()
        .map(|t| TargetRow {
            instance: t.instance,
            job: t.target.job,
            url: t.target.scrape_url,
            state: t.target.state.name(),
            last: t.target.last_scrape.map(rfc3339).unwrap_or_default(),
            milliseconds: t.target.last_duration.as_millis(),
            error: t.target.last_error.unwrap_or_default(),
        })
        .collect();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        destinations: site.house.destinations().into_iter().map(row).collect(),
        lanes: ledger
            .lanes
            .iter()
            .map(|l| LaneLine {
                name: l.lane.to_string(),
                state: state_word(l.state),
                mebibytes: l.bytes >> 20,
                budget_mebibytes: l.budget >> 20,
                segments: l.segments,
            })
            .collect(),
        ledger: ledger.rows,
        up: targets.iter().filter(|t| t.state == "up").count(),
        targets,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn row(d: DestinationSnapshot) -> DestinationRow {
    let why = match &d.state {
        DestinationState::Retrying { why } | DestinationState::Held { why } => why.clone(),
        _ => String::new(),
    };
    let last =
        d.last_success.and_then(|t| jiff::Timestamp::try_from(t).ok()).map(|t| format!("{t:.0}")).unwrap_or_default();
    DestinationRow {
        name: d.name,
        url: d.url,
        protocol: d.protocol,
        identity: d.identity.unwrap_or_default(),
        state: d.state.word(),
        why,
        last,
    }
}
