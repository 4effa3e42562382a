//! Segment headers that rot, files that are cut short or vanish: what can be read is read, and what cannot is counted.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::bench::{Bench, lane_id};
use crate::Outcome;
use crate::config::{DestinationSpec, StartAt};
use crate::disk::Disk;
use crate::segment::HEADER_LEN;

/// One destination that has taken nothing; segments of six records of 1 to 6 items, so 21 items each.
fn filled(seed: u64, segments: u32) -> Bench {
    let mut spec = DestinationSpec::new("first", vec![lane_id()]);
    spec.start = StartAt::Oldest;
    let mut bench = Bench::with(seed, vec![spec]);
    for _ in 0..segments {
        for index in 0..6u32 {
            bench.append(index + 1, 0, 200 + index as usize * 8, if index > 1 { &[1] } else { &[] });
            bench.commit().expect("commit");
        }
        bench.rotate().expect("rotate");
    }
    bench.damaged = true;
    bench
}

/// Writes the cursor file: it testifies to where the log ends.
fn witness(bench: &Bench) {
    bench.store.as_ref().expect("open").destinations.read().values().for_each(|held| held.sync().expect("sync"));
}

/// Takes everything; gives the records that came.
fn taken(bench: &mut Bench) -> Vec<usize> {
    let mut out = Vec::new();
    while let Some(index) = bench.claim("first") {
        if let Some(claim) = bench.takers.get_mut("first").and_then(|taker| taker.held.pop()) {
            claim.settle(Outcome::Delivered);
            out.push(index);
        }
        bench.check();
    }
    out
}

/// The book says that these items came and those are lost, and the next start says the same.
fn booked(bench: &mut Bench, delivered: u64, damaged: u64) {
    for _ in 0..2 {
        let row = bench.row("first");
        assert_eq!((row.delivered, row.damaged, row.pending_items), (delivered, damaged, 0), "{row:?}");
        assert_eq!(row.accepted, delivered + damaged);
        bench.store.as_ref().expect("open").tend().expect("tend");
        bench.crash(true);
    }
}

fn flip_header(bench: &Bench, which: usize, byte: usize, mask: u8) {
    bench.disk.damage(&bench.segments()[which], |bytes| bytes[byte] ^= mask);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 14: one bit, or eight, of any header, or of all of them, costs nothing: the frames say how to read them.
    #[test]
    fn a_bit_of_any_segment_header_costs_nothing(seed in any::<u64>(), bits in proptest::collection::vec(proptest::option::weighted(0.6, (0..HEADER_LEN, 1u8..=255)), 3), told in any::<bool>(), power in any::<bool>()) {
        let mut bench = filled(seed, 3);
        if told {
            witness(&bench);
        }
        for (which, bit) in bits.iter().enumerate() {
            if let Some((byte, mask)) = bit {
                flip_header(&bench, which, *byte, *mask);
            }
        }
        bench.crash(power);
        prop_assert_eq!(bench.report.lanes[0].mended_segments, bits.iter().flatten().count() as u64);
        prop_assert_eq!(bench.report.lanes[0].damaged_segments, 0);
        prop_assert_eq!(taken(&mut bench), (0..18).collect::<Vec<_>>());
        booked(&mut bench, 63, 0);
    }

    /// The same with more damage in the newest segment: what is left of it is read, the rest is counted.
    #[test]
    fn a_rotten_header_and_rotten_frames_cost_those_frames(seed in any::<u64>(), holes in proptest::collection::vec((HEADER_LEN..1500usize, 1usize..300), 0..4), head in 1usize..=HEADER_LEN) {
        let mut bench = filled(seed, 3);
        witness(&bench);
        bench.disk.damage(&bench.segments()[2], |bytes| {
            bytes[..head].iter_mut().for_each(|byte| *byte ^= 0x81);
            for (at, len) in &holes {
                let (at, stop) = (*at.min(&bytes.len()), (at + len).min(bytes.len()));
                bytes[at..stop].iter_mut().for_each(|byte| *byte ^= 0x81);
            }
        });
        bench.crash(false);
        let came = taken(&mut bench);
        let items: u64 = came.iter().map(|index| u64::from(bench.records[*index].items)).sum();
        prop_assert!(came.len() >= 12);
        booked(&mut bench, items, 63 - items);
    }

    /// A segment of one frame, whose header is damaged beside the segment's: for any frame there is a nonce that fits, and nothing
    /// here confirms it. It is lost and counted, and never taken for what it is not.
    #[test]
    fn a_lone_frame_with_a_rotten_header_is_not_believed(seed in any::<u64>(), head in 0usize..8, at in 4usize..64, mask in 1u8..=255) {
        let mut bench = filled(seed, 1);
        bench.append(7, 5, 300, &[]);
        bench.commit().expect("commit");
        witness(&bench);
        flip_header(&bench, 1, head, mask);
        flip_header(&bench, 1, HEADER_LEN + at, mask);
        bench.crash(false);
        prop_assert_eq!(taken(&mut bench), (0..6).collect::<Vec<_>>());
        booked(&mut bench, 21, 7);
    }

    /// And whose nonce alone is damaged: with the nonce of the frame the header is whole again.
    #[test]
    fn a_lone_frame_under_a_rotten_nonce_is_read(seed in any::<u64>(), byte in 0usize..8, mask in 1u8..=255, told in any::<bool>()) {
        let mut bench = filled(seed, 1);
        bench.append(7, 5, 300, &[]);
        bench.commit().expect("commit");
        if told {
            witness(&bench);
        }
        flip_header(&bench, 1, 16 + byte, mask);
        bench.crash(false);
        prop_assert_eq!(taken(&mut bench), (0..7).collect::<Vec<_>>());
        booked(&mut bench, 28, 0);
    }

    /// A file that is shorter than somebody was promised, wherever it is cut and whichever it is.
    #[test]
    fn a_file_that_is_cut_short_costs_what_was_in_it(seed in any::<u64>(), which in 0usize..3, cut in 0usize..2500, gone in proptest::bool::weighted(0.2), head in proptest::bool::weighted(0.3)) {
        let mut bench = filled(seed, 3);
        witness(&bench);
        let path = bench.segments()[which].clone();
        let mut short = gone;
        if gone {
            bench.disk.remove(&path).expect("remove");
            bench.disk.sync_dir(Path::new("/q/lanes/lane")).expect("sync");
        } else {
            bench.disk.damage(&path, |bytes| {
                short = cut < bytes.len();
                bytes.truncate(cut);
                if head {
                    bytes.iter_mut().take(HEADER_LEN).for_each(|byte| *byte ^= 0x81);
                }
            });
        }
        bench.crash(false);
        let report = bench.report.lanes[0].clone();
        prop_assert!(report.is_damaged() == (short || (head && cut > 0)), "{:?}", report);
        prop_assert_eq!(report.unsynced_discarded_bytes, 0, "{:?}", report);
        let came = taken(&mut bench);
        let items: u64 = came.iter().map(|index| u64::from(bench.records[*index].items)).sum();
        if which == 2 {
            prop_assert_eq!(report.damaged_tail_items, 63 - items, "{:?}", report);
            prop_assert!(report.damaged_tail_bytes > 0 || items == 63, "{:?}", report);
        }
        booked(&mut bench, items, 63 - items);
    }
}

/// The newest segment is destroyed from end to end. What a cursor file knew is counted exactly; what came after it is an estimate
/// by its bytes, and is said to be one.
#[test]
fn what_no_cursor_file_knew_of_a_destroyed_segment_is_estimated() {
    let mut bench = filled(3, 2);
    let mut last = 0;
    for round in 0..12 {
        bench.append(5, 0, 200, &[]);
        bench.commit().expect("commit");
        if round == 3 {
            witness(&bench);
        }
        last = bench.lane().board.lock().durable.item;
    }
    assert_eq!(last, 42 + 60);
    let path = bench.segments()[2].clone();
    bench.disk.damage(&path, |bytes| bytes.iter_mut().filter(|byte| **byte != 0).for_each(|byte| *byte = 0x55));
    bench.crash(false);
    let report = bench.report.lanes[0].clone();
    assert_eq!((report.damaged_tail_items, report.damaged_segments), (20, 1), "{report:?}");
    // Forty are lost; records that are like those before them are estimated well.
    assert!((38..=42).contains(&report.estimated_items), "{report:?}");
    assert_eq!(taken(&mut bench).len(), 12);
    booked(&mut bench, 42, 20 + report.estimated_items);
    assert_eq!(bench.report.lanes[0].estimated_items, 0, "it is in the book now");
}

/// All files gone when everything had been taken: nothing is lost, and nothing is told.
#[test]
fn files_that_nobody_wants_any_more_are_not_missed() {
    let mut bench = filled(4, 3);
    assert_eq!(taken(&mut bench).len(), 18);
    witness(&bench);
    let paths: Vec<PathBuf> = bench.segments();
    for path in &paths {
        bench.disk.remove(path).expect("remove");
    }
    bench.disk.sync_dir(Path::new("/q/lanes/lane")).expect("sync");
    bench.crash(true);
    assert!(!bench.report.lanes[0].is_damaged(), "{:?}", bench.report);
    booked(&mut bench, 63, 0);
}

/// A file that was being made when the power went is not damage, wherever its pages were torn.
#[test]
fn a_segment_whose_making_was_torn_is_no_damage() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut bench = filled(seed, 1);
        bench.damaged = false;
        for _ in 0..4 {
            bench.append(3, 0, 1200, &[]);
        }
        bench.write().expect("write");
        bench.crash(true);
        let report = &bench.report.lanes[0];
        assert!(!report.is_damaged(), "seed {seed}: {report:?}");
        torn += report.unsynced_discarded_bytes;
        let came = taken(&mut bench).len();
        assert!(came >= 6, "seed {seed}: {came}");
        assert_eq!(bench.row("first").damaged, 0, "seed {seed}");
    }
    assert!(torn > 0);
}

/// Invariant 17 over a kill: the sync failed, its pages are taken for clean, and the process died before it cut the file. What the
/// next process takes over it must bring to the disk itself.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again_by_the_next_process() {
    for seed in 0..40 {
        let mut bench = filled(seed, 1);
        bench.damaged = false;
        bench.append(1, 0, 500, &[]);
        bench.commit().expect("commit");
        for _ in 0..3 {
            bench.append(2, 0, 1200, &[]);
        }
        bench.write().expect("write");
        bench.disk.faults.lock().failing_syncs = 1;
        let path = bench.segments().pop().expect("a segment");
        assert!(bench.disk.open_write(&path).expect("open").sync().is_err());
        bench.crash(false);
        assert_eq!(bench.records.len(), 10, "they were in the page cache");
        bench.crash(true);
        assert_eq!(taken(&mut bench).len(), 10, "seed {seed}");
        assert_eq!(bench.row("first").damaged, 0);
    }
}

/// Invariant 24: times never go back in a lane, also where the newest segment holds nothing, or was lost.
#[test]
fn times_go_on_behind_an_empty_or_lost_last_segment() {
    for lost in [false, true] {
        let mut bench = filled(6, 1);
        // Begun early, and its last frame is late.
        bench.append(1, 0, 100, &[]);
        bench.commit().expect("commit");
        bench.now = 1_000_000;
        bench.append(1, 0, 100, &[]);
        bench.rotate().expect("rotate");
        bench.now = 500;
        // A new segment is opened and the power goes before anything in it is synced.
        bench.append(1, 0, 100, &[]);
        bench.write().expect("write");
        let path = bench.segments().pop().expect("a segment");
        bench.disk.damage(&path, |bytes| bytes[if lost { 0 } else { HEADER_LEN }..].fill(0));
        bench.crash(false);
        bench.append(1, 0, 100, &[]);
        bench.commit().expect("commit");
        let mut times = Vec::new();
        while bench.claim("first").is_some() {
            let claim = bench.takers.get_mut("first").expect("taker").held.pop().expect("held");
            times.push(claim.frame().ingest_ms);
            claim.settle(Outcome::Delivered);
        }
        assert_eq!(times.len(), 9);
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(bench.row("first").damaged, 0);
    }
}
