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
        if lane.damaged_tail_bytes > 0 || lane.damaged_segments > 0 {
            tracing::warn!(
                lane = lane.lane,
                tail_bytes = lane.damaged_tail_bytes,
                segments = lane.damaged_segments,
                "part of the queue is damaged; a copy is in the quarantine folder and what it held is counted as damaged"
            );
        }
    }
    for path in &report.damaged_cursors {
        tracing::warn!(
            path = %path.display(),
            "a destination's position is unreadable; it begins again at the oldest record, so some data is sent twice"
        );
    }
    if !report.foreign.is_empty() {
        tracing::warn!(
            names = report.foreign.join(", "),
            "the queue's folders hold entries that are not the queue's; they are left alone"
        );
    }
}

pub fn changed(report: &ApplyReport) {
    removed(&report.removed);
}

fn removed(all: &[Removed]) {
    for removed in all {
        tracing::warn!(
            destination = removed.destination,
            lane = removed.lane,
            items = removed.items,
            "no longer configured; what was pending for it is given up and counted as removed"
        );
    }
}
