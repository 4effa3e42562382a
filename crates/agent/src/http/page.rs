//! The page at `/`: destinations, the ledger, targets, for a person who wants to know whether data flows.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use log_tail::{FileState, FileStatus};
use remote_write::{DestinationSnapshot, DestinationState};

use super::{Site, targets::rfc3339};
use crate::{house::LogTarget, ledger_metrics::state_word};

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    version: &'static str,
    destinations: Vec<DestinationRow>,
    ledger: Vec<queue::LedgerRow>,
    lanes: Vec<LaneLine>,
    targets: Vec<TargetRow>,
    files: Vec<FileRow>,
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

struct FileRow {
    instance: String,
    job: String,
    path: String,
    state: String,
    offset: u64,
    size: u64,
}

/// More than a person reads; the JSON of targets has them all.
const MOST_FILES: usize = 1000;

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
        files: site.house.log_targets().into_iter().flat_map(file_rows).take(MOST_FILES).collect(),
        up: targets.iter().filter(|t| t.state == "up").count(),
        targets,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn file_rows(target: LogTarget) -> Vec<FileRow> {
    let state = |state: &FileState| match state {
        FileState::Following => "following".to_owned(),
        FileState::Draining => "draining".to_owned(),
        FileState::Done => "done".to_owned(),
        FileState::Waiting => "waiting".to_owned(),
        FileState::Compressed => "compressed: set decompression".to_owned(),
        FileState::Failed(why) => why.clone(),
    };
    let of_file = |file: &FileStatus| FileRow {
        instance: target.instance.clone(),
        job: target.job.clone(),
        path: file.path.clone(),
        state: state(&file.state),
        offset: file.offset,
        size: file.size,
    };
    target.files.iter().map(of_file).collect()
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
