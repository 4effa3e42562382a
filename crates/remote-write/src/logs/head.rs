//! What a destination makes of a stream's labels: the labels that leave, and where its lines go.
//!
//! Made once per label set and kept. It keeps true: own labels win over external ones; `__*` labels decide and never leave;
//! an address is a function of the labels and the hour at which a frame entered the queue.

use std::sync::Arc;

use hashbrown::HashMap;
use model::Labels;
use parking_lot::Mutex;
use relabel::Rule;

use super::wire::Wire;

/// Where lines go within a destination: tenant; log group and stream; prefix. Empty for protocols without such a thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Address {
    pub(crate) first: String,
    pub(crate) second: String,
}

impl Address {
    /// Tells it from others within this process.
    pub(crate) fn number(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(self, &mut hasher);
        std::hash::Hasher::finish(&hasher)
    }
}

/// See the file's head.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    /// False: relabelling drops the stream.
    pub(crate) kept: bool,
    pub(crate) address: Arc<Address>,
    /// The labels as the protocol writes them: text, JSON or protobuf.
    pub(crate) labels: Vec<u8>,
    /// Kinesis: the partition key.
    pub(crate) key: String,
}

/// The heads of one destination.
#[derive(Debug)]
pub(crate) struct Heads {
    external: Labels,
    relabel: Vec<Rule>,
    /// The hour that the entries of `known` are for, where it matters.
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    hour: i64,
    known: HashMap<Labels, Arc<Head>>,
}

/// Label sets remembered. More than that at once is a stream per line; then remembering is of no use anyway.
const KNOWN: usize = 8192;
const HOUR_MS: i64 = 3_600_000;

impl Heads {
    pub(crate) fn new(external: Labels, relabel: Vec<Rule>) -> Self {
        Self { external, relabel, cache: Mutex::default() }
    }

    /// The head of a stream whose frame entered the queue at `ingest_ms`.
    pub(crate) fn of(&self, wire: &Wire, labels: &Labels, ingest_ms: i64) -> Arc<Head> {
        let hour = if wire.is_dated() { ingest_ms.div_euclid(HOUR_MS) } else { 0 };
        let mut cache = self.cache.lock();
        if cache.hour != hour || cache.known.len() >= KNOWN {
            cache.known.clear();
            cache.hour = hour;
        }
        if let Some(head) = cache.known.get(labels) {
            return Arc::clone(head);
        }
        let head = Arc::new(self.make(wire, labels, hour.saturating_mul(HOUR_MS)));
        cache.known.insert(labels.clone(), Arc::clone(&head));
        head
    }

    fn make(&self, wire: &Wire, own: &Labels, hour_ms: i64) -> Head {
        let mut labels = self.external.clone();
        for (name, value) in own.iter() {
            labels.set(name, value);
        }
        let kept = relabel::process(&mut labels, &self.relabel);
        let address = Arc::new(wire.address(&labels, hour_ms));
        let key = wire.key(&labels, hour_ms);
        labels.retain(|name, _| !name.starts_with("__"));
        Head { kept, address, labels: wire.labels(&labels), key }
    }
}
