//! The cursor, driven by hand: claims, answers, evictions and numbers that do not fit.

use super::*;

fn at(offset: u64, item: u64) -> Position {
    Position { offset, item }
}

fn cursor() -> Cursor {
    Cursor::new(0, at(0, 0), Counts::default(), 1)
}

fn balanced(cursor: &Cursor) {
    assert_eq!(cursor.counts.sum(), cursor.settled.item - cursor.start_item);
}

/// Invariant 5: only the settled prefix moves the cursor.
#[test]
fn a_settled_frame_behind_an_open_one_does_not_move_the_cursor() {
    let mut cursor = cursor();
    assert!(cursor.claim(0, at(80, 10), 10, 1, 100));
    assert!(cursor.claim(80, at(160, 15), 5, 2, 100));
    assert_eq!(cursor.settle(80, 5, Outcome::Delivered), Settled::Ahead);
    assert_eq!(cursor.settled, at(0, 0));
    assert_eq!(cursor.settle(0, 10, Outcome::Rejected(Reason::new("no"))), Settled::Moved);
    assert_eq!(cursor.settled, at(160, 15));
    assert_eq!((cursor.counts.delivered, cursor.counts.rejected), (5, 10));
    balanced(&cursor);
}

/// Invariant 1 and 12: what was settled beyond a gap stays settled when the gap is evicted.
#[test]
fn eviction_books_only_what_was_not_settled() {
    let mut cursor = cursor();
    assert!(cursor.claim(0, at(80, 10), 10, 1, 100));
    assert!(cursor.claim(80, at(160, 15), 5, 2, 100));
    cursor.settle(80, 5, Outcome::Delivered);
    assert_eq!(cursor.evict_to(at(400, 40)), 35);
    assert_eq!(cursor.settled, at(400, 40));
    assert_eq!(cursor.counts.delivered, 5);
    assert_eq!(cursor.settle(0, 10, Outcome::Delivered), Settled::Late);
    assert_eq!(cursor.late_delivered, 10);
    assert_eq!(cursor.claimed, at(400, 40));
    balanced(&cursor);
}

/// Readers book what is missing before they claim; a cursor does not rely on it, down to a single item.
#[test]
fn missing_numbers_before_a_frame_are_damage() {
    for missing in [1, 20] {
        let mut cursor = cursor();
        assert!(cursor.claim(200, at(280, missing + 10), 10, 1, 100));
        assert_eq!(cursor.counts.damaged, missing);
        cursor.settle(200, 10, Outcome::Delivered);
        assert_eq!((cursor.counts.delivered, cursor.settled), (10, at(280, missing + 10)));
        balanced(&cursor);
    }
}

/// Invariants 1, 5, 12: whatever is claimed, passed over, settled, given back and evicted, with whatever gaps between: the
/// book balances, only claimed items are delivered or rejected, and everything up to the newest claim is in a column once
/// all claims are answered.
#[test]
fn any_history_of_one_cursor_books_every_item_once() {
    for seed in 0..2000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cursor = cursor();
        // Claims that are open: offset and items.
        let mut open: Vec<(u64, u32)> = Vec::new();
        let (mut delivered, mut late) = (0, 0);
        let mut end = at(0, 0);
        let mut places = Vec::new();
        for _ in 0..random.usize(1..40) {
            match random.u8(0..6) {
                0 | 1 => {
                    let (gap, items) = (random.u64(0..3), random.u32(0..5));
                    let offset = end.offset + gap * 8;
                    let next = at(offset + 80, end.item + gap + u64::from(items));
                    assert!(cursor.claim(offset, next, items, 1, 100), "seed {seed}");
                    assert!(!cursor.claim(offset, next, items, 1, 100), "seed {seed}: claimed twice");
                    open.push((offset, items));
                    end = next;
                    places.push(end);
                }
                2 => {
                    end = at(end.offset + 80, end.item + random.u64(0..4));
                    cursor.skip(end, 1, Tally::expired);
                    // A skip behind the newest claim says nothing new.
                    cursor.skip(at(end.offset - 8, end.item + 5), 1, Tally::damaged);
                }
                3 if !open.is_empty() => {
                    let (offset, items) = open.swap_remove(random.usize(..open.len()));
                    match cursor.settle(offset, items, Outcome::Delivered) {
                        Settled::Late => late += u64::from(items),
                        Settled::Moved | Settled::Ahead => delivered += u64::from(items),
                    }
                }
                4 if random.u8(0..4) == 0 => {
                    // A segment ends between two frames that were claimed, or beyond them.
                    let beyond = at(end.offset + 80, end.item + random.u64(0..9));
                    let ends = [vec![beyond], places.clone()].concat();
                    let to = ends[random.usize(..ends.len())];
                    let before = cursor.counts.evicted;
                    assert_eq!(cursor.evict_to(to), cursor.counts.evicted - before, "seed {seed}");
                    assert!(cursor.settled.offset >= to.offset, "seed {seed}");
                    end = if to == beyond { to } else { end };
                }
                _ => {}
            }
            balanced(&cursor);
            assert!(cursor.settled.offset <= cursor.claimed.offset, "seed {seed}");
            assert_eq!(cursor.late_delivered, late, "seed {seed}");
        }
        for (offset, items) in open {
            match cursor.settle(offset, items, Outcome::Delivered) {
                Settled::Late => {}
                Settled::Moved | Settled::Ahead => delivered += u64::from(items),
            }
        }
        balanced(&cursor);
        assert_eq!(cursor.counts.delivered, delivered, "seed {seed}");
        assert_eq!((cursor.settled, cursor.window_len(), cursor.open_items()), (end, 0, 0), "seed {seed}");
    }
}

#[test]
fn a_frame_before_the_newest_claim_is_not_claimed_again() {
    let mut cursor = cursor();
    assert!(cursor.claim(0, at(80, 10), 10, 1, 100));
    assert!(!cursor.claim(0, at(80, 10), 10, 1, 100));
}

#[test]
fn a_mixed_outcome_that_does_not_sum_is_made_to() {
    let short = Outcome::Mixed { delivered: 3, filtered: 1, rejected: Vec::new(), expired: 0, damaged: 0 };
    let tally = Tally::of(short, 10);
    assert_eq!((tally.delivered, tally.filtered, tally.rejected), (3, 1, 6));
    let long =
        Outcome::Mixed { delivered: 8, filtered: 8, rejected: vec![(Reason::new("bad"), 8)], expired: 8, damaged: 8 };
    let tally = Tally::of(long, 10);
    assert_eq!(tally.delivered + tally.filtered + tally.rejected + tally.expired, 10);
    assert_eq!(tally.reasons.iter().map(|(_, items)| items).sum::<u64>(), tally.rejected);
}

#[test]
fn skips_and_claims_at_one_offset_are_told_apart() {
    let mut cursor = cursor();
    assert!(cursor.claim(0, at(80, 10), 10, 1, 100));
    // Damage between 80 and 160 with items 10..12, then a frame at 160.
    cursor.skip(at(160, 12), 1, Tally::damaged);
    assert!(cursor.claim(160, at(240, 20), 8, 1, 100));
    assert_eq!(cursor.settle(160, 8, Outcome::Delivered), Settled::Ahead);
    assert_eq!(cursor.settle(0, 10, Outcome::Delivered), Settled::Moved);
    assert_eq!(cursor.settled, at(240, 20));
    assert_eq!(cursor.counts.damaged, 2);
    balanced(&cursor);
}

#[test]
fn reasons_are_bounded() {
    let mut counts = Counts::default();
    for number in 0..100 {
        counts.add(&Tally::rejected(1, Reason::restored(format!("r{number}"))));
    }
    assert!(counts.reasons.len() <= MAX_REASONS + 1);
    assert_eq!(counts.reasons.values().sum::<u64>(), 100);
}
