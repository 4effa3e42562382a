//! What the queue found at the start and changed at a reload, in the log: a line for each thing a person needs to know.

use config::Plan;
use queue::{ApplyReport, Ledger, OpenReport, Removed};

pub fn opened(plan: &Plan, report: &OpenReport, ledger: &Ledger) {
    // Of the destination that is furthest behind: a sum over destinations would count the same samples several times.
    let pending = ledger.rows.iter().map(|r| r.pending_items).max().unwrap_or(0);
    tracing::info!(
        directory = %plan.queue.directory.display(),
        lanes = report.lanes.len(),
        destinations_resumed = report.resumed.len(),
        pending_items = pending,
        "queue open"
    );
    removed(&report.removed);
    for lane in &report.lanes {
        if lane.unsynced_discarded_bytes > 0 {
            tracing::warn!(
                lane = lane.lane,
                bytes = lane.unsynced_discarded_bytes,
                "the end of the queue was written and never synced before the last stop; it was cut off"
            );
        }
        if lane.is_damaged() {
            tracing::warn!(
                lane = lane.lane,
                tail_bytes = lane.damaged_tail_bytes,
                tail_items = lane.damaged_tail_items,
                estimated_items = lane.estimated_items,
                lost_segments = lane.damaged_segments,
                missing_segments = lane.missing_segments,
                missing_bytes = lane.missing_bytes,
                mended_segments = lane.mended_segments,
                "part of the queue is damaged; what could not be read is counted as damaged, and copies are in the quarantine folder"
            );
        }
    }
    for (lane, items) in &report.unclaimed {
        tracing::warn!(
            %lane,
            items,
            "the queue holds items and no destination's position: its cursor files are gone; every destination begins again at the oldest record, so some data is sent twice"
        );
    }
    for path in &report.damaged_cursors {
        tracing::warn!(
            path = %path.display(),
            "a destination's position is unreadable; it begins again at the oldest record, so some data is sent twice"
        );
    }
    if !report.foreign.is_empty() {
        tracing::warn!(
            paths = report.foreign.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
            "not the queue's own, and left alone"
        );
    }
}

pub fn changed(report: &ApplyReport) {
    removed(&report.removed);
}

fn removed(all: &[Removed]) {
    for removed in all {
        if removed.items == 0 {
            tracing::info!(
                destination = removed.destination,
                lane = removed.lane,
                "no longer configured; nothing was pending for it"
            );
            continue;
        }
        tracing::warn!(
            destination = removed.destination,
            lane = removed.lane,
            items = removed.items,
            "no longer configured; what was pending for it is given up and counted as removed"
        );
    }
}
