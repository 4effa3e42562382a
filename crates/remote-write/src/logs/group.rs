//! The lines of some frames, parted by address, and how each part comes to its end.
//!
//! It reads no queue, and decides no order between parts. It keeps true: requests of a part follow each other; every line is
//! booked in one column; what is not booked when it stops comes back.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use net::Backoff;
use pipeline::off_reactor;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    apart::apart,
    book::Book,
    found::found,
    head::Address,
    line::Road,
    lot::LogLot,
    sheaf::{Cargo, Piece, Sheaf, rows, sort, unpack},
    wire::{Letter, LogVerdict},
};
use crate::{
    line::{Stopped, grace},
    load::isolation_budget,
    pace::Cause,
    protocol::Extent,
    status::Way,
    verdict::{Loss, Verdict},
};

/// Unpacking and encoding more than this takes more than about a millisecond.
const LONG: u64 = 256 << 10;
/// A stream of one frame that is larger than this is not sent in one piece: receivers take about 4 MiB.
const LARGE_PIECE: usize = 2 << 20;

/// Lots that are sorted by address together. When the last who has a part in it lets go of it, its lots are settled.
#[derive(Debug)]
pub(crate) struct Group {
    road: Arc<Road>,
    /// Of the line that sends it.
    number: u32,
    lots: Vec<LogLot>,
    book: Book,
    extent: Option<Extent>,
    /// Parts that did not come to their end.
    left: AtomicUsize,
}

/// The lines of a group that go to one address.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) group: Arc<Group>,
    pub(crate) sheaf: Sheaf,
}

/// Whether what is under way was told to wait: others need not wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waits(Arc<AtomicBool>);

impl Waits {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, waits: bool) {
        self.0.store(waits, Ordering::Relaxed);
    }
}

impl Part {
    /// Brings its lines to their ends.
    pub(crate) async fn deliver(self, waits: Waits) -> Result<(), Stopped> {
        let Self { group, sheaf } = self;
        let ended = group.deliver(sheaf, &waits).await;
        waits.set(false);
        if ended.is_ok() {
            group.left.fetch_sub(1, Ordering::Relaxed);
        }
        ended
    }
}

impl Drop for Group {
    /// Newest first: the queue's cursor passes the group in one step. Of a group that is named by its place all is settled or
    /// nothing: it begins again where it began.
    fn drop(&mut self) {
        let tallies = self.book.take_tallies();
        let lots = std::mem::take(&mut self.lots);
        if *self.left.get_mut() == 0 || !self.road.wire.names_by_place() {
            for (lot, tally) in lots.into_iter().zip(tallies).rev() {
                lot.settle(&tally);
            }
        }
    }
}

/// What became of a cargo.
enum Carried {
    /// Every line of it is booked.
    Done,
    /// Some lines of it are too old by now: it has to be looked at line by line.
    Look,
    /// `Accepted`, `Partial`, `TooLarge` or `Refused`.
    Judged(Verdict),
}

impl Group {
    /// Sorts lots by where their lines go. What has no way is booked.
    pub(crate) fn part(road: &Arc<Road>, number: u32, lots: Vec<LogLot>) -> Vec<Part> {
        let book = Book::new(lots.len(), Arc::clone(road));
        let sheaves = sort(&lots, &road.heads, &road.wire, &book);
        let extent = if road.wire.names_by_place() { extent(&lots) } else { None };
        let left = AtomicUsize::new(sheaves.len());
        let group = Arc::new(Self { road: Arc::clone(road), number, lots, book, extent, left });
        sheaves.into_iter().map(|sheaf| Part { group: Arc::clone(&group), sheaf }).collect()
    }

    /// Brings the lines of one address to their ends.
    async fn deliver(&self, sheaf: Sheaf, waits: &Waits) -> Result<(), Stopped> {
        let address = &*sheaf.address;
        if !self.road.wire.packs() {
            return self.by_rows(address, &sheaf.pieces, waits).await;
        }
        let limits = self.road.wire.packed_limits();
        let (mut load, mut bytes, mut lines) = (Vec::new(), 0, 0);
        for piece in sheaf.pieces {
            let long = piece.raw_len > LARGE_PIECE.max(limits.bytes) || piece.lines as usize > limits.lines;
            let look = long || self.cutoff_ns().is_some_and(|cutoff| piece.first_ns < cutoff);
            let more = bytes + piece.raw_len > limits.bytes || lines + piece.lines as usize > limits.lines;
            if (look || more) && !load.is_empty() {
                self.bring(address, Cargo::Packed(std::mem::take(&mut load)), None, waits).await?;
                (bytes, lines) = (0, 0);
            }
            if look {
                self.by_rows(address, &[piece], waits).await?;
            } else {
                bytes += piece.raw_len;
                lines += piece.lines as usize;
                load.push(piece);
            }
        }
        if load.is_empty() { Ok(()) } else { self.bring(address, Cargo::Packed(load), None, waits).await }
    }

    /// The same, line by line.
    fn by_rows<'b>(
        &'b self,
        address: &'b Address,
        pieces: &'b [Piece],
        waits: &'b Waits,
    ) -> Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'b>> {
        Box::pin(async move {
            let order = self.road.wire.order();
            let raw: usize = pieces.iter().map(|piece| piece.raw_len).sum();
            let long = raw as u64 > LONG;
            let unpacked = off_reactor(long, || unpack(&self.lots, pieces, order, &self.book));
            let rows = off_reactor(long, || {
                let mut rows = rows(pieces, &unpacked, order, |piece| {
                    let message = "a queued stream of lines is not what its head says";
                    self.book.lost(piece.lot, piece.lines, Loss::Undecodable, message);
                });
                let cutoff = self.cutoff_ns();
                rows.retain(|row| {
                    if cutoff.is_some_and(|cutoff| row.entry.timestamp_ns < cutoff) {
                        self.book.expired(row.lot, row.items);
                        return false;
                    }
                    match self.road.wire.screen(row) {
                        Some(loss) => {
                            self.book.lost(row.lot, row.items, loss, "the service takes no line with such a time");
                            false
                        }
                        None => true,
                    }
                });
                apart(rows, &self.road.wire)
            });
            let mut left = rows.as_slice();
            while !left.is_empty() {
                let letter = off_reactor(long, || self.road.wire.encode(left));
                let (these, rest) = left.split_at(letter.lines.clamp(1, left.len()));
                self.bring(address, Cargo::Rows(Cow::Borrowed(these)), Some(letter), waits).await?;
                left = rest;
            }
            Ok(())
        })
    }

    fn encode(&self, cargo: &Cargo<'_>) -> Letter {
        off_reactor(cargo.bytes() > LONG, || match cargo {
            Cargo::Packed(pieces) => Letter { body: self.road.wire.splice(pieces), lines: 0 },
            Cargo::Rows(rows) => self.road.wire.encode(rows),
        })
    }

    /// Brings one request's lines to their ends, in halves where the far end wants less or refuses a part.
    async fn bring(
        &self,
        address: &Address,
        cargo: Cargo<'_>,
        letter: Option<Letter>,
        waits: &Waits,
    ) -> Result<(), Stopped> {
        // Halving between the streams of packed ones is free, since each is looked at once; within rows it is bounded.
        let mut isolations = isolation_budget(cargo.records());
        let mut ready = letter;
        let mut stack = vec![cargo];
        while let Some(mut cargo) = stack.pop() {
            let letter = ready.take().unwrap_or_else(|| self.encode(&cargo));
            let verdict = match self.carry(address, &mut cargo, letter, waits).await? {
                Carried::Done => continue,
                Carried::Look => {
                    if let Cargo::Packed(pieces) = cargo {
                        self.by_rows(address, &pieces, waits).await?;
                    }
                    continue;
                }
                Carried::Judged(verdict) => verdict,
            };
            let (loss, message, halve) = match verdict {
                Verdict::Partial { written, loss, message } => {
                    self.book.ended(address, &cargo, written.unwrap_or(0), Some((loss, &message)));
                    continue;
                }
                Verdict::TooLarge { message } => (Loss::TooLarge, message, true),
                Verdict::Refused { loss, message, isolate } => {
                    let rows = matches!(cargo, Cargo::Rows(_));
                    let halve = isolate && (isolations > 0 || !rows);
                    isolations -= u32::from(halve && rows);
                    (loss, message, halve)
                }
                Verdict::Accepted | Verdict::Retry { .. } | Verdict::Hold { .. } | Verdict::Unready { .. } => {
                    self.book.ended(address, &cargo, cargo.lines(), None);
                    continue;
                }
            };
            if !halve {
                self.book.ended(address, &cargo, 0, Some((loss, &message)));
                continue;
            }
            match cargo.halve() {
                Ok((first, rest)) => stack.extend([rest, first]),
                Err(Cargo::Packed(pieces)) if pieces.iter().any(|piece| piece.lines > 1) => {
                    self.by_rows(address, &pieces, waits).await?;
                }
                Err(single) => self.book.ended(address, &single, 0, Some((loss, &message))),
            }
        }
        Ok(())
    }

    /// Sends one request until the far end says something final about all of it.
    async fn carry(
        &self,
        address: &Address,
        cargo: &mut Cargo<'_>,
        mut letter: Letter,
        waits: &Waits,
    ) -> Result<Carried, Stopped> {
        let Road { config, tuning, pace, status, metrics, cells, stop, .. } = &*self.road;
        let number = address.number();
        let way = status.way(self.number, number);
        let mut backoff = Backoff::new(config.backoff.min, config.backoff.max);
        let (mut earliest, mut founded, mut said) = (None, false, String::new());
        loop {
            // It may have waited for long: what is too old by now, or was given up by the queue, is not sent.
            match cargo.trim(&self.lots, self.cutoff_ns(), &self.book) {
                None => {}
                Some(false) => return Ok(Carried::Look),
                Some(true) if cargo.records() == 0 => return Ok(Carried::Done),
                Some(true) => letter = self.encode(cargo),
            }
            let turn = async {
                if let Some(earliest) = earliest {
                    tokio::time::sleep_until(earliest).await;
                }
                pace.acquire_for(number).await
            };
            let permit = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Stopped),
                permit = turn => permit,
                () = self.oldest_given_up(cargo) => continue,
            };
            let (lines, records) = (cargo.lines(), cargo.records());
            let verdict = tokio::select! {
                verdict = self.attempt(address, &letter, records) => verdict,
                () = grace(stop, tuning.stop_grace) => return Err(Stopped),
            };
            let verdict = match verdict {
                LogVerdict::Missing { group, why } => match self.road.wire.founder() {
                    Some(founder) => {
                        let made = tokio::select! {
                            made = found(&self.road.post, founder, address, group) => made,
                            () = grace(stop, tuning.stop_grace) => return Err(Stopped),
                        };
                        match made {
                            Ok(()) if !founded => {
                                founded = true;
                                continue;
                            }
                            // What was just made is not seen everywhere at once.
                            Ok(()) => Verdict::Retry { after: None, pressure: false, why }.into(),
                            Err(verdict) => verdict.into(),
                        }
                    }
                    None => Verdict::Hold { why }.into(),
                },
                other => other,
            };
            let wait = match verdict {
                LogVerdict::Each { lost, again, message } => {
                    pace.eased_for(number);
                    if self.book_each(address, cargo, &lost, &again, &message) {
                        way.working(true);
                        cells.encoded(letter.body.len() as u64);
                        metrics.bytes.inc_by(letter.body.len() as u64);
                        return Ok(Carried::Done);
                    }
                    if cargo.records() < records {
                        backoff = Backoff::new(config.backoff.min, config.backoff.max);
                    } else {
                        pace.pressed();
                    }
                    metrics.retried.inc_by(cargo.lines());
                    way.retrying(&self.told(address, &message));
                    cells.retried(&address.first);
                    letter = self.encode(cargo);
                    backoff.next_delay()
                }
                LogVerdict::Whole(Verdict::Retry { after, pressure, why }) => {
                    pace.missed_for(number, pressure);
                    metrics.retried.inc_by(lines);
                    way.retrying(&self.told(address, &why));
                    cells.retried(&address.first);
                    match after {
                        Some(wish) => backoff.next_delay_after(wish.min(tuning.longest_wish)),
                        None => backoff.next_delay(),
                    }
                }
                LogVerdict::Whole(Verdict::Hold { why }) => {
                    self.held(&way, address, lines, (why, &mut said), Cause::Refused)
                }
                LogVerdict::Whole(Verdict::Unready { why }) => {
                    self.held(&way, address, lines, (why, &mut said), Cause::Unready)
                }
                LogVerdict::Missing { why, .. } => self.held(&way, address, lines, (why, &mut said), Cause::Refused),
                LogVerdict::Whole(verdict) => {
                    let accepted = verdict == Verdict::Accepted;
                    if accepted {
                        metrics.bytes.inc_by(letter.body.len() as u64);
                        cells.encoded(letter.body.len() as u64);
                    }
                    pace.eased_for(number);
                    way.working(accepted);
                    return Ok(Carried::Judged(verdict));
                }
            };
            metrics.shards.set(i64::from(pace.window()));
            waits.set(true);
            drop(permit);
            earliest = Some(Instant::now() + wait);
        }
    }

    /// Resolves when the queue gives up the oldest frame of a cargo; it takes the oldest first.
    async fn oldest_given_up(&self, cargo: &Cargo<'_>) {
        let first = match cargo {
            Cargo::Packed(pieces) => pieces.iter().map(|piece| piece.lot).min(),
            Cargo::Rows(rows) => rows.iter().map(|row| row.lot).min(),
        };
        match first.and_then(|lot| self.lots.get(lot)) {
            Some(lot) => lot.claim.evicted_wait().await,
            None => std::future::pending().await,
        }
    }

    async fn attempt(&self, address: &Address, letter: &Letter, records: u64) -> LogVerdict {
        let wire = &self.road.wire;
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        let began = Instant::now();
        let request = || wire.request(address, letter, self.extent.as_ref());
        let answer = self
            .road
            .post
            .exchange(request, |status, headers, body| (status, wire.judge(status, headers, body, records)))
            .await;
        let seconds = began.elapsed().as_secs_f64();
        match answer {
            Ok((status, verdict)) => {
                self.road.cells.took(Some(status.as_u16()), seconds);
                verdict
            }
            Err(Verdict::Unready { why }) => Verdict::Unready { why }.into(),
            Err(verdict) => {
                self.road.cells.took(None, seconds);
                verdict.into()
            }
        }
    }

    /// Books the lines that an answer names, and leaves those in the cargo that have to be sent once more. True if none are.
    fn book_each(
        &self,
        address: &Address,
        cargo: &mut Cargo<'_>,
        lost: &[(std::ops::Range<usize>, Loss)],
        again: &[usize],
        message: &str,
    ) -> bool {
        let Cargo::Rows(rows) = cargo else { return true };
        let loss_of = |at: usize| lost.iter().find(|(range, _)| range.contains(&at)).map(|(_, loss)| *loss);
        let mut again = again.iter().copied().peekable();
        let (mut ended, mut losses, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            if again.next_if_eq(&at).is_some() {
                left.push(*row);
            } else {
                ended.push(*row);
                losses.push(loss_of(at));
            }
        }
        self.book.ended_each(address, &ended, |at| losses.get(at).copied().flatten(), message);
        let through = left.is_empty();
        *rows = Cow::Owned(left);
        through
    }

    /// Lines with an older timestamp are not sent.
    fn cutoff_ns(&self) -> Option<i64> {
        let max_age = self.road.config.max_age?;
        let age = i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX);
        Some(self.road.clock.now_ms().saturating_mul(1_000_000).saturating_sub(age))
    }

    /// The destination, or this address of it, is held; the pace says when it is tried again. `said`: why, when it was told last.
    fn held(
        &self,
        way: &Way<'_>,
        address: &Address,
        lines: u64,
        (why, said): (String, &mut String),
        cause: Cause,
    ) -> Duration {
        self.road.metrics.retried.inc_by(lines);
        self.road.pace.hold_for(address.number(), cause);
        // Who is refused like everybody else is not named: each name would be news.
        let alone = self.road.pace.is_aside(address.number());
        let why = if alone { self.told(address, &why) } else { why };
        // Addresses that are refused by turns are no news by turns.
        if *said != why {
            said.clone_from(&why);
            way.held(why);
        }
        Duration::ZERO
    }

    /// The same words, and whom they concern.
    fn told(&self, address: &Address, why: &str) -> String {
        match self.road.wire.name_of(address) {
            Some(name) if self.road.pace.is_aside(address.number()) => {
                format!("{name}: {why} (what goes elsewhere is taken)")
            }
            Some(name) => format!("{name}: {why}"),
            None => why.to_owned(),
        }
    }
}

/// Where a group of lots of one lane lies in the queue.
fn extent(lots: &[LogLot]) -> Option<Extent> {
    let (first, last) = (lots.first()?.claim.frame(), lots.last()?.claim.frame());
    let mut digest = Sha256::new();
    for lot in lots {
        digest.update(lot.claim.payload());
    }
    let mut short = [0; 8];
    short.copy_from_slice(&digest.finalize()[..8]);
    Some(Extent {
        lane: first.lane.clone(),
        first_item: first.first_item,
        last_item: (last.first_item + u64::from(last.items)).saturating_sub(1),
        ingest_ms: first.ingest_ms,
        digest: short,
    })
}
