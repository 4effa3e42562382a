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
use crate::{
    house::{InstanceReceiver, LogTarget},
    ledger_metrics::{age_seconds, state_word},
};

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    version: &'static str,
    destinations: Vec<DestinationRow>,
    ledger: Vec<BookLine>,
    removed: Vec<queue::Removed>,
    lanes: Vec<LaneLine>,
    targets: Vec<TargetRow>,
    files: Vec<FileRow>,
    receivers: Vec<ReceiverRow>,
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

/// One destination and lane: the book, and how far behind it is.
struct BookLine {
    row: queue::LedgerRow,
    /// `too_old 12, refused 3`
    rejected_by: String,
    pending_bytes: String,
    /// How long the oldest pending item has been waiting; empty when nothing is pending.
    waiting: String,
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

/// An endpoint that OTLP is received on.
struct ReceiverRow {
    instance: String,
    title: String,
    address: String,
    requests: u64,
    items: u64,
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
    let running = site.house.destinations().into_iter().map(row);
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        destinations: running.chain(site.house.paused().into_iter().map(paused_row)).collect(),
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
        ledger: ledger.rows.into_iter().map(book_line).collect(),
        removed: ledger.removed,
        receivers: site.house.receivers().into_iter().map(receiver_row).collect(),
        files: site.house.log_targets().into_iter().flat_map(file_rows).take(MOST_FILES).collect(),
        up: targets.iter().filter(|t| t.state == "up").count(),
        targets,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn book_line(row: queue::LedgerRow) -> BookLine {
    let reasons: Vec<String> =
        row.rejected_by.iter().map(|(reason, items)| format!("{} {items}", reason.as_str())).collect();
    BookLine {
        rejected_by: reasons.join(", "),
        pending_bytes: if row.pending_items > 0 { size(row.pending_bytes) } else { String::new() },
        waiting: row.oldest_pending_ms.map(|ms| span(age_seconds(ms))).unwrap_or_default(),
        row,
    }
}

/// `512 B`, `20.1 KiB`, `3.4 MiB`.
fn size(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match kib {
        kib if kib < 1.0 => format!("{bytes} B"),
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib if kib < 1024.0 * 1024.0 => format!("{:.1} MiB", kib / 1024.0),
        kib => format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    }
}

/// `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `5 d 3 h`.
fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

fn receiver_row(of: InstanceReceiver) -> ReceiverRow {
    let receiver = of.receiver;
    ReceiverRow {
        instance: of.instance,
        title: receiver.title,
        address: receiver.address.to_string(),
        requests: receiver.requests,
        items: receiver.items,
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

fn paused_row(name: String) -> DestinationRow {
    DestinationRow {
        name,
        url: String::new(),
        protocol: "",
        identity: String::new(),
        state: "paused",
        why: "enabled: false; what comes in waits".to_owned(),
        last: String::new(),
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

#[cfg(test)]
mod tests {
    use super::{size, span};

    #[test]
    fn sizes_and_spans_read_like_a_person_would_say_them() {
        let sizes: Vec<String> = [0, 1023, 20_582, 3_565_158, 5 << 30].map(size).into();
        assert_eq!(sizes, ["0 B", "1023 B", "20.1 KiB", "3.4 MiB", "5.0 GiB"]);
        let spans: Vec<String> = [0.44, 9.9, 12.7, 185.0, 7800.0, 442_800.0].map(span).into();
        assert_eq!(spans, ["0.4 s", "9.9 s", "12 s", "3 min 5 s", "2 h 10 min", "5 d 3 h"]);
    }
}
