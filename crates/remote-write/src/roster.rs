//! Which line a stream's frames go to, and what waits for each line.
//!
//! It sends nothing and knows nothing of samples but their number. It keeps true: while frames of a stream are dealt and not
//! settled, they are all at one line, in the order they were dealt; a stream without such frames is at no line and takes no
//! memory. A stream that is free goes where requests get fullest: to the first line that is not sending and whose next
//! request is not full yet; if there is none, to the line with the least to do. So a small load leaves by one line in few
//! requests, and a backlog by all of them. What is too much for one request leaves as full ones, and the rest of it goes in
//! front of what comes next.

use std::{collections::VecDeque, fmt, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the file's head. One per destination.
pub(crate) struct Roster<T> {
    state: Mutex<State<T>>,
    /// One for each line.
    bells: Vec<Notify>,
}

struct State<T> {
    desks: Vec<Desk<T>>,
    bound: HashMap<u64, Bound>,
    dealers: usize,
    closed: bool,
    /// A dealer has a frame and no room for it: nothing comes until lines settle what they have.
    starved: bool,
    /// Samples in a full request.
    full: u64,
    /// Which part of the samples is sent at all; relabelling drops the others when a request is made.
    kept: f64,
}

/// A destination that keeps less than this part of its samples gets requests that are not full: what waits is memory.
const LEAST_KEPT: f64 = 0.02;
/// Weight of the newest request in `kept`.
const NEWEST: f64 = 0.2;

struct Desk<T> {
    inbox: VecDeque<Frame<T>>,
    /// Samples in the inbox.
    queued: u64,
    /// Samples that the line has and that were not in its last request.
    left: u64,
    /// Samples that the line took for the request it is sending.
    sending: Option<u64>,
    /// The last request was full before it had all its samples, so what is left is a request already.
    heavy: bool,
}

/// What a line that has something finds at its desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The next request is full, or nothing more can come for it.
    Enough,
    /// New frames, and room for more.
    Some,
}

struct Frame<T> {
    stream: u64,
    samples: u64,
    frame: T,
}

/// A stream's line, and how many of its frames are there.
struct Bound {
    line: usize,
    frames: u32,
}

/// A frame's part in holding its stream at its line; dropped when the frame is settled or given back.
pub(crate) struct Binding<T> {
    roster: Arc<Roster<T>>,
    stream: u64,
}

/// The right to deal. When the last one is gone, lines end after what they have.
pub(crate) struct Dealer<T>(Arc<Roster<T>>);

/// A line's place. When one is gone, nothing is dealt any more, since its streams could not go on.
pub(crate) struct Seat<T> {
    roster: Arc<Roster<T>>,
    line: usize,
}

impl<T> Desk<T> {
    fn collecting(&self) -> u64 {
        self.left + self.queued
    }

    fn to_do(&self) -> u64 {
        self.collecting() + self.sending.unwrap_or_default()
    }

    fn has_enough(&self, state: &State<T>) -> bool {
        state.closed || state.starved || self.heavy || self.collecting() >= state.enough()
    }
}

impl<T> Roster<T> {
    /// `lines` places and `dealers` rights to deal.
    pub(crate) fn open(lines: u32, dealers: usize, full: u64) -> (Vec<Dealer<T>>, Vec<Seat<T>>) {
        let desk = |_| Desk { inbox: VecDeque::new(), queued: 0, left: 0, sending: None, heavy: false };
        let state = State {
            desks: (0..lines.max(1)).map(desk).collect(),
            bound: HashMap::new(),
            dealers,
            closed: dealers == 0,
            starved: false,
            full: full.max(1),
            kept: 1.0,
        };
        let bells = (0..lines.max(1)).map(|_| Notify::new()).collect();
        let roster = Arc::new(Self { state: Mutex::new(state), bells });
        let seat = |line| Seat { roster: Arc::clone(&roster), line };
        let seats = (0..roster.bells.len()).map(seat).collect();
        ((0..dealers).map(|_| Dealer(Arc::clone(&roster))).collect(), seats)
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.bells.iter().for_each(Notify::notify_one);
    }
}

impl<T> State<T> {
    /// Samples, dropped ones included, that make a full request.
    fn enough(&self) -> u64 {
        if self.kept < 1.0 { (self.full as f64 / self.kept.max(LEAST_KEPT)) as u64 } else { self.full }
    }

    fn line_for(&self, stream: u64) -> usize {
        let enough = self.enough();
        if let Some(bound) = self.bound.get(&stream) {
            return bound.line;
        }
        let has_room = |desk: &Desk<T>| desk.sending.is_none() && desk.collecting() < enough;
        // What is left over somewhere would have to go alone.
        let takes_along = |desk: &Desk<T>| desk.left > 0 && has_room(desk);
        let least = || (0..self.desks.len()).min_by_key(|line| self.desks[*line].to_do()).unwrap_or_default();
        self.desks.iter().position(takes_along).or_else(|| self.desks.iter().position(has_room)).unwrap_or_else(least)
    }
}

impl<T> Dealer<T> {
    /// Gives a frame to its line. `false` (and the frame is dropped): a line has ended.
    pub(crate) fn deal(&self, stream: u64, samples: u64, frame: T) -> bool {
        let mut state = self.0.state.lock();
        if state.closed {
            drop(state);
            return false;
        }
        state.starved = false;
        let (line, enough) = (state.line_for(stream), state.enough());
        state.bound.entry(stream).or_insert(Bound { line, frames: 0 }).frames += 1;
        let desk = &mut state.desks[line];
        let (first, before) = (desk.inbox.is_empty(), desk.collecting());
        desk.inbox.push_back(Frame { stream, samples, frame });
        desk.queued += samples;
        // A line that lingers sleeps until its time or until it has enough: not once for each frame.
        let wake = desk.sending.is_none() && (first || (before < enough && desk.collecting() >= enough));
        drop(state);
        if wake {
            self.0.bells[line].notify_one();
        }
        true
    }

    /// Says that the next frame has to wait until others are settled, so that no line waits for it.
    pub(crate) fn starve(&self) {
        self.0.state.lock().starved = true;
        self.0.bells.iter().for_each(Notify::notify_one);
    }
}

impl<T> Seat<T> {
    /// Waits for a frame. `false`: there is none and none will come. Cancel-safe.
    pub(crate) async fn some(&self) -> bool {
        self.until(|desk, state| match (desk.inbox.is_empty(), state.closed) {
            (false, _) => Some(true),
            (true, true) => Some(false),
            (true, false) => None,
        })
        .await
    }

    /// Waits until the next request is full, or no more can come. Cancel-safe.
    pub(crate) async fn full(&self) {
        self.until(|desk, state| desk.has_enough(state).then_some(())).await;
    }

    /// For a line that has something left: waits for more. Cancel-safe.
    pub(crate) async fn more(&self) -> Found {
        self.until(|desk, state| match (desk.has_enough(state), desk.inbox.is_empty()) {
            (true, _) => Some(Found::Enough),
            (false, false) => Some(Found::Some),
            (false, true) => None,
        })
        .await
    }

    async fn until<R>(&self, ready: impl Fn(&Desk<T>, &State<T>) -> Option<R>) -> R {
        loop {
            {
                let state = self.roster.state.lock();
                if let Some(result) = ready(&state.desks[self.line], &state) {
                    return result;
                }
            }
            // Whoever changes the desk after this look leaves a note at the bell.
            self.roster.bells[self.line].notified().await;
        }
    }

    /// Takes what goes into the next request, in order. Whole frames, so it may be more than fits. From now until `sent`, free
    /// streams go to other lines.
    pub(crate) fn take(&self) -> Vec<(T, Binding<T>)> {
        let mut state = self.roster.state.lock();
        let enough = state.enough();
        let desk = &mut state.desks[self.line];
        let mut have = desk.left;
        let mut frames = Vec::new();
        while have < enough
            && let Some(Frame { stream, samples, frame }) = desk.inbox.pop_front()
        {
            have += samples;
            desk.queued -= samples;
            frames.push((frame, Binding { roster: Arc::clone(&self.roster), stream }));
        }
        desk.left = 0;
        desk.sending = Some(have);
        frames
    }

    /// The request has come to its end: it held `kept` samples, and `left` of what was taken are still to come.
    pub(crate) fn sent(&self, kept: u64, left: u64) {
        let mut state = self.roster.state.lock();
        let full = state.full;
        let desk = &mut state.desks[self.line];
        let through = desk.sending.take().unwrap_or_default().saturating_sub(left);
        desk.left = left;
        desk.heavy = left > 0 && kept < full;
        if through > 0 {
            let newest = kept.min(through) as f64 / through as f64;
            state.kept += (newest - state.kept) * NEWEST;
        }
    }

    /// Nothing has come for a while: gives memory back.
    pub(crate) fn shrink(&self) {
        self.roster.state.lock().desks[self.line].inbox.shrink_to_fit();
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        self.roster.close();
    }
}

impl<T> Drop for Dealer<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.dealers -= 1;
        let last = state.dealers == 0;
        drop(state);
        if last {
            self.0.close();
        }
    }
}

impl<T> Drop for Binding<T> {
    fn drop(&mut self) {
        let mut state = self.roster.state.lock();
        if let Some(bound) = state.bound.get_mut(&self.stream) {
            bound.frames -= 1;
            if bound.frames == 0 {
                state.bound.remove(&self.stream);
            }
        }
    }
}

impl<T> fmt::Debug for Binding<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", self.stream)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    type Number = u32;

    fn open(lines: u32, full: u64) -> (Dealer<Number>, Vec<Seat<Number>>) {
        let (mut dealers, seats) = Roster::open(lines, 1, full);
        (dealers.pop().unwrap(), seats)
    }

    fn inboxes(seats: &[Seat<Number>]) -> Vec<Vec<Number>> {
        let state = seats[0].roster.state.lock();
        state.desks.iter().map(|desk| desk.inbox.iter().map(|frame| frame.frame).collect()).collect()
    }

    #[test]
    fn a_small_load_gathers_at_the_first_line() {
        let (dealer, seats) = open(4, 100);
        for number in 0..5 {
            assert!(dealer.deal(u64::from(number), 20, number));
        }
        assert_eq!(inboxes(&seats), [vec![0, 1, 2, 3, 4], vec![], vec![], vec![]]);
        let taken = seats[0].take();
        assert_eq!(taken.len(), 5);
        dealer.deal(9, 20, 9);
        assert_eq!(inboxes(&seats), [vec![], vec![9], vec![], vec![]], "the first line is sending");
        drop(taken);
        seats[0].sent(100, 0);
        dealer.deal(10, 20, 10);
        assert_eq!(inboxes(&seats), [vec![10], vec![9], vec![], vec![]], "and then it is free again");
    }

    #[test]
    fn a_backlog_goes_to_all_lines_and_then_to_the_one_with_the_least_to_do() {
        let (dealer, seats) = open(2, 100);
        for number in 0..6 {
            dealer.deal(u64::from(number), 50, number);
        }
        assert_eq!(inboxes(&seats), [vec![0, 1, 4], vec![2, 3, 5]]);
        let _sending = seats[0].take();
        dealer.deal(7, 1, 7);
        dealer.deal(8, 1, 8);
        assert_eq!(inboxes(&seats), [vec![4, 7], vec![2, 3, 5, 8]], "what is being sent is still to do");
    }

    #[test]
    fn a_stream_stays_where_its_frames_are_until_they_are_settled() {
        let (dealer, seats) = open(2, 100);
        dealer.deal(1, 100, 0);
        let first = seats[0].take();
        dealer.deal(1, 100, 1);
        dealer.deal(2, 10, 2);
        assert_eq!(inboxes(&seats), [vec![1], vec![2]]);
        drop(first);
        seats[0].sent(100, 0);
        let second = seats[0].take();
        assert_eq!(second[0].0, 1);
        drop(second);
        assert!(!seats[0].roster.state.lock().bound.contains_key(&1), "nothing is remembered of it");
        dealer.deal(1, 10, 3);
        assert_eq!(
            inboxes(&seats),
            [vec![], vec![2, 3]],
            "it is free, and the first line has not said that it is done"
        );
    }

    #[test]
    fn what_is_too_much_for_a_request_leaves_as_full_ones_and_the_rest_goes_before_what_comes_next() {
        let (dealer, seats) = open(2, 100);
        dealer.deal(1, 130, 0);
        dealer.deal(2, 20, 1);
        assert_eq!(inboxes(&seats), [vec![0], vec![1]], "a full request takes no more");
        assert!(seats[0].full().now_or_never().is_some());
        assert_eq!(seats[0].take().len(), 1);
        seats[0].sent(100, 30);
        assert!(seats[0].more().now_or_never().is_none(), "30 are left, and more may come");
        for number in 2..5 {
            dealer.deal(10 + number, 40, number as Number);
        }
        assert_eq!(inboxes(&seats), [vec![2, 3], vec![1, 4]], "30 and 80 are full again");
        assert_eq!(seats[1].take().len(), 2);
        seats[1].sent(50, 10);
        dealer.deal(15, 40, 5);
        assert_eq!(inboxes(&seats), [vec![2, 3], vec![5]], "what is left over goes with it");
        drop(seats[1].take());
        seats[1].sent(50, 0);
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Enough));
        assert_eq!(seats[0].take().len(), 2);
        seats[0].sent(100, 10);
        dealer.deal(9, 20, 9);
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Some));
    }

    #[test]
    fn nobody_waits_for_what_cannot_come() {
        let (dealer, seats) = open(1, 100);
        dealer.deal(1, 130, 0);
        drop(seats[0].take());
        seats[0].sent(50, 80);
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Enough), "bytes, not samples, made the request full");
        seats[0].take();
        seats[0].sent(70, 10);
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Enough), "and again");
        seats[0].take();
        seats[0].sent(10, 0);
        dealer.deal(1, 130, 1);
        drop(seats[0].take());
        seats[0].sent(100, 30);
        assert!(seats[0].more().now_or_never().is_none());
        dealer.starve();
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Enough), "the next frame waits for this one's end");
        dealer.deal(1, 10, 2);
        assert_eq!(seats[0].more().now_or_never(), Some(Found::Some));
    }

    #[test]
    fn where_most_samples_are_dropped_a_full_request_takes_more_frames() {
        let (dealer, seats) = open(1, 100);
        for number in 0..40 {
            dealer.deal(number, 100, number as Number);
            drop(seats[0].take());
            seats[0].sent(25, 0);
        }
        for number in 0..3 {
            dealer.deal(number, 100, number as Number);
        }
        assert!(seats[0].full().now_or_never().is_none(), "three frames make 75 samples");
        dealer.deal(3, 110, 3);
        assert!(seats[0].full().now_or_never().is_some());
        assert_eq!(seats[0].take().len(), 4);
        for _ in 0..40 {
            dealer.deal(1, 100, 0);
            drop(seats[0].take());
            seats[0].sent(0, 0);
        }
        for number in 0..49 {
            dealer.deal(1, 100, number);
        }
        assert!(seats[0].full().now_or_never().is_none());
        dealer.deal(1, 110, 0);
        assert!(seats[0].full().now_or_never().is_some(), "there is an end to it");
    }

    #[test]
    fn lines_sleep_until_there_is_something_and_until_it_is_enough() {
        let (dealer, seats) = open(2, 100);
        assert!(seats[0].some().now_or_never().is_none());
        dealer.deal(1, 60, 0);
        assert_eq!(seats[0].some().now_or_never(), Some(true));
        assert!(seats[0].full().now_or_never().is_none() && seats[1].some().now_or_never().is_none());
        dealer.deal(1, 60, 1);
        assert!(seats[0].full().now_or_never().is_some());
        drop(dealer);
        assert_eq!(seats[0].some().now_or_never(), Some(true), "what is there is sent");
        assert_eq!(seats[1].some().now_or_never(), Some(false));
    }

    #[test]
    fn nothing_is_dealt_after_a_line_has_ended() {
        let (dealer, mut seats) = open(2, 100);
        drop(seats.pop());
        assert!(!dealer.deal(1, 1, 1));
        assert_eq!(seats[0].some().now_or_never(), Some(false));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deal { stream: u64, samples: u64 },
        Take(usize),
        Settle { line: usize, frames: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u64..6, 0u64..150).prop_map(|(stream, samples)| Step::Deal { stream, samples }),
            2 => (0usize..3).prop_map(Step::Take),
            2 => (0usize..3, 0usize..4).prop_map(|(line, frames)| Step::Settle { line, frames }),
        ]
    }

    proptest! {
        /// Whatever lines do and when: every frame is taken once, a stream's frames are settled in their order, unsettled
        /// ones are all at one line, and nothing is remembered of streams that are through.
        #[test]
        fn streams_keep_their_order_over_all_lines(steps in prop::collection::vec(step(), 0..200)) {
            let (dealer, seats) = open(3, 100);
            let mut dealt: BTreeMap<u64, Vec<Number>> = BTreeMap::new();
            let mut settled: BTreeMap<u64, Vec<Number>> = BTreeMap::new();
            let mut hands: Vec<VecDeque<(Number, Binding<Number>)>> = (0..3).map(|_| VecDeque::new()).collect();
            let mut sending = [false; 3];
            let settle = |line: usize, frames: usize, hands: &mut Vec<VecDeque<(Number, Binding<Number>)>>,
                              settled: &mut BTreeMap<u64, Vec<Number>>| {
                for _ in 0..frames {
                    let Some((number, binding)) = hands[line].pop_front() else { break };
                    settled.entry(binding.stream).or_default().push(number);
                }
                seats[line].sent(0, 0);
            };
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Deal { stream, samples } => {
                        prop_assert!(dealer.deal(stream, samples, number));
                        dealt.entry(stream).or_default().push(number);
                    }
                    Step::Take(line) if !sending[line] => {
                        sending[line] = true;
                        hands[line].extend(seats[line].take());
                    }
                    Step::Take(_) => {}
                    Step::Settle { line, frames } => {
                        settle(line, frames, &mut hands, &mut settled);
                        sending[line] = false;
                    }
                }
                let state = seats[0].roster.state.lock();
                let mut lines: BTreeMap<u64, (Vec<usize>, u32)> = BTreeMap::new();
                for (line, (desk, hand)) in state.desks.iter().zip(&hands).enumerate() {
                    prop_assert_eq!(desk.queued, desk.inbox.iter().map(|frame| frame.samples).sum::<u64>());
                    let streams = hand.iter().map(|(_, b)| b.stream).chain(desk.inbox.iter().map(|f| f.stream));
                    for stream in streams {
                        let entry = lines.entry(stream).or_default();
                        entry.0.push(line);
                        entry.1 += 1;
                    }
                }
                prop_assert_eq!(state.bound.len(), lines.len());
                for (stream, (at, frames)) in lines {
                    let bound = &state.bound[&stream];
                    prop_assert!(at.iter().all(|line| *line == bound.line), "{} is at {:?}", stream, at);
                    prop_assert_eq!(bound.frames, frames);
                }
            }
            for line in 0..3 {
                while !hands[line].is_empty() || !inboxes(&seats)[line].is_empty() {
                    hands[line].extend(seats[line].take());
                    settle(line, usize::MAX, &mut hands, &mut settled);
                }
            }
            prop_assert_eq!(settled, dealt);
            prop_assert!(seats[0].roster.state.lock().bound.is_empty());
        }
    }
}
