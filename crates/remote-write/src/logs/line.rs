//! One sequence of claims of lines on its way out: a shard of a log destination, or a lane of a bucket.
//!
//! It says which part of which group is sent when. It does not read the queue and sends nothing itself. It keeps true: parts
//! of one address follow each other, over groups too; those of different addresses do not wait for each other, nor does the
//! next group wait for an address that has to be tried again; a lot is settled when all its lines came to an end.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Weak},
    task::Poll,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hashbrown::HashMap;
use pipeline::AgeClock;
use tokio_util::sync::CancellationToken;

use super::{
    group::{Group, Part, Waits},
    head::{Address, Heads},
    lot::LogLot,
    metrics::LogCells,
    sheaf::has_other,
    wire::Wire,
};
use crate::{
    DestinationConfig, DestinationStatus, Tuning, courier::Post, line::Stopped, metrics::DestinationMetrics, pace::Pace,
};

/// What the lines of one destination share.
#[derive(Debug)]
pub(crate) struct Road {
    pub(crate) config: Arc<DestinationConfig>,
    pub(crate) tuning: Tuning,
    pub(crate) post: Post,
    pub(crate) wire: Wire,
    pub(crate) heads: Heads,
    pub(crate) pace: Pace,
    pub(crate) status: DestinationStatus,
    pub(crate) metrics: DestinationMetrics,
    pub(crate) cells: LogCells,
    /// Tells what is too old to be sent.
    pub(crate) clock: AgeClock,
    /// No new request after this.
    pub(crate) stop: CancellationToken,
}

/// A part that was under way, by its address.
type Ended = (Arc<Address>, Result<(), Stopped>);

/// See the file's head.
pub(crate) struct LogLine {
    road: Arc<Road>,
    number: u32,
    /// Of no group yet.
    lots: Vec<LogLot>,
    /// One for each address at most.
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    waits: HashMap<Arc<Address>, Waits>,
    /// Behind what is under way to the same address.
    behind: HashMap<Arc<Address>, VecDeque<Part>>,
    /// For lack of places.
    ready: VecDeque<Part>,
    /// Groups with their frames and bytes, the oldest of them not settled.
    departed: VecDeque<(Weak<Group>, usize, u64)>,
    /// Parts that ended.
    ended: u64,
    stopped: bool,
}

/// Addresses of one line that are sent to at once, beside those that wait to be tried again.
pub(crate) const ADDRESSES: u32 = 8;

impl LogLine {
    pub(crate) fn new(road: Arc<Road>, number: u32) -> Self {
        Self {
            road,
            number,
            lots: Vec::new(),
            under_way: FuturesUnordered::new(),
            waits: HashMap::new(),
            behind: HashMap::new(),
            ready: VecDeque::new(),
            departed: VecDeque::new(),
            ended: 0,
            stopped: false,
        }
    }

    pub(crate) fn push(&mut self, lot: LogLot) {
        self.lots.push(lot);
    }

    /// Sends what was pushed, in one group. Comes back when all came to an end, or when the rest waits for addresses that have to
    /// be tried again.
    pub(crate) async fn send(&mut self) -> Result<(), Stopped> {
        self.depart();
        self.drive(|line| line.waiting() == line.under_way.len()).await
    }

    /// The same in groups of about `most` bytes. What all goes to addresses that wait is kept until they do not: it would wait
    /// as well, and leaves in fuller requests later.
    pub(crate) async fn send_apart(&mut self, most: u64) -> Result<(), Stopped> {
        loop {
            let waits = |address: &Address| self.waits.contains_key(address);
            if self.is_idle() || has_other(&self.lots, &self.road.heads, &self.road.wire, waits) {
                self.depart_in(most);
            }
            self.drive(|line| line.waiting() == line.under_way.len()).await?;
            if self.lots.is_empty() || !self.is_idle() {
                return Ok(());
            }
        }
    }

    /// The same with what was kept, if there is something.
    pub(crate) async fn send_kept(&mut self, most: u64) -> Result<(), Stopped> {
        if self.lots.is_empty() { Ok(()) } else { self.send_apart(most).await }
    }

    /// Gives back what is of no group yet.
    pub(crate) fn forget(&mut self) {
        self.lots.clear();
    }

    /// Goes on with what waits to be tried again, until something of it came to an end. For ever, if nothing waits. Cancel-safe.
    pub(crate) async fn send_waiting(&mut self) -> Result<(), Stopped> {
        if self.is_idle() {
            return std::future::pending().await;
        }
        let before = self.ended;
        self.drive(|line| line.ended != before).await
    }

    /// Brings all to an end, or to a stop.
    pub(crate) async fn finish(&mut self) -> Result<(), Stopped> {
        loop {
            self.drive(|_| false).await?;
            if self.lots.is_empty() {
                return Ok(());
            }
            self.depart();
        }
    }

    /// Frames from the oldest that is not settled on, and their bytes.
    pub(crate) fn span(&mut self) -> (usize, u64) {
        while self.departed.front().is_some_and(|(group, ..)| group.strong_count() == 0) {
            self.departed.pop_front();
        }
        self.departed.iter().fold((0, 0), |(frames, bytes), (_, more, size)| (frames + more, bytes + size))
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    fn waiting(&self) -> usize {
        self.waits.values().filter(|waits| waits.get()).count()
    }

    /// In groups of about so many bytes.
    fn depart_in(&mut self, most: u64) {
        let mut group = Vec::new();
        let mut bytes = 0;
        for lot in std::mem::take(&mut self.lots) {
            if bytes > 0 && bytes + lot.bytes() > most {
                self.lots = std::mem::take(&mut group);
                self.depart();
                bytes = 0;
            }
            bytes += lot.bytes();
            group.push(lot);
        }
        self.lots = group;
        self.depart();
        // Forgets what is settled.
        self.span();
    }

    fn depart(&mut self) {
        let lots = std::mem::take(&mut self.lots);
        if !lots.is_empty() {
            let (frames, bytes) = (lots.len(), lots.iter().map(|lot| lot.claim.payload().len() as u64).sum());
            let parts = Group::part(&self.road, self.number, lots);
            if let Some(part) = parts.first() {
                self.departed.push_back((Arc::downgrade(&part.group), frames, bytes));
            }
            self.ready.extend(parts);
            self.start();
        }
    }

    /// Starts what has a place, in order.
    fn start(&mut self) {
        while self.under_way.len() - self.waiting() < ADDRESSES as usize
            && let Some(part) = self.ready.pop_front()
        {
            let address = Arc::clone(&part.sheaf.address);
            if self.waits.contains_key(&address) {
                self.behind.entry(address).or_default().push_back(part);
                continue;
            }
            let waits = Waits::default();
            self.waits.insert(Arc::clone(&address), waits.clone());
            self.under_way.push(Box::pin(async move {
                let ended = part.deliver(waits).await;
                (address, ended)
            }));
        }
    }

    /// Lets all that is under way go on until `enough`, or until nothing is.
    async fn drive(&mut self, enough: impl Fn(&Self) -> bool + Send) -> Result<(), Stopped> {
        poll_fn(|context| {
            loop {
                let ended = self.under_way.poll_next_unpin(context);
                if let Poll::Ready(Some((address, ended))) = &ended {
                    self.stopped |= ended.is_err();
                    self.ended += 1;
                    self.waits.remove(address);
                    let next = self.behind.get_mut(address).and_then(VecDeque::pop_front);
                    match next {
                        // Ahead of all that came later, so that the order of the address holds.
                        Some(part) => self.ready.push_front(part),
                        None => drop(self.behind.remove(address)),
                    }
                }
                if self.stopped {
                    self.ready.clear();
                    self.behind.clear();
                }
                let before = self.under_way.len();
                self.start();
                let started = self.under_way.len() > before;
                match ended {
                    Poll::Ready(None) if !started => {
                        return Poll::Ready(if self.stopped { Err(Stopped) } else { Ok(()) });
                    }
                    Poll::Pending if !started => {
                        return if enough(self) && !self.stopped { Poll::Ready(Ok(())) } else { Poll::Pending };
                    }
                    _ => {}
                }
            }
        })
        .await
    }
}
