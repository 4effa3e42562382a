//! How many of a destination's shards may send at once, and when a held destination is probed.
//!
//! It decides and waits; it sends nothing. It keeps true: at most `window` attempts are under way; while held, one at a
//! time and only at probe times. The window halves on overload and grows by one per window of successes (AIMD), so the far
//! side is not met by the whole backlog the moment it comes back.
//!
//! Where a destination has several addresses (tenants, log groups, prefixes), one whose last answer was not good is *set
//! aside* as long as the far end takes data for another: it has few places of its own and takes none of the window, and a
//! refusal holds it alone. When nobody is served, all of that is the destination's trouble again. All refused addresses
//! together are probed no more often than one held destination is at first.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Shared by the shards of one destination.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    most: f64,
    refused: Probes,
    unready: Probes,
}

/// A held destination is tried again after `min`, doubling to `max`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probes {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

/// Why a destination is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The far end refuses us as we are.
    Refused,
    /// We cannot even ask: no credentials, say. The next try costs the far end nothing.
    Unready,
}

#[derive(Debug)]
struct State {
    window: f64,
    active: u32,
    held: Option<Held>,
    /// Addresses whose last answer was good, and when it came, the newest last.
    good: VecDeque<(u64, Instant)>,
    /// Addresses that were served and not refused since, however long ago.
    served: VecDeque<u64>,
    /// Addresses whose last answer was not.
    troubled: HashMap<u64, Trouble>,
    /// Addresses that came into trouble since the last good answer.
    strikes: usize,
    /// Attempts for addresses that are set aside.
    aside: u32,
    /// Before this no refused address is probed.
    next_aside: Option<Instant>,
    /// Who waits for a turn: ticket and address, in the order in which they came.
    waiting: VecDeque<(u64, u64)>,
    tickets: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    /// It was refused, and is not tried again before this.
    next: Option<Instant>,
    failures: u32,
}

/// Good addresses remembered.
const GOOD: usize = 8;
/// Addresses remembered that were served at some time.
const SERVED: usize = 64;
/// What was good longer ago says nothing of now.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// So many addresses in trouble one after the other, and no good answer between them: it is not the addresses.
const STRIKES: usize = 8;
/// Addresses in trouble remembered.
const TROUBLED: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Held {
    cause: Cause,
    next: Instant,
    failures: u32,
    /// A probe is under way. Other attempts that fail now began before the destination was held.
    probing: bool,
}

/// The right to make one attempt; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Permit {
    pace: Pace,
    aside: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.pace.0.state.lock();
        if self.aside {
            state.aside -= 1;
        } else {
            state.active -= 1;
        }
        drop(state);
        self.pace.0.changed.notify_waiters();
    }
}

/// A place among those who wait.
struct Ticket<'p> {
    pace: &'p Pace,
    number: u64,
    address: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.pace.0.state.lock().waiting.retain(|(number, _)| *number != self.number);
        self.pace.0.changed.notify_waiters();
    }
}

/// What an attempt may do.
enum Turn {
    Now {
        aside: bool,
    },
    At(Instant),
    /// When something changes.
    Later,
}

impl State {
    fn turn(&mut self, ticket: &Ticket<'_>, now: Instant, most: f64) -> Turn {
        let own = self.troubled.get(&ticket.address).and_then(|trouble| trouble.next);
        let refused = own.is_some();
        if let Some(held) = self.held {
            let at = own.map_or(held.next, |own| own.max(held.next));
            return match self.active + self.aside {
                0 if at > now => Turn::At(at),
                0 if self.is_first(ticket, now, false) => {
                    self.active += 1;
                    self.held = Some(Held { probing: true, ..held });
                    Turn::Now { aside: false }
                }
                _ => Turn::Later,
            };
        }
        let aside = self.is_aside(ticket.address);
        let at = if aside && refused { own.max(self.next_aside) } else { own };
        if let Some(at) = at.filter(|at| *at > now) {
            return Turn::At(at);
        }
        if aside {
            let room = f64::from(self.aside) + 1.0 <= (most / 4.0).max(1.0);
            if !room || (refused && !self.is_first(ticket, now, true)) {
                return Turn::Later;
            }
            self.aside += 1;
            return Turn::Now { aside };
        }
        if f64::from(self.active) + 1.0 > self.window {
            return Turn::Later;
        }
        self.active += 1;
        Turn::Now { aside }
    }

    /// Whether the next probe is for this one: addresses that were served before go first, then those that were not in
    /// trouble, then who came first.
    fn is_first(&self, ticket: &Ticket<'_>, now: Instant, refused_only: bool) -> bool {
        let rank = |&(number, address): &(u64, u64)| match self.troubled.get(&address) {
            None if refused_only => None,
            None if self.served.contains(&address) => Some((0, number)),
            None => Some((1, number)),
            Some(Trouble { next: None, .. }) if refused_only => None,
            Some(trouble) if trouble.next.is_some_and(|next| next > now) => None,
            Some(_) => Some((2, number)),
        };
        self.waiting.iter().filter_map(rank).min().is_none_or(|(_, number)| number == ticket.number)
    }

    fn is_aside(&self, address: u64) -> bool {
        !self.good.is_empty() && self.troubled.contains_key(&address)
    }

    /// Notes that an answer was not good. True if that before was not either.
    fn trouble(&mut self, address: u64) -> bool {
        self.good.retain(|(good, at)| *good != address && at.elapsed() < GOOD_FOR);
        self.served.retain(|served| *served != address);
        if self.troubled.contains_key(&address) {
            return true;
        }
        if self.troubled.len() >= TROUBLED {
            self.troubled.clear();
        }
        self.troubled.insert(address, Trouble::default());
        self.strikes += 1;
        if self.strikes >= STRIKES {
            self.good.clear();
        }
        false
    }
}

impl Pace {
    /// `most` attempts at once; how often a held destination is probed depends on the cause.
    pub(crate) fn new(most: u32, refused: Probes, unready: Probes) -> Self {
        let most = f64::from(most.max(1));
        let state = State {
            window: most,
            active: 0,
            held: None,
            good: VecDeque::new(),
            served: VecDeque::new(),
            troubled: HashMap::new(),
            strikes: 0,
            aside: 0,
            next_aside: None,
            waiting: VecDeque::new(),
            tickets: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), most, refused, unready }))
    }

    /// Waits for a place. Cancel-safe.
    pub(crate) async fn acquire(&self) -> Permit {
        self.acquire_for(0).await
    }

    /// The same for one of several addresses.
    pub(crate) async fn acquire_for(&self, address: u64) -> Permit {
        let ticket = self.ticket(address);
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let turn = self.0.state.lock().turn(&ticket, Instant::now(), self.0.most);
            match turn {
                Turn::Now { aside } => return Permit { pace: self.clone(), aside },
                Turn::At(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                Turn::Later => changed.await,
            }
        }
    }

    fn ticket(&self, address: u64) -> Ticket<'_> {
        let mut state = self.0.state.lock();
        let number = state.tickets;
        state.tickets += 1;
        state.waiting.push_back((number, address));
        Ticket { pace: self, number, address }
    }

    /// The far end took data: no longer held, and room for a little more.
    pub(crate) fn eased(&self) {
        self.eased_for(0);
    }

    /// The same for one of several addresses, which is no longer in trouble.
    pub(crate) fn eased_for(&self, address: u64) {
        let mut state = self.0.state.lock();
        let was_held = state.held.take().is_some();
        let was_troubled = state.troubled.remove(&address).is_some();
        state.strikes = 0;
        state.good.retain(|(good, _)| *good != address);
        state.good.push_back((address, Instant::now()));
        if state.good.len() > GOOD {
            state.good.pop_front();
        }
        if !state.served.contains(&address) {
            state.served.push_back(address);
            if state.served.len() > SERVED {
                state.served.pop_front();
            }
        }
        state.window = (state.window + 1.0 / state.window).min(self.0.most);
        drop(state);
        if was_held || was_troubled {
            self.0.changed.notify_waiters();
        }
    }

    /// The far end is overloaded or does not answer.
    pub(crate) fn pressed(&self) {
        let mut state = self.0.state.lock();
        state.window = (state.window / 2.0).max(1.0);
    }

    /// An attempt failed on its way. Nothing changes, but that a probe of a held destination has been used up.
    pub(crate) fn missed(&self) {
        self.missed_for(0, false);
    }

    /// The same for one of several addresses; `pressure`: the far end is overloaded, if it is so for everyone.
    pub(crate) fn missed_for(&self, address: u64, pressure: bool) {
        let mut state = self.0.state.lock();
        state.trouble(address);
        let (held, aside) = (state.held, state.is_aside(address));
        let refused = state.troubled.get(&address).is_some_and(|trouble| trouble.next.is_some());
        if pressure && !aside {
            state.window = (state.window / 2.0).max(1.0);
        }
        drop(state);
        match held {
            Some(held) => drop(self.hold_for(address, held.cause)),
            None if refused && aside => drop(self.hold_for(address, Cause::Refused)),
            None => {}
        }
    }

    /// No attempt can succeed for now. Returns when the next one is made.
    pub(crate) fn hold(&self, cause: Cause) -> Duration {
        self.hold_for(0, cause)
    }

    /// The same for one of several addresses: it is held alone if others are served.
    pub(crate) fn hold_for(&self, address: u64, cause: Cause) -> Duration {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let again = state.trouble(address);
        if cause == Cause::Refused && state.is_aside(address) {
            state.held = None;
            state.next_aside = Some(now + self.0.refused.min);
            let trouble = state.troubled.entry(address).or_default();
            let wait = self.0.refused.wait(trouble.failures);
            *trouble = Trouble { next: Some(now + wait), failures: trouble.failures.saturating_add(1) };
            return wait;
        }
        // Several attempts were under way when the first of them was refused: that is one refusal.
        if let Some(held) = state.held.filter(|held| held.cause == cause && !held.probing) {
            return held.next.saturating_duration_since(now);
        }
        let failures = state.held.filter(|held| held.cause == cause).map_or(0, |held| held.failures);
        let probes = match cause {
            Cause::Refused => self.0.refused,
            Cause::Unready => self.0.unready,
        };
        // An address that was not tried before may be one that is taken: it does not make the next probe later.
        let failures = if again { failures } else { failures.min(1) };
        let wait = probes.wait(failures);
        let failures = failures.saturating_add(1);
        state.held = Some(Held { cause, next: now + wait, failures, probing: false });
        state.window = 1.0;
        wait
    }

    /// Whether others are served and this one is not.
    pub(crate) fn is_aside(&self, address: u64) -> bool {
        self.0.state.lock().is_aside(address)
    }

    /// Shards that may send at once.
    pub(crate) fn window(&self) -> u32 {
        self.0.state.lock().window as u32
    }
}

impl Probes {
    /// Until the next probe after so many that failed. Between half and all of it: probes of many agents spread out, yet none
    /// comes early.
    fn wait(&self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn pace() -> Pace {
        of(4, Duration::from_secs(5), Duration::from_secs(60))
    }

    fn of(most: u32, min: Duration, max: Duration) -> Pace {
        let unready = Probes { min: Duration::from_secs(1), max: Duration::from_secs(30) };
        Pace::new(most, Probes { min, max }, unready)
    }

    /// As if the time of the next probe had come.
    fn probe(pace: &Pace) -> Permit {
        pace.0.state.lock().held.as_mut().unwrap().next = Instant::now();
        free(pace).unwrap()
    }

    fn free(pace: &Pace) -> Option<Permit> {
        pace.acquire().now_or_never()
    }

    #[tokio::test]
    async fn overload_halves_the_window_and_successes_restore_it() {
        let pace = pace();
        assert_eq!(pace.window(), 4);
        pace.pressed();
        assert_eq!(pace.window(), 2);
        for _ in 0..10 {
            pace.pressed();
        }
        assert_eq!(pace.window(), 1);
        let one = free(&pace);
        assert!(one.is_some() && free(&pace).is_none(), "the window is one");
        drop(one);
        for _ in 0..20 {
            pace.eased();
        }
        assert_eq!(pace.window(), 4);
        let all: Vec<_> = (0..4).map(|_| free(&pace).unwrap()).collect();
        assert!(free(&pace).is_none());
        drop(all);
    }

    #[tokio::test]
    async fn a_held_destination_is_asked_ever_more_slowly_until_it_takes_data() {
        let pace = pace();
        for round in 0..8 {
            let wait = pace.hold(Cause::Refused);
            let most = Duration::from_secs(5).saturating_mul(1 << round).min(Duration::from_secs(60));
            assert!(wait <= most && wait >= most / 2, "{round}: {wait:?}");
            assert!(free(&pace).is_none());
            drop(probe(&pace));
        }
        pace.eased();
        assert!(free(&pace).is_some(), "one success opens it again");
    }

    #[tokio::test]
    async fn a_destination_that_cannot_be_asked_is_tried_again_soon() {
        let pace = pace();
        for round in 0..8 {
            let wait = pace.hold(Cause::Unready);
            let most = Duration::from_secs(1).saturating_mul(1 << round).min(Duration::from_secs(30));
            assert!(wait <= most && wait >= most / 2, "{round}: {wait:?}");
            drop(probe(&pace));
        }
        let wait = pace.hold(Cause::Refused);
        assert!(wait <= Duration::from_secs(5), "the first refusal: {wait:?}");
    }

    #[tokio::test]
    async fn attempts_that_were_under_way_together_are_one_refusal() {
        let pace = pace();
        let all: Vec<_> = (0..4).map(|_| free(&pace).unwrap()).collect();
        for _ in &all {
            assert!(pace.hold(Cause::Unready) <= Duration::from_secs(1));
        }
        drop(all);
        let probe = probe(&pace);
        assert!(pace.hold(Cause::Unready) > Duration::from_millis(900), "the probe is the second");
        drop(probe);
    }

    #[tokio::test]
    async fn a_probe_is_one_attempt_alone() {
        let pace = of(4, Duration::from_millis(1), Duration::from_millis(1));
        pace.hold(Cause::Refused);
        let probe = pace.acquire().await;
        assert!(free(&pace).is_none(), "the others wait for the probe's end");
        drop(probe);
        drop(pace.acquire().await);
    }

    #[tokio::test]
    async fn a_probe_that_fails_on_its_way_is_a_probe_used_up() {
        let pace = pace();
        pace.missed();
        assert!(free(&pace).is_some(), "it was not held");
        pace.hold(Cause::Refused);
        let probe = probe(&pace);
        pace.missed();
        drop(probe);
        assert!(free(&pace).is_none());
    }

    #[tokio::test]
    async fn a_place_given_back_wakes_who_waits() {
        let pace = of(1, Duration::from_secs(5), Duration::from_secs(60));
        let first = pace.acquire().await;
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { drop(pace.acquire().await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
    }

    fn free_for(pace: &Pace, address: u64) -> Option<Permit> {
        pace.acquire_for(address).now_or_never()
    }

    /// Address 1 is served.
    fn serving() -> Pace {
        let pace = pace();
        pace.eased_for(1);
        pace
    }

    #[tokio::test]
    async fn an_address_that_is_refused_is_held_alone_while_another_is_served() {
        let pace = serving();
        pace.hold_for(2, Cause::Refused);
        assert!(pace.is_aside(2) && !pace.is_aside(1));
        assert!(free_for(&pace, 2).is_none(), "it waits");
        let all: Vec<_> = (0..4).map(|_| free_for(&pace, 1).unwrap()).collect();
        assert!(free_for(&pace, 1).is_none(), "and takes no place, and lends none");
        drop(all);
        pace.eased_for(2);
        assert!(free_for(&pace, 2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_addresses_are_probed_no_more_often_together_than_one() {
        let pace = serving();
        let most = Duration::from_secs(60);
        let tasks: Vec<_> = (10..60)
            .map(|address| {
                let pace = pace.clone();
                pace.hold_for(address, Cause::Refused);
                pace.eased_for(1);
                tokio::spawn(async move {
                    let mut probes = 0;
                    loop {
                        let permit = pace.acquire_for(address).await;
                        probes += 1;
                        pace.hold_for(address, Cause::Refused);
                        drop(permit);
                        if probes == 2 {
                            return;
                        }
                    }
                })
            })
            .collect();
        let served = tokio::spawn({
            let pace = pace.clone();
            async move {
                loop {
                    pace.eased_for(1);
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            }
        });
        let began = Instant::now();
        for task in tasks {
            task.await.unwrap();
        }
        served.abort();
        let probes = 50 * 2;
        assert!(began.elapsed() >= Duration::from_secs(5) * (probes - 1), "{:?}", began.elapsed());
        assert!(began.elapsed() <= Duration::from_secs(5) * probes + most, "each has its turn: {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_refuses_everybody_holds_the_destination() {
        let pace = serving();
        pace.hold_for(1, Cause::Refused);
        assert!(!pace.is_aside(1), "nobody else is served");
        assert!(free_for(&pace, 1).is_none() && free_for(&pace, 2).is_none());
        let pace = serving();
        for address in 2..2 + STRIKES as u64 {
            assert!(free_for(&pace, 1).is_some());
            pace.hold_for(address, Cause::Refused);
        }
        assert!(free_for(&pace, 1).is_none(), "so many at once is no matter of addresses");
        let pace = serving();
        pace.hold_for(2, Cause::Unready);
        assert!(free_for(&pace, 1).is_none(), "nobody can be asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_served_long_ago_is_no_sign_that_others_are() {
        let pace = serving();
        tokio::time::advance(GOOD_FOR).await;
        pace.hold_for(2, Cause::Refused);
        assert!(!pace.is_aside(2) && free_for(&pace, 1).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_probe_of_a_held_destination_is_for_who_was_not_refused() {
        let pace = pace();
        pace.hold_for(2, Cause::Refused);
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = [2, 2, 1, 2]
            .map(|address| {
                let (pace, order) = (pace.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    let permit = pace.acquire_for(address).await;
                    order.lock().push(address);
                    pace.eased_for(address);
                    drop(permit);
                })
            })
            .into();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.lock()[0], 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_served_is_probed_before_new_addresses_and_ends_the_hold() {
        let pace = serving();
        for address in 2..2 + STRIKES as u64 {
            pace.hold_for(address, Cause::Refused);
        }
        assert!(pace.0.state.lock().held.is_some(), "too many at once");
        let order = Arc::new(Mutex::new(Vec::new()));
        // New ones came first.
        let tasks: Vec<_> = [100, 101, 1]
            .map(|address| {
                let (pace, order) = (pace.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    let permit = pace.acquire_for(address).await;
                    order.lock().push(address);
                    pace.eased_for(address);
                    drop(permit);
                })
            })
            .into();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.lock()[0], 1);
        assert!(pace.is_aside(2), "those that are refused wait alone again");
    }

    #[tokio::test]
    async fn an_address_that_is_throttled_takes_no_places_from_others() {
        let pace = of(8, Duration::from_secs(5), Duration::from_secs(60));
        pace.eased_for(1);
        for _ in 0..10 {
            pace.missed_for(2, true);
        }
        assert_eq!(pace.window(), 8);
        let aside: Vec<_> = (0..2).map(|_| free_for(&pace, 2).unwrap()).collect();
        assert!(free_for(&pace, 2).is_none());
        let all: Vec<_> = (0..8).map(|_| free_for(&pace, 1).unwrap()).collect();
        drop((aside, all));
        pace.missed_for(1, true);
        assert_eq!(pace.window(), 4, "nobody is served: the far end is overloaded");
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_the_probe_to_the_next() {
        let pace = of(4, Duration::from_millis(1), Duration::from_millis(1));
        pace.hold_for(2, Cause::Refused);
        let first = pace.ticket(2);
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { drop(pace.acquire_for(2).await) }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
