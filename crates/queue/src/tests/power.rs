//! Single failures, one by one.

use std::path::Path;

use super::bench::{BUDGET, Bench, SEGMENT, lane_id};
use crate::claim::Claim;
use crate::config::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, StartAt};
use crate::cursor::{CursorEntry, survey};
use crate::disk::Disk;
use crate::disk::sim::Faults;
use crate::lane::Stall;
use crate::{ContextKey, Outcome, QueueError};

fn bench(seed: u64, on_full: OnFull) -> Bench {
    let mut spec = DestinationSpec::new("first", vec![lane_id()]);
    spec.start = StartAt::Oldest;
    spec.on_full = on_full;
    Bench::with(seed, vec![spec])
}

fn settle_all(bench: &mut Bench) -> Vec<usize> {
    let mut out = Vec::new();
    while let Some(index) = bench.claim("first") {
        out.push(index);
        let taker = bench.takers.get_mut("first").expect("taker");
        taker.delivered.insert(index);
        taker.held.pop().expect("held").settle(Outcome::Delivered);
    }
    out
}

/// Invariants 2 and 17: the second sync of a file whose first failed would succeed without writing anything.
#[test]
fn after_a_failed_sync_records_become_durable_in_another_file() {
    for seed in 0..30 {
        let mut bench = bench(seed, OnFull::Evict);
        bench.append(1, 0, 100, &[1]);
        bench.commit().expect("commit");
        bench.append(2, 0, 100, &[1]);
        bench.append(3, 0, 100, &[2]);
        {
            let mut faults = bench.disk.faults.lock();
            faults.failing_syncs = 1;
            faults.only = ".seg";
        }
        bench.commit().expect("the second file takes it");
        assert_eq!(bench.resolved, 3);
        assert_eq!(bench.segments().len(), 2);
        bench.crash(true);
        assert_eq!(settle_all(&mut bench), [0, 1, 2], "seed {seed}");
        bench.check();
    }
}

/// Invariant 20: a disk that fails for a while is seen and survived.
#[test]
fn a_disk_that_refuses_everything_for_a_while_loses_nothing() {
    let mut bench = bench(1, OnFull::Evict);
    bench.append(1, 0, 100, &[]);
    {
        let mut faults = bench.disk.faults.lock();
        faults.failing_writes = 15;
        faults.only = ".seg";
    }
    let mut failures = 0;
    while let Err(stall) = bench.commit() {
        assert_eq!(stall, Stall::Failed);
        assert_eq!(bench.resolved, 0);
        failures += 1;
        assert!(failures < 10);
    }
    assert!(failures > 2);
    bench.crash(true);
    assert_eq!(settle_all(&mut bench), [0]);
}

/// Invariant 20: no space, then space.
#[test]
fn a_full_disk_stalls_the_lane_until_there_is_space() {
    let mut bench = bench(2, OnFull::Hold);
    bench.disk.set_capacity(bench.disk.used(Path::new("/q")) + SEGMENT + 2000);
    let mut count = 0;
    let stall = loop {
        bench.append(1, 0, 900, &[]);
        count += 1;
        if let Err(stall) = bench.commit() {
            break stall;
        }
        assert!(count < 100);
    };
    assert_eq!(stall, Stall::Full);
    bench.check();
    bench.disk.set_capacity(1 << 30);
    bench.commit().expect("space");
    bench.crash(true);
    assert_eq!(settle_all(&mut bench).len(), count);
    assert_eq!(bench.row("first").evicted, 0);
}

/// Invariant 20 on a disk that others filled: what may be evicted is, and the lane goes on.
#[test]
fn a_full_disk_evicts_where_that_is_allowed() {
    let mut bench = bench(3, OnFull::Evict);
    bench.disk.set_capacity(bench.disk.used(Path::new("/q")) + 2 * SEGMENT + 1000);
    for _ in 0..40 {
        bench.append(1, 0, 900, &[]);
        bench.commit().expect("room is made");
        bench.check();
    }
    let row = bench.row("first");
    assert!(row.evicted > 20 && row.pending_items > 0, "{row:?}");
}

/// What is to stay free for others stays free, whoever has to give for it.
#[test]
fn the_space_left_to_others_is_not_taken() {
    for on_full in [OnFull::Evict, OnFull::Hold] {
        let mut bench = bench(16, on_full);
        let total = 40 * SEGMENT;
        bench.disk.set_capacity(total);
        // More than the budget leaves: the disk is short before the lane is.
        let keep = MinFree::percent(90);
        assert!(keep.limit(total) > total - BUDGET && keep.limit(total) > 30 * SEGMENT);
        bench.lane().board.lock().min_free = keep;
        let mut stalled = false;
        for _ in 0..40 {
            bench.append(1, 0, 900, &[]);
            match bench.commit() {
                Ok(()) => {}
                Err(stall) => {
                    assert_eq!((stall, on_full), (Stall::Full, OnFull::Hold));
                    stalled = true;
                }
            }
            let (free, total) = bench.disk.space(Path::new("/q")).expect("told");
            assert!(free >= keep.limit(total), "{free} of {total} left");
            bench.check();
        }
        assert_eq!(stalled, on_full == OnFull::Hold);
        assert_eq!(bench.row("first").evicted > 0, on_full == OnFull::Evict);
    }
    // Never less than the bytes, never less than the part.
    let both = MinFree { bytes: 700, ..MinFree::percent(5) };
    assert_eq!([both.limit(1000), both.limit(100_000)], [700, 5000]);
    // The default asks no more of a big disk than its other users need, nor less of a small one.
    let gib = 1 << 30;
    assert_eq!([5, 20, 250, 16_000].map(|size| MinFree::default().limit(size * gib) * 10 / gib), [5, 10, 20, 20]);
}

/// The disk is full of others' files, so full that even an empty lane would have no room for its next segment: then nothing is
/// given up for it, and what waits is there when the disk is freed.
#[test]
fn nothing_is_evicted_where_that_makes_no_room() {
    let mut bench = bench(17, OnFull::Evict);
    for _ in 0..6 {
        bench.append(1, 0, 3000, &[]);
        bench.rotate().expect("there is room");
    }
    let pending = bench.row("first").pending_items;
    assert!(pending > 0);
    bench.disk.set_capacity(40 * SEGMENT);
    // Others may have all but half a segment.
    let (free, total) = bench.disk.space(Path::new("/q")).expect("told");
    let used = bench.lane().board.lock().used();
    let keep = free + used - SEGMENT / 2;
    bench.lane().board.lock().min_free = MinFree::bytes(keep);
    assert!(keep < total);
    bench.append(1, 0, 3000, &[]);
    assert_eq!(bench.rotate(), Err(Stall::Full));
    assert_eq!((bench.row("first").evicted, bench.row("first").pending_items >= pending), (0, true));
    bench.check();
    bench.lane().board.lock().min_free = MinFree::NONE;
    bench.rotate().expect("others made room");
    assert_eq!(bench.row("first").evicted, 0);
    bench.check();
}

/// Invariant 20, the hard way: the disk is full of others' files, and a dead destination's requests hold frames of the
/// segments that were evicted from it. Their space comes back at once, not when the requests end.
#[test]
fn what_is_evicted_gives_its_space_back_while_claims_are_in_flight() {
    let mut bench = bench(4, OnFull::Evict);
    bench.disk.set_capacity(bench.disk.used(Path::new("/q")) + 2 * SEGMENT + 1000);
    for round in 0..60 {
        bench.append(1, 0, 900, &[1]);
        bench.commit().unwrap_or_else(|stall| panic!("round {round}: {stall:?}"));
        // Taken, read ahead, and never answered.
        bench.claim("first");
        bench.check();
    }
    let row = bench.row("first");
    assert!(row.evicted > 40 && row.damaged == 0, "{row:?}");
    let held = std::mem::take(&mut bench.takers.get_mut("first").expect("taker").held);
    let (gone, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(Claim::evicted);
    assert_eq!(gone.len() as u64, row.evicted);
    for claim in &gone {
        assert!(matches!(claim.context(&ContextKey([1; 16])), Err(QueueError::Evicted { .. })));
    }
    // One request of a given-up frame succeeds after all, the others end without an answer.
    let mut gone = gone.into_iter();
    gone.next().expect("some").settle(Outcome::Delivered);
    gone.next().expect("some").settle(Outcome::Damaged);
    drop(gone);
    for claim in kept {
        assert!(claim.context(&ContextKey([1; 16])).is_ok());
        claim.settle(Outcome::Delivered);
    }
    let row = bench.row("first");
    assert_eq!((row.late_delivered, row.pending_items, row.damaged), (1, 0, 0), "{row:?}");
    assert!(bench.disk.list(Path::new("/q/quarantine")).unwrap_or_default().is_empty());
}

/// What the lane's thread does to the oldest segment when it evicts, for another thread's worst moment.
fn evict_behind_its_back(bench: &Bench) -> Box<dyn FnOnce() + Send> {
    let lane = std::sync::Arc::clone(bench.lane());
    Box::new(move || {
        let destination = {
            let mut board = lane.board.lock();
            let end = board.end_of(0).expect("a segment");
            let pair = board.pairs.values_mut().next().expect("a pair");
            pair.evict_to(end);
            std::sync::Arc::clone(&pair.destination)
        };
        destination.sync().expect("sync");
        assert_eq!(lane.reclaim(), 1);
    })
}

/// A reader that has just opened, or is reading, the segment that is evicted: what it cannot read is evicted and not
/// damaged as well, and it keeps nothing open.
#[test]
fn a_reader_whose_segment_is_evicted_books_no_damage_and_keeps_nothing_open() {
    for while_reading in [false, true] {
        let mut bench = bench(11, OnFull::Evict);
        for _ in 0..3 {
            bench.append(1, 0, 900, &[]);
        }
        bench.rotate().expect("rotate");
        bench.append(1, 0, 900, &[]);
        bench.rotate().expect("rotate");
        let before = bench.disk.open_files();
        if while_reading {
            bench.disk.faults.lock().failing_reads = 1;
            *bench.disk.on_read.lock() = Some(evict_behind_its_back(&bench));
        } else {
            *bench.disk.on_open.lock() = Some(evict_behind_its_back(&bench));
        }
        assert_eq!(settle_all(&mut bench), [3]);
        let row = bench.row("first");
        assert_eq!((row.evicted, row.delivered, row.damaged, row.pending_items), (3, 1, 0, 0), "{row:?}");
        assert!(bench.disk.list(Path::new("/q/quarantine")).unwrap_or_default().is_empty());
        assert_eq!(bench.lane().board.lock().stats.damaged_ranges, 0);
        bench.takers.get_mut("first").expect("taker").reader = None;
        assert_eq!(bench.disk.open_files(), before);
    }
}

/// Invariants 11, 12, 18: eviction takes the oldest, writes the cursor first, and books what it took.
#[test]
fn eviction_survives_a_power_cut_at_any_moment() {
    for seed in 0..40 {
        let mut bench = bench(seed, OnFull::Evict);
        for _ in 0..(20 + seed % 30) {
            bench.append(1, 0, 900, &[]);
            bench.commit().expect("commit");
            bench.check();
        }
        let before = bench.row("first");
        bench.crash(true);
        bench.check();
        let after = bench.row("first");
        assert_eq!((before.evicted, before.pending_items), (after.evicted, after.pending_items), "seed {seed}");
        let came = settle_all(&mut bench);
        assert_eq!(came.len() as u64, after.pending_items);
        assert_eq!(*came.last().expect("some") as u64 + 1, after.accepted);
        assert!(bench.disk.used(Path::new("/q/lanes")) <= BUDGET + SEGMENT);
    }
}

/// Invariant 12: a segment is taken when the next record has no room, in however short a segment, and not before.
#[test]
fn nothing_is_evicted_while_there_is_room_for_a_record() {
    let mut bench = bench(9, OnFull::Evict);
    let look = |bench: &Bench| {
        let board = bench.lane().board.lock();
        (board.used(), board.stats.evicted_segments)
    };
    for _ in 0..40 {
        let (used, before) = look(&bench);
        bench.append(1, 0, 3000, &[]);
        bench.rotate().expect("room is made");
        let (_, after) = look(&bench);
        assert_eq!(after > before, used + 4096 > BUDGET, "{used} bytes used, {before} segments evicted before");
        bench.check();
    }
    assert!(look(&bench).1 > 10);
}

/// Invariant 12: what everybody has taken goes first, also when no cursor file says so yet; that is no eviction, and a lane
/// that keeps segments for its sources is not pressed for it.
#[test]
fn finished_segments_go_before_anything_is_evicted() {
    let mut bench = bench(15, OnFull::Evict);
    bench.lane().board.lock().floor = 0;
    for round in 0..40 {
        bench.append(1, 0, 3000, &[]);
        bench.rotate().expect("room is made");
        let end = bench.lane().board.lock().durable.offset;
        assert_eq!(settle_all(&mut bench), [round]);
        // The sources have written down where they stand.
        bench.lane().board.lock().floor = end;
        bench.check();
    }
    assert_eq!(bench.row("first").evicted, 0);
    let lane = bench.lane();
    assert_eq!((lane.board.lock().stats.evicted_segments, *lane.pressed.borrow()), (0, 0));
}

/// Invariant 8: a cursor that was written is where the next start begins.
#[test]
fn after_a_crash_only_what_no_cursor_file_knew_is_sent_again() {
    let mut bench = bench(5, OnFull::Evict);
    for _ in 0..10 {
        bench.append(1, 0, 100, &[]);
    }
    bench.commit().expect("commit");
    let mut claims = Vec::new();
    for _ in 0..8 {
        bench.claim("first");
        claims.push(bench.takers.get_mut("first").expect("taker").held.remove(0));
    }
    let mut claims = claims.into_iter();
    claims.by_ref().take(4).for_each(|claim| claim.settle(Outcome::Delivered));
    bench.store.as_ref().expect("open").tend().expect("tend");
    claims.by_ref().take(2).for_each(|claim| claim.settle(Outcome::Delivered));
    drop(claims);
    bench.crash(true);
    // Eight had been handed out when the cursor file was written.
    assert_eq!(bench.row("first").repeats, 0);
    assert_eq!(settle_all(&mut bench), [4, 5, 6, 7, 8, 9]);
    assert_eq!(bench.row("first").repeats, 4);
    bench.append(1, 0, 100, &[]);
    bench.commit().expect("commit");
    bench.claim("first");
    bench.takers.get_mut("first").expect("taker").held.clear();
    assert_eq!(settle_all(&mut bench), [10]);
    assert_eq!(bench.row("first").repeats, 5);
}

/// Invariant 19: a cursor write that is torn anywhere leaves the slot before it.
#[test]
fn a_torn_cursor_write_leaves_one_valid_slot() {
    let path = Path::new("/q/cursors/first.cur");
    for torn in (0..4096).step_by(37) {
        let mut bench = bench(6, OnFull::Evict);
        for _ in 0..3 {
            bench.append(1, 0, 10, &[]);
        }
        bench.commit().expect("commit");
        let mut contents = Vec::new();
        for _ in 0..2 {
            bench.claim("first");
            bench.takers.get_mut("first").expect("taker").held.remove(0).settle(Outcome::Delivered);
            bench.store.as_ref().expect("open").tend().expect("tend");
            bench.disk.damage(path, |bytes| contents.push(bytes.clone()));
        }
        // The second write changed one slot; only its first bytes arrive.
        let slot = if contents[0][..4096] == contents[1][..4096] { 4096 } else { 0 };
        bench.disk.damage(path, |bytes| {
            bytes[slot + torn..slot + 4096].copy_from_slice(&contents[0][slot + torn..slot + 4096])
        });
        bench.takers.get_mut("first").expect("taker").durable_offset = 0;
        bench.lane().board.lock().pairs.values_mut().for_each(|pair| pair.cursor.durable_offset = 0);
        bench.crash(false);
        let first = bench.claim("first").expect("a claim");
        assert!(first == 1 || first == 2, "torn at {torn}: {first}");
    }
}

/// Invariants 17 and 18 for cursor files: after a failed write or sync the file is not trusted again, and what was settled is
/// on disk in a new one before anything relies on it.
#[test]
fn a_cursor_file_whose_sync_or_write_failed_is_replaced() {
    for seed in 0..30 {
        let mut bench = bench(seed, OnFull::Evict);
        for _ in 0..4 {
            bench.append(1, 0, 100, &[]);
        }
        bench.commit().expect("commit");
        for round in 0..4 {
            assert_eq!(bench.claim("first"), Some(round));
            bench.takers.get_mut("first").expect("taker").held.remove(0).settle(Outcome::Delivered);
            let faults = match round {
                0 => Faults { failing_syncs: 1, only: ".cur", ..Faults::default() },
                1 => Faults { failing_writes: 1, only: ".cur", ..Faults::default() },
                2 => Faults { failing_syncs: 1, only: ".cur.tmp", ..Faults::default() },
                _ => Faults::default(),
            };
            *bench.disk.faults.lock() = faults;
            // In the third round there is nothing to be replaced, and the fault stays for the next one.
            bench.store.as_ref().expect("open").tend().expect("the second attempt");
        }
        // Both fail: that is told, and tried again.
        bench.append(1, 0, 100, &[]);
        bench.commit().expect("commit");
        assert_eq!(bench.claim("first"), Some(4));
        bench.takers.get_mut("first").expect("taker").held.remove(0).settle(Outcome::Delivered);
        *bench.disk.faults.lock() = Faults { failing_writes: 2, only: "", ..Faults::default() };
        let store = bench.store.as_ref().expect("open");
        assert!(store.tend().is_err());
        assert_eq!(bench.lane().board.lock().pairs["first"].cursor.durable_offset, 4 * (64 + 112), "seed {seed}");
        store.tend().expect("the disk is well again");
        bench.crash(true);
        let row = bench.row("first");
        assert_eq!((row.delivered, row.pending_items), (5, 0), "seed {seed}: {row:?}");
        assert!(settle_all(&mut bench).is_empty());
    }
}

/// Invariant 24: a clock that goes back neither reorders nor expires.
#[test]
fn time_going_backwards_expires_nothing_early() {
    let mut bench = bench(7, OnFull::Evict);
    bench.specs[0].max_age = Some(std::time::Duration::from_secs(60));
    bench.crash(false);
    bench.now = 1_000_000;
    bench.append(1, 0, 10, &[]);
    bench.commit().expect("commit");
    bench.now = 100;
    bench.append(1, 0, 10, &[]);
    bench.commit().expect("commit");
    // Set right again, it must not make the frame of the wrong time old; nor what was before a restart in between.
    bench.crash(false);
    bench.append(1, 0, 10, &[]);
    bench.commit().expect("commit");
    bench.now = 1_000_000;
    let mut times = Vec::new();
    for index in 0..3 {
        assert_eq!(bench.claim("first"), Some(index));
        let claim = bench.takers.get_mut("first").expect("taker").held.remove(0);
        times.push(claim.frame().ingest_ms);
        claim.settle(Outcome::Delivered);
    }
    assert_eq!(times, [1_000_000; 3]);
    assert_eq!(bench.row("first").expired, 0);
    bench.append(1, 0, 10, &[]);
    bench.commit().expect("commit");
    bench.now += 61_000;
    assert_eq!(settle_all(&mut bench), Vec::<usize>::new());
    assert_eq!(bench.row("first").expired, 1);
    bench.check();
}

/// Invariant 25: with nothing to do, the core and the cursor keeper touch nothing.
#[test]
fn an_idle_queue_does_no_io() {
    let mut bench = bench(8, OnFull::Evict);
    bench.append(1, 0, 10, &[]);
    bench.commit().expect("commit");
    settle_all(&mut bench);
    bench.store.as_ref().expect("open").tend().expect("tend");
    let before = bench.disk.operations();
    for _ in 0..10 {
        bench.commit().expect("commit");
        bench.store.as_ref().expect("open").tend().expect("tend");
        assert!(bench.claim("first").is_none());
    }
    assert_eq!(bench.disk.operations(), before);
}

/// Promised bytes at the end of the log are told from a torn write.
#[test]
fn a_damaged_promised_tail_is_reported_and_a_torn_one_is_not() {
    for promised in [false, true] {
        let mut bench = bench(9, OnFull::Evict);
        bench.append(1, 0, 100, &[]);
        bench.commit().expect("commit");
        bench.append(1, 0, 100, &[]);
        bench.commit().expect("commit");
        if promised {
            // A cursor file written now knows how far the log went.
            let store = bench.store.as_ref().expect("open");
            store.destinations.read().values().for_each(|held| held.sync().expect("sync"));
        }
        bench.damaged = true;
        let path = bench.segments()[0].clone();
        bench.disk.damage(&path, |bytes| bytes[128 + 176 + 10] ^= 1);
        bench.crash(false);
        let report = &bench.report.lanes[0];
        assert_eq!(report.damaged_tail_bytes > 0, promised, "{report:?}");
        assert_eq!(report.unsynced_discarded_bytes > 0, !promised, "{report:?}");
        let durable = bench.lane().board.lock().durable;
        assert_eq!(durable.item, if promised { 2 } else { 1 });
    }
}

/// A power cut may keep a later page and lose an earlier one: what nobody was promised ends at the first hole, and is
/// no damage.
#[test]
fn frames_behind_a_torn_one_that_were_never_promised_are_discarded() {
    let mut bench = bench(10, OnFull::Evict);
    bench.append(1, 0, 100, &[]);
    bench.commit().expect("commit");
    for _ in 0..3 {
        bench.append(1, 0, 100, &[]);
    }
    bench.write().expect("write");
    let path = bench.segments()[0].clone();
    // The first unsynced frame is torn, the two behind it are whole.
    bench.disk.damage(&path, |bytes| bytes[128 + 176 + 70..128 + 176 + 90].fill(0));
    bench.crash(false);
    let durable = bench.lane().board.lock().durable;
    assert_eq!(durable.item, 1);
    assert!(bench.report.lanes[0].unsynced_discarded_bytes > 0);
    assert_eq!(bench.report.lanes[0].damaged_tail_bytes, 0);
    bench.append(1, 0, 50, &[]);
    bench.commit().expect("commit");
    assert_eq!(settle_all(&mut bench).len(), 2);
    assert_eq!(bench.row("first").damaged, 0);
}

/// A reader that keeps up is given what was just written without a blocking task; what is not whole is left to one.
#[test]
fn what_was_just_written_is_read_where_the_reader_stands() {
    let mut bench = bench(12, OnFull::Evict);
    let mut at_once = 0;
    for round in 0..60usize {
        bench.append(1, 0, 100, &[1]);
        bench.commit().expect("commit");
        let reader = bench.takers.get_mut("first").expect("taker").reader.as_mut().expect("reader");
        if let Some(claim) = reader.try_next().expect("open") {
            let index = u64::from_le_bytes(claim.payload()[..8].try_into().expect("eight"));
            assert_eq!(index, round as u64);
            bench.takers.get_mut("first").expect("taker").delivered.insert(round);
            claim.settle(Outcome::Delivered);
            at_once += 1;
        } else {
            assert_eq!(settle_all(&mut bench), [round]);
        }
    }
    // The page cache of this disk forgets every third read, and each segment is opened by a blocking task.
    assert!((20..60).contains(&at_once), "{at_once}");
    // Damage is for the blocking task, which books it.
    bench.append(7, 0, 100, &[]);
    bench.commit().expect("commit");
    bench.damaged = true;
    let path = bench.segments().pop().expect("a segment");
    let end = {
        let board = bench.lane().board.lock();
        let segment = board.segments.back().expect("a segment");
        usize::try_from(segment.end - segment.base).expect("small") + 128
    };
    bench.disk.damage(&path, |bytes| bytes[end - 20] ^= 1);
    for _ in 0..20 {
        let reader = bench.takers.get_mut("first").expect("taker").reader.as_mut().expect("reader");
        assert!(reader.try_next().expect("open").is_none());
    }
    assert_eq!(bench.row("first").damaged, 0);
    assert!(settle_all(&mut bench).is_empty());
    assert_eq!((bench.row("first").damaged, bench.row("first").pending_items), (7, 0));
}

/// Invariants 4, 22: where a destination begins in a lane that a reload gives it is on disk before the reload is done.
#[test]
fn the_position_in_a_lane_that_a_reload_adds_survives_a_power_cut() {
    for seed in 0..20 {
        let bench = bench(seed, OnFull::Evict);
        let more = LaneId::new("more").expect("a good name");
        let lanes = [LaneSpec::new(lane_id()), LaneSpec::new(more.clone())];
        let mut spec = bench.specs[0].clone();
        spec.lanes.push(more.clone());
        let store = bench.store.as_ref().expect("open");
        let added = store.prepare(&lanes, std::slice::from_ref(&spec)).expect("prepare");
        store.complete(&lanes, &[spec], &added);
        bench.disk.cut_power();
        let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(bench.disk.clone());
        let mut entries = survey(&disk, Path::new("/q/cursors")).expect("a survey");
        entries.retain(|(path, _)| path.ends_with("first.cur"));
        let Some((_, CursorEntry::Valid(found))) = entries.pop() else {
            panic!("seed {seed}: no valid cursor file");
        };
        let slot = found.slot;
        assert!(slot.lanes.iter().any(|cursor| cursor.lane == more.as_str()), "seed {seed}: {slot:?}");
    }
}
