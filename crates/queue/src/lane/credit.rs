//! What a record costs of its lane's memory until it is durable: its own bytes, and each context that it names once, however
//! many records in memory name the same.
//!
//! Keeps true: nobody holds a part of its credit while it waits for the rest, so no two appends wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::record::{ContextKey, Record};

/// The credit of one record.
pub(crate) struct Credit {
    _own: OwnedSemaphorePermit,
    _contexts: Vec<Arc<HeldContext>>,
}

impl From<OwnedSemaphorePermit> for Credit {
    fn from(own: OwnedSemaphorePermit) -> Credit {
        Credit { _own: own, _contexts: Vec::new() }
    }
}

/// One context that some record in memory names.
struct HeldContext {
    key: ContextKey,
    registry: Weak<HeldContexts>,
    _credit: Option<OwnedSemaphorePermit>,
}

impl Drop for HeldContext {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            let mut held = registry.held.lock();
            // Another record may have brought it back in the meantime.
            if held.get(&self.key).is_some_and(|context| context.strong_count() == 0) {
                held.remove(&self.key);
            }
        }
    }
}

/// The contexts of a lane's records that are not durable.
#[derive(Default)]
pub(crate) struct HeldContexts {
    held: Mutex<HashMap<ContextKey, Weak<HeldContext>>>,
}

impl HeldContexts {
    /// Bytes of the record's contexts that no record in memory names.
    pub(crate) fn missing(&self, record: &Record) -> u64 {
        let held = self.held.lock();
        let new = |key: &ContextKey| held.get(key).is_none_or(|context| context.strong_count() == 0);
        record.contexts.iter().filter(|(key, _)| new(key)).map(|(_, bytes)| cost(bytes.len())).sum()
    }

    /// Takes the contexts' part out of `credit`. Gives nothing, and the credit back, where a context went that was counted
    /// on: more is needed then. `all`: this is the lane's whole credit, and has to do.
    pub(crate) fn hold(
        self: &Arc<Self>,
        record: &Record,
        mut credit: OwnedSemaphorePermit,
        all: bool,
    ) -> Option<Credit> {
        let mut contexts: Vec<Arc<HeldContext>> = Vec::with_capacity(record.contexts.len());
        // Dropped behind the lock: dropping a context takes it.
        let mut held = self.held.lock();
        for (key, bytes) in &record.contexts {
            if let Some(context) = held.get(key).and_then(Weak::upgrade) {
                contexts.push(context);
                continue;
            }
            let part = usize::try_from(cost(bytes.len())).ok().and_then(|cost| credit.split(cost));
            if part.is_none() && !all {
                drop(held);
                return None;
            }
            let context = Arc::new(HeldContext { key: *key, registry: Arc::downgrade(self), _credit: part });
            held.insert(*key, Arc::downgrade(&context));
            contexts.push(context);
        }
        drop(held);
        Some(Credit { _own: credit, _contexts: contexts })
    }
}

fn cost(bytes: usize) -> u64 {
    bytes as u64 + 64
}
