//! A queue without threads on a simulated disk, with a reference of plain vectors beside it.
//!
//! The reference knows which records were appended, which receipts resolved, what each destination said; every check
//! names the invariant of the design it stands for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::claim::Claim;
use crate::config::{DestinationSpec, LaneId, LaneSpec, MinFree, OnFull, QueueConfig, StartAt};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::lane::{Lane, LaneCore, Pending, Stall};
use crate::ledger::{self, Ledger, LedgerRow};
use crate::reader::Reader;
use crate::record::{Codec, ContextKey, Durability, Kind, Outcome, Reason, Record};
use crate::store::{OpenReport, Store};

pub(super) const SEGMENT: u64 = 6144;
pub(super) const BUDGET: u64 = 5 * SEGMENT;

/// What the reference knows of a record.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub items: u32,
    pub stream: u64,
    pub size: usize,
    pub contexts: Vec<u8>,
    /// Number of its first item.
    pub first: u64,
}

/// What the reference knows of a destination.
#[derive(Default)]
pub(super) struct Taker {
    pub reader: Option<Reader>,
    pub held: Vec<Claim>,
    pub delivered: BTreeSet<usize>,
    /// Newest record claimed for the first time, by stream.
    pub newest: BTreeMap<u64, usize>,
    pub seen: BTreeSet<usize>,
    /// Settled offset known to be on disk.
    pub durable_offset: u64,
}

pub(super) struct Bench {
    pub disk: SimDisk,
    pub store: Option<Store>,
    pub core: Option<LaneCore>,
    pub lane: Option<Arc<Lane>>,
    pub specs: Vec<DestinationSpec>,
    pub records: Vec<Known>,
    /// Records whose receipt resolved.
    pub resolved: usize,
    pub ticket_base: usize,
    pub takers: BTreeMap<String, Taker>,
    /// Lane offset to record, for all claims ever.
    pub places: BTreeMap<u64, usize>,
    pub now: i64,
    pub damaged: bool,
    pub seed: u64,
    pub last_durable: (u64, u64),
    /// End of the newest frame that was ever published.
    pub last_end: u64,
    pub report: OpenReport,
}

pub(super) fn lane_id() -> LaneId {
    LaneId::new("lane").expect("a good name")
}

pub(super) fn config() -> QueueConfig {
    let mut config = QueueConfig::new("/q");
    config.max_bytes = BUDGET;
    config.segment_bytes = Some(SEGMENT);
    config.min_free = MinFree::NONE;
    config
}

pub(super) fn context_bytes(number: u8) -> Bytes {
    Bytes::from(vec![number; 40 + usize::from(number) * 10])
}

pub(super) fn payload(index: usize, size: usize) -> Bytes {
    let mut out = (index as u64).to_le_bytes().to_vec();
    let mut random = fastrand::Rng::with_seed(index as u64);
    out.extend((0..size).map(|_| random.u8(..)));
    Bytes::from(out)
}

impl Bench {
    pub(super) fn new(seed: u64) -> Bench {
        let lanes = || vec![lane_id()];
        let mut held = DestinationSpec::new("second", lanes());
        held.start = StartAt::Oldest;
        let specs = vec![DestinationSpec::new("first", lanes()), held];
        Bench::with(seed, specs)
    }

    pub(super) fn with(seed: u64, specs: Vec<DestinationSpec>) -> Bench {
        let mut bench = Bench {
            disk: SimDisk::new(seed, 1 << 30),
            store: None,
            core: None,
            lane: None,
            specs,
            records: Vec::new(),
            resolved: 0,
            ticket_base: 0,
            takers: BTreeMap::new(),
            places: BTreeMap::new(),
            now: 1_000,
            damaged: false,
            seed,
            last_durable: (0, 0),
            last_end: 0,
            report: OpenReport::default(),
        };
        bench.start();
        bench
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        self.lane.as_ref().expect("open")
    }

    pub(super) fn core(&mut self) -> &mut LaneCore {
        self.core.as_mut().expect("open")
    }

    fn start(&mut self) {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (store, report) =
            Store::open(disk, config(), &[LaneSpec::new(lane_id())], &self.specs).expect("invariant 15: open");
        let lane = store.lane(&lane_id()).expect("lane");
        self.seed = self.seed.wrapping_mul(31).wrapping_add(7);
        self.core = Some(LaneCore::new(Arc::clone(&lane), fastrand::Rng::with_seed(self.seed)));
        for spec in &self.specs {
            let (desk, at) = store.desk(&spec.name, &lane_id()).expect("desk");
            self.takers.entry(spec.name.clone()).or_default().reader = Some(Reader::new(desk, at));
        }
        let durable = lane.board.lock().durable;
        // When all files that held an offset are destroyed before any cursor file was written, nothing testifies to it.
        assert!(self.damaged || durable.offset >= self.last_end, "invariant 4: offsets are not reused");
        if !self.damaged {
            assert!(durable.item >= self.last_durable.1, "invariant 2: {durable:?} {:?}", self.last_durable);
        }
        let survived =
            self.records.iter().take_while(|known| known.first + u64::from(known.items) <= durable.item).count();
        self.records.truncate(survived);
        for taker in self.takers.values_mut() {
            // Only damage at the end of the log takes away what somebody has seen.
            assert!(self.damaged || taker.seen.iter().all(|index| *index < survived), "invariant 6");
            taker.seen.retain(|index| *index < survived);
            taker.delivered.retain(|index| *index < survived);
            taker.newest = taker.seen.iter().map(|index| (self.records[*index].stream, *index)).collect();
        }
        if !self.damaged {
            let end = self.records.last().map_or(0, |known| known.first + u64::from(known.items));
            assert_eq!(end, durable.item, "invariant 4: numbers end with a record");
        }
        self.last_durable = (durable.offset, durable.item);
        self.resolved = self.records.len();
        self.ticket_base = self.records.len();
        self.places.retain(|_, index| *index < self.records.len());
        self.lane = Some(lane);
        self.store = Some(store);
        self.report = report;
    }

    /// Ends the process without a word, then starts again. `power`: the page cache goes too.
    pub(super) fn crash(&mut self, power: bool) {
        let before: BTreeMap<String, u64> = self
            .lane()
            .board
            .lock()
            .pairs
            .iter()
            .map(|(name, pair)| (name.to_string(), pair.cursor.durable_offset))
            .collect();
        for taker in self.takers.values_mut() {
            // Claims given back to a dead process do nothing on disk.
            taker.held.clear();
            taker.reader = None;
        }
        self.core = None;
        self.lane = None;
        self.store = None;
        if power {
            self.disk.cut_power();
        } else {
            *self.disk.faults.lock() = crate::disk::sim::Faults::default();
        }
        self.start();
        for (name, offset) in before {
            let settled = self.lane().board.lock().pairs[name.as_str()].cursor.settled.offset;
            assert!(settled >= offset, "invariant 8: a written cursor went back");
        }
    }

    pub(super) fn append(&mut self, items: u32, stream: u64, size: usize, contexts: &[u8]) {
        let index = self.records.len();
        let first = self.records.last().map_or(self.last_durable.1, |known| known.first + u64::from(known.items));
        let record = Record {
            kind: Kind::LogBatch,
            codec: Codec::None,
            stream,
            items,
            raw_len: u32::try_from(size + 8).expect("small"),
            payload: payload(index, size),
            contexts: contexts.iter().map(|number| (ContextKey([*number; 16]), context_bytes(*number))).collect(),
        };
        self.records.push(Known { items, stream, size, contexts: contexts.to_vec(), first });
        let ticket = (index + 1 - self.ticket_base) as u64;
        let posted_ms = self.now;
        self.core().accept([Pending { record, durability: Durability::Soon, ticket, posted_ms, _credit: None }]);
    }

    pub(super) fn write(&mut self) -> Result<(), Stall> {
        let now = self.now;
        let result = self.core().write(now);
        self.look();
        result
    }

    pub(super) fn commit(&mut self) -> Result<(), Stall> {
        let now = self.now;
        let result = self.core().commit(now);
        self.look();
        result
    }

    pub(super) fn rotate(&mut self) -> Result<(), Stall> {
        let now = self.now;
        let result = self.core().rotate(now);
        self.look();
        result
    }

    /// Notes what was published.
    fn look(&mut self) {
        let ticket = self.lane().durable.borrow().ticket;
        self.resolved = self.resolved.max(self.ticket_base + usize::try_from(ticket).expect("small"));
        let durable = self.lane().board.lock().durable;
        assert!(durable.offset >= self.last_durable.0 && durable.item >= self.last_durable.1, "invariant 4");
        if ticket > 0 {
            self.last_end = durable.offset;
        }
        self.last_durable = (durable.offset, durable.item);
        if let Some(last) = self.resolved.checked_sub(1).and_then(|last| self.records.get(last))
            && !self.damaged
        {
            assert_eq!(durable.item, last.first + u64::from(last.items), "durable items are the resolved records");
        }
    }

    /// Claims the next frame for a destination; gives the record's index.
    pub(super) fn claim(&mut self, name: &str) -> Option<usize> {
        let now = self.now;
        let durable = self.last_durable;
        let taker = self.takers.get_mut(name)?;
        let claim = taker.reader.as_mut()?.next_at(now)?;
        let meta = claim.frame().clone();
        assert!(meta.first_item + u64::from(meta.items) <= durable.1, "invariant 3: {meta:?} {durable:?}");
        assert!(meta.offset < durable.0, "invariant 3");
        let index = u64::from_le_bytes(claim.payload()[..8].try_into().expect("eight"));
        let index = usize::try_from(index).expect("small");
        let known = &self.records[index];
        assert_eq!(claim.payload(), &payload(index, known.size), "bytes come back as they went in");
        assert_eq!((meta.items, meta.stream), (known.items, known.stream));
        assert!(index < self.resolved, "invariant 3: not resolved yet");
        if !self.damaged {
            assert_eq!(meta.first_item, known.first, "invariant 4");
        }
        assert_eq!(*self.places.entry(meta.offset).or_insert(index), index, "invariant 4: one offset, two records");
        let keys: Vec<ContextKey> = known.contexts.iter().map(|number| ContextKey([*number; 16])).collect();
        assert_eq!(claim.contexts(), keys);
        let mut whole = true;
        for (number, key) in known.contexts.iter().zip(&keys) {
            match claim.context(key) {
                Ok(bytes) => assert_eq!(bytes, context_bytes(*number)),
                Err(error) => {
                    assert!(self.damaged, "{error}");
                    whole = false;
                }
            }
        }
        if taker.seen.insert(index) {
            let newest = taker.newest.entry(known.stream).or_insert(index);
            assert!(index >= *newest, "invariant 9: first deliveries in order");
            *newest = index;
        }
        if whole {
            taker.held.push(claim);
        } else {
            claim.settle(Outcome::Damaged);
        }
        Some(index)
    }

    pub(super) fn settle(&mut self, name: &str, which: usize, how: u8) {
        let Some(taker) = self.takers.get_mut(name) else {
            return;
        };
        if taker.held.is_empty() {
            return;
        }
        let claim = taker.held.remove(which % taker.held.len());
        let index =
            usize::try_from(u64::from_le_bytes(claim.payload()[..8].try_into().expect("eight"))).expect("small");
        let items = claim.frame().items;
        match how % 4 {
            0 | 1 => {
                taker.delivered.insert(index);
                claim.settle(Outcome::Delivered);
            }
            2 => claim.settle(Outcome::Rejected(Reason::new("refused"))),
            _ => {
                taker.delivered.insert(index);
                let filtered = items / 2;
                claim.settle(Outcome::Mixed {
                    delivered: items - filtered,
                    filtered,
                    rejected: Vec::new(),
                    expired: 0,
                    damaged: 0,
                });
            }
        }
    }

    pub(super) fn ledger(&self) -> Ledger {
        let mut out = Ledger::default();
        ledger::snapshot(self.lane(), &mut out);
        out
    }

    pub(super) fn row(&self, name: &str) -> LedgerRow {
        self.ledger().rows.into_iter().find(|row| row.destination == name).expect("a row")
    }

    /// What holds at every moment.
    pub(super) fn check(&mut self) {
        let ledger = self.ledger();
        for row in &ledger.rows {
            assert!(row.balances(), "invariant 1: {row:?}");
            if !self.damaged {
                assert_eq!(row.damaged, 0, "invariants 14, 18: nothing was damaged: {row:?}");
            }
            let holds = self.specs.iter().any(|spec| spec.name == row.destination && spec.on_full == OnFull::Hold);
            assert!(!holds || row.evicted == 0, "invariant 13: {row:?}");
        }
        let used = self.disk.used(&PathBuf::from("/q/lanes"));
        assert!(used <= BUDGET + SEGMENT, "invariant 11: {used}");
        let lane = Arc::clone(self.lane());
        let board = lane.board.lock();
        for (name, pair) in &board.pairs {
            let settled = pair.cursor.settled;
            assert!(
                settled.offset <= board.durable.offset && settled.item <= board.durable.item,
                "invariant 6: {name}"
            );
            let before = self
                .takers
                .get_mut(&**name)
                .map_or(0, |taker| std::mem::replace(&mut taker.durable_offset, pair.cursor.durable_offset));
            assert!(pair.cursor.durable_offset >= before || before == 0, "invariant 5");
            assert!(pair.cursor.durable_offset <= settled.offset, "invariant 18: {name}");
        }
    }

    /// Takes everything that is left and compares the book with the reference.
    pub(super) fn drain(&mut self) {
        for _ in 0..3 {
            let _ = self.commit();
        }
        for name in self.specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>() {
            let taker = self.takers.get_mut(&name).expect("taker");
            // A claim that is dropped comes back.
            taker.held.clear();
            while self.claim(&name).is_some() {
                let taker = self.takers.get_mut(&name).expect("taker");
                if let Some(claim) = taker.held.pop() {
                    let index = u64::from_le_bytes(claim.payload()[..8].try_into().expect("eight"));
                    taker.delivered.insert(usize::try_from(index).expect("small"));
                    claim.settle(Outcome::Delivered);
                }
            }
            self.check();
            let row = self.row(&name);
            assert_eq!(row.pending_items, 0, "invariant 7: {row:?}");
            let start = row.accepted;
            let start = self.last_durable.1 - start;
            let taker = &self.takers[&name];
            let missing: u64 = (0..self.resolved)
                .filter(|index| self.records[*index].first >= start && !taker.delivered.contains(index))
                .map(|index| u64::from(self.records[index].items))
                .sum();
            let said = row.filtered + row.rejected + row.evicted + row.expired + row.damaged;
            assert!(missing <= said, "invariant 7: {missing} items missing, {row:?}");
        }
    }

    /// Files of the lane, oldest first.
    pub(super) fn segments(&self) -> Vec<PathBuf> {
        self.lane().board.lock().segments.iter().map(|segment| segment.path.clone()).collect()
    }
}
