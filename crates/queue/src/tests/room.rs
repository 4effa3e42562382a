//! Little room: small budgets, restarts, a disk that is nearly full.

use std::path::Path;

use super::bench::{BUDGET, Bench, SEGMENT, lane_id};
use crate::config::{DestinationSpec, LaneSpec, QueueConfig, StartAt, budgets};

fn dead(seed: u64) -> Bench {
    let mut spec = DestinationSpec::new("first", vec![lane_id()]);
    spec.start = StartAt::Oldest;
    Bench::with(seed, vec![spec])
}

fn evicted(bench: &Bench) -> u64 {
    bench.lane().board.lock().stats.evicted_segments
}

/// Invariant 12: a start takes nothing by itself; the next record goes into a shorter segment while there is one it fits into.
#[test]
fn a_restart_evicts_nothing_while_the_next_record_fits() {
    let mut bench = dead(1);
    // What one process would keep without evicting, another keeps that is restarted all the time.
    let mut restarts = 0;
    loop {
        let used = bench.lane().board.lock().used();
        if used + 4096 > BUDGET {
            break;
        }
        bench.append(1, 0, 700, &[]);
        bench.commit().expect("room");
        assert_eq!(
            (evicted(&bench), bench.row("first").evicted),
            (0, 0),
            "after {restarts} restarts, {used} bytes used"
        );
        bench.crash(restarts % 2 == 0);
        restarts += 1;
        bench.check();
    }
    assert!(restarts as u64 > BUDGET / SEGMENT * 4, "{restarts}");
    // And then it goes on evicting as ever, a segment's worth at a time.
    for _ in 0..40 {
        bench.append(1, 0, 700, &[]);
        bench.commit().expect("room is made");
        bench.check();
    }
    assert!(bench.row("first").evicted > 0);
    assert!(bench.row("first").pending_items >= 20, "{:?}", bench.row("first"));
}

/// A disk with room for less than a segment takes a shorter one: nothing stalls and nothing is given up.
#[test]
fn a_nearly_full_disk_takes_shorter_segments() {
    let mut bench = dead(2);
    bench.append(1, 0, 700, &[]);
    bench.rotate().expect("rotate");
    bench.disk.set_capacity(bench.disk.used(Path::new("/q")) + SEGMENT - 1000);
    bench.append(1, 0, 700, &[]);
    bench.rotate().expect("a shorter one");
    assert_eq!((evicted(&bench), bench.row("first").pending_items), (0, 2));
    bench.check();
}

/// A segment is a sixteenth of its lane, so that evicting one costs a sixteenth, down to 1 MiB and half of the lane.
#[test]
fn evicting_one_segment_costs_a_sixteenth_of_a_small_lane() {
    let config = QueueConfig::new("/q");
    let mib = 1 << 20;
    let sizes = [1, 4, 16, 32, 128, 1024, 8192].map(|budget| config.segment_size(budget * mib) * 16 / mib);
    assert_eq!(sizes, [8, 16, 16, 32, 128, 1024, 1024]);
    // The smallest budget, shared by three signals.
    let lanes = [2, 2, 1].map(|weight| LaneSpec { weight, ..LaneSpec::new(lane_id()) });
    for budget in budgets(16 * mib, &lanes) {
        assert!(config.segment_size(budget) <= budget / 3, "{budget}");
    }
}
