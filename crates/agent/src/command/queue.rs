//! `sigpost queue inspect DIR` and `sigpost queue verify DIR`: what waits on disk, for whom, and whether it is intact.
//!
//! Prints what crate `queue` finds; reads no file itself. Keeps true: nothing is changed, and `verify` exits 1 if anything
//! is damaged.

use std::{fmt::Write as _, io::Write as _, path::Path, process::ExitCode};

use queue::{Damage, Fault, Inspection, LaneInspection, Verification};
use serde_json::{Value, json};

use crate::{
    cli::{QueueArgs, QueueQuestion},
    command,
};

pub fn run(args: &QueueArgs) -> ExitCode {
    match &args.question {
        QueueQuestion::Inspect(asked) => match queue::inspect(&asked.directory) {
            Ok(found) => show(asked.json, || text(&found), || inspection(&found), true),
            Err(error) => command::fail(&error.to_string()),
        },
        QueueQuestion::Verify(asked) => match queue::verify(&asked.directory) {
            Ok(found) => show(asked.json, || verdict(&found), || verification(&found), found.is_sound()),
            Err(error) => command::fail(&error.to_string()),
        },
    }
}

fn show(as_json: bool, text: impl Fn() -> String, value: impl Fn() -> Value, good: bool) -> ExitCode {
    let shown = if as_json { format!("{:#}\n", value()) } else { text() };
    // Whoever reads may have seen enough (`| head`): that is no failure of ours.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    ExitCode::from(u8::from(!good))
}

fn text(found: &Inspection) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "queue {}", found.directory.display());
    if found.in_use {
        let _ = writeln!(
            out,
            "in use by a running process: only what is known durable is shown; positions are up to a second old"
        );
    }
    for lane in &found.lanes {
        let _ = write!(out, "\nlane {}", lane.lane);
        let _ = writeln!(
            out,
            ": {} segments, {} bytes, {} items on disk, {}",
            lane.segments.len(),
            lane_bytes(lane),
            lane_items(lane),
            span(lane)
        );
        let _ = if lane.segments.is_empty() {
            writeln!(
                out,
                "  nothing on disk; the log goes on at offset {}, item {}, or behind",
                lane.durable_offset, lane.next_item
            )
        } else {
            writeln!(out, "  durable to offset {}, next item {}", lane.durable_offset, lane.next_item)
        };
        if lane.unsynced_bytes > 0 {
            let _ = writeln!(out, "  {} bytes behind that were never promised to anyone", lane.unsynced_bytes);
        }
        if !lane.segments.is_empty() {
            let heads = ["segment", "from offset", "to offset", "first item", "items", "file bytes", "begun"];
            let rows = lane.segments.iter().map(|segment| {
                vec![
                    file_name(&segment.path),
                    segment.base.to_string(),
                    segment.end.to_string(),
                    segment.first_item.to_string(),
                    segment.items.to_string(),
                    segment.file_bytes.to_string(),
                    time(Some(segment.created_ms).filter(|ms| *ms > 0)),
                ]
            });
            table(&mut out, &heads, rows.collect());
        }
    }
    for cursor in &found.cursors {
        let row = &cursor.row;
        let _ = writeln!(out, "\ndestination {} on {}", row.destination, row.lane);
        let _ = writeln!(out, "  settled to offset {}, item {}", cursor.settled_offset, cursor.settled_item);
        let heads = ["accepted", "delivered", "filtered", "rejected", "evicted", "expired", "damaged", "pending"];
        let figures = [
            row.accepted,
            row.delivered,
            row.filtered,
            row.rejected,
            row.evicted,
            row.expired,
            row.damaged,
            row.pending_items,
        ];
        table(&mut out, &heads, vec![figures.iter().map(u64::to_string).collect()]);
        for (reason, items) in &row.rejected_by {
            let _ = writeln!(out, "  rejected as {}: {items}", reason.as_str());
        }
        if row.pending_items > 0 {
            let since = time(row.oldest_pending_ms);
            let _ = writeln!(
                out,
                "  pending: {} items, {} bytes, none older than {since}",
                row.pending_items, row.pending_bytes
            );
        }
    }
    let kept: u64 = found.quarantine.iter().map(|(_, bytes)| bytes).sum();
    let _ = writeln!(out, "\nquarantine: {} files, {kept} bytes", found.quarantine.len());
    for (name, bytes) in &found.quarantine {
        let _ = writeln!(out, "  {name} {bytes}");
    }
    for path in &found.damaged_cursors {
        let _ = writeln!(
            out,
            "a destination's position is unreadable; it begins again at the oldest record, so some data is sent twice: {}",
            path.display()
        );
    }
    for path in &found.foreign {
        let _ = writeln!(out, "not the queue's own, and left alone: {}", path.display());
    }
    out
}

fn verdict(found: &Verification) -> String {
    let mut out = text(&found.inspection);
    let _ = writeln!(
        out,
        "\nread {} bytes: {} records with {} items, {} contexts",
        found.bytes, found.frames, found.items, found.contexts
    );
    if found.unknown_kinds > 0 {
        let _ = writeln!(out, "{} records are of a kind that this version does not know", found.unknown_kinds);
    }
    if found.is_sound() {
        let _ = writeln!(out, "no damage");
        return out;
    }
    let _ = writeln!(
        out,
        "DAMAGE in {} places, {} items",
        found.damage.len() as u64 + found.more_damage,
        found.damaged_items()
    );
    let heads = ["lane", "file", "position", "offset", "bytes", "items", "what"];
    let rows = found.damage.iter().map(|damage| {
        vec![
            damage.lane.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            file_name(&damage.path),
            damage.position.to_string(),
            damage.offset.to_string(),
            damage.bytes.to_string(),
            match damage.items {
                Some(items) if damage.estimated => format!("about {items}"),
                Some(items) => items.to_string(),
                None => "?".to_owned(),
            },
            sentence(damage.fault),
        ]
    });
    table(&mut out, &heads, rows.collect());
    if found.more_damage > 0 {
        let _ = writeln!(out, "and {} more", found.more_damage);
    }
    out
}

fn sentence(fault: Fault) -> String {
    match fault {
        Fault::Header => "no readable frame header".to_owned(),
        Fault::Body => "a frame's body does not match its checksum".to_owned(),
        Fault::Context { context } => format!("names the context at offset {context}, which is damaged"),
        Fault::Numbers => "item numbers do not fit the frames around it".to_owned(),
        Fault::Compression => "the payload cannot be decompressed".to_owned(),
        Fault::SegmentHeader => "the segment's header; its frames can be read".to_owned(),
        Fault::Segment => "the segment's header and all of its frames".to_owned(),
        Fault::Unreadable => "the segment cannot be opened".to_owned(),
        Fault::Missing => "items that no file holds".to_owned(),
        Fault::Tail => "the end of the log is damaged or gone, although it had been synced".to_owned(),
        Fault::Cursor => "no valid slot in the cursor file".to_owned(),
        other => other.word().to_owned(),
    }
}

fn inspection(found: &Inspection) -> Value {
    let lanes: Vec<Value> = found
        .lanes
        .iter()
        .map(|lane| {
            let segments: Vec<Value> = lane
                .segments
                .iter()
                .map(|segment| {
                    json!({
                        "path": segment.path.display().to_string(),
                        "base": segment.base,
                        "end": segment.end,
                        "first_item": segment.first_item,
                        "items": segment.items,
                        "file_bytes": segment.file_bytes,
                        "created_ms": segment.created_ms,
                    })
                })
                .collect();
            json!({
                "lane": lane.lane.as_str(),
                "durable_offset": lane.durable_offset,
                "next_item": lane.next_item,
                "items": lane_items(lane),
                "file_bytes": lane_bytes(lane),
                "unsynced_bytes": lane.unsynced_bytes,
                "oldest_ms": lane.oldest_ms,
                "newest_ms": lane.newest_ms,
                "segments": segments,
            })
        })
        .collect();
    let cursors: Vec<Value> = found
        .cursors
        .iter()
        .map(|cursor| {
            let row = &cursor.row;
            let reasons: serde_json::Map<String, Value> =
                row.rejected_by.iter().map(|(reason, items)| (reason.as_str().to_owned(), json!(items))).collect();
            json!({
                "destination": row.destination,
                "lane": row.lane.as_str(),
                "start_item": cursor.start_item,
                "settled_offset": cursor.settled_offset,
                "settled_item": cursor.settled_item,
                "accepted": row.accepted,
                "delivered": row.delivered,
                "filtered": row.filtered,
                "rejected": row.rejected,
                "rejected_by": reasons,
                "evicted": row.evicted,
                "expired": row.expired,
                "damaged": row.damaged,
                "pending_items": row.pending_items,
                "pending_bytes": row.pending_bytes,
                "oldest_pending_ms": row.oldest_pending_ms,
            })
        })
        .collect();
    let quarantine: Vec<Value> =
        found.quarantine.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect();
    json!({
        "directory": found.directory.display().to_string(),
        "in_use": found.in_use,
        "lanes": lanes,
        "cursors": cursors,
        "quarantine": quarantine,
        "damaged_cursors": paths(&found.damaged_cursors),
        "foreign": paths(&found.foreign),
    })
}

fn verification(found: &Verification) -> Value {
    json!({
        "inspection": inspection(&found.inspection),
        "sound": found.is_sound(),
        "bytes": found.bytes,
        "records": found.frames,
        "items": found.items,
        "contexts": found.contexts,
        "unknown_kinds": found.unknown_kinds,
        "damaged_items": found.damaged_items(),
        "damage": found.damage.iter().map(damage).collect::<Vec<_>>(),
        "more_damage": found.more_damage,
    })
}

fn damage(damage: &Damage) -> Value {
    let context = match damage.fault {
        Fault::Context { context } => Some(context),
        _ => None,
    };
    json!({
        "lane": damage.lane.as_ref().map(|lane| lane.as_str()),
        "path": damage.path.display().to_string(),
        "fault": damage.fault.word(),
        "context_offset": context,
        "position": damage.position,
        "offset": damage.offset,
        "bytes": damage.bytes,
        "items": damage.items,
        "estimated": damage.estimated,
    })
}

fn paths(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn lane_bytes(lane: &LaneInspection) -> u64 {
    lane.segments.iter().map(|segment| segment.file_bytes).sum()
}

fn lane_items(lane: &LaneInspection) -> u64 {
    lane.segments.iter().map(|segment| segment.items).sum()
}

fn span(lane: &LaneInspection) -> String {
    match (lane.oldest_ms, lane.newest_ms) {
        (None, _) => "empty".to_owned(),
        (from, None) => format!("from {}", time(from)),
        (from, to) => format!("from {} to {}", time(from), time(to)),
    }
}

fn time(ms: Option<i64>) -> String {
    ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map_or_else(|| "unknown".to_owned(), |t| t.to_string())
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Right-aligned columns, two blanks between them.
fn table(out: &mut String, heads: &[&str], rows: Vec<Vec<String>>) {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    }
}
